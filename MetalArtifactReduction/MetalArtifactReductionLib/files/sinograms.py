"""Sinograms of other programs: NumPy, MATLAB, HDF5, and raw 32-bit numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, OutputError, shown
from ..tomography.scan import Scan
from .inputs import check_readable
from .scan_geometry import ScanGeometry, read_scan_geometry

NAMES = ("sinogram", "sino", "ma_sinogram", "projections", "proj", "prep", "data")
"""Of the array in a file that holds several; ``array`` in the geometry file names another."""

HDF5 = (".h5", ".hdf5")
RAW = (".raw", ".bin", ".prep", ".sin")
SUFFIXES = (".npy", ".npz", ".mat", *HDF5, *RAW)


def read_scan(path: Path, geometry: Sequence[Path]) -> Scan:
    """A sinogram with its geometry.

    :param path: .npy, .npz, .mat, .h5 with ``([slices,] views, bins)``, or raw float32.
    :param geometry: see :func:`.scan_geometry.read_scan_geometry`.
    :raises InputError: one line with what is wrong with which value, and the remedy.
    """
    how = read_scan_geometry(geometry)
    return scan_with(read_sinogram(path, how), how, path)


def scan_with(array: np.ndarray, how: ScanGeometry, path: Path) -> Scan:
    """An array, ``([slices,] views, bins)``, as a scan; errors name ``path``."""
    array = array[None] if array.ndim == 2 else array
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    try:
        return Scan(array, how.geometry, how.grid, how.mu_water_per_mm, how.slice_mm)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_sinogram(path: Path, how: ScanGeometry) -> np.ndarray:
    """The array alone, ``([slices,] views, bins)``."""
    check_readable(path)
    suffix = path.suffix.lower()
    if suffix in RAW:
        return _raw(path, how)
    arrays = arrays_of(path)
    name = _chosen(path, arrays, how.array)
    array = np.asarray(arrays[name])
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {name!r} holds {array.dtype}; give real numbers")
    return array


def arrays_of(path: Path) -> Mapping[str, Any]:
    """Name -> array of a .npy, .npz, .mat or HDF5 file; pickles are never read.

    :raises InputError: damaged, or of a format that is not read.
    """
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz", ".mat", *HDF5):
        raise InputError(f"{path}: unknown format {suffix!r}; give {', '.join(SUFFIXES)}")
    try:
        if suffix == ".npy":
            return {"sinogram": np.load(path, allow_pickle=False)}
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        if suffix == ".mat":
            return _matlab(path)
        return _hdf5(path)
    except (
        *(ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile),
        *(TypeError, AttributeError),  # a single array in a .npz; the latter before Python 3.11
    ) as error:
        raise InputError(
            f"{path}: cannot be read as {suffix}: {shown(str(error))}; save the array again"
        ) from None


def _matlab(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path)
    except MatReadError as error:
        raise ValueError(str(error)) from None
    except NotImplementedError:  # version 7.3 is HDF5, with the axes in the other order
        return {name: array.T for name, array in _hdf5(path).items()}
    return {name: array for name, array in content.items() if not name.startswith("__")}


def _hdf5(path: Path) -> dict[str, np.ndarray]:
    h5py = _h5py(path)
    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]})
                if isinstance(item, h5py.Dataset) and item.ndim >= 2
                else None
            )
        )
    return found


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: HDF5 needs h5py: pip install h5py, or save .npz") from None
    return h5py


def _chosen(path: Path, arrays: Mapping[str, np.ndarray], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in arrays:
            raise InputError(f"{path}: no array {wanted!r}; there are: {', '.join(arrays)}")
        return wanted
    named = [name for name in NAMES if name in arrays]
    deep = [name for name, array in arrays.items() if array.ndim in (2, 3) and min(array.shape) > 0]
    if not named and len(deep) != 1:
        raise InputError(
            f"{path}: which array is the sinogram? there are: {', '.join(arrays) or 'none'}; name "
            'it in the geometry file, array = "..."'
        )
    return (named or deep)[0]


def _raw(path: Path, how: ScanGeometry) -> np.ndarray:
    """Little-endian float32; detector rows between views and bins where gecatsim wrote them."""
    views, bins = how.geometry.views, how.geometry.bins
    size = path.stat().st_size
    rows, rest = divmod(size, 4 * views * bins)
    if rest or rows == 0 or (how.rows_inside not in (None, rows)):
        raise InputError(
            f"{path}: {size} bytes are not {how.rows_inside or 'some'} x {views} views x {bins} "
            "bins of 4 bytes; correct views and bins in the geometry"
        )
    values = np.fromfile(path, "<f4").astype(np.float32, copy=False)
    if how.rows_inside is None:
        return values.reshape(rows, views, bins)
    return np.ascontiguousarray(values.reshape(views, rows, bins).swapaxes(0, 1))


def check_sinogram_output(path: Path) -> None:
    """Refuse a name that nothing can be written to, before any work."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: unknown format {path.suffix!r}; give {', '.join(SUFFIXES)}")
    if path.suffix.lower() in HDF5:
        _h5py(path)


def write_sinogram(sinogram: np.ndarray, place: Path) -> None:
    """``(slices, views, bins)`` by the suffix; the array is named ``sinogram``, raw is float32.

    :param place: of :func:`.whole.written_together`; ``.prep`` is written as gecatsim does.
    """
    _WRITERS[place.suffix.lower()](place, sinogram)


def _write_npz(place: Path, sinogram: np.ndarray) -> None:
    np.savez_compressed(place, sinogram=sinogram)


def _write_mat(place: Path, sinogram: np.ndarray) -> None:
    from scipy.io import savemat

    savemat(place, {"sinogram": sinogram}, do_compression=True)


def _write_hdf5(place: Path, sinogram: np.ndarray) -> None:
    with _h5py(place).File(place, "w") as file:
        file.create_dataset("sinogram", data=sinogram, compression="gzip")


def _write_raw(place: Path, sinogram: np.ndarray) -> None:
    if place.suffix.lower() == ".prep":
        sinogram = sinogram.swapaxes(0, 1)
    np.ascontiguousarray(sinogram, "<f4").tofile(place)


_WRITERS: Mapping[str, Callable[[Path, np.ndarray], None]] = {
    ".npy": np.save,
    ".npz": _write_npz,
    ".mat": _write_mat,
    **dict.fromkeys(HDF5, _write_hdf5),
    **dict.fromkeys(RAW, _write_raw),
}
