"""Evaluate a cohort: python docs/examples/evaluate_cohort.py CTS FOLDER [METHOD ...].

CTS is a folder of CTs with metal. Nobody knows their truth, so the streaks in the soft tissue near
the metal are measured before and after, in the same voxels. For a report with pictures of every
case: mar correct CTS FOLDER
"""

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure

from MetalArtifactReductionLib import correct_volume, read_volume, segment_metal
from MetalArtifactReductionLib.evaluation.before_after import compare_before_after
from MetalArtifactReductionLib.files.volumes import FORMATS, suffix_of

STREAKS = "streak_amplitude_hu"


def main(cohort: Path, folder: Path, *methods: str) -> None:
    """Write cohort.csv, a row for each case and method, and evaluate_cohort.png."""
    folder.mkdir()
    rows = []
    for path in sorted(one for one in cohort.iterdir() if suffix_of(one) in FORMATS):
        volume = read_volume(path)
        metal = segment_metal(volume).fraction
        for method in methods or ("li", "nmar"):
            corrected = correct_volume(volume, metal, method, device="auto").corrected
            measures = compare_before_after(volume, corrected.hu, metal)
            streaks = next(one for one in measures if one.key == STREAKS)
            rows.append([path.name, method, streaks.before, streaks.after])
            print(f"{path.name} {method}: {streaks.before:.0f} -> {streaks.after:.0f} HU")

    with (folder / "cohort.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["case", "method", "before_hu", "after_hu"], *rows])

    used = list(dict.fromkeys(method for _, method, _, _ in rows))
    figure = Figure(figsize=(2 + 2 * len(used), 4), layout="constrained")
    columns = figure.subplots(1, len(used), sharey=True, squeeze=False)[0]
    for axes, method in zip(columns, used, strict=True):
        for before, after in (row[2:] for row in rows if row[1] == method):
            axes.plot([0, 1], [before, after], "C1s--" if after > before else "C0o-")
        axes.set(title=method, xticks=[0, 1], xticklabels=["before", "after"], xlim=(-0.3, 1.3))
    figure.supylabel("streaks near metal, HU")
    figure.savefig(folder / "evaluate_cohort.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
