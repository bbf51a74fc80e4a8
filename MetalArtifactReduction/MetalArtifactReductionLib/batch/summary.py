"""The table of a batch: one line a case, as CSV and as a page that needs nothing else."""

from __future__ import annotations

import csv
import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from ..errors import printable
from ..files.tables import cell
from ..files.whole import written_together
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
    "notes": "Notes",
    "reason": "Why it failed",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: left; }
th { position: sticky; top: 0; background: #f4f4f4; }
td.number { text-align: right; white-space: nowrap; }
td.words { max-width: 40rem; }
tr.failed td { background: #fdecea; }
tr.waiting td, tr.stopped td { color: #777; }
.scroll { overflow-x: auto; }
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
            names = [entry.name for entry in fields(CaseRecord)]
            writer.writerow(names)
            writer.writerows([cell(getattr(one, name)) for name in names] for one in records)
        places[paths[1]].write_text(page(records), encoding="utf-8")
    return paths


def page(records: Sequence[CaseRecord]) -> str:
    """The table as HTML, with nothing to load."""
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
<div class="scroll"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</body>
</html>
"""


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
    return f'<tr class="{html.escape(record.status)}">{"".join(cells)}</tr>'


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "" if value is None else printable(str(value))
