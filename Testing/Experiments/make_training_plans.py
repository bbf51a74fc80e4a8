"""Implants for training and testing: plans sampled from bones that were clicked once.

Writes ``<volume>-<kind>-<number>.json`` for each public CT into a folder. The plans hold places of
implants in patient coordinates and nothing of the images.

    python Testing/Experiments/make_training_plans.py DATA Testing/Experiments/plans
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from clean_cts import clean_ct

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.placement.patient import Bones, measure_patient
from SimulateImplantsLib.placement.plan import PlacementPlan
from SimulateImplantsLib.placement.procedures import sampled_plan

BONE_HU = 170.0
PLANS = 8

SPINES: dict[str, dict[str, tuple[int, int, int]]] = {
    "tcga_ov_09-2043_abdomen_pelvis": {
        "L5": (54, 302, 258),
        "L4": (67, 289, 258),
        "L3": (78, 291, 258),
        "L2": (89, 297, 258),
        "L1": (100, 304, 258),
        "T12": (110, 313, 258),
        "T11": (119, 318, 258),
    },
    "tcga_coad_AY-4070A_abdomen_pelvis": {
        "L5": (33, 303, 257),
        "L4": (40, 300, 257),
        "L3": (47, 301, 257),
        "L1": (58, 312, 257),
        "T12": (64, 320, 257),
        "T11": (70, 328, 257),
    },
    "acrin_flt_breast_001_abdomen_pelvis": {
        "L5": (34, 313, 245),
        "L4": (43, 307, 245),
        "L3": (51, 308, 245),
        "L2": (60, 309, 245),
        "L1": (68, 313, 245),
        "T12": (76, 317, 245),
        "T11": (83, 321, 245),
    },
    # L5 to L3 are kept for validation; the other plans lie above.
    "pancreatic_ct_cbct_CB001_abdomen": {
        "L1": (68, 280, 256),
        "T12": (79, 285, 256),
        "T11": (88, 291, 256),
    },
    "pancreatic_ct_cbct_CB001_abdomen heldout": {
        "L5": (20, 272, 256),
        "L4": (32, 268, 256),
        "L3": (45, 270, 256),
    },
    "lidc_0314_thoracic_spine": {
        "T12": (40, 352, 252),
        "T11": (67, 362, 252),
        "T10": (92, 367, 252),
        "T9": (117, 370, 252),
    },
    "rider_pilot_1_01_thoracic_spine": {"T12": (20, 285, 247), "T11": (60, 297, 247)},
}
"""Middles of vertebral bodies: (slice, row, column)."""

HIPS: dict[str, dict[str, tuple[int, int, int]]] = {
    "tcga_ov_09-2043_abdomen_pelvis": {
        "right hip": (18, 262, 185),
        "left hip": (21, 282, 346),
    },
    "tcga_coad_AY-4070A_abdomen_pelvis": {
        "right hip": (12, 268, 152),
        "left hip": (12, 272, 350),
    },
}
"""Middles of femoral heads."""


def plans_for(
    volume: CTVolume, places: dict[str, tuple[int, int, int]], kind: str, seed: int
) -> list[PlacementPlan]:
    """Sampled plans; those that hold nothing are left out."""
    clicks = {
        name: tuple((volume.ijk_to_ras @ np.array([col, row, k, 1.0]))[:3])
        for name, (k, row, col) in places.items()
    }
    bones = Bones(clicks=clicks, threshold_hu=BONE_HU)
    patient = measure_patient(volume, bones, "spine" if kind == "spine" else "total-hip")
    plans = []
    for number in range(PLANS):
        chosen = kind if kind == "spine" else ("total-hip", "short-nail")[number % 3 == 2]
        try:
            plans.append(sampled_plan(patient, chosen, seed, number))
        except InputError as error:
            print(f"  plan {number}: {error}")
    return plans


def main() -> None:
    """Write every plan that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the CTs")
    parser.add_argument("output", type=Path, help="folder for the plans")
    options = parser.parse_args()
    jobs = [(n, p, "spine") for n, p in SPINES.items()] + [(n, p, "hip") for n, p in HIPS.items()]
    for seed, (name, places, kind) in enumerate(jobs):
        stem = name.replace(" ", "-")
        if list(options.output.glob(f"{stem}-{kind}-*.json")):
            continue
        volume = clean_ct(options.data, name.split()[0])
        plans = plans_for(volume, places, kind, seed)
        for number, plan in enumerate(plans):
            path = options.output / f"{stem}-{kind}-{number}.json"
            path.write_text(plan.to_json() + "\n", encoding="utf-8")
        print(f"{name}: {len(plans)} plans of the {kind}")


if __name__ == "__main__":
    main()
