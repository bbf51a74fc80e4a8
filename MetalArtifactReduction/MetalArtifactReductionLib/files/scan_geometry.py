"""How a scan was measured: a TOML file, or the configuration of gecatsim (XCIST)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, shown
from ..tomography.attenuation import MU_WATER_PER_MM
from ..tomography.geometry import FanGeometry, ImageGrid, ParallelGeometry
from ..tomography.scan import reach_mm
from .schema import check_values, text_of_file, toml_of

WANTED = "the geometry of the scan: TOML, or gecatsim's .cfg"
IMAGE_SIDE, FINEST_PIXEL_MM = 512, 0.45
WIDEST_CONE_DEG = 1.0
"""Rows of a detector farther from its middle see other slices from every view."""

_NUMBER = re.compile(r"^(scanner|protocol|recon)\.(\w+)\s*=\s*([^#]+)")


@dataclass(frozen=True)
class ImageEntry:
    """``[image]``: pixels, centred on the isocentre; as many as cover the scan where not given."""

    rows: int | None = None
    cols: int | None = None
    pixel_mm: float | None = None
    slice_mm: float = 1.0


@dataclass(frozen=True)
class GeometryFile:
    """The entries of a geometry file; ``docs/reference/files.md`` explains each."""

    kind: Literal["parallel", "fan"]
    views: int
    bins: int
    bin_mm: float
    preset: Literal["astra", "odl", "gecatsim"] | None = None
    detector: Literal["flat", "curved"] = "flat"
    source_isocentre_mm: float | None = None
    source_detector_mm: float | None = None
    offset_bins: float = 0.0
    start_deg: float = 0.0
    range_deg: float | None = None
    direction: Literal["counter-clockwise", "clockwise"] = "counter-clockwise"
    mu_water_per_mm: float = MU_WATER_PER_MM
    array: str | None = None
    image: ImageEntry = field(default_factory=ImageEntry)


@dataclass(frozen=True)
class ScanGeometry:
    """What a file says, in this package's terms.

    :param array: name of the sinogram in a file with several arrays.
    :param rows_inside: detector rows, which raw data of gecatsim hold between views and bins.
    """

    geometry: ParallelGeometry | FanGeometry
    grid: ImageGrid
    mu_water_per_mm: float
    slice_mm: float = 1.0
    array: str | None = None
    rows_inside: int | None = None


def read_scan_geometry(paths: Sequence[Path]) -> ScanGeometry:
    """One TOML file, or the .cfg files of gecatsim, later ones going before.

    :raises InputError: one line with the entry, its value and what is possible.
    """
    if any(path.suffix.lower() == ".cfg" for path in paths):
        return _gecatsim(paths)
    if len(paths) != 1:
        raise InputError(f"--geometry: {len(paths)} files; give one TOML file, or .cfg files")
    path = paths[0]
    content = toml_of(text_of_file(path, "TOML", WANTED), path)
    for table, kind in ((content, GeometryFile), (content.get("image", {}), ImageEntry)):
        known = [entry.name for entry in fields(kind)]
        unknown = [name for name in table if name not in known] if isinstance(table, dict) else []
        if unknown:
            raise InputError(f"{path}: unknown entry {unknown[0]!r}; there are: {', '.join(known)}")
    check_values(GeometryFile, content, str(path))
    image = ImageEntry(**content.pop("image", {}))
    return _scan_geometry(path, GeometryFile(**content, image=image))


def _scan_geometry(path: Path, entry: GeometryFile) -> ScanGeometry:
    for name in ("views", "bins"):
        if getattr(entry, name) < 8:
            raise InputError(f"{path}: {name} is {getattr(entry, name)}; give 8 or more")
    if entry.bin_mm == 0:
        raise InputError(f"{path}: bin_mm is 0; give the distance between bins in mm")
    whole = 180.0 if entry.kind == "parallel" else 360.0
    degrees = whole if entry.range_deg is None else entry.range_deg
    if any(abs(degrees - math.radians(turn)) < 0.1 for turn in (180, 360)):
        raise InputError(f"{path}: range_deg is {degrees:g}: radians? give {whole:g}")
    common = _turned(entry, degrees)
    geometry: ParallelGeometry | FanGeometry
    if entry.kind == "parallel":
        geometry = ParallelGeometry(entry.views, entry.bins, entry.bin_mm, **common)
    else:
        distances = {}
        for name in ("source_isocentre_mm", "source_detector_mm"):
            distances[name] = getattr(entry, name)
            if distances[name] is None or not distances[name] > 0:
                raise InputError(f"{path}: {name} is {distances[name]}; a fan beam needs it in mm")
        geometry = FanGeometry(
            entry.views,
            entry.bins,
            entry.bin_mm,
            curved=entry.detector == "curved",
            **distances,
            **common,
        )
        if entry.preset in ("astra", "odl"):
            geometry = replace(geometry, bin_mm=-entry.bin_mm)
    return ScanGeometry(
        geometry,
        _grid(geometry, entry.image),
        entry.mu_water_per_mm,
        entry.image.slice_mm,
        entry.array,
    )


def _turned(entry: GeometryFile, degrees: float) -> dict[str, Any]:
    """Start, range, direction and offset in this package's convention.

    ASTRA and ODL: at 0 the source of a fan is below (-y) and cells count to the right; of parallel
    beams the detector counts along (cos, sin) as here. ODL's views lie in the middle of equal parts
    of the range. gecatsim: at 0 the source is above (+y), and the offset moves the cells.
    """
    direction = 1 if entry.direction == "counter-clockwise" else -1
    start = math.radians(entry.start_deg)
    if entry.kind == "fan" and entry.preset in ("astra", "odl"):
        start -= math.pi / 2
    if entry.preset == "gecatsim":
        start += math.pi / 2
    if entry.preset == "odl":
        start += direction * math.radians(degrees) / entry.views / 2
    sign = -1.0 if entry.preset == "gecatsim" else 1.0
    return {
        "offset_bins": sign * entry.offset_bins,
        "start_rad": start,
        "range_rad": math.radians(degrees),
        "direction": direction,
    }


def _grid(geometry: ParallelGeometry | FanGeometry, image: ImageEntry) -> ImageGrid:
    side = 2 * reach_mm(geometry)
    pixel = image.pixel_mm or max(FINEST_PIXEL_MM, side / (image.cols or IMAGE_SIDE))
    fitting = max(16, math.ceil(side / pixel))
    return ImageGrid(
        image.rows or image.cols or fitting, image.cols or image.rows or fitting, (pixel, pixel)
    )


def _gecatsim(paths: Sequence[Path]) -> ScanGeometry:
    """See `_turned`; rows of the detector become slices."""
    values = _numbers(paths)
    name = ", ".join(map(str, paths))

    def number(key: str, default: float | None = None) -> float:
        text = values.get(key)
        if text is None:
            if default is None:
                raise InputError(f"{name}: {key} is missing; give scanner and protocol .cfg files")
            return default
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{name}: {key} is {shown(text)}; write it as a number") from None

    sid, sdd = number("scanner.sid"), number("scanner.sdd")
    rows, views = int(number("scanner.detectorRowCount")), int(number("protocol.viewCount"))
    row_mm = number("scanner.detectorRowSize", 1.0)
    cone = math.degrees(2 * math.atan(rows * row_mm / 2 / sdd))
    if cone > WIDEST_CONE_DEG or number("protocol.tableSpeed", 0.0) != 0:
        raise InputError(
            f"{name}: {rows} detector rows span {cone:.2g} degrees, or the table moves: cone beam "
            f"or spiral; give an axial scan of {WIDEST_CONE_DEG:g} degree at most, or its image"
        )
    turn = number("protocol.viewsPerRotation", views)
    step = 360.0 / turn
    direction = number("protocol.rotationDirection", 1)
    start = number("protocol.startAngle", 0.0)
    start += direction * step * number("protocol.startViewId", 0)
    entry = GeometryFile(
        "fan",
        views,
        int(number("scanner.detectorColCount")),
        number("scanner.detectorColSize"),
        "gecatsim",
        "flat" if "flat" in values.get("scanner.detectorCallback", "").lower() else "curved",
        sid,
        sdd,
        number("scanner.detectorColOffset", 0.0),
        start,
        step * views,
        "counter-clockwise" if direction > 0 else "clockwise",
        number("recon.mu", MU_WATER_PER_MM),
        image=_gecatsim_image(number, row_mm * sid / sdd),
    )
    return replace(_scan_geometry(paths[0], entry), rows_inside=rows)


def _gecatsim_image(number: Any, slice_mm: float) -> ImageEntry:
    side = int(number("recon.imageSize", 0))
    fov = number("recon.fov", 0.0)
    return ImageEntry(side or None, side or None, fov / side if side and fov else None, slice_mm)


def _numbers(paths: Sequence[Path]) -> Mapping[str, str]:
    """Assignments of gecatsim, ``scanner.sid = 540.0  # mm``, as text; never run.

    A name on the right side stands for its own value.
    """
    values: dict[str, str] = {}
    for path in paths:
        for line in text_of_file(path, "gecatsim's .cfg", WANTED).splitlines():
            match = _NUMBER.match(line.strip())
            if match:
                text = match[3].strip().strip("\"'")
                values[f"{match[1]}.{match[2]}"] = values.get(text, text)
    return values
