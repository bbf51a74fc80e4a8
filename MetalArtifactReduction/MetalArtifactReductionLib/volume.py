"""A CT volume: Hounsfield units plus geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

AIR_HU = -1000.0
"""HU of air by definition; what padding becomes for the computation."""

PADDING_BELOW_HU = -1001.0
"""Only values at or below this can be padding: air itself never is."""

_AXIAL_ORDER = (0, 1, 2)


@dataclass(frozen=True)
class NiftiForms:
    """Both orientations of a NIfTI file as its header holds them, whichever counts.

    :param ijk_to_ras: ``(4, 4)`` in mm, the one that counts.
    :param fields: name and values of each field of the header that says where the voxels lie.
    """

    ijk_to_ras: tuple[tuple[float, ...], ...]
    fields: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class DicomSource:
    """Facts of a CT series: for people, and for a derived series written later.

    The headers themselves stay in ``VolumeSource.files``, which are in the order of the slices;
    no patient identity is kept here.

    :param rescale: (slope, intercept) of each slice, in slice order.
    :param frames: which frame each slice is, from 0, in multi-frame files; else empty.
    :param padding_value: stored value (before rescaling) that the scanner declares as padding.
    :param gantry_tilt_deg: angle between the slices' normal and the direction they are stacked in.
    :param uneven_mm: distance of each slice from the first along the normal, where it changes.
    """

    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    rescale: tuple[tuple[float, float], ...]
    bits_stored: int
    pixel_representation: int
    frames: tuple[int, ...] = ()
    padding_value: int | None = None
    series_number: int | None = None
    series_description: str = ""
    manufacturer: str = ""
    model: str = ""
    kvp: float | None = None
    kernel: str = ""
    patient_position: str = ""
    gantry_tilt_deg: float = 0.0
    uneven_mm: tuple[float, ...] = ()


@dataclass(frozen=True)
class VolumeSource:
    """Where a volume came from and what is needed to write it back the way it was.

    :param path: the file or folder that was read; None for a volume made in memory.
    :param format: ``"nifti"``, ``"nifti2"``, ``"nrrd"``, ``"metaimage"``, ``"dicom"`` or ``""``.
    :param dtype: numpy name of the type that holds the HU on disk, for example ``"int16"``.
    :param axes: ``hu == stored.transpose(axes)`` where ``stored`` is indexed (k, j, i).
    :param files: every file that was read (of a DICOM series: one a slice, in slice order).
    :param dicom: facts of a DICOM series, else None. No patient identity is kept.
    :param warnings: sentences for the user about what was unusual but usable.
    :param left_aside: files of the folder that are no slices, each with what it is instead.
    :param forms: of a NIfTI file.
    """

    path: Path | None = None
    format: str = ""
    dtype: str = "float32"
    axes: tuple[int, int, int] = _AXIAL_ORDER
    files: tuple[Path, ...] = ()
    dicom: DicomSource | None = None
    warnings: tuple[str, ...] = ()
    left_aside: tuple[tuple[Path, str], ...] = ()
    forms: NiftiForms | None = None


@dataclass(frozen=True)
class CTVolume:
    """A CT volume whose first axis is the acquisition axis.

    The acquisition axis is the one closest to the patient's superior-inferior direction; rows run
    closest to anterior-posterior and columns closest to right-left. Axes are permuted to get
    there, never flipped: the direction of each is in ``ijk_to_ras``.

    >>> CTVolume(np.zeros((4, 8, 8), np.float32), np.diag([0.5, 0.5, 2.0, 1.0]))
    CTVolume(4 x 8 x 8 of 2 x 0.5 x 0.5 mm)

    :param hu: float32 array ``(slices, rows, cols)`` in Hounsfield units, C-contiguous.
    :param ijk_to_ras: float64 ``(4, 4)``; maps ``(col, row, slice, 1)`` to RAS in mm. Columns need
        not be orthogonal: a tilted gantry shears the volume.
    :param source: where the volume came from and how to write it back (see ``VolumeSource``).
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    source: VolumeSource | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Shape and voxel size instead of the arrays."""
        origin = "" if self.source is None or self.source.path is None else f", {self.source.path}"
        size = " x ".join(f"{side:g}" for side in self.spacing_mm)
        return f"CTVolume({' x '.join(map(str, self.hu.shape))} of {size} mm{origin})"

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size ``(slice, row, col)`` in mm: the array's own axis order.

        Rounded to 1e-5 mm: formats keep more or less of it, and the same scan has one size.
        """
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0).round(5)
        return float(k), float(j), float(i)

    @property
    def uneven(self) -> tuple[int, np.ndarray] | None:
        """The axis along which slices are unevenly spaced, and where each lies on it.

        :returns: axis of ``hu`` and mm from the first slice; None where all distances are the same.
        """
        source = self.source
        if source is None or source.dicom is None or not source.dicom.uneven_mm:
            return None
        along, axis = np.array(source.dicom.uneven_mm), source.axes.index(0)
        if len(along) != self.hu.shape[axis]:  # a part of what was read
            return None
        return axis, along * (self.spacing_mm[axis] * (len(along) - 1) / along[-1])

    @property
    def voxel_mm3(self) -> float | np.ndarray:
        """Volume of a voxel; of each slice's, to be broadcast, where their distance changes."""
        voxel = float(np.prod(self.spacing_mm))
        if self.uneven is None:
            return voxel
        axis, along = self.uneven
        widths = np.diff(voxel_edges(along)) * (voxel / self.spacing_mm[axis])
        result: np.ndarray = np.expand_dims(widths, [other for other in range(3) if other != axis])
        return result

    def anatomical(self) -> tuple[CTVolume, Orientation]:
        """The volume in the one orientation that everything is computed in, and the way back.

        Slices run to the head, rows to the back and columns to the left, as far as the axes do: the
        radiological view. Nothing is resampled.
        """
        turn = Orientation.of(self.ijk_to_ras)
        affine = turn.affine(self.ijk_to_ras, self.hu.shape)
        return replace(self, hu=turn(self.hu), ijk_to_ras=affine, source=None), turn

    def with_hu(self, hu: np.ndarray) -> CTVolume:
        """The same geometry with other values (same shape; cast to float32)."""
        if hu.shape != self.hu.shape:
            raise ValueError(f"array of shape {hu.shape} does not fit a volume of {self.hu.shape}")
        return replace(self, hu=np.ascontiguousarray(hu, dtype=np.float32))


def voxel_edges(centres_mm: np.ndarray) -> np.ndarray:
    """Where voxels begin and end whose centres are given: half way between neighbours."""
    half = np.diff(centres_mm) / 2
    first, last = centres_mm[0] - half[0], centres_mm[-1] + half[-1]
    return np.concatenate([[first], centres_mm[:-1] + half, [last]])


@dataclass(frozen=True)
class Orientation:
    """How arrays of a volume come into the anatomical orientation, and exactly back.

    :param axes: ``array.transpose(axes)`` is (slice, row, column).
    :param steps: then 1 or -1 along each: whether that axis is reversed.
    """

    axes: tuple[int, int, int] = _AXIAL_ORDER
    steps: tuple[int, int, int] = (1, 1, 1)

    @classmethod
    def of(cls, ijk_to_ras: np.ndarray) -> Orientation:
        """The orientation of an array with this ``(4, 4)`` affine."""
        axes = acquisition_axes(ijk_to_ras)
        permuted = permuted_affine(ijk_to_ras, axes)
        superior, anterior, right = permuted[2, 2], permuted[1, 1], permuted[0, 0]
        signs = (1 if superior >= 0 else -1, 1 if anterior <= 0 else -1, 1 if right <= 0 else -1)
        return cls(axes, signs)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The array in the anatomical orientation, C-contiguous; itself where it is already."""
        turned = array.transpose(self.axes)[tuple(slice(None, None, step) for step in self.steps)]
        return np.ascontiguousarray(turned)

    @property
    def inverse(self) -> Orientation:
        """The way back."""
        k, j, i = np.argsort(self.axes).tolist()
        return Orientation((k, j, i), (self.steps[k], self.steps[j], self.steps[i]))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Back to the volume's own order, C-contiguous."""
        return self.inverse(array)

    def undo_index(self, index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Where voxels of the turned array lie in the volume.

        :param index: ``(..., 3)`` (slice, row, column) in the turned array, of this ``shape``.
        """
        reversed_ = np.asarray(shape) - 1 - index
        own = np.where(np.array(self.steps) > 0, index, reversed_)
        return own[..., np.argsort(self.axes)]

    def slice_numbers(self, slices: np.ndarray, count: int) -> np.ndarray:
        """Slices of the turned array, ``count`` in all, as the volume counts them; and back."""
        return slices if self.steps[0] > 0 else count - 1 - slices

    def affine(self, ijk_to_ras: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The affine of the turned array, given that of the volume and its shape."""
        turned = permuted_affine(ijk_to_ras, self.axes)
        for axis, step in enumerate(self.steps):
            if step < 0:
                turned[:3, 3] += (shape[self.axes[axis]] - 1) * turned[:3, 2 - axis]
                turned[:3, 2 - axis] *= -1
        return turned


def acquisition_axes(ijk_to_ras: np.ndarray) -> tuple[int, int, int]:
    """The permutation that brings an array indexed (k, j, i) into (slice, row, col).

    :param ijk_to_ras: ``(4, 4)`` affine of the array as it is stored.
    :returns: ``axes`` for ``stored.transpose(axes)``: the axis closest to superior-inferior, then
        the one closest to anterior-posterior, then right-left. Ties are decided in the patient,
        not by the stored order.
    """
    directions = np.asarray(ijk_to_ras, dtype=float)[:3, :3]
    directions = np.round((directions / np.linalg.norm(directions, axis=0))[:, ::-1], 5)

    def closeness(axis: int, order: tuple[int, int, int]) -> tuple[float, ...]:
        """Along the first of R, A, S in this order; for ties, where the line leans to."""
        along = directions[order, axis]
        return float(abs(along[0])), *(along * np.sign(along[0] or 1.0))[1:]

    superior = max(range(3), key=lambda axis: closeness(axis, (2, 1, 0)))
    first, second = (axis for axis in range(3) if axis != superior)
    lean = [
        (round(abs(directions[1, row]) + abs(directions[0, col]), 5), closeness(row, (1, 0, 2)))
        for row, col in ((first, second), (second, first))
    ]
    if lean[1] > lean[0]:
        first, second = second, first
    return superior, first, second


def permuted_affine(ijk_to_ras: np.ndarray, axes: tuple[int, int, int]) -> np.ndarray:
    """The affine of ``array.transpose(axes)``, given that of ``array`` (indexed (k, j, i))."""
    ijk_to_ras = np.asarray(ijk_to_ras, dtype=np.float64)
    permuted: np.ndarray = ijk_to_ras.copy()
    for new, old in enumerate(axes):
        permuted[:, 2 - new] = ijk_to_ras[:, 2 - old]
    return permuted


def volume_from_storage(
    array: np.ndarray, ijk_to_ras: np.ndarray, source: VolumeSource | None = None
) -> CTVolume:
    """A volume from an array in any storage order.

    :param array: ``(k, j, i)`` HU as a file or a scene holds them; copied, never changed.
    :param ijk_to_ras: ``(4, 4)``; maps ``(i, j, k, 1)`` to RAS in mm.
    :param source: kept with the permutation and, where unset, the array's type filled in.
    :raises ValueError: if the array is not 3-D or the affine is singular.
    """
    if array.ndim != 3:
        raise ValueError(f"a volume has three axes, the array has {array.ndim}")
    ijk_to_ras = np.asarray(ijk_to_ras, dtype=np.float64)
    if ijk_to_ras.shape != (4, 4) or abs(np.linalg.det(ijk_to_ras[:3, :3])) < 1e-12:
        raise ValueError("ijk_to_ras must be an invertible 4 x 4 matrix")
    axes = acquisition_axes(ijk_to_ras)
    source = replace(source or VolumeSource(dtype=array.dtype.name), axes=axes)
    # A copy even where nothing is permuted: the caller's array stays the caller's.
    hu = np.array(array.transpose(axes), dtype=np.float32, order="C", copy=True)
    return CTVolume(hu, permuted_affine(ijk_to_ras, axes), source)


def to_storage(array: np.ndarray, volume: CTVolume) -> tuple[np.ndarray, np.ndarray]:
    """Bring an array on the volume's grid back into the order its source is stored in.

    :param array: ``(slices, rows, cols)`` of any type, on the grid of ``volume``.
    :returns: a view ``(k, j, i)`` and the ``(4, 4)`` matrix from ``(i, j, k, 1)`` to RAS.
    """
    if array.shape != volume.hu.shape:
        raise ValueError(f"array of shape {array.shape} does not fit {volume.hu.shape}")
    axes = volume.source.axes if volume.source is not None else _AXIAL_ORDER
    inverse = tuple(int(axis) for axis in np.argsort(axes))
    stored_affine = permuted_affine(volume.ijk_to_ras, (inverse[0], inverse[1], inverse[2]))
    return array.transpose(inverse), stored_affine


def shear_deg(ijk_to_ras: np.ndarray) -> float:
    """How far the axes are from orthogonal, in degrees (the gantry tilt of a tilted series)."""
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    cosines = directions.T @ directions - np.eye(3)
    return float(np.degrees(np.arcsin(min(1.0, float(np.abs(cosines).max())))))


def padding_mask(hu: np.ndarray) -> np.ndarray:
    """Voxels that the scanner (or a resampling) filled in outside its field of view.

    Padding is the volume's lowest value, at most -1001 HU (-1024, -2000, -2048, -3024, ...), where
    it forms a plateau that touches the border of its slice. Dark streaks next to metal, which may
    be as low or clipped at the same value, lie inside the patient and are not padding.

    :param hu: ``(slices, rows, cols)`` in HU.
    :returns: bool array of the same shape; all False where nothing is padded.
    """
    from scipy import ndimage

    mask = np.zeros(hu.shape, dtype=bool)
    value = hu.min()
    if not value <= PADDING_BELOW_HU:
        return mask
    smallest = max(4, hu[0].size // 1000)  # below that it is noise in air, not a filled region
    for slice_hu, slice_mask in zip(hu, mask, strict=True):
        candidate = slice_hu == value
        if np.count_nonzero(candidate) < smallest:
            continue
        labels, count = ndimage.label(candidate)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        keep = np.zeros(count + 1, dtype=bool)
        keep[border] = True
        keep &= np.bincount(labels.ravel(), minlength=count + 1) >= smallest
        keep[0] = False
        slice_mask[...] = keep[labels]
    return mask
