"""Drive the panel SimulateImplants through its whole workflow, with a picture of each step.

    Slicer --testing --additional-module-paths MetalArtifactReduction SimulateImplants \\
        --python-script Testing/Slicer/drive_simulate_implants.py \\
        [--patient phantom|spine|hip] [--output FOLDER]

``phantom`` makes its own patient; ``spine`` and ``hip`` take the CTs in ../shared/data and the
clicks below. Needs a screen; a virtual one will do. Ends with exit code 0 when every check held.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
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
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "implants")
    return parser.parse_known_args(sys.argv[1:])[0]


def choose(driver: Driver, name: str, value: str) -> None:
    """Set a choice of the parameter node by its value."""
    kind = type(getattr(driver.widget._parameterNode, name))
    setattr(driver.widget._parameterNode, name, kind(value))


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


def simulate(driver: Driver) -> None:
    """Voxelise and simulate; look at the results."""
    ui = driver.ui
    ui.voxelizeButton.click()
    driver.picture("voxelised", "simulationCollapsibleButton")
    ui.simulateButton.click()
    check("Slices with implants" in ui.resultLabel.text, ui.statusLabel.text)
    driver.picture("simulated", "resultCollapsibleButton")
    for shown in ("ideal", "reference", "corrupted"):
        choose(driver, "shown", shown)
        driver.widget.onDisplayChanged()
        driver.picture(f"shown-{shown}", "resultCollapsibleButton")


def drive_phantom(driver: Driver) -> None:
    ui, widget = driver.ui, driver.widget
    slicer.mrmlScene.Clear()
    driver.picture("empty", "inputCollapsibleButton")
    check(not ui.simulateButton.enabled, "Simulate is on in an empty scene")
    ui.spinePhantomButton.click()
    check(ui.inputSelector.currentNode() is not None, ui.statusLabel.text)
    driver.picture("phantom", "inputCollapsibleButton")

    widget._parameterNode.levels = "L3 L4 L5"
    ui.proposeButton.click()
    proposed = ui.implantsTable.rowCount
    check(proposed >= 6, f"{proposed} implants are proposed")
    driver.picture("proposed", "implantsCollapsibleButton")
    grades = quality(driver)
    check(any("A" in cell for row in grades for cell in row), "no grade is shown")
    driver.picture("measured", "implantsCollapsibleButton")

    # A screw by its sliders and by its line; the rod follows.
    ui.implantsTable.selectRow(0)
    ui.alignButton.click()
    driver.picture("aligned", "selectedCollapsibleButton")
    before = ui.lengthSlider.value
    ui.lengthSlider.value = before - 5
    chosen = widget._selected()[0]
    check(chosen.implant.length_mm == before - 5, "the slider does not change the length")
    rod = next(one for one in widget.logic.implants() if one.implant.kind == "rod")
    path = np.array(rod.implant.path_mm)
    entry = np.array(chosen.line.GetNthControlPointPositionWorld(0))
    chosen.line.SetNthControlPointPositionWorld(0, *(entry + np.array([0.0, -6.0, 0.0])))
    driver.wait(lambda: np.abs(np.array(rod.implant.path_mm) - path).max() > 1.0, 10.0)
    driver.picture("line-moved", "selectedCollapsibleButton")

    # One by hand, a copy, and one less.
    ui.drawButton.click()
    line = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")[-1]
    for shift in (0.0, -40.0):
        line.AddControlPoint(*(entry + np.array([0.0, -shift, 40.0])))
    driver.wait(lambda: ui.implantsTable.rowCount == proposed + 1, 10.0)
    driver.picture("drawn", "addCollapsibleButton")
    ui.implantsTable.selectRow(proposed)
    ui.duplicateButton.click()
    check(ui.implantsTable.rowCount == proposed + 2, "no copy was made")
    ui.removeButton.click()
    ui.implantsTable.selectRow(proposed)
    ui.removeButton.click()
    check(ui.implantsTable.rowCount == proposed, "the copies are still there")

    simulate(driver)

    # Everything stays editable after saving and loading.
    names = [row[0] for row in rows_of(ui.implantsTable)]
    with tempfile.TemporaryDirectory() as folder:
        scene = str(Path(folder) / "scene.mrb")
        check(slicer.util.saveScene(scene), "the scene cannot be saved")
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(scene)
    slicer.util.selectModule("Data")
    slicer.util.selectModule("SimulateImplants")
    check([row[0] for row in rows_of(ui.implantsTable)] == names, "the implants did not come back")
    check(widget._parameterNode.levels == "L3 L4 L5", "the choices did not come back")
    ui.implantsTable.selectRow(0)
    ui.lengthSlider.value = before - 10
    check(widget._selected()[0].implant.length_mm == before - 10, "a loaded screw is fixed")
    driver.picture("scene-loaded", "selectedCollapsibleButton")
    bad_input(driver)


def bad_input(driver: Driver) -> None:
    """What cannot work is said in words, and nothing is lost."""
    ui, widget = driver.ui, driver.widget
    volume = widget._parameterNode.inputVolume
    count = ui.implantsTable.rowCount
    ui.implantsTable.selectRow(0)
    one = widget._selected()[0]
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
    check(ui.implantsTable.rowCount == count, "something was added or lost")
    check(widget._parameterNode.inputVolume is volume, "the CT was lost")


def drive_patient(driver: Driver, file: Path, clicks: Any, spine: bool) -> None:
    ui, widget = driver.ui, driver.widget
    slicer.mrmlScene.Clear()
    volume = slicer.util.loadVolume(str(file))
    ui.inputSelector.setCurrentNode(volume)
    widget._parameterNode.boneThresholdHu = 170
    ui.thresholdButton.click()
    check(ui.boneSelector.currentNode() is not None, ui.statusLabel.text)
    click(driver, volume, clicks)
    driver.picture("clicked", "boneCollapsibleButton")
    if spine:
        ui.splitButton.click()
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
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
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
