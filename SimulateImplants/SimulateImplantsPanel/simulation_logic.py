"""The logic's half that voxelises and simulates, here or in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _


class SimulationLogic:
    """Mixin of the logic."""

    ensureDependencies: Callable[[], None]
    canWork: Callable[[], bool]

    def _setUpJobs(self) -> None:
        self._jobs: Any = None
        self._timer = qt.QTimer()
        self._timer.setInterval(150)
        self._timer.connect("timeout()", self.poll)

    @property
    def jobs(self) -> Any:
        """The queue of this scene's jobs: ``SceneJobs``."""
        if self._jobs is None:
            from MetalArtifactReductionLib.mrml.jobs import SceneJobs

            self._jobs = SceneJobs(slicer.mrmlScene)
        return self._jobs

    def poll(self) -> None:
        """See what the jobs did; the timer calls it while there are any."""
        if self._jobs is None:
            self._timer.stop()
            return
        for handle in self._jobs.poll():
            if handle.log and not handle.done:
                logging.error("%s: %s\n%s", handle.title, handle.error, handle.log)
            self._jobs.forget(handle)
        if self._jobs.idle:
            self._timer.stop()

    def close(self) -> None:
        """End every process, remove every temporary file."""
        self._timer.stop()
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None

    def voxelize(self, ct: Any, **progress: Any) -> tuple[float, tuple[str, ...]]:
        """The implants' metal fraction as a volume node, shown over the CT.

        :returns: the metal's volume in ml, and warnings.
        """
        from MetalArtifactReductionLib.mrml import show_in_slice_views
        from SimulateImplantsLib.mrml import add_fraction

        node, warnings = add_fraction(slicer.mrmlScene, ct, **progress)
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeYellow")
        display.SetThreshold(0.02, 2.0)  # where there is no metal the CT stays as it is
        display.ApplyThresholdOn()
        show_in_slice_views(slicer.mrmlScene, ct, node, foreground_opacity=0.8)
        spacing = node.GetSpacing()
        voxel = spacing[0] * spacing[1] * spacing[2]
        fraction = slicer.util.arrayFromVolume(node)
        return float(fraction.sum(dtype="float64")) * voxel / 1000, warnings

    def hasResults(self, ct: Any) -> bool:
        """Whether a simulation of a CT is in the scene."""
        if ct is None or not self.canWork():
            return False
        from MetalArtifactReductionLib.mrml import results_of

        return bool(results_of(slicer.mrmlScene, ct, "corrupted"))

    def presetOfScanner(self, name: str) -> tuple[float, float | None]:
        """Tube voltage and log10 of the photons of a ray (None without noise) of a preset."""
        import math

        self.ensureDependencies()
        from MetalArtifactReductionLib.physics.acquisition import preset

        parameters = preset(name)
        photons = parameters.photons_per_ray
        return parameters.kvp, None if photons is None else math.log10(photons)

    def acquisition(self, preset: str, changes: dict[str, Any]) -> Any:
        """``AcquisitionParameters``: a preset with changes.

        :param changes: ``kvp``, ``photonsPerRay`` (None: no noise), or the library's own names.
        """
        from MetalArtifactReductionLib.physics import acquisition

        names = {"photonsPerRay": "photons_per_ray"}
        return acquisition.preset(
            preset, **{names.get(name, name): value for name, value in changes.items()}
        )

    def simulate(
        self,
        ct: Any,
        model: str = "physics",
        acquisition: str = "reference",
        *,
        seed: int = 0,
        device: str = "auto",
        progress: Any = None,
        cancel: Any = None,
        **changes: Any,
    ) -> Any:
        """Simulate the artifacts of the scene's implants in a CT; waits until it is done.

        :param model: "physics", "trace-maximum" or "missing-trace".
        :param acquisition: name of a preset.
        :param changes: see :meth:`acquisition`.
        :returns: ``SimulatedNodes``: corrupted, ideal, reference, fraction, ...
        """
        self.ensureDependencies()
        from SimulateImplantsLib.mrml import simulate_node

        return simulate_node(
            slicer.mrmlScene,
            ct,
            self.acquisition(acquisition, changes),
            model=model,
            seed=seed,
            device=device,
            progress=progress,
            cancel=cancel,
        )

    def simulateAsync(
        self,
        ct: Any,
        model: str = "physics",
        acquisition: str = "reference",
        *,
        seed: int = 0,
        device: str = "auto",
        onProgress: Callable[[Any], None] | None = None,
        onEnd: Callable[[Any], None] | None = None,
        **changes: Any,
    ) -> Any:
        """As :meth:`simulate`, in a process of its own; returns at once.

        :param onProgress, onEnd: called with the handle, in Slicer's own thread.
        :returns: job handle: ``done``, ``nodes``, ``error``, ``cancel()``, ``wait()``,
            ``result()``.
        """
        self.ensureDependencies()
        from SimulateImplantsLib.mrml import simulate_in_background

        handle = simulate_in_background(
            self.jobs,
            ct,
            self.acquisition(acquisition, changes),
            model=model,
            seed=seed,
            device=device,
            on_progress=onProgress,
            on_end=onEnd,
        )
        self._timer.start()
        return handle

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
        seed: int = 0,
        device: str = "auto",
        onProgress: Callable[[Any], None] | None = None,
        onEnd: Callable[[Any], None] | None = None,
        **changes: Any,
    ) -> Any:
        """Write sampled variants of a patient into a folder, in a process of its own.

        :param what: see :meth:`propose`. :param points: for plain bone.
        :param randomShare: of cases with random shapes, 0..1.
        :returns: as :meth:`simulateAsync`; ``nodes`` says how many were made, and why not all.
        """
        self.ensureDependencies()
        from SimulateImplantsLib.dataset.variants import Variants
        from SimulateImplantsLib.mrml import bone_labels, clicks_of, variants_in_background

        clicked = points is not None and points.GetNumberOfDefinedControlPoints() > 0
        handle = variants_in_background(
            self.jobs,
            ct,
            bone_labels(bone, ct) if bone is not None else {},
            clicks_of(points, ct) if clicked else {},
            Variants(what, count, samplingSeed, randomShare, tuple(sides)),
            self.acquisition(acquisition, changes),
            Path(folder).expanduser(),
            lowest=lowest,
            model=model,
            seed=seed,
            device=device,
            on_progress=onProgress,
            on_end=onEnd,
        )
        self._timer.start()
        return handle

    def resultSummary(self, nodes: Any) -> str:
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
