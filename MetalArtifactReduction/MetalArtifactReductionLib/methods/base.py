"""What a method is to the correction: the base class of all, and what they are told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from ..progress import Cancel, Progress
from ..tomography import Projector, metal_path_mm
from ..tomography.attenuation import hu_to_mu
from ..volume import CTVolume


@dataclass(frozen=True)
class InpaintingContext:
    """What a method may know besides the sinogram and the trace: one batch of slices.

    :param image_mu: the corrupted images, ``(slices, rows, cols)`` in 1/mm.
    :param metal_fraction: share of each pixel that is metal, 0..1, ``(slices, rows, cols)``.
    :param projector: images in 1/mm -> sinogram; knows grid, geometry and device.
    :param slice_indices: where the batch's slices lie in ``volume_hu``, int ``(slices,)``.
    :param volume_hu: the whole uncorrected volume on the CPU, ``(all slices, rows, cols)`` in HU,
        for methods that look at neighbouring slices; read only.
    :param shared: what one method worked out and another needs, by a name of its own.
    """

    image_mu: torch.Tensor
    metal_fraction: torch.Tensor
    projector: Projector
    slice_indices: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    volume_hu: np.ndarray | None = None
    shared: dict[str, tuple[torch.Tensor, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def device(self) -> torch.device:
        """Where every tensor of this batch lies."""
        return self.image_mu.device

    @cached_property
    def metal_path_mm(self) -> torch.Tensor:
        """Length of each ray inside metal in mm, ``(slices, views, bins)``; computed when asked."""
        return metal_path_mm(self.projector, self.metal_fraction)

    def neighbour_mu(self, offset: int) -> torch.Tensor:
        """The slices ``offset`` away from the batch's own, ``(slices, rows, cols)`` in 1/mm.

        At the ends of the volume the last slice is repeated; without ``volume_hu`` the batch
        itself is returned.
        """
        if offset == 0 or self.volume_hu is None:
            return self.image_mu
        index = np.clip(self.slice_indices + offset, 0, self.volume_hu.shape[0] - 1)
        hu = torch.from_numpy(np.asarray(self.volume_hu[index], dtype=np.float32))
        return hu_to_mu(hu.to(self.device))


@dataclass(frozen=True, eq=False)
class Proposal:
    """A corrected image that a method gives itself instead of a filled trace.

    :param hu: without metal, ``(slices, rows, cols)``.
    :param expected_error_hu: expected absolute error of each voxel, same shape; None if unknown.
    :param outside_trace: sums over each slice's rays that met no metal, ``(slices, 4)``: squared
        change of the line integral, squared line integral, rays, rays whose change was bounded.
    """

    hu: torch.Tensor
    expected_error_hu: torch.Tensor | None = None
    outside_trace: torch.Tensor | None = None


class Method(ABC):
    """A way to correct: fills the metal trace of a sinogram.

    What else a method may do has a default that does nothing, so that one that only fills the
    trace is a single ``__call__``. Slices are independent: no result may depend on how they are
    batched.
    """

    name: str
    """Short, recorded in results."""

    wider_bins: int = 0
    """Bins beside the trace that :meth:`__call__` fills as well, on either side, by a method that
    knows what belongs there better than rays beside metal do."""

    preparation: float = 0.0
    """Share of the whole time that :meth:`prepare` takes, for the progress."""

    @property
    def parameters(self) -> Mapping[str, object]:
        """Everything needed to repeat the correction; plain values."""
        return {}

    def prepare(  # noqa: B027 - most methods have nothing to prepare
        self,
        volume: CTVolume,
        metal_fraction: np.ndarray,
        device: torch.device,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Work on the whole volume before the first batch; called once a correction.

        :param metal_fraction: the metal that is corrected, ``(slices, rows, cols)``.
        """

    def propose(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> Proposal | None:
        """The corrected images of a batch; None to have the trace filled and reconstructed."""
        return None

    @abstractmethod
    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """The sinogram with the trace filled.

        :param sinogram: line integrals ``(slices, views, bins)``.
        :param trace: bool, same shape.
        :returns: same shape; outside the trace the correction keeps the measured values.
        """

    def shown_metal(self, context: InpaintingContext) -> torch.Tensor:
        """How much of the segmented metal is metal and not its blur, ``(slices, rows, cols)``.

        That much is put back into the corrected image, beside what is certain metal.
        """
        return context.metal_fraction
