"""One correction as one HTML file that needs nothing else: figures, pictures, what was done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from ..files.pictures import WINDOWS_HU, PatientView, frame_around_body, scale_bar_mm
from ..files.tables import escaped
from ..files.whole import check_path_free, written_whole
from ..volume import CTVolume
from .before_after import Measure, compare_before_after
from .line_profile import Line, line_across_metal, profile_along
from .report_pictures import (
    LEAST_CHANGE_HU,
    LEAST_ERROR_HU,
    change_picture,
    colour_limit_hu,
    curves_svg,
    data_uri,
    error_picture,
    grey_picture,
    png_bytes,
)

MOST_SLICES = 3

NOTE = (
    "Not a medical device. A corrected image is an estimate: what metal hid is inferred from its "
    "surroundings, and structures next to metal may be missing or invented. Compare with the "
    "original and the change map."
)
"""What every result has to be read with."""


@dataclass(frozen=True)
class ReportCase:
    """What a report is about.

    :param title: for the heading, as the user named the volume.
    :param original: the CT.
    :param corrected_hu: ``(slices, rows, cols)``, HU.
    :param metal_fraction: 0..1, same shape.
    :param method: name of the method.
    :param facts: label -> value, what was done: device, weights, date, ...
    :param parameters: everything needed to repeat the correction.
    :param measures: figures; measured if None.
    :param line: where the HU curves run; across the metal if None.
    :param expected_error_hu: absolute, same shape, of methods that know it.
    :param metal_parts: rows of the metal's parts: label, cm³, slices, remark, ...
    """

    title: str
    original: CTVolume
    corrected_hu: np.ndarray
    metal_fraction: np.ndarray
    method: str
    facts: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    measures: Sequence[Measure] | None = None
    line: Line | None = None
    metal_parts: Sequence[Mapping[str, str]] = ()
    expected_error_hu: np.ndarray | None = None


def write_report(case: ReportCase, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the report whole or not at all.

    :raises OutputError: see :func:`..files.whole.check_path_free`.
    """
    path = Path(path)
    check_path_free(path, overwrite=overwrite)
    text = report_html(case)
    with written_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def report_html(case: ReportCase) -> str:
    """The report as HTML: pictures inside, no address of anything outside, no patient identity
    beyond what ``case.title`` says.
    """
    measures = case.measures
    if measures is None:
        measures = compare_before_after(
            case.original,
            case.corrected_hu,
            case.metal_fraction,
            expected_error_hu=case.expected_error_hu,
        )
    body = [
        f"<h1>{escaped(case.title)}: metal artifact reduction</h1>",
        f'<p class="note">{escaped(NOTE)}</p>',
        html_table(("", ""), [(name, value) for name, value in case.facts.items()]),
        "<h2>Before and after</h2>",
        measureshtml_table(measures),
        "<p>Both images are measured in the same regions, in the slices that hold metal. The "
        "streak amplitude is the mean of the brightest 5 % minus the mean of the darkest 5 % of "
        "the soft tissue; where fat and muscle meet, anatomy alone gives 150 to 250 HU.</p>",
        "<h2>Slices</h2>",
        *_slices(case),
        "<h2>HU along a line across the metal</h2>",
        _profile(case),
    ]
    if case.metal_parts:
        head = list(case.metal_parts[0])
        rows = [[row.get(name, "") for name in head] for row in case.metal_parts]
        body += ["<h2>Metal</h2>", html_table(head, rows)]
    if case.parameters:
        shown = json.dumps(case.parameters, indent=2, sort_keys=True, default=str)
        body += ["<h2>Parameters</h2>", f"<pre>{escaped(shown)}</pre>"]
    return html_page(case.title, "\n".join(body))


def measureshtml_table(measures: Sequence[Measure]) -> str:
    """The figures as an HTML table."""
    rows = [
        (one.title, one.unit, figure_text(one.before, one.unit), figure_text(one.after, one.unit))
        for one in measures
    ]
    return html_table(("Measure", "Unit", "Before", "After"), rows)


def figure_text(value: float, unit: str) -> str:
    """A figure as a reader wants it; a hyphen where nothing was measured."""
    if not np.isfinite(value):
        return "-"
    return f"{value:.1f}" if unit == "cm³" or abs(value) < 10 else f"{value:.0f}"


def slices_to_show(metal_fraction: np.ndarray, count: int = MOST_SLICES) -> list[int]:
    """The slice with most metal, and others spread over the metal, from the first to the last."""
    amount = metal_fraction.reshape(len(metal_fraction), -1).sum(axis=1, dtype=np.float64)
    kept = np.flatnonzero(amount)
    if kept.size <= count:
        return [int(index) for index in kept]
    chosen = {int(np.argmax(amount))}
    for share in np.linspace(0.2, 0.8, count):
        if len(chosen) < count:
            chosen.add(int(kept[round(share * (kept.size - 1))]))
    return sorted(chosen)


def _slices(case: ReportCase) -> list[str]:
    volume, turn = case.original.anatomical()
    view = PatientView.of(volume.ijk_to_ras)
    arrays = {
        "original": volume.hu,
        "corrected": turn(case.corrected_hu),
        "change": turn(case.corrected_hu - case.original.hu),
    }
    if case.expected_error_hu is not None:
        arrays["error"] = turn(case.expected_error_hu)
    limit = colour_limit_hu(arrays["change"], LEAST_CHANGE_HU)
    highest = colour_limit_hu(arrays["error"], LEAST_ERROR_HU) if "error" in arrays else 0.0
    out = []
    for index in slices_to_show(turn(case.metal_fraction)):
        shown = {name: view(array[index]) for name, array in arrays.items()}
        number = int(turn.slice_numbers(np.array(index), len(volume.hu)))
        figures = _figures(shown, view, number, limit, highest)
        out.append(f'<h3>Slice {number}</h3><div class="row">{"".join(figures)}</div>')
    return out


def _figures(
    shown: Mapping[str, np.ndarray], view: PatientView, number: int, limit: float, highest: float
) -> list[str]:
    """Original, corrected and a map, in two windows.

    :param shown: slices as they are shown.
    """
    frame = frame_around_body(shown["original"])
    out = []
    for window in ("soft tissue", "bone"):
        level, width = WINDOWS_HU[window]
        pictures = {
            f"{name}, {window} (L {level:g}, W {width:g})": grey_picture(
                shown[name][frame], level, width, view.pixel_mm
            )
            for name in ("original", "corrected")
        }
        grey = list(pictures.values())
        if window == "soft tissue":
            pictures[f"change, blue to red: ±{limit:.0f} HU"] = change_picture(
                shown["change"][frame], limit, view.pixel_mm, grey[0]
            )
        elif "error" in shown:
            pictures[f"expected error, strongest colour: {highest:.0f} HU"] = error_picture(
                shown["error"][frame], highest, view.pixel_mm, grey[1]
            )
        width_mm = (frame[1].stop - frame[1].start) * view.pixel_mm[1]
        out += [
            _figure(picture, caption, number, view, width_mm)
            for caption, picture in pictures.items()
        ]
    return out


def _figure(
    picture: np.ndarray, caption: str, number: int, view: PatientView, width_mm: float
) -> str:
    """A picture with the patient's sides and a scale bar."""
    name = caption.partition(",")[0]
    bar = scale_bar_mm(width_mm)
    marks = "".join(
        f'<span class="{place}">{letter}</span>'
        for place, letter in zip(("left", "top", "right", "bottom"), view.letters, strict=True)
    )
    return (
        f'<figure><div class="picture"><img alt="{name}, slice {number}" '
        f'src="{data_uri(png_bytes(picture))}">{marks}'
        f'<span class="bar" style="width:{100 * bar / width_mm:.1f}%">{bar:g} mm</span></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _profile(case: ReportCase) -> str:
    line = case.line or line_across_metal(case.original, case.metal_fraction)
    curves = {
        name: profile_along(volume, line)
        for name, volume in (
            ("original", case.original),
            ("corrected", case.original.with_hu(case.corrected_hu)),
        )
    }
    ends = " to ".join("({:.1f}, {:.1f}, {:.1f})".format(*end) for end in (line.start, line.end))
    svg = curves_svg(curves, x_title="mm from the start of the line", y_title="HU")
    return f"{svg}<p>From {ends} mm (R, A, S).</p>"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text as a table, without a head where ``head`` is empty."""
    top = "".join(f"<th>{escaped(name)}</th>" for name in head) if any(head) else ""
    lines = [
        "<tr>" + "".join(f"<td>{escaped(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{''.join(lines)}</table>" if rows else ""


def html_page(title: str, body: str) -> str:
    """A page with its style, and nothing to load."""
    return _PAGE.format(title=escaped(title), body=body)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}: metal artifact reduction</title>
<style>
body {{ font: 15px/1.45 sans-serif; margin: 1.5em auto; max-width: 1150px; color: #222; }}
.note {{ border-left: 4px solid #d6604d; padding: .4em .8em; background: #fbeeeb; }}
table {{ border-collapse: collapse; margin: .6em 0; }}
td, th {{ padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left; }}
.row {{ display: flex; flex-wrap: wrap; gap: 8px; }}
figure {{ margin: 0; width: 32%; }}
img {{ width: 100%; background: #000; image-rendering: auto; display: block; }}
.picture {{ position: relative; }}
.picture span {{ position: absolute; color: #fff; font-size: 12px; text-shadow: 0 0 2px #000; }}
.left {{ left: 4px; top: 45%; }} .right {{ right: 4px; top: 45%; }}
.top {{ top: 2px; left: 49%; }} .bottom {{ bottom: 2px; left: 49%; }}
.picture .bar {{ right: 5%; bottom: 3%; border-bottom: 2px solid #fff; text-align: center; }}
figcaption {{ font-size: 12px; color: #555; }}
pre {{ background: #f4f4f4; padding: .8em; overflow-x: auto; font-size: 12px; }}
@media print {{
  body {{ margin: 0; font-size: 11px; print-color-adjust: exact; }}
  figure, tr, svg, .note {{ break-inside: avoid; }} h2, h3 {{ break-after: avoid; }}
  pre {{ white-space: pre-wrap; }}
}}
</style></head><body>
{body}
</body></html>
"""
