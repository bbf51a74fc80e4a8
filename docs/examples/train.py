"""Train on own CTs: python docs/examples/train.py CLEAN-CTS FOLDER [STEPS].

CLEAN-CTS is a folder of metal-free CTs; metal is simulated into their slices while training.
What comes out corrects like any method:
mar correct ct.nii.gz corrected.nii.gz --method FOLDER/weights.safetensors
"""

import sys
from pathlib import Path

from MetalArtifactReductionLib.files.volumes import FORMATS, suffix_of
from MetalArtifactReductionLib.methods.registry import make_task
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.trainer import train

OPTIONS = {
    "name": "mine",
    "metal": "simple",  # discs of titanium; "realistic" takes plans of `mar place`
    "start": "nmar",  # the network adds to NMAR's filling
    "crop": [256, 256],  # views and bins that it sees at once
}


def main(clean: Path, folder: Path, steps: int = 2000, **changes: object) -> None:
    """Train a U-Net; the folder gets weights.safetensors, curve.csv and curve.png."""
    volumes = sorted(one.name for one in clean.iterdir() if suffix_of(one) in FORMATS)
    task = make_task("sinogram-unet", {**OPTIONS, "volumes": volumes, **changes}, clean, seed=1)

    training = TrainerParameters(steps=steps, batch_size=4, schedule="cosine", seed=1)
    result = train(task, training, folder, progress=lambda done, told: print(f"{done:.0%} {told}"))
    print(f"{result.step} steps in {result.seconds:.0f} s: {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
