"""Families on a patient's anatomy: chosen, clicked, proposed, judged, moved, undone, kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from driving import SHARED_DATA, Driver, check, click_in_slices

PELVIS = SHARED_DATA / "tcga_ov_09-2043_abdomen_pelvis.nii.gz"
NECK = "cptac_hnscc_C3L-04844_jaw.nii.gz"
BODIES = {"C6": (7, -47, -203), "C5": (6, -38, -193), "C4": (6, -29, -182), "C3": (6, -20, -170)}
"""RAS of cervical bodies, clicked from the lowest up."""


def settled(driver: Driver) -> Callable[[], bool]:
    return lambda: not driver.widget.work.running


def told(driver: Driver) -> None:
    """What the user reads, into the log."""
    ui = driver.ui
    table = ui.implantsTable
    for row in range(table.rowCount):
        cells = [table.item(row, column).text() for column in range(table.columnCount)]
        print("row:", " | ".join(cells), flush=True)
    for name in (
        "hintLabel", "boneMessageLabel", "implantsMessageLabel", "implantNotesLabel",
        "statusLabel", "resultLabel",
    ):  # fmt: skip
        label = getattr(ui, name)
        if label.text:
            print(f"{name}: {label.text}", flush=True)


def placed(driver: Driver, volume: Any, label: str, name: str, points: Mapping[str, Any]) -> None:
    """From the list to graded implants, with a picture of each step."""
    driver.open("SimulateImplants")
    driver.ui.inputSelector.setCurrentNode(volume)
    driver.choose("proposalComboBox", label)
    told(driver)
    driver.picture(f"{name}-chosen", "boneCollapsibleButton")
    if points:
        driver.click("placePointsButton")
        click_in_slices(points.values())
        driver.clicks += len(points) + 1
        nodes = driver.widget._parameterNode.points
        names = [nodes.GetNthControlPointLabel(index) for index in range(len(points))]
        check(names == list(points), f"the points are named {names}")
        driver.picture(f"{name}-points", "boneCollapsibleButton")
        told(driver)
    clicked(driver, "proposeButton", f"{name}-proposed")
    clicked(driver, "measureButton", f"{name}-graded")


def clicked(driver: Driver, button: str, name: str) -> None:
    """A button, what it says, and a picture of the implants."""
    driver.click(button, settled(driver))
    told(driver)
    driver.picture(name, "implantsCollapsibleButton")


def moved(driver: Driver, name: str) -> None:
    """One moved by hand, graded anew, and put back."""
    driver.ui.implantsTable.selectRow(0)
    (one,) = driver.widget.implants.selected()
    told(driver)
    driver.picture(f"{name}-selected", "selectedCollapsibleButton")
    driver.click("alignButton", settled(driver))
    driver.picture(f"{name}-along", "selectedCollapsibleButton")
    before = one.matrix()
    drag(one)
    driver.clicks += 2
    driver.wait(lambda: driver.ui.undoButton.visible)
    told(driver)
    clicked(driver, "measureButton", f"{name}-moved")
    driver.click("undoButton", settled(driver))
    told(driver)
    check(driver.ui.implantsTable.item(0, 0).text() == one.name, "Undo gave it another name")
    back = np.abs(one.matrix() - before).max()
    check(back < 1e-3, f"Undo left it {back:.3g} away")
    driver.picture(f"{name}-undone", "implantsCollapsibleButton")
    driver.click("straightenButton", settled(driver))


def drag(one: Any) -> None:
    """By its line where it has one, else by its transform."""
    if one.line is not None:
        tip = np.array(one.line.GetNthControlPointPositionWorld(1))
        one.line.SetNthControlPointPositionWorld(1, tip[0] + 6.0, *tip[1:])
        return
    matrix = one.matrix()
    matrix[:3, 3] += (6.0, 0.0, 0.0)
    one.transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))


def simulated(driver: Driver, name: str) -> None:
    kind = type(driver.widget._parameterNode.model)
    driver.widget._parameterNode.model = kind("trace-maximum")
    driver.click("simulateButton", settled(driver))
    told(driver)
    driver.picture(f"{name}-simulated", "resultCollapsibleButton")


def kept(driver: Driver, name: str) -> None:
    """Saved as a bundle, loaded into an empty scene."""
    ui = driver.ui
    before = table(ui.implantsTable)
    chosen = ui.proposalComboBox.currentText
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f"{name}.mrb")
        check(slicer.util.saveScene(path), "not saved")
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(path)
    driver.open("SimulateImplants")
    driver.picture(f"{name}-reloaded", "implantsCollapsibleButton")
    told(driver)
    after = table(ui.implantsTable)
    check(after == before, f"{before} became {after}")
    check(ui.proposalComboBox.currentText == chosen, ui.proposalComboBox.currentText)


def table(widget: Any) -> list[list[str]]:
    return [
        [widget.item(row, column).text() for column in range(widget.columnCount)]
        for row in range(widget.rowCount)
    ]


def whole(driver: Driver, volume: Any, label: str, name: str, points: Mapping[str, Any]) -> None:
    placed(driver, volume, label, name, points)
    moved(driver, name)
    simulated(driver, name)
    slicer.util.selectModule("Data")
    driver.window_picture(f"{name}-left")
    driver.open("SimulateImplants")
    kept(driver, name)


def alar_iliac(driver: Driver) -> None:
    """S2 alar-iliac screws in a real pelvis."""
    whole(driver, slicer.util.loadVolume(str(PELVIS)), "S2 alar-iliac screws", "s2ai", {})


def stent(driver: Driver) -> None:
    """A stent-graft in a real aorta."""
    whole(driver, slicer.util.loadVolume(str(PELVIS)), "Stent-graft in the aorta", "stent", {})


def lateral_mass(driver: Driver, folder: Path) -> None:
    """Lateral mass screws in a real neck, four clicks."""
    whole(driver, slicer.util.loadVolume(str(folder / NECK)), "Lateral mass screws", "neck", BODIES)
