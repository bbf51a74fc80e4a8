"""The module's self-test: runs inside Slicer, from the Reload & Test button or ctest."""

from __future__ import annotations

from typing import Any

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest


def module() -> Any:
    """The module as it is now: it may have been reloaded since this file was imported."""
    import MetalArtifactReduction

    return MetalArtifactReduction


class MetalArtifactReductionTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: the logic on a cylinder with metal, then the panel."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        for test in (self.test_logic, self.test_panel, self.test_bad_input):
            self.setUp()
            test()

    def makeVolume(self, dark: float = -300.0) -> vtkMRMLScalarVolumeNode:
        """A water cylinder with two metal rods, and a dark band between them."""
        import numpy as np

        z, y, x = np.mgrid[0:6, 0:96, 0:96]
        hu = np.where((x - 48) ** 2 + (y - 48) ** 2 < 40**2, 40.0, -1000.0)
        rods = ((x - 30) ** 2 + (y - 48) ** 2 < 9) | ((x - 66) ** 2 + (y - 48) ** 2 < 9)
        with_metal = (z > 0) & (z < 5)  # the first and the last slice are free of metal
        hu[with_metal & (abs(y - 48) < 2) & (x > 33) & (x < 63)] += dark
        hu[with_metal & rods] = 3071.0
        node = slicer.util.addVolumeFromArray(hu.astype(np.int16), name="Two rods")
        node.SetSpacing(2.0, 2.0, 3.0)
        return node

    def test_logic(self) -> None:
        """The band gets brighter, slices without metal stay, the input is untouched."""
        import numpy as np

        self.delayDisplay("Correcting")
        volume = self.makeVolume()
        before = slicer.util.arrayFromVolume(volume).copy()
        nodes = module().MetalArtifactReductionLogic().correct(volume, method="li")
        after = slicer.util.arrayFromVolume(nodes.corrected)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), before)
        np.testing.assert_array_equal(after[0], before[0])
        np.testing.assert_array_equal(after[-1], before[-1])
        band = np.s_[2:4, 47:50, 40:56]
        self.assertGreater(after[band].mean(), before[band].mean() + 100)
        self.assertIs(nodes.corrected.GetNodeReference("MetalArtifactReduction.input"), volume)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = hierarchy.GetItemByDataNode(nodes.corrected)
        self.assertEqual(hierarchy.GetItemParent(item), nodes.folder)

    def test_panel(self) -> None:
        """Propose, apply, and read the result from the panel."""
        self.delayDisplay("Driving the panel")
        slicer.util.selectModule("MetalArtifactReduction")
        widget = slicer.util.getModuleWidget("MetalArtifactReduction")
        self.assertFalse(widget.ui.applyButton.enabled)
        volume = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(volume)
        self.assertTrue(widget.ui.applyButton.enabled)
        widget.ui.proposeButton.click()
        segmentation = widget.ui.metalSelector.currentNode()
        self.assertIsNotNone(segmentation)
        self.assertIn("2 ", widget.ui.metalMessageLabel.text)
        widget.ui.proposeButton.click()
        self.assertIs(widget.ui.metalSelector.currentNode(), segmentation)
        widget.ui.methodComboBox.setCurrentText(module().Method.LINEAR_INTERPOLATION.label())
        widget.ui.applyButton.click()
        self.assertIn("HU", widget.ui.resultLabel.text)
        self.assertIn("4 / 6", widget.ui.resultLabel.text)
        self.assertFalse(widget.ui.cancelButton.enabled)
        parameters = module().MetalArtifactReductionLogic().getParameterNode()
        self.assertIs(parameters.inputVolume, volume)
        self.assertEqual(parameters.method, module().Method.LINEAR_INTERPOLATION)

    def test_bad_input(self) -> None:
        """An empty volume is refused beside the selector."""
        slicer.util.selectModule("MetalArtifactReduction")
        widget = slicer.util.getModuleWidget("MetalArtifactReduction")
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        widget.ui.inputSelector.setCurrentNode(empty)
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("no voxels", widget.ui.inputMessageLabel.text)
