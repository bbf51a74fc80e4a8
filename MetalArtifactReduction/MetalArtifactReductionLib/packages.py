"""Which Python packages are missing, and what those that are there add."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterable, Iterator
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import one_line


def loaded_entries(group: str) -> Iterator[Any]:
    """What installed packages offer at an entry-point group.

    A package that cannot be imported is told in the log and left out: the others work without it.
    """
    for point in importlib.metadata.entry_points(group=group):
        try:
            yield point.load()
        except Exception as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            logging.getLogger("mar").warning(
                "%r is left out: %s cannot be imported (%s); repair or uninstall its package",
                point.name,
                point.value,
                reason,
            )


@cache
def installed_version(name: str) -> str:
    """Of a package that is there; whoever installs another one calls ``cache_clear()``."""
    return importlib.metadata.version(name)


def missing_requirements(
    path: str | PathLike[str], *, any_version: bool = False, provided: Iterable[str] = ()
) -> list[str]:
    """The lines of a requirements file that this Python does not satisfy.

    :param path: requirements file; comments and blank lines are skipped.
    :param any_version: be content with any version that is installed.
    :param provided: names that are not looked at, since somebody else takes care of them.
    """
    from packaging.requirements import Requirement

    taken_care_of = {name.lower() for name in provided}
    missing: list[str] = []
    for text in Path(path).read_text(encoding="utf-8").splitlines():
        line = text.split("#")[0].strip()
        if not line:
            continue
        requirement = Requirement(line)
        elsewhere = requirement.marker is not None and not requirement.marker.evaluate()
        if elsewhere or requirement.name.lower() in taken_care_of:
            continue
        try:
            version = installed_version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(line)
            continue
        if not any_version and not requirement.specifier.contains(version, prereleases=True):
            missing.append(line)
    return missing
