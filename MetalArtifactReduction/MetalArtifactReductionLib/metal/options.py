"""What a user may choose about where metal is; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEGMENTATIONS = ("threshold", "kmeans")
"""See :func:`.segmentation.segment_metal`; the default first."""


@dataclass(frozen=True)
class CleanUpParameters:
    """What is left out of the metal, and what the user says of it.

    :param minimal_volume_mm3: smaller specks are noise or the tips of streaks. A clip or a wire,
        blurred by the scanner, is several times that.
    :param include_surface: keep small metal on the skin or outside the body (ECG leads, zips,
        table parts); large parts, like an external fixator, are always kept.
    :param surface_depth_mm: a part whose deepest voxel is nearer to the skin may lie on it ...
    :param surface_air: ... and does if at least this share of its surroundings is air.
    :param surface_volume_mm3: parts from here on are never taken for a lead.
    :param clip_reach_mm: a part that does not reach the certain level still counts as metal (a
        clip in soft tissue) if what is brighter than 500 HU around it ends within this distance.
    :param clip_hu: ... and it is at least this bright; calcifications are darker.
    :param contrast_reach_mm: in a scan whose veins or teeth reach the certain level, thin parts
        within this distance of them are taken for the same.
    :param streak_volume_mm3: smaller parts near (within ``streak_reach_mm``) metal of more than
        30 times their volume are the bright ends of its streaks.
    :param streak_reach_mm: see above.
    :param include: labels of parts that are metal whatever is said of them here.
    :param exclude: labels of parts that are none.
    :param include_near: the same for parts in a sphere: (R, A, S, radius) in mm, in the patient.
    :param exclude_near: spheres whose parts are no metal.
    """

    minimal_volume_mm3: float = 2.0
    include_surface: bool = False
    surface_depth_mm: float = 9.0
    surface_air: float = 0.25
    surface_volume_mm3: float = 300.0
    clip_reach_mm: float = 6.0
    clip_hu: float = 2000.0
    contrast_reach_mm: float = 150.0
    streak_volume_mm3: float = 15.0
    streak_reach_mm: float = 30.0
    include: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()
    include_near: tuple[tuple[float, float, float, float], ...] = ()
    exclude_near: tuple[tuple[float, float, float, float], ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CleanUpParameters:
        """What :func:`dataclasses.asdict` gave, also by way of JSON, which makes lists of tuples.

        :raises TypeError: a parameter that does not exist.
        """
        return cls(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list | tuple) else value
