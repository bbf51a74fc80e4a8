"""The method ``"patient"``: a trace CNN that is first trained on the volume itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ...progress import Cancel, Progress
from ...volume import CTVolume
from ..base import InpaintingContext, Method
from .channels import MaxFillParameters
from .inpainter import OUTPUTS, TraceCNNMethod
from .near_metal import NearMetalParameters
from .samples import HipSampleParameters
from .task import TraceCNNParameters
from .train_on_patient import PatientTrainingParameters, train_on_patient


class PatientTraining(Method):
    """Trains on the volume that is to be corrected, then corrects it.

    The correction calls :meth:`prepare` with the whole volume first.

    :param above, below, margin, slices: which slices are trained on, see
        :class:`.near_metal.NearMetalParameters` (there ``slices`` is ``chosen``).
    :param steps, seed, precision: see :class:`.train_on_patient.PatientTrainingParameters`.
    :param masks: number of varied masks.
    :param start: what overwrites the trace, see :class:`.channels.MaxFillParameters`.
    :param output: see :class:`.inpainter.TraceCNNMethod`.
    :param folder: where the training is kept; None: nowhere.
    :param resume: go on with the folder's training.
    :raises ValueError: a value that cannot be used.
    """

    name = "patient"
    preparation = 0.9

    def __init__(
        self,
        above: int = 11,
        below: int = 11,
        margin: int = 1,
        slices: Sequence[int] = (),
        *,
        steps: int = 400,
        masks: int = 1000,
        seed: int = 0,
        start: str = "linear",
        output: str = "matched",
        precision: str = "32-true",
        folder: str | Path | None = None,
        resume: bool = False,
    ) -> None:
        if output not in OUTPUTS:
            raise ValueError(f"output {output!r} is unknown; use one of {', '.join(OUTPUTS)}")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps is {steps!r}; give a whole number of 1 or more")
        self._training = PatientTrainingParameters(
            NearMetalParameters(above, below, margin, chosen=tuple(slices)),
            HipSampleParameters(masks, seed, fill=MaxFillParameters(start=start), off_trace=0.0),
            TraceCNNParameters(freeze_after=max(1, steps // 2)),
            steps,
            seed,
            precision,
        )
        self._output = output
        self._folder = None if folder is None else Path(folder)
        self._resume = resume
        self._trained: TraceCNNMethod | None = None

    @property
    def parameters(self) -> Mapping[str, object]:
        """What was asked for, and once trained what the network knows of itself."""
        if self._trained is not None:
            return self._trained.parameters
        near = self._training.near
        return {"above": near.above, "below": near.below, "steps": self._training.steps}

    def prepare(
        self,
        volume: CTVolume,
        metal_fraction: np.ndarray,
        device: torch.device,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Train; arguments and errors as of :func:`.train_on_patient.train_on_patient`."""
        weights = train_on_patient(
            volume,
            metal_fraction,
            self._training,
            self._folder,
            resume=self._resume,
            device=device,
            progress=progress,
            cancel=cancel,
        )
        self._trained = TraceCNNMethod(weights, output=self._output)

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """See :class:`.inpainter.TraceCNNMethod`.

        :raises RuntimeError: not prepared.
        """
        if self._trained is None:
            raise RuntimeError("the method 'patient' is trained on a volume first: call prepare()")
        return self._trained(sinogram, trace, context)
