"""Two simulated hip heads in a real pelvis show what bilateral prostheses show."""

from __future__ import annotations

import numpy as np

from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.volume import CTVolume
from support import shared_data

LEFT, RIGHT, ROW = 195, 345, 285  # pixels: the femoral heads of this slice


def test_dark_band_between_two_hips():
    volume = read_volume(shared_data("tcga_coad_AY-4070A_abdomen_pelvis.nii.gz"))
    slice_ = CTVolume(volume.hu[12:13], volume.ijk_to_ras)
    y, x = np.mgrid[:512, :512]
    heads = np.minimum(np.hypot(y - ROW, x - LEFT), np.hypot(y - ROW, x - RIGHT))
    fraction = (20.5 - heads).clip(0, 1).astype(np.float32)[None]
    result = simulate_volume(slice_, {"CoCrMo": fraction}, preset("parallel"), seed=1)
    corrupted, reference = result.corrupted.hu[0], result.reference.hu[0]
    artifact = corrupted - reference

    between = np.s_[ROW - 8 : ROW + 8, LEFT + 45 : RIGHT - 45]
    assert artifact[between].mean() < -150  # hardened and starved: the dark band
    above = np.s_[ROW - 60 : ROW - 40, LEFT - 10 : LEFT + 10]
    assert artifact[above].mean() > 30  # bright across the line of the heads
    far = np.s_[ROW + 150 : ROW + 190, 230:290]
    assert abs(artifact[far].mean()) < 0.1 * abs(artifact[between].mean())
    assert corrupted[heads < 15].mean() > 2900  # metal saturates the scale

    # Without metal the scanner gives the patient back, with its own noise and blur.
    soft = (slice_.hu[0] > 0) & (slice_.hu[0] < 100)
    error = (reference - slice_.hu[0])[soft]
    assert abs(np.median(error)) < 6
    assert 5 < error.std() < 60
