"""What Slicer's build will find: install lists, icons, catalog entry."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from support import REPOSITORY

MODULES = ("MetalArtifactReduction", "SimulateImplants")
NOT_INSTALLED = {"Testing", "__pycache__"}


TOP_LEVEL = {
    *("CMakeLists.txt", "MetalArtifactReduction", "SimulateImplants", "Resources", "Testing"),
    *("README.md", "CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md"),
    *("LICENSE.txt", "SECURITY.md", "MetalArtifactReduction.json", "docs", "pyproject.toml"),
    *(".ci", ".github", ".gitignore", ".pre-commit-config.yaml"),
}


def test_nothing_else_lies_at_the_top() -> None:
    """Programs leave files where they were started: Slicer its DICOM databases."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout")
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert {name.split("/")[0] for name in listed.stdout.split("\0") if name} == TOP_LEVEL


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
    text = re.sub(r"#.*", "", (folder / "CMakeLists.txt").read_text(encoding="utf-8"))
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
        found = (tmp_path / "build" / f"{module}.txt").read_text(encoding="utf-8").split(";")
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
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(rf'set\({name} "([^"]*)"', text)
    assert match, f"{name} is not set"
    return match.group(1)


def test_catalog_entry_agrees_with_cmake() -> None:
    entry = json.loads((REPOSITORY / "MetalArtifactReduction.json").read_text(encoding="utf-8"))
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


def test_pictures_for_the_catalog_exist() -> None:
    """The index downloads them from the branch that the entry names; none may be missing here."""
    entry = json.loads((REPOSITORY / "MetalArtifactReduction.json").read_text(encoding="utf-8"))
    addresses = cmake_setting("EXTENSION_SCREENSHOTURLS").split()
    assert addresses
    home = cmake_setting("EXTENSION_HOMEPAGE").removeprefix("https://github.com/")
    start = f"https://raw.githubusercontent.com/{home}/{entry['scm_revision']}/"
    for address in addresses:
        assert address.startswith(start)
        data = (REPOSITORY / address.removeprefix(start)).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"


def test_what_the_index_checks_of_a_repository() -> None:
    entry = (REPOSITORY / "MetalArtifactReduction.json").read_bytes()
    assert b"\r" not in entry
    name = json.loads(entry)["scm_url"].rsplit("/", 1)[1]
    assert name.startswith("Slicer")
    assert (REPOSITORY / "LICENSE.txt").is_file()
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if tracked.returncode == 0:
        files = [REPOSITORY / path.decode() for path in tracked.stdout.split(b"\0") if path]
        assert sum(path.stat().st_size for path in files if path.is_file()) < 100e6


def test_project_has_the_name_of_the_catalog_entry() -> None:
    assert "project(MetalArtifactReduction)" in (REPOSITORY / "CMakeLists.txt").read_text(
        encoding="utf-8"
    )
    for module in MODULES:
        assert f"add_subdirectory({module})" in (REPOSITORY / "CMakeLists.txt").read_text(
            encoding="utf-8"
        )


@pytest.mark.parametrize(
    "icon",
    [
        "Resources/MetalArtifactReduction.png",
        "MetalArtifactReduction/Resources/Icons/MetalArtifactReduction.png",
        "SimulateImplants/Resources/Icons/SimulateImplants.png",
    ],
)
def test_icons_are_128_pixels_and_small(icon: str) -> None:
    data = (REPOSITORY / icon).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (128, 128)
    assert len(data) < 50_000
