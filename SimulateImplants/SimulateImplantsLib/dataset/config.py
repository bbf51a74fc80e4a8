"""A dataset's settings from a JSON file, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MetalArtifactReductionLib.errors import InputError

from ..cases.records import read_json
from .plan import CTSource

_KEYS = {
    "cts": list,
    "cases": int,
    "seed": int,
    "workers": int,
    "mix": dict,
    "presets": list,
    "acquisition": dict,
    "model": str,
    "margin": int,
    "metal_shapes": str,
    "format": str,
    "clean": bool,
    "reference": bool,
}
_CT_KEYS = ("ct", "series", "segmentation", "labels", "clicks")
_EXAMPLE = '{"cts": [{"ct": "a.nii.gz", "segmentation": "a-masks"}, "b.nii.gz"], "cases": 100}'


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
    for key, value in data.items():
        if key not in _KEYS:
            raise InputError(f"{path}: unknown key {key!r}; there are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]) or (isinstance(value, bool) != (_KEYS[key] is bool)):
            raise InputError(f"{path}: {key} {value!r} is no {_KEYS[key].__name__}")
    sources = tuple(_source(item, path) for item in data["cts"])
    values = {key: value for key, value in data.items() if key != "cts"}
    if "metal_shapes" in values:
        values["metal_shapes"] = path.parent / values["metal_shapes"]
    return DatasetConfig(sources, values)


def _source(item: Any, path: Path) -> CTSource:
    if isinstance(item, str):
        return CTSource(path.parent / item)
    if not isinstance(item, Mapping) or not isinstance(item.get("ct"), str):
        raise InputError(f'{path}: {item!r} is no CT; write "ct.nii.gz" or {{"ct": "ct.nii.gz"}}')
    for key in item:
        if key not in _CT_KEYS:
            raise InputError(
                f"{path}: unknown key {key!r} of a CT; there are {', '.join(_CT_KEYS)}"
            )
    segmentation, names = item.get("segmentation"), item.get("labels")
    if names is not None and (path.parent / str(names)).exists():
        names = str(path.parent / str(names))
    clicks = item.get("clicks") or {}
    try:
        points = tuple(
            (str(name), (float(place[0]), float(place[1]), float(place[2])))
            for name, place in clicks.items()
        )
    except (AttributeError, TypeError, ValueError, IndexError, KeyError):
        raise InputError(
            f'{path}: clicks {clicks!r} are not points; write {{"L3": [2.5, -31, 840]}}'
        ) from None
    return CTSource(
        path.parent / item["ct"],
        item.get("series"),
        None if segmentation is None else path.parent / str(segmentation),
        names,
        points,
    )
