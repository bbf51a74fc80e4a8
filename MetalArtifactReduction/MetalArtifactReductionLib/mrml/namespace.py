"""The one place that imports MRML, and only once somebody asks for it."""

from __future__ import annotations

from typing import Any

from ..errors import MARError


class SceneUnavailable(MARError, ImportError):
    """There is no MRML here: neither Slicer's Python nor the slicer-core package."""


def slicer_classes() -> Any:
    """The ``slicer`` namespace with the vtkMRML classes.

    Inside Slicer it is Slicer's own; elsewhere the ``slicer-core`` package brings it. A package
    that only shares the name does not count.

    :raises SceneUnavailable: if MRML cannot be imported; says what to install.
    """
    try:
        import slicer
    except ImportError as error:
        raise SceneUnavailable(
            f"MRML scenes need 3D Slicer or the package slicer-core ({error}): "
            'run `pip install "metal-artifact-reduction[headless]"`'
        ) from error
    if not hasattr(slicer, "vtkMRMLScene"):
        raise SceneUnavailable(
            "the installed package 'slicer' is not 3D Slicer's: "
            "run `pip uninstall slicer` and `pip install slicer-core`"
        )
    return slicer
