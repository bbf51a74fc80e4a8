"""Tables of compare_methods.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from judgement import LI, NMAR, Demand, Measured, exceptions
from lesions import Detectability
from real_metal import RealMetal

from MetalArtifactReductionLib.evaluation.comparison import (
    UNCORRECTED,
    aligned_table,
    format_table,
    mean_rows,
)

Line = tuple[object, ...]
"""Of the CSV: table, acquisition, group, case, implants, mm², method, measure, value."""


def show(title: str, cells: Sequence[Sequence[str]]) -> None:
    """A table under its title, unless it has no lines."""
    if len(cells) > 1:
        print(f"\n### {title}\n\n{aligned_table(cells, markdown=True)}", flush=True)


def show_measures(found: Sequence[Measured]) -> None:
    """Means by acquisition and group, by acquisition, and of everything."""
    places: dict[str, list[Measured]] = {}
    for one in found:
        places.setdefault(f"{one.acquisition}, {one.group}", []).append(one)
    for one in found:
        places.setdefault(f"{one.acquisition}, all", []).append(one)
    places["everything"] = list(found)
    shown: list[list[Measured]] = []
    for place, here in places.items():
        if here not in shown:  # of one group or acquisition, all is the same again
            shown.append(here)
            rows = mean_rows([one.row for one in here], place)
            print(f"\n### {place}\n\n{format_table(rows, 'markdown')}", flush=True)


def safety_table(found: Sequence[Measured]) -> list[list[str]]:
    """Means over the cases, and the worst case where a mean would hide it."""
    head = ["acquisition", "method", "rim 0-2 mm HU", "lowest", "highest", "2-5 mm HU"]
    head += ["cortical Dice", "kept", "fake metal RMSE HU", "worst", "other slices"]
    cells = [head]
    for acquisition, method in dict.fromkeys((one.acquisition, one.method) for one in found):
        here = [one for one in found if (one.acquisition, one.method) == (acquisition, method)]
        rims = [one.safety.rim_error_hu for one in here]
        fakes = [one.fake for one in here if one.fake is not None]
        line = [acquisition, method]
        line += [f"{value:+.0f}" for value in (np.nanmean(rims), np.nanmin(rims), np.nanmax(rims))]
        line += [f"{np.nanmean([one.safety.next_error_hu for one in here]):+.0f}"]
        line += [f"{np.nanmean([one.safety.cortical_dice for one in here]):.3f}"]
        line += [f"{np.nanmean([one.safety.cortical_kept for one in here]):.3f}"]
        if fakes:
            changes = [fake.rmse_hu for fake in fakes]
            same = all(fake.others_identical for fake in fakes)
            line += [f"{np.mean(changes):.1f}", f"{max(changes):.1f}"]
            line += ["identical" if same else "CHANGED"]
        else:
            line += ["-", "-", "-"]
        cells.append(line)
    return cells


def kinds_table(found: Sequence[Measured], method: str) -> list[list[str]]:
    """Every case of one method beside what it must not be worse than."""
    others = [name for name in (UNCORRECTED, LI, NMAR) if name != method]
    head = ["case", "implants", "acquisition", "mm²"]
    head += ["body HU", *(f"{name} body" for name in others)]
    head += ["near HU", *(f"{name} near" for name in others)]
    cells = [head]
    by_place = {(one.acquisition, one.row.case, one.method): one for one in found}
    for one in found:
        if one.method == method:
            rivals = [by_place[one.acquisition, one.row.case, name] for name in others]
            every = [x.row.metrics for x in (one, *rivals)]
            line = [one.row.case, one.implants, one.acquisition, f"{one.area_mm2:.0f}"]
            line += [f"{m.rmse_body_hu:.1f}" for m in every]
            cells.append([*line, *(f"{m.rmse_near_metal_hu:.1f}" for m in every)])
    return cells


def exceptions_table(found: Sequence[Measured], method: str) -> list[list[str]]:
    """Cases in which the method is worse than the uncorrected image or LI."""
    cells = [["case", "implants", "acquisition", "mm²", "RMSE", "HU", "than", "HU"]]
    for line in exceptions(method, found):
        case = line.case
        place = [case.row.case, case.implants, case.acquisition, f"{case.area_mm2:.0f}"]
        cells.append(
            [*place, line.figure, f"{line.own_hu:.1f}", line.other, f"{line.other_hu:.1f}"]
        )
    return cells


def lesion_table(found: Sequence[Detectability]) -> list[list[str]]:
    """A line a method, columns a contrast."""
    contrasts = list(dict.fromkeys(one.contrast_hu for one in found))
    cells = [["method", *(f"AUC {c:g} HU" for c in contrasts)]]
    cells[0] += [f"gain {c:g} HU (p)" for c in contrasts]
    for method in dict.fromkeys(one.method for one in found):
        own = [one for one in found if one.method == method]
        line = [method, *(f"{one.auc:.3f} ± {one.standard_error:.3f}" for one in own)]
        line += [
            "-" if np.isnan(one.p_gain) else f"{one.gain:+.3f} ({one.p_gain:.2f})" for one in own
        ]
        cells.append(line)
    return cells


def real_table(volumes: Sequence[RealMetal]) -> list[list[str]]:
    """Streaks, how much of them is anatomy, noise and shells of every real volume."""
    head = ["volume", "method", "streaks HU", "of original", "anatomy HU", "noise HU"]
    cells = [[*head, "0-2 mm HU", "2-5 mm HU"]]
    for one in volumes:
        before = one.figures[UNCORRECTED].streak_amplitude_hu
        for method, figures in one.figures.items():
            values = figures.as_dict()
            line = [one.name, method, f"{figures.streak_amplitude_hu:.0f}"]
            line += [f"{figures.streak_amplitude_hu / before:.2f}", f"{one.elsewhere_hu:.0f}"]
            line += [f"{figures.noise_hu:.1f}"]
            cells.append([*line, *(f"{values[f'mean_hu_{s}_mm']:.0f}" for s in ("0_2", "2_5"))])
    return cells


def demand_table(demands: Sequence[tuple[str, Demand]]) -> list[list[str]]:
    """What is asked of the judged method; the first of each pair says on what."""
    lines = [[on, d.what, d.wanted, d.found, "yes" if d.met else "NO"] for on, d in demands]
    return [["on", "demand", "wanted", "found", "met"], *lines]


def csv_lines(
    found: Sequence[Measured],
    lesions: Mapping[str, Sequence[Detectability]],
    real: Sequence[RealMetal],
) -> Iterator[Line]:
    """Every figure of every case, one a line."""
    yield "table", "acquisition", "group", "case", "implants", "mm2", "method", "measure", "value"
    for one in found:
        values: dict[str, float] = one.row.metrics.as_dict() | one.safety.as_dict()
        values["seconds"] = one.row.seconds
        if one.fake is not None:
            values["fake_metal_rmse_hu"] = one.fake.rmse_hu
            values["fake_metal_highest_change_hu"] = one.fake.highest_change_hu
            values["others_identical"] = float(one.fake.others_identical)
        place = (one.acquisition, one.group, one.row.case, one.implants, f"{one.area_mm2:.1f}")
        for measure, value in values.items():
            yield "cases", *place, one.method, measure, f"{value:.6g}"
    for acquisition, of_methods in lesions.items():
        for lesion in of_methods:
            for measure in ("auc", "standard_error", "gain", "p_gain"):
                name = f"{measure} {lesion.contrast_hu:g} HU"
                value = getattr(lesion, measure)
                yield "lesions", acquisition, "", "", "", "", lesion.method, name, f"{value:.6g}"
    for volume in real:
        for method, figures in volume.figures.items():
            for measure, value in figures.as_dict().items():
                yield "real", "", "", volume.name, "", "", method, measure, f"{value:.6g}"
