"""What the pages name exists: files that they link or run, commands and their options.

Links within the site are the business of its build (``sphinx-build --fail-on-warning docs site``).
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from MetalArtifactReductionLib import __version__
from MetalArtifactReductionLib.cli import build_parser
from SimulateImplantsLib.dataset.config import _CT, _Record, read_config
from support import REPOSITORY

LISTED = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
PAGES = subprocess.run(LISTED, cwd=REPOSITORY, capture_output=True, text=True, check=False)
PAGES = [REPOSITORY / name for name in PAGES.stdout.splitlines()]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
FILE = re.compile(
    r"(?:Testing|Resources|docs|MetalArtifactReduction|SimulateImplants)/[\w./-]+\.\w+"
)


def texts() -> Iterator[tuple[Path, str]]:
    assert PAGES, "git lists no page"
    for page in PAGES:
        yield page, page.read_text(encoding="utf-8")


def test_links_and_named_files_exist() -> None:
    missing = [
        f"{page.relative_to(REPOSITORY)}: {name}"
        for page, text in texts()
        for start, names in ((page.parent, LINK.findall(text)), (REPOSITORY, FILE.findall(text)))
        for name in names
        if "NAME" not in name and not (start / name).exists()
    ]
    assert not missing


def test_one_version() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)", citation, flags=re.MULTILINE) == [__version__]


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Every ``mar ...`` of the shell blocks."""
    for page, text in texts():
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.strip("&"), comments=True)
                name = words[0].rpartition("/")[2] if words else ""
                if name == "mar":
                    yield page, words[1:]


def test_commands_have_the_options_that_are_written() -> None:
    parser = build_parser()
    known: Any = next(
        action.choices
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    found = list(commands())
    assert len(found) > 20
    for page, (command, *words) in found:
        if command in ("help", "COMMAND") or command.startswith("-"):
            continue
        assert command in known, (page.name, command)
        for word in words:
            option = word.strip("[]").partition("=")[0]
            if option.startswith("--") and not any(
                one.startswith(option) for one in known[command]._option_string_actions
            ):
                pytest.fail(f"{page.name}: mar {command} has no {option}")


def test_the_configuration_of_a_dataset_is_told(tmp_path: Path) -> None:
    """The example is read, and every key has its words."""
    page = (REPOSITORY / "docs" / "guide" / "simulate.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example is not None
    (tmp_path / "config.json").write_text(example[1])
    config = read_config(tmp_path / "config.json")
    assert len(config.sources) == 4 and config.sources[1].clicks[0][0] == "L3"
    table = page[page.index("| Key | Means |") :]
    for key in [field.name for kind in (_Record, _CT) for field in fields(kind)]:
        assert f"`{key}`" in table, key
