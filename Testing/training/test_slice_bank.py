"""The bank of training slices on disk, what is drawn from it, and the scanners that it is shown."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from bank_support import body_hu, small_bank, write_small_bank
from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.tomography.attenuation import MU_WATER_PER_MM
from MetalArtifactReductionLib.training.clean_blocks import METALS, draw_block
from MetalArtifactReductionLib.training.gantries import Gantries, draw_beam, draw_gantry
from MetalArtifactReductionLib.training.slice_bank import (
    FittedMetal,
    SliceBank,
    read_bank,
    to_steps,
    write_bank,
)

CPU = torch.device("cpu")


def test_hu_come_back_in_steps_of_four(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hu = rng.uniform(-3024, 3500, (3, 17, 23))
    hu[0, 0, :5] = -1024, -1000, -998.1, 2999, 3071
    bank = small_bank()
    steps = to_steps(hu)
    odd = type(bank.volumes[0])("odd sides, full range", steps, 0.7421875)
    write_bank(tmp_path / "b.npz", [*bank.volumes, odd], bank.metal)
    back = read_bank(tmp_path / "b.npz")
    assert [v.name for v in back.volumes] == ["one", "two", "odd sides, full range"]
    assert back.volumes[2].pixel_mm == 0.7421875
    read = back.volumes[2].hu(0, 3)
    assert read.dtype == np.float32 and read.shape == hu.shape
    assert np.abs(read - hu.clip(-1000, 3000)).max() <= 2.0
    assert not (read % 4).any() and np.array_equal(to_steps(read), steps)
    assert np.array_equal(back.volumes[0].hu(2, 3), body_hu(6, 700.0, 8.0)[2:5])
    (fitted,), (before,) = back.metal, bank.metal
    assert (fitted.volume, fitted.corner, fitted.materials) == (0, (1, 30, 38), before.materials)
    assert np.array_equal(fitted.shares, before.shares) and fitted.shares.dtype == np.uint8


def test_a_bank_is_not_overwritten_and_needs_no_pickle(tmp_path: Path) -> None:
    path = write_small_bank(tmp_path / "b.npz")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="not overwritten"):
        write_small_bank(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with np.load(path, allow_pickle=False) as file:  # numpy's own reader is content
        assert all(file[name].dtype != object for name in file.files)


def _pickled(path: Path) -> None:
    np.savez(path, format=np.array(1), names=np.array([{"a": 1}], dtype=object))


def _plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"format": 1}))


def _other_arrays(path: Path) -> None:
    np.savez(path, image=np.zeros(3))


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _later(path: Path) -> None:
    np.savez(path, format=np.array(2), names=np.array([], dtype=str))


def _no_volumes(path: Path) -> None:
    write_bank(path, [], [], overwrite=True)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def _scribbled(path: Path) -> None:
    """Bytes changed in the middle of the first slices."""
    with ZipFile(path) as archive:
        member = archive.getinfo("low0.npy")
    data = bytearray(path.read_bytes())
    start = member.header_offset + 120
    data[start : start + 40] = b"\xa5" * 40
    path.write_bytes(data)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, r"no such file; make it with mar train METHOD --cts"),
        (_pickled, "no bank of training slices"),
        (_plain_pickle, "no bank of training slices"),
        (_other_arrays, "no bank of training slices"),
        (_one_array, "no bank of training slices"),
        (_later, "later version"),
        (_no_volumes, "holds no slices"),
        (_cut, "no bank of training slices"),
        (_scribbled, "no bank of training slices"),
        (_emptied, "the file is empty"),
        (_folder, "is a folder"),
    ],
)
def test_files_that_are_no_bank_are_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    path = write_small_bank(tmp_path / "b.npz")
    damage(path)
    with pytest.raises(InputError, match=words) as caught:
        read_bank(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def _draw(bank: SliceBank, seed: int, slices: int = 4):  # type: ignore[no-untyped-def]
    return draw_block(bank, slices, 48, 7.0, np.random.default_rng(seed), CPU)


def test_a_block_follows_from_its_random_numbers_alone() -> None:
    for seed in range(6):
        one, again, other = (_draw(small_bank(), s) for s in (seed, seed, seed + 100))
        assert torch.equal(one.hu, again.hu) and torch.equal(one.fractions, again.fractions)
        assert one.metals == again.metals
        assert not torch.equal(one.hu, other.hu)


def test_every_block_is_a_body_with_metal() -> None:
    for seed in range(40):
        block = _draw(small_bank(), seed)
        assert block.hu.shape == (4, 48, 48) and block.hu.dtype == torch.float32
        assert len(block.metals) == len(block.fractions) >= 1
        assert all(material(name).is_metal for name in block.metals)
        assert float(block.fractions.min()) >= 0.0 and float(block.fractions.max()) <= 1.0
        assert bool(block.fractions.any()) and block.fractions.shape[1:] == block.hu.shape
        assert float(block.hu.min()) > -1001.0 and float(block.hu.max()) < 1300.0
        # The ellipse has 35 % of the first slices' area, 384 mm wide; the blocks show 336 mm of
        # it, up to 1.22 times larger or smaller.
        body = float((block.hu > -300).float().mean())
        share = np.pi * 28 * 20 / 64**2 * (384 / 336) ** 2
        assert 0.8 * share / 1.22**2 < body < 1.25 * share * 1.22**2


def test_the_truth_does_not_know_the_metal() -> None:
    """Other shares, or none of cement, in the same places: the same tissue below."""
    bank = small_bank()
    (rod,) = bank.metal
    thinner = FittedMetal(rod.volume, rod.corner, rod.materials, (rod.shares // 3).astype(np.uint8))
    changed = SliceBank(bank.volumes, (thinner,))
    fitted = 0
    for seed in range(12):
        one, other = _draw(bank, seed), _draw(changed, seed)
        assert torch.equal(one.hu, other.hu)
        assert one.metals == other.metals and not set(one.metals) - set(METALS)
        # Exactly a third where the rod was taken, the same where shapes were drawn.
        ratio = float(other.fractions.sum() / one.fractions.sum())
        assert ratio == pytest.approx(1 / 3, abs=0.01) or ratio == 1.0
        fitted += ratio < 0.5
    assert 4 <= fitted <= 12


def test_fitted_metal_stays_at_its_place_in_the_anatomy() -> None:
    """The rod lies on the bone; whatever the block does to one, it does to the other."""
    bank = SliceBank(small_bank().volumes[:1], small_bank().metal)
    apart: dict[str, list[float]] = {"fitted": [], "transplanted": [], "shapes": []}
    for seed in range(80):
        block = _draw(bank, seed)
        # The first draw decides.
        kind = str(np.random.default_rng(seed).choice(list(apart), p=[0.5, 0.2, 0.3]))
        metal = block.fractions.sum(dim=0)
        k = int(metal.flatten(1).sum(dim=1).argmax())
        line = torch.arange(48.0)
        centres = [
            torch.stack([(x * line[:, None]).sum(), (x * line).sum()]) / x.sum()
            for x in (metal[k], (block.hu[k] > 300).float())
        ]
        apart[kind].append(float(torch.dist(*centres)))
    assert all(len(found) > 10 for found in apart.values())
    # Pixels of 7 mm: up to 1.5 pixels of 6 mm apart in the bank, moved by up to 2 in rows and in
    # columns, enlarged up to 1.22 times. Bending, which is strong in so small an image, adds to it.
    assert np.quantile(apart["fitted"], 0.9) < (1.5 + 2 * 2**0.5) * 1.22 * 6 / 7
    assert np.median(apart["transplanted"]) > 2 * np.median(apart["fitted"])


def test_without_fitted_metal_there_are_shapes() -> None:
    alloys = {_draw(small_bank(fitted=False), seed).metals for seed in range(30)}
    assert alloys == {(name,) for name in METALS}


@pytest.mark.parametrize("size", [512, 64])
def test_what_is_kept_for_testing_is_never_drawn(size: int) -> None:
    rng = np.random.default_rng(3)
    fans = windows = 0
    for _ in range(300):
        grid, gantry = draw_gantry(rng, size)
        beam = gantry.with_changes(**draw_beam(rng))
        assert beam.kvp != 120.0 and 80.0 <= beam.kvp <= 140.0
        assert beam.window not in ("hann", "cosine")
        assert beam.hu_clip is None  # clipped later, image by image
        pixel_mm = grid.spacing_mm[0] * size / 512
        assert grid.spacing_mm[0] == grid.spacing_mm[1] and 0.6 <= pixel_mm <= 1.0
        windows |= {"ramp": 1, "shepp-logan": 2, "hamming": 4}[beam.window]
        if beam.geometry == "fan":
            fans += 1
            source, detector = beam.source_isocentre_mm, beam.source_detector_mm
            assert abs(source - 550.0) > 15 and abs(source / detector - 550 / 950) > 1e-4
            # The detector sees the whole image: no truncation in training.
            geometry = beam.geometry_for(grid)
            half = geometry.source_isocentre_mm * np.sin(np.abs(geometry.fan_angles_rad).max())
            assert half >= grid.diagonal_mm / 2
    assert 0.5 < fans / 300 < 0.7 and windows == 7


def test_gantries_follow_from_the_seed() -> None:
    one, again, other = (Gantries(3, 64, seed) for seed in (1, 1, 2))
    assert len(one) == 3
    chosen = [[g.scanner(i, CPU).parameters for i in range(3)] for g in (one, again, other)]
    assert chosen[0] == chosen[1] and chosen[0] != chosen[2]
    assert len({p.to_json() for p in chosen[0]}) == 3
    scanner, correction = one.scanner(2, CPU), one.correction(2, CPU)
    assert one.scanner(2, CPU) is scanner and one.correction(2, CPU) is correction
    assert correction.projector.grid == scanner.grid
    water = torch.full((1, 64, 64), MU_WATER_PER_MM)
    assert correction.projector(water).shape[1] >= 544
