"""What Slicer's module and panel loaders will find: module files, parameter nodes, .ui files."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support import REPOSITORY


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Module:
    """The source of a Slicer module, read and never imported.

    :param unbound: parameters whose choices a registry knows; sections fill their combo boxes.
    """

    name: str
    unbound: frozenset[str] = frozenset()

    @property
    def folder(self) -> Path:
        return REPOSITORY / self.name

    @property
    def source(self) -> Path:
        return self.folder / f"{self.name}.py"

    @property
    def ui(self) -> Path:
        return self.folder / "Resources" / "UI" / f"{self.name}.ui"

    @property
    def panel(self) -> Path:
        return self.folder / f"{self.name}Panel"

    def tree(self) -> ast.Module:
        return parsed(self.source)

    def class_named(self, name: str) -> ast.ClassDef:
        """A class of the module file, or of the files that it is split into."""
        trees = map(parsed, (self.source, *self.panel.glob("*.py")))
        found = (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
        return next(node for node in found if node.name == name)

    def parameters(self) -> dict[str, str]:
        """Name -> annotation of the parameter node's members."""
        node = self.class_named(f"{self.name}ParameterNode")
        assert [ast.unparse(item) for item in node.decorator_list] == ["parameterNodeWrapper"]
        members = [statement for statement in node.body if isinstance(statement, ast.AnnAssign)]
        return {ast.unparse(member.target): ast.unparse(member.annotation) for member in members}

    def enum_values(self, name: str) -> list[str]:
        return [
            ast.literal_eval(statement.value.elts[0])
            for statement in self.class_named(name).body
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple)
        ]

    def choices(self, parameter: str) -> list[str]:
        match = re.fullmatch(r"Annotated\[str, Choice\((.*)\)\]", self.parameters()[parameter])
        assert match
        return list(ast.literal_eval(match.group(1)))

    def root(self) -> ElementTree.Element:
        return ElementTree.parse(self.ui).getroot()

    def widgets(self) -> dict[str, ElementTree.Element]:
        widgets = list(self.root().iter("widget"))
        names = [element.get("name", "") for element in widgets]
        assert len(names) == len(set(names))
        return dict(zip(names, widgets, strict=True))

    def bound(self) -> dict[str, ElementTree.Element]:
        """Parameter name -> widget."""
        bound: dict[str, ElementTree.Element] = {}
        for widget in self.widgets().values():
            name = ui_property(widget, "SlicerParameterName")
            if name is not None:
                assert name not in bound
                bound[name] = widget
        return bound


MAR = Module("MetalArtifactReduction", unbound=frozenset({"method", "window"}))
IMPLANTS = Module("SimulateImplants", unbound=frozenset({"kind", "preset", "proposal"}))
MODULES = pytest.mark.parametrize("module", [MAR, IMPLANTS], ids=lambda module: module.name)


def ui_property(widget: ElementTree.Element, name: str) -> str | None:
    for entry in widget.findall("property"):
        if entry.get("name") == name:
            return "".join(entry.itertext()).strip()
    return None


@MODULES
def test_panel_and_parameter_node_know_the_same_names(module: Module) -> None:
    assert set(module.bound()) == set(module.parameters()) - module.unbound


def all_bound() -> Iterator[object]:
    for module in (MAR, IMPLANTS):
        for name in sorted(set(module.parameters()) - module.unbound):
            yield pytest.param(module, name, id=f"{module.name}-{name}")


@pytest.mark.parametrize(("module", "name"), list(all_bound()))
def test_widget_fits_its_parameter(module: Module, name: str) -> None:
    """As parameterNodeWrapper's connectors will check when the panel opens."""
    annotation, widget = module.parameters()[name], module.bound()[name]
    kind = widget.get("class")
    number = re.fullmatch(
        r"Annotated\[(float|int), WithinRange\(([\d.]+), ([\d.]+)\)\]", annotation
    )
    if annotation.startswith("vtkMRML"):
        assert kind == "qMRMLNodeComboBox"
        assert ui_property(widget, "nodeTypes") == annotation
        assert ui_property(widget, "noneEnabled") == "true"
    elif annotation == "bool":
        assert kind == "QCheckBox"
    elif annotation == "str":
        assert kind == "QLineEdit"
    elif number:
        # The slider needs both bounds, and so does the connector.
        assert kind == {"float": "ctkSliderWidget", "int": "QSpinBox"}[number.group(1)]
        assert float(ui_property(widget, "minimum") or 0) == float(number.group(2))
        assert float(ui_property(widget, "maximum") or 99) == float(number.group(3))
    elif annotation.startswith("Annotated[str, Choice("):
        assert kind == "QComboBox"
        assert module.choices(name)
    else:
        assert kind == "QComboBox"
        assert module.enum_values(annotation)


def test_corrections_choices_are_the_librarys() -> None:
    from MetalArtifactReductionLib.metal.options import SEGMENTATIONS
    from MetalArtifactReductionLib.mrml import WINDOWS
    from MetalArtifactReductionLib.mrml.layout import LAYOUTS, OVERLAYS

    assert set(MAR.enum_values("MetalMethod")) == set(SEGMENTATIONS)
    assert set(MAR.enum_values("WindowPreset")) == set(WINDOWS)
    assert set(MAR.enum_values("Views")) == set(LAYOUTS)
    assert set(MAR.enum_values("Overlay")) == set(OVERLAYS)


def test_implants_choices_are_the_librarys() -> None:
    from MetalArtifactReductionLib.mrml import WINDOWS
    from MetalArtifactReductionLib.physics.acquisition import PRESETS
    from MetalArtifactReductionLib.physics.materials import material
    from MetalArtifactReductionLib.physics.simulation import MODELS
    from SimulateImplantsLib.implants import presets
    from SimulateImplantsLib.mrml import LEVELS

    assert set(IMPLANTS.enum_values("Model")) == set(MODELS)
    assert set(IMPLANTS.enum_values("WindowPreset")) == set(WINDOWS)
    assert set(IMPLANTS.choices("acquisition")) == set(PRESETS)
    assert set(IMPLANTS.choices("lowestLevel")) <= set(LEVELS)
    for name in IMPLANTS.choices("surfaceMaterial"):
        assert material(name).name == name
    rods = {preset.parameters["diameter_mm"] for preset in presets("rod")}
    # Rods of a neck, of 3.5 mm, are no matter of choice.
    assert {float(text) for text in IMPLANTS.choices("rodDiameter")} == rods - {3.5}
    assert "6.5 x 45 mm" in {preset.name for preset in presets("pedicle-screw")}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *((IMPLANTS, name) for name in ("Sides", "Model", "Shown", "WindowPreset")),
        *((MAR, name) for name in ("MetalMethod", "WindowPreset", "Views", "Overlay")),
    ],
)
def test_every_choice_has_a_label(module: Module, name: str) -> None:
    members = [one for one in module.class_named(name).body if isinstance(one, ast.Assign)]
    assert members
    for member in members:
        assert re.fullmatch(r"\('[\w-]+', _\('.+'\)\)", ast.unparse(member.value))


@MODULES
def test_panel_loads_in_slicer(module: Module) -> None:
    """The root and the connections that hand the scene to every MRML widget."""
    root, widgets = module.root(), module.widgets()
    assert root.find("widget").get("class") == "qMRMLWidget"  # type: ignore[union-attr]
    declared = {entry.findtext("class") for entry in root.iter("customwidget")}
    used = {widget.get("class") for widget in widgets.values()}
    assert {kind for kind in used if kind and not kind.startswith("Q")} <= declared
    selectors = {n for n, w in widgets.items() if w.get("class") == "qMRMLNodeComboBox"}
    connected = {
        entry.findtext("receiver")
        for entry in root.iter("connection")
        if entry.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and entry.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert connected == selectors
    for label in widgets.values():
        buddy = ui_property(label, "buddy")
        assert buddy is None or buddy in widgets
    tab_order = [entry.text for entry in root.iter("tabstop")]
    assert set(tab_order) <= set(widgets)


CONTROLS = {
    "qMRMLNodeComboBox", "QComboBox", "QCheckBox", "ctkSliderWidget", "QPushButton", "QSpinBox",
    "QLineEdit", "QTableWidget",
}  # fmt: skip


@MODULES
def test_every_control_has_a_tooltip_and_a_place_in_the_tab_order(module: Module) -> None:
    tab_order = {entry.text for entry in module.root().iter("tabstop")}
    for name, widget in module.widgets().items():
        if widget.get("class") in CONTROLS:
            assert ui_property(widget, "toolTip"), name
            assert name in tab_order


@MODULES
def test_widgets_named_in_the_module_exist(module: Module) -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in [module.source, *module.panel.glob("*.py")]
    )
    used = set(re.findall(r"\b_?ui\.([a-z]\w+)", text))
    assert len(used) > 8
    assert used <= set(module.widgets())


@MODULES
def test_every_button_does_something(module: Module) -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in [module.source, *module.panel.glob("*.py")]
    )
    buttons = {n for n, w in module.widgets().items() if w.get("class") == "QPushButton"}
    connected = set(re.findall(r'ui\.(\w+)\.connect\("(?:clicked|toggled)', text))
    connected |= set(re.findall(r"\(ui\.(\w+Button), ", text))
    assert buttons <= connected


@MODULES
def test_slicer_imports_nothing_heavy_at_startup(module: Module) -> None:
    """Importing the module file must not need packages that Slicer installs later."""
    ours = {f"{module.name}Panel"}
    allowed = {"slicer", "vtk", "qt", "ctk"} | ours | sys.stdlib_module_names
    imported = {module.source}
    waiting = [module.source]
    while waiting:
        source = waiting.pop()
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level:
                first = [node.module] if node.module else [alias.name for alias in node.names]
                names = [f"{module.name}Panel.{name}" for name in first]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
                if names[0] in ours:
                    names = [f"{names[0]}.{alias.name}" for alias in node.names]
            assert {name.split(".")[0] for name in names} <= allowed, source.name
            for name in names:
                path = module.folder / (name.replace(".", "/") + ".py")
                if name.split(".")[0] in ours and path.is_file() and path not in imported:
                    imported.add(path)
                    waiting.append(path)
    assert module.panel / "selftest.py" in imported


@MODULES
def test_module_has_the_classes_that_slicer_looks_for(module: Module) -> None:
    names = {node.name for node in module.tree().body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.name
        for node in module.tree().body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for suffix in ("", "Widget", "Logic", "Test"):
        assert f"{module.name}{suffix}" in names | imported
