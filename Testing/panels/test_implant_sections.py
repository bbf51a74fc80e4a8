"""The sections of the implants' panel, each alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import Cancelled, InputError
from panel_support import QTimer, widgets_of
from SimulateImplantsLib.implants import registry
from SimulateImplantsLib.implants.presets import Preset

MODULE = "SimulateImplants"


def parameter_node(**values: Any) -> SimpleNamespace:
    defaults = {
        "inputVolume": None,
        "boneSegmentation": None,
        "points": None,
        "lowestLevel": "L5",
        "proposal": "spine",
        "sides": SimpleNamespace(names=lambda: ("left", "right")),
        "levels": "",
        "rods": True,
        "rodDiameter": "5.5",
        "variant": 0,
        "kind": "pedicle-screw",
        "preset": "6.5 x 45 mm",
        "surface": None,
        "surfaceMaterial": "Ti6Al4V",
    }
    return SimpleNamespace(**{**defaults, **values})


def state(**values: Any) -> Any:
    from SimulateImplantsPanel.sections import State

    return State(
        **{"free": True, "ready": True, "bone": False, "implants": 0, "chosen": 0, **values}
    )


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> registry.ImplantEntry:
    """A family of somebody else's, with a way of placing it, registered for one test."""
    known = dict(registry._registered())
    monkeypatch.setattr(registry, "_registered", lambda: known)
    screw = registry.procedure_of("spine")
    entry = registry.ImplantEntry(
        "toy-peg",
        "Toy peg",
        registry.entry_of("bone-screw").family,
        sizes=(Preset("toy-peg", "small", {}, ""), Preset("toy-peg", "large", {}, "")),
        procedures=(
            registry.Procedure("toy-pegs", "Toy pegs", "spine", screw.propose, screw.sample),
        ),
    )
    registry.register(entry)
    return entry


def test_a_registered_family_appears_with_its_sizes(sections: Any, toy: Any) -> None:
    parameters = parameter_node()
    sections.add.show(parameters, state())
    assert sections.add_ui.kindComboBox.currentText == "Pedicle screw"
    assert sections.add_ui.presetComboBox.currentText == "6.5 x 45 mm"
    sections.add_ui.kindComboBox.setCurrentText("Toy peg")
    assert parameters.kind == "toy-peg"
    sections.add.show(parameters, state())
    assert sections.add_ui.presetComboBox.items == ["small", "large"]
    assert parameters.preset == "small"
    sections.add_ui.presetComboBox.setCurrentText("large")
    assert parameters.preset == "large"


def test_a_registered_way_of_placing_can_be_proposed(sections: Any, toy: Any) -> None:
    parameters = parameter_node()
    sections.implants.show(parameters, state())
    sections.implants_ui.proposalComboBox.setCurrentText("Toy pegs")
    assert parameters.proposal == "toy-pegs"


def test_what_is_not_for_hands_is_not_offered(sections: Any) -> None:
    sections.add.show(parameter_node(), state())
    wanted = [entry.label for entry in registry.entries() if entry.label]
    assert sections.add_ui.kindComboBox.items == wanted and "" not in wanted


def test_scenes_of_the_first_release_keep_their_choices(scene: Any) -> None:
    from SimulateImplantsPanel.choices import from_scene, kinds, proposals

    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    for proposal in ("SPINE", "TOTAL_HIP", "SHORT_NAIL", "LONG_NAIL"):
        node.SetParameter("proposal", proposal)
        assert from_scene(node).GetParameter("proposal") in proposals()
    for kind in ("PEDICLE_SCREW", "ACETABULAR_CUP", "CEPHALOMEDULLARY_NAIL", "ROD"):
        node.SetParameter("kind", kind)
        assert from_scene(node).GetParameter("kind") in kinds()


def test_added_selected_changed_removed(sections: Any, ct: Any) -> None:
    parameters = parameter_node(inputVolume=ct)
    for section in (sections.implants, sections.add, sections.selected):
        section.show(parameters, state(chosen=1, implants=1))
    sections.add_ui.addButton.click()
    (row,) = sections.implants_ui.implantsTable.rows()
    assert "6.5" in row[1] and "45" in row[1]
    (one,) = sections.implants.selected()
    sections.selected.fill()
    assert sections.selected_ui.lengthSlider.value == 45
    assert sections.selected_ui.lengthSlider.enabled
    sections.selected_ui.lengthSlider.value = 30
    assert one.implant.length_mm == 30
    one.model.SetAttribute("SimulateImplants.measured", "{}")
    sections.selected_ui.diameterSlider.value = 5.5
    assert "Measure again" in sections.implants_ui.implantsMessageLabel.text
    QTimer.turn()
    assert "30" in sections.implants_ui.implantsTable.rows()[0][1]
    said = sections.implants_ui.implantNotesLabel
    assert not said.visible
    one.model.SetAttribute("SimulateImplants.problem", "does not reach its rod")
    sections.implants.fill()
    assert said.visible and said.text == f"{one.name}: does not reach its rod"
    sections.implants_ui.removeButton.click()
    QTimer.turn()
    assert sections.implants.count() == 0 and not said.visible


def test_a_wrong_size_is_said_and_not_taken(sections: Any, work: Any, ct: Any) -> None:
    parameters = parameter_node(inputVolume=ct)
    for section in (sections.implants, sections.add, sections.selected):
        section.show(parameters, state(chosen=1, implants=1))
    sections.add_ui.addButton.click()
    (one,) = sections.implants.selected()
    sections.selected.fill()
    table = sections.selected_ui.parametersTable
    names = [table.item(row, 0).data(32) for row in range(table.rowCount)]
    row = names.index("diameter_mm")
    for typed in ("900", "thick"):
        table.item(row, 1).setText(typed)
        table.emit("cellChanged", row, 1)
        assert typed in work._ui.statusLabel.text
    assert one.implant.diameter_mm == 6.5


@pytest.mark.parametrize(
    ("now", "enabled"),
    [
        ({}, set()),
        ({"bone": True}, {"propose"}),
        ({"implants": 2}, {"measure"}),
        ({"implants": 2, "chosen": 1}, {"measure", "duplicate", "remove"}),
        ({"implants": 2, "chosen": 2}, {"measure", "duplicate", "remove", "rod", "crossLink"}),
        ({"free": False, "ready": False, "implants": 2, "chosen": 2}, set()),
    ],
)
def test_buttons_are_on_when_they_can_work(
    sections: Any, now: dict[str, Any], enabled: set[str]
) -> None:
    sections.implants.show(parameter_node(), state(**now))
    names = ("propose", "measure", "duplicate", "remove", "rod", "crossLink")
    buttons = {name: getattr(sections.implants_ui, f"{name}Button") for name in names}
    on = {name for name, button in buttons.items() if button.visible and button.enabled}
    assert on == enabled


@pytest.mark.parametrize(
    ("proposal", "asked", "ready"),
    [
        ("spine", {"sides", "levels", "rods", "diameter"}, False),
        ("lateral-mass", {"sides", "levels", "rods"}, False),
        ("cages", {"levels"}, False),
        ("total-hip", {"sides"}, False),
        ("s2ai-screws", {"sides"}, True),
        ("aortic-stent", set(), True),
    ],
)
def test_only_what_a_proposal_heeds_is_asked(
    sections: Any, proposal: str, asked: set[str], ready: bool
) -> None:
    ui = sections.implants_ui
    sections.implants.show(parameter_node(proposal=proposal), state())
    shown = {
        "sides": ui.sidesComboBox, "levels": ui.levelsLineEdit, "rods": ui.rodsCheckBox,
        "diameter": ui.rodDiameterComboBox,
    }  # fmt: skip
    assert {name for name, widget in shown.items() if widget.visible} == asked
    assert ui.proposeButton.enabled == ready  # without any bone


def test_points_in_a_neck_are_all_that_it_needs(
    sections: Any, tools: Any, work: Any, scene: Any, ct: Any
) -> None:
    from SimulateImplantsPanel.patient_sections import BoneSection

    bone = BoneSection(widgets_of(MODULE, "boneCollapsibleButton"), work, tools)
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    parameters = parameter_node(inputVolume=ct, points=points)
    bone.show(parameters, state())
    for height in (0.0, 15.0):
        points.AddControlPoint(0.0, 0.0, height)
    tools.bone.name_points(points, ct, "spine", parameters.lowestLevel)
    assert points.GetNthControlPointLabel(0) == "L5"
    parameters.proposal = "lateral-mass"
    bone.show(parameters, state())
    assert parameters.lowestLevel == "C6"
    assert [points.GetNthControlPointLabel(index) for index in (0, 1)] == ["C6", "C5"]
    sections.implants.show(parameters, state())
    assert sections.implants_ui.proposeButton.enabled


def test_what_comes_next_is_said_for_the_region(tools: Any) -> None:
    from SimulateImplantsPanel.hints import next_step

    now = {"ct": True, "points": 0, "implants": 0, "measured": False, "simulated": False}
    plain = {**now, "bone": ["bone"]}
    assert "found in the CT" in next_step("aortic-stent", **plain)
    assert "C3 to C6" in next_step("lateral-mass", bone=[], **now)
    assert "Propose" in next_step("lateral-mass", bone=[], **{**now, "points": 4})
    assert "femoral head" in next_step("total-hip", **plain)
    assert "each vertebra" in next_step("spine", **plain)
    assert "Part the vertebrae" in next_step("spine", **{**plain, "points": 2})


def test_undo_keeps_names_grades_and_what_is_selected(sections: Any, ct: Any) -> None:
    parameters = parameter_node(inputVolume=ct)
    for section in (sections.implants, sections.add, sections.selected):
        section.show(parameters, state(chosen=1, implants=1))
    sections.add_ui.addButton.click()
    (one,) = sections.implants.selected()
    name, grade = one.name, '{"grade": "A"}'
    one.model.SetAttribute("SimulateImplants.measured", grade)
    sections.implants.fill()
    sections.selected.fill()
    sections.selected_ui.lengthSlider.value = 30
    sections.implants.fill()
    sections.implants_ui.undoButton.click()
    (again,) = sections.implants.selected()
    assert again.name == name and again.implant.length_mm == 45
    assert again.model.GetAttribute("SimulateImplants.measured") == grade


def test_a_name_given_a_moment_before_removal_is_back(
    sections: Any, tools: Any, work: Any, ct: Any
) -> None:
    implants = sections.implants
    implants.show(parameter_node(inputVolume=ct), state())
    one = tools.editing.add(ct, "pedicle-screw", "6.5 x 45 mm")
    implants.select(one)
    one.model.SetName("mine")
    implants.settle()  # as before each button's work
    implants.remove()
    implants.fill()
    tools.history.undo()
    assert [one.name for one in tools.editing.every()] == ["mine"]


def test_undo_pressed_twice_or_left_half_way_is_whole(
    sections: Any, tools: Any, work: Any, ct: Any
) -> None:
    implants, ui = sections.implants, sections.implants_ui
    implants.show(parameter_node(inputVolume=ct), state())
    for _ in range(2):
        tools.editing.add(ct, "pedicle-screw", "6.5 x 45 mm")
        implants.fill()
    implants.select(*tools.editing.every())
    implants.remove()
    implants.fill()
    ui.undoButton.enabled = True
    for left in (lambda: None, work.turns.clear, implants.settle):
        ui.undoButton.click()
        assert len(tools.editing.every()) == 1  # the first of two
        left()
        ui.undoButton.click()
        while work.turns.busy:
            QTimer.turn()
        assert implants.count() == len(tools.editing.every()) == 1
        ui.redoButton.enabled = True
        ui.redoButton.click()
        ui.redoButton.click()
        while work.turns.busy:
            QTimer.turn()
        assert implants.count() == 0 and not tools.history.can_redo


def test_what_a_scene_came_with_is_not_undone(sections: Any, tools: Any, ct: Any) -> None:
    sections.implants.show(parameter_node(inputVolume=ct), state())
    tools.editing.add(ct, "pedicle-screw", "6.5 x 45 mm")
    sections.implants.fill()
    assert tools.history.can_undo
    sections.implants.clear()
    sections.implants.fill()
    assert sections.implants.count() == 1 and not tools.history.can_undo


def test_a_reason_that_many_share_is_said_once() -> None:
    from SimulateImplantsPanel.tables import warnings

    def told(name: str, note: str) -> Any:
        return SimpleNamespace(name=name, problem=""), SimpleNamespace(note=note)

    many = [told(f"screw {k}", "thick slices: not graded") for k in range(8)]
    assert warnings([*many, told("rod", ""), told("cup", "loose")]) == [
        "8 implants: thick slices: not graded", "cup: loose",
    ]  # fmt: skip


def test_work_is_told_from_its_beginning_to_its_end(work: Any) -> None:
    button = work._ui.simulateButton
    seen: list[Any] = []
    fails: dict[str, Exception | None] = {"with": None}

    def steps() -> None:
        seen.append(work.running)
        if fails["with"] is not None:
            raise fails["with"]

    work.connect(button, steps)
    button.click()
    assert seen == [True] and not work.running
    for error, words in (
        (Cancelled("stopped"), "Cancelled; nothing was added."),
        (InputError("no bone: segment it"), "no bone: segment it"),
        (RuntimeError("a fault"), "a fault"),
    ):
        fails["with"] = error
        button.click()
        assert work._ui.statusLabel.text == words and not work.running


def test_a_job_in_the_background_keeps_the_panel_busy(work: Any) -> None:
    gives: list[Any] = []
    handle = SimpleNamespace(
        cancel=lambda: gives.append("asked to stop"), result=lambda: "nodes",
        fraction=0.25, message="simulating", remaining_s=5.0,
    )  # fmt: skip
    callbacks = work.callbacks(gives.append)
    work.connect(work._ui.simulateButton, lambda: handle)
    work._ui.simulateButton.click()
    assert work.running
    callbacks["onProgress"](handle)
    assert work._ui.statusLabel.text == "simulating (about 5 s left)"
    work._ui.cancelButton.click()
    callbacks["onEnd"](handle)
    assert gives == ["asked to stop", "nodes"] and not work.running


def test_an_empty_volume_is_refused_beside_the_selector(tools: Any, work: Any, scene: Any) -> None:
    from SimulateImplantsPanel.patient_sections import InputSection

    ui = widgets_of(MODULE, "inputCollapsibleButton")
    section = InputSection(ui, work, tools)
    assert section.problem(parameter_node()) and not ui.inputMessageLabel.visible
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    assert "no voxels" in section.problem(parameter_node(inputVolume=empty))
    assert "no voxels" in ui.inputMessageLabel.text and ui.inputMessageLabel.visible


def wait(tools: Any) -> None:
    """Until the job in the background has ended."""
    for handle in tools.jobs.handles():
        handle.wait()
    tools.jobs.poll()


def test_bone_is_found_and_never_replaces_what_the_user_brought(
    tools: Any, work: Any, scene: Any, ct: Any
) -> None:
    import slicer

    from SimulateImplantsPanel.patient_sections import BoneSection

    slicer.util.arrayFromVolume(ct)[1:5, 16:32, 16:32] = 600
    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    parameters = parameter_node(inputVolume=ct, boneSegmentation=mine, boneThresholdHu=250.0)
    ui = widgets_of(MODULE, "boneCollapsibleButton")
    section = BoneSection(ui, work, tools)
    section.show(parameters, state(bone=True))
    assert not ui.splitButton.visible  # there are no points
    ui.thresholdButton.click()
    assert work.running
    wait(tools)
    assert "Place one point" in ui.boneMessageLabel.text
    parameters.points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    parameters.points.AddControlPoint(0.0, 0.0, 0.0)
    section.show(parameters, state(bone=True))
    assert ui.boneMessageLabel.text == ""
    found = parameters.boneSegmentation
    assert found is not mine and mine.GetSegmentation().GetNumberOfSegments() == 0
    ui.thresholdButton.click()
    wait(tools)
    assert parameters.boneSegmentation is found  # its own proposal it does replace
    ((_, mask),) = mrml.segment_masks(found, ct)
    assert mask[1:5, 16:32, 16:32].all()
