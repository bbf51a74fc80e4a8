"""The series that a corrected volume came from: geometry, files and headers, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..files.dicom import read_dicom, read_dicom_files
from ..files.dicom_enhanced import single_frame
from ..files.dicom_pixels import opened as read_whole
from ..files.grids import geometry_difference, on_grid
from ..files.inputs import check_readable
from ..volume import AIR_HU, CTVolume, DicomSource, to_storage
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
        frames = self.facts.frames
        opened: tuple[Path, Dataset] | None = None
        for index, file in enumerate(self.files):
            if opened is None or opened[0] != file:
                try:
                    opened = file, read_whole(file, pixels=False)
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
                " converted from (folder=..., --dicom-template), or write .nii.gz or .nrrd"
            )
        return _checked(DicomTemplate(volume, source.path or source.files[0].parent))
    path = Path(folder)
    check_readable(path, folder=True)
    template = _checked(DicomTemplate(read_dicom(path, series), path))
    check_same_scan(volume, template)
    return template


def template_from_files(
    files: Sequence[str | PathLike[str]], path: Path | None = None
) -> DicomTemplate:
    """A template from the files of exactly one series, in any order.

    :param files: one a slice.
    :param path: what to call the series in errors; the files' folder if None.
    :raises InputError: as :func:`..dicom.read_dicom`.
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
    share = _equal_share(placed, template)
    if share < _SAME_SHARE:
        raise InputError(
            f"{template.path}: the values differ from the CT's in {1 - share:.0%} of the voxels,"
            " so this is another scan; give the series that the CT was converted from"
        )


def placement_by_values(
    volume: CTVolume, template: DicomTemplate
) -> Callable[[np.ndarray], np.ndarray]:
    """How arrays on a volume's grid come onto the template's, told by the values where need be.

    Readers that assume rectangular volumes (ITK) give a tilted or slightly uneven series another
    geometry. Its voxels are the same, slice by slice, and that is what counts here.

    :returns: a function from ``volume``'s grid to that of ``template.volume``.
    :raises InputError: as :func:`check_same_scan`, if neither geometry nor values agree.
    """
    try:
        check_same_scan(volume, template)
    except InputError:
        for step in (1, -1):
            placed = _restacked(volume.hu, volume, template.volume, step)
            if placed is not None and _equal_share(placed, template) >= _SAME_SHARE:
                return partial(_restacked_or_raise, volume=volume, like=template.volume, step=step)
        raise
    return lambda array: on_grid(template.path, *to_storage(array, volume), template.volume)


def _restacked(array: np.ndarray, volume: CTVolume, like: CTVolume, step: int) -> np.ndarray | None:
    """The stored slices of one volume as those of another, in order (1) or reversed (-1)."""
    stored = to_storage(array, volume)[0][::step]
    axes = like.source.axes if like.source is not None else (0, 1, 2)
    placed: np.ndarray = stored.transpose(axes)
    return placed if placed.shape == like.hu.shape else None


def _restacked_or_raise(
    array: np.ndarray, volume: CTVolume, like: CTVolume, step: int
) -> np.ndarray:
    placed = _restacked(array, volume, like, step)
    if placed is None:
        raise ValueError(f"array of shape {array.shape} does not fit {like.hu.shape}")
    return placed


def _equal_share(placed: np.ndarray, template: DicomTemplate) -> float:
    """Share of the voxels with the template's values; other padding counts as equal."""
    like = template.volume.hu
    tolerance = max(_SAME_HU, *(slope for slope, _ in template.facts.rescale))
    count = 0
    for mine, theirs in zip(placed, like, strict=True):
        equal = np.abs(mine - theirs) <= tolerance
        count += np.count_nonzero(equal | ((mine <= AIR_HU) & (theirs <= AIR_HU)))
    return count / max(1, like.size)


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
