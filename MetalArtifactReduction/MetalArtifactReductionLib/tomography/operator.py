"""What every projector shares: chunks of slices, input checks, gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch

from ..errors import DeviceError
from .geometry import FanGeometry, ImageGrid, ParallelGeometry

CPU_CHUNK = 8
"""Slices at once on the CPU: temporaries stay near 32 MB, above which page faults dominate."""

GPU_CHUNK = 32


def as_device(device: str | torch.device) -> torch.device:
    """The torch device of that name; ``"auto"`` takes CUDA, then MPS, then the CPU.

    :raises DeviceError: unknown; the message names the devices that this machine has.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    if str(device) == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if d in available))
    if str(device) not in available:
        raise DeviceError(
            f"unknown device {str(device)!r}; this machine has {', '.join(available)}"
        )
    return torch.device(device)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether networks run faster in bfloat16: on GPUs, and on processors that multiply it.

    Processors without AMX or AVX-512 BF16 compute it by way of float32, several times slower than
    float32 itself.
    """
    if device.type == "cpu":  # the questions are asked from PyTorch 2.4 on
        asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, name, bool)() for name in asked)
    return device.type == "cuda"


class LinearMap(torch.autograd.Function):
    """A linear map whose gradient is its adjoint."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        apply: Callable[[torch.Tensor], torch.Tensor],
        transpose: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """``apply(x)``; ``transpose`` is its adjoint."""
        ctx.map, ctx.transposed = apply, transpose
        return apply(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The adjoint of the gradient, itself differentiable."""
        return linear_map(gradients[0], ctx.transposed, ctx.map), None, None


def linear_map(
    x: torch.Tensor,
    apply: Callable[[torch.Tensor], torch.Tensor],
    transpose: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """``apply(x)``, differentiated by its adjoint ``transpose``."""
    result: torch.Tensor = LinearMap.apply(x, apply, transpose)  # type: ignore[no-untyped-call]
    return result


class Projector(ABC):
    """A linear map from images to sinograms: ``A(images)`` and ``A.adjoint(sinogram)``.

    Both are differentiable, run in chunks of ``chunk`` slices and accept any leading number of
    slices. Adjoint means ``<A x, y> = <x, A.adjoint(y)>`` to float32 rounding.
    """

    def __init__(
        self,
        grid: ImageGrid,
        geometry: ParallelGeometry | FanGeometry,
        device: str | torch.device,
        chunk: int | None,
    ) -> None:
        self.grid = grid
        self.geometry = geometry
        self.device = as_device(device)
        self.chunk = chunk or (CPU_CHUNK if self.device.type == "cpu" else GPU_CHUNK)

    @property
    def image_shape(self) -> tuple[int, int]:
        """``(rows, cols)``."""
        return self.grid.rows, self.grid.cols

    @property
    def sinogram_shape(self) -> tuple[int, int]:
        """``(views, bins)``."""
        return self.geometry.views, self.geometry.bins

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Line integrals: 1/mm ``(slices, rows, cols)`` -> ``(slices, views, bins)``, no unit."""
        self._check(images, self.image_shape, "images (slices, rows, cols)")
        return linear_map(images.float(), self._forward_chunked, self._adjoint_chunked)

    def adjoint(self, sinogram: torch.Tensor) -> torch.Tensor:
        """Transpose of the projection: ``(slices, views, bins)`` -> ``(slices, rows, cols)``."""
        self._check(sinogram, self.sinogram_shape, "a sinogram (slices, views, bins)")
        return linear_map(sinogram.float(), self._adjoint_chunked, self._forward_chunked)

    def _check(self, x: torch.Tensor, shape: tuple[int, int], what: str) -> None:
        if x.ndim != 3 or tuple(x.shape[1:]) != shape:
            raise ValueError(f"expected {what} with last axes {shape}, got {tuple(x.shape)}")

    def _forward_chunked(self, images: torch.Tensor) -> torch.Tensor:
        return self._chunked(images, self._forward, self.sinogram_shape)

    def _adjoint_chunked(self, sinogram: torch.Tensor) -> torch.Tensor:
        return self._chunked(sinogram, self._adjoint, self.image_shape)

    def _chunked(
        self, x: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, int]
    ) -> torch.Tensor:
        out = torch.empty(x.shape[0], *shape, dtype=torch.float32, device=self.device)
        # Autocast would run parts in half precision, which the Fourier transforms cannot use.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            for start in range(0, x.shape[0], self.chunk):
                part = slice(start, start + self.chunk)
                out[part] = f(x[part].to(self.device))
        return out

    @abstractmethod
    def _forward(self, images: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def _adjoint(self, sinogram: torch.Tensor) -> torch.Tensor: ...
