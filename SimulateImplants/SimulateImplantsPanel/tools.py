"""What the panel works with in Slicer's scene; imported when wanted, as packages may be missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import slicer


class Tools:
    """Editing, bone, views and simulations, and what can be said before they can be imported."""

    def __init__(self) -> None:
        from MetalArtifactReductionPanel.background import BackgroundJobs

        self.jobs = BackgroundJobs(forgetEnded=True)
        self._link: Any = None
        self._lent: Any = None
        self._seenThrough: dict[Any, float] = {}

    @property
    def editing(self) -> Any:
        """Implants of the scene: the module ``implants``."""
        from . import implants

        return implants

    @property
    def bone(self) -> Any:
        """Finds and parts bone: the module ``bone``."""
        from . import bone

        return bone

    @property
    def views(self) -> Any:
        """Turns and fills views: the module ``views``."""
        from . import views

        return views

    @cached_property
    def simulations(self) -> Any:
        """Voxelises and simulates: ``Simulations``."""
        from .simulations import Simulations

        return Simulations(self.jobs)

    def install(self) -> None:
        """Install the Python packages that are missing, after asking; when work starts only."""
        import MetalArtifactReductionPanel
        from MetalArtifactReductionPanel.installation import ensure_dependencies

        ensure_dependencies(Path(MetalArtifactReductionPanel.__file__).parents[1] / "Resources")

    def ready(self) -> bool:
        """Whether the packages are there that editing implants needs."""
        try:
            return bool(self.editing)
        except ImportError as error:
            logging.debug("Implants cannot be edited yet: %s", error)
            return False

    def follow(self, onChange: Callable[[Any], None] | None = None) -> bool:
        """Keep implants, lines and rods of Slicer's scene together from now on.

        :param onChange: see ``ImplantLink``.
        :returns: False while packages are missing.
        """
        if not self.ready():
            return False
        if self._link is None:
            from SimulateImplantsLib.mrml import ImplantLink

            self._link = ImplantLink(slicer.mrmlScene, onChange)
        return True

    @cached_property
    def history(self) -> Any:
        """Undo and redo of implants: ``PlacementHistory``."""
        from SimulateImplantsLib.mrml import PlacementHistory

        return PlacementHistory(
            slicer.mrmlScene, lambda: self._link.paused() if self._link else nullcontext()
        )

    def forgetHistory(self) -> None:
        """Another scene: nothing of the one before comes back."""
        self.__dict__.pop("history", None)

    def borrowViews(self) -> None:
        """Remember layout and windows as other modules left them."""
        from MetalArtifactReductionLib.mrml.borrowed import BorrowedViews

        self._lent = BorrowedViews(slicer.mrmlScene)
        for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            self._lent.window(volume)
        for bone, opacity in list(self._seenThrough.items()):
            self.seeThrough(bone, opacity)

    def seeThrough(self, bone: Any, opacity: float) -> None:
        """Show implants through a bone segmentation, as long as the panel is shown."""
        display = bone.GetDisplayNode() if bone is not None and bone.GetScene() else None
        if display is None or self._lent is None:
            self._seenThrough.pop(bone, None)
            return
        self._seenThrough[bone] = opacity
        self._lent.see_through(display, opacity)

    def giveViewsBack(self) -> Iterator[None]:
        """Layout and windows as they were; then slices straight, a view a step."""
        if self._lent is None:
            return
        self._lent.give_back()
        self._lent = None
        yield
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        if any(node.GetOrientation() == "Reformat" for node in nodes):
            yield from self.views.straighten()

    def close(self) -> None:
        """Leave the scene alone, end every process, remove every temporary file."""
        if self._link is not None:
            self._link.stop()
            self._link = None
        self.jobs.close()

    def addSample(self, which: str, progress: Any = None) -> Any:
        """A procedural patient, ``SampleNodes``: ct and bone; waits until it is there.

        :param which: "spine" or "pelvis".
        """
        from SimulateImplantsLib.mrml import add_sample

        nodes = add_sample(slicer.mrmlScene, which, progress=progress)
        self.views.fit(nodes.ct)
        return nodes

    def addSampleAsync(self, which: str, *, onProgress: Any, onEnd: Any) -> Any:
        """As :meth:`addSample`, in a process of its own; returns a job handle at once."""
        from SimulateImplantsLib.mrml import sample_in_background

        handle = sample_in_background(self.jobs.queue, which, on_progress=onProgress, on_end=onEnd)
        return self.jobs.started(handle)

    def inputProblem(self, volumeNode: Any) -> str:
        """Why a volume cannot be used, in one line; "" if nothing is known against it."""
        from MetalArtifactReductionLib.errors import InputError
        from MetalArtifactReductionLib.mrml import require_scalar_volume

        try:
            require_scalar_volume(volumeNode)
        except InputError as error:
            return str(error)
        return ""

    def segmentator(self) -> str:
        """The module of another extension that segments bones by name; "" where none is there."""
        installed = slicer.app.moduleManager().modulesNames()
        known = ("TotalSegmentator", "MONAIAuto3DSeg")
        return next((name for name in known if name in installed), "")

    def openSegmentator(self) -> None:
        """Its panel; the segmentation that it makes is chosen here afterwards."""
        slicer.util.selectModule(self.segmentator())

    def hasResults(self, ct: Any) -> bool:
        """Whether a simulation of a CT is in the scene."""
        from MetalArtifactReductionLib.mrml import results_of

        return ct is not None and bool(results_of(slicer.mrmlScene, ct, "corrupted"))
