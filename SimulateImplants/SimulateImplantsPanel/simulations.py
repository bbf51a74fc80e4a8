"""Voxelises and simulates in Slicer's scene, here or in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MetalArtifactReductionLib.mrml.display import layers_in_steps
from MetalArtifactReductionLib.physics import acquisition as scanners
from SimulateImplantsLib import mrml
from SimulateImplantsLib.cases.options import SimulationOptions
from SimulateImplantsLib.dataset.variants import Variants

from .bone import clicks


class Simulations:
    """What can be done once there are implants.

    :param jobs: where what takes long runs: ``BackgroundJobs``.
    """

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs

    def voxelizeAsync(self, ct: Any, **callbacks: Any) -> Any:
        """The implants' metal fraction as a volume node beside the CT, in a process of its own.

        :param callbacks: ``onProgress``, ``onEnd``: as of :meth:`simulateAsync`.
        :returns: its handle, whose ``nodes`` are the volume node and warnings.
        """
        handle = mrml.fraction_in_background(
            self._jobs.queue, ct, on_progress=callbacks["onProgress"], on_end=callbacks["onEnd"]
        )
        return self._jobs.started(handle)

    def millilitres(self, node: Any) -> float:
        """The volume of a metal fraction."""
        fraction = slicer.util.arrayFromVolume(node)
        return float(fraction.sum(dtype="float64")) * math.prod(node.GetSpacing()) / 1000

    def showFraction(self, ct: Any, node: Any) -> Iterator[None]:
        """Lay a metal fraction over its CT, a view a step."""
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeYellow")
        display.SetThreshold(0.02, 2.0)  # where there is no metal the CT stays as it is
        display.ApplyThresholdOn()
        yield
        yield from layers_in_steps(slicer.mrmlScene, ct, node, 0.8)

    def preset(self, name: str) -> tuple[float, float | None]:
        """Tube voltage and log10 of the photons of a ray (None without noise) of a scanner."""
        parameters = scanners.preset(name)
        photons = parameters.photons_per_ray
        return parameters.kvp, None if photons is None else math.log10(photons)

    def simulate(
        self,
        ct: Any,
        model: str = "physics",
        acquisition: str = "reference",
        *,
        progress: Any = None,
        cancel: Any = None,
        **choices: Any,
    ) -> Any:
        """Simulate the artifacts of the scene's implants in a CT; waits until it is done.

        :param model: "physics", "trace-maximum" or "missing-trace".
        :param acquisition: name of a scanner's preset.
        :param choices: ``kvp``, ``photonsPerRay`` (None: no noise) instead of the preset's; or of
            the library's ``SimulationOptions``.
        :returns: ``SimulatedNodes``: corrupted, ideal, reference, fraction, ...
        """
        options = _options(model, acquisition, choices)
        return mrml.simulate_node(slicer.mrmlScene, ct, options, progress=progress, cancel=cancel)

    def simulateAsync(
        self,
        ct: Any,
        model: str = "physics",
        acquisition: str = "reference",
        *,
        onProgress: Callable[[Any], None] | None = None,
        onEnd: Callable[[Any], None] | None = None,
        **choices: Any,
    ) -> Any:
        """As :meth:`simulate`, in a process of its own; returns at once.

        :param onProgress, onEnd: called with the handle, in Slicer's own thread.
        :returns: job handle: ``done``, ``nodes``, ``error``, ``cancel()``, ``wait()``,
            ``result()``.
        """
        handle = mrml.simulate_in_background(
            self._jobs.queue,
            ct,
            _options(model, acquisition, choices),
            on_progress=onProgress,
            on_end=onEnd,
        )
        return self._jobs.started(handle)

    def sampleAsync(
        self,
        ct: Any,
        bone: Any,
        points: Any,
        what: str,
        folder: str,
        *,
        count: int = 10,
        samplingSeed: int = 0,
        randomShare: float = 0.0,
        sides: Sequence[str] = ("left", "right"),
        lowest: str = "L5",
        model: str = "physics",
        acquisition: str = "reference",
        onProgress: Callable[[Any], None] | None = None,
        onEnd: Callable[[Any], None] | None = None,
        **choices: Any,
    ) -> Any:
        """Write sampled variants of a patient into a folder, in a process of its own.

        :param what: a procedure of the library. :param points: for plain bone.
        :param randomShare: of cases with random shapes, 0..1.
        :returns: as :meth:`simulateAsync`; ``nodes`` says how many were made, and why not all.
        """
        handle = mrml.variants_in_background(
            self._jobs.queue,
            ct,
            mrml.bone_labels(bone, ct) if bone is not None else {},
            clicks(points, ct),
            Variants(what, count, samplingSeed, randomShare, tuple(sides)),
            _options(model, acquisition, choices),
            Path(folder).expanduser(),
            lowest=lowest,
            on_progress=onProgress,
            on_end=onEnd,
        )
        return self._jobs.started(handle)

    def summary(self, nodes: Any) -> str:
        """What a simulation did, as rich text."""
        record = nodes.result.parameters
        rows = [(_("Slices with implants"), str(len(record["slices"])))]
        rows += [
            (implant["material"], f"{implant['volume_mm3'] / 1000:.2f} cm³")
            for implant in record["implants"]
        ]
        cells = "".join(f"<tr><td>{name}:&nbsp;</td><td>{value}</td></tr>" for name, value in rows)
        warnings = "".join(f"<p>{warning}</p>" for warning in nodes.warnings)
        return f"<table>{cells}</table>{warnings}"


def _options(model: Any, preset: str, choices: dict[str, Any]) -> SimulationOptions:
    """All that was chosen; few slices at once, so that a cancelled job ends soon."""
    names = {"kvp": "kvp", "photonsPerRay": "photons_per_ray"}
    changes = {new: choices.pop(old) for old, new in names.items() if old in choices}
    scanner = scanners.preset(preset, **changes)
    return SimulationOptions(scanner, model, **{"device": "auto", "batch_slices": 2, **choices})
