"""Own CTs as training slices: what is clean of each, with implants placed in it, in a file a CT.

::

    RUN/training/CT.npz, RUN/held-out/CT.npz   see :mod:`.slice_bank`
    RUN/packed/CT.json                         which slices of a CT were used, and why not others
    RUN/slices.csv                             the same of all, once all are packed
"""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import InputError, MARError, OutputError
from ..files.tables import cell
from ..files.whole import written_whole
from ..progress import Progress, report
from ..volume import CTVolume
from .clean_slices import SliceRange, averaged_slices, slice_ranges
from .metal_source import MetalSource, metal_source
from .record import is_another_process
from .slice_bank import CleanSlices, FittedMetal, averaged, fitted_metal, to_steps, write_bank

TRAINING, HELD_OUT, RECORDS, TABLE = "training", "held-out", "packed", "slices.csv"
LEAST_SLICES = 10
"""In a row: a block of the image prior, and a neighbour on either side."""

MOST_SLICES = 3000
"""Of all CTs together: 1.5 GB of memory at 512 x 512."""

PLACEMENTS = 6
HELD_OUT_EVERY = 6


@dataclass(frozen=True)
class PackedCT:
    """What became of one CT.

    :param name: as its file is called. :param use: ``"training"``, ``"held-out"`` or ``""``.
    :param slices: packed, after averaging. :param placements: of implants.
    :param metals: voxels full of each, about. :param ranges: all its slices.
    :param problem: why it cannot be used at all.
    """

    name: str
    use: str = ""
    slices: int = 0
    averaged: int = 1
    placements: int = 0
    metals: Mapping[str, int] = field(default_factory=dict)
    ranges: tuple[SliceRange, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class PackingOptions:
    """:param metal: kind of :func:`.metal_source.metal_source`. :param seed: of the implants.

    :param held_out: names of CTs to validate on; else the second that can be used, and every
        sixth from there. :param most_slices: of all CTs together.
    """

    metal: str = "mixed"
    seed: int = 0
    held_out: tuple[str, ...] = ()
    most_slices: int = MOST_SLICES


def pack(
    cts: Mapping[str, Callable[[], CTVolume]],
    folder: Path,
    options: PackingOptions,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> list[PackedCT]:
    """Pack CTs into a folder, one after the other; of several processes the first does it.

    :param cts: name -> what reads it. :param resume: go on with what is there.
    :raises InputError: no CT to train on, or none to validate on; says why.
    :raises OutputError: the folder holds packed slices already.
    """
    records = folder / RECORDS
    if is_another_process():
        while not (folder / TABLE).exists():
            time.sleep(0.5)
    elif not resume and records.exists():
        raise OutputError(
            f"{folder}: holds packed slices already; go on with them (--resume) or name another"
        )
    if (folder / TABLE).exists():
        return [_read(path) for path in sorted(records.glob("*.json"))]
    unknown = [name for name in options.held_out if name not in cts]
    if unknown:
        raise InputError(f"--held-out {unknown[0]}: no such CT; there are: {', '.join(cts)}")
    for name in (RECORDS, TRAINING, HELD_OUT):
        (folder / name).mkdir(exist_ok=True)
    source = metal_source(options.metal, {})
    packed: list[PackedCT] = []
    for number, (name, read) in enumerate(cts.items()):
        report(progress, number / len(cts), f"clean slices and implants of {name}")
        path = records / f"{name}.json"
        if not path.exists():
            usable = sum(bool(one.use) for one in packed)
            one = _pack_one(name, read, folder, options, source, usable, len(cts))
            with written_whole(path) as place:
                place.write_text(json.dumps(asdict(one)), encoding="utf-8")
        packed.append(_read(path))
    _require_enough(packed)
    _write_table(packed, folder / TABLE)
    return packed


def _pack_one(
    name: str,
    read: Callable[[], CTVolume],
    folder: Path,
    options: PackingOptions,
    source: MetalSource,
    usable: int,
    count: int,
) -> PackedCT:
    try:
        volume = read().anatomical()[0]
        rows_mm, cols_mm = volume.spacing_mm[1:]
        if abs(rows_mm / cols_mm - 1) > 0.01:
            raise InputError(f"pixels of {rows_mm:g} x {cols_mm:g} mm; square ones are needed")
    except MARError as error:
        # Without the place of the file: a card is given to others.
        return PackedCT(name, problem=str(error).partition(": ")[2] or str(error))
    most = max(2 * LEAST_SLICES, options.most_slices // count)
    ranges = slice_ranges(volume, LEAST_SLICES, most)
    clean = [one for one in ranges if not one.reason]
    if not clean:
        return PackedCT(name, ranges=tuple(ranges))
    use = HELD_OUT if _is_held_out(name, options.held_out, usable) else TRAINING
    parts = {use: clean}
    if count == 1:  # the only CT there is: its end is kept for validation
        parts = _split(clean[0], averaged_slices(volume))
    made = {one: _bank(name, volume, its, source, options.seed) for one, its in parts.items()}
    for one, (volumes, metal) in made.items():
        write_bank(folder / one / f"{name}.npz", volumes, metal, overwrite=True)
    metals: Counter[str] = Counter()
    for _, metal in made.values():
        for fitted in metal:
            totals = fitted.shares.sum(axis=(1, 2, 3), dtype=np.int64) // 255
            metals.update(dict(zip(fitted.materials, totals.tolist(), strict=True)))
    return PackedCT(
        name,
        " and ".join(made),
        sum(len(one.steps) for volumes, _ in made.values() for one in volumes),
        averaged_slices(volume),
        sum(len(metal) for _, metal in made.values()),
        dict(metals),
        tuple(ranges),
    )


def _bank(
    name: str, volume: CTVolume, ranges: Sequence[SliceRange], source: MetalSource, seed: int
) -> tuple[list[CleanSlices], list[FittedMetal]]:
    """Each range as a volume of its own, with implants in it."""
    volumes: list[CleanSlices] = []
    metal: list[FittedMetal] = []
    count = averaged_slices(volume)
    for one in ranges:
        own = f"{name}:{one.first}-{one.last}"
        hu = averaged(volume.hu[one.first : one.last + 1], count)
        matrix = volume.ijk_to_ras.copy()
        matrix[:3, 3] += (one.first + (count - 1) / 2) * matrix[:3, 2]
        matrix[:3, 2] *= count
        part = replace(volume, hu=hu, ijk_to_ras=matrix)
        rng = np.random.default_rng([seed, zlib.crc32(own.encode())])
        for _ in range(PLACEMENTS):
            try:
                drawn = source.draw(own, part, len(hu), rng)
            except InputError:  # no bones were found there, or nothing fits
                continue
            fitted = fitted_metal(len(volumes), drawn.fractions)
            metal += [fitted] if fitted is not None else []
        volumes.append(CleanSlices(own, to_steps(hu), float(volume.spacing_mm[1])))
    return volumes, metal


def _is_held_out(name: str, chosen: Sequence[str], usable: int) -> bool:
    return name in chosen if chosen else usable % HELD_OUT_EVERY == 1


def _split(run: SliceRange, count: int) -> dict[str, list[SliceRange]]:
    held = max(LEAST_SLICES, len(run) // count // 4) * count
    if len(run) < held + LEAST_SLICES * count:
        return {TRAINING: [run]}
    middle = run.last - held
    return {
        TRAINING: [SliceRange(run.first, middle)],
        HELD_OUT: [SliceRange(middle + 1, run.last)],
    }


def _require_enough(packed: Sequence[PackedCT]) -> None:
    for use, what in ((TRAINING, "train"), (HELD_OUT, "validate")):
        if not any(use in one.use for one in packed):
            reasons = Counter(one.problem or one.ranges[0].reason for one in packed if not one.use)
            why = "; ".join(f"{number} CT: {reason}" for reason, number in reasons.most_common(3))
            raise InputError(
                f"no CT with {LEAST_SLICES} clean slices in a row to {what} on, of {len(packed)}"
                f"{f' ({why})' if why else ''}; give more CTs without metal (--cts)"
            )


def _read(path: Path) -> PackedCT:
    content = json.loads(path.read_text(encoding="utf-8"))
    ranges = tuple(SliceRange(**one) for one in content.pop("ranges"))
    return PackedCT(**content, ranges=ranges)


def _write_table(packed: Sequence[PackedCT], path: Path) -> None:
    with (
        written_whole(path) as place,
        place.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["ct", "first", "last", "use", "reason"])
        for one in packed:
            for part in one.ranges or (None,):
                reason = part.reason if part else one.problem
                use = "left out" if reason else one.use
                first, last = (part.first, part.last) if part else ("", "")
                writer.writerow([cell(one.name), first, last, use, cell(reason)])
