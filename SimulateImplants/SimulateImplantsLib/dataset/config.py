"""A dataset's settings from a JSON file, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.inputs import is_file
from MetalArtifactReductionLib.files.schema import check_values

from ..cases.records import read_json
from .plan import CTSource

_EXAMPLE = '{"cts": [{"ct": "a.nii.gz", "segmentation": "a-masks"}, "b.nii.gz"], "cases": 100}'


@dataclass(frozen=True)
class _CT:
    """One CT of the file."""

    ct: str
    series: str | int | None = None
    segmentation: str | None = None
    labels: str | None = None
    clicks: dict[str, tuple[float, float, float]] | None = None
    sites: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Record:
    """The file, and what each of its keys may be."""

    cts: list[str | _CT]
    cases: Annotated[int, Field(gt=0)] = 10
    seed: int = 0
    workers: Annotated[int, Field(gt=0)] = 1
    mix: dict[str, float] = field(default_factory=dict)
    presets: list[str] = field(default_factory=list)
    acquisition: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    margin: int = 0
    slices: Annotated[int, Field(gt=0)] = 1
    metal_shapes: str = ""
    format: str = ""
    clean: bool = False
    reference: bool = False


@dataclass(frozen=True)
class DatasetConfig:
    """What a configuration file says.

    :param sources: CTs with their segmentations.
    :param values: the other keys, of the right types.
    """

    sources: tuple[CTSource, ...]
    values: Mapping[str, Any] = field(default_factory=dict)


def read_config(path: Path) -> DatasetConfig:
    """Read ``{"cts": [...], "cases": N, ...}``; paths in it are relative to the file.

    :raises InputError: no such file, not JSON, an unknown key or a value of the wrong kind.
    """
    data = read_json(path, f"a configuration such as {_EXAMPLE}")
    if not isinstance(data, Mapping) or not data.get("cts"):
        raise InputError(f"{path}: names no CTs; write {_EXAMPLE}")
    _check_known(data, _Record, f"{path}: unknown key {{!r}}")
    for item in data["cts"] if isinstance(data["cts"], list) else ():
        if isinstance(item, Mapping):
            _check_known(item, _CT, f"{path}: unknown key {{!r}} of a CT")
    check_values(_Record, dict(data), str(path))
    sources = tuple(_source(item, path) for item in data["cts"])
    values = {key: value for key, value in data.items() if key != "cts"}
    if "metal_shapes" in values:
        values["metal_shapes"] = path.parent / values["metal_shapes"]
    return DatasetConfig(sources, values)


def _check_known(given: Mapping[str, Any], kind: type, told: str) -> None:
    known = [entry.name for entry in fields(kind)]
    for key in given:
        if key not in known:
            raise InputError(f"{told.format(key)}; there are {', '.join(known)}")


def _source(item: str | Mapping[str, Any], path: Path) -> CTSource:
    if isinstance(item, str):
        return CTSource(path.parent / item)
    segmentation, names = item.get("segmentation"), item.get("labels")
    if names is not None and is_file(path.parent / names):
        names = str(path.parent / names)
    clicks = item.get("clicks") or {}
    return CTSource(
        path.parent / item["ct"],
        item.get("series"),
        None if segmentation is None else path.parent / segmentation,
        names,
        tuple((name, (float(x), float(y), float(z))) for name, (x, y, z) in clicks.items()),
        tuple(item.get("sites", ())),
    )
