"""Own CTs as training slices: what is clean, what is left out and why, and who is held out."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank_support import small_bank, write_small_bank
from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.methods.registry import make_task
from MetalArtifactReductionLib.training.card import CardFacts, left_out, model_card
from MetalArtifactReductionLib.training.clean_slices import slice_ranges
from MetalArtifactReductionLib.training.metal_source import PackedMetal
from MetalArtifactReductionLib.training.packing import PackingOptions, pack
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.slice_bank import read_bank
from MetalArtifactReductionLib.volume import CTVolume
from training_support import small_ct

SIMPLE = PackingOptions(metal="simple")


def ct(slices: int = 14, slice_mm: float = 3.0, metal: slice = slice(0)) -> CTVolume:
    """A body that differs from slice to slice."""
    hu = small_ct(slices).hu + 5 * np.arange(slices, dtype=np.float32)[:, None, None]
    hu[metal, 28:34, 20:26] = 8000
    return CTVolume(hu, np.diag([-6.0, -6.0, slice_mm, 1.0]))


def unreadable() -> CTVolume:
    raise InputError("broken.nii: is cut off")


def packed(folder: Path, cts: dict[str, Any], options: PackingOptions = SIMPLE) -> Any:
    folder.mkdir()
    readers = {name: one if callable(one) else partial(replace, one) for name, one in cts.items()}
    return pack(readers, folder, options)


def test_slices_with_metal_without_body_and_too_few_are_left_out() -> None:
    volume = ct(40, metal=slice(24, 27))
    volume.hu[:3] = -1000
    ranges = slice_ranges(volume, least=10, most=100)
    assert [(one.first, one.last, one.reason.split(" above")[0]) for one in ranges] == [
        (0, 2, "no body"),
        (3, 21, ""),
        (22, 23, "within 5 mm of metal"),
        (24, 26, "metal"),
        (27, 28, "within 5 mm of metal"),
        (29, 39, ""),
    ]
    few = slice_ranges(volume, least=12, most=100)
    assert few[-1].reason == "only 11 clean slices in a row; 12 are needed"
    # The longest run first, from its middle.
    assert [(r.first, r.last) for r in slice_ranges(volume, 10, 11) if not r.reason] == [(7, 17)]


def test_whole_cts_are_held_out_and_every_slice_is_accounted_for(tmp_path: Path) -> None:
    thin = ct(30, 1.0)
    cts = {"a": ct(), "b": ct(13), "c": unreadable, "d": thin, "e": ct(14, metal=slice(5, 8))}
    found = {one.name: one for one in packed(tmp_path / "run", cts)}
    assert {name: one.use for name, one in found.items()} == {
        "a": "training",
        "b": "held-out",
        "c": "",
        "d": "training",
        "e": "",
    }
    assert left_out(found["c"]) == "is cut off"
    assert "metal above" in left_out(found["e"]) and "only" in left_out(found["e"])
    training = read_bank(tmp_path / "run" / "training")
    assert [one.name for one in training.volumes] == ["a:0-13", "d:0-29"]
    assert [one.name for one in read_bank(tmp_path / "run" / "held-out").volumes] == ["b:0-12"]
    # Two slices of 1 mm in one, in steps of 4 HU, from -1000 HU.
    means = np.clip((thin.hu[::2] + thin.hu[1::2]) / 2, -1000, 3000)
    assert np.abs(training.volumes[1].hu(0, 15) - means).max() <= 2.0
    assert {one.volume for one in training.metal} == {0, 1}
    with (tmp_path / "run" / "slices.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    counted = {name: 0 for name in "abde"}
    for row in rows:
        if row["ct"] in counted:
            counted[row["ct"]] += int(row["last"]) - int(row["first"]) + 1
    assert counted == {"a": 14, "b": 13, "d": 30, "e": 14}
    facts = CardFacts(
        "mine",
        "prior",
        "mar train",
        "1",
        "ab",
        3,
        list(found.values()),
        TrainerParameters(),
        {},
        10,
        60.0,
        {"rmse_body_hu": 12.0},
    )
    card = model_card(facts)
    assert "not trained on (b)" in card and "Trained on a, d." in card
    assert "| rmse body hu | 12 |" in card and "| c | none |  | 0 | is cut off |" in card


def test_a_killed_packing_goes_on_and_other_processes_take_what_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> CTVolume:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        packed(run, {"a": ct(), "b": killed})
    with pytest.raises(OutputError, match=r"holds packed slices already.*--resume"):
        pack({"a": ct}, run, SIMPLE)
    whole = pack({"a": killed, "b": ct}, run, SIMPLE, resume=True)  # a is not read again
    assert [one.use for one in whole] == ["training", "held-out"]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pack({"a": killed, "b": killed}, run, SIMPLE) == whole


def test_one_ct_is_split_and_none_is_told(tmp_path: Path) -> None:
    (one,) = packed(tmp_path / "one", {"a": ct(40)})
    assert one.use == "training and held-out"
    names = [read_bank(tmp_path / "one" / use).volumes[0].name for use in ("training", "held-out")]
    assert names == ["a:0-29", "a:30-39"]
    with pytest.raises(InputError, match=r"no CT with 10 clean.*of 2 \(2 CT: only 4 clean slices"):
        packed(tmp_path / "few", {"a": ct(4), "b": ct(4)})
    with pytest.raises(InputError, match="--held-out z: no such CT; there are: a"):
        packed(tmp_path / "held", {"a": ct(4)}, PackingOptions("simple", held_out=("z",)))


def test_packed_metal_is_that_of_the_ct_or_of_another(tmp_path: Path) -> None:
    path = write_small_bank(tmp_path / "bank.npz")
    bank, source = small_bank(), PackedMetal([str(path)])
    rod = bank.metal[0]
    volume = CTVolume(bank.volumes[0].hu(0, 6), np.diag([-6.0, -6.0, 2.0, 1.0]))
    rng = np.random.default_rng(0)
    places = []
    for _ in range(12):
        drawn = source.draw("one", volume, 4, rng)
        (fraction,) = drawn.fractions.values()  # the cement is no metal
        assert fraction[1:-1].any() and fraction.shape == (4, 64, 64)
        assert fraction[1:3].max() == 1.0
        places.append(np.argwhere(fraction[1] == 1.0).mean(axis=0))
    middle = np.array([rod.corner[1] + 2, rod.corner[2] + 2.5])
    near = np.abs(np.array(places) - middle).max(axis=1) <= 3
    assert near.any() and not near.all()
    write_small_bank(tmp_path / "none.npz", fitted=False)
    with pytest.raises(InputError, match="no implants are packed"):
        PackedMetal([str(tmp_path / "none.npz")])


def test_the_trace_cnn_is_validated_on_patients_that_it_does_not_see(tmp_path: Path) -> None:
    import torch

    write_small_bank(tmp_path / "training.npz")
    write_small_bank(tmp_path / "held-out.npz")
    options = {"bank": "training", "validation": "held-out", "masks": 4, "channels": 2}
    task: Any = make_task("trace-cnn", options, tmp_path, 0)
    network = task.networks()["generator"].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        figures = task.validate(network, torch.device("cpu")).figures
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    # Its last layer begins near nothing: what it gives is the line across the trace.
    assert figures["rmse"] == pytest.approx(figures["rmse_lines"], rel=0.05)
    assert task.facts().method["trained_on"].keys() == {"one", "two"}
    assert task.validation.fingerprint != task.samples.fingerprint
