"""The hip paper's two experiments on public CTs, its table beside ours.

Experiment 1: one patient, trained on the clean slices next to the hip, tested on the hip's own.
Experiment 2: several patients, with and without a common brightness; and on a patient that was not
trained on at all. Figures and their reading: :mod:`.hip_figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from hip_figures import OUTPUTS, HipFigures, HipTest, mean_figures, over_hips, table

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.metrics import evaluate
from MetalArtifactReductionLib.methods.trace_cnn.channels import MaxFillParameters
from MetalArtifactReductionLib.methods.trace_cnn.data import CASES, Hip, read_hips
from MetalArtifactReductionLib.methods.trace_cnn.inpainter import TraceCNNMethod
from MetalArtifactReductionLib.methods.trace_cnn.network import TraceCNN
from MetalArtifactReductionLib.methods.trace_cnn.samples import HipSampleParameters
from MetalArtifactReductionLib.methods.trace_cnn.task import (
    BATCH_SIZE,
    TraceCNNParameters,
    hip_task,
)
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.progress import Cancel, Progress, report
from MetalArtifactReductionLib.training.checkpoint import read_checkpoint
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.record import CHECKPOINT, WEIGHTS
from MetalArtifactReductionLib.training.trainer import train
from MetalArtifactReductionLib.weights import Weights, load_weights

EXPERIMENTS = (1, 2)

PAPER = {
    1: {"corrected": (3.564e-4, 40.990, 0.9473), "uncorrected": (6.623e-2, 20.793, 0.3514)},
    2: {"corrected": (2.324e-4, 36.915, 0.9094), "uncorrected": (6.271e-2, 21.438, 0.4329)},
}
"""MSE, PSNR, SSIM; one patient and ten. Its tables print the last two headings swapped."""


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    :param title: in the table.
    :param steps: of the optimizer, batches of 16.
    :param start, loss, unit, freeze_after, off_trace: see :class:`..training.hip_task.
        HipTaskOptions`.
    """

    title: str
    steps: int
    start: str
    loss: str
    unit: float
    freeze_after: int
    off_trace: float = 0.1


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "paper": Recipe("the paper's", 1600, "maximum", "plain", 1.0, 240),
        "maximum": Recipe("from the maximum", 500, "maximum", "matched", 0.05, 250, 0.0),
        "linear": Recipe("from lines", 500, "linear", "matched", 0.05, 250, 0.0),
    }
)
"""``paper``: the trace filled with the maximum, the mean squared error of all that the network
gives. The others take the error inside the trace after :func:`.trace_cnn.inpainter.matched`; the
last starts from straight lines instead of the maximum, which bring the values at the trace's ends
to where the network, that looks 12 bins to each side, does not see them."""


@dataclass(frozen=True)
class HipExperimentParameters:
    """How much work to spend.

    :param masks: varied masks of a training.
    :param pairs: tested pairs of slice and mask, each patient.
    :param physics_slices: slices of each patient with a physically simulated artifact; 0: none.
    :param steps: of every training instead of the recipe's own.
    :param seed: of masks, networks and crops.
    :param precision: see :class:`MetalArtifactReductionLib.training.parameters.TrainerParameters`.
    """

    masks: int = 1000
    pairs: int = 26
    physics_slices: int = 2
    steps: int | None = None
    seed: int = 0
    precision: str = "32-true"


class HipExperiment:
    """Trains what is not trained yet, measures, prints.

    :param data: folder with the CTs.
    :param folder: gets one folder a training; trainings that are there are taken or gone on with.
    :param hips: keys of :data:`.trace_cnn.data.CASES`; None for the experiment's own.
    """

    def __init__(
        self,
        number: int,
        data: Path,
        folder: Path,
        parameters: HipExperimentParameters | None = None,
        *,
        hips: Sequence[str] | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        if number not in EXPERIMENTS:
            raise InputError(f"experiment {number} is unknown; there are 1 and 2")
        self.number, self.folder = number, folder
        self.parameters = parameters or HipExperimentParameters()
        names = hips or (("ov", "coad") if number == 1 else tuple(CASES))
        if number == 2 and len(names) < 2:
            raise InputError(f"experiment 2 needs several hips, not {', '.join(names)}")
        self.hips = read_hips(names, data)
        self.tests = [HipTest(hip, self.parameters.pairs) for hip in self.hips]
        self._progress, self._cancel = progress, cancel

    def run(self) -> str:
        """Both tables as text: the paper's measures, and HU with a physical artifact."""
        trained = self._one_patient() if self.number == 1 else self._patients()
        paper = PAPER[self.number]
        rows: dict[str, HipFigures | tuple[float, float, float]] = {
            "paper, uncorrected": paper["uncorrected"],
            "paper, corrected": paper["corrected"],
            "uncorrected (maximum in the trace)": over_hips(self.tests, HipTest.uncorrected),
            "linear interpolation": over_hips(self.tests, HipTest.linear),
            "NMAR": over_hips(self.tests, HipTest.nmar),
        }
        for title, weights in trained.items():
            outputs = [test.network(own) for test, own in zip(self.tests, weights, strict=True)]
            whole = title.startswith(RECIPES["paper"].title)
            for output in OUTPUTS if whole else OUTPUTS[2:]:
                rows[f"{title}, {_OUTPUTS[output]}"] = mean_figures([o[output] for o in outputs])
        text = f"experiment {self.number}: {', '.join(hip.name for hip in self.hips)}\n\n"
        text += table(rows)
        if self.parameters.physics_slices:
            text += "\n\n" + self._physics(trained)
        return text

    def _one_patient(self) -> dict[str, list[Weights]]:
        return {
            recipe.title: [self._trained(f"{name}-{hip.name}", [hip], recipe) for hip in self.hips]
            for name, recipe in RECIPES.items()
        }

    def _patients(self) -> dict[str, list[Weights]]:
        """All patients' other slices, then each patient from the others alone."""
        every, rows = len(self.hips), {}
        for name, recipe in RECIPES.items():
            if name == "maximum":
                continue
            shared = self._trained(f"{name}-all", self.hips, recipe, brightness=True)
            rows[f"{recipe.title}, brightness scaled"] = [shared] * every
        linear = RECIPES["linear"]
        shared = self._trained("linear-all-unscaled", self.hips, linear)
        rows[f"{linear.title}, brightness as it is"] = [shared] * every
        rows[f"{linear.title}, patient not trained on"] = [
            self._trained(
                f"linear-without-{hip.name}",
                [other for other in self.hips if other is not hip],
                linear,
                brightness=True,
            )
            for hip in self.hips
        ]
        return rows

    def _trained(
        self, name: str, hips: Sequence[Hip], recipe: Recipe, brightness: bool = False
    ) -> Weights:
        p = self.parameters
        folder = self.folder / name
        steps = p.steps or recipe.steps
        there = (folder / CHECKPOINT).is_file()
        if not there or int(read_checkpoint(folder / CHECKPOINT).record["step"]) < steps:
            fill = MaxFillParameters(start=recipe.start)
            samples = HipSampleParameters(p.masks, p.seed, fill=fill, off_trace=recipe.off_trace)
            network = TraceCNNParameters(
                loss=recipe.loss,
                unit=recipe.unit,
                freeze_after=min(recipe.freeze_after, max(1, steps // 2)),
            )
            task = hip_task(hips, samples, network, brightness, cancel=self._cancel)
            trainer = TrainerParameters(
                steps=steps,
                batch_size=BATCH_SIZE,
                seed=p.seed,
                precision=p.precision,
                ema=0.99,
            )

            def told(fraction: float, message: str) -> None:
                report(self._progress, fraction, f"{name}: {message}")

            train(task, trainer, folder, resume=there, progress=told, cancel=self._cancel)
        return load_weights(folder / WEIGHTS, "trace-cnn", TraceCNN)

    def _physics(self, trained: Mapping[str, Sequence[Weights]]) -> str:
        """The nail of cobalt-chromium on the reference scanner, corrected as a user would."""
        sums: dict[str, list[tuple[float, float]]] = {}
        for number, hip in enumerate(self.hips):
            slices = hip.hip[:: max(1, len(hip.hip) // self.parameters.physics_slices)]
            slices = slices[: self.parameters.physics_slices]
            # Sharp: metal smeared over voxels is no metal, and most of it lies beside the trace.
            metal = (hip.metal_fraction > 0.5).astype(np.float32)
            scan = simulate_volume(hip.volume, {"CoCrMo": metal}, slices=[int(k) for k in slices])
            assert scan.reference is not None
            methods: dict[str, object] = {"linear interpolation": "li", "NMAR": "nmar"}
            methods |= {t: TraceCNNMethod(w[number]) for t, w in trained.items()}
            images = {"uncorrected": scan.corrupted.hu}
            for title, method in methods.items():
                result = correct_volume(scan.corrupted, scan.metal_fraction, method)  # type: ignore[arg-type]
                images[title] = result.corrected.hu
            for title, hu in images.items():
                found = evaluate(
                    hu[slices],
                    scan.reference.hu[slices],
                    metal[slices],
                    spacing_mm=hip.volume.spacing_mm,
                )
                pair = (found.rmse_body_hu, found.rmse_near_metal_hu)
                sums.setdefault(title, []).append(pair)
        lines = [
            "the nail of cobalt-chromium, physically simulated; RMSE in HU over body, near metal",
            "",
        ]
        for title, pairs in sums.items():
            body, near = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
            lines.append(f"{title:52}  {body:7.1f}  {near:7.1f}")
        return "\n".join(lines)


_OUTPUTS = {"full": "full output", "trace": "trace only", "matched": "trace, ends met"}
