"""Which files of a folder form the CT series that was meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, shown
from .dicom_enhanced import classic_frame_count, frame_count, single_frame
from .dicom_headers import LeftAside, number_of, read_header, text_of, value_of
from .dicom_quiet import quiet_pydicom
from .several import SeveralVolumes

MOST_LISTED = 12
_UNITS = re.compile(r"(hnsfu|hounsfield(s|unit|units|einheit|einheiten)?|hu|humod|us|unspecified)*")
"""Words for Hounsfield units, or for none said, without anything that is no letter."""
_SAME_PLANE_COSINE = 0.996  # 5 deg
_SAME_COSINES = 1e-3  # some scanners differ in the fourth decimal from slice to slice


@dataclass(frozen=True)
class Slice:
    """One slice of a series: its file and its header without pixels.

    :param frame: which frame of a multi-frame file it is, from 0.
    :param classic: of a multi-frame file without functional groups.
    """

    path: Path
    header: Any
    frame: int | None = None
    classic: bool = False

    @property
    def position(self) -> np.ndarray:
        """Centre of the first pixel in LPS, mm."""
        return np.array([float(x) for x in self.header.ImagePositionPatient])


def ct_images(
    files: Sequence[Path], path: Path, *, assume_ct: bool = False
) -> tuple[list[Slice], list[LeftAside]]:
    """Every CT slice in some files, and the files that hold none.

    :param path: what to call the files together: their folder, or the only one itself.
    :param assume_ct: take other modalities (C-arm: XA) as CT.
    """
    images: list[Slice] = []
    aside: list[LeftAside] = []
    for file in files:
        header = read_header(file)
        if isinstance(header, LeftAside):
            aside.append(header)
            continue
        classic = classic_frame_count(header)
        count = frame_count(header) or classic
        frames = [Slice(file, single_frame(header, n), n, classic > 0) for n in range(count)]
        images += frames or [Slice(file, header)]
    if not images:
        if path.is_file() and aside:
            raise InputError(f"{path}: {_alone(aside[0])}")
        listed = f" ({counted(aside)})" if aside else ""
        raise InputError(
            f"{path}: no DICOM images among {len(files)} files{listed}; give the folder of the CT"
            " series"
        )
    ct = [one for one in images if assume_ct or value_of(one.header, "Modality") == "CT"]
    if not ct:
        modalities = ", ".join(sorted({str(value_of(i.header, "Modality")) for i in images}))
        raise InputError(
            f"{path}: modality {modalities}, not CT; give a CT series, or assume_ct=True"
            " (--assume-ct) if the values are Hounsfield units"
        )
    scouts = {id(one) for one in ct if "LOCALIZER" in text_of(one.header, "ImageType").split("/")}
    slices = [one for one in ct if id(one) not in scouts and _has_plane(one.header)]
    if not slices:
        _raise_without_plane(path, ct)
    taken = {id(one) for one in slices}
    asides = {one.path: LeftAside(one.path, _why(one)) for one in images if id(one) not in taken}
    return slices, [*aside, *asides.values()]


def _alone(aside: LeftAside) -> str:
    """Why the only file there is cannot be read."""
    if aside.damaged:
        return "not DICOM, or its header is truncated or corrupted; copy the series again"
    if aside.why == "not DICOM":
        return "not DICOM, or truncated; give a CT series"
    return f"{aside.why}; give the folder of the CT series"


def _raise_without_plane(path: Path, ct: Sequence[Slice]) -> None:
    if any((number_of(item.header, "NumberOfFrames") or 1) > 1 for item in ct):
        raise InputError(
            f"{path}: multi-frame CT without positions of its frames (functional groups);"
            " convert it to NIfTI with dcm2niix"
        )
    raise InputError(
        f"{path}: {len(ct)} CT images, but only scouts, colour images or images without a"
        " position in the patient; give the axial series"
    )


def _why(item: Slice) -> str:
    modality = str(value_of(item.header, "Modality"))
    return "scout, screen capture or multi-frame" if modality == "CT" else f"{modality} image"


def counted(aside: Sequence[LeftAside]) -> str:
    """How many of each kind, for people."""
    return ", ".join(f"{n} {why}" for why, n in Counter(one.why for one in aside).items())


def _has_plane(header: Any) -> bool:
    """One grey value a pixel, and a place in the patient."""
    sizes = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    complete = all(np.size(header.get(name) or ()) == size for name, size in sizes.items())
    frames = number_of(header, "NumberOfFrames") or 1
    return complete and frames == 1 and (number_of(header, "SamplesPerPixel") or 1) == 1


def series_of(slices: Sequence[Slice]) -> dict[str, list[Slice]]:
    """The slices of each series, by its SeriesInstanceUID."""
    groups: dict[str, list[Slice]] = {}
    for item in slices:
        groups.setdefault(text_of(item.header, "SeriesInstanceUID"), []).append(item)
    return groups


def ct_series_in(folder: Path, *, assume_ct: bool = False) -> dict[str, str]:
    """SeriesInstanceUID and number (or nothing) of every CT series below a folder.

    :raises InputError: none.
    """
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    with quiet_pydicom():
        groups = series_of(ct_images(files, folder, assume_ct=assume_ct)[0])
        numbers = {uid: _number(group[0].header) for uid, group in groups.items()}
    unique = len(set(numbers.values())) == len(numbers)
    return {uid: number if unique else "" for uid, number in numbers.items()}


def chosen_series(path: Path, slices: list[Slice], wanted: str | int | None) -> list[Slice]:
    """The slices of the one series there is, or of the one that was asked for.

    :raises SeveralVolumes: none or several, listed.
    """
    groups = series_of(slices)
    chosen = list(groups)
    if wanted is not None:
        text = str(wanted).strip()
        numbered = [u for u, group in groups.items() if _number(group[0].header) == text]
        named = [uid for uid in groups if series_description(groups[uid]).lower() == text.lower()]
        chosen = [text] if text in groups else numbered or named
    if len(chosen) == 1:
        return groups[chosen[0]]
    numbers = [_number(group[0].header) for group in groups.values()]
    unique = len(set(numbers)) == len(numbers)
    lines = [
        f"{number if unique else uid} '{series_description(group)}' ({_told(group)})"
        for number, (uid, group) in zip(numbers, groups.items(), strict=True)
    ]
    if len(lines) > MOST_LISTED:
        lines = [*lines[:MOST_LISTED], f"and {len(lines) - MOST_LISTED} more"]
    key = "number" if unique else "SeriesInstanceUID"
    what = f"no single series '{wanted}' among" if wanted is not None else "holds"
    plural = "series" if wanted is not None or len(groups) == 1 else "CT series"
    raise SeveralVolumes(
        f"{path}: {what} {len(groups)} {plural}: {', '.join(lines)};"
        f" choose one by its {key} (series=..., --series)",
        [series_row(uid, group) for uid, group in groups.items()],
    )


def series_row(uid: str, group: Sequence[Slice]) -> dict[str, str]:
    """What a table says of a series, or of one acquisition of it."""
    header = group[0].header
    kvp = number_of(header, "KVP")
    acquisitions = sorted({text_of(item.header, "AcquisitionNumber") for item in group} - {""})
    return {
        "number": _number(header),
        "description": series_description(group),
        "slices": str(len(group)),
        "spacing mm": _spacing(group),
        "kernel": text_of(header, "ConvolutionKernel"),
        "kVp": f"{kvp:g}" if kvp is not None else "",
        "acquisition": " ".join(acquisitions[:MOST_LISTED]),
        "SeriesInstanceUID": uid,
    }


def _told(group: Sequence[Slice]) -> str:
    """What tells one series from another: slices, spacing, kernel, tube voltage."""
    row = series_row("", group)
    spacing = f" every {row['spacing mm']} mm" if row["spacing mm"] else ""
    kvp = f"{row['kVp']} kVp" if row["kVp"] else ""
    return ", ".join(filter(None, (f"{len(group)} slices{spacing}", row["kernel"], kvp)))


def _spacing(group: Sequence[Slice]) -> str:
    """The usual distance of neighbours in mm; empty for a single slice, or without positions."""
    try:
        positions = np.array([item.position for item in group])
    except (TypeError, ValueError):
        return ""
    if len(positions) < 2:
        return ""
    along = positions[:, int(np.argmax(np.ptp(positions, axis=0)))]
    return f"{float(np.median(np.diff(np.sort(along)))):.4g}"


def _number(header: Any) -> str:
    return text_of(header, "SeriesNumber")


def series_description(group: Sequence[Slice]) -> str:
    """What the technician called the series; empty where nothing was entered."""
    return text_of(group[0].header, "SeriesDescription")


def check_none_damaged(
    chosen: Sequence[Slice], found: Sequence[Slice], aside: Sequence[LeftAside]
) -> None:
    """Refuse a damaged file that may be a slice of the chosen series.

    Its own name and header are gone; what lies in a folder of other series only is none.
    """
    mine = {item.path.parent for item in chosen}
    others = {item.path.parent for item in found} - mine
    for one in aside:
        if one.damaged and (one.path.parent in mine or one.path.parent not in others):
            raise InputError(
                f"{one.path}: truncated or corrupted DICOM header; copy the series again, or"
                " remove the file if it is no slice of it"
            )


def of_one_plane(slices: list[Slice], aside: list[LeftAside]) -> list[Slice]:
    """Without the derived images of another plane that some scanners add to a series."""
    normals = [_normal(item.header) for item in slices]
    usual = normals[len(normals) // 2]
    same = [abs(float(normal @ usual)) > _SAME_PLANE_COSINE for normal in normals]
    derived = ["DERIVED" in text_of(item.header, "ImageType").split("/") for item in slices]
    if all(same) or any(not s and not d for s, d in zip(same, derived, strict=True)):
        return slices
    kept = [item for item, fits in zip(slices, same, strict=True) if fits]
    odd = [item for item, fits in zip(slices, same, strict=True) if not fits]
    if len(odd) >= len(kept):
        return slices
    aside += [LeftAside(item.path, "derived image of another plane") for item in odd]
    return kept


def _normal(header: Any) -> np.ndarray:
    cosines = np.array([float(x) for x in header.ImageOrientationPatient])
    normal = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(normal))
    if not 0.5 < length < 2:
        raise ValueError(f"ImageOrientationPatient {cosines.tolist()} is no orientation")
    return normal / length


def check_uniform(path: Path, slices: Sequence[Slice]) -> None:
    """One matrix, one orientation, one pixel size, one kind of value in the whole series."""
    first = slices[0].header
    size = (first.Rows, first.Columns)
    for item in slices:
        header = item.header
        if (header.Rows, header.Columns) != size:
            raise InputError(
                f"{path}: slices of {header.Columns} x {header.Rows} and {size[1]} x {size[0]}"
                " pixels in one series; keep only those of one size"
            )
        for name, tolerance in (("ImageOrientationPatient", _SAME_COSINES), ("PixelSpacing", 1e-5)):
            values, reference = header.get(name), first.get(name)
            if not np.allclose(
                np.array(values, float), np.array(reference, float), rtol=0, atol=tolerance
            ):
                raise InputError(
                    f"{path}: {name} {list(values)} and {list(reference)} in one series;"
                    " keep only the slices of one plane"
                )
        unit = text_of(header, "RescaleType") or "HU"
        if not _UNITS.fullmatch(re.sub(r"[^a-z]", "", unit.lower())):
            raise InputError(
                f"{path}: the values are in {shown(unit)} (RescaleType), not Hounsfield units;"
                " give the CT series itself"
            )
