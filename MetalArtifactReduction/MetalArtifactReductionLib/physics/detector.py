"""Rays across a detector cell: sub-sampling, and the blur of cell and focal spot."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..tomography.footprint import FootprintProjector
from ..tomography.geometry import FanGeometry, ImageGrid, ParallelGeometry
from ..tomography.rebinning import lagrange_cubic, rays_of

RayGroups = tuple[torch.Tensor, ...]
"""Indices of views and of groups of rays, ``(groups,)`` each."""

TOUCHING_MM = 1e-3
"""Shorter paths in an implant are rounding: that much titanium attenuates 0.02 %."""


def subdivided(
    geometry: ParallelGeometry | FanGeometry, samples: int
) -> ParallelGeometry | FanGeometry:
    """The same detector with every cell cut into ``samples`` equal cells."""
    bins, pitch, offset = geometry.bins * samples, geometry.bin_mm / samples, geometry.offset_bins
    if isinstance(geometry, ParallelGeometry):
        return ParallelGeometry(geometry.views, bins, pitch, offset * samples)
    return FanGeometry(
        geometry.views,
        bins,
        pitch,
        geometry.source_isocentre_mm,
        geometry.source_detector_mm,
        geometry.curved,
        offset * samples,
    )


def isocentre_pitch_mm(geometry: ParallelGeometry | FanGeometry) -> float:
    """Distance between neighbouring rays at the isocentre."""
    if isinstance(geometry, ParallelGeometry):
        return geometry.bin_mm
    return geometry.bin_mm * geometry.source_isocentre_mm / geometry.source_detector_mm


class Aperture:
    """A detector cell as seen through a focal spot of finite width, as a few weighted rays.

    Cell and focal spot are boxes; at the isocentre their images are as wide as the cells' pitch and
    ``focal_spot_mm (1 - source_isocentre / source_detector)``. The convolution of both weighs the
    rays across a cell and its neighbours. (Exact at the isocentre; the focal spot's image grows
    towards the detector and shrinks towards the source, which is left out.)

    Tissue is band-limited and given on few samples a cell; cubic interpolation gives its rays.

    :param pitch_mm: distance between cells at the isocentre.
    :param focal_mm: width of the focal spot's image at the isocentre.
    :param samples: rays across a cell; with 1 there is one in its middle and no blur at all.
    :param tissue_samples: samples of the tissue's line integrals across a cell.
    """

    def __init__(self, pitch_mm: float, focal_mm: float, samples: int, tissue_samples: int) -> None:
        self.samples, self.tissue_samples = samples, tissue_samples
        self._reach = 0 if samples == 1 else int(np.ceil(focal_mm / pitch_mm * samples / 2))
        self.rays = samples + 2 * self._reach
        edges = (np.arange(self.rays + 1) - self._reach) / samples - 0.5
        weights = np.ones(1)
        if samples > 1:
            weights = np.diff(_trapezoid_cumulative(edges * pitch_mm, pitch_mm, focal_mm))
        self.weights = torch.from_numpy(weights.astype(np.float32))
        # Where each ray lies, counted in tissue samples from the first one of the cell.
        place = ((edges[:-1] + edges[1:]) / 2 + 0.5) * tissue_samples - 0.5
        first = np.floor(place + 1e-9).astype(int) - 1
        self._lowest = int(first.min())
        self._group_taps = int(first[:samples].max()) + 4 - self._lowest
        self._more_groups = -(-2 * self._reach // samples)
        self._interpolation = torch.zeros(int(first.max()) + 4 - self._lowest, self.rays)
        for ray, tap in enumerate(first - self._lowest):
            taps = lagrange_cubic(np.float64(place[ray] - (first[ray] + 1)))
            self._interpolation[tap : tap + 4, ray] = torch.from_numpy(taps)

    def average(self, tissue: torch.Tensor) -> torch.Tensor:
        """Mean line integral of each cell: ``(..., bins * tissue_samples)`` -> ``(..., bins)``.

        Where the line integral varies little across a cell, as in tissue, the logarithm of the mean
        intensity is the mean of the line integrals.
        """
        padded = self._padded_tissue(tissue)
        bins, step = tissue.shape[-1] // self.tissue_samples, self.tissue_samples
        last = step * (bins - 1) + 1
        mean = torch.zeros(*tissue.shape[:-1], bins, device=tissue.device)
        for k, weight in enumerate(self._interpolation @ self.weights):
            if weight != 0:
                mean.add_(padded[..., k : k + last : step], alpha=float(weight))
        return mean

    def touched(self, implants: torch.Tensor) -> torch.Tensor:
        """Cells of which a ray meets an implant: ``(m, views, n)`` -> bool ``(views, bins)``."""
        met = implants.sum(dim=0, keepdim=True) if len(implants) > 1 else implants
        return F.max_pool1d(met, self.rays, self.samples, self._reach)[0] > TOUCHING_MM

    def ray_groups(self, cells: torch.Tensor) -> RayGroups:
        """Which rays some cells see, in groups of ``samples``, as neighbours see the same ones.

        :param cells: bool ``(views, bins)``.
        :returns: view and place of each; group 0 begins at the first ray of cell 0.
        """
        more = self._more_groups
        seen = F.max_pool1d(F.pad(cells.float()[None], (more, more)), more + 1, 1)[0] > 0
        return torch.nonzero(seen, as_tuple=True)

    def tissue_rays(self, tissue: torch.Tensor, groups: RayGroups) -> torch.Tensor:
        """Line integrals of the rays of some groups: ``(2, views, n)`` -> ``(2, groups, samples)``.

        :param groups: of :meth:`ray_groups`.
        """
        taps = self._interpolation[: self._group_taps, : self.samples].to(tissue.device)
        return _windows(tissue, groups, self.tissue_samples, self._lowest, len(taps)) @ taps

    def implant_rays(self, implants: torch.Tensor, groups: RayGroups) -> torch.Tensor:
        """Paths of the rays of some groups: ``(m, views, n)`` -> ``(m, groups, samples)``."""
        return _windows(implants, groups, self.samples, -self._reach, self.samples)

    def cell_means(
        self, rays: torch.Tensor, cells: torch.Tensor, groups: RayGroups
    ) -> torch.Tensor:
        """What cells see of their rays: ``(k, groups, samples)`` -> ``(k, cells)``."""
        flat = rays.flatten(1)
        count = (flat.shape[1] - self.rays) // self.samples + 1
        means = torch.zeros(len(flat), count, device=rays.device)
        for ray, weight in enumerate(self.weights.tolist()):
            means.add_(flat[:, ray :: self.samples][:, :count], alpha=weight)
        first = F.pad(cells, (0, self._more_groups))[groups][:count]
        return means[:, first]

    def _padded_tissue(self, tissue: torch.Tensor) -> torch.Tensor:
        after = len(self._interpolation) + self._lowest - self.tissue_samples
        return F.pad(tissue, (-self._lowest, after), mode="replicate")


def _windows(
    values: torch.Tensor, groups: RayGroups, step: int, first: int, length: int
) -> torch.Tensor:
    """``(k, views, n)`` around chosen groups, ``step`` apart -> ``(k, groups, length)``.

    Beyond the ends the last value repeats.
    """
    view, group = (index.int() for index in groups)
    n = values.shape[-1]
    within = torch.arange(length, dtype=torch.int32, device=values.device)
    place = ((group * step + first)[:, None] + within).clamp_(0, n - 1).add_((view * n)[:, None])
    taken = [one.flatten().index_select(0, place.flatten()) for one in values]
    return torch.stack(taken).view(len(values), *place.shape)


def _trapezoid_cumulative(x: np.ndarray, first: float, second: float) -> np.ndarray:
    """Integral up to ``x`` of the convolution of two centred boxes of unit area."""
    if second < 1e-9 * first:
        return np.clip(x / first + 0.5, 0.0, 1.0)

    def ramp(u: np.ndarray) -> Any:
        return np.maximum(u, 0.0) ** 2 / 2

    a, b = (first + second) / 2, (first - second) / 2
    result: np.ndarray = (ramp(x + a) - ramp(x + b) - ramp(x - b) + ramp(x - a)) / (first * second)
    return result


class MetalPaths:
    """Path of every ray in each implant, in mm and never negative.

    Parallel beam: the footprint projector on the cells themselves. Fan beam: footprints on a
    parallel raster of half a pixel, interpolated linearly (hence positively) at the fan's rays.
    Only rays that pass the isocentre as near as the implants are looked at.

    :param grid: the image's pixels.
    :param geometry: of the rays wanted.
    :param device: torch device.
    """

    def __init__(
        self,
        grid: ImageGrid,
        geometry: ParallelGeometry | FanGeometry,
        device: torch.device,
    ) -> None:
        self._grid, self._device = grid, device
        self._shape = geometry.views, geometry.bins
        y = (torch.arange(grid.rows) - (grid.rows - 1) / 2) * grid.spacing_mm[0]
        x = (torch.arange(grid.cols) - (grid.cols - 1) / 2) * grid.spacing_mm[1]
        self._from_isocentre = torch.hypot(y[:, None], x).to(device)
        theta, s_mm = rays_of(geometry)
        self._s_mm = s_mm[0]
        self._view: torch.Tensor | None = None
        if isinstance(geometry, ParallelGeometry):
            self._raster = geometry
            return
        pixel = min(grid.spacing_mm)
        bins = 2 * int(np.ceil(grid.diagonal_mm / pixel)) + 5
        # One view per sample of the rim of the circle inside the image.
        views = 8 * int(np.ceil(np.pi / 2 * grid.diagonal_mm / np.sqrt(2) / pixel / 8))
        self._raster = ParallelGeometry(views, bins, pixel / 2)
        view = np.mod(theta, 2 * np.pi) / np.pi - 1.0  # of rows that go around, see below
        self._view = torch.from_numpy(view.astype(np.float32)).to(device)

    def __call__(self, fraction: torch.Tensor) -> torch.Tensor:
        """Fractions 0..1 ``(implants, rows, cols)`` -> mm ``(implants, views, bins)``."""
        paths = torch.zeros(len(fraction), *self._shape, device=self._device)
        metal = self._from_isocentre[fraction.any(dim=0)]
        if not len(metal):
            return paths
        reach_mm = float(metal.max()) + 2 * max(self._grid.spacing_mm)
        bins = _within(self._raster.bin_positions_mm, reach_mm + self._raster.bin_mm)
        rays = _within(self._s_mm, reach_mm)
        raster = _part(self._raster, bins)
        direct = FootprintProjector(self._grid, raster, self._device)
        # One implant at a time: the same rounding whatever else is projected.
        parallel = torch.cat([direct(one[None]) for one in fraction]).clamp_min_(0.0)
        if self._view is None:
            paths[..., bins] = parallel
            return paths
        # The second half of the turn is the first seen from behind: p(theta + pi, s) = p(theta, -s)
        turn = torch.cat([parallel, parallel.flip(-1), parallel[:, :1]], dim=1)
        view = self._view[:, rays]
        place = self._s_mm[rays] / raster.bin_positions_mm[-1]
        across = torch.from_numpy(place.astype(np.float32)).to(self._device).expand_as(view)
        paths[..., rays] = F.grid_sample(
            turn[None], torch.stack([across, view], dim=-1)[None], align_corners=True
        )[0]
        return paths


def _within(positions_mm: np.ndarray, reach_mm: float) -> slice:
    """Those of ascending or descending positions that lie within a distance of 0."""
    inside = np.flatnonzero(np.abs(positions_mm) <= reach_mm)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def _part(geometry: ParallelGeometry, bins: slice) -> ParallelGeometry:
    """The same views of some of the bins."""
    count = bins.stop - bins.start
    moved = geometry.offset_bins + (geometry.bins - count) / 2 - bins.start
    return ParallelGeometry(geometry.views, count, geometry.bin_mm, moved)
