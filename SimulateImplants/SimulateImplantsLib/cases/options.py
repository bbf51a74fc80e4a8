"""All that a user may choose for one simulation; loads nothing heavy before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.errors import InputError

if TYPE_CHECKING:
    from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters
    from MetalArtifactReductionLib.physics.simulation import Model

MODELS: tuple[Model, ...] = ("physics", "trace-maximum", "missing-trace")
"""As in ``physics.simulation``, which loads torch."""

PRESETS = (
    "reference",
    "low-dose",
    "high-dose",
    "80-kvp",
    "140-kvp",
    "extended-scale",
    "beam-hardening-only",
    "monoenergetic",
    "parallel",
    "wide-field",
)
"""As in ``physics.acquisition``, which loads torch."""


def _reference() -> AcquisitionParameters:
    from MetalArtifactReductionLib.physics.acquisition import PRESETS

    return PRESETS["reference"]


@dataclass(frozen=True)
class SimulationOptions:
    """How artifacts are simulated, from command line, panel, script or dataset to the work.

    :param acquisition: the scanner; the reference preset unless given.
    :param model: one of :data:`MODELS`, see ``physics.simulation.simulate_volume``.
    :param seed: of the noise.
    :param every_slice: also scan slices without implants.
    :param with_reference: also scan without metal.
    :param keep_sinograms: keep the sinograms too, a few MB a slice.
    :param device: torch device: "cpu", "cuda", "mps"; "auto" is the fastest here.
    :param batch_slices: slices at once; bounds the memory, does not change the result.
    :raises InputError: a value that cannot be used.
    """

    acquisition: AcquisitionParameters = field(default_factory=_reference)
    model: Model = MODELS[0]
    seed: int = 0
    every_slice: bool = False
    with_reference: bool = True
    keep_sinograms: bool = False
    device: str = "cpu"
    batch_slices: int = 8

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(
                f"unknown simulation model {self.model!r}; use one of {', '.join(MODELS)}"
            )
        for name, least in (("seed", 0), ("batch_slices", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} {value!r} must be a whole number, {least} or more")

    def work(self) -> dict[str, Any]:
        """The arguments of ``simulate_volume`` besides the acquisition."""
        from MetalArtifactReductionLib.tomography import as_device

        values = {item.name: getattr(self, item.name) for item in fields(self)}
        del values["acquisition"]
        return values | {"device": str(as_device(self.device))}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {"acquisition": self.acquisition.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SimulationOptions:
        """What :meth:`to_dict` gave.

        :raises InputError: an unknown parameter of the scanner, or as the class.
        """
        from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters

        scanner = AcquisitionParameters.from_dict(values["acquisition"])
        return cls(**{**values, "acquisition": scanner})
