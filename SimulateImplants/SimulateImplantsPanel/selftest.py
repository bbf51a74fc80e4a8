"""The module's self-test: runs inside Slicer, from the Reload & Test button or ctest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .choices import Model


def wait_until(done: Callable[[], bool], longest_s: float = 300.0) -> None:
    """Let Slicer go on until something is done."""
    until = time.monotonic() + longest_s
    while not done():
        if time.monotonic() > until:
            raise AssertionError(f"not done within {longest_s:.0f} s")
        slicer.app.processEvents()


class SimulateImplantsTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: screws and rod by hand, then the panel, then bad input."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        for test in (
            self.test_screws_and_rod,
            self.test_panel,
            self.test_bad_input,
            self.test_sample_data,
        ):
            self.setUp()
            test()

    def panel(self) -> Any:
        """The panel, open."""
        slicer.util.selectModule("SimulateImplants")
        widget = slicer.util.getModuleWidget("SimulateImplants")
        wait_until(lambda: bool(widget._parameterNode))
        return widget

    def makeVolume(self) -> Any:
        """A water cylinder with bone in the middle."""
        import numpy as np

        _z, y, x = np.mgrid[0:12, 0:96, 0:96]
        hu = np.where((x - 48) ** 2 + (y - 48) ** 2 < 40**2, 40, -1000)
        hu[(abs(x - 48) < 16) & (abs(y - 48) < 16)] = 400
        node = slicer.util.addVolumeFromArray(hu.astype(np.int16), name="Block of bone")
        node.SetSpacing(2.0, 2.0, 4.0)
        node.SetOrigin(-96.0, -96.0, -24.0)
        return node

    def addScrews(self, logic: Any, volume: Any) -> list[Any]:
        """Two screws, one above the other."""
        import numpy as np

        from SimulateImplantsLib.mrml import set_matrix

        screws = []
        for height in (-10.0, 12.0):
            screw = logic.tools.editing.add(volume, "pedicle-screw", "5.5 x 40 mm")
            matrix = screw.matrix()
            matrix[:3, 3] = np.array([4.0, -28.0, height])
            set_matrix(screw, matrix)
            screws.append(screw)
        return screws

    def test_screws_and_rod(self) -> None:
        """The rod follows a screw whose line is moved; the simulation shows streaks."""
        import numpy as np

        self.delayDisplay("Placing two screws and a rod")
        logic = self.panel().logic
        volume = self.makeVolume()
        self.assertTrue(logic.tools.follow())
        screws = self.addScrews(logic, volume)
        rod = logic.tools.editing.addRod(volume, screws)
        before = np.array(rod.implant.path_mm)
        line = screws[0].line
        point = np.array(line.GetNthControlPointPositionWorld(0))
        point[0] += 6.0
        line.SetNthControlPointPositionWorld(0, *point)
        np.testing.assert_allclose(screws[0].matrix()[:3, 3], point, atol=1e-4)
        moved = np.abs(np.array(rod.implant.path_mm) - before).max()
        self.assertGreater(moved, 3.0)
        original = slicer.util.arrayFromVolume(volume).copy()
        nodes = logic.simulate(volume, "trace-maximum", "parallel", device="cpu")
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), original)
        fraction = slicer.util.arrayFromVolume(nodes.fraction)
        self.assertGreater(fraction.max(), 0.9)
        corrupted = slicer.util.arrayFromVolume(nodes.corrupted)
        reference = slicer.util.arrayFromVolume(nodes.reference)
        self.assertGreater(np.abs(corrupted - reference)[fraction == 0].max(), 50)

    def test_panel(self) -> None:
        """Add, select, edit, remove from the panel."""
        self.delayDisplay("Driving the panel")
        widget = self.panel()
        self.assertIn('href="https://github.com/', slicer.modules.simulateimplants.helpText)
        self.assertFalse(widget.ui.simulateButton.enabled)
        volume = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(volume)
        self.assertFalse(widget.ui.simulateButton.enabled)  # there is no implant yet
        widget.ui.addButton.click()
        self.assertEqual(widget.ui.implantsTable.rowCount, 1)
        self.assertTrue(widget.ui.simulateButton.enabled)
        widget.ui.lengthSlider.value = 30
        (implant,) = widget.logic.implants()
        self.assertEqual(implant.implant.length_mm, 30)
        widget.ui.thresholdButton.click()
        wait_until(lambda: not widget.work.running)
        self.assertIsNotNone(widget.ui.boneSelector.currentNode())
        widget.ui.measureButton.click()
        wait_until(lambda: not widget.work.running)
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLTableNode")), 1)
        self.assertIn("4", widget.ui.hintLabel.text)
        widget.ui.voxelizeButton.click()
        wait_until(lambda: not widget.work.running)
        self.assertIn("cm", widget.ui.resultLabel.text)
        widget._parameterNode.model = Model.MISSING_TRACE
        widget.ui.simulateButton.click()
        self.assertTrue(widget.work.running)
        self.assertFalse(widget.ui.simulateButton.enabled)
        wait_until(lambda: not widget.work.running)
        self.assertIn("Slices with implants", widget.ui.resultLabel.text)
        widget.ui.implantsTable.selectRow(0)
        widget.ui.removeButton.click()
        self.assertEqual(widget.logic.implants(), [])
        self.assertEqual(widget.ui.implantsTable.rowCount, 0)

    def test_bad_input(self) -> None:
        """An empty volume is refused beside the selector."""
        widget = self.panel()
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        widget.ui.inputSelector.setCurrentNode(empty)
        self.assertFalse(widget.ui.addButton.enabled)
        self.assertIn("no voxels", widget.ui.inputMessageLabel.text)

    def test_sample_data(self) -> None:
        """Both phantoms are offered by the Sample Data module."""
        import SampleData

        offered = SampleData.SampleDataLogic.sampleDataSourcesByCategory("SimulateImplants")
        self.assertEqual(len(offered), 2)
