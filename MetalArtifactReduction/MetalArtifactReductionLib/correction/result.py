"""What a correction gives back, wherever it was computed; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..volume import CTVolume


@dataclass(frozen=True)
class CorrectionResult:
    """What :func:`.correct.correct_volume` returns.

    :param corrected: the corrected volume, same geometry.
    :param metal_fraction: the metal that was corrected for, float32 0..1.
    :param change_hu: corrected minus original, float32 HU: what the method changed, everywhere.
    :param method: name of the inpainter.
    :param parameters: everything needed to repeat the correction; plain values.
    :param expected_error_hu: expected absolute error of each voxel, float32 HU, 0 in slices without
        metal; None for methods that do not know it.
    :param strength: how much of the correction each slice got, float32 0..1 ``(slices,)``: 0 where
        there is no metal or no artifact, and the slice is as it was; None where the slices of the
        volume are not those that were corrected (sagittal and coronal ones).
    :param timings: seconds by step (``"segmentation"``, ``"correction"``).
    """

    corrected: CTVolume
    metal_fraction: np.ndarray = field(repr=False)
    change_hu: np.ndarray = field(repr=False)
    method: str
    parameters: Mapping[str, object] = field(repr=False)
    timings: Mapping[str, float] = field(default_factory=dict)
    expected_error_hu: np.ndarray | None = field(default=None, repr=False)
    strength: np.ndarray | None = field(default=None, repr=False)

    def facts(self) -> dict[str, float]:
        """What was done, in numbers: slices, metal in cm3, change outside metal in HU."""
        import numpy as np

        from ..metal.segmentation import metal_volume_mm3

        fraction, change = self.metal_fraction, self.change_hu
        some = change.reshape(len(change), -1).any(axis=1)
        outside = change[some][fraction[some] == 0]
        changed = np.abs(outside[outside != 0])
        return {
            "slices": len(change),
            "slices_changed": int(np.count_nonzero(some)),
            "metal_cm3": metal_volume_mm3(fraction, self.corrected.voxel_mm3) / 1000,
            "mean_change_hu": float(changed.mean()) if changed.size else 0.0,
            "p99_change_hu": float(np.percentile(changed, 99)) if changed.size else 0.0,
        }

    @property
    def left_alone(self) -> np.ndarray:
        """Slices with metal that need no correction, and got none: their indices."""
        import numpy as np

        if self.strength is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.metal_fraction.any(axis=(1, 2)) & (self.strength == 0))

    @property
    def told(self) -> str:
        """One line for whoever waits: how many slices were corrected, and how many need nothing."""
        with_metal = self.metal_fraction.any(axis=(1, 2))
        count, left = int(with_metal.sum()), len(self.left_alone)
        if left:
            return f"{left} of {count} slices need no correction: no streaks beyond noise"
        return f"corrected {count} slices"
