"""Drive the panel SimulateImplants through its whole workflow, with a picture of each step.

    Slicer --testing --additional-module-paths MetalArtifactReduction SimulateImplants \\
        --python-script Testing/Slicer/drive_simulate_implants.py \\
        [--patient phantom|spine|hip] [--model physics] [--output FOLDER]

``phantom`` makes its own patient; ``spine`` and ``hip`` take the CTs in ../shared/data and the
clicks below. Needs a screen; a virtual one will do. Ends with exit code 0 when every check held.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driving import SHARED_DATA, Driver, check, rows_of, run

SPINE = SHARED_DATA / "pancreatic_ct_cbct_CB001_abdomen.nii.gz"
SPINE_CLICKS = {"L3": (256, 270, 45), "L4": (256, 268, 32), "L5": (256, 272, 20)}
HIP = SHARED_DATA / "tcga_ov_09-2043_abdomen_pelvis.nii.gz"
HIP_CLICKS = {"right hip": (185, 262, 18), "left hip": (346, 282, 21)}
"""Column, row, slice of the middles of vertebral bodies and femoral heads."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patient", choices=("phantom", "spine", "hip"), default="phantom")
    models = ("physics", "trace-maximum", "missing-trace")
    parser.add_argument("--model", choices=models, default="physics", help="the latter are quick")
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "implants")
    return parser.parse_known_args(sys.argv[1:])[0]


def choose(driver: Driver, name: str, value: str) -> None:
    """Set a choice of the parameter node by its value."""
    kind = type(getattr(driver.widget._parameterNode, name))  # an enumeration, or str
    setattr(driver.widget._parameterNode, name, kind(value))


def zoom(millimetres: float) -> None:
    """Slice views as wide as that."""
    slicer.app.processEvents()
    for name in slicer.app.layoutManager().sliceViewNames():
        node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        _wide, _high, thick = node.GetFieldOfView()
        columns, rows = node.GetDimensions()[:2]
        node.SetFieldOfView(millimetres, millimetres * rows / max(columns, 1), thick)


def quality(driver: Driver) -> list[list[str]]:
    """Measure, and read the table of implants."""
    driver.ui.measureButton.click()
    rows = rows_of(driver.ui.implantsTable)
    for row in rows:
        print("  ", " | ".join(row), flush=True)
    return rows


def click(driver: Driver, volume: Any, clicks: dict[str, tuple[int, int, int]]) -> None:
    """Put a labelled point at each place, as the mouse would."""
    driver.ui.placePointsButton.click()
    points = driver.widget._parameterNode.points
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    matrix = slicer.util.arrayFromVTKMatrix(to_ras)
    for name, ijk in clicks.items():
        ras = matrix @ np.array([*ijk, 1.0])
        points.AddControlPoint(*ras[:3], name)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def background(driver: Driver, button: Any) -> None:
    """Start a job and wait for it; Slicer goes on meanwhile."""
    button.click()
    check(driver.widget.work.running, driver.ui.statusLabel.text)
    check(driver.ui.cancelButton.enabled, "a job cannot be cancelled")
    slowest, last = 0.0, time.monotonic()

    def ended() -> bool:
        nonlocal slowest, last
        now = time.monotonic()
        slowest, last = max(slowest, now - last), now
        return not driver.widget.work.running

    driver.wait(ended, 1500.0)
    print(f"   longest that Slicer did not answer: {slowest:.1f} s", flush=True)


def simulate(driver: Driver) -> None:
    """Voxelise and simulate; look at the results."""
    ui, widget = driver.ui, driver.widget
    ui.voxelizeButton.click()
    check("cm" in ui.resultLabel.text, ui.statusLabel.text)
    driver.picture("voxelised", "simulationCollapsibleButton")
    choose(driver, "model", options.model)
    background(driver, ui.simulateButton)
    check("Slices with implants" in ui.resultLabel.text, ui.statusLabel.text)
    driver.picture("simulated", "resultCollapsibleButton")
    for shown in ("ideal", "reference", "corrupted"):
        choose(driver, "shown", shown)
        widget.result.onDisplayChanged()
        driver.picture(f"shown-{shown}", "resultCollapsibleButton")


def cancel(driver: Driver) -> None:
    """A job that is cancelled leaves the scene as it was."""
    before = slicer.mrmlScene.GetNumberOfNodes()
    driver.ui.simulateButton.click()
    driver.wait(lambda: driver.ui.progressBar.value > 0, 120.0)
    driver.ui.cancelButton.click()
    driver.wait(lambda: not driver.widget.work.running, 60.0)
    check("Cancelled" in driver.ui.statusLabel.text, driver.ui.statusLabel.text)
    check(slicer.mrmlScene.GetNumberOfNodes() == before, "a cancelled job left nodes behind")


def samples(driver: Driver) -> None:
    """Three variants, half of them random, into a folder."""
    ui, parameters = driver.ui, driver.widget._parameterNode
    check(not ui.samplesButton.enabled, "variants can be written without a folder")
    with tempfile.TemporaryDirectory() as folder:
        parameters.samplesFolder = folder
        parameters.samples, parameters.randomShare = 3, 50
        ui.samplesCollapsibleButton.collapsed = False
        background(driver, ui.samplesButton)
        check("3 cases" in ui.resultLabel.text, ui.resultLabel.text + ui.statusLabel.text)
        cases = sorted(path.name for path in Path(folder).iterdir())
        check(cases == [f"case-{i:05d}" for i in range(3)], f"{cases}")
    driver.picture("samples", "samplesCollapsibleButton")


def drive_phantom(driver: Driver) -> None:
    ui, widget = driver.ui, driver.widget
    slicer.mrmlScene.Clear()
    driver.picture("empty", "hintLabel")
    check(not ui.simulateButton.enabled, "Simulate is on in an empty scene")
    ui.spinePhantomButton.click()
    check(ui.inputSelector.currentNode() is not None, ui.statusLabel.text)
    driver.picture("phantom", "hintLabel")

    widget._parameterNode.levels = "L3 L4 L5"
    ui.proposeButton.click()
    proposed = ui.implantsTable.rowCount
    check(proposed >= 6, f"{proposed} implants are proposed")
    driver.picture("proposed", "implantsCollapsibleButton")
    grades = quality(driver)
    check(any(row[4] == "A" for row in grades), "no grade is shown")
    driver.picture("measured", "implantsCollapsibleButton")
    edit_screw(driver)
    draw_copy_remove(driver, proposed)
    cancel(driver)
    widget.logic.tools.views.hideTable()
    bone = ui.boneSelector.currentNode()
    widget.logic.tools.views.showPlaced(widget.logic.implants(), bone, fromBehind=True)
    zoom(300.0)
    simulate(driver)
    samples(driver)
    saved_scene(driver)
    bad_input(driver)


def edit_screw(driver: Driver) -> None:
    """A screw by its sliders and by its line; the rod follows."""
    ui, widget = driver.ui, driver.widget
    ui.implantsTable.selectRow(0)
    ui.alignButton.click()
    driver.picture("aligned", "selectedCollapsibleButton")
    before = ui.lengthSlider.value
    ui.lengthSlider.value = before - 5
    chosen = widget.implants.selected()[0]
    check(chosen.implant.length_mm == before - 5, "the slider does not change the length")
    rod = next(one for one in widget.logic.implants() if one.implant.kind == "rod")
    path = np.array(rod.implant.path_mm)
    entry = np.array(chosen.line.GetNthControlPointPositionWorld(0))
    chosen.line.SetNthControlPointPositionWorld(0, *(entry + np.array([0.0, -6.0, 0.0])))
    driver.wait(lambda: np.abs(np.array(rod.implant.path_mm) - path).max() > 1.0, 10.0)
    driver.picture("line-moved", "selectedCollapsibleButton")
    ui.fitButton.click()
    check(chosen.implant.length_mm > before - 5, f"not fitted: {ui.statusLabel.text}")
    driver.picture("fitted", "selectedCollapsibleButton")
    ui.straightenButton.click()


def draw_copy_remove(driver: Driver, proposed: int) -> None:
    """One by hand, a copy, and one less."""
    ui, widget = driver.ui, driver.widget
    entry = np.array(widget.logic.implants()[0].line.GetNthControlPointPositionWorld(0))
    ui.drawButton.click()
    line = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")[-1]
    for shift in (0.0, -40.0):
        line.AddControlPoint(*(entry + np.array([0.0, -shift, 40.0])))
    driver.wait(lambda: ui.implantsTable.rowCount == proposed + 1, 10.0)
    driver.picture("drawn", "addCollapsibleButton")
    drawn = next(one for one in widget.logic.implants() if one.line is line)
    widget.implants.select(drawn)
    ui.duplicateButton.click()
    check(ui.implantsTable.rowCount == proposed + 2, "no copy was made")
    ui.removeButton.click()
    widget.implants.select(drawn)
    ui.removeButton.click()
    check(ui.implantsTable.rowCount == proposed, "the copies are still there")
    kinds = [one.implant.kind for one in widget.logic.implants()]
    check(kinds.count("rod") == 2, "a rod is gone")


def saved_scene(driver: Driver) -> None:
    """Everything stays editable after saving and loading."""
    ui, widget = driver.ui, driver.widget
    names = [row[0] for row in rows_of(ui.implantsTable)]
    before = widget.logic.implants()[0].implant.length_mm
    with tempfile.TemporaryDirectory() as folder:
        scene = str(Path(folder) / "scene.mrb")
        check(slicer.util.saveScene(scene), "the scene cannot be saved")
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(scene)
    check([row[0] for row in rows_of(ui.implantsTable)] == names, "the implants did not come back")
    check(widget._parameterNode.levels == "L3 L4 L5", "the choices did not come back")
    ui.implantsTable.selectRow(0)
    ui.lengthSlider.value = before - 5
    check(widget.implants.selected()[0].implant.length_mm == before - 5, "a loaded screw is fixed")
    driver.picture("scene-loaded", "selectedCollapsibleButton")


def bad_input(driver: Driver) -> None:
    """What cannot work is said in words, and nothing is lost."""
    ui, widget = driver.ui, driver.widget
    volume = widget._parameterNode.inputVolume
    count = ui.implantsTable.rowCount
    ui.implantsTable.selectRow(0)
    one = widget.implants.selected()[0]
    from SimulateImplantsLib.mrml import set_matrix

    matrix = one.matrix()
    away = matrix.copy()
    away[:3, 3] += 2000.0
    set_matrix(one, away)
    ui.voxelizeButton.click()
    said = ui.statusLabel.text + ui.resultLabel.text
    check("outside" in said, f"an implant outside the volume: {said!r}")
    driver.picture("outside", "simulationCollapsibleButton")
    set_matrix(one, matrix)

    metres = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "In metres")
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(0.02)
    sphere.Update()
    metres.SetAndObservePolyData(sphere.GetOutput())
    ui.surfaceSelector.setCurrentNode(metres)
    ui.addSurfaceButton.click()
    check("mm" in ui.statusLabel.text, f"a surface in metres: {ui.statusLabel.text!r}")
    driver.picture("metres", "addCollapsibleButton")
    # Words for a level, a size and a bone threshold that there is not.
    levels, threshold = widget._parameterNode.levels, widget._parameterNode.boneThresholdHu
    widget._parameterNode.levels = "L9"
    ui.proposeButton.click()
    check("L9" in ui.statusLabel.text, f"a level L9: {ui.statusLabel.text!r}")
    driver.picture("unknown-level", "implantsCollapsibleButton")
    widget._parameterNode.levels = levels
    widget.implants.select(one)
    thick = one.implant.diameter_mm
    for typed, words in (("900", "outside"), ("thick", "thick")):
        ui.parametersTable.item(0, 1).setText(typed)
        check(words in ui.statusLabel.text, f"a diameter {typed}: {ui.statusLabel.text!r}")
    check(one.implant.diameter_mm == thick, "a wrong size was taken")
    water = slicer.util.addVolumeFromArray(np.zeros((8, 32, 32), np.int16), name="Water")
    ui.inputSelector.setCurrentNode(water)
    background(driver, ui.thresholdButton)
    check("no bone" in ui.statusLabel.text, f"no bone: {ui.statusLabel.text!r}")
    driver.picture("no-bone", "boneCollapsibleButton")
    ui.inputSelector.setCurrentNode(volume)
    slicer.mrmlScene.RemoveNode(water)
    widget._parameterNode.boneThresholdHu = threshold
    check(ui.implantsTable.rowCount == count, "something was added or lost")
    check(widget._parameterNode.inputVolume is volume, "the CT was lost")


def drive_patient(driver: Driver, file: Path, clicks: Any, spine: bool) -> None:
    ui, widget = driver.ui, driver.widget
    slicer.mrmlScene.Clear()
    volume = slicer.util.loadVolume(str(file))
    ui.inputSelector.setCurrentNode(volume)
    widget._parameterNode.boneThresholdHu = 170
    background(driver, ui.thresholdButton)
    check(ui.boneSelector.currentNode() is not None, ui.statusLabel.text)
    click(driver, volume, clicks)
    driver.picture("clicked", "boneCollapsibleButton")
    if spine:
        ui.splitButton.click()
        segments = ui.boneSelector.currentNode().GetSegmentation()
        check(segments.GetNumberOfSegments() == len(clicks), "parting")
        driver.picture("vertebrae", "boneCollapsibleButton")
    choose(driver, "proposal", "spine" if spine else "total-hip")
    ui.proposeButton.click()
    check(ui.implantsTable.rowCount > 0, ui.statusLabel.text)
    driver.picture("proposed", "implantsCollapsibleButton")
    quality(driver)
    driver.picture("measured", "implantsCollapsibleButton")
    ui.implantsTable.selectRow(0)
    ui.alignButton.click()
    driver.picture("aligned", "selectedCollapsibleButton")
    ui.straightenButton.click()
    ui.implantsTable.clearSelection()
    widget.logic.tools.views.hideTable()
    widget.logic.tools.views.showPlaced(
        widget.logic.implants(), ui.boneSelector.currentNode(), fromBehind=spine
    )
    zoom(250.0 if spine else 400.0)
    simulate(driver)


def drive(driver: Driver, patient: str) -> None:
    if patient == "phantom":
        drive_phantom(driver)
    elif patient == "spine":
        drive_patient(driver, SPINE, SPINE_CLICKS, spine=True)
    else:
        drive_patient(driver, HIP, HIP_CLICKS, spine=False)


options = arguments()
run("SimulateImplants", options.output, lambda driver: drive(driver, options.patient))
