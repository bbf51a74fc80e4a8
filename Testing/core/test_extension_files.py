"""What Slicer's build and panel loader will find: install lists, .ui, icons, catalog entry."""

from __future__ import annotations

import ast
import json
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from support import REPOSITORY

MODULES = ("MetalArtifactReduction", "SimulateImplants")
NOT_INSTALLED = {"Testing", "__pycache__"}


def module_files(module: str) -> set[str]:
    """Everything in a module's folder that has to be installed."""
    folder = REPOSITORY / module
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in files
        if not NOT_INSTALLED & set(path.parts)
        and path.name != "CMakeLists.txt"
        and not path.name.startswith(".")
        and not any(part.endswith(".egg-info") for part in path.parts)
    }


def listed_in_cmake(module: str, variable: str) -> set[str]:
    """The files that a module's ``file(GLOB_RECURSE variable ...)`` finds."""
    folder = REPOSITORY / module
    text = re.sub(r"#.*", "", (folder / "CMakeLists.txt").read_text())
    globs = re.findall(
        r"file\(GLOB_RECURSE\s+(\w+)\s+RELATIVE\s+\S+\s+CONFIGURE_DEPENDS([^)]*)\)", text
    )
    patterns = dict(globs)[variable].replace("${MODULE_NAME}", module)
    found: set[str] = set()
    for pattern in re.findall(r'"([^"]+)"', patterns):
        start, _, name = pattern.rpartition("/")
        for path in (folder / start).rglob(name):
            if path.is_file():
                found.add(path.relative_to(folder).as_posix())
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_file_of_a_module_is_installed(module: str) -> None:
    scripts = listed_in_cmake(module, "MODULE_PYTHON_SCRIPTS")
    resources = listed_in_cmake(module, "MODULE_PYTHON_RESOURCES")
    assert module_files(module) - scripts - resources == set()
    assert {path for path in module_files(module) if path.endswith(".py")} <= scripts
    assert not scripts & resources


STAND_IN = """
cmake_minimum_required(VERSION 3.16)
project(Probe LANGUAGES NONE)
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(A "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(A_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments ${A_UNPARSED_ARGUMENTS}")
  endif()
  file(WRITE "${CMAKE_BINARY_DIR}/${A_NAME}.txt" "${A_SCRIPTS};${A_RESOURCES}")
endfunction()
"""


@pytest.mark.skipif(
    not (shutil.which("cmake") and (shutil.which("make") or shutil.which("ninja"))),
    reason="cmake or a build tool is not installed",
)
def test_cmake_itself_finds_the_same_files(tmp_path: Path) -> None:
    """The real CMake reads the real files; only Slicer's macro is replaced by one that records."""
    lines = [f'add_subdirectory("{REPOSITORY / module}" {module})\n' for module in MODULES]
    (tmp_path / "CMakeLists.txt").write_text(STAND_IN + "".join(lines))
    generator = "Ninja" if shutil.which("ninja") else "Unix Makefiles"
    command = ["cmake", "-G", generator, "-S", str(tmp_path), "-B", str(tmp_path / "build")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for module in MODULES:
        found = (tmp_path / "build" / f"{module}.txt").read_text().split(";")
        assert module_files(module) <= set(found)
        assert len(found) == len(set(found))


def test_modules_do_not_overwrite_each_other_when_installed_flat() -> None:
    """Slicer installs all modules of an extension into one folder."""
    first, second = (module_files(module) for module in MODULES)
    assert not first & second


def test_installed_package_names_are_unique_to_the_extension() -> None:
    for module in MODULES:
        packages = {path.split("/")[0] for path in module_files(module) if "/" in path}
        assert all(name.startswith(module) or name == "Resources" for name in packages)


#
# Catalog entry and icon
#


def cmake_setting(name: str) -> str:
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    match = re.search(rf'set\({name} "([^"]*)"', text)
    assert match, f"{name} is not set"
    return match.group(1)


def test_catalog_entry_agrees_with_cmake() -> None:
    entry = json.loads((REPOSITORY / "MetalArtifactReduction.json").read_text())
    # The required and the allowed keys of Slicer's catalog entry schema 1.0.2.
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert set(entry) <= {
        "$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies",
        "dicom_support_rule", "build_subdirectory", "enabled", "tier",
    }  # fmt: skip
    assert entry["scm_type"] in ("git", "local")
    assert 1 <= entry["tier"] <= 5
    assert entry["build_dependencies"] == cmake_setting("EXTENSION_DEPENDS").split(";")
    assert entry["scm_url"].removesuffix(".git") == cmake_setting("EXTENSION_HOMEPAGE")
    icon = cmake_setting("EXTENSION_ICONURL")
    path = icon.split(f"/{entry['scm_revision']}/", 1)[1]
    assert (REPOSITORY / path).is_file()


def test_project_has_the_name_of_the_catalog_entry() -> None:
    assert "project(MetalArtifactReduction)" in (REPOSITORY / "CMakeLists.txt").read_text()
    for module in MODULES:
        assert f"add_subdirectory({module})" in (REPOSITORY / "CMakeLists.txt").read_text()


@pytest.mark.parametrize(
    "icon",
    [
        "Resources/MetalArtifactReduction.png",
        "MetalArtifactReduction/Resources/Icons/MetalArtifactReduction.png",
    ],
)
def test_icons_are_128_pixels_and_small(icon: str) -> None:
    data = (REPOSITORY / icon).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (128, 128)
    assert len(data) < 50_000


#
# Module file and panel
#

SOURCE = REPOSITORY / "MetalArtifactReduction" / "MetalArtifactReduction.py"
UI = REPOSITORY / "MetalArtifactReduction" / "Resources" / "UI" / "MetalArtifactReduction.ui"


def module_tree() -> ast.Module:
    return ast.parse(SOURCE.read_text())


def class_named(name: str) -> ast.ClassDef:
    return next(n for n in module_tree().body if isinstance(n, ast.ClassDef) and n.name == name)


def parameters() -> dict[str, str]:
    """Name -> annotation of the parameter node's members."""
    node = class_named("MetalArtifactReductionParameterNode")
    assert [ast.unparse(decorator) for decorator in node.decorator_list] == ["parameterNodeWrapper"]
    members = [statement for statement in node.body if isinstance(statement, ast.AnnAssign)]
    return {ast.unparse(member.target): ast.unparse(member.annotation) for member in members}


def ui_widgets() -> dict[str, ElementTree.Element]:
    root = ElementTree.parse(UI).getroot()
    widgets = [element for element in root.iter("widget")]
    names = [element.get("name", "") for element in widgets]
    assert len(names) == len(set(names))
    return dict(zip(names, widgets, strict=True))


def ui_property(widget: ElementTree.Element, name: str) -> str | None:
    for entry in widget.findall("property"):
        if entry.get("name") == name:
            return "".join(entry.itertext()).strip()
    return None


def bound_widgets() -> dict[str, ElementTree.Element]:
    """Parameter name -> widget."""
    bound: dict[str, ElementTree.Element] = {}
    for widget in ui_widgets().values():
        name = ui_property(widget, "SlicerParameterName")
        if name is not None:
            assert name not in bound
            bound[name] = widget
    return bound


def enum_values(name: str) -> list[str]:
    return [
        ast.literal_eval(statement.value)
        for statement in class_named(name).body
        if isinstance(statement, ast.Assign)
    ]


def test_panel_and_parameter_node_know_the_same_names() -> None:
    assert set(bound_widgets()) == set(parameters())


@pytest.mark.parametrize("name", sorted(parameters()))
def test_widget_fits_its_parameter(name: str) -> None:
    """As parameterNodeWrapper's connectors will check when the panel opens."""
    annotation, widget = parameters()[name], bound_widgets()[name]
    kind = widget.get("class")
    if annotation.startswith("vtkMRML"):
        assert kind == "qMRMLNodeComboBox"
        assert ui_property(widget, "nodeTypes") == annotation
        assert ui_property(widget, "noneEnabled") == "true"
    elif annotation == "bool":
        assert kind == "QCheckBox"
    elif match := re.fullmatch(
        r"Annotated\[float, WithinRange\(([\d.]+), ([\d.]+)\)\]", annotation
    ):
        assert kind == "ctkSliderWidget"  # needs both bounds
        low, high = (float(bound) for bound in match.groups())
        assert float(ui_property(widget, "minimum") or 0) == low
        assert float(ui_property(widget, "maximum") or 99) == high
    elif annotation.startswith("Annotated[str, Choice("):
        assert kind == "QComboBox"
    else:
        assert kind == "QComboBox"
        assert enum_values(annotation)


def test_choices_are_the_librarys() -> None:
    from MetalArtifactReductionLib.inpainting.registry import METHODS
    from MetalArtifactReductionLib.mrml import WINDOWS

    assert set(enum_values("Method")) == set(METHODS)
    assert set(enum_values("WindowPreset")) == set(WINDOWS)


def test_panel_loads_in_slicer() -> None:
    """The root and the connections that hand the scene to every MRML widget."""
    root = ElementTree.parse(UI).getroot()
    widgets = ui_widgets()
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


def test_every_control_has_a_tooltip_and_a_place_in_the_tab_order() -> None:
    controls = {"qMRMLNodeComboBox", "QComboBox", "QCheckBox", "ctkSliderWidget", "QPushButton"}
    root = ElementTree.parse(UI).getroot()
    tab_order = {entry.text for entry in root.iter("tabstop")}
    for name, widget in ui_widgets().items():
        if widget.get("class") in controls:
            assert ui_property(widget, "toolTip"), name
            assert name in tab_order


def test_widgets_named_in_the_module_exist() -> None:
    used = set(re.findall(r"self\.ui\.(\w+)", SOURCE.read_text()))
    assert len(used) > 8
    assert used <= set(ui_widgets())
    selftest = SOURCE.parent / "MetalArtifactReductionPanel" / "selftest.py"
    assert set(re.findall(r"widget\.ui\.(\w+)", selftest.read_text())) <= set(ui_widgets())


def test_slicer_imports_nothing_heavy_at_startup() -> None:
    """Importing the module file must not need packages that Slicer installs later."""
    allowed = {
        "slicer",
        "vtk",
        "qt",
        "ctk",
        "MetalArtifactReductionPanel",
    } | sys.stdlib_module_names
    panel = SOURCE.parent / "MetalArtifactReductionPanel"
    for source in (SOURCE, panel / "__init__.py", panel / "selftest.py"):
        for node in ast.parse(source.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= allowed, source.name


def test_module_has_the_classes_that_slicer_looks_for() -> None:
    names = {node.name for node in module_tree().body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.name
        for node in module_tree().body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for suffix in ("", "Widget", "Logic", "Test"):
        assert f"MetalArtifactReduction{suffix}" in names | imported
