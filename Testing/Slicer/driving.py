"""What the scripts share that drive a panel in a running Slicer and take pictures."""

from __future__ import annotations

import cProfile
import os
import pstats
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import qt
import slicer
import vtk

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LONGEST_S = 600.0
LONGEST_GAP_S = 0.3
MOST_BYTES = 300_000


class Driver:
    """Does what a user does, and keeps pictures.

    :param module: name of the module whose panel is driven.
    :param folder: where the pictures go. :param copies: where some of them go too, by name.
    """

    def __init__(self, module: str, folder: Path, copies: Mapping[str, Path]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.copies = folder, copies
        self.count = 0
        self.clicks = 0
        self.heartbeat = Heartbeat(folder / "gaps.txt")
        # A virtual screen has no window manager that could maximize.
        slicer.util.mainWindow().setGeometry(0, 0, 1600, 1000)
        self.widget: Any = None
        self.open(module)

    def open(self, module: str) -> None:
        """Choose a module, and wait until its panel is ready."""
        with self.heartbeat.during(f"open {module}"):
            slicer.util.selectModule(module)
            self.widget = slicer.util.getModuleWidget(module)
            self.wait(lambda: bool(self.widget._parameterNode))
            self.wait(self.drawn)

    def drawn(self) -> bool:
        """No piece of what the panel shows waits."""
        work = getattr(self.widget, "work", None)
        return not (work or self.widget.logic.views).turns.busy

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
            self.wait(self.drawn)

    def choose(self, name: str, text: str) -> None:
        """Choose an entry of a combo box as a person does."""
        combo = getattr(self.ui, name)
        check(combo.visible and combo.enabled, f"{name} cannot be changed")
        self.clicks += 1
        with self.heartbeat.during(f"{self.widget.moduleName}: {name} {text}"):
            combo.setCurrentText(text)
            combo.activated(combo.currentIndex)
            self.wait(self.drawn)

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
        """Grab the main window, once all is shown."""
        self.wait(self.drawn)
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
        if name in self.copies:
            write_small(pixels.toImage(), self.copies[name])
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

    :param where: file that gets a profile of each time that was too long.
    """

    def __init__(self, where: Path) -> None:
        self._where = where.open("w", encoding="utf-8")
        self.longest: dict[str, tuple[float, float]] = {}
        self.seconds = 0.0
        self._action, self._last = "", (0.0, 0.0)
        self._profile = cProfile.Profile()
        self._timer = qt.QTimer()
        self._timer.setInterval(20)
        self._timer.connect("timeout()", self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = time.monotonic(), time.thread_time()
        if self._action:
            gap, busy = (a - b for a, b in zip(now, self._last, strict=True))
            action = self._action
            self._profile.disable()
            self.longest[action] = max((gap, busy), self.longest.get(action, (0.0, 0.0)))
            if gap > LONGEST_GAP_S:
                self._where.write(f"\n=== {gap:.2f} s, {busy:.2f} s busy  {action}\n")
                stats = pstats.Stats(self._profile, stream=self._where)
                stats.sort_stats("tottime").print_stats(12)
                stats.sort_stats("cumtime").print_stats(25)
                self._where.flush()
            self._profile = cProfile.Profile()
            self._profile.enable()
        self._last = time.monotonic(), time.thread_time()

    @contextmanager
    def during(self, action: str) -> Iterator[None]:
        """Watch what is done in the block, and what comes of it until events are served."""
        slicer.app.processEvents()
        began = time.monotonic()
        self._action, self._last = action, (began, time.thread_time())
        self._profile.enable()
        try:
            yield
            self.seconds = time.monotonic() - began
            slicer.app.processEvents()
            self._beat()
        finally:
            self._profile.disable()
            self._action = ""

    def table(self) -> str:
        """Longest first; busy: without what other programs took."""
        rows = sorted(self.longest.items(), key=lambda item: item[1], reverse=True)
        return "\n".join(f"{gap:6.2f} s ({busy:.2f} busy)  {name}" for name, (gap, busy) in rows)


def write_small(image: Any, path: Path) -> None:
    """A picture for the documentation, as wide as :data:`MOST_BYTES` allow."""
    for width in (1200, 1100, 1000, 900, 800):
        small = image.scaledToWidth(width, qt.Qt.SmoothTransformation)
        small = small.convertToFormat(qt.QImage.Format_RGB555)  # 32 greys: half the bytes
        check(small.save(str(path), "PNG", 0), f"{path} could not be written")  # 0: the smallest
        if path.stat().st_size < MOST_BYTES:
            break


def check(held: bool, message: str) -> None:
    if not held:
        raise AssertionError(message)


class Files:
    """Stands in for Slicer's DICOM database."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.isOpen = False  # for the annotations in the views
        self.fileForInstance = lambda uid: str(files.get(uid, ""))


def erode(editor: Any) -> None:
    """Make the metal a voxel thinner, with the Segment Editor's own tool."""
    editor._widget.setActiveEffectByName("Margin")
    effect = editor._widget.activeEffect()
    effect.setParameter("MarginSizeMm", "-3.2")
    effect.self().onApply()


def place_points(points: Any, volume: Any, places: Mapping[str, tuple[int, int, int]]) -> None:
    """Labelled points at columns, rows, slices, as the mouse would place them."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for name, ijk in places.items():
        points.AddControlPoint(*matrix.MultiplyPoint([*ijk, 1.0])[:3], name)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def click_in_slices(places: Iterable[Sequence[float]], view: str = "Yellow") -> None:
    """Click RAS points in a slice view with the mouse, then end by Escape's own way."""
    widget = slicer.app.layoutManager().sliceWidget(view)
    node, interactor = widget.mrmlSliceNode(), widget.sliceView().interactor()
    for place in places:
        node.JumpSliceByOffsetting(*place)
        slicer.app.processEvents()
        from_ras = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), from_ras)
        x, y = from_ras.MultiplyPoint([*place, 1.0])[:2]
        interactor.SetEventInformation(round(x), round(y))
        for event in ("MouseMoveEvent", "LeftButtonPressEvent", "LeftButtonReleaseEvent"):
            interactor.InvokeEvent(event)
            slicer.app.processEvents()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def dicom_series(folder: Path, file: Path) -> dict[str, Path]:
    """A CT as a series of single slices; the file of each SOPInstanceUID."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    from MetalArtifactReductionLib.files.volumes import read_volume

    volume = read_volume(file)
    folder.mkdir()
    axes = (-1, -1, 1) * volume.ijk_to_ras[:3, :3].T
    right, front = (axis / np.linalg.norm(axis) for axis in axes[:2])
    study, series, frame = (generate_uid() for _ in range(3))
    files = {}
    for k, plane in enumerate(volume.hu):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.PatientName, one.PatientID = "CT", "Nail^Hip", "1"
        one.SeriesNumber, one.InstanceNumber, one.SeriesDescription = 2, k + 1, "Hip 3 mm"
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        place = volume.ijk_to_ras @ [0, 0, k, 1]
        one.ImagePositionPatient = [f"{x:.6f}" for x in (-place[0], -place[1], place[2])]
        one.ImageOrientationPatient = [f"{x:.9f}"[:16] for x in (*right, *front)]
        one.PixelSpacing = list(volume.spacing_mm[1:])
        one.SliceThickness = volume.spacing_mm[0]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.Rows, one.Columns = plane.shape
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.round(plane).astype("<i2").tobytes()
        path = folder / f"{k:03d}.dcm"
        one.save_as(path, enforce_file_format=True)
        files[str(one.SOPInstanceUID)] = path
    return files


def choose_folder(folder: str) -> None:
    """Answer the dialog that comes next, as a person does."""

    def answer() -> None:
        dialog = slicer.app.activeModalWidget()
        slicer.util.findChildren(dialog, name="fileNameEdit")[0].text = folder
        slicer.util.findChildren(dialog, className="QPushButton", text="&Choose")[0].click()

    qt.QTimer.singleShot(1000, answer)


def look(driver: Driver) -> None:
    """Every control says what it does, and Tab goes from top to bottom as the panel's file says."""
    widget = driver.widget
    path = widget.resourcePath(f"UI/{widget.moduleName}.ui")
    root = ElementTree.parse(path).getroot()
    wanted = [stop.text for stop in root.iter("tabstop")]
    first = one = getattr(widget.ui, wanted[0])
    seen = []
    while True:
        if one.objectName in wanted:
            seen.append(one.objectName)
        one = one.nextInFocusChain()
        if one is first or one == first:
            break
    check(seen == wanted, f"the Tab key goes {seen}")
    silent = [name for name in wanted if not getattr(widget.ui, name).toolTip]
    check(not silent, f"without a tool tip: {silent}")


def dress(style: str | None, percent: int) -> None:
    """As Edit > Application Settings > Appearance: a style, and a font of another size."""
    if style:
        slicer.app.removeEventFilter(slicer.app.style())
        slicer.app.setStyle(f"{style.capitalize()} Slicer")
        slicer.app.installEventFilter(slicer.app.style())
        slicer.app.setPalette(slicer.app.style().standardPalette())
    font = slicer.app.font()
    font.setPointSizeF(font.pointSizeF() * percent / 100)
    slicer.app.setFont(font)


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


def run(
    module: str, options: Any, copies: Mapping[str, Path], steps: Callable[[Driver], None]
) -> None:
    """Drive a panel and end Slicer: exit code 0 when every check held.

    :param options: ``output``, ``appearance``, ``percent``. :param copies: see :class:`Driver`.
    """
    code = 1
    try:
        dress(options.appearance, options.percent)
        steps(Driver(module, options.output, copies))
        code = 0
        print("every step was done", flush=True)
    except Exception:
        traceback.print_exc()
    slicer.util.exit(code)
