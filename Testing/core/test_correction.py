"""The main job: what changes, what must not, and that the corrections help."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MetalArtifactReductionLib.correction import correct as correction_module
from MetalArtifactReductionLib.correction.correct import correct_volume, replace_in_trace
from MetalArtifactReductionLib.correction.options import RECONSTRUCTIONS
from MetalArtifactReductionLib.correction.recombination import (
    put_metal_back,
    restore_padding,
)
from MetalArtifactReductionLib.errors import Cancelled, DeviceError, InputError
from MetalArtifactReductionLib.evaluation.comparison import (
    UNCORRECTED,
    ScanWithTruth,
    measure_images,
)
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.methods.base import Method
from MetalArtifactReductionLib.methods.linear import interpolate_trace
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.simulation import SimulationResult, simulate_volume
from MetalArtifactReductionLib.tomography import (
    ImageGrid,
    ParallelGeometry,
    ParallelProjector,
    metal_path_mm,
)
from MetalArtifactReductionLib.volume import CTVolume
from support import shared_data


def thigh(rows: int = 128, cols: int = 128, spacing=(2.0, 1.5, 1.5), slices: int = 4) -> CTVolume:
    """Two round thighs of fat and muscle with a femur each, padding at the corners."""
    y, x = np.mgrid[:rows, :cols].astype(float)
    y = (y - (rows - 1) / 2) * spacing[1]
    x = (x - (cols - 1) / 2) * spacing[2]
    hu = np.full((rows, cols), -1000.0)
    for centre in (-46.0, 46.0):
        r = np.hypot(x - centre, y)
        hu[r <= 44] = -100.0
        hu[r <= 38] = 55.0
        hu[r <= 16] = 1100.0
        hu[r <= 10] = 30.0
    volume = np.repeat(hu[None], slices, axis=0)
    volume += np.random.default_rng(0).normal(0, 4, volume.shape)
    corner = np.hypot(x, y) > min(rows * spacing[1], cols * spacing[2]) / 2
    volume[:, corner & (hu == -1000)] = -1024.0
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return CTVolume(np.ascontiguousarray(volume, np.float32), affine)


def rod(volume: CTVolume, slices: slice, radius_mm: float = 6.0) -> np.ndarray:
    """A rod in the canal of the femur at smaller x."""
    _, rows, cols = volume.hu.shape
    _, dy, dx = volume.spacing_mm
    fraction = np.zeros(volume.hu.shape, np.float32)
    offsets = (np.arange(6) + 0.5) / 6 - 0.5
    y, x = np.mgrid[:rows, :cols].astype(float)
    inside = [
        np.hypot((x + b - (cols - 1) / 2) * dx + 46, (y + a - (rows - 1) / 2) * dy) <= radius_mm
        for a in offsets
        for b in offsets
    ]
    fraction[slices] = np.mean(inside, axis=0)
    return fraction


def grid_of(volume: CTVolume) -> ImageGrid:
    return ImageGrid(*volume.hu.shape[1:], volume.spacing_mm[1:])


def parallel_geometry_of(volume: CTVolume) -> ParallelGeometry:
    geometry = correct_volume(volume, method="li").parameters["geometry"]
    return ParallelGeometry(**geometry)


@pytest.fixture(scope="module")
def scan() -> SimulationResult:
    clean = thigh()
    parameters = preset("wide-field", views=600)
    return simulate_volume(clean, {"CoCrMo": rod(clean, slice(1, 4))}, parameters, seed=1)


def test_slices_without_metal_are_bit_identical_and_input_is_untouched(
    scan: SimulationResult,
) -> None:
    before = scan.corrupted.hu.copy()
    result = correct_volume(scan.corrupted)
    assert len(repr(result) + repr(scan)) < 900  # no arrays by the page
    assert np.array_equal(scan.corrupted.hu, before)
    assert np.array_equal(result.corrected.hu[0], before[0])
    assert not result.change_hu[0].any() and result.change_hu[2].any()
    assert np.array_equal(result.change_hu, result.corrected.hu - before)
    assert np.array_equal(result.corrected.ijk_to_ras, scan.corrupted.ijk_to_ras)
    assert result.corrected.hu.dtype == result.change_hu.dtype == np.float32
    assert result.method == "nmar" and result.parameters["reconstruction"] == "replace"


def test_nmar_beats_li_and_near_metal_li_the_input_from_the_image_alone(
    scan: SimulationResult,
) -> None:
    assert scan.reference is not None
    # Beside the metal that is shown, which is wider than the true metal by the scanner's blur.
    shown = np.maximum(scan.metal_fraction, segment_metal(scan.corrupted).fraction)
    case = ScanWithTruth("rod in the femur", scan.corrupted, scan.reference.hu, shown)
    images = {
        name: correct_volume(scan.corrupted, method=name, always=True).corrected.hu
        for name in ("li", "nmar")
    }
    images[UNCORRECTED] = scan.corrupted.hu
    rows = measure_images(case, {name: (hu, 0.0) for name, hu in images.items()})
    figures = {row.method: row.metrics for row in rows}
    none, li, nmar = (figures[m] for m in (UNCORRECTED, "li", "nmar"))
    # Lines across the other femur cost li far from the metal what they gain near it.
    assert nmar.rmse_body_hu < min(li.rmse_body_hu, none.rmse_body_hu)
    assert max(nmar.rmse_near_metal_hu, li.rmse_near_metal_hu) < 0.9 * none.rmse_near_metal_hu
    assert nmar.bone_dice > li.bone_dice + 0.02


def test_metal_and_bone_survive(scan: SimulationResult) -> None:
    result = correct_volume(scan.corrupted)
    full = result.metal_fraction == 1
    assert full.sum() > 50
    assert np.array_equal(result.corrected.hu[full], scan.corrupted.hu[full])
    # The cortex around the rod: 1100 HU before blur.
    _, rows, cols = scan.corrupted.hu.shape
    y, x = np.mgrid[:rows, :cols].astype(float)
    r = np.hypot((x - (cols - 1) / 2) * 1.5 + 46, (y - (rows - 1) / 2) * 1.5)
    cortex = (r > 12) & (r < 14)
    assert scan.reference is not None
    truth = scan.reference.hu[2][cortex].mean()
    assert result.corrected.hu[2][cortex].mean() == pytest.approx(truth, rel=0.2)


class Noisy(Method):
    """An inpainter that fills in noise everywhere, the measured bins included."""

    name = "noisy"

    def __call__(self, sinogram, trace, context):
        return sinogram + torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(0))


def test_only_the_trace_changes_whatever_the_method_returns() -> None:
    rng = torch.Generator().manual_seed(1)
    sinogram = torch.rand(2, 30, 40, generator=rng)
    trace = torch.rand(2, 30, 40, generator=rng) > 0.8
    filled = replace_in_trace(sinogram, trace, Noisy()(sinogram, trace, None))
    assert torch.equal(filled[~trace], sinogram[~trace])
    assert not torch.equal(filled[trace], sinogram[trace])
    with pytest.raises(ValueError, match="not finite"):
        replace_in_trace(sinogram, trace, sinogram / 0)
    with pytest.raises(ValueError, match="returned shape"):
        replace_in_trace(sinogram, trace, sinogram[:1])


def test_correction_hands_the_reconstruction_nothing_else(
    scan: SimulationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spy(how, original, fraction, sinogram, inpainted, reconstruct, spacing):
        seen.append((sinogram, inpainted))
        return original

    geometry = parallel_geometry_of(scan.corrupted)
    monkeypatch.setattr(correction_module, "recombine", spy)
    correct_volume(scan.corrupted, scan.metal_fraction, Noisy())
    (sinogram, inpainted) = seen[0]
    changed = sinogram != inpainted
    assert changed.any()
    operator = ParallelProjector(grid_of(scan.corrupted), geometry)
    assert changed.shape[1:] == operator.sinogram_shape
    path = metal_path_mm(operator, torch.from_numpy(scan.metal_fraction[1:4]))
    assert not changed[path == 0].float().mean() > 0.02  # the margin of one bin
    assert changed[path > 1.0].all()


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("method", ["li", "nmar"])
def test_every_variant_improves_the_image(
    scan: SimulationResult, method: str, reconstruction: str
) -> None:
    result = correct_volume(scan.corrupted, method=method, reconstruction=reconstruction)
    assert scan.reference is not None
    tissue = (scan.metal_fraction == 0) & (scan.reference.hu > -300) & (result.metal_fraction == 0)
    # Near the metal, but not its blur, which stays around it.
    pixels = ndimage.distance_transform_edt(result.metal_fraction == 0, sampling=(99, 1, 1))
    tissue &= (pixels > 2) & (pixels < 16)
    tissue[0] = False
    truth = scan.reference.hu[tissue]
    before = np.sqrt(((scan.corrupted.hu[tissue] - truth) ** 2).mean())
    after = np.sqrt(((result.corrected.hu[tissue] - truth) ** 2).mean())
    assert after < 0.9 * before


def test_result_does_not_depend_on_the_batch(scan: SimulationResult) -> None:
    results = [correct_volume(scan.corrupted, batch_slices=n).corrected.hu for n in (1, 2, 8)]
    for other in results[1:]:
        assert np.abs(other - results[0]).max() < 0.5


@pytest.mark.parametrize(
    ("rows", "cols", "spacing"), [(64, 95, (3.0, 3.0, 2.0)), (65, 65, (1.0, 3.1, 3.1))]
)
def test_odd_sizes_oblong_pixels_and_a_single_slice(rows, cols, spacing) -> None:
    clean = thigh(rows, cols, spacing, slices=1)
    fraction = rod(clean, slice(0, 1), 7.0)
    hu = clean.hu * (1 - fraction) + 3071 * fraction
    result = correct_volume(clean.with_hu(hu), fraction)
    assert result.corrected.hu.shape == (1, rows, cols)
    outside = (fraction == 0) & (clean.hu > -300)
    # No artifacts were put in, so few may come out (3 mm pixels: a bin is as wide as the cortex).
    assert np.abs(result.change_hu[outside]).mean() < 50


@pytest.mark.parametrize("dtype", ["int16", "float16", "float64", ">f4"])
def test_an_array_of_other_numbers_is_corrected_as_one_of_float32(
    scan: SimulationResult, dtype: str
) -> None:
    hu = scan.corrupted.hu.round().astype(dtype)
    given, same = (CTVolume(x, scan.corrupted.ijk_to_ras) for x in (hu, hu.astype(np.float32)))
    results = [correct_volume(v, scan.metal_fraction, "li", always=True) for v in (given, same)]
    assert np.array_equal(results[0].corrected.hu, results[1].corrected.hu)
    assert results[0].change_hu.dtype == np.float32


@pytest.mark.parametrize("pixel_mm", [None, 0.4])
def test_padding_comes_back(scan: SimulationResult, pixel_mm: float | None) -> None:
    given = scan.corrupted
    if pixel_mm is not None:
        given = CTVolume(given.hu, np.diag([pixel_mm, pixel_mm, 2.0, 1.0]))
    hu = given.hu.copy()
    hu[hu == -1024] = -3024
    result, other = (
        correct_volume(x, scan.metal_fraction, always=True) for x in (given.with_hu(hu), given)
    )
    assert np.array_equal(result.corrected.hu[hu == -3024], hu[hu == -3024])
    assert np.array_equal(result.corrected.hu[hu != -3024], other.corrected.hu[hu != -3024])


def test_padding_is_what_touches_a_corner() -> None:
    flat = np.full((1, 20, 20), -1000.0)
    original = flat.copy()
    original[0, 8:12, 8:12] = 50.0
    original[0, 9, 9] = -1000.0  # air inside, not connected to the corners
    restored = restore_padding(flat + 7.0, original)
    assert restored[0, 0, 0] == -1000 and restored[0, 9, 9] == -993


def test_dark_streaks_below_the_padding_are_corrected() -> None:
    """Scales that are not clipped show -1500 HU between two hips: streaks, not padding."""
    original = np.full((1, 20, 20), 40.0, np.float32)
    original[0, :3] = original[0, -3:] = -2000.0
    original[0, 8:12, 5:15] = -1500.0
    restored = restore_padding(np.full_like(original, 10.0), original)
    assert (restored[0, :3] == -2000).all() and (restored[0, -3:] == -2000).all()
    assert (restored[0, 3:-3] == 10).all()


def test_oblong_pixels_take_no_more_views_than_square_ones() -> None:
    hu = np.full((1, 64, 40), 40.0, np.float32)
    metal = np.zeros_like(hu)
    metal[0, 30:34, 18:22] = 1
    views = []
    for col_mm in (1.0, 3.0):  # the longer side is 64 or 120 of the smallest pixels: few
        volume = CTVolume(hu, np.diag([col_mm, 1.0, 1.0, 1.0]))
        views.append(correct_volume(volume, metal, "li").parameters["geometry"]["views"])
    assert views[0] == views[1]


def test_metal_put_back_stays_between_corrected_and_original() -> None:
    original = torch.tensor([[[3071.0, 2500.0, 800.0, 40.0]]])
    free = torch.tensor([[[50.0, 60.0, 300.0, 45.0]]])
    fraction = torch.tensor([[[1.0, 0.8, 0.3, 0.0]]])
    back = put_metal_back(free, original, fraction, fraction > 1)[0, 0]
    assert back[0] == 3071 and back[3] == 45
    assert back[1] == pytest.approx(0.8 * 3071 + 0.2 * 60) or back[1] == 2500
    assert 300 <= back[2] <= 800


def test_progress_and_cancel(scan: SimulationResult) -> None:
    told: list[tuple[float, str]] = []
    correct_volume(
        scan.corrupted,
        scan.metal_fraction,
        "li",
        batch_slices=1,
        progress=lambda f, m: told.append((f, m)),
    )
    fractions = [f for f, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(told) >= 5
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        correct_volume(
            scan.corrupted, scan.metal_fraction, "li", batch_slices=1, cancel=lambda: next(asked)
        )


class Hungry(Method):
    """Runs out of memory with more than ``most`` slices at once."""

    name = "hungry"

    def __init__(self, most: int, error: BaseException) -> None:
        self.most, self.error = most, error

    def __call__(self, sinogram, trace, context):
        if len(sinogram) > self.most:
            raise self.error
        return interpolate_trace(sinogram, trace)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_short_memory_takes_smaller_batches_then_says_so(
    scan: SimulationResult, error: BaseException
) -> None:
    told: list[str] = []
    result = correct_volume(
        scan.corrupted, scan.metal_fraction, Hungry(1, error), progress=lambda _, m: told.append(m)
    )
    assert any("memory is short: going on with 1 slices" in message for message in told)
    plain = correct_volume(scan.corrupted, scan.metal_fraction, "li", batch_slices=1)
    assert np.abs(result.corrected.hu - plain.corrected.hu).max() < 0.5
    with pytest.raises(DeviceError, match="not enough memory on cpu"):
        correct_volume(scan.corrupted, scan.metal_fraction, Hungry(0, error))


def test_other_errors_are_not_taken_for_short_memory(scan: SimulationResult) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        correct_volume(scan.corrupted, scan.metal_fraction, Hungry(0, RuntimeError("a bug")))


def test_bad_input_is_refused_in_one_line(scan: SimulationResult) -> None:
    volume, metal = scan.corrupted, scan.metal_fraction
    broken = volume.hu.copy()
    broken[0, 0, 0] = np.nan
    cases = [
        (dict(method="magic"), InputError, "choose one of li, nmar"),
        (dict(device="abacus"), DeviceError, "unknown device 'abacus'; this machine has cpu"),
        (dict(batch_slices=0), InputError, "give 1 or more"),
        (dict(metal_fraction=metal[:2]), InputError, "volume's own grid"),
        (dict(metal_fraction=metal * 0), InputError, "mask is empty"),
        (dict(metal_fraction=metal + np.inf), InputError, "NaN or infinite"),
        (dict(metal_fraction=volume.hu > -300), InputError, "of the body in its slices"),
        (dict(reconstruction="magic"), InputError, "choose one of replace"),
        (dict(method_options={"magic": 1}), InputError, "cannot be made with"),
    ]
    for options, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            correct_volume(volume, **{"metal_fraction": metal, **options})
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="NaN or infinite"):
        correct_volume(volume.with_hu(broken), metal)
    with pytest.raises(InputError, match="no metal found"):
        correct_volume(thigh())
    for other in ("ct.nii.gz", volume.hu):
        with pytest.raises(InputError, match=r"a CTVolume is needed.*read_volume"):
            correct_volume(other)  # type: ignore[arg-type]


def test_real_nail_loses_its_shadows_and_keeps_its_metal() -> None:
    volume = read_volume(shared_data("totalseg_example_hip_nail_3mm.nii.gz"))
    found = segment_metal(volume)
    result = correct_volume(volume, found.fraction)
    near = np.zeros(volume.hu.shape, bool)
    for k in found.slices:
        rows, cols = np.nonzero(found.fraction[k])
        near[k, rows.min() - 3 : rows.max() + 4, max(cols.min() - 3, 0) : cols.max() + 4] = True
    tissue = near & (found.fraction == 0)
    # Air inside a thigh is a shadow of the nail.
    assert (volume.hu[tissue] < -300).sum() > 5 * (result.corrected.hu[tissue] < -300).sum()
    full = found.fraction == 1
    assert np.array_equal(result.corrected.hu[full], volume.hu[full])
    without = np.setdiff1d(np.arange(len(volume.hu)), found.slices)
    assert np.array_equal(result.corrected.hu[without], volume.hu[without])
