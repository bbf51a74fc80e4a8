"""The ways to correct: a method is a folder here and one entry of :mod:`.registry`.

How to add one, here or in a package of its own that names its entry in an entry point of the group
``metal_artifact_reduction.methods``:

1. A class derived from :class:`.base.Method` whose ``__call__`` fills the trace of a sinogram.
2. An entry: ``MethodEntry("mine", "Mine", "what it is for", inpainter="my_package:Mine")``.

If it learns: a ``torch.nn.Module`` whose constructor takes plain values (``network``), and a
function that makes a :class:`..training.task.Task` with five short methods (``task``); devices,
precision, averaging, schedule, curves, checkpoints and resuming are the trainer's. For sinograms of
CT with simulated metal take the samples of :mod:`.sinogram_unet.samples` as they are. Then ``mar
train my.toml --data CTs --output run`` with ``task = "my-kind"`` in the file, and ``mar correct
ct.nii.gz out.nii.gz --method run/weights.safetensors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import MethodEntry as MethodEntry
from .registry import create_method as create_method
from .registry import methods as methods
from .registry import register as register

if TYPE_CHECKING:
    from .base import InpaintingContext as InpaintingContext
    from .base import Method as Method
    from .base import Proposal as Proposal


def __getattr__(name: str) -> Any:
    if name in ("InpaintingContext", "Method", "Proposal"):
        from . import base  # needs torch, which takes seconds

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
