"""CTs of Slicer's scene: which can be corrected, and what belongs to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer


class Inputs:
    """What can be said of a CT before anything runs.

    :param views: gives what shows it: ``SceneViews``.
    """

    def __init__(self, views: Callable[[], Any]) -> None:
        self._views = views
        self._checked: tuple[Any, Any] = (None, None)

    def check(self, volumeNode: Any) -> Any:
        """What is to be said about an input: ``InputCheck``."""
        from MetalArtifactReductionLib.mrml.inputs import check_input

        image = volumeNode and volumeNode.GetImageData()
        key = (volumeNode, volumeNode and volumeNode.GetMTime(), image and image.GetMTime())
        if self._checked[0] != key:  # it reads every voxel
            self._checked = key, check_input(slicer.mrmlScene, volumeNode)
        return self._checked[1]

    def firstUsable(self) -> Any:
        """The first volume of the scene that can be corrected, or None."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((one for one in volumes if not self.check(one).problem), None)

    def begin(self, parameters: Any) -> None:
        """Another CT is chosen: show it, and deselect what belongs to another scan.

        The CT first: a result that is selected then is shown over it.
        """
        from MetalArtifactReductionLib.mrml.belonging import metal_for, result_for

        scene, p = slicer.mrmlScene, parameters
        self._views().showInput(p.inputVolume, p.window.value)
        p.metalSegmentation = metal_for(scene, p.inputVolume, p.metalSegmentation)
        p.result = result_for(scene, p.inputVolume, p.result)
