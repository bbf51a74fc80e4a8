"""Pack clean slices and voxelised implants for training the image prior.

    python Testing/Experiments/pack_training_slices.py DATA OUTPUT.npz [--held-out]

DATA holds the public CTs (README.md beside this file says where they come from). Thin slices are
averaged to 2 mm and more. With ``--held-out`` a few slices of the CT that is kept for validation
are packed instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from clean_cts import clean_ct

from MetalArtifactReductionLib.training.slice_bank import (
    CleanSlices,
    averaged,
    fitted_metal,
    to_steps,
    write_bank,
)
from SimulateImplantsLib.cases.plan_files import metal_of, read_plan
from SimulateImplantsLib.voxels.metal import slices_of, slices_with, voxelize_metal

PLANS = Path(__file__).parent / "plans"

TRAINING = (
    ("tcga_ov_09-2043_abdomen_pelvis", 0, 160, 1),
    ("acrin_flt_breast_001_abdomen_pelvis", 0, 99, 1),
    ("pancreatic_ct_cbct_CB001_abdomen", 56, 134, 1),
    ("lidc_0314_thoracic_spine", 0, 140, 3),
    ("rider_pilot_1_01_thoracic_spine", 0, 95, 5),
)
"""CT, first slice, end, slices averaged to one."""

HELD_OUT = (
    ("tcga_coad_AY-4070A_abdomen_pelvis", 9, 19, 1),
    ("tcga_coad_AY-4070A_abdomen_pelvis", 38, 48, 1),
)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    volumes, metal = [], []
    for name, first, end, count in HELD_OUT if options.held_out else TRAINING:
        volume = clean_ct(options.data, name)
        if len(volume.hu) == (end - first) // count:  # as it may be passed on: averaged already
            first, end, count = 0, len(volume.hu), 1
        steps = to_steps(averaged(volume.hu[first:end], count))
        index = len(volumes)
        volumes.append(CleanSlices(name, steps, float(volume.spacing_mm[1])))
        for file in sorted(PLANS.glob(f"{name}-*.json")):
            if "-heldout-" in file.name:
                continue
            plan = metal_of(read_plan(file))
            low, slices = slices_with(plan, volume)
            found = voxelize_metal(plan, slices_of(volume, low, slices)).fractions
            whole = np.zeros((len(found), *volume.hu.shape), np.float32)
            for place, fraction in zip(whole, found.values(), strict=True):
                place[low : low + slices] = fraction
            shares = [averaged(one[first:end], count) for one in whole]
            fitted = fitted_metal(index, dict(zip(found, shares, strict=True)))
            if fitted is None:
                continue
            metal.append(fitted)
            print(f"{file.stem}: {fitted.shares.shape}", flush=True)
    write_bank(options.output, volumes, metal, overwrite=True)
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
