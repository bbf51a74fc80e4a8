"""What is metal and what only looks like it: small scenes with a scanner's blur, and real scans."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal import CleanUpParameters, MetalSegmentation, segment_metal
from MetalArtifactReductionLib.metal.components import NO_BRIGHTER
from MetalArtifactReductionLib.physics.acquisition import PRESETS
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.volume import CTVolume
from support import SHARED_DATA, shared_data

FINE, SPACING = 3, (1.0, 0.6, 0.6)
SHAPE = (12, 80, 100)
METAL_HU, ENAMEL_HU, JAW_HU, TISSUE_HU = 9000.0, 2750.0, 1100.0, 40.0


class Scene:
    """Painted in mm, three times as fine as the pixels, then blurred as by a scanner."""

    def __init__(self) -> None:
        self.z, self.y, self.x = np.meshgrid(
            np.arange(SHAPE[0]) * SPACING[0],
            np.arange(SHAPE[1] * FINE) * SPACING[1] / FINE,
            np.arange(SHAPE[2] * FINE) * SPACING[2] / FINE,
            indexing="ij",
            sparse=True,
        )
        self.hu = np.full((SHAPE[0], SHAPE[1] * FINE, SHAPE[2] * FINE), -1000.0)

    def ball(self, centre, radii, hu) -> np.ndarray:
        """An ellipsoid; radii and centre (z, y, x) in mm."""
        inside = sum(
            ((axis - c) / r) ** 2
            for axis, c, r in zip((self.z, self.y, self.x), centre, radii, strict=True)
        )
        self.hu[inside <= 1] = hu
        return inside <= 1

    def box(self, low, high, hu) -> np.ndarray:
        inside = np.ones(self.hu.shape, bool)
        for axis, a, b in zip((self.z, self.y, self.x), low, high, strict=True):
            inside &= (axis >= a) & (axis <= b)
        self.hu[inside] = hu
        return inside

    def scanned(self, clip_hu: float | None = 3071.0, blur_mm: float = 0.45) -> CTVolume:
        sigma = (0.4, blur_mm / SPACING[1] * FINE, blur_mm / SPACING[2] * FINE)
        blurred = ndimage.gaussian_filter(self.hu, sigma, mode="nearest")
        hu = blurred.reshape(SHAPE[0], SHAPE[1], FINE, SHAPE[2], FINE).mean(axis=(2, 4))
        hu = hu + np.random.default_rng(3).normal(0, 8, SHAPE)
        if clip_hu is not None:
            hu = np.minimum(hu, clip_hu)
        return CTVolume(np.float32(hu.round()), np.diag([-0.6, -0.6, 1.0, 1.0]))


def inside(found: MetalSegmentation, z: float, y: float, x: float) -> bool:
    """Whether the place (mm) is metal."""
    return bool(found.mask[round(z / SPACING[0]), round(y / SPACING[1]), round(x / SPACING[2])])


def jaw(mouth_open: bool = False) -> Scene:
    """Cheeks, a jaw, a row of teeth with enamel around dentin; the mouth full of air if open."""
    scene = Scene()
    scene.ball((6, 24, 30), (40, 22, 28), TISSUE_HU)
    scene.box((0, 16, 8), (4, 26, 52), JAW_HU)
    for x in (6, 48):
        scene.box((0, 16, x), (4, 40, x + 6), JAW_HU)
    if mouth_open:
        scene.box((4.5, 0, 0), (12, 48, 60), -1000.0)
    for x in (12, 21, 30, 39, 48):
        scene.ball((4, 21, x), (7.5, 3.6, 4.0), ENAMEL_HU)
        scene.ball((4, 21, x), (6.0, 2.4, 2.8), 1700.0)
    return scene


@pytest.mark.parametrize("highest", [2980.0, 3071.0])
def test_enamel_that_reaches_the_end_of_the_scale_is_no_metal(highest: float) -> None:
    volume = jaw().scanned(None)
    hu = volume.hu * (highest / volume.hu.max())
    hu[7:9, 30:33, 35] = highest
    with pytest.raises(InputError, match="no metal found"):
        segment_metal(volume.with_hu(np.minimum(hu, highest)))


@pytest.mark.parametrize("clip_hu", [3071.0, 4095.0, None])
@pytest.mark.parametrize("mouth_open", [False, True])
def test_a_filling_is_metal_and_the_teeth_beside_it_are_not(
    clip_hu: float | None, mouth_open: bool
) -> None:
    scene = jaw(mouth_open)
    scene.ball((9, 21, 30), (2.5, 2.6, 3.0), METAL_HU)
    found = segment_metal(scene.scanned(clip_hu))
    assert inside(found, 9, 21, 30)
    teeth = [inside(found, z, 21, x + dx) for z in (4, 8) for x in (12, 48) for dx in (0, 3.6)]
    assert not any(teeth)


def test_enamel_as_bright_as_certain_metal_stays_a_tooth() -> None:
    """On fine pixels, beside a filling that a scale of 3071 HU cuts off."""
    hu = np.full((4, 100, 100), TISSUE_HU, np.float32)
    hu[:, 25:75, 25:75] = 1800.0
    hu[:, 40:52, 40:52] = 3071.0
    hu[:, 57:60, 38:54] = 2700.0
    found = segment_metal(CTVolume(hu, np.diag([0.4, 0.4, 1.0, 1.0])))
    assert found.mask[:, 40:52, 40:52].all()
    assert not found.fraction[:, 54:].any()


def test_a_clipped_voxel_does_not_make_the_skull_metal() -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 22, 28), TISSUE_HU)
    scene.ball((6, 24, 30), (60, 20, 26), 1850.0)
    scene.ball((6, 24, 30), (60, 16, 22), TISSUE_HU)
    volume = scene.scanned(None)
    hu = volume.hu.copy()
    hu[5, 11, 50] = 3071.0
    with pytest.raises(InputError, match="no metal found"):
        segment_metal(volume.with_hu(hu))


def test_veins_full_of_contrast_medium_are_no_metal_and_the_port_is() -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 23, 29), TISSUE_HU)
    scene.ball((6, 30, 24), (30, 3.2, 9.0), 2300.0)  # the subclavian vein
    scene.ball((6, 30, 17), (2, 1.6, 1.6), 3900.0)
    for z, y, x in ((4, 16, 40), (7, 33, 44)):  # in the arm, thin, as bright as they come
        scene.box((0, y - 0.9, x - 0.9), (12, y + 0.9, x + 0.9), 1900.0)
        scene.ball((z, y, x), (3.5, 1.1, 1.1), 4200.0)
    with pytest.raises(InputError, match=r"contrast medium.*--include \d"):
        segment_metal(scene.scanned())
    scene.box((3, 8, 26), (9, 12, 36), METAL_HU)
    found = segment_metal(scene.scanned())
    assert inside(found, 6, 10, 31)
    assert not any(inside(found, *vein) for vein in ((4, 16, 40), (7, 33, 44), (6, 30, 17)))


def test_a_calcification_is_no_clip() -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 22, 28), TISSUE_HU)
    scene.ball((6, 26, 20), (3, 2, 2), 2000.0)
    with pytest.raises(InputError, match="no metal found"):
        segment_metal(scene.scanned(None))
    scene.ball((6, 20, 40), (2, 1, 2), METAL_HU)
    found = segment_metal(scene.scanned(None))
    assert inside(found, 6, 20, 40) and not inside(found, 6, 26, 20)


@pytest.mark.parametrize("metal_hu", [9000.0, 15000.0, 30000.0])
def test_unclipped_metal_of_two_kinds_is_found(metal_hu: float) -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 22, 28), TISSUE_HU)
    scene.box((2, 20, 12), (10, 24, 18), metal_hu)
    scene.box((2, 20, 40), (10, 24, 46), 5000.0)
    found = segment_metal(scene.scanned(None))
    assert inside(found, 6, 22, 15) and inside(found, 6, 22, 43)


@pytest.mark.parametrize("clip_hu", [2000.0, 2976.0, 3071.0, 4095.0, None])
def test_a_screw_is_found_wherever_the_scale_ends(clip_hu: float | None) -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 22, 28), TISSUE_HU)
    scene.ball((6, 28, 30), (60, 10, 12), 350.0)
    scene.box((2, 14, 28), (10, 32, 33), METAL_HU)
    found = segment_metal(scene.scanned(clip_hu))
    # Blur widens what is clipped low.
    assert found.volume_mm3 == pytest.approx(9 * 18 * 5, rel=0.45 if clip_hu == 2000.0 else 0.3)


@pytest.mark.parametrize("clip_hu", [3071.0, None])
def test_a_wire_through_every_slice_is_found_though_blur_keeps_it_dark(
    clip_hu: float | None,
) -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (500, 22, 28), TISSUE_HU)
    scene.ball((6, 20, 24), (500, 0.6, 0.6), 4900.0)
    volume = scene.scanned(clip_hu)
    assert 2000 < volume.hu.max() < 2700
    found = segment_metal(volume)
    assert all(inside(found, z, 20, 24) for z in range(SHAPE[0]))


def test_unclipped_a_thin_plate_in_a_skull_is_metal_and_the_tip_of_a_tooth_is_none() -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (500, 22, 28), TISSUE_HU)
    for radii, hu in (((500, 20, 26), 1600.0), ((500, 16, 22), TISSUE_HU)):
        scene.ball((6, 24, 30), radii, hu)
    plate, tip = (3, 4.2, 26), (9, 4.8, 34)
    scene.box(plate, tip, 5600.0)
    volume = scene.scanned(None)
    assert 2800 < volume.hu.max() < 3900
    assert inside(segment_metal(volume), 6, 4.5, 30)
    scene.box(plate, tip, 1600.0)
    scene.ball((6, 6.5, 30), (3, 2, 4), 2600.0)
    scene.ball((6, 6.5, 30), (1.5, 1, 1), 2940.0)
    assert 2770 < scene.scanned(None).hu.max() < 2900
    scene.ball((6, 30, 30), (3, 3, 3), METAL_HU)
    found = segment_metal(scene.scanned(None))
    assert inside(found, 6, 30, 30) and not inside(found, 6, 6.5, 30)


def test_what_a_user_says_is_metal_is_not_taken_for_enamel() -> None:
    """A thin plate reaches 4000 HU at its screw only, and bone is as dense as teeth around it."""
    scene = Scene()
    scene.ball((6, 24, 30), (500, 22, 28), 1600.0)
    plate = scene.box((3, 10, 18), (9, 10.7, 42), 5600.0)
    scene.box((5, 10, 29), (7, 15, 31), METAL_HU)
    scan = scene.scanned(None)
    seen = plate.reshape(SHAPE[0], SHAPE[1], FINE, SHAPE[2], FINE).mean(axis=(2, 4)) > 0.5
    found = segment_metal(scan, threshold_hu=2300.0)
    assert found.fraction[seen & (scan.hu > 2300)].all()


def finger(wire: bool = True) -> Scene:
    scene = Scene()
    scene.ball((6, 24, 30), (500, 7.5, 7.5), TISSUE_HU)
    scene.ball((6, 24, 30), (500, 4.5, 4.5), 900.0)
    if wire:
        scene.box((0, 23.2, 29.2), (12, 24.8, 30.8), METAL_HU)
    return scene


@pytest.mark.parametrize("clip_hu", [3071.0, None])
def test_a_wire_in_a_finger_is_not_on_the_skin(clip_hu: float | None) -> None:
    assert inside(segment_metal(finger().scanned(clip_hu)), 6, 24, 30)


def with_lead() -> CTVolume:
    """A thigh with a lead on the skin and a speck of noise elsewhere."""
    scene = Scene()
    scene.ball((6, 24, 30), (60, 20, 27), TISSUE_HU)
    scene.box((4, 2.2, 28.5), (7, 4.4, 31.5), METAL_HU)
    return scene.scanned()


def test_what_lies_on_the_skin_is_left_out_and_the_message_says_how_to_keep_it() -> None:
    with pytest.raises(InputError, match=r"part 1, .*on the skin.*--include-surface.*--include 1"):
        segment_metal(with_lead())
    for said in (
        CleanUpParameters(include_surface=True),
        CleanUpParameters(include=(1,)),
        CleanUpParameters(include_near=((-30.0, -3.0, 5.0, 4.0),)),
    ):
        found = segment_metal(with_lead(), clean_up=said)
        assert inside(found, 5, 3.3, 30)
        assert [one.kept for one in found.components if not one.is_speck] == [True]


@pytest.mark.parametrize("depth_mm", [0.6, 6.0])
def test_staples_inside_are_metal_and_those_in_the_skin_if_asked(depth_mm: float) -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 20, 27), TISSUE_HU)
    top = 4 + depth_mm
    for x in (24, 36):
        scene.box((5, top, x - 3), (7, top + 0.8, x + 3), METAL_HU)
        for leg in (x - 3, x + 3):
            scene.box((5, top, leg - 0.4), (7, top + 4.4, leg + 0.4), METAL_HU)
    said = CleanUpParameters(include_surface=depth_mm < 1)
    found = segment_metal(scene.scanned(), clean_up=said)
    assert inside(found, 6, top + 2.6, 21) and inside(found, 6, top + 2.6, 33)
    if depth_mm < 1:
        with pytest.raises(InputError, match=r"part 2, .*--include-surface"):
            segment_metal(scene.scanned())


def two_clips() -> CTVolume:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 22, 28), TISSUE_HU)
    scene.box((5, 20, 12), (8, 23, 15), METAL_HU)
    scene.box((5, 26, 40), (7, 28, 42), METAL_HU)
    return scene.scanned()


def test_parts_can_be_excluded_by_number_and_by_place_and_keep_their_numbers() -> None:
    found = segment_metal(two_clips())
    assert [one.label for one in found.components] == [1, 2]
    larger = found.components[0]
    for said in (
        CleanUpParameters(exclude=(1,)),
        CleanUpParameters(exclude_near=((*larger.centre_ras, 2.0),)),
    ):
        fewer = segment_metal(two_clips(), clean_up=said)
        assert [(one.label, one.kept) for one in fewer.components] == [(1, False), (2, True)]
        assert fewer.components[0].remark == "excluded by the user"
        assert not inside(fewer, 6, 21.5, 13.5) and inside(fewer, 6, 27, 41)
    with pytest.raises(InputError, match=r"no part 7; there are parts 1 to 2"):
        segment_metal(two_clips(), clean_up=CleanUpParameters(include=(7,)))
    with pytest.raises(InputError, match=r"no bright part within 3 mm of R 200"):
        segment_metal(two_clips(), clean_up=CleanUpParameters(exclude_near=((200, 0, 0, 3),)))
    with pytest.raises(InputError, match="excluded by the user"):
        segment_metal(two_clips(), clean_up=CleanUpParameters(exclude=(1, 2)))


def test_the_volume_in_the_table_is_that_of_the_mask() -> None:
    for volume in (two_clips(), finger().scanned(), finger().scanned(None)):
        found = segment_metal(volume)
        assert found.volume_mm3 == pytest.approx(
            np.count_nonzero(found.mask) * float(np.prod(volume.spacing_mm))
        )


def real_scan(name: str) -> CTVolume:
    """A NIfTI file, or a packed scan by the reader that lies beside it."""
    path = shared_data(name)
    if path.suffix != ".npz":
        return read_volume(path)
    pytest.importorskip("jpeg_ls", reason="packed scans are JPEG-LS")
    spec = importlib.util.spec_from_file_location("read_ct_pack", path.parent / "read_ct_pack.py")
    assert spec is not None and spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    hu, spacing_mm, origin_mm, direction = reader.read_ct_pack(path)
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing_mm)[::-1]
    lps[:3, 3] = origin_mm
    return CTVolume(hu, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)


WITHOUT_METAL = [
    "acrin_flt_breast_001_abdomen_pelvis.nii.gz",
    "lidc_0314_thoracic_spine.nii.gz",
    "pancreatic_ct_cbct_CB001_abdomen.nii.gz",
    "tcga_coad_AY-4070A_abdomen_pelvis.nii.gz",
    "tcga_ov_09-2043_abdomen_pelvis.nii.gz",
    *sorted(
        f"packed/{one.name}"
        for one in SHARED_DATA.glob("packed/*.npz")
        if not one.name.startswith("metal_")
    ),
]


@pytest.mark.parametrize("name", WITHOUT_METAL)
def test_real_scans_without_metal_have_none(name: str) -> None:
    with pytest.raises(InputError, match="no metal found"):
        segment_metal(real_scan(name))


@pytest.mark.parametrize(
    ("name", "centres"),
    [
        ("packed/metal_cmb_crc_01068_contrast.npz", [(335, 168, 20)]),  # a port, and no vein
        ("packed/metal_acrin_flt_breast_001_port.npz", [(288, 190, 4)]),
        ("packed/metal_acrin_flt_breast_001_teeth.npz", [(218, 182, 4)]),
        ("packed/metal_sts_020_clip.npz", [(5, 237, 6), (30, 202, 4)]),
        ("tcga_thca_E3-A3E5_dental_metal.nii.gz", [(217, 162, 16)]),
        ("lungfcp_01-0001_sternal_wires.nii.gz", [(271, 150, 13)]),
        ("totalseg_example_hip_nail_3mm.nii.gz", [(21, 37, 6)]),
    ],
)
def test_real_metal_is_found_and_nothing_else(name: str, centres: list[tuple[int, ...]]) -> None:
    found = [one.centre_ijk for one in segment_metal(real_scan(name)).components if one.kept]
    assert len(found) == len(centres)
    for centre, wanted in zip(sorted(found), sorted(centres), strict=True):
        assert centre == pytest.approx(wanted, abs=3)


@pytest.mark.parametrize("clip_hu", [(-1024.0, 3071.0), None])
def test_a_filling_in_a_real_tooth_on_fine_pixels_is_all_that_is_metal(clip_hu) -> None:
    """Enamel of this jaw, 0.39 mm, reaches 2800 HU, more than certain metal by itself."""
    jaw = real_scan("packed/cptac_hnscc_C3L-04844_jaw.npz")
    k, row, col = np.ogrid[: len(jaw.hu), :512, :512]
    filling = (np.hypot(row - 127, col - 310) * jaw.spacing_mm[1] < 2.0) & (abs(k - 26) < 2)
    scanner = replace(PRESETS["reference"], hu_clip=clip_hu)
    scan = simulate_volume(jaw, {"Ti6Al4V": np.float32(filling)}, scanner, with_reference=False)
    found = segment_metal(scan.corrupted)
    away = ndimage.distance_transform_edt(~filling[26], sampling=jaw.spacing_mm[1])
    assert found.mask[filling].all()
    assert not found.fraction[:, away > 2.0].any()


def test_what_only_the_users_threshold_calls_metal_is_named() -> None:
    scene = Scene()
    scene.ball((6, 24, 30), (60, 22, 28), TISSUE_HU)
    scene.box((5, 20, 12), (8, 23, 15), METAL_HU)
    scene.box((5, 26, 40), (9, 32, 46), 1400)
    found = segment_metal(scene.scanned(), threshold_hu=1000)
    assert [one.remark for one in found.components if one.highest_hu < 2000] == [NO_BRIGHTER]
    assert [one.remark for one in found.components if one.highest_hu > 2000] == ["metal"]
