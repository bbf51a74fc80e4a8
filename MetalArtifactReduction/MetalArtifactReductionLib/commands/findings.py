"""What is unusual about a volume, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .records import Finding

if TYPE_CHECKING:
    from ..volume import CTVolume

COARSE_MM = 1.5
"""Pixels above are wider than most streaks."""

_NOTHING = "nothing to do"

_REMEDIES = {
    "files left aside": "nothing to do if they are no slices of this series; listed below",
    "duplicate slices": _NOTHING,
    "uneven slice spacing": "write DICOM (an output that ends in /), or resample the series",
    "stray by up to": "nothing to do below a pixel; else keep the files of one acquisition",
    "orientation differs": "nothing to do below a degree; else keep the files of one acquisition",
    "lossy compression": "export without it if the archive can; look at the metal first",
    "without positions of their own": "check the distance of the slices in a viewer",
    "gantry tilt": "write DICOM, NRRD or MetaImage: NIfTI cannot hold it",
    "air lies at about": "give the threshold of the metal by hand, and look at the metal first",
    "was added to the values": _NOTHING,
    "sform": "check left and right in a viewer; convert the series again if they are wrong",
}
"""A word of a reader's note -> what helps; notes that name their remedy are not here."""


def findings(volume: CTVolume) -> Iterator[Finding]:
    """Of reading, values and geometry."""
    from ..files.checks import clipped_at, stored_as
    from ..metal.threshold import propose_threshold

    for told in volume.source.warnings if volume.source is not None else ():
        remedy = next((text for word, text in _REMEDIES.items() if word in told), "")
        what, _, own = told.partition("; ")
        yield Finding(told, remedy) if remedy else Finding(what, own or _NOTHING)
    clipped = clipped_at(volume.hu)
    if clipped is not None:
        yield Finding(
            f"clipped at {clipped:g} HU: metal is brighter than the volume can say",
            "an extended CT scale, if the scanner offers it; the correction works without",
        )
    if (plane := stored_as(volume)) != "axial":
        yield Finding(
            f"stored in {plane} slices",
            f"{_NOTHING}: corrected along the axial ones",
        )
    if max(volume.spacing_mm[1:]) > COARSE_MM:
        yield Finding(
            f"pixels of {max(volume.spacing_mm[1:]):.2g} mm",
            "take the original series, if this one was resampled",
        )
    if len(volume.hu) == 1:
        yield Finding("a single slice", "give the series: neighbours tell metal from streaks")
    highest, threshold = float(volume.hu.max()), propose_threshold(volume.hu)
    if highest < threshold:
        yield Finding(
            f"nothing as bright as metal: {highest:.0f} HU at most, metal from {threshold:.0f} HU",
            "nothing to correct; if there is metal, give its threshold or a mask",
        )
