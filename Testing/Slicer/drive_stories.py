"""Patients, clicked through by the panels' own buttons, with a picture of each step.

    Slicer --testing --additional-module-paths MetalArtifactReduction SimulateImplants \\
        --python-script Testing/Slicer/drive_stories.py [--output FOLDER] [--only NAME ...] \\
        [--unpacked FOLDER] [--appearance dark] [--percent 125] \\
        [--documentation Resources/Screenshots]

Prints the clicks of each story and, for each action, the longest time that Slicer did not answer;
``gaps.txt`` beside the pictures says what it was doing then. ``--documentation`` makes the
documentation's pictures of the panels anew. Needs a screen; a virtual one will do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driving import (
    SHARED_DATA,
    Driver,
    Files,
    check,
    choose_folder,
    dicom_series,
    erode,
    look,
    place_points,
    processes,
    run,
)
from placements import alar_iliac, lateral_mass, stent

from MetalArtifactReductionLib import read_volume
from MetalArtifactReductionLib.mrml import node_from_volume, results_of

HIP_NAIL = SHARED_DATA / "totalseg_example_hip_nail_3mm.nii.gz"
PELVIS = SHARED_DATA / "tcga_ov_09-2043_abdomen_pelvis.nii.gz"
HEADS = {"hip right": (185, 262, 18), "hip left": (346, 282, 21)}
"""Column, row, slice of the femoral heads of that pelvis, which holds no metal."""

LARGE = (160, 512, 512)
CORRECTION, IMPLANTS = "MetalArtifactReduction", "SimulateImplants"

PICTURES = {
    "nail-metal": "panel-metal.png",
    "nail-preview": "panel-preview.png",
    "nail-corrected": "panel-figures.png",
    "more-expected-error": "panel-prior.png",
    "spine-proposed": "panel-implants.png",
}
"""Of which step each picture in the documentation is."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "stories")
    parser.add_argument("--only", nargs="+", choices=tuple(STORIES), default=tuple(STORIES))
    parser.add_argument("--unpacked", type=Path, help="where packed CTs lie as NIfTI: for neck")
    # Qt would take "--style" for itself.
    parser.add_argument("--appearance", choices=("light", "dark"))
    parser.add_argument("--percent", type=int, default=100, help="size of the font")
    parser.add_argument("--documentation", type=Path, help="where its pictures lie")
    return parser.parse_known_args(sys.argv[1:])[0]


def opened(driver: Driver, module: str) -> None:
    driver.open(module)


def loaded(driver: Driver, file: Path) -> Any:
    """A CT that is in the scene before the panel is opened."""
    slicer.util.selectModule("Data")
    if file.is_dir():  # a series; a build of Slicer without DICOM cannot load it
        volume = node_from_volume(slicer.mrmlScene, read_volume(file), "Hip 3 mm")
    else:
        volume = slicer.util.loadVolume(str(file))
    opened(driver, CORRECTION)
    check(driver.ui.inputSelector.currentNode() is volume, "the CT is not chosen")
    return volume


def propose(driver: Driver) -> None:
    driver.click("proposeButton", lambda: driver.widget.metal.proposal is None)


def corrected(driver: Driver) -> None:
    ui, jobs = driver.ui, driver.widget.logic.jobs
    driver.click("applyButton", lambda: jobs.idle and ui.measuresTable.rowCount > 5)


def previewed(driver: Driver, action: str, change: Callable[[], None]) -> None:
    """Change something and wait for the slice."""
    label = driver.ui.previewLabel
    with driver.heartbeat.during(f"preview: {action}"):
        label.text = ""
        change()
        driver.wait(lambda: "This slice" in label.text)
    print(f"preview after {action}: {driver.heartbeat.seconds:.1f} s; {label.text}", flush=True)


@contextmanager
def series_in_database(files: Mapping[str, Path], folder: Path) -> Iterator[bool]:
    """A series in a database of its own; False where Slicer was built without DICOM."""
    if getattr(slicer, "dicomDatabase", None) is None:
        slicer.dicomDatabase = Files(files)
        yield False
        return
    from DICOMLib import DICOMUtils

    before = DICOMUtils.openTemporaryDatabase(str(folder / "database"))
    try:
        DICOMUtils.importDicom(str(folder / "CT"))
        yield True
    finally:
        # With --testing it is "." at first: a database where Slicer was started.
        DICOMUtils.closeTemporaryDatabase(None if before == "." else before)


def hip_nail(driver: Driver) -> None:
    """A nail in a hip, from a DICOM series to a derived one."""
    import pydicom

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        files = dicom_series(Path(folder) / "CT", HIP_NAIL)
        indexed = stack.enter_context(series_in_database(files, Path(folder)))
        volume = loaded(driver, Path(folder) / "CT")
        volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))
        driver.picture("nail-loaded", "inputCollapsibleButton")
        propose(driver)
        driver.picture("nail-metal", "metalCollapsibleButton")
        driver.clicks += 1
        previewed(driver, "first slice", driver.ui.previewButton.click)
        driver.picture("nail-preview", "runCollapsibleButton")
        corrected(driver)
        driver.picture("nail-corrected", "resultCollapsibleButton")
        driver.click("boneButton")
        driver.picture("nail-bone", "resultCollapsibleButton")
        choose_folder(folder)
        driver.click("exportButton", lambda: "Written" in driver.ui.exportLabel.text)
        driver.clicks += 1  # in the dialog
        driver.picture("nail-exported", "exportLabel")
        written = sorted((Path(folder) / "corrected").glob("*.dcm"))
        check(len(written) == len(files), f"{len(written)} of {len(files)} files were written")
        header = pydicom.dcmread(written[0])
        check(header.ImageType[0] == "DERIVED", f"{header.ImageType}")
        if indexed:
            found = slicer.dicomDatabase.fileForInstance(header.SOPInstanceUID)
            check(Path(found) == written[0], f"in the database: {found!r}")
        print("DICOM:", list(header.ImageType), header.DerivationDescription, flush=True)
        slicer.util.selectModule("Data")
        driver.window_picture("nail-left")
        opened(driver, CORRECTION)
        driver.picture("nail-back", "resultCollapsibleButton")


def idle(driver: Driver) -> Callable[[], bool]:
    return lambda: not driver.widget.work.running


def spine(driver: Driver) -> None:
    """Screws in a spine, one moved by hand: simulated, corrected, compared with the truth."""
    opened(driver, IMPLANTS)
    driver.click("spinePhantomButton", idle(driver))
    driver.picture("spine-phantom", "inputCollapsibleButton")
    driver.click("proposeButton", idle(driver))
    driver.picture("spine-proposed", "implantsCollapsibleButton")
    driver.ui.implantsTable.selectRow(0)
    (screw,) = driver.widget.implants.selected()
    driver.click("alignButton", idle(driver))
    driver.picture("spine-planes", "selectedCollapsibleButton")
    tip = np.array(screw.line.GetNthControlPointPositionWorld(1))
    tip[0] += 4.0
    screw.line.SetNthControlPointPositionWorld(1, *tip)
    driver.clicks += 2  # the row, and the drag
    driver.click("measureButton", idle(driver))
    driver.picture("spine-measured", "implantsCollapsibleButton")
    kind = type(driver.widget._parameterNode.model)
    driver.widget._parameterNode.model = kind("trace-maximum")  # quick, and bright
    driver.click("simulateButton", idle(driver))
    driver.picture("spine-simulated", "resultCollapsibleButton")
    ct = driver.ui.inputSelector.currentNode()
    opened(driver, CORRECTION)
    (artifacts,) = results_of(slicer.mrmlScene, ct, "corrupted")
    driver.ui.inputSelector.setCurrentNode(artifacts)
    driver.clicks += 2  # the model, and the CT
    propose(driver)
    corrected(driver)
    driver.picture("spine-corrected", "resultCollapsibleButton")
    result = driver.ui.resultSelector.currentNode()
    opened(driver, IMPLANTS)
    shown = type(driver.widget._parameterNode.shown)
    driver.widget._parameterNode.shown = shown("ideal")
    driver.widget.result.choose()
    driver.clicks += 1
    driver.picture("spine-truth", "resultCollapsibleButton")
    truth, before, after = (
        slicer.util.arrayFromVolume(node).astype(np.float32)
        for node in (results_of(slicer.mrmlScene, ct, "ideal")[0], artifacts, result)
    )
    errors = [float(np.sqrt(np.mean((hu - truth)[truth > -500] ** 2))) for hu in (before, after)]
    print(
        "RMSE to the truth: {:.0f} HU with artifacts, {:.0f} corrected".format(*errors), flush=True
    )
    check(errors[1] < errors[0], "the correction is farther from the truth")


def no_metal(driver: Driver) -> None:
    """A CT without metal: the panel says so, and what can be done."""
    loaded(driver, PELVIS)
    propose(driver)
    driver.picture("none-found", "metalCollapsibleButton")
    check(driver.ui.lowerButton.visible, "no remedy is offered")


def large(driver: Driver) -> None:
    """The nail on 160 x 512 x 512 voxels: previews, and every gap."""
    slicer.util.selectModule("Data")
    nail = slicer.util.loadVolume(str(HIP_NAIL))
    hu = slicer.util.arrayFromVolume(nail)
    # Linear: in blocks of voxels a nail's ends look like those of a bone.
    finer = ndimage.zoom(hu, np.divide(LARGE, hu.shape), order=1)
    volume = slicer.util.addVolumeFromArray(finer, name="Large")
    spacing = np.array(nail.GetSpacing()) * hu.shape[::-1] / np.array(LARGE[::-1])
    volume.SetSpacing(*spacing)
    slicer.mrmlScene.RemoveNode(nail)
    opened(driver, CORRECTION)
    check(driver.ui.inputSelector.currentNode() is volume, "the CT is not chosen")
    propose(driver)
    parameters, button = driver.widget._parameterNode, driver.ui.previewButton
    previewed(driver, "first slice, nmar", button.click)
    previewed(driver, "prior", lambda: setattr(parameters, "method", "prior"))
    driver.picture("large-preview", "runCollapsibleButton")
    previewed(driver, "li", lambda: setattr(parameters, "method", "li"))
    corrected(driver)  # by the quickest: what the result does to the panel is the same
    driver.picture("large-corrected", "resultCollapsibleButton")
    for views in ("One slice: swipe or flicker", "Corrected in three planes, metal in 3D"):
        driver.choose("viewsComboBox", views)
    driver.picture("large-four-up", "resultCollapsibleButton")
    opened(driver, IMPLANTS)
    driver.ui.inputSelector.setCurrentNode(volume)
    driver.click("thresholdButton", idle(driver))
    driver.picture("large-bone", "boneCollapsibleButton")


def hips(driver: Driver) -> None:
    """Prostheses from one click in each femoral head of a real pelvis, voxelised; a variant."""
    volume = slicer.util.loadVolume(str(PELVIS))
    opened(driver, IMPLANTS)
    driver.ui.inputSelector.setCurrentNode(volume)
    driver.widget._parameterNode.proposal = "total-hip"
    driver.click("thresholdButton", idle(driver))
    driver.click("placePointsButton")
    place_points(driver.widget._parameterNode.points, volume, HEADS)
    driver.picture("hips-bone", "boneCollapsibleButton")
    driver.click("proposeButton", idle(driver))
    driver.picture("hips-proposed", "implantsCollapsibleButton")
    driver.click("measureButton", idle(driver))
    driver.click("voxelizeButton", idle(driver))
    check("cm" in driver.ui.resultLabel.text, driver.ui.statusLabel.text)
    driver.picture("hips-voxelised", "resultCollapsibleButton")
    with tempfile.TemporaryDirectory() as folder:
        parameters = driver.widget._parameterNode
        parameters.samplesFolder, parameters.samples = folder, 1
        parameters.model = type(parameters.model)("missing-trace")
        driver.ui.samplesCollapsibleButton.collapsed = False
        driver.click("samplesButton", idle(driver))
        check("folder: 1" in driver.ui.resultLabel.text, driver.ui.statusLabel.text)
    driver.picture("hips-variant", "samplesCollapsibleButton")


def more(driver: Driver) -> None:
    """The rest: tools, keys, flicker, the map of errors, a cancelled job."""
    loaded(driver, HIP_NAIL)
    look(driver)
    propose(driver)
    ui, widget = driver.ui, driver.widget
    driver.click("editButton")
    driver.picture("more-edited", "metalCollapsibleButton")
    voxels = widget.metal.parts[0].volume_mm3
    erode(widget.metal.editor)
    driver.click("editButton")
    check(widget.metal.parts[0].volume_mm3 < voxels, "edited in vain")
    propose(driver)
    widget._parameterNode.method = "prior"
    corrected(driver)
    driver.choose("overlayComboBox", "Expected error")
    driver.picture("more-expected-error", "resultCollapsibleButton")
    driver.choose("viewsComboBox", "One slice: swipe or flicker")
    driver.picture("more-swipe", "resultCollapsibleButton")
    driver.click("flickerButton", lambda: ui.flickerButton.text != "Flicker")
    driver.picture("more-flicker", "resultCollapsibleButton")
    driver.click("flickerButton")
    before = slicer.mrmlScene.GetNumberOfNodes()
    ui.jobsTable.selectRow(0)  # has ended
    driver.click("applyButton", lambda: 20 < ui.progressBar.value < 90)
    driver.click("cancelButton", lambda: widget.logic.jobs.idle)
    check("cancelled" in ui.statusLabel.text, f"not cancelled: {ui.statusLabel.text}")
    check(slicer.mrmlScene.GetNumberOfNodes() == before, "a cancelled job left nodes behind")
    check(processes() == [], f"processes are left: {processes()}")
    widget.onReload()
    opened(driver, IMPLANTS)
    look(driver)


STORIES: dict[str, tuple[Callable[[Driver], None], int]] = {
    "nail": (hip_nail, 6),
    "spine": (spine, 12),
    "none": (no_metal, 3),
    "large": (large, 99),
    "hips": (hips, 99),
    "s2ai": (alar_iliac, 10),
    "stent": (stent, 10),
    "neck": (lambda driver: lateral_mass(driver, options.unpacked), 16),
    "more": (more, 99),
}
"""Each with the most clicks that it may take; "more" reloads a module, which the other one's
panel does not outlive."""


def drive(driver: Driver) -> None:
    for name in options.only:
        story, most = STORIES[name]
        slicer.mrmlScene.Clear()
        driver.clicks = 0
        story(driver)
        print(f"{name}: {driver.clicks} clicks", flush=True)
        check(driver.clicks <= most, f"{name}: more than {most} clicks")
    print(driver.heartbeat.table(), flush=True)


options = arguments()
pictures = {} if options.documentation is None else PICTURES
run(
    CORRECTION,
    options,
    {name: options.documentation / file for name, file in pictures.items()},
    drive,
)
