"""A network for one patient, trained on the patient's own clean slices next to the metal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ...errors import InputError
from ...progress import Cancel, Progress, check_cancelled, part
from ...training.engine import with_device
from ...training.parameters import TrainerParameters
from ...training.record import WEIGHTS
from ...training.trainer import train
from ...volume import CTVolume
from ...weights import Weights
from .channels import MaxFillParameters
from .near_metal import NearMetalParameters, near_metal_slices
from .samples import HipPatient, HipSampleParameters, HipSamples
from .task import BATCH_SIZE, TraceCNNParameters, TraceCNNTask

PREPARATION = 0.15
"""Share of the progress that making the samples is given."""


@dataclass(frozen=True)
class PatientTrainingParameters:
    """What to choose; ``Testing/Experiments/hip_experiment.py`` shows what they are worth.

    :param near: which slices are trained on.
    :param samples: how pairs are made of them.
    :param network: and its loss.
    :param steps: of the optimizer, 16 samples each.
    :param seed: of the masks, the samples and the network.
    :param precision: see :class:`...training.parameters.TrainerParameters`.
    """

    near: NearMetalParameters = field(default_factory=NearMetalParameters)
    samples: HipSampleParameters = field(
        default_factory=lambda: HipSampleParameters(
            fill=MaxFillParameters(start="linear"), off_trace=0.0
        )
    )
    network: TraceCNNParameters = field(default_factory=TraceCNNParameters)
    steps: int = 400
    seed: int = 0
    precision: str = "32-true"


def train_on_patient(
    volume: CTVolume,
    metal_fraction: np.ndarray,
    parameters: PatientTrainingParameters | None = None,
    folder: Path | None = None,
    *,
    resume: bool = False,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Weights:
    """Train a trace CNN on the clean slices next to a patient's metal.

    Variants of the patient's metal are laid on the patient's clean slices; the same volume, metal,
    parameters and machine give the same weights.

    :param volume: the CT with metal.
    :param metal_fraction: of each voxel, 0..1, on the volume's grid.
    :param folder: gets ``weights.safetensors`` (usable as a method: ``method=folder / ...``),
        checkpoint and curves; None: nothing is written.
    :param resume: go on from the folder's checkpoint; a finished training is taken as it is.
    :raises InputError: no metal, too few clean slices (says what to do instead), nothing to resume
        or a checkpoint of another training.
    :raises OutputError: the folder holds a training already, or cannot be written.
    :raises TrainingError: the loss is no longer finite.
    :raises Cancelled: on request; the folder's checkpoint can be resumed.
    """
    p = parameters or PatientTrainingParameters()
    if metal_fraction.shape != volume.hu.shape:
        raise InputError(
            f"the metal mask has shape {metal_fraction.shape} but the volume {volume.hu.shape}; "
            "make the mask on the volume's own grid"
        )
    trainer = TrainerParameters(
        steps=p.steps, batch_size=BATCH_SIZE, seed=p.seed, ema=0.99, precision=p.precision
    )
    volume, turn = volume.anatomical()
    metal_fraction, count = turn(metal_fraction), len(volume.hu)
    chosen = turn.slice_numbers(np.array(p.near.chosen, dtype=np.int64), count)
    wanted = replace(p.near, chosen=tuple(chosen.tolist()))
    near = near_metal_slices(metal_fraction, volume.hu, wanted)
    check_cancelled(cancel)
    with_metal = np.flatnonzero(metal_fraction.reshape(len(metal_fraction), -1).any(axis=1))
    row_mm, col_mm = volume.spacing_mm[1:]
    hu, metal = volume.hu[near], metal_fraction[with_metal]
    patient = HipPatient("this patient", hu, metal, (row_mm, col_mm))
    samples = HipSamples(
        [patient],
        p.samples,
        device=device,
        progress=part(progress, 0.0, PREPARATION),
        cancel=cancel,
    )
    trained_on = np.sort(turn.slice_numbers(near, count)).tolist()
    record = {"trained_on": trained_on, "steps": p.steps, "seed": p.seed}
    task = TraceCNNTask(samples, p.network, None, record)
    result = train(
        task,
        with_device(trainer, torch.device(device).type),
        folder,
        resume=resume,
        progress=part(progress, PREPARATION, 1.0),
        cancel=cancel,
    )
    return Weights(result.network, task.facts(), (folder or Path()) / WEIGHTS)
