"""Sampled variants of one patient, simulated into a folder, as a job and by themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MetalArtifactReductionLib.errors import Cancelled, InputError, MARError
from MetalArtifactReductionLib.jobs.call import call_job
from MetalArtifactReductionLib.jobs.job import Job
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, part, report
from MetalArtifactReductionLib.volume import CTVolume

from ..cases.options import SimulationOptions
from ..implants.registry import procedure_of
from ..placement.patient import Bones, Patient, measure_patient
from ..placement.procedures import sampled_plan
from ..placement.random_shapes import sample_random_plan

if TYPE_CHECKING:
    from ..placement.plan import PlacementPlan

_MEASURING = 0.05
"""Of the progress."""


@dataclass(frozen=True)
class Variants:
    """What is to be written.

    :param kind: the procedure of what is placed by anatomy, see ``implants.procedures``.
    :param count: cases. :param seed: case i follows from the seed and i.
    :param random_share: chance of a case with random shapes at random places instead, 0..1.
    :param sides: of the hips.
    """

    kind: str = "spine"
    count: int = 10
    seed: int = 0
    random_share: float = 0.0
    sides: tuple[str, ...] = ("left", "right")

    def __post_init__(self) -> None:
        procedure_of(self.kind)
        if self.count < 1:
            raise InputError(f"{self.count} variants: ask for 1 or more")
        if not 0 <= self.random_share <= 1:
            raise InputError(f"share of random metal of {self.random_share:g} must be in 0..1")


def variant(
    volume: CTVolume, patient: Patient | None, wanted: Variants, index: int
) -> PlacementPlan:
    """The metal of variant ``index``.

    :param patient: None where all metal is random.
    :raises InputError: nothing to sample from.
    """
    rng = np.random.default_rng([wanted.seed, index])
    if patient is None or rng.random() < wanted.random_share:
        return sample_random_plan(volume, int(rng.integers(2**31)))
    return sampled_plan(patient, wanted.kind, wanted.seed, index)


def write_variants(
    volume: CTVolume,
    bones: Bones,
    wanted: Variants,
    options: SimulationOptions,
    folder: Path,
    *,
    suffix: str = ".nrrd",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Write each variant as ``case-00000`` and so on, see ``dataset.write_placed``.

    Cases that are there stay; one that fails does not end the run.

    :returns: how many cases are there, and why the others are not.
    :raises InputError: no bone to place implants on.
    :raises OutputError: the folder cannot be made.
    """
    from .plan import MARKER, case_folder, write_placed

    patient = None
    if wanted.random_share < 1:
        patient = measure_patient(
            volume,
            bones,
            procedure_of(wanted.kind).site,
            sides=wanted.sides,
            progress=part(progress, 0, _MEASURING),
            cancel=cancel,
        )
    made, reasons = 0, []
    for index in range(wanted.count):
        check_cancelled(cancel)
        report(
            progress,
            _MEASURING + (1 - _MEASURING) * index / wanted.count,
            f"variant {index + 1} of {wanted.count}",
        )
        target = case_folder(folder, index)
        if (target / MARKER).exists():
            made += 1
            continue
        marker = {"case": index, "kind": wanted.kind, "seed": wanted.seed}
        own = replace(options, seed=options.seed + index)
        try:
            placement = variant(volume, patient, wanted, index)
            write_placed(placement, volume, own, target, marker, suffix=suffix, cancel=cancel)
            made += 1
        except Cancelled:
            raise
        except MARError as error:
            reasons.append(f"variant {index}: {error}")
    report(progress, 1.0, "variants written")
    return made, tuple(reasons)


def variants_job(
    volume: CTVolume,
    bones: Bones,
    wanted: Variants,
    options: SimulationOptions,
    folder: Path,
    *,
    title: str = "variants",
) -> Job:
    """:func:`write_variants` as a job, see :func:`call_job`.

    :raises OutputError: no room for the inputs, or the folder cannot be made.
    """
    from MetalArtifactReductionLib.errors import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror or error}); choose another folder"
        ) from None
    job = call_job(write_variants, volume, bones, wanted, options, folder.absolute(), title=title)
    job.when_cancelled = f"cancelled on request; cases that are finished stay in {folder}"
    return job
