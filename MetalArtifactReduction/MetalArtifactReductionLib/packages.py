"""Which Python packages are missing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from os import PathLike
from pathlib import Path


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
    missing = []
    for text in Path(path).read_text(encoding="utf-8").splitlines():
        line = text.split("#")[0].strip()
        if not line:
            continue
        requirement = Requirement(line)
        elsewhere = requirement.marker is not None and not requirement.marker.evaluate()
        if elsewhere or requirement.name.lower() in taken_care_of:
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(line)
            continue
        if not any_version and not requirement.specifier.contains(version, prereleases=True):
            missing.append(line)
    return missing
