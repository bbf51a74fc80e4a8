"""Options and small steps that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.cli import note
from MetalArtifactReductionLib.errors import InputError

from ..cases.options import MODELS, PRESETS, SimulationOptions

if TYPE_CHECKING:
    from MetalArtifactReductionLib.commands.dry_run import Cost
    from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters
    from MetalArtifactReductionLib.volume import CTVolume

_POINT = re.compile(r"^-[\d.][\d.eE+\-]*(,[\d.eE+\-]+)*$")


def allow_negative_points(parser: argparse.ArgumentParser) -> None:
    """Let ``--at -31.5,12,-840`` be a value, as argparse lets ``-31.5``."""
    parser._negative_number_matcher = _POINT


def add_ct(parser: argparse.ArgumentParser, metavar: str = "CT") -> None:
    """The clean CT and the choice among several series."""
    parser.add_argument(
        "ct", type=Path, metavar=metavar, help="CT without metal: a file, or a folder of DICOM"
    )
    parser.add_argument(
        "--series", help="of a folder with several series: UID, number or description"
    )


def add_allow_metal(parser: argparse.ArgumentParser) -> None:
    """``--allow-metal``."""
    parser.add_argument(
        "--allow-metal", action="store_true", help="use a CT that holds metal already all the same"
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """``--format``."""
    parser.add_argument(
        "--format",
        metavar="SUFFIX",
        help="of the volumes: .nii.gz, .nrrd or .mha (default: as the CT; .nrrd for DICOM)",
    )


def add_acquisition(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """How the scan is simulated; with ``several`` presets one is drawn for each case."""
    group = parser.add_argument_group("the simulated scan")
    group.add_argument(
        "--model",
        choices=MODELS,
        help="physics: polychromatic scan with noise and scatter (default); trace-maximum: the "
        "metal trace filled with the sinogram's maximum; missing-trace: its data lost",
    )
    again = " (repeat it: one is drawn for each case)" if several else ""
    group.add_argument(
        "--preset",
        metavar="NAME",
        action="append" if several else "store",
        help=f"scanner: {', '.join(PRESETS)}{again} (default: {PRESETS[0]})",
    )
    group.add_argument("--kvp", type=float, help="tube voltage, 80 to 140")
    group.add_argument(
        "--photons",
        type=photons,
        metavar="N",
        help="photons a ray: the dose, 4e6 in the reference scan; 'none' for no noise",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other parameter of the acquisition, such as views=720 or window=hann",
    )


def photons(text: str) -> float | str:
    """A number of photons, or "none"."""
    if text.lower() == "none":
        return "none"
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor none") from None


def acquisition_of(
    preset_name: str | None, kvp: float | None, photons_per_ray: Any, changes: Iterable[str]
) -> AcquisitionParameters:
    """A preset with the changes of the options, checked.

    :param changes: ``name=value``; the value is JSON, or text.
    :raises InputError: unknown preset or parameter, or a value out of range.
    """
    import json

    from MetalArtifactReductionLib.physics.acquisition import preset

    values: dict[str, Any] = {}
    if kvp is not None:
        values["kvp"] = kvp
    if photons_per_ray is not None:
        values["photons_per_ray"] = None if photons_per_ray == "none" else photons_per_ray
    for change in changes:
        name, equals, text = (part.strip() for part in change.partition("="))
        if not equals or not name:
            raise InputError(f"--set {change!r} is not NAME=VALUE, as in views=720")
        try:
            values[name] = json.loads({"none": "null", "None": "null"}.get(text, text))
        except json.JSONDecodeError:
            values[name] = text
    try:
        return preset(preset_name or PRESETS[0], **values)
    except TypeError as error:
        raise InputError(f"a parameter of the acquisition is of the wrong kind: {error}") from None


def whole_number(text: str) -> int:
    """Zero or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def count(text: str) -> int:
    """One or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def point(text: str) -> tuple[float, float, float]:
    """``R,A,S`` in mm."""
    import math

    try:
        r, a, s = (float(part) for part in text.split(","))
    except ValueError:
        r = math.nan
    if not all(map(math.isfinite, (r,) if math.isnan(r) else (r, a, s))):
        raise argparse.ArgumentTypeError(f"{text!r} is not a point R,A,S in mm, as 31.5,-12,840")
    return r, a, s


def read_ct(path: Path, series: str | None) -> CTVolume:
    """The CT; what is unusual about it goes to the error stream."""
    from MetalArtifactReductionLib.files.volumes import read_volume

    volume = read_volume(path, series=series)
    note(volume.source.warnings if volume.source else ())
    return volume


def simulation_cost(volume: CTVolume, chosen: SimulationOptions, slices: int) -> Cost:
    """Of a simulation with so many slices to scan: two slices with a disc of metal, scanned here.

    :param volume: the clean CT.
    """
    import time

    import numpy as np

    from MetalArtifactReductionLib.commands.dry_run import Cost, peak_memory

    from ..cases.case import simulate_fractions
    from ..voxels.metal import slices_of

    two = slices_of(volume, max(0, len(volume.hu) // 2 - 1), min(2, len(volume.hu)))
    rows, cols = (np.abs(np.arange(n) - n // 2) < 6 for n in two.hu.shape[1:])
    metal = np.broadcast_to(np.outer(rows, cols), two.hu.shape).astype(np.float32)
    times = [time.monotonic()]
    one_by_one = replace(chosen, batch_slices=1)
    simulate_fractions(
        two, {"Ti6Al4V": metal}, one_by_one, progress=lambda *_: times.append(time.monotonic())
    )
    slice_s = times[-2] - times[-3]
    seconds = times[-1] - times[0] + (slices - len(two.hu)) * slice_s
    memory = peak_memory()
    return Cost(seconds, None if memory is None else memory + 4 * volume.hu.nbytes)
