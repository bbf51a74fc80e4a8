"""``mar evaluate``: volumes measured side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .messages import progress_bar
from .options import add_command, add_dask, add_json


def add_evaluate(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "measure a volume against the truth, or without one",
        "With --reference: RMSE in HU over the body and near metal, PSNR, SSIM, streaks, noise, "
        "edges, metal and bone volume and Dice (the AAPM CT-MAR measures). Without: streaks, noise "
        "and mean HU around the metal, which need no truth.",
    )
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="VOLUME", help="volumes to measure, same grid"
    )
    parser.add_argument("--reference", type=Path, help="the same scan without metal or artifacts")
    parser.add_argument(
        "--mask", type=Path, help="metal mask; segmented from the first volume if absent"
    )
    parser.add_argument("--csv", type=Path, help="write the table as CSV too")
    parser.add_argument(
        "--html", type=Path, help="write a page with pictures too, the worst volume first"
    )
    parser.add_argument("--force", action="store_true", help="replace existing outputs")
    add_dask(parser)
    add_json(parser)


def _evaluate(options: argparse.Namespace) -> None:
    from ..evaluation.command import evaluate_files
    from ..files.leftovers import claimed
    from ..jobs.dask import Dask
    from .records import EvaluateRecord, printed

    with (
        claimed(*{path for path in (options.csv, options.html) if path is not None}),
        progress_bar("measuring", options.quiet) as progress,
    ):
        found = evaluate_files(
            options.inputs,
            reference=options.reference,
            mask=options.mask,
            csv=options.csv,
            html=options.html,
            overwrite=options.force,
            execute=Dask(options.dask) if options.dask else None,
            progress=progress,
        )
    if options.json:
        reference = None if options.reference is None else str(options.reference)
        figures: list[dict[str, float | None]] = [{**one} for one in found.figures]
        print(printed(EvaluateRecord([str(one) for one in options.inputs], reference, figures)))
    else:
        print(found)
