"""Folder names of cases: unique, below the folder of results, possible on every system."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError, shown

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""As in ``files.volumes``, which would load numpy; ``.nii.gz`` before its part."""

RESERVED = frozenset({"summary", "failed", "summary.csv", "summary.html"})
"""What a batch itself writes into its folder."""

_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f\ud800-\udfff]')
_WINDOWS_NAMES = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_LONGEST = 120  # bytes; file systems take 255, and more is added


def checked_output(text: str, where: str) -> str:
    """A relative name that stays below the batch's folder, on every system.

    :raises InputError: it does not; ``where`` is named.
    """
    parts = text.replace("\\", "/").strip("/").split("/")
    if text.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", text) or ".." in parts:
        raise InputError(
            f"{where}: output {shown(text)} leaves the folder of results; give a name below it"
        )
    if any(_safe(part) != part for part in parts):
        raise InputError(
            f"{where}: output {shown(text)} cannot be a folder everywhere; use letters"
        )
    return "/".join(parts)


def unique_names(own: Sequence[str], inputs: Sequence[Path], hints: Mapping[int, str]) -> list[str]:
    """A folder name a case: its own, or made from that of its input.

    Inputs of one name get the names of their folders before it, of those further up as well where
    these tell them apart, and a number if that is not enough.

    :param own: what the user said, else empty. :param hints: better than the input's own name.
    :raises InputError: the user gave one name twice, or one below another.
    """
    taken: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in own:
        if name:
            _claim(name, taken, folders)
    stems = [_safe(hints[k]) if k in hints else stem_of(path) for k, path in enumerate(inputs)]
    used = set(taken) | RESERVED
    numbers: Counter[str] = Counter()
    result = []
    for name, made in zip(own, _told_apart(stems, inputs), strict=True):
        if not name:
            name = _numbered(made, used, numbers)
            used.add(name.casefold())
            _claim(name, taken, folders)
        result.append(name)
    return result


def _told_apart(stems: Sequence[str], inputs: Sequence[Path]) -> list[str]:
    """Equal stems with their folder, then with those above in which they differ, before them."""
    names = list(stems)
    above = [path.parent.parts[::-1] for path in inputs]
    for depth in range(max(map(len, above), default=0)):
        alike: dict[str, list[int]] = {}
        for k, name in enumerate(names):
            alike.setdefault(name.casefold(), []).append(k)
        for group in alike.values():
            folders = [above[k][depth] if depth < len(above[k]) else "" for k in group]
            if len(group) > 1 and (depth == 0 or len(set(folders)) > 1):
                for k, folder in zip(group, folders, strict=True):
                    names[k] = _safe(f"{folder}-{names[k]}") if folder else names[k]
    return names


def _claim(name: str, taken: dict[str, str], folders: dict[str, str]) -> None:
    """Take a name, unless it is taken, or lies below or above one that is.

    :param taken: names. :param folders: every folder above a name, with that name.
    """
    key = name.casefold()
    parts = key.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    other = taken.get(key, folders.get(key)) or next((taken[a] for a in above if a in taken), None)
    if other is not None:
        raise InputError(
            f"output {shown(name)} is named twice, or lies in that of another case "
            f"({shown(other)}); give each case its own"
        )
    if parts[0] in RESERVED:
        raise InputError(f"output {shown(name)} is a name that the batch needs; give another")
    taken[key] = name
    folders.update(dict.fromkeys(above, name))


def _numbered(name: str, used: set[str], numbers: Counter[str]) -> str:
    """The name, with the first number that is free; ``numbers`` remembers where to go on."""
    key = name.casefold()
    while True:
        numbers[key] += 1
        number = numbers[key]
        candidate = name if number == 1 else f"{name}-{number}"
        if candidate.casefold() not in used:
            return candidate


def stem_of(path: Path) -> str:
    """The name of an input without its ending, as a folder name."""
    name = path.name or path.resolve().name or "volume"
    for suffix in (*SUFFIXES, ".zip", ".dcm", ".dicom", ".ima"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return _safe(name[: -len(suffix)])
    return _safe(name)


def _safe(name: str) -> str:
    """A folder name that Linux, macOS and Windows allow."""
    name = _FORBIDDEN.sub("_", name)
    name = name.encode("utf-8")[:_LONGEST].decode("utf-8", "ignore").strip(". ")
    return f"_{name}" if not name or _WINDOWS_NAMES.match(name) else name
