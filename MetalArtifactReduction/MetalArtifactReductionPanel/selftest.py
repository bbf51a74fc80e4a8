"""The module's self-test: runs inside Slicer, from the Reload & Test button or ctest."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .choices import methods

LONGEST_S = 300.0


def wait_until(done: Callable[[], bool], longest_s: float = LONGEST_S) -> None:
    """Let Slicer go on until something is true; it stays usable meanwhile."""
    until = time.monotonic() + longest_s
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"not done within {longest_s:.0f} s")
        slicer.app.processEvents()
        time.sleep(0.02)


def make_volume(name: str = "Two rods", dark: float = -300.0) -> vtkMRMLScalarVolumeNode:
    """A water cylinder with two metal rods, and a dark band between them."""
    import numpy as np

    z, y, x = np.mgrid[0:6, 0:96, 0:96]
    hu = np.where((x - 48) ** 2 + (y - 48) ** 2 < 40**2, 40.0, -1000.0)
    rods = ((x - 30) ** 2 + (y - 48) ** 2 < 9) | ((x - 66) ** 2 + (y - 48) ** 2 < 9)
    with_metal = (z > 0) & (z < 5)  # the first and the last slice are free of metal
    hu[with_metal & (abs(y - 48) < 2) & (x > 33) & (x < 63)] += dark
    hu[with_metal & rods] = 3071.0
    node = slicer.util.addVolumeFromArray(hu.astype(np.int16), name=name)
    node.SetSpacing(2.0, 2.0, 3.0)
    return node


def shown_in(view: str) -> Any:
    """The volume in a slice view's background."""
    logic = slicer.app.layoutManager().sliceWidget(view).sliceLogic()
    return logic.GetBackgroundLayer().GetVolumeNode()


class MetalArtifactReductionTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: the logic on a cylinder with metal, then the panel."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        for test in (
            self.test_logic,
            self.test_panel,
            self.test_bad_input,
            self.test_queue_and_cancel,
            self.test_closed_scene,
            self.test_saved_scene,
        ):
            self.setUp()
            test()
        self.setUp()

    def panel(self) -> Any:
        """The panel, open."""
        slicer.util.selectModule("MetalArtifactReduction")
        widget = slicer.util.getModuleWidget("MetalArtifactReduction")
        wait_until(lambda: bool(widget._parameterNode))
        return widget

    def test_logic(self) -> None:
        """The band gets brighter, slices without metal stay, the input is untouched."""
        import numpy as np

        self.delayDisplay("Correcting")
        volume = make_volume()
        before = slicer.util.arrayFromVolume(volume).copy()
        logic = self.panel().logic
        nodes = logic.correct(volume, method="li")
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
        self.delayDisplay("Correcting in a process of its own")
        handle = logic.correctAsync(volume, nodes.metal, "li")
        again = slicer.util.arrayFromVolume(handle.result().corrected)
        self.assertTrue(handle.done)
        self.assertGreater(again[band].mean(), before[band].mean() + 100)

    def test_panel(self) -> None:
        """Propose, apply, and read the result from the panel."""
        self.delayDisplay("Driving the panel")
        widget = self.panel()
        self.assertIn('href="https://github.com/', slicer.modules.metalartifactreduction.helpText)
        self.assertFalse(widget.ui.applyButton.enabled)
        volume = make_volume()
        widget.ui.inputSelector.setCurrentNode(volume)
        self.assertTrue(widget.ui.applyButton.enabled)
        self.assertIn("3071", widget.ui.inputNoteLabel.text)
        widget.ui.proposeButton.click()
        self.assertFalse(widget.ui.proposeButton.enabled)
        wait_until(lambda: widget.ui.metalSelector.currentNode() is not None)
        segmentation = widget.ui.metalSelector.currentNode()
        self.assertEqual(widget.ui.partsTable.rowCount, 2)
        wait_until(lambda: widget.ui.proposeButton.enabled)
        widget.ui.proposeButton.click()
        wait_until(lambda: widget.logic.jobs.idle)
        self.assertIs(widget.ui.metalSelector.currentNode(), segmentation)
        for state, parts in ((qt.Qt.Unchecked, "1 part"), (qt.Qt.Checked, "2 parts")):
            widget.ui.partsTable.item(1, 0).setCheckState(state)
            self.assertFalse(widget.ui.partsTable.enabled)
            wait_until(lambda: widget.ui.partsTable.enabled)
            self.assertEqual(widget.ui.partsTable.rowCount, 2)
            self.assertIn(parts, widget.ui.metalMessageLabel.text)
        widget.ui.methodComboBox.setCurrentText(methods()["li"].label)
        self.preview(widget)
        widget.ui.applyButton.click()
        self.assertEqual(len(slicer.util.getNodes("Preview*")), 0)
        wait_until(lambda: widget.ui.measuresTable.rowCount > 5)
        self.assertIn("4 / 6", widget.ui.resultLabel.text)
        table, below = widget.ui.measuresTable, widget.ui.lineSelector
        wait_until(lambda: table.geometry.bottom() < below.geometry.top())
        self.assertFalse(widget.ui.cancelButton.visible)
        parameters = widget.logic.getParameterNode()
        self.assertIs(parameters.inputVolume, volume)
        self.assertEqual(parameters.method, "li")
        self.assertIs(widget.ui.resultSelector.currentNode(), parameters.result)
        wait_until(lambda: shown_in("MarCorrected") is parameters.result)
        self.assertIs(shown_in("MarOriginal"), volume)
        rows = widget.ui.measuresTable.rowCount
        widget.ui.regionButton.click()
        self.assertEqual(widget.ui.measuresTable.rowCount, rows + 1)
        self.report(widget)
        self.assertFalse(widget.ui.exportButton.visible)  # it did not come from DICOM
        widget.ui.metalCollapsibleButton.collapsed = False  # folded since there is a result
        widget.ui.editButton.click()
        self.assertTrue(widget.ui.editorFrame.visible)
        widget.ui.editButton.click()
        self.assertFalse(widget.ui.editorFrame.visible)

    def report(self, widget: Any) -> None:
        """The result's report, written meanwhile."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.html"
            widget.figures.saveReport(str(report))
            wait_until(lambda: "Written" in widget.ui.exportLabel.text)
            self.assertIn("Streak amplitude", report.read_text(encoding="utf-8"))

    def preview(self, widget: Any) -> None:
        """The slice in view, beside its original."""
        widget.ui.previewButton.click()
        wait_until(lambda: "This slice" in widget.ui.previewLabel.text)
        self.assertIn("Preview", shown_in("MarCorrected").GetName())

    def test_bad_input(self) -> None:
        """What cannot be corrected is refused beside the selector."""
        widget = self.panel()
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        widget.ui.inputSelector.setCurrentNode(empty)
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("no voxels", widget.ui.inputMessageLabel.text)
        volume = make_volume()
        slicer.util.arrayFromVolume(volume)[...] = 100
        slicer.util.arrayFromVolumeModified(volume)
        widget.ui.inputSelector.setCurrentNode(volume)
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("Hounsfield", widget.ui.inputMessageLabel.text)

    def test_queue_and_cancel(self) -> None:
        """Two volumes one after the other; the second is cancelled and leaves nothing."""
        self.delayDisplay("Queue")
        widget = self.panel()
        for name in ("First", "Second"):
            widget.ui.inputSelector.setCurrentNode(make_volume(name))
            widget.ui.applyButton.click()
        first, second = widget.logic.jobs.handles()[-2:]
        second.cancel()
        wait_until(lambda: widget.logic.jobs.idle)
        self.assertTrue(first.done)
        self.assertFalse(second.done)
        self.assertEqual(first.nodes.corrected.GetName().split()[-1], "First")
        self.assertEqual(len(slicer.util.getNodes("*NMAR Second*")), 0)

    def test_closed_scene(self) -> None:
        """Closing the scene in mid-job ends the job and adds nothing to the next scene."""
        widget = self.panel()
        widget.ui.inputSelector.setCurrentNode(make_volume())
        widget.ui.applyButton.click()
        (handle,) = widget.logic.jobs.handles()[-1:]
        wait_until(lambda: handle.state.value == "running")
        slicer.mrmlScene.Clear()
        wait_until(lambda: handle.ended)
        self.assertFalse(handle.done)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), [])

    def test_saved_scene(self) -> None:
        """The panel comes back as it was saved, with result and figures."""
        self.delayDisplay("Save and load")
        widget = self.panel()
        widget.ui.inputSelector.setCurrentNode(make_volume())
        widget.ui.methodComboBox.setCurrentText(methods()["li"].label)
        widget.ui.applyButton.click()
        wait_until(lambda: widget.ui.measuresTable.rowCount > 5)
        rows = widget.ui.measuresTable.rowCount
        name = widget.ui.resultSelector.currentNode().GetName()
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear()
            slicer.util.loadScene(path)
        widget = self.panel()
        self.assertEqual(widget.ui.inputSelector.currentNode().GetName(), "Two rods")
        self.assertEqual(widget.ui.resultSelector.currentNode().GetName(), name)
        self.assertEqual(widget.ui.measuresTable.rowCount, rows)
        self.assertEqual(widget._parameterNode.method, "li")
