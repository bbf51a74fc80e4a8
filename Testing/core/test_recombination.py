"""The steps from a method's image to the one that is shown."""

from __future__ import annotations

import numpy as np
import torch

from MetalArtifactReductionLib.correction.recombination import (
    agreed_change,
    keep_bone,
    put_metal_back,
    without_rims,
)

SIDE, PIXEL_MM = 160, 1.2
ROW, COL = np.mgrid[:SIDE, :SIDE].astype(float)


def test_change_is_taken_where_it_leads_to_the_proposal() -> None:
    """Streaks to the left are taken away, others drawn to the right: only the former is wanted."""
    stripes = 120.0 * np.sin(ROW / 2)
    left, right = stripes * (COL < 70), stripes * (COL > 90)
    original, proposed = torch.from_numpy(np.float32([50 + left, 50 + 0 * left]))[:, None]
    corrected = torch.from_numpy(np.float32([50 + right]))
    spacing = (PIXEL_MM, PIXEL_MM)
    taken = agreed_change(corrected, original, proposed, spacing)
    error = (taken - proposed).abs()[0]
    assert error[20:-20, :60].max() < 1 and error[20:-20, 100:].max() < 2
    assert torch.allclose(agreed_change(proposed, original, proposed, spacing), proposed, atol=1e-2)
    faint = agreed_change(original + 2.0, original, original - 2.0, spacing)
    assert (faint > original + 1.8).all(), "noise decides nothing"
    wild = torch.from_numpy(np.random.default_rng(3).normal(0, 1e4, taken.shape).astype(np.float32))
    bounded = agreed_change(corrected, original, wild, spacing)
    assert (bounded <= torch.maximum(corrected, original) + 0.01).all()
    assert (bounded >= torch.minimum(corrected, original) - 0.01).all()


def test_places_of_8_mm_decide_for_themselves() -> None:
    at = (COL * PIXEL_MM) % 16.0
    wanted, clear = at < 8, (abs(at % 8.0 - 4.0) < 1)[20:-20, 20:-20]
    stripes = 120.0 * np.sin(ROW / 2)
    original, corrected = (
        torch.from_numpy(np.float32([50 + stripes * where])) for where in (wanted, ~wanted)
    )
    taken = agreed_change(
        corrected, original, torch.full_like(original, 50.0), (PIXEL_MM, PIXEL_MM)
    )
    assert np.abs(taken.numpy()[0, 20:-20, 20:-20] - 50)[clear].max() < 25


def test_certain_metal_is_put_back_whatever_is_said_of_it() -> None:
    original = torch.tensor([[[3071.0, 2700.0, 900.0, 40.0]]])
    free = torch.tensor([[[50.0, 60.0, 300.0, 45.0]]])
    certain = torch.tensor([[[True, True, False, False]]])
    back = put_metal_back(free, original, torch.zeros_like(free), certain)
    assert torch.equal(back, torch.tensor([[[3071.0, 2700.0, 300.0, 45.0]]]))


def test_bone_that_both_images_show_is_kept_and_streaks_are_not() -> None:
    original = torch.full((1, 30, 30), 50.0)
    proposed, corrected = original.clone(), original.clone()
    original[0, 5:10], proposed[0, 5:10] = 1500.0, 1400.0  # a bone that the correction lost
    original[0, 20:25] = 1500.0  # a streak
    kept = keep_bone(corrected, original, proposed, torch.zeros_like(original))
    assert (kept[0, 5:10] == 1500).all() and (kept[0, 10:] == 50).all()
    assert torch.equal(keep_bone(original, original, proposed, torch.zeros_like(kept)), original)


def test_close_to_metal_nothing_is_darker_than_both_images_nor_far_brighter_than_the_proposal() -> (
    None
):
    original = torch.full((1, 60, 40), 50.0)
    proposed, corrected, metal = original.clone(), original.clone(), torch.zeros(1, 60, 40)
    metal[0, 30, 20] = 1.0
    corrected[0, 28] = -400.0  # a shadow beside the metal
    corrected[0, 29] = 400.0  # a bright rim
    original[0, 31], corrected[0, 31] = 900.0, 700.0  # one of the original's, half gone
    original[0, 32], corrected[0, 32] = -300.0, -250.0  # a shadow of the original's, half filled
    proposed[0, 33], corrected[0, 33] = -300.0, -400.0  # one that is proposed, and deeper
    proposed[0, 34], corrected[0, 34] = 300.0, 370.0  # bone, of which the proposal shows too little
    corrected[0, 2], corrected[0, 3] = -400.0, 400.0  # far away

    def shown(teeth: float) -> torch.Tensor:
        return without_rims(corrected, original, proposed, metal, torch.tensor([teeth]), (1.0, 2.0))

    out = shown(0.0)
    near = out[0, 27:35, 18:23]  # 4 mm are two columns
    expected = [50.0, 0.0, 62.5, 50.0, 62.5, -250.0, -300.0, 370.0]
    assert torch.allclose(near, torch.tensor(expected)[:, None].expand_as(near))
    assert torch.equal(out[0, :, :16], corrected[0, :, :16])
    steps = out[0, 28, 20:26].diff().abs()
    assert out[0, 28, 25] == -400.0 and steps.max() < 0.5 * 400.0
    assert torch.equal(out[0, :4], corrected[0, :4])
    in_teeth = shown(1.0)
    assert torch.equal(in_teeth[0, 31], corrected[0, 31]), "enamel is no rim"
    assert torch.equal(in_teeth[0, :31], out[0, :31]) and torch.equal(in_teeth[0, 32:], out[0, 32:])


def test_the_blur_of_metal_is_not_kept_for_bone() -> None:
    original, metal = torch.full((1, 30, 30), 50.0), torch.zeros(1, 30, 30)
    metal[0, 12:16, 12:16] = 1.0
    original[0, 11:17, 11:17] = 1200.0
    kept = keep_bone(torch.full_like(original, 50.0), original, original, metal)
    assert kept[0, 11, 11:17].max() < 250.0
