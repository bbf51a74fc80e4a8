"""What the panels' sections need of Qt and of a running Slicer, without either.

Widgets are made from the ``.ui`` files, by class; the scene and its nodes are the real ones of the
package ``slicer-core``. Only what the panels use is here; an unknown attribute is an error.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from support import REPOSITORY


class Widget:
    """A widget as PythonQt shows it: properties are attributes, signals are connected by name."""

    silent = re.compile(
        "set(Fixed|Minimum)(Height|Width)|set(Default|Minimum)?SectionSize|setSectionResizeMode|"
        "setDefaultSectionSize|setMinimumSectionSize|setStretchLastSection|setRange|setDecimals|"
        "resize(Rows|Columns?)ToContents|resizeColumnToContents|hide|addAttribute|setMRMLScene|"
        "installEventFilter|setColumnHidden|setSizePolicy"
    )

    def __init__(self, parent: Any = None) -> None:
        self.name, self.children = "", []
        self.visible, self.enabled, self.blocked = True, True, False
        self.text, self.toolTip, self.width, self.frameWidth, self.height = "", "", 300, 1, 20
        self.sizePolicy = SimpleNamespace(setHorizontalPolicy=lambda policy: None)
        self.minimumSizeHint = self.sizeHint = SimpleNamespace(width=lambda: 100)
        self.properties: dict[str, str] = {}
        self._slots: dict[str, list[Callable[..., None]]] = {}

    def __getattr__(self, name: str) -> Any:
        if Widget.silent.fullmatch(name):
            return lambda *given: None
        if name in (
            "verticalHeader", "horizontalHeader", "verticalScrollBar", "layout", "parentWidget"
        ):  # fmt: skip
            child = Widget()
            setattr(self, name, lambda: child)
            return getattr(self, name)
        if not name.startswith("_") and name in SIGNALS:
            return SimpleNamespace(
                connect=lambda slot: self.connect(name, slot),
                disconnect=lambda slot: self._slots[name].remove(slot),
            )
        raise AttributeError(f"{type(self).__name__} {self.__dict__.get('name')}: no {name}")

    def connect(self, signal: str, slot: Callable[..., None]) -> None:
        self._slots.setdefault(signal.split("(", maxsplit=1)[0], []).append(slot)

    def emit(self, signal: str, *given: Any) -> None:
        if not self.blocked:
            for slot in list(self._slots.get(signal, ())):
                slot(*given[: _takes(slot)])

    def blockSignals(self, block: bool) -> bool:
        before, self.blocked = self.blocked, block
        return before

    def property(self, name: str) -> str | None:
        return self.properties.get(name)

    def isWidgetType(self) -> bool:
        return True

    def setText(self, text: str) -> None:
        self.text = text

    def heightForWidth(self, width: int) -> int:
        return 15 * (1 + len(self.text) // 60)


def _takes(slot: Callable[..., None]) -> int:
    """How many values a slot takes: PythonQt leaves out the rest."""
    kinds = [one.kind for one in inspect.signature(slot).parameters.values()]
    return 99 if inspect.Parameter.VAR_POSITIONAL in kinds else len(kinds)


def changing(name: str, signal: str, first: Any) -> property:
    """A Qt property that tells when it has changed."""

    def setter(self: Any, value: Any) -> None:
        if value != getattr(self, f"_{name}", first):
            setattr(self, f"_{name}", value)
            self.emit(signal, value)

    return property(lambda self: getattr(self, f"_{name}", first), setter)


class QLabel(Widget): ...


class QFrame(Widget): ...


class QProgressBar(Widget):
    value = 0


class QLineEdit(Widget):
    text = changing("text", "textChanged", "")


class QPushButton(Widget):
    checkable = False
    checked = changing("checked", "toggled", False)

    def click(self) -> None:
        assert self.enabled, f"{self.name} is off"
        if self.checkable:
            self.checked = not self.checked
        self.emit("clicked", self.checked)


class QCheckBox(Widget):
    checked = changing("checked", "stateChanged", False)


class QSpinBox(Widget):
    minimum, maximum, singleStep = 0.0, 99.0, 1.0
    value = changing("value", "valueChanged", 0)


class ctkSliderWidget(QSpinBox): ...


class QComboBox(Widget):
    currentIndex = changing("currentIndex", "currentIndexChanged", -1)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.items: list[str] = []

    def clear(self) -> None:
        self.items = []
        self.currentIndex = -1

    def addItem(self, text: str) -> None:
        self.addItems([text])

    def addItems(self, texts: list[str]) -> None:
        self.items += texts
        if self.currentIndex < 0 and self.items:
            self.currentIndex = 0

    def setCurrentIndex(self, index: int) -> None:
        self.currentIndex = index

    def setCurrentText(self, text: str) -> None:
        self.currentIndex = self.items.index(text)

    @property
    def currentText(self) -> str:
        return self.items[self.currentIndex] if self.currentIndex >= 0 else ""


class qMRMLNodeComboBox(Widget):
    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None

    def currentNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        if node is not self._node:
            self._node = node
            self.emit("currentNodeChanged", node)


class QTableWidgetItem:
    def __init__(self, text: str = "") -> None:
        self._text, self._data, self.toolTip, self.selected = text, {}, "", False
        self._at, self._ticked = (0, 0), None

    def text(self) -> str:
        return self._text

    def setText(self, text: str) -> None:
        self._text = text

    def setFlags(self, flags: int) -> None: ...

    def setToolTip(self, text: str) -> None:
        self.toolTip = text

    def setData(self, role: int, value: Any) -> None:
        self._data[role] = value

    def data(self, role: int) -> Any:
        return self._data[role]

    def setSelected(self, on: bool) -> None:
        self.selected = on

    def row(self) -> int:
        return self._at[0]

    def setCheckState(self, state: int) -> None:
        self._ticked = state

    def checkState(self) -> int | None:
        return self._ticked


class QTableWidget(Widget):
    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rowCount = self.columnCount = 0
        self.cells: dict[tuple[int, int], QTableWidgetItem] = {}
        self.titles: list[str] = []

    def setRowCount(self, rows: int) -> None:
        self.rowCount = rows
        self.cells = {at: item for at, item in self.cells.items() if at[0] < rows}

    def setColumnCount(self, columns: int) -> None:
        self.columnCount = columns

    def setHorizontalHeaderLabels(self, titles: list[str]) -> None:
        self.titles = list(titles)

    def setItem(self, row: int, column: int, item: QTableWidgetItem) -> None:
        self.cells[row, column] = item
        item._at = row, column

    def item(self, row: int, column: int) -> QTableWidgetItem:
        return self.cells[row, column]

    def rowHeight(self, row: int) -> int:
        return 20

    def selectionModel(self) -> Any:
        rows = {at[0] for at, item in self.cells.items() if item.selected}
        chosen = [SimpleNamespace(row=lambda row=row: row) for row in rows]
        return SimpleNamespace(selectedRows=lambda: chosen)

    def selectRow(self, row: int) -> None:
        for at, item in self.cells.items():
            item.selected = at[0] == row
        self.emit("itemSelectionChanged")

    def tick(self, row: int, on: bool) -> None:
        item = self.cells[row, 0]
        item.setCheckState(2 if on else 0)
        self.emit("itemChanged", item)

    def rows(self) -> list[list[str]]:
        """The texts, for tests."""
        every = range(self.columnCount)
        return [[self.cells[row, at].text() for at in every] for row in range(self.rowCount)]


class QTimer:
    """Runs only when a test says so."""

    waiting: list[QTimer] = []  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        self.slot: Callable[[], None] | None = None
        self.once = False

    def setInterval(self, ms: int) -> None: ...

    def setSingleShot(self, once: bool) -> None:
        self.once = once

    def connect(self, signal: str, slot: Callable[[], None]) -> None:
        self.slot = slot

    def start(self) -> None:
        if self not in QTimer.waiting:
            QTimer.waiting.append(self)

    def stop(self) -> None:
        if self in QTimer.waiting:
            QTimer.waiting.remove(self)

    @staticmethod
    def singleShot(ms: int, slot: Callable[[], None]) -> None: ...

    @staticmethod
    def turn() -> None:
        """Let every timer that runs fire once."""
        for timer in list(QTimer.waiting):
            if timer.once:
                timer.stop()
            assert timer.slot is not None
            timer.slot()


SIGNALS = (
    "currentIndexChanged", "stateChanged", "valueChanged", "textChanged", "currentNodeChanged"
)  # fmt: skip
"""Those that ``parameterNodeWrapper`` connects as attributes."""

_KINDS = (
    QLabel, QFrame, QProgressBar, QLineEdit, QPushButton, QCheckBox, QSpinBox, QComboBox,
    QTableWidget,
)  # fmt: skip
_CTK = {"ctkSliderWidget": ctkSliderWidget, "qMRMLNodeComboBox": qMRMLNodeComboBox}


def qt_module() -> ModuleType:
    """A module ``qt``."""
    qt = ModuleType("qt")
    for kind in (*_KINDS, QTableWidgetItem, QTimer):
        setattr(qt, kind.__name__, kind)
    qt.QObject = object  # type: ignore[attr-defined]
    qt.QWidget = Widget  # type: ignore[attr-defined]
    qt.Qt = SimpleNamespace(  # type: ignore[attr-defined]
        ItemIsSelectable=1, ItemIsEnabled=2, ItemIsUserCheckable=16, UserRole=32,
        Unchecked=0, Checked=2,
    )  # fmt: skip
    qt.QSizePolicy = SimpleNamespace(Ignored=13)  # type: ignore[attr-defined]
    qt.QHeaderView = SimpleNamespace(ResizeToContents=0, Stretch=1)  # type: ignore[attr-defined]
    qt.QFileDialog = SimpleNamespace()  # type: ignore[attr-defined]
    return qt


def widgets_of(ui: Path | str, part: str = "") -> SimpleNamespace:
    """The widgets of a ``.ui`` file (or a module's) by name, of one section of it if named."""
    path = REPOSITORY / ui / "Resources" / "UI" / f"{ui}.ui" if isinstance(ui, str) else ui
    root = ElementTree.parse(path).getroot()
    top = next(one for one in root.iter("widget") if part in ("", one.get("name")))
    kinds = {kind.__name__: kind for kind in _KINDS} | _CTK
    made = {}
    for element in top.iter("widget"):
        widget = kinds.get(element.get("class", ""), Widget)()
        widget.name = element.get("name", "")
        for entry in element.findall("property"):
            value = "".join(entry.itertext()).strip()
            widget.properties[entry.get("name", "")] = value
            if entry.get("name") in ("minimum", "maximum"):
                setattr(widget, entry.get("name", ""), float(value))
            elif entry.get("name") in ("checkable", "checked", "enabled"):
                setattr(widget, entry.get("name", ""), value == "true")
            elif entry.get("name") == "text":
                widget.text = value
        made[widget.name] = widget
    return SimpleNamespace(**made)


def install(monkeypatch: Any, scene: Any = None) -> None:
    """Let the panels' files be imported: ``qt``, and what they take from ``slicer``."""
    import slicer

    i18n = ModuleType("slicer.i18n")
    i18n.tr = i18n.translate = lambda *given: given[-1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "qt", qt_module())
    monkeypatch.setitem(sys.modules, "slicer.i18n", i18n)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    modules = SimpleNamespace(modulesNames=lambda: ("Data", "TotalSegmentator"))
    app = SimpleNamespace(
        processEvents=lambda: None, moduleManager=lambda: modules, layoutManager=lambda: None
    )
    monkeypatch.setattr(slicer, "app", app, raising=False)
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text: None, raising=False)
    for module in ("MetalArtifactReduction", "SimulateImplants"):
        monkeypatch.syspath_prepend(REPOSITORY / module)
    for name in [name for name in sys.modules if name.split(".")[0].endswith("Panel")]:
        monkeypatch.delitem(sys.modules, name)
    QTimer.waiting.clear()


def parameter_node(**values: Any) -> SimpleNamespace:
    """What the correction's panel stores, with its defaults."""
    defaults = {
        "inputVolume": None,
        "metalSegmentation": None,
        "metalMethod": SimpleNamespace(value="threshold"),
        "automaticThreshold": True,
        "thresholdHu": 2500.0,
        "includeSurface": False,
        "method": "nmar",
        "weightsFile": "",
        "slicesAbove": 11,
        "slicesBelow": 7,
        "device": "cpu",
        "always": False,
        "result": None,
        "profileLine": None,
        "views": SimpleNamespace(value="comparison"),
        "window": SimpleNamespace(value="soft-tissue"),
        "overlay": SimpleNamespace(value="change"),
        "overlayOpacity": 0.5,
    }
    return SimpleNamespace(**{**defaults, **values})
