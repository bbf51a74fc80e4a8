"""``mar segment``: the metal of a CT as a mask."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .messages import progress_bar
from .options import (
    add_command,
    add_input,
    add_json,
    add_metal_options,
    clean_up_of,
    metal_table,
    read_input,
)


def add_segment(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "segment",
        _segment,
        "find the metal in a CT and write it as a mask",
        "The threshold is proposed from the bright tail of the data (or by K-means, k = 3); 3-D "
        "clean-up drops specks, teeth, contrast medium and leads on the skin. Each part is told "
        "with the reason, and can be overruled. The mask can be edited anywhere and given to "
        "'mar correct --mask'.",
    )
    add_input(parser)
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="mask to write, .nii.gz ...")
    add_metal_options(parser)
    parser.add_argument(
        "--fraction", action="store_true", help="write the share of metal, 0..1, not a mask"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    add_json(parser)


def _segment(options: argparse.Namespace) -> None:
    from ..files.leftovers import claimed
    from ..files.volumes import check_output, write_array_like
    from ..metal import segment_metal
    from .records import MetalRecord, SegmentRecord, printed

    volume = read_input(options)
    check_output(volume, options.output, overwrite=options.force)
    with claimed(options.output):
        with progress_bar("segmenting", options.quiet) as progress:
            found = segment_metal(
                volume,
                options.segmentation,
                threshold_hu=options.threshold,
                clean_up=clean_up_of(options),
                progress=progress,
            )
        array = found.fraction if options.fraction else found.mask
        write_array_like(array, volume, options.output, overwrite=options.force)
    if options.json:
        metal = MetalRecord.of(volume, found.fraction, found)
        print(printed(SegmentRecord(str(options.input), str(options.output), metal)))
    elif not options.quiet:
        print(metal_table(found))
