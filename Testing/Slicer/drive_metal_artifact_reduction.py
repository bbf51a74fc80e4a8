"""Drive the panel MetalArtifactReduction through its whole workflow, with a picture of each step.

    Slicer --additional-module-paths MetalArtifactReduction SimulateImplants \\
        --python-script Testing/Slicer/drive_metal_artifact_reduction.py \\
        [--input CT.nii.gz] [--output FOLDER] [--method nmar|li|...]

Needs a screen; a virtual one will do. Ends with exit code 0 when every check held.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

REPOSITORY = Path(__file__).resolve().parents[2]
INPUT = REPOSITORY.parent / "shared" / "data" / "totalseg_example_hip_nail_3mm.nii.gz"
LONGEST_S = 600.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, default=INPUT)
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "mar-pictures")
    parser.add_argument("--method", default="nmar")
    return parser.parse_known_args(sys.argv[1:])[0]


class Driver:
    """Does what a user does, and keeps pictures.

    :param folder: where the pictures go.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.count = 0
        slicer.util.mainWindow().showMaximized()
        slicer.util.selectModule("MetalArtifactReduction")
        self.widget: Any = slicer.util.getModuleWidget("MetalArtifactReduction")

    @property
    def ui(self) -> Any:
        return self.widget.ui

    def picture(self, name: str, section: str = "") -> None:
        """Grab the main window, with a section of the panel in view."""
        slicer.app.processEvents()
        if section:
            self.ui.scrollArea.ensureWidgetVisible(getattr(self.ui, section), 0, 0)
            bar = self.ui.scrollArea.verticalScrollBar()
            bar.setValue(getattr(self.ui, section).pos.y())
        for _ in range(5):
            slicer.app.processEvents()
            time.sleep(0.05)
        slicer.util.forceRenderAllViews()
        slicer.app.processEvents()
        self.count += 1
        path = self.folder / f"{self.count:02d}-{name}.png"
        check(slicer.util.mainWindow().grab().save(str(path)), f"{path} could not be written")
        print(f"picture {path}", flush=True)

    def wait(self, done: Callable[[], bool], longest_s: float = LONGEST_S) -> None:
        until = time.monotonic() + longest_s
        while not done():
            check(time.monotonic() < until, f"not done within {longest_s:.0f} s")
            slicer.app.processEvents()
            time.sleep(0.02)


def check(held: bool, message: str) -> None:
    if not held:
        raise AssertionError(message)


def drive(driver: Driver, options: argparse.Namespace) -> None:
    ui, widget = driver.ui, driver.widget
    slicer.mrmlScene.Clear()
    driver.picture("empty", "inputCollapsibleButton")
    check(not ui.applyButton.enabled, "Apply is on without a CT")

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

    ui.proposeButton.click()
    driver.wait(lambda: ui.metalSelector.currentNode() is not None)
    check(ui.partsTable.rowCount > 0, "no parts are listed")
    driver.picture("metal", "metalCollapsibleButton")
    ui.partsTable.selectRow(0)
    ui.editButton.click()
    driver.picture("metal-edited", "metalCollapsibleButton")
    ui.editButton.click()
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

    parameters = widget._parameterNode
    choices = sys.modules["MetalArtifactReductionPanel.choices"]
    parameters.window = choices.WindowPreset.SOFT_TISSUE
    widget.onDisplayChanged()
    driver.picture("result-soft-tissue", "resultCollapsibleButton")
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


def rows_of(table: Any) -> list[list[str]]:
    return [
        [table.item(row, column).text() for column in range(table.columnCount)]
        for row in range(table.rowCount)
    ]


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
        if mine and "MetalArtifactReductionLib.worker" in command:
            found.append(command)
    return found


def main() -> None:
    options = arguments()
    code = 1
    try:
        drive(Driver(options.output), options)
        code = 0
        print("every step was done", flush=True)
    except Exception:
        traceback.print_exc()
    slicer.util.exit(code)


main()
