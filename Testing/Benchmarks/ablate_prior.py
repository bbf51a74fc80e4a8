"""What to do with the image that the prior's network proposes, and how true its expected error is.

    python Testing/Benchmarks/ablate_prior.py DATA [--cache FOLDER] [--plans 3] [--method prior]
        [--inputs]

The first slice with metal of every held-out case (see compare_methods.py), corrected with the metal
that is found in the image. No metal is put back, so that only the proposal counts. First table:
mean RMSE in HU over the body / within 20 pixels of metal, of the proposal and of ways to hold it to
the data, to average it, or to repeat it. Second table: expected and true mean absolute error within
20 pixels of metal, and their correlation over its voxels. ``--inputs``: the first table is of the
proposal with one input after another switched off, without training anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from held_out_cases import HeldOut, held_out_cases

from MetalArtifactReductionLib.evaluation.comparison import aligned_table
from MetalArtifactReductionLib.evaluation.metrics import NEAR_METAL_PIXELS
from MetalArtifactReductionLib.metal import metal_trace, segment_metal
from MetalArtifactReductionLib.metal.body import body_mask, within_pixels
from MetalArtifactReductionLib.methods import create_method
from MetalArtifactReductionLib.methods.base import InpaintingContext
from MetalArtifactReductionLib.methods.image_prior.channels import CHANNELS, relative
from MetalArtifactReductionLib.methods.image_prior.inpainter import (
    ImagePriorMethod,
    matched_to_edges,
)
from MetalArtifactReductionLib.tomography import ImageGrid, Reprojection
from MetalArtifactReductionLib.tomography.attenuation import MU_WATER_PER_MM, hu_to_mu

NMAR_CHANNEL = 4
Turn = Callable[[torch.Tensor], torch.Tensor]
MIRRORED: tuple[Turn, ...] = (
    lambda x: x.flip(-1),
    lambda x: x.flip(-2),
    lambda x: x.flip((-2, -1)),
    lambda x: x.transpose(-2, -1),
)
"""Each is its own inverse."""


SWITCHED_OFF: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "neighbouring slices (the slice itself)": lambda x: x[:, [1, 1, 1, *range(3, CHANNELS)]],
    "uncorrected slice (NMAR)": lambda x: x[:, [0, 4, 2, *range(3, CHANNELS)]],
    "linear interpolation (NMAR)": lambda x: x[:, [*range(3), 4, *range(4, CHANNELS)]],
    "NMAR (linear interpolation)": lambda x: x[:, [*range(4), 3, *range(5, CHANNELS)]],
} | {
    f"{name} (none)": lambda x, k=k: x.index_fill(1, torch.tensor([k]), 0.0)
    for k, name in enumerate(("metal", "missing data", "L^2", "L p"), start=5)
}
"""Input (what it is replaced by); the mixture that the network corrects stays as it is."""


def variants(
    held_out: HeldOut, method: ImagePriorMethod, inputs_only: bool = False
) -> tuple[dict[str, torch.Tensor], torch.Tensor, int]:
    """Label -> image in HU / 1000 ``(1, rows, cols)``, the expected error, and which slice."""
    volume = held_out.case.corrupted
    found = segment_metal(volume).fraction.astype(np.float32)
    both = held_out.case.metal.any(axis=(1, 2)) & found.any(axis=(1, 2))
    k = int(np.flatnonzero(both)[0])
    grid = ImageGrid(*volume.hu.shape[1:], volume.spacing_mm[1:])
    scanner = Reprojection(grid, torch.device("cpu"))
    image_mu = hu_to_mu(torch.from_numpy(volume.hu[[k]]))
    fraction = torch.from_numpy(found[[k]])
    sinogram, trace = scanner.projector(image_mu), metal_trace(scanner.projector, fraction)
    index = np.array([k])
    context = InpaintingContext(image_mu, fraction, scanner.projector, index, volume_hu=volume.hu)
    prior = method.network_proposal(sinogram, trace, context)
    inputs, proposed = prior.inputs, prior.proposed
    network = method._weights.network

    def again(turn: Turn, nmar: torch.Tensor = inputs.nmar) -> torch.Tensor:
        channels = inputs.channels.clone()
        channels[:, NMAR_CHANNEL] = nmar
        given = (turn(x).contiguous() for x in (channels, inputs.corrupted, nmar))
        with torch.inference_mode():
            return turn(network(*given)[0]) + inputs.dense

    if inputs_only:
        images = {"NMAR": inputs.nmar, "proposal": proposed}
        for name, without in SWITCHED_OFF.items():
            given = replace(inputs, channels=without(inputs.channels))
            images[f"without {name}"] = method.answer(given).proposed
        return images, prior.scale, k

    projected = scanner.projector((proposed + 1.0).clamp_min(0.0) * MU_WATER_PER_MM)
    strict = relative(scanner.reconstruct(matched_to_edges(sinogram, trace, projected)))
    outside = (sinogram - projected).masked_fill(trace, 0.0)
    missed = scanner.reconstruct(outside) / MU_WATER_PER_MM
    turned = [again(turn) for turn in MIRRORED]
    images = {
        "NMAR": inputs.nmar,
        "proposal": proposed,
        "mean of it and 1 mirrored copy": (proposed + turned[0]) / 2,
        "mean of it and 4 mirrored copies": (proposed + sum(turned)) / 5,
        "second pass, strict as NMAR": again(lambda x: x, strict),
        "strict": strict,
        "half proposal, half strict": (proposed + strict) / 2,
        "a quarter of the data outside": proposed + 0.25 * missed,
        "half of the data outside": proposed + 0.5 * missed,
    }
    return images, prior.scale, k


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the CTs")
    parser.add_argument("--cache", type=Path, help="folder of simulated cases, made if absent")
    parser.add_argument("--plans", type=int, default=3, help="constructs a group")
    parser.add_argument("--method", default="prior", help="its name, or a file of weights")
    parser.add_argument("--inputs", action="store_true", help="switch the inputs off in turn")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    method = create_method(options.method)
    assert isinstance(method, ImagePriorMethod), "only the image prior can be taken apart here"
    errors: dict[str, dict[str, list[tuple[float, float]]]] = {}
    truths = [["case", "acquisition", "expected HU", "true HU", "correlation"]]
    for held_out in held_out_cases(options.data, options.plans, 2, cache=options.cache):
        case = held_out.case
        images, scale, k = variants(held_out, method, options.inputs)
        truth, metal = case.reference_hu[[k]], case.metal[[k]] > 0.02
        body = body_mask(case.reference_hu, case.corrupted.spacing_mm)[[k]] & ~metal
        near = body & within_pixels(metal, NEAR_METAL_PIXELS)
        for label, image in images.items():
            error = 1000.0 * image.numpy() - truth
            rmse = tuple(float(np.sqrt((error[where] ** 2).mean())) for where in (body, near))
            errors.setdefault(label, {}).setdefault(held_out.acquisition, []).append(rmse)  # type: ignore[arg-type]
        true = np.abs(1000.0 * images["proposal"].numpy() - truth)[near]
        said = 1000.0 * scale.numpy()[near]
        figures = (said.mean(), true.mean(), np.corrcoef(said, true)[0, 1])
        cells = [f"{figures[0]:.0f}", f"{figures[1]:.0f}", f"{figures[2]:.2f}"]
        truths.append([case.name, held_out.acquisition, *cells])
    names = list(next(iter(errors.values())))
    rows = [["image", "", *names]]
    for label, found in errors.items():
        means = [np.mean(found[name], axis=0) for name in names]
        rows.append([label, "", *(f"{body:.1f} / {near:.1f}" for body, near in means)])
    print(aligned_table(rows, markdown=True), "\n")
    print(aligned_table(truths, markdown=True))


if __name__ == "__main__":
    main()
