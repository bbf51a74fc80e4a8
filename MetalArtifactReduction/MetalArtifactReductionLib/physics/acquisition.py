"""Every parameter of a simulated CT acquisition in one place, with presets."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from ..errors import InputError
from ..tomography.filters import WINDOWS
from ..tomography.geometry import (
    FanGeometry,
    ImageGrid,
    ParallelGeometry,
    parallel_geometry_for,
)
from .spectra import DETECTORS, KVP_RANGE, Spectrum, monoenergetic, tube_spectrum

Beam = Literal["fan", "parallel"]
BEAMS: tuple[str, ...] = get_args(Beam)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} {value!r} is unknown; use one of {', '.join(allowed)}")


def _within(
    name: str,
    value: float | None,
    low: float,
    high: float,
    *,
    whole: bool = False,
    optional: bool = False,
) -> None:
    if value is None and optional:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or not number or not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{name} {value!r} is out of range; use {low:g} to {high:g}")
    if whole and not isinstance(value, int):
        raise InputError(f"{name} {value!r} must be a whole number")


def _check_clip(hu_clip: Any) -> None:
    pair = hu_clip if isinstance(hu_clip, tuple) and len(hu_clip) == 2 else (math.nan, math.nan)
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in pair) or not (
        pair[0] < 0 < pair[1]
    ):
        raise InputError(f"hu_clip {hu_clip!r} must be (below 0, above 0) in HU, or None")


@dataclass(frozen=True)
class AcquisitionParameters:
    """How the simulated scanner measures, corrects and reconstructs.

    Lengths in mm, energies in keV. Whatever is ``None`` is chosen or left out as its line says. The
    defaults are the ``"reference"`` preset.

    Geometry

    :param geometry: ``"fan"`` (full turn) or ``"parallel"`` (half a turn).
    :param views: views per turn (fan) or half turn (parallel); None for parallel: from the image.
    :param bins: detector cells; None covers the image's diagonal.
    :param bin_mm: pitch of the cells, on the detector (fan) or at the isocentre (parallel; None:
        from the image).
    :param offset_bins: shift of the detector in cells; 0.25 is the quarter offset.
    :param source_isocentre_mm: source to isocentre.
    :param source_detector_mm: source to detector.
    :param curved_detector: arc around the source instead of a flat detector.

    Beam and detector

    :param kvp: tube voltage, 80 to 140.
    :param energies: number of energies that stand for the spectrum.
    :param monoenergetic_kev: photons of this one energy instead of the tube's.
    :param detector: ``"energy-integrating"`` or ``"photon-counting"``.
    :param photons_per_ray: mean photons that a cell detects without object, per view (dose);
        None for no noise. The tube gives about 1e7 per mAs in a cell that sees a 3 mm slice, so
        4e6 is 400 mAs a turn of 1000 views (a large pelvis) and 5e5 a low dose.
    :param electronic_noise_photons: standard deviation of the electronics' noise in photons of the
        open beam's mean energy; left out without quantum noise.
    :param starvation_filter_photons: readings below are smoothed adaptively before the logarithm,
        as scanners do; 0 for none.
    :param floor_photons: signals below are read as this (photon starvation); with no quantum noise
        it is ``floor_photons / 1e6`` of the open beam.
    :param scatter_to_primary: ratio of scatter to primary behind the middle of a 300 mm water
        cylinder: what the anti-scatter grid and the scanner's correction leave. The default
        keeps the soft tissue of a large pelvis within about 5 HU.
    :param scatter_width_mm: full width at half maximum of the scatter kernel, at the isocentre.
    :param focal_spot_mm: width of the focal spot (box); blurs by its image at the isocentre.
    :param samples_per_bin: rays across a cell whose intensities (not line integrals) are averaged:
        gives the cell its width and thin metal its non-linear partial volume. 1 is a ray a cell.

    Processing

    :param water_correction: beam-hardening correction that makes water linear. Without it the
        line integrals are only scaled so that thin water is right.
    :param reference_energy_kev: energy at which the input's HU and the ideal image's are taken.
    :param window: reconstruction window, one of ``tomography.WINDOWS``.
    :param cutoff: share of the detector's Nyquist frequency where the window ends.
    :param hu_clip: smallest and largest HU of the image, or None.
    """

    geometry: Beam = "fan"
    views: int | None = 1000
    bins: int | None = 900
    bin_mm: float | None = 1.0
    offset_bins: float = 0.0
    source_isocentre_mm: float = 550.0
    source_detector_mm: float = 950.0
    curved_detector: bool = True

    kvp: float = 120.0
    energies: int = 12
    monoenergetic_kev: float | None = None
    detector: str = "energy-integrating"
    photons_per_ray: float | None = 4e6
    electronic_noise_photons: float = 5.0
    starvation_filter_photons: float = 200.0
    floor_photons: float = 2.0
    scatter_to_primary: float = 0.005
    scatter_width_mm: float = 120.0
    focal_spot_mm: float = 1.0
    samples_per_bin: int = 3

    water_correction: bool = True
    reference_energy_kev: float = 70.0
    window: str = "hann"
    cutoff: float = 1.0
    hu_clip: tuple[float, float] | None = (-1024.0, 3071.0)

    def __post_init__(self) -> None:
        """Check every value before any work starts."""
        if isinstance(self.hu_clip, list):  # from JSON or a user's list
            object.__setattr__(self, "hu_clip", tuple(self.hu_clip))
        _one_of("geometry", self.geometry, BEAMS)
        _one_of("detector", self.detector, DETECTORS)
        _one_of("window", self.window, WINDOWS)
        _within("cutoff", self.cutoff, 0.05, 1.0)
        if self.geometry == "fan":
            for name in ("views", "bin_mm"):
                if getattr(self, name) is None:
                    raise InputError(f"{name} is None: a fan beam needs a value for it")
        _within("views", self.views, 8, 100_000, whole=True, optional=True)
        _within("bins", self.bins, 8, 100_000, whole=True, optional=True)
        _within("bin_mm", self.bin_mm, 1e-3, 100.0, optional=True)
        _within("offset_bins", self.offset_bins, -1000.0, 1000.0)
        _within("source_isocentre_mm", self.source_isocentre_mm, 10.0, 1e6)
        _within("source_detector_mm", self.source_detector_mm, self.source_isocentre_mm, 1e7)
        _within("kvp", self.kvp, *KVP_RANGE)
        _within("energies", self.energies, 1, 60, whole=True)
        _within("monoenergetic_kev", self.monoenergetic_kev, 10.0, 150.0, optional=True)
        _within("photons_per_ray", self.photons_per_ray, 10.0, 1e12, optional=True)
        _within("electronic_noise_photons", self.electronic_noise_photons, 0.0, 1e6)
        _within("starvation_filter_photons", self.starvation_filter_photons, 0.0, 1e6)
        _within("floor_photons", self.floor_photons, 1e-12, 1e6)
        if self.photons_per_ray is not None and self.floor_photons >= self.photons_per_ray:
            raise InputError(
                f"floor_photons {self.floor_photons:g} is not below photons_per_ray "
                f"{self.photons_per_ray:g}: nothing would be measured"
            )
        _within("scatter_to_primary", self.scatter_to_primary, 0.0, 10.0)
        _within("scatter_width_mm", self.scatter_width_mm, 1.0, 1e4)
        _within("focal_spot_mm", self.focal_spot_mm, 0.0, 20.0)
        _within("samples_per_bin", self.samples_per_bin, 1, 15, whole=True)
        _within("reference_energy_kev", self.reference_energy_kev, 20.0, 150.0)
        if self.hu_clip is not None:
            _check_clip(self.hu_clip)

    def with_changes(self, **changes: Any) -> AcquisitionParameters:
        """The same parameters with some changed (and checked)."""
        _known(changes)
        return replace(self, **changes)

    def spectrum(self) -> Spectrum:
        """The photons that this acquisition uses."""
        if self.monoenergetic_kev is not None:
            return monoenergetic(self.monoenergetic_kev)
        return tube_spectrum(self.kvp, self.energies)

    def geometry_for(self, grid: ImageGrid) -> ParallelGeometry | FanGeometry:
        """Geometry of the scan of an image.

        :raises InputError: an image too large for the source's circle (only if ``bins`` is None).
        """
        if self.geometry == "parallel":
            auto = parallel_geometry_for(grid)
            bin_mm = self.bin_mm or auto.bin_mm
            needed = math.ceil(grid.diagonal_mm / bin_mm) + 2 * math.ceil(abs(self.offset_bins)) + 2
            bins = self.bins or max(needed, auto.bins if self.bin_mm is None else 0)
            return ParallelGeometry(self.views or auto.views, bins, bin_mm, self.offset_bins)
        assert self.views is not None and self.bin_mm is not None  # checked when made
        bins = self.bins or self._fan_bins(grid.diagonal_mm / 2)
        return FanGeometry(
            self.views,
            bins,
            self.bin_mm,
            self.source_isocentre_mm,
            self.source_detector_mm,
            self.curved_detector,
            self.offset_bins,
        )

    def _fan_bins(self, radius_mm: float) -> int:
        assert self.bin_mm is not None
        if radius_mm >= 0.95 * self.source_isocentre_mm:
            raise InputError(
                f"the image reaches {radius_mm:.0f} mm from its centre, the source is at "
                f"{self.source_isocentre_mm:.0f} mm; use parallel geometry or crop the image"
            )
        angle = math.asin(radius_mm / self.source_isocentre_mm)
        half = self.source_detector_mm * (angle if self.curved_detector else math.tan(angle))
        return 2 * math.ceil(half / self.bin_mm + abs(self.offset_bins) + 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        values = asdict(self)
        values["hu_clip"] = None if self.hu_clip is None else list(self.hu_clip)
        return values

    def to_json(self) -> str:
        """JSON text that :meth:`from_json` turns back into equal parameters."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AcquisitionParameters:
        """Parameters from plain values; what is missing takes the default.

        :raises InputError: unknown names or values out of range.
        """
        _known(values)
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> AcquisitionParameters:
        """Parameters from the text of :meth:`to_json`.

        :raises InputError: not a JSON object, unknown names or values out of range.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"acquisition parameters are not JSON: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"acquisition parameters must be a JSON object, not {values!r:.40}")
        return cls.from_dict(values)


_REFERENCE = AcquisitionParameters()
_PERFECT: dict[str, Any] = {
    "photons_per_ray": None,
    "floor_photons": 1e-12,
    "scatter_to_primary": 0.0,
    "focal_spot_mm": 0.0,
    "samples_per_bin": 1,
}

PRESETS: dict[str, AcquisitionParameters] = {
    "reference": _REFERENCE,
    "low-dose": replace(_REFERENCE, photons_per_ray=5e5),
    "high-dose": replace(_REFERENCE, photons_per_ray=2e7),
    "80-kvp": replace(_REFERENCE, kvp=80.0),
    "140-kvp": replace(_REFERENCE, kvp=140.0),
    "extended-scale": replace(_REFERENCE, hu_clip=(-1024.0, 30710.0)),
    "beam-hardening-only": replace(_REFERENCE, **{**_PERFECT, "samples_per_bin": 3}),
    "monoenergetic": replace(_REFERENCE, monoenergetic_kev=70.0, hu_clip=None, **_PERFECT),
    "parallel": replace(_REFERENCE, geometry="parallel", views=None, bins=None, bin_mm=None),
    "wide-field": replace(_REFERENCE, bins=None),
}
"""Named acquisitions: ``reference`` is the scanner of the AAPM CT-MAR challenge's kit."""


def preset(name: str, **changes: Any) -> AcquisitionParameters:
    """A preset by name, with changes.

    :raises InputError: unknown preset or parameter.
    """
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; use one of {', '.join(PRESETS)}")
    return PRESETS[name].with_changes(**changes)


def _known(values: dict[str, Any]) -> None:
    names = [field.name for field in fields(AcquisitionParameters)]
    for name in values:
        if name not in names:
            raise InputError(
                f"unknown acquisition parameter {name!r}; use one of {', '.join(names)}"
            )
