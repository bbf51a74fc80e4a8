"""All that a user may choose for one correction; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, shown
from ..metal.options import SEGMENTATIONS, CleanUpParameters
from ..tomography.trace import TraceParameters
from ..weights import SUFFIX

RECONSTRUCTIONS = ("replace", "add-change", "frequency-split")
"""See :func:`.recombination.recombine`; the default first."""


@dataclass(frozen=True)
class CorrectionOptions:
    """How a volume is corrected, from command line, panel, script or a list of cases to the work.

    :param method: a name of :func:`..methods.registry.methods`, or a file of weights.
    :param method_options: the method's own; plain values, as JSON knows them.
    :param reconstruction: one of :data:`RECONSTRUCTIONS`. The default has the smallest error and
        noise (before rays through blur were filled, too): RMSE in HU over the body / within 20
        pixels of metal, from the image alone, mean of 13 slices of the simulated reference
        scanner (hips, nails, screws, rods, clips): NMAR with
        ``"replace"`` 61.4 / 294.1, ``"add-change"`` 61.4 / 294.1, ``"frequency-split"``
        63.8 / 307.5; linear interpolation 65.6 / 298.7, uncorrected 130.6 / 596.1. On a noisier
        scanner (24 HU in muscle) the second was worse by 4 / 7 HU. Near metal most of it is the
        metal's own blur, which is put back with the metal.
    :param window: filter window of the reconstruction; ``"ramp"`` keeps the resolution.
    :param trace: what counts as a ray through metal.
    :param always: correct all slices with metal, and take all of every change but for rims and
        bone beside metal; False leaves slices without an artifact as they are
        (:mod:`.artifact_strength`), and streaks that a method would add out
        (:func:`.recombination.agreed_change`).
    :param segmentation: how a threshold is proposed where no metal is given, one of
        :data:`SEGMENTATIONS`.
    :param threshold_hu: where metal begins then; proposed if None.
    :param clean_up: what is left out of the metal then, and what the user says of single parts.
    :param device: torch device: ``"cpu"``, ``"cuda"``, ``"mps"``; ``"auto"`` is the fastest here.
    :param batch_slices: slices at once; bounds the memory, does not change the result.
    :raises InputError: a value that cannot be used.
    """

    method: str = "nmar"
    method_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    reconstruction: str = RECONSTRUCTIONS[0]
    window: str = "ramp"
    trace: TraceParameters = field(default_factory=TraceParameters)
    always: bool = False
    segmentation: str = SEGMENTATIONS[0]
    threshold_hu: float | None = None
    clean_up: CleanUpParameters = field(default_factory=CleanUpParameters)
    device: str = "cpu"
    batch_slices: int = 8

    def __post_init__(self) -> None:
        """Refuse what can be seen wrong without loading a method or asking for a device."""
        for name, known in (("reconstruction", RECONSTRUCTIONS), ("segmentation", SEGMENTATIONS)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"unknown {name} {shown(getattr(self, name))}; choose one of {', '.join(known)}"
                )
        if self.batch_slices < 1:
            raise InputError(f"batch_slices is {self.batch_slices}; give 1 or more")

    def changed(self, **changes: Any) -> CorrectionOptions:
        """The same with other values.

        :raises InputError: an option that does not exist (the message lists all), or as the class.
        """
        known = [entry.name for entry in fields(self)]
        for name in changes:
            if name not in known:
                raise InputError(f"unknown option {name!r}; there are: {', '.join(known)}")
        return replace(self, **changes)

    def settled(self) -> CorrectionOptions:
        """The same with the device that ``"auto"`` comes to here.

        :raises DeviceError: no such device.
        """
        from ..tomography.operator import as_device  # needs torch

        return replace(self, device=str(as_device(self.device)))

    def anywhere(self) -> CorrectionOptions:
        """The same for a process that stands in another folder: weights by their full path."""
        if not self.method.endswith(SUFFIX):
            return self
        return replace(self, method=str(Path(self.method).absolute()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CorrectionOptions:
        """What :meth:`as_dict` gave, or a part of it; the rest takes the defaults.

        :raises InputError: as :meth:`changed`.
        """
        given = dict(values)
        if "trace" in given:
            given["trace"] = TraceParameters(**given["trace"])
        if "clean_up" in given:
            given["clean_up"] = CleanUpParameters.from_dict(given["clean_up"])
        return cls().changed(**given)
