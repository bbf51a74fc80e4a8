"""One method against what is asked of it: a line a demand, and the cases where it does harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from lesions import Detectability
from real_metal import RealMetal
from safety import FakeMetal, Safety

from MetalArtifactReductionLib.evaluation.comparison import UNCORRECTED, Row

LI, NMAR = "li", "nmar"
BOUND = "bound"
"""The truth with the metal that was found put back: no rival, but the best that can be."""

BODY_TO_NMAR = 0.5
NEAR_TO_NMAR = 0.6
NEAR_TO_BEST_OTHER = 0.8
RIM_HU = 50.0
FAKE_METAL_HU = 10.0
REAL_STREAKS = 0.5


@dataclass(frozen=True)
class Measured:
    """One case by one method.

    :param acquisition: how the case was scanned.
    :param group: of the case.
    :param implants: kinds of implant, and
    :param area_mm2: size of their largest section.
    :param row: measures against the truth.
    :param safety: at the metal.
    :param fake: what the method does to the scan without metal; None for the uncorrected image.
    """

    acquisition: str
    group: str
    implants: str
    area_mm2: float
    row: Row
    safety: Safety
    fake: FakeMetal | None

    @property
    def method(self) -> str:
        """Label of the method."""
        return self.row.method


@dataclass(frozen=True)
class Demand:
    """What is asked, what was found, and whether that is enough."""

    what: str
    wanted: str
    found: str
    met: bool


def judge(method: str, measured: Sequence[Measured]) -> list[Demand]:
    """Demands on the simulated cases.

    :param method: label of the method that is judged; the labels that begin with it are its own
        variants and no rivals.
    :param measured: every case by every method, NMAR, LI and the uncorrected image among them.
    """
    own = [one for one in measured if one.method == method]
    body = _means(measured, lambda one: one.row.metrics.rmse_body_hu)
    near = _means(measured, lambda one: one.row.metrics.rmse_near_metal_hu)
    rivals = [m for m in near if m not in (UNCORRECTED, BOUND) and not m.startswith(method)]
    best = min(rivals, key=near.__getitem__)
    dice = _means(measured, lambda one: one.safety.cortical_dice)
    rims = [one.safety.rim_error_hu for one in own]
    fakes = [one.fake for one in own if one.fake is not None]
    demands = [
        _at_most("RMSE body / NMAR's", body[method] / body[NMAR], BODY_TO_NMAR),
        _at_most("RMSE near metal / NMAR's", near[method] / near[NMAR], NEAR_TO_NMAR),
        _at_most(f"RMSE near metal / {best}'s", near[method] / near[best], NEAR_TO_BEST_OTHER),
    ]
    for other in (UNCORRECTED, LI):
        count = sum(other == line.other for line in exceptions(method, measured))
        what = f"figures of a case worse than {other}'s"
        demands.append(Demand(what, "none", f"{count} of {2 * len(own)}", count == 0))
    outside = sum(abs(rim) > RIM_HU for rim in rims)
    demands += [
        Demand(
            f"rim of 2 mm more than {RIM_HU:g} HU from the truth",
            "none",
            f"{outside} of {len(rims)} cases, {np.nanmin(rims):+.0f} to {np.nanmax(rims):+.0f} HU",
            outside == 0,
        ),
        Demand(
            "Dice of cortical bone near metal",
            f"at least {max(dice[UNCORRECTED], dice[NMAR]):.3f} (uncorrected, NMAR)",
            f"{dice[method]:.3f}",
            dice[method] >= max(dice[UNCORRECTED], dice[NMAR]),
        ),
    ]
    if fakes:
        worst = max(fake.rmse_hu for fake in fakes)
        changed = sum(not fake.others_identical for fake in fakes)
        demands += [
            Demand(
                "RMSE of a clean scan with fake metal",
                f"below {FAKE_METAL_HU:g} HU",
                f"{worst:.1f} HU in the worst case",
                worst < FAKE_METAL_HU,
            ),
            Demand("slices without metal changed", "none", str(changed), changed == 0),
        ]
    return demands


def judge_detectability(method: str, found: Sequence[Detectability]) -> list[Demand]:
    """Lesions at least as well seen as in the uncorrected image."""
    gains = {one.contrast_hu: one.gain for one in found if one.method == method}
    lowest = min(gains, key=gains.__getitem__)
    mean = float(np.mean(list(gains.values())))
    return [
        Demand(
            "gain of AUC at every contrast",
            "at least 0",
            f"{gains[lowest]:+.3f} at {lowest:g} HU",
            gains[lowest] >= 0,
        ),
        Demand("gain of AUC on average", "above 0", f"{mean:+.3f}", mean > 0),
    ]


def judge_real(method: str, volumes: Iterable[RealMetal]) -> list[Demand]:
    """Streaks of real metal against the original's."""
    demands = []
    for one in volumes:
        before = one.figures[UNCORRECTED].streak_amplitude_hu
        ratio = one.figures[method].streak_amplitude_hu / before
        demands.append(_at_most(f"streaks of the {one.name} / the original's", ratio, REAL_STREAKS))
    return demands


@dataclass(frozen=True)
class Worse:
    """A case in which the method is worse than another."""

    case: Measured
    figure: str
    own_hu: float
    other: str
    other_hu: float


def exceptions(method: str, measured: Sequence[Measured]) -> list[Worse]:
    """Where the method has the larger error than the uncorrected image or linear interpolation."""
    by_place = {(one.acquisition, one.row.case, one.method): one for one in measured}
    out = []
    for one in measured:
        if one.method != method:
            continue
        for other in (UNCORRECTED, LI):
            rival = by_place[one.acquisition, one.row.case, other]
            for figure, name in (("body", "rmse_body_hu"), ("near metal", "rmse_near_metal_hu")):
                values = [float(getattr(x.row.metrics, name)) for x in (one, rival)]
                if values[0] > values[1]:
                    out.append(Worse(one, figure, values[0], other, values[1]))
    return out


def _means(
    measured: Iterable[Measured], figure: Callable[[Measured], float]
) -> Mapping[str, float]:
    """Mean over the cases by method; what is NaN does not count."""
    values: dict[str, list[float]] = {}
    for one in measured:
        values.setdefault(one.method, []).append(figure(one))
    return {method: float(np.nanmean(of_method)) for method, of_method in values.items()}


def _at_most(what: str, ratio: float, limit: float) -> Demand:
    return Demand(what, f"at most {limit:g}", f"{ratio:.2f}", ratio <= limit)
