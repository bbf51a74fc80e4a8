"""``mar place`` and ``mar dataset`` on the hips of a phantom, and variants of them in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_support import run, snapshot, stored
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.volume import CTVolume
from phantom_support import HIP_BONES, pelvis_files, small_pelvis
from simulate_support import QUICK
from SimulateImplantsLib.cases.label_files import read_bones
from SimulateImplantsLib.cases.options import SimulationOptions
from SimulateImplantsLib.cases.plan_files import read_plan
from SimulateImplantsLib.dataset.variants import Variants, variant, write_variants
from SimulateImplantsLib.phantoms import Phantom
from SimulateImplantsLib.placement.patient import Bones, measure_patient

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return small_pelvis()


@pytest.fixture(scope="module")
def folder() -> Path:
    return pelvis_files()


@pytest.fixture(scope="module")
def bones(folder: Path) -> tuple[CTVolume, Bones]:
    volume = read_volume(folder / "ct.nii.gz")
    return volume, Bones(read_bones(folder / "masks", volume))


def test_prosthesis_in_labelled_hips(
    folder: Path, phantom: Phantom, tmp_path: Path, capfd: Capture
) -> None:
    before = snapshot(folder)
    command = ["place", folder / "ct.nii.gz", tmp_path / "plan.json", "--kind", "total-hip"]
    outcome = run(capfd, *command, "--segmentation", folder / "masks", "--quiet")
    assert outcome.code == 0, outcome
    assert snapshot(folder) == before
    placed = {(i.kind, i.attributes["side"]): i for i in read_plan(tmp_path / "plan.json").implants}
    kinds = ("hip-stem", "femoral-head", "acetabular-cup")
    assert set(placed) == {(kind, side) for kind in kinds for side in ("left", "right")}
    for truth in phantom.truth.hips:
        for kind in kinds[1:]:
            centre = placed[kind, truth.side].matrix[:3, 3]
            assert np.linalg.norm(centre - truth.head_centre_ras) < 3.0
        stem = placed["hip-stem", truth.side].matrix
        assert abs(stem[:3, 2] @ truth.shaft_axis) > np.cos(np.deg2rad(5))
    table = outcome.out.splitlines()
    assert any(line.startswith("acetabular-cup left") and "%" in line for line in table)


def test_nail_at_a_click_in_plain_bone(
    folder: Path, phantom: Phantom, tmp_path: Path, capfd: Capture
) -> None:
    truth = next(hip for hip in phantom.truth.hips if hip.side == "right")
    click = ",".join(f"{v:.1f}" for v in truth.head_centre_ras + np.array([4.0, -5.0, 5.0]))
    command = ["place", folder / "ct.nii.gz", tmp_path / "plan.json", "--kind", "short-nail"]
    outcome = run(capfd, *command, f"--click=hip={click}", "--bone-threshold", 160, "--quiet")
    assert outcome.code == 0, outcome
    (nail,) = read_plan(tmp_path / "plan.json").implants
    assert (nail.kind, nail.attributes["side"]) == ("cephalomedullary-nail", "right")
    lag = nail.matrix[:3, :3] @ nail.make().lag_axis  # type: ignore[attr-defined]
    to_head = truth.head_centre_ras - nail.matrix[:3, 3]
    assert np.linalg.norm(to_head - lag * (to_head @ lag)) < 3.0


def test_realistic_cases_have_their_metal_in_the_bones(
    folder: Path, phantom: Phantom, tmp_path: Path, capfd: Capture
) -> None:
    config = {
        "cts": [
            {
                "ct": str(folder / "ct.nii.gz"),
                "segmentation": str(folder / "masks"),
                "sites": ["hip"],
            }
        ],
        "mix": {"realistic": 1.0},
        "cases": 2,
        "model": "missing-trace",
        "seed": 22,  # a nail, and a prosthesis
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    options = [*QUICK, "--set", "bins=None", "--no-reference", "--quiet"]
    outcome = run(capfd, "dataset", tmp_path / "config.json", tmp_path / "set", *options)
    assert outcome.code == 0, outcome
    bone = np.any([phantom.labels[name] for name in HIP_BONES], axis=0)
    plans = []
    for case in (tmp_path / "set" / f"case-{i:05d}" for i in range(2)):
        marker = json.loads((case / "case.json").read_text())
        assert marker["kind"] == "realistic"
        plans.append(read_plan(case / "plan.json"))
        kinds = {item.kind for item in plans[-1].implants}
        assert kinds & {"hip-stem", "cephalomedullary-nail"}
        fraction = stored(case / "metal-fraction.nii.gz")
        first = json.loads((case / "simulation.json").read_text())["cut"]["first_slice"]
        within = bone[first : first + len(fraction)]
        # Heads fill the joint, necks bridge to it; stems and nails lie in the femur.
        assert fraction[within].sum() > 0.4 * fraction.sum()
    assert plans[0].to_dict() != plans[1].to_dict()


def test_variants_mix_anatomy_with_chance(bones: tuple[CTVolume, Bones]) -> None:
    volume, patient = bones[0], measure_patient(*bones, "total-hip")
    wanted = Variants("total-hip", 60, 3, 0.5)
    plans = [variant(volume, patient, wanted, index) for index in range(60)]
    assert plans[7].to_dict() == variant(volume, patient, wanted, 7).to_dict()
    random = [bool(plan.shapes) for plan in plans]
    assert 0.3 < np.mean(random) < 0.7
    for plan, by_chance in zip(plans, random, strict=True):
        assert bool(plan.implants) != by_chance
    assert all(variant(volume, patient, Variants("total-hip", 9, 3), i).implants for i in range(9))


def test_variants_in_a_folder_are_resumed(bones: tuple[CTVolume, Bones], tmp_path: Path) -> None:
    scan = SimulationOptions(preset("parallel", views=45), "missing-trace", with_reference=False)
    wanted = Variants("total-hip", 2, 5, 1.0)
    seen: list[float] = []
    made = write_variants(*bones, wanted, scan, tmp_path, progress=lambda f, _text: seen.append(f))
    assert made == (2, ())
    assert seen == sorted(seen) and seen[-1] == 1.0
    before = snapshot(tmp_path)
    assert {Path(name).parts[0] for name in before} == {"case-00000", "case-00001"}
    more = Variants("total-hip", 3, 5, 1.0)
    assert write_variants(*bones, more, scan, tmp_path) == (3, ())
    after = snapshot(tmp_path)
    assert before == {name: text for name, text in after.items() if "00002" not in name}
