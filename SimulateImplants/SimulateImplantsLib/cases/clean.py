"""The CT that metal is put into has none."""

from __future__ import annotations

from pathlib import Path

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.volume import CTVolume


def require_no_metal(volume: CTVolume, path: Path) -> None:
    """Refuse a CT whose own artifacts would count as truth.

    :raises InputError: says how much metal there is, and where.
    """
    try:
        found = segment_metal(volume)
    except InputError:
        return
    kept = [one.slices for one in found.components if one.kept]
    first, last = min(one[0] for one in kept), max(one[1] for one in kept)
    raise InputError(
        f"{path}: holds {found.volume_mm3 / 1000:.2f} ml of metal already, above "
        f"{found.threshold_hu:.0f} HU in slices {first}-{last}, whose artifacts would count as "
        "truth; give a CT without metal, or use it all the same (--allow-metal)"
    )
