"""A simulated CT scanner: from tissue and implants to what it measures and reconstructs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..tomography import (
    FanGeometry,
    FanProjector,
    FilteredBackProjection,
    ImageGrid,
    ParallelProjector,
    Projector,
    as_device,
)
from ..tomography.attenuation import mu_to_hu
from .acquisition import AcquisitionParameters
from .detector import Aperture, MetalPaths, isocentre_pitch_mm, subdivided
from .materials import Material, material
from .noise import measured_photons, smooth_starved
from .scatter import Scatter
from .tissue import water_and_bone
from .water import WaterCorrection

TISSUES = (material("water"), material("cortical-bone"))
"""What a tissue image is decomposed into."""

FLOOR_BEAM = 1e6
"""Photons of the open beam to which the floor refers when there is no quantum noise."""

RAYS_AT_ONCE = 1 << 13
"""Rays whose spectrum is summed at once on the CPU: the energies of a group stay in the cache."""

RAYS_AT_ONCE_GPU = 1 << 21

BEAM_PARAMETERS = (
    "kvp",
    "energies",
    "monoenergetic_kev",
    "detector",
    "photons_per_ray",
    "electronic_noise_photons",
    "starvation_filter_photons",
    "floor_photons",
    "scatter_to_primary",
    "scatter_width_mm",
    "water_correction",
    "reference_energy_kev",
    "hu_clip",
)
"""What :meth:`Scanner.with_beam` can change."""


class Scanner:
    """All that an acquisition needs for images of one grid; built once, used for many slices.

    The measured signal of a ray, relative to the open beam, is

    ``I = sum_E w(E) exp(-sum_m mu_m(E) L_m)``,

    with the paths ``L_m`` through water, bone and the implants and the detector's weights ``w``,
    averaged over each detector cell (:meth:`transmitted`, :meth:`transmitted_with_implants`).
    Scatter and noise are added and the negative logarithm is corrected for the beam hardening of
    water (:meth:`line_integrals`).

    :param grid: the image's pixels.
    :param parameters: the acquisition.
    :param device: torch device.
    :raises InputError: the image does not fit the geometry.
    """

    def __init__(
        self,
        grid: ImageGrid,
        parameters: AcquisitionParameters,
        device: str | torch.device = "cpu",
    ) -> None:
        self.grid, self.parameters, self.device = grid, parameters, as_device(device)
        self.geometry = parameters.geometry_for(grid)
        self.cells = self._projector(1)
        self.reconstruct_mu = FilteredBackProjection(
            self.cells, parameters.window, parameters.cutoff
        )
        samples = parameters.samples_per_bin
        pitch = isocentre_pitch_mm(self.geometry)
        # The tissue's line integrals are band-limited: cubic interpolation between rays nearer
        # than 0.8 pixel gives those in between. Coarser detectors need more rays.
        pixel = min(grid.spacing_mm)
        enough = [
            k for k in range(1, samples + 1) if samples % k == 0 and pitch / k <= 0.81 * pixel
        ]
        self._tissue_samples = enough[0] if enough else samples
        self._tissue = (
            self.cells if self._tissue_samples == 1 else self._projector(self._tissue_samples)
        )
        self._metal = MetalPaths(grid, subdivided(self.geometry, samples), self.device)
        focal = parameters.focal_spot_mm * (
            1 - parameters.source_isocentre_mm / parameters.source_detector_mm
        )
        self._aperture = Aperture(pitch, focal, samples, self._tissue_samples)

        self._set_beam(parameters)
        self.seen = self._field_of_view()

    def with_beam(self, **changes: Any) -> Scanner:
        """The same gantry with another tube, detector or dose: shares the costly projectors.

        :param changes: of :data:`BEAM_PARAMETERS`.
        :raises InputError: a value out of range, or a parameter that needs other projectors.
        """
        for name in changes:
            if name not in BEAM_PARAMETERS:
                raise InputError(
                    f"{name!r} cannot be changed without building a new scanner; what can: "
                    f"{', '.join(BEAM_PARAMETERS)}"
                )
        other = copy.copy(self)
        other.parameters = self.parameters.with_changes(**changes)
        other._set_beam(other.parameters)
        return other

    def tissue_paths(self, hu: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Paths through water and cortical bone, in mm of each.

        :param hu: ``(rows, cols)`` without implants, on the scanner's device.
        :param shares: of each pixel that is tissue, ``(n, rows, cols)``: ones without implants,
            less where implants displace it; all are projected together.
        :returns: ``(n, 2, views, bins * k)`` with a ``k`` that the other methods know.
        """
        fractions = water_and_bone(hu, self.parameters.reference_energy_kev) * self.seen
        paths = self._tissue((shares[:, None] * fractions).flatten(0, 1))
        return paths.view(len(shares), 2, *paths.shape[1:])

    def implant_paths(self, fractions: torch.Tensor) -> torch.Tensor:
        """Paths through implants in mm: ``(implants, rows, cols)`` -> ``(implants, views, n)``."""
        return self._metal(fractions * self.seen)

    def transmitted(self, tissue_mm: torch.Tensor) -> torch.Tensor:
        """Signal behind tissue alone, relative to the open beam.

        :param tissue_mm: one of :meth:`tissue_paths`, ``(2, views, n)``.
        :returns: ``(2, views, bins)``: mean signal, and its second moment that sets the noise.
        """
        return self._spectral_sum(self._aperture.average(tissue_mm), TISSUES)

    def transmitted_with_implants(
        self,
        signal: torch.Tensor,
        tissue_mm: torch.Tensor,
        implant_mm: torch.Tensor,
        implants: Sequence[Material],
    ) -> torch.Tensor:
        """Signal with implants: replaced in the cells of which a ray meets an implant.

        Across such a cell the path in metal varies, and the cell sees the mean of the intensities:
        a non-linear partial volume effect that the mean line integral would miss.

        :param signal: of :meth:`transmitted`, without implants.
        :param tissue_mm: of the tissue that the implants leave, ``(2, views, n)``.
        :param implant_mm: from :meth:`implant_paths`.
        :param implants: the materials of ``implant_mm``.
        :returns: as ``signal``.
        """
        cells = self._aperture.touched(implant_mm)
        if not bool(cells.any()):
            return signal
        groups = self._aperture.ray_groups(cells)
        rays = torch.cat(
            [
                self._aperture.tissue_rays(tissue_mm, groups),
                self._aperture.implant_rays(implant_mm, groups),
            ]
        )
        moments = self._spectral_sum(rays, (*TISSUES, *implants))
        changed = signal.clone()
        changed[:, cells] = self._aperture.cell_means(moments, cells, groups)
        return changed

    def line_integrals(
        self, transmitted: torch.Tensor, normals: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the scanner records: scatter, noise, logarithm, water correction.

        :param transmitted: ``(2, views, bins)`` from the methods above.
        :param normals: ``(2, views, bins)`` standard normal numbers; None for no noise.
        :returns: ``(views, bins)``, in units in which water has ``MU_WATER_PER_MM``.
        """
        p = self.parameters
        signal, second = transmitted[0], transmitted[1]
        if p.scatter_to_primary > 0:
            scattered = self._scatter(signal)
            signal, second = signal + scattered, second + scattered * self._open_second
        photons = FLOOR_BEAM if p.photons_per_ray is None else p.photons_per_ray
        readings = signal * photons
        if p.photons_per_ray is not None and normals is not None:
            readings, variance = measured_photons(
                signal, second, normals.to(self.device), photons, p.electronic_noise_photons
            )
            readings = smooth_starved(readings, variance, p.starvation_filter_photons)
        return self._water(-torch.log(readings.clamp_min(p.floor_photons) / photons))

    def reconstruct(self, sinogram: torch.Tensor) -> torch.Tensor:
        """Line integrals ``(slices, views, bins)`` -> HU ``(slices, rows, cols)``, not clipped."""
        return mu_to_hu(self.reconstruct_mu(sinogram))

    def require_inside(self, fraction: np.ndarray, what: str) -> None:
        """Raise :class:`InputError` where an implant lies outside the scan field of view."""
        outside = ~self.seen.cpu().numpy() & (fraction > 0)
        if outside.any():
            raise InputError(
                f"{what} reaches outside the scan field of view of {self.field_of_view_mm:.0f} mm; "
                "move it, or use more bins (bins=None covers the image)"
            )

    @property
    def field_of_view_mm(self) -> float:
        """Diameter of the circle that every view sees."""
        if isinstance(self.geometry, FanGeometry):
            half = np.abs(self.geometry.fan_angles_rad[[0, -1]]).min()
            return float(2 * self.geometry.source_isocentre_mm * np.sin(half))
        return float(2 * np.abs(self.geometry.bin_positions_mm[[0, -1]]).min())

    def _set_beam(self, parameters: AcquisitionParameters) -> None:
        spectrum, detector = parameters.spectrum(), parameters.detector
        self.spectrum = spectrum
        response = spectrum.response(detector)
        moments = np.stack([spectrum.photons * response, spectrum.photons * response**2])
        self._moments = torch.from_numpy(moments.astype(np.float32)).to(self.device)
        self._open_second = float(moments[1].sum())
        self._water = WaterCorrection(spectrum, detector, parameters.water_correction, self.device)
        self._scatter = Scatter(
            self.geometry,
            spectrum,
            detector,
            parameters.scatter_to_primary,
            parameters.scatter_width_mm,
            self.device,
        )

    def _projector(self, samples: int) -> Projector:
        geometry = subdivided(self.geometry, samples)
        if isinstance(geometry, FanGeometry):
            return FanProjector(self.grid, geometry, self.device)
        return ParallelProjector(self.grid, geometry, self.device)

    def _spectral_sum(self, paths: torch.Tensor, materials: Sequence[Material]) -> torch.Tensor:
        """Moments of the signal behind paths ``(materials, ...)`` in mm -> ``(2, ...)``."""
        mu = np.stack([m.mu_per_mm(self.spectrum.energies_kev) for m in materials], axis=1)
        loss_per_mm = torch.from_numpy(-mu.astype(np.float32)).to(self.device)
        rays = paths.reshape(len(materials), -1)
        at_once = RAYS_AT_ONCE if self.device.type == "cpu" else RAYS_AT_ONCE_GPU
        out = torch.empty(2, rays.shape[1], device=self.device)
        for start in range(0, rays.shape[1], at_once):
            part = slice(start, start + at_once)
            transmission = torch.exp_(loss_per_mm @ rays[:, part])
            out[:, part] = self._moments @ transmission
        return out.reshape(2, *paths.shape[1:])

    def _field_of_view(self) -> torch.Tensor:
        """True where every view sees the pixel, ``(rows, cols)``."""
        rows, cols = self.grid.rows, self.grid.cols
        y = (np.arange(rows) - (rows - 1) / 2) * self.grid.spacing_mm[0]
        x = (np.arange(cols) - (cols - 1) / 2) * self.grid.spacing_mm[1]
        distance = np.hypot(y[:, None], x[None, :])
        return torch.from_numpy(distance <= self.field_of_view_mm / 2).to(self.device)
