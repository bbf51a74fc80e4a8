"""``mar voxelise``: the implants of a plan as fractions of the CT's voxels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from MetalArtifactReductionLib.cli import add_command, note, progress_bar
from MetalArtifactReductionLib.errors import printable

from .options import add_ct, add_format, read_ct

_TEXT = (
    "Writes into a new folder fraction-MATERIAL for every material of the plan (share of each "
    "voxel, 0..1, on the CT's grid), metal-fraction, their sum over the metals, and with --labels "
    "which implant takes which voxel."
)


def add_voxelise(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands, "voxelise", _voxelise, "turn a plan into metal fractions on a CT's grid", _TEXT
    )
    add_ct(parser)
    parser.add_argument("plan", type=Path, metavar="PLAN.json", help="of mar place or 3D Slicer")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="new folder")
    parser.add_argument(
        "--labels", action="store_true", help="write labels and labels.json (number -> implant) too"
    )
    add_format(parser)


def _voxelise(options: argparse.Namespace) -> None:
    from MetalArtifactReductionLib.files.leftovers import claimed
    from MetalArtifactReductionLib.files.volumes import write_array_like
    from MetalArtifactReductionLib.files.whole import check_new_folder, new_folder

    from ..cases.plan_files import metal_of, read_plan
    from ..cases.records import suffix_for, write_fractions, write_labels
    from ..voxels.metal import voxelize_metal

    metal = metal_of(read_plan(options.plan))
    check_new_folder(options.output)
    volume = read_ct(options.ct, options.series)
    suffix = suffix_for(volume, options.format)
    with claimed(options.output):
        with progress_bar("voxelising", options.quiet) as progress:
            voxels = voxelize_metal(metal, volume, progress=progress)
        with new_folder(options.output) as folder:
            write_fractions(voxels.fractions, volume, folder, suffix)
            write_array_like(voxels.metal_fraction(), volume, folder / f"metal-fraction{suffix}")
            if options.labels:
                write_labels(voxels.labels, volume, folder / f"labels{suffix}")
                names = dict(enumerate(voxels.volumes_mm3, start=1))
                text = json.dumps(names, indent=2)
                (folder / "labels.json").write_text(text + "\n", encoding="utf-8")
    note(voxels.warnings)
    width = max(map(len, voxels.volumes_mm3))
    for name, mm3 in voxels.volumes_mm3.items():
        print(printable(f"{name:<{width}}  {mm3 / 1000:6.2f} ml"))
