"""The tools that plan implants in CTs and pack both for training machines."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from MetalArtifactReductionLib.files.volumes import read_volume, write_volume
from MetalArtifactReductionLib.training.slice_bank import read_bank
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.cases.plan_files import metal_of, read_plan
from SimulateImplantsLib.voxels.metal import slices_of, slices_with, voxelize_metal
from support import REPOSITORY, shared_data

PLANS = REPOSITORY / "Testing" / "Experiments" / "plans"


@pytest.fixture
def tool() -> ModuleType:
    path = REPOSITORY / "Testing" / "Experiments" / "pack_training_slices.py"
    spec = importlib.util.spec_from_file_location("pack_training_slices", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packed(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["pack", *map(str, arguments)])
    tool.main()


@pytest.mark.parametrize("name", ["pack_training_slices", "make_training_plans"])
def test_where_missing_cts_come_from_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"no such file .*Experiments/README\.md"):
        packed(importlib.import_module(name), monkeypatch, tmp_path, tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_slices_are_averaged_and_held_out_ones_kept_apart(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 2000, (11, 16, 18)).astype(np.float32)
    write_volume(CTVolume(hu, np.diag([0.75, 0.75, 1.0, 1.0])), tmp_path / "ct.nii.gz")
    monkeypatch.setattr(tool, "TRAINING", (("ct", 2, 10, 3),))
    monkeypatch.setattr(tool, "HELD_OUT", (("ct", 0, 2, 1), ("ct", 10, 11, 1)))
    packed(tool, monkeypatch, tmp_path, tmp_path / "bank.npz")
    packed(tool, monkeypatch, tmp_path, tmp_path / "held.npz", "--held-out")
    (volume,) = read_bank(tmp_path / "bank.npz").volumes
    assert (volume.name, volume.pixel_mm) == ("ct", 0.75)
    expected = np.stack([hu[2:5].mean(axis=0), hu[5:8].mean(axis=0)])
    assert np.abs(volume.hu(0, 2) - expected).max() <= 2.0 and len(volume.steps) == 2
    held = read_bank(tmp_path / "held.npz").volumes
    assert [len(v.steps) for v in held] == [2, 1]
    assert np.abs(held[1].hu(0, 1) - hu[10:]).max() <= 2.0


def test_implants_lie_where_they_were_planned(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real CT: as much metal, in the same places, as on the CT's own grid."""
    name = "lidc_0314_thoracic_spine"
    source = shared_data(f"{name}.nii.gz")
    plans = tmp_path / "plans"
    plans.mkdir()
    for file in (f"{name}-spine-0.json", "pancreatic_ct_cbct_CB001_abdomen-heldout-spine-0.json"):
        shutil.copy(PLANS / file, plans)
    # What is held out is never packed.
    shutil.copy(plans / f"{name}-spine-0.json", plans / f"{name}-heldout-spine-0.json")
    monkeypatch.setattr(tool, "PLANS", plans)
    volume = read_volume(source)
    plan = metal_of(read_plan(plans / f"{name}-spine-0.json"))
    low, count = slices_with(plan, volume)
    first = low + 1
    monkeypatch.setattr(tool, "TRAINING", ((name, first, first + 16, 2),))
    packed(tool, monkeypatch, source.parent, tmp_path / "bank.npz")
    (fitted,) = read_bank(tmp_path / "bank.npz").metal
    found = voxelize_metal(plan, slices_of(volume, low, count)).fractions
    assert fitted.materials == tuple(found) and fitted.volume == 0
    box = tuple(
        slice(corner, corner + length)
        for corner, length in zip(fitted.corner, fitted.shares.shape[1:], strict=True)
    )
    for shares, fraction in zip(fitted.shares, found.values(), strict=True):
        whole = np.zeros((16, *volume.hu.shape[1:]), np.float32)
        there = fraction[first - low : first - low + 16]
        whole[: len(there)] = there
        halves = (whole[::2] + whole[1::2]) / 2
        assert np.abs(shares / 255.0 - halves[box]).max() < 0.003
        assert shares.sum() / 255.0 == pytest.approx(halves.sum(), rel=0.01)
    assert fitted.shares.any()
