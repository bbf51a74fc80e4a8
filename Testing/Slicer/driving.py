"""What the scripts share that drive a panel in a running Slicer and take pictures."""

from __future__ import annotations

import faulthandler
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import vtk

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LONGEST_S = 600.0
LONGEST_GAP_S = 0.3


class Driver:
    """Does what a user does, and keeps pictures.

    :param module: name of the module whose panel is driven.
    :param folder: where the pictures go.
    """

    def __init__(self, module: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.count = 0
        self.clicks = 0
        self.heartbeat = Heartbeat(folder / "gaps.txt")
        # A virtual screen has no window manager that could maximize.
        slicer.util.mainWindow().setGeometry(0, 0, 1600, 1000)
        slicer.util.selectModule(module)
        self.widget: Any = slicer.util.getModuleWidget(module)

    @property
    def ui(self) -> Any:
        return self.widget.ui

    def click(self, name: str, done: Callable[[], bool] = lambda: True) -> None:
        """Click a button as a person does, and wait for what comes of it."""
        button = getattr(self.ui, name)
        check(button.visible and button.enabled, f"{name} cannot be clicked")
        self.clicks += 1
        with self.heartbeat.during(f"{self.widget.moduleName}: {name}"):
            button.click()
            self.wait(done)

    def picture(self, name: str, section: str = "") -> None:
        """Grab the main window, with a section of the panel in view."""
        slicer.app.processEvents()
        if section:
            shown = getattr(self.ui, section)
            area = self._scroll_area()
            area.ensureWidgetVisible(shown, 0, 0)
            area.verticalScrollBar().setValue(shown.mapTo(area.widget(), qt.QPoint(0, 0)).y())
        self.window_picture(name)

    def window_picture(self, name: str) -> None:
        """Grab the main window as it is."""
        for _ in range(5):
            slicer.app.processEvents()
            time.sleep(0.05)
        slicer.util.forceRenderAllViews()
        slicer.app.processEvents()
        self.count += 1
        path = self.folder / f"{self.count:02d}-{name}.png"
        # From the screen, as the user sees it: a widget's own grab() paints clear parts black.
        window = slicer.util.mainWindow()
        pixels = window.windowHandle().screen().grabWindow(window.winId())
        check(pixels.save(str(path)), f"{path} could not be written")
        print(f"picture {path}", flush=True)

    def _scroll_area(self) -> Any:
        """The panel's own, or that of Slicer around all panels."""
        own = getattr(self.ui, "scrollArea", None)
        if own is not None:
            return own
        panel = slicer.util.findChildren(slicer.util.mainWindow(), className="qSlicerModulePanel")[
            0
        ]
        return slicer.util.findChildren(panel, className="QScrollArea")[0]

    def wait(self, done: Callable[[], bool], longest_s: float = LONGEST_S) -> None:
        until = time.monotonic() + longest_s
        while not done():
            check(time.monotonic() < until, f"not done within {longest_s:.0f} s")
            slicer.app.processEvents()
            time.sleep(0.02)


class Heartbeat:
    """The longest time that Slicer did not answer, for each thing that was done.

    :param where: file that is told what was running whenever it was too long.
    """

    def __init__(self, where: Path) -> None:
        self._where = where.open("w", encoding="utf-8")
        self.longest_s: dict[str, float] = {}
        self._action, self._last = "", 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(20)
        self._timer.connect("timeout()", self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = time.monotonic()
        if self._action:
            gap = max(now - self._last, self.longest_s.get(self._action, 0.0))
            self.longest_s[self._action] = gap
            faulthandler.dump_traceback_later(LONGEST_GAP_S, file=self._where)
        self._last = now

    @contextmanager
    def during(self, action: str) -> Iterator[None]:
        """Watch what is done in the block, and what comes of it until events are served."""
        slicer.app.processEvents()
        self._action, self._last = action, time.monotonic()
        self._where.write(f"\n=== {action}\n")
        self._where.flush()
        faulthandler.dump_traceback_later(LONGEST_GAP_S, file=self._where)
        try:
            yield
            slicer.app.processEvents()
            self._beat()
        finally:
            self._action = ""
            faulthandler.cancel_dump_traceback_later()

    def table(self) -> str:
        """Longest first."""
        rows = sorted(self.longest_s.items(), key=lambda item: -item[1])
        return "\n".join(f"{seconds:6.2f} s  {action}" for action, seconds in rows)


def check(held: bool, message: str) -> None:
    if not held:
        raise AssertionError(message)


def rows_of(table: Any) -> list[list[str]]:
    return [
        [table.item(row, column).text() for column in range(table.columnCount)]
        for row in range(table.rowCount)
    ]


class Files:
    """Stands in for Slicer's DICOM database."""

    def __init__(self, files: dict[str, str]) -> None:
        self.isOpen = False  # for the annotations in the views
        self.fileForInstance = lambda uid: files.get(uid, "")


def erode(editor: Any) -> None:
    """Make the metal a voxel thinner, with the Segment Editor's own tool."""
    editor._widget.setActiveEffectByName("Margin")
    effect = editor._widget.activeEffect()
    effect.setParameter("MarginSizeMm", "-3.2")
    effect.self().onApply()


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


def time_point(volume: Any) -> Any:
    """A volume as one of a sequence shows it."""
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Times")
    for index in range(2):
        series.SetDataNodeAtValue(volume, str(index))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(series.GetID())
    slicer.app.processEvents()
    return browser.GetProxyNode(series)


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


def run(module: str, folder: Path, steps: Callable[[Driver], None]) -> None:
    """Drive a panel and end Slicer: exit code 0 when every check held."""
    code = 1
    try:
        steps(Driver(module, folder))
        code = 0
        print("every step was done", flush=True)
    except Exception:
        traceback.print_exc()
    slicer.util.exit(code)
