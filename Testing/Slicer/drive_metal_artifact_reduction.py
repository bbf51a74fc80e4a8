"""Drive the panel MetalArtifactReduction through its whole workflow, with a picture of each step.

    Slicer --testing --additional-module-paths MetalArtifactReduction SimulateImplants \\
        --python-script Testing/Slicer/drive_metal_artifact_reduction.py \\
        [--input CT.nii.gz] [--output FOLDER] [--method nmar|li|...] [--also METHOD ...] \\
        [--dicom FOLDER]

Needs a screen; a virtual one will do. Ends with exit code 0 when every check held.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import slicer
import vtk

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driving import SHARED_DATA, Driver, check, rows_of, run

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
    ui, widget = driver.ui, driver.widget
    slicer.mrmlScene.Clear()
    if options.dicom is not None:
        drive_dicom(driver, options.dicom)
        return
    driver.picture("empty", "inputCollapsibleButton")
    check(not ui.applyButton.enabled, "Apply is on without a CT")
    check_tab_order(widget)

    # What is not CT is refused in words.
    photo = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    ui.inputSelector.setCurrentNode(photo)
    check("not a CT" in ui.inputMessageLabel.text, "a colour volume is not refused")
    driver.picture("not-a-ct", "inputCollapsibleButton")
    slicer.mrmlScene.RemoveNode(photo)

    volume = slicer.util.loadVolume(str(options.input))
    ui.inputSelector.setCurrentNode(volume)
    widget.logic.setDisplay(volume, "bone", 0.5)
    driver.picture("ct", "inputCollapsibleButton")
    check(ui.proposeButton.enabled, ui.inputMessageLabel.text)

    # Metal: by K-means, then by a threshold of the user's, then by that of the CT.
    parameters = widget._parameterNode
    choices = sys.modules["MetalArtifactReductionPanel.choices"]

    def propose(name: str) -> None:
        ui.proposeButton.click()
        driver.wait(lambda: widget._proposal is None)
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
    voxels = widget._parts[0].volume_mm3
    erode(widget._editor)
    ui.editButton.click()
    check(not ui.partsTable.rowCount or widget._parts[0].volume_mm3 < voxels, "edited in vain")
    propose("metal-again")
    check(not ui.editorFrame.visible, "the editor is still there")

    method = type(widget._parameterNode.method)
    for one in method:
        widget._parameterNode.method = one
        driver.picture(f"method-{one.value}", "methodCollapsibleButton")
    widget._parameterNode.method = method(options.method)
    driver.wait(lambda: widget.logic.jobs.idle)
    driver.picture("estimate", "methodCollapsibleButton")
    print("estimated:", ui.estimateLabel.text, flush=True)

    began = time.monotonic()
    ui.applyButton.click()
    handle = widget.logic.jobHandles()[-1]
    driver.wait(lambda: handle.ended or handle.fraction > 0.3)
    driver.picture("running", "runCollapsibleButton")
    driver.wait(lambda: handle.ended)
    check(handle.done, handle.error)
    print(f"corrected in {time.monotonic() - began:.1f} s", flush=True)
    driver.wait(lambda: ui.measuresTable.rowCount > 5)
    driver.picture("result", "resultCollapsibleButton")

    parameters.window = choices.WindowPreset.SOFT_TISSUE
    widget.onDisplayChanged()
    driver.picture("result-soft-tissue", "resultCollapsibleButton")
    expected_error(driver, "result")
    ui.regionButton.click()
    parameters.views = choices.Views.FIGURES
    widget.onShowButton()
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
    widget.onShowButton()
    driver.picture("four-up", "resultCollapsibleButton")
    report = driver.folder / "report.html"
    widget.saveReport(str(report))
    check(report.stat().st_size > 100_000, "the report is too small to hold pictures")
    driver.picture("report-written", "exportLabel")

    check(ui.exportButton.toolTip, "nobody says why there is no DICOM")
    print("DICOM:", ui.exportButton.toolTip, flush=True)

    for name in options.also:
        parameters.method = method(name)
        check(ui.applyButton.enabled, f"{name}: {ui.methodLabel.text}")
        began = time.monotonic()
        ui.applyButton.click()
        handle = widget.logic.jobHandles()[-1]
        driver.wait(lambda handle=handle: handle.ended or handle.fraction > 0.3)
        driver.picture(f"{name}-running", "runCollapsibleButton")
        driver.wait(lambda handle=handle: handle.ended)
        check(handle.done, f"{name}: {handle.error}")
        print(f"{name}: corrected in {time.monotonic() - began:.1f} s", flush=True)
        driver.wait(lambda: ui.measuresTable.rowCount > 5 and widget.logic.jobs.idle)
        print(rows_of(ui.measuresTable), flush=True)
        parameters.views = choices.Views.COMPARISON
        widget.onShowButton()
        driver.picture(f"{name}-result", "resultCollapsibleButton")
        print(ui.resultLabel.text, flush=True)
        expected_error(driver, name)
        parameters.views = choices.Views.FOUR_UP

    # Where the results are in the scene.
    slicer.util.selectModule("Data")
    driver.window_picture("data")
    slicer.util.selectModule("MetalArtifactReduction")

    # The panel comes back with the scene.
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
    widget.onShowButton()
    driver.picture("scene-loaded", "resultCollapsibleButton")

    bad_input(driver, widget._parameterNode.inputVolume)

    # Cancelled in the middle.
    ui.applyButton.click()
    handle = widget.logic.jobHandles()[-1]
    driver.wait(lambda: handle.fraction > 0.2)
    volumes = len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
    ui.cancelButton.click()
    driver.wait(lambda: handle.ended)
    check(handle.state.value == "cancelled", "it was not cancelled")
    check(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == volumes, "half a result")
    check(processes() == [], f"processes are left: {processes()}")
    driver.picture("cancelled", "runCollapsibleButton")

    # Several in the queue; one is cancelled, the scene is closed under the rest.
    for _ in range(3):
        ui.applyButton.click()
    handles = widget.logic.jobHandles()[-3:]
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

    # Reload: module, panel and library.
    before = id(sys.modules["MetalArtifactReductionLib"])
    widget.onReload()
    driver.widget = slicer.util.getModuleWidget("MetalArtifactReduction")
    check(id(sys.modules["MetalArtifactReductionLib"]) != before, "the library was not reloaded")
    driver.picture("reloaded", "inputCollapsibleButton")


def expected_error(driver: Driver, name: str) -> None:
    """The map of expected errors over the result, where there is one."""
    ui, widget = driver.ui, driver.widget
    parameters = widget._parameterNode
    overlays = type(parameters.overlay)
    known = widget.logic.knowsExpectedError(parameters.result)
    print(f"{name}: expected error known: {known}; {ui.overlayLabel.text}", flush=True)
    check(ui.overlayComboBox.enabled == known, "the choice of the map does not fit the result")
    rows = [row for row in rows_of(ui.measuresTable) if "xpected error" in row[0]]
    check(len(rows) == (2 if known else 0), f"expected errors in the table: {rows}")
    if not known:
        check("does not know" in ui.overlayComboBox.toolTip, "nobody says why there is no map")
        return
    check(all(row[1] == "-" and float(row[2]) > 0 for row in rows), str(rows))
    parameters.overlay = overlays.EXPECTED_ERROR
    widget.onShowButton()
    driver.picture(f"{name}-expected-error", "resultCollapsibleButton")
    check("Expected error" in ui.overlayLabel.text, "the colours are not explained")
    parameters.overlay = overlays.CHANGE
    widget.onShowButton()


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
    widget._parameterNode.method = type(widget._parameterNode.method)("li")
    ui.applyButton.click()
    handle = widget.logic.jobHandles()[-1]
    driver.wait(lambda: handle.ended)
    check(handle.done, handle.error)
    driver.wait(lambda: widget.logic.jobs.idle and ui.measuresTable.rowCount > 5)
    check(hierarchy.GetItemParent(handle.nodes.folder) == study, "the folder is not in the study")
    check(ui.exportButton.enabled, ui.exportButton.toolTip)
    with tempfile.TemporaryDirectory() as out:
        widget.exportDicom(out)
        written = sorted(Path(out).rglob("*.dcm"))
        print(f"{len(written)} DICOM files: {ui.exportLabel.text}", flush=True)
        check(len(written) == 2 * len(files) + 1, "files are missing")
        driver.picture("dicom-written", "exportLabel")
    slicer.util.selectModule("Data")
    driver.window_picture("dicom-data")


class Files:
    """Stands in for Slicer's DICOM database."""

    def __init__(self, files: dict[str, str]) -> None:
        self.isOpen = False  # for the annotations in the views
        self.fileForInstance = lambda uid: files.get(uid, "")


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


def erode(editor: Any) -> None:
    """Make the metal a voxel thinner, with the Segment Editor's own tool."""
    editor._widget.setActiveEffectByName("Margin")
    effect = editor._widget.activeEffect()
    effect.setParameter("MarginSizeMm", "-3.2")
    effect.self().onApply()


def bad_input(driver: Driver, volume: Any) -> None:
    """What cannot be corrected is said in words, and nothing is added."""
    ui, widget = driver.ui, driver.widget
    good = widget._parameterNode.metalSegmentation

    def refused(name: str, metal: Any, words: str) -> None:
        ui.metalSelector.setCurrentNode(metal)
        jobs = len(widget.logic.jobHandles())
        ui.applyButton.click()
        for handle in widget.logic.jobHandles()[jobs:]:
            driver.wait(lambda handle=handle: handle.ended)
            check(not handle.done, f"{name}: was corrected")
        check(words in ui.statusLabel.text, f"{name}: {ui.statusLabel.text!r}")
        print(f"{name}: {ui.statusLabel.text}", flush=True)
        driver.picture(name, "runCollapsibleButton")
        slicer.mrmlScene.RemoveNode(metal)

    refused("empty-metal", widget.logic.newSegmentation(volume), "empty")
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
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Times")
    for time_point in range(2):
        series.SetDataNodeAtValue(volume, str(time_point))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(series.GetID())
    slicer.app.processEvents()
    for name, one in {
        "sagittal": sagittal,
        "time-point": browser.GetProxyNode(series),
        "single-slice": slicer.util.addVolumeFromArray(array[5:6].copy(), name="One slice"),
        "no-air": slicer.util.addVolumeFromArray(np.full((4, 64, 64), 40, np.int16), name="Flat"),
    }.items():
        ui.inputSelector.setCurrentNode(one)
        said = f"{ui.inputMessageLabel.text} {ui.inputNoteLabel.text}".strip()
        print(f"{name}: {said!r}", flush=True)
        driver.picture(name, "inputCollapsibleButton")
        slicer.mrmlScene.RemoveNode(one)
    ui.inputSelector.setCurrentNode(volume)
    ui.metalSelector.setCurrentNode(good)


def ijk_to_ras(volume: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def segmentation(volume: Any, threshold_hu: float) -> Any:
    """What is brighter, as a user's own segmentation."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    mask = (slicer.util.arrayFromVolume(volume) > threshold_hu).astype(np.uint8)
    name = node.GetSegmentation().AddEmptySegment("", "Drawn")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, volume)
    return node


def processes() -> list[str]:
    """Command lines of this Slicer's workers that still run (on Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            status = (folder / "status").read_text()
        except OSError:
            continue
        mine = f"PPid:\t{os.getpid()}\n" in status
        if mine and "MetalArtifactReductionLib.jobs.worker" in command:
            found.append(command)
    return found


options = arguments()
run("MetalArtifactReduction", options.output, lambda driver: drive(driver, options))
