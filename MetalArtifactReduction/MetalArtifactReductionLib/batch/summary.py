"""What became of a batch, as CSV and as a page that needs nothing else: distributions, pictures
before and after, and a line a case; the cases that got worse come first.
"""

from __future__ import annotations

import base64
import csv
import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import one_line
from ..files.tables import cell, escaped
from ..files.whole import written_together
from .charts import before_after_svg, change_svg
from .record import CaseRecord

CSV_NAME, HTML_NAME = "summary.csv", "summary.html"

_HEADINGS = {
    "case": "Case",
    "input": "Input",
    "status": "Status",
    "method": "Method",
    "seconds": "Seconds",
    "slices": "Slices",
    "slices_with_metal": "with metal",
    "metal_cm3": "Metal, cm³",
    "streaks_before_hu": "Streaks before, HU",
    "streaks_after_hu": "after, HU",
    "streaks_change_hu": "change, HU",
    "notes": "Notes",
    "reason": "Why it failed",
}
PICTURE = "before-after.png"
"""In a case's folder: the slice with most metal, as it was and corrected."""

MOST_PICTURES = 24
"""On the page, of the cases that come first."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: left; }
th { position: sticky; top: 0; background: #f4f4f4; }
td.number { text-align: right; white-space: nowrap; }
td.words { max-width: 40rem; }
tr.worse td:first-child::before { content: "\\25B2\\00a0"; color: #d55e00; }
tr.failed td { background: #fdecea; }
tr.waiting td, tr.stopped td { color: #666; }
.scroll { overflow-x: auto; }
.charts, .pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 30rem; }
img { width: 100%; background: #000; }
figcaption { font-size: 13px; }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { margin: 0; font-size: 10px; print-color-adjust: exact; }
  th { position: static; } th, td { padding: .15rem .4rem; }
  .scroll { overflow: visible; } figure { max-width: 31%; }
  figure, tr, svg { break-inside: avoid; } thead { display: table-header-group; }
}
"""


def write_summary(records: Sequence[CaseRecord], folder: Path) -> tuple[Path, Path]:
    """Write ``summary.csv`` and ``summary.html``; earlier ones are replaced.

    :returns: both paths.
    :raises OutputError: they cannot be written.
    """
    paths = folder / CSV_NAME, folder / HTML_NAME
    with written_together(paths, overwrite=True) as places:
        with places[paths[0]].open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file)
            writer.writerow(_HEADINGS)
            writer.writerows([cell(getattr(one, name)) for name in _HEADINGS] for one in records)
        places[paths[1]].write_text(page(records, folder), encoding="utf-8")
    return paths


def page(records: Sequence[CaseRecord], folder: Path | None = None) -> str:
    """The page as HTML, with nothing to load.

    :param folder: of the batch, for the pictures.
    """
    records = sorted(records, key=_worst_first)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in _HEADINGS.values())
    rows = "\n".join(_row(record) for record in records)
    told = html.escape(counted(Counter(record.status for record in records)))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Metal artifact reduction: {told}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Metal artifact reduction</h1>
<p>{told}. Streaks: mean of the highest 5 % minus mean of the lowest 5 % of
the soft tissue within 30 mm of metal, in the same voxels before and after; anatomy has a share in
it. Not a medical device: compare every corrected volume with its original.</p>
{_distributions(records)}
{_pictures(records, folder)}
<h2>Cases</h2>
<p>Those that got worse come first, marked \u25b2. The same numbers are in {CSV_NAME}.</p>
<div class="scroll"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</body>
</html>
"""


def _worst_first(record: CaseRecord) -> tuple[bool, float]:
    change = record.streaks_change_hu
    return change is None, 0.0 if change is None else -change


def _distributions(records: Sequence[CaseRecord]) -> str:
    measured = [
        (one_line(one.case), one.streaks_before_hu, one.streaks_after_hu, one.streaks_change_hu)
        for one in records
        if one.streaks_before_hu is not None
        and one.streaks_after_hu is not None
        and one.streaks_change_hu is not None
    ]
    if not measured:
        return ""
    changes = [change for *_, change in measured]
    worse = sum(change > 0 for change in changes)
    middle = sorted(changes)[len(changes) // 2]
    return (
        f"<h2>Streaks</h2><p>{worse} of {len(changes)} cases got worse; the median change is "
        f'{middle:.0f} HU.</p><div class="charts">'
        f"{before_after_svg([one[:3] for one in measured])}{change_svg(changes)}</div>"
    )


def _pictures(records: Sequence[CaseRecord], folder: Path | None) -> str:
    """Before and after, as far as there are pictures: earlier versions made none."""
    figures: list[str] = []
    for one in records:
        path = (folder or Path()) / one.case / PICTURE
        if folder is None or one.status != "done" or not path.is_file():
            continue
        if len(figures) == MOST_PICTURES:
            break
        image = base64.b64encode(path.read_bytes()).decode("ascii")
        name = escaped(one.case)
        streaks = f"{_shown(one.streaks_before_hu)} to {_shown(one.streaks_after_hu)} HU"
        figures.append(
            f'<figure><img alt="{name} before and after" src="data:image/png;base64,{image}">'
            f"<figcaption>{name}: streaks {streaks}</figcaption></figure>"
        )
    if not figures:
        return ""
    return (
        "<h2>Before and after</h2><p>The slice with most metal, soft-tissue window (L 40, W 400)."
        f'</p><div class="pictures">{"".join(figures)}</div>'
    )


def counted(count: Mapping[str, int]) -> str:
    """How many cases ended how, in words.

    :param count: cases of each status.
    """
    parts = [f"{count.get('done', 0)} of {sum(count.values())} cases done"]
    parts += [f"{count[s]} {s}" for s in ("failed", "stopped", "waiting") if count.get(s)]
    return ", ".join(parts)


def _row(record: CaseRecord) -> str:
    cells = []
    for name in _HEADINGS:
        value = getattr(record, name)
        number = isinstance(value, int | float)
        kind = "number" if number else "words"
        cells.append(f'<td class="{kind}">{html.escape(_shown(value))}</td>')
    kind = "worse" if (record.streaks_change_hu or 0.0) > 0 else record.status
    return f'<tr class="{html.escape(kind)}">{"".join(cells)}</tr>'


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "" if value is None else one_line(str(value))
