"""The page of a batch: one file, the cases that got worse first, and the numbers of the CSV."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from MetalArtifactReductionLib.batch.record import CaseRecord
from MetalArtifactReductionLib.batch.summary import MOST_PICTURES, PICTURE, page, write_summary
from MetalArtifactReductionLib.evaluation.report_pictures import COLORS, png_bytes


def record(name: str, before: float | None, after: float | None) -> CaseRecord:
    status = "failed" if before is None else "done"
    return CaseRecord(
        name, f"{name}.nii", status, "nmar", streaks_before_hu=before, streaks_after_hu=after
    )


RECORDS = [
    record("better", 400.0, 150.0),
    record("broken", None, None),
    record("worst", 100.0, 260.0),
    record("worse <b>", 100.0, 101.0),
    record("same", 90.0, 90.0),
]


def test_cases_that_got_worse_come_first_and_failures_last() -> None:
    rows = re.findall(r'<tr class="(\w+)"><td class="words">(.*?)</td>', page(RECORDS))
    assert [name for _, name in rows] == ["worst", "worse &lt;b&gt;", "same", "better", "broken"]
    assert [kind for kind, _ in rows] == ["worse", "worse", "done", "done", "failed"]


def test_worse_differs_in_shape_and_every_case_is_drawn_once() -> None:
    text = page(RECORDS)
    assert (text.count("<polygon"), text.count("<circle")) == (2, 2)
    assert "2 of 4 cases got worse" in text
    counts = [int(n) for n in re.findall(r"HU: (\d+) cases</title></rect>", text)]
    assert sum(counts) == 4


def test_the_page_needs_nothing_else_and_prints(tmp_path: Path) -> None:
    import numpy as np

    for number in range(MOST_PICTURES + 1):
        (tmp_path / f"c{number}").mkdir()
        (tmp_path / f"c{number}" / PICTURE).write_bytes(png_bytes(np.zeros((4, 8), np.uint8)))
    records = [record(f"c{number}", 100.0, 50.0 + number) for number in range(MOST_PICTURES + 1)]
    text = page(records, tmp_path)
    assert text.count("data:image/png;base64,") == MOST_PICTURES
    assert "c0 before and after" not in text  # the best one of too many
    assert set(re.findall(r"https?://[^\s\"<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "@media print" in text


def test_the_csv_has_the_numbers_of_the_page(tmp_path: Path) -> None:
    table, html = write_summary(RECORDS, tmp_path)
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == [one.case for one in RECORDS]
    text = html.read_text(encoding="utf-8")
    for row in rows:
        if row["streaks_change_hu"]:
            assert f">{float(row['streaks_change_hu']):.1f}<" in text


def test_nothing_measured_draws_nothing() -> None:
    assert "<svg" not in page([record("broken", None, None)])


@pytest.mark.parametrize("seen", ["protan", "deutan"])
def test_colours_differ_for_readers_who_see_two_of_three(seen: str) -> None:
    """Brettel, Vienot and Mollon (1997) in the linear form of Machado et al. (2009), severity 1."""
    import numpy as np
    from skimage.color import deltaE_ciede2000, rgb2lab

    matrix = {
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    }[seen]
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLORS]) / 255
    lab = rgb2lab(np.clip(rgb @ np.array(matrix).T, 0, 1))
    apart = [deltaE_ciede2000(lab[i], lab[j]) for i in range(4) for j in range(i)]
    assert min(apart) > 10  # 2 is the least that anybody sees
