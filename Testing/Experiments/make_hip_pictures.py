"""Before and after of the trace CNN in hips: the real nail, and a simulated one with its truth.

    python Testing/Experiments/make_hip_pictures.py CTS NAIL-TRAINING COAD-TRAINING OUTPUT

The trainings are folders of ``mar train-patient`` on the CT with the nail and of
``python Testing/Experiments/hip_experiment.py 1`` (``linear-coad``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.evaluation.metrics import evaluate
from MetalArtifactReductionLib.files.pictures import comparison_picture
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.methods.trace_cnn.data import NAIL, read_hips
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.training.record import WEIGHTS
from MetalArtifactReductionLib.volume import CTVolume

NAIL_SLICE, COAD_SLICE = 8, 10
COAD_FRAME = slice(190, 390), slice(20, 240)
"""Rows and columns around the metal."""
METHODS = {"linear interpolation": "li", "NMAR": "nmar", "trace CNN": "trace-cnn"}


def corrections(volume: CTVolume, metal: np.ndarray, patient: Path) -> dict[str, np.ndarray]:
    """Every method's volume, and the uncorrected one."""
    images = {"uncorrected": volume.hu}
    for title, method in {**METHODS, "trained on the patient": str(patient / WEIGHTS)}.items():
        images[title] = correct_volume(volume, metal, method).corrected.hu
    return images


def nail(data: Path, training: Path, output: Path) -> None:
    """The real nail: nobody knows the truth."""
    volume = read_volume(data / NAIL)
    metal = segment_metal(volume, "kmeans").fraction
    only = np.zeros_like(metal)
    only[NAIL_SLICE] = metal[NAIL_SLICE]
    images = corrections(volume, only, training)
    comparison_picture(
        {title: hu[NAIL_SLICE] for title, hu in images.items()},
        output / "hip-cnn-nail.png",
        ijk_to_ras=volume.ijk_to_ras,
        overwrite=True,
    )


def coad(data: Path, training: Path, output: Path) -> None:
    """The same nail of cobalt-chromium in a CT that the shipped weights have not seen."""
    hip = read_hips(["coad"], data)[0]
    metal = (hip.metal_fraction > 0.5).astype(np.float32)
    scan = simulate_volume(hip.volume, {"CoCrMo": metal}, slices=[COAD_SLICE])
    assert scan.reference is not None
    truth = scan.reference.hu[COAD_SLICE]
    images, captions = {"truth": truth}, {}
    for title, hu in corrections(scan.corrupted, scan.metal_fraction, training).items():
        images[title] = hu[COAD_SLICE]
        found = evaluate(hu[COAD_SLICE], truth, metal[COAD_SLICE])
        captions[title] = (
            f"RMSE {found.rmse_body_hu:.1f}, near metal {found.rmse_near_metal_hu:.0f}"
        )
        print(f"{title:24} {captions[title]}")
    comparison_picture(
        {title: hu[COAD_FRAME] for title, hu in images.items()},
        output / "hip-cnn-coad.png",
        ijk_to_ras=hip.volume.ijk_to_ras,
        captions=captions,
        overwrite=True,
    )


def in_grey(path: Path) -> None:
    """The same picture in a third of the bytes."""
    from PIL import Image

    with Image.open(path) as opened:
        grey = opened.convert("L").resize((opened.width * 4 // 5, opened.height * 4 // 5))
    grey.save(path, optimize=True)


if __name__ == "__main__":
    folder, nail_training, coad_training, pictures = map(Path, sys.argv[1:])
    nail(folder, nail_training, pictures)
    coad(folder, coad_training, pictures)
    for picture in pictures.glob("hip-cnn-*.png"):
        in_grey(picture)
