"""Three patients, clicked through by the panels' own buttons, with a picture of each step.

    Slicer --testing --additional-module-paths MetalArtifactReduction SimulateImplants \\
        --python-script Testing/Slicer/drive_stories.py [--output FOLDER] [--only NAME]

Prints the clicks of each story and, for each action, the longest time that Slicer did not answer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driving import SHARED_DATA, Driver, check, run

from MetalArtifactReductionLib.mrml import results_of

HIP_NAIL = SHARED_DATA / "totalseg_example_hip_nail_3mm.nii.gz"
NO_METAL = SHARED_DATA / "tcga_ov_09-2043_abdomen_pelvis.nii.gz"
CORRECTION, IMPLANTS = "MetalArtifactReduction", "SimulateImplants"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "stories")
    parser.add_argument("--only", choices=tuple(STORIES), help="one story")
    return parser.parse_known_args(sys.argv[1:])[0]


def opened(driver: Driver, module: str) -> None:
    slicer.util.selectModule(module)
    driver.widget = slicer.util.getModuleWidget(module)


def loaded(driver: Driver, file: Path) -> Any:
    """A CT that is in the scene before the panel is opened."""
    slicer.util.selectModule("Data")
    volume = slicer.util.loadVolume(str(file))
    with driver.heartbeat.during("open the panel"):
        opened(driver, CORRECTION)
    check(driver.ui.inputSelector.currentNode() is volume, "the CT is not chosen")
    return volume


def propose(driver: Driver) -> None:
    driver.click("proposeButton", lambda: driver.widget.metal.proposal is None)


def corrected(driver: Driver) -> None:
    ui, jobs = driver.ui, driver.widget.logic.jobs
    driver.click("applyButton", lambda: jobs.idle and ui.measuresTable.rowCount > 5)


def hip_nail(driver: Driver) -> None:
    """A nail in a hip: found, corrected, compared."""
    loaded(driver, HIP_NAIL)
    driver.picture("nail-loaded", "inputCollapsibleButton")
    propose(driver)
    driver.picture("nail-metal", "metalCollapsibleButton")
    corrected(driver)
    driver.picture("nail-corrected", "resultCollapsibleButton")
    driver.click("boneButton")
    driver.picture("nail-bone", "resultCollapsibleButton")
    driver.click("softTissueButton")
    driver.ui.viewsComboBox.setCurrentText("One slice: swipe or flicker")
    driver.ui.viewsComboBox.activated(driver.ui.viewsComboBox.currentIndex)
    driver.picture("nail-swipe", "resultCollapsibleButton")
    slicer.util.selectModule("Data")
    driver.window_picture("nail-left")
    opened(driver, CORRECTION)
    driver.picture("nail-back", "resultCollapsibleButton")


def spine(driver: Driver) -> None:
    """Screws in a spine, one moved by hand: simulated, corrected, compared with the truth."""

    def idle() -> bool:
        return not driver.widget.work.running

    opened(driver, IMPLANTS)
    driver.click("spinePhantomButton", idle)
    driver.picture("spine-phantom", "inputCollapsibleButton")
    driver.click("proposeButton", idle)
    driver.picture("spine-proposed", "implantsCollapsibleButton")
    driver.ui.implantsTable.selectRow(0)
    (screw,) = driver.widget.implants.selected()
    driver.click("alignButton", idle)
    driver.picture("spine-planes", "selectedCollapsibleButton")
    tip = np.array(screw.line.GetNthControlPointPositionWorld(1))
    tip[0] += 4.0
    screw.line.SetNthControlPointPositionWorld(1, *tip)
    driver.clicks += 2  # the row, and the drag
    driver.click("measureButton", idle)
    driver.picture("spine-measured", "implantsCollapsibleButton")
    kind = type(driver.widget._parameterNode.model)
    driver.widget._parameterNode.model = kind("trace-maximum")  # quick, and bright
    driver.click("simulateButton", idle)
    driver.picture("spine-simulated", "resultCollapsibleButton")
    artifacts = results_of(slicer.mrmlScene, driver.ui.inputSelector.currentNode(), "corrupted")
    opened(driver, CORRECTION)
    driver.ui.inputSelector.setCurrentNode(artifacts[-1])
    driver.clicks += 2  # the model, and the CT
    propose(driver)
    corrected(driver)
    driver.picture("spine-corrected", "resultCollapsibleButton")


def no_metal(driver: Driver) -> None:
    """A CT without metal: the panel says so, and what can be done."""
    loaded(driver, NO_METAL)
    propose(driver)
    driver.picture("none-found", "metalCollapsibleButton")


STORIES: dict[str, tuple[Callable[[Driver], None], int]] = {
    "nail": (hip_nail, 6),
    "spine": (spine, 12),
    "none": (no_metal, 3),
}
"""Each with the most clicks that it may take."""


def drive(driver: Driver) -> None:
    for name, (story, most) in STORIES.items():
        if options.only in (None, name):
            slicer.mrmlScene.Clear()
            driver.clicks = 0
            story(driver)
            print(f"{name}: {driver.clicks} clicks", flush=True)
            check(driver.clicks <= most, f"{name}: more than {most} clicks")
    print(driver.heartbeat.table(), flush=True)


options = arguments()
run(CORRECTION, options.output, drive)
