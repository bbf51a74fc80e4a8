"""Training: samples made on the fly, losses, one trainer for every method.

How to add a network, say ``"my-net"``:

1. ``networks/my_net.py``: a ``torch.nn.Module`` whose constructor takes plain values; one line in
   :data:`..weights.ARCHITECTURES`.
2. ``training/my_task.py``: a subclass of :class:`.task.Task` with five short methods (``networks``,
   ``optimizer``, ``batch``, ``loss``, ``facts``) and ``make_task(options, data, seed)``; one line
   in :data:`TASKS`. For sinograms of CT with simulated metal take the samples of
   :mod:`..methods.sinogram_unet.samples` as they are. Everything else (devices, precision,
   averaging, schedule, curves, checkpoints, resuming) is the trainer's.
3. ``inpainting/my_method.py``: a class made from the loaded weights that follows the
   ``Inpainter`` protocol; one line in :data:`..methods.learned.LEARNED`.
4. A TOML file with ``task = "my-net"``; then ``mar train my.toml --data CTs --output run`` and
   ``mar correct ct.nii.gz out.nii.gz --method run/weights.safetensors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "image-prior": "..methods.image_prior.task:make_task",
        "metal-refiner": "..methods.metal_refiner.task:make_task",
        "sinogram-unet": "..methods.sinogram_unet.task:make_task",
        "trace-cnn": "..methods.trace_cnn.task:make_task",
    }
)
"""Name in a configuration -> ``"module:factory"`` in this package. A factory takes the options of
the ``[task]`` table, the folder with the CTs (or None) and the seed, and returns a ``Task``."""
