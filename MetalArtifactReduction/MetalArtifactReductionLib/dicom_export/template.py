"""The series that a corrected volume came from: geometry, files and headers, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..dicom import DicomSource, read_dicom, read_dicom_files
from ..dicom_enhanced import single_frame
from ..errors import InputError
from ..volume import CTVolume, to_storage
from ..volume_io import geometry_difference, on_grid
from .values import Encoding, encoding_for

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SAME_HU = 1.0  # rounding by a converter
_SAME_SHARE = 0.99  # converters change padding, and little else


@dataclass(frozen=True)
class DicomTemplate:
    """A source series, and how arrays on another grid of the same voxels come onto it.

    :param volume: the series as it was read.
    :param path: what the user calls it.
    """

    volume: CTVolume
    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The source's file of every slice, in slice order."""
        source = self.volume.source
        return source.files if source is not None else ()

    @property
    def facts(self) -> DicomSource:
        """What the source says of itself."""
        source = self.volume.source
        assert source is not None and source.dicom is not None  # as every constructor checks
        return source.dicom

    def stored(self, array: np.ndarray, volume: CTVolume) -> np.ndarray:
        """An array on a volume's grid as the series' own slices, ``(slices, rows, cols)``.

        :param array: on the grid of ``volume``.
        :param volume: the template's own, or one whose voxels are the same in another order.
        :raises InputError: its voxels are not those of the series.
        """
        stored, ijk_to_ras = to_storage(array, volume)
        placed = on_grid(self.path, stored, ijk_to_ras, self.volume)
        return to_storage(placed, self.volume)[0]

    def encoding(self, stored_hu: np.ndarray) -> Encoding:
        """How values on the series' own slices are stored."""
        signed = self.facts.pixel_representation == 1
        return encoding_for(stored_hu, self.facts.rescale, signed=signed)

    def headers(self) -> Iterator[Dataset]:
        """The complete header of every slice without its pixels, in slice order; yours to change.

        :raises InputError: a file has gone or is another one by now.
        """
        import pydicom

        frames = self.facts.frames
        opened: tuple[Path, Dataset] | None = None
        for index, file in enumerate(self.files):
            if opened is None or opened[0] != file:
                try:
                    opened = file, pydicom.dcmread(file, stop_before_pixels=True, force=True)
                except (OSError, ValueError) as error:
                    reason = getattr(error, "strerror", None) or type(error).__name__
                    raise InputError(
                        f"{file}: the source's header cannot be read again ({reason});"
                        " the series must stay in place until its correction is written"
                    ) from None
            header = opened[1]
            if str(header.get("SOPInstanceUID", "")) != self.facts.sop_instance_uids[index]:
                raise InputError(f"{file}: changed since it was read; correct the series again")
            if frames:
                yield single_frame(header, frames[index])
            else:
                yield header
                opened = None


def dicom_template(
    volume: CTVolume,
    folder: str | PathLike[str] | None = None,
    series: str | int | None = None,
) -> DicomTemplate:
    """The series that a derived one is made like.

    :param volume: the CT that is corrected.
    :param folder: the DICOM series it was converted from, where it was not read from DICOM itself.
    :param series: which series of a folder with several.
    :raises InputError: no DICOM source, another geometry, or another scan.
    """
    source = volume.source
    if folder is None:
        if source is None or source.dicom is None:
            name = f"{source.path}: " if source is not None and source.path is not None else ""
            raise InputError(
                f"{name}not from DICOM, so nothing says whose it is; give the series it was"
                " converted from (--dicom-template FOLDER), or write .nii.gz or .nrrd"
            )
        return _checked(DicomTemplate(volume, source.path or source.files[0].parent))
    path = Path(folder)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the name")
    template = _checked(DicomTemplate(read_dicom(path, series), path))
    check_same_scan(volume, template)
    return template


def template_from_files(
    files: Sequence[str | PathLike[str]], path: Path | None = None
) -> DicomTemplate:
    """A template from the files of exactly one series, in any order.

    :param files: one a slice.
    :param path: what to call the series in errors; the files' folder if None.
    :raises InputError: as :func:`.dicom.read_dicom`.
    """
    listed = [Path(file) for file in files]
    name = path or (listed[0].parent if listed else Path())
    return _checked(DicomTemplate(read_dicom_files(listed, name), name))


def check_same_scan(volume: CTVolume, template: DicomTemplate) -> None:
    """Refuse a template that is another scan: results would get another patient's name.

    :raises InputError: another geometry, or other values in more than a hundredth of the voxels.
    """
    like = template.volume
    stored, ijk_to_ras = to_storage(volume.hu, volume)
    try:
        placed = on_grid(template.path, stored, ijk_to_ras, like)
    except InputError:
        difference = geometry_difference(
            volume.hu.shape, volume.ijk_to_ras, like.hu.shape, like.ijk_to_ras
        )
        raise InputError(
            f"{template.path}: the series has another geometry than the CT ({difference});"
            " give the series that the CT was converted from"
        ) from None
    slopes = [slope for slope, _ in template.facts.rescale]
    tolerance = max(_SAME_HU, *slopes)
    same = [
        np.count_nonzero(np.abs(mine - theirs) <= tolerance)
        for mine, theirs in zip(placed, like.hu, strict=True)
    ]
    share = sum(same) / max(1, like.hu.size)
    padded = _padded_share(placed, like.hu)
    if share + padded < _SAME_SHARE:
        raise InputError(
            f"{template.path}: the values differ from the CT's in {1 - share:.0%} of the voxels,"
            " so this is another scan; give the series that the CT was converted from"
        )


def _padded_share(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the voxels that are air or padding in both and yet not equal."""
    count = 0
    for mine, theirs in zip(first, second, strict=True):
        count += np.count_nonzero(
            (mine <= -1000) & (theirs <= -1000) & (np.abs(mine - theirs) > _SAME_HU)
        )
    return count / max(1, first.size)


def _checked(template: DicomTemplate) -> DicomTemplate:
    """Refuse what a derived series could not refer to."""
    facts = template.facts
    missing = [
        name
        for name, value in (
            ("StudyInstanceUID", facts.study_uid),
            ("SeriesInstanceUID", facts.series_uid),
            ("SOPInstanceUID", all(facts.sop_instance_uids)),
        )
        if not value
    ]
    if missing:
        raise InputError(
            f"{template.path}: has no {' and no '.join(missing)}, so a derived series cannot refer"
            " to it; export it again, or write .nii.gz or .nrrd"
        )
    return template
