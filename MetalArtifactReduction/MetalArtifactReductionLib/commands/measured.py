"""``mar correct`` of measured scans: its options, and what is read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .options import read_input

if TYPE_CHECKING:
    import numpy as np

    from ..correction import CorrectionResult
    from ..tomography import Scan
    from ..volume import CTVolume


def add_sinogram_options(parser: argparse.ArgumentParser) -> None:
    """``--geometry``, ``--sinogram``."""
    group = parser.add_argument_group(
        "measured scans",
        "INPUT is a sinogram (.npy, .npz, .mat, .h5, .prep or other raw float32), OUTPUT its "
        "image: the measured rays are corrected in the metal trace, and nowhere else.",
    )
    group.add_argument(
        "--geometry",
        type=Path,
        action="append",
        metavar="FILE",
        help="how it was measured: TOML, or gecatsim's .cfg (several: give it again)",
    )
    group.add_argument(
        "--sinogram", type=Path, metavar="FILE", help="write the corrected sinogram too"
    )


def read_input_or_scan(options: argparse.Namespace, device: str) -> tuple[CTVolume, Scan | None]:
    """``INPUT``: a volume, or a scan with the images that it becomes.

    :raises InputError: unusable, or a sinogram without its geometry.
    """
    from ..files.sinograms import SUFFIXES, check_sinogram_output, read_scan
    from ..files.whole import check_path_free

    if options.geometry is None:
        if options.input.suffix.lower() in SUFFIXES:
            raise InputError(f"{options.input}: a sinogram? give --geometry, or a volume")
        if options.sinogram is not None:
            raise InputError(f"--sinogram {options.sinogram}: no scan is read; give --geometry")
        return read_input(options), None
    from ..correction.sinogram import reconstruct_scan

    if options.sinogram is not None:
        check_sinogram_output(options.sinogram)
        inputs = (options.input, *options.geometry)
        check_path_free(options.sinogram, inputs=inputs, overwrite=options.force)
    scan = read_scan(options.input, options.geometry)
    return reconstruct_scan(scan, device), scan


def corrected(
    volume: CTVolume, scan: Scan | None, metal_fraction: np.ndarray, **todo: Any
) -> tuple[CorrectionResult, np.ndarray | None]:
    """The corrected volume, and the sinogram where a scan was measured.

    :param todo: as :func:`..correction.correct_volume` and ``correct_sinogram`` take it.
    """
    from ..correction import correct_sinogram, correct_volume

    if scan is None:
        return correct_volume(volume, metal_fraction, **todo), None
    result = correct_sinogram(scan, metal_fraction, original=volume, **todo)
    return result.image, result.sinogram


def refuse_many(options: argparse.Namespace) -> None:
    """Scans are corrected one at a time.

    :raises InputError: a geometry with several inputs.
    """
    if options.geometry is not None:
        raise InputError(f"--geometry {options.geometry[0]}: is for one scan; give one INPUT")
    if options.sinogram is not None:
        raise InputError(f"--sinogram {options.sinogram}: is for one scan; give one INPUT")


def write_sinogram_of(
    options: argparse.Namespace, sinogram: np.ndarray | None, places: Mapping[Path, Path]
) -> None:
    """Where ``--sinogram`` asks for it.

    :param places: of :func:`..files.whole.written_together`.
    """
    from ..files.sinograms import write_sinogram

    if sinogram is not None and options.sinogram is not None:
        write_sinogram(sinogram, places[options.sinogram])
