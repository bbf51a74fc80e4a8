"""Drive the panel MetalArtifactReduction through its whole workflow, with a picture of each step.

    Slicer --testing --additional-module-paths MetalArtifactReduction SimulateImplants \\
        --python-script Testing/Slicer/drive_metal_artifact_reduction.py \\
        [--input CT.nii.gz] [--output FOLDER] [--method nmar|li|...] [--also METHOD ...] \\
        [--dicom FOLDER]

Needs a screen; a virtual one will do. Ends with exit code 0 when every check held.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driving import (
    SHARED_DATA,
    Driver,
    Files,
    check,
    erode,
    ijk_to_ras,
    processes,
    rows_of,
    run,
    segmentation,
    time_point,
)

INPUT = SHARED_DATA / "totalseg_example_hip_nail_3mm.nii.gz"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, default=INPUT)
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "mar-pictures")
    parser.add_argument("--method", default="nmar")
    parser.add_argument("--also", nargs="*", default=[], help="further methods to correct with")
    parser.add_argument("--dicom", type=Path, help="drive only the way of a DICOM series")
    return parser.parse_known_args(sys.argv[1:])[0]


def drive(driver: Driver, options: argparse.Namespace) -> None:
    slicer.mrmlScene.Clear()
    if options.dicom is not None:
        drive_dicom(driver, options.dicom)
        return
    drive_input(driver, options.input)
    drive_metal(driver)
    drive_method(driver, options.method)
    drive_result(driver)
    for name in options.also:
        drive_another(driver, name)
    drive_saved_scene(driver)
    bad_input(driver, driver.widget._parameterNode.inputVolume)
    drive_cancel(driver)
    drive_queue(driver)
    drive_reload(driver)


def drive_input(driver: Driver, file: Path) -> None:
    """An empty panel, what is not CT, then a CT."""
    ui, widget = driver.ui, driver.widget
    driver.picture("empty", "inputCollapsibleButton")
    check(not ui.applyButton.enabled, "Apply is on without a CT")
    check_tab_order(widget)

    photo = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    ui.inputSelector.setCurrentNode(photo)
    check("not a CT" in ui.inputMessageLabel.text, "a colour volume is not refused")
    driver.picture("not-a-ct", "inputCollapsibleButton")
    slicer.mrmlScene.RemoveNode(photo)

    volume = slicer.util.loadVolume(str(file))
    ui.inputSelector.setCurrentNode(volume)
    driver.picture("ct", "inputCollapsibleButton")
    check(ui.proposeButton.enabled, ui.inputMessageLabel.text)


def drive_metal(driver: Driver) -> None:
    """By K-means, then by a threshold of the user's, then by that of the CT; edited."""
    ui, widget = driver.ui, driver.widget
    parameters = widget._parameterNode
    choices = sys.modules["MetalArtifactReductionPanel.choices"]

    def propose(name: str) -> None:
        ui.proposeButton.click()
        driver.wait(lambda: widget.metal.proposal is None)
        check(ui.metalSelector.currentNode() is not None, ui.metalMessageLabel.text)
        check(ui.partsTable.rowCount > 0, "no parts are listed")
        print(f"{name}: {ui.metalMessageLabel.text}", flush=True)
        driver.picture(name, "metalCollapsibleButton")

    parameters.metalMethod = choices.MetalMethod.KMEANS
    propose("metal-kmeans")
    parameters.metalMethod = choices.MetalMethod.THRESHOLD
    parameters.automaticThreshold = False
    parameters.thresholdHu = 2000
    propose("metal-own-threshold")
    parameters.automaticThreshold = True
    propose("metal")
    ui.partsTable.selectRow(0)
    ui.editButton.click()
    driver.picture("metal-edited", "metalCollapsibleButton")
    voxels = widget.metal.parts[0].volume_mm3
    erode(widget.metal.editor)
    ui.editButton.click()
    check(not ui.partsTable.rowCount or widget.metal.parts[0].volume_mm3 < voxels, "edited in vain")
    propose("metal-again")
    check(not ui.editorFrame.visible, "the editor is still there")


def drive_method(driver: Driver, method: str) -> None:
    """Every method's explanation, then a correction with one."""
    ui, widget = driver.ui, driver.widget
    for name in sys.modules["MetalArtifactReductionPanel.choices"].methods():
        widget._parameterNode.method = name
        driver.picture(f"method-{name}", "methodCollapsibleButton")
    widget._parameterNode.method = method
    driver.wait(lambda: widget.logic.jobs.idle)
    driver.picture("estimate", "methodCollapsibleButton")
    print("estimated:", ui.estimateLabel.text, flush=True)

    correct(driver, "running")
    driver.picture("result", "resultCollapsibleButton")


def correct(driver: Driver, name: str) -> None:
    """With the method that is chosen; a picture on the way."""
    ui, widget = driver.ui, driver.widget
    check(ui.applyButton.enabled, ui.methodLabel.text)
    began = time.monotonic()
    ui.applyButton.click()
    handle = widget.logic.jobs.handles()[-1]
    driver.wait(lambda: handle.ended or handle.fraction > 0.3)
    driver.picture(name, "runCollapsibleButton")
    driver.wait(lambda: handle.ended)
    check(handle.done, handle.error)
    print(f"{name}: corrected in {time.monotonic() - began:.1f} s", flush=True)
    driver.wait(lambda: ui.measuresTable.rowCount > 5 and widget.logic.jobs.idle)


def drive_result(driver: Driver) -> None:
    """Windows, maps, boxes, layouts, flicker, report."""
    ui, widget = driver.ui, driver.widget
    parameters = widget._parameterNode
    choices = sys.modules["MetalArtifactReductionPanel.choices"]
    parameters.window = choices.WindowPreset.SOFT_TISSUE
    widget.result.onDisplayChanged()
    driver.picture("result-soft-tissue", "resultCollapsibleButton")
    expected_error(driver, "result")
    ui.regionButton.click()
    parameters.views = choices.Views.FIGURES
    widget.result.showResult()
    driver.picture("figures", "measuresTable")
    ui.flickerButton.click()
    seen = set()

    def both_were_seen() -> bool:
        seen.add(ui.flickerButton.text)
        return len(seen) >= 3  # the first text, original, corrected

    driver.wait(both_were_seen)
    driver.picture("flicker", "resultCollapsibleButton")
    ui.flickerButton.click()
    parameters.views = choices.Views.FOUR_UP
    widget.result.showResult()
    driver.picture("four-up", "resultCollapsibleButton")
    report = driver.folder / "report.html"
    widget.figures.saveReport(str(report))
    check(report.stat().st_size > 100_000, "the report is too small to hold pictures")
    driver.picture("report-written", "exportLabel")

    check(ui.exportButton.toolTip, "nobody says why there is no DICOM")
    print("DICOM:", ui.exportButton.toolTip, flush=True)


def drive_another(driver: Driver, name: str) -> None:
    """Correct again with another method."""
    ui, widget = driver.ui, driver.widget
    parameters = widget._parameterNode
    choices = sys.modules["MetalArtifactReductionPanel.choices"]
    parameters.method = name
    correct(driver, f"{name}-running")
    print(rows_of(ui.measuresTable), flush=True)
    parameters.views = choices.Views.COMPARISON
    widget.result.showResult()
    driver.picture(f"{name}-result", "resultCollapsibleButton")
    print(ui.resultLabel.text, flush=True)
    expected_error(driver, name)
    parameters.views = choices.Views.FOUR_UP


def drive_saved_scene(driver: Driver) -> None:
    """Where the results are in the scene, and that the panel comes back with it."""
    ui, widget = driver.ui, driver.widget
    slicer.util.selectModule("Data")
    driver.window_picture("data")
    slicer.util.selectModule("MetalArtifactReduction")

    texts = rows_of(ui.measuresTable)
    with tempfile.TemporaryDirectory() as folder:
        scene = str(Path(folder) / "scene.mrb")
        check(slicer.util.saveScene(scene), "the scene cannot be saved")
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(scene)
    slicer.util.selectModule("Data")
    slicer.util.selectModule("MetalArtifactReduction")
    check(rows_of(ui.measuresTable) == texts, "the figures did not come back")
    check(widget._parameterNode.views.value == "four-up", "the choices did not come back")
    widget.result.showResult()
    driver.picture("scene-loaded", "resultCollapsibleButton")


def drive_cancel(driver: Driver) -> None:
    """Cancelled in the middle."""
    ui, widget = driver.ui, driver.widget
    ui.applyButton.click()
    handle = widget.logic.jobs.handles()[-1]
    driver.wait(lambda: handle.fraction > 0.2)
    volumes = len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
    ui.cancelButton.click()
    driver.wait(lambda: handle.ended)
    check(handle.state.value == "cancelled", "it was not cancelled")
    check(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == volumes, "half a result")
    check(processes() == [], f"processes are left: {processes()}")
    driver.picture("cancelled", "runCollapsibleButton")


def drive_queue(driver: Driver) -> None:
    """Several in the queue; one is cancelled, the scene is closed under the rest."""
    ui, widget = driver.ui, driver.widget
    for _ in range(3):
        ui.applyButton.click()
    handles = widget.logic.jobs.handles()[-3:]
    driver.wait(lambda: handles[0].state.value == "running")
    ui.jobsTable.selectRow(ui.jobsTable.rowCount - 1)
    ui.cancelButton.click()
    driver.wait(lambda: handles[2].ended)
    check(handles[2].state.value == "cancelled", "the selected job was not cancelled")
    check(not handles[0].ended, "another job than the selected one was cancelled")
    driver.picture("queue", "runCollapsibleButton")
    slicer.mrmlScene.Clear()
    driver.wait(lambda: all(one.ended for one in handles))
    driver.picture("scene-closed", "runCollapsibleButton")
    check(not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), "something was added")
    check(processes() == [], f"processes are left: {processes()}")


def drive_reload(driver: Driver) -> None:
    """Module, panel and library."""
    before = id(sys.modules["MetalArtifactReductionLib"])
    driver.widget.onReload()
    driver.widget = slicer.util.getModuleWidget("MetalArtifactReduction")
    check(id(sys.modules["MetalArtifactReductionLib"]) != before, "the library was not reloaded")
    driver.picture("reloaded", "inputCollapsibleButton")


def expected_error(driver: Driver, name: str) -> None:
    """The map of expected errors over the result, where there is one."""
    ui, widget = driver.ui, driver.widget
    parameters = widget._parameterNode
    overlays = type(parameters.overlay)
    known = widget.logic.results.knowsExpectedError(parameters.result)
    print(f"{name}: expected error known: {known}; {ui.overlayLabel.text}", flush=True)
    check(ui.overlayComboBox.enabled == known, "the choice of the map does not fit the result")
    rows = [row for row in rows_of(ui.measuresTable) if "xpected error" in row[0]]
    check(len(rows) == (2 if known else 0), f"expected errors in the table: {rows}")
    if not known:
        check("does not know" in ui.overlayComboBox.toolTip, "nobody says why there is no map")
        return
    check(all(row[1] == "-" and float(row[2]) > 0 for row in rows), str(rows))
    parameters.overlay = overlays.EXPECTED_ERROR
    widget.result.showResult()
    driver.picture(f"{name}-expected-error", "resultCollapsibleButton")
    check("Expected error" in ui.overlayLabel.text, "the colours are not explained")
    parameters.overlay = overlays.CHANGE
    widget.result.showResult()


def drive_dicom(driver: Driver, folder: Path) -> None:
    """From a series under its study to derived series beside it."""
    import pydicom

    from MetalArtifactReductionLib.files.volumes import read_volume
    from MetalArtifactReductionLib.mrml import node_from_volume

    ui, widget = driver.ui, driver.widget
    files = sorted(map(str, folder.glob("*.dcm")))
    database = {
        str(pydicom.dcmread(one, stop_before_pixels=True).SOPInstanceUID): one for one in files
    }
    # What Slicer's DICOM module does; a build without it has no database either.
    volume = node_from_volume(slicer.mrmlScene, read_volume(folder), "Hips")
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(database))
    if getattr(slicer, "dicomDatabase", None) is None:
        slicer.dicomDatabase = Files(database)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "CT of the hips")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    ui.inputSelector.setCurrentNode(volume)
    widget._parameterNode.method = "li"
    ui.applyButton.click()
    handle = widget.logic.jobs.handles()[-1]
    driver.wait(lambda: handle.ended)
    check(handle.done, handle.error)
    driver.wait(lambda: widget.logic.jobs.idle and ui.measuresTable.rowCount > 5)
    check(hierarchy.GetItemParent(handle.nodes.folder) == study, "the folder is not in the study")
    check(ui.exportButton.enabled, ui.exportButton.toolTip)
    with tempfile.TemporaryDirectory() as out:
        widget.figures.exportDicom(out)
        written = sorted(Path(out).rglob("*.dcm"))
        print(f"{len(written)} DICOM files: {ui.exportLabel.text}", flush=True)
        check(len(written) == 2 * len(files) + 1, "files are missing")
        driver.picture("dicom-written", "exportLabel")
    slicer.util.selectModule("Data")
    driver.window_picture("dicom-data")


def check_tab_order(widget: Any) -> None:
    """The Tab key goes through the panel from top to bottom, as its file says."""
    root = ElementTree.parse(widget.resourcePath("UI/MetalArtifactReduction.ui")).getroot()
    wanted = [stop.text for stop in root.iter("tabstop")]
    first = one = widget.ui.inputSelector
    seen = []
    while True:
        if one.objectName in wanted:
            seen.append(one.objectName)
        one = one.nextInFocusChain()
        if one is first or one == first:
            break
    check(seen == wanted, f"the Tab key goes {seen}")


def bad_input(driver: Driver, volume: Any) -> None:
    """What cannot be corrected is said in words, and nothing is added."""
    ui, widget = driver.ui, driver.widget
    good = widget._parameterNode.metalSegmentation

    def refused(name: str, metal: Any, words: str) -> None:
        ui.metalSelector.setCurrentNode(metal)
        jobs = len(widget.logic.jobs.handles())
        ui.applyButton.click()
        for handle in widget.logic.jobs.handles()[jobs:]:
            driver.wait(lambda handle=handle: handle.ended)
            check(not handle.done, f"{name}: was corrected")
        check(words in ui.statusLabel.text, f"{name}: {ui.statusLabel.text!r}")
        print(f"{name}: {ui.statusLabel.text}", flush=True)
        driver.picture(name, "runCollapsibleButton")
        slicer.mrmlScene.RemoveNode(metal)

    refused("empty-metal", widget.logic.metal.newSegmentation(volume), "empty")
    refused("metal-everywhere", segmentation(volume, -400.0), "body")
    elsewhere = segmentation(volume, 1500.0)
    away = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Away")
    matrix = np.eye(4)
    matrix[0, 3] = 5000.0
    away.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    elsewhere.SetAndObserveTransformNodeID(away.GetID())
    elsewhere.HardenTransform()
    refused("metal-elsewhere", elsewhere, "volume")

    array = slicer.util.arrayFromVolume(volume)
    sagittal = slicer.util.addVolumeFromArray(array.transpose(2, 0, 1).copy(), name="Sagittal")
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras(volume))
    sagittal.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix[:, [1, 2, 0, 3]]))
    nodes = {
        "sagittal": sagittal,
        "single-slice": slicer.util.addVolumeFromArray(array[5:6].copy(), name="One slice"),
        "no-air": slicer.util.addVolumeFromArray(np.full((4, 64, 64), 40, np.int16), name="Flat"),
    }
    if hasattr(slicer, "vtkMRMLSequenceBrowserNode"):  # a build may come without that module
        nodes["time-point"] = time_point(volume)
    for name, one in nodes.items():
        ui.inputSelector.setCurrentNode(one)
        said = f"{ui.inputMessageLabel.text} {ui.inputNoteLabel.text}".strip()
        print(f"{name}: {said!r}", flush=True)
        driver.picture(name, "inputCollapsibleButton")
        slicer.mrmlScene.RemoveNode(one)
    ui.inputSelector.setCurrentNode(volume)
    ui.metalSelector.setCurrentNode(good)


options = arguments()
run("MetalArtifactReduction", options.output, lambda driver: drive(driver, options))
