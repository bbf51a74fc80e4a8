"""Files in, files out: exact values, exact geometry, whole outputs, errors in one line."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from image_support import DIRECTIONS, OBLIQUE, SUFFIXES, ct_values, image, one_line, points
from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.files.volumes import (
    read_volume,
    write_volume,
)
from support import shared_data


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", DIRECTIONS)
def test_round_trip_keeps_values_geometry_and_order(tmp_path: Path, suffix: str, name: str) -> None:
    array = ct_values((17, 33, 21))
    source = tmp_path / f"in{suffix}"
    sitk.WriteImage(image(array, DIRECTIONS[name]), str(source))
    given = sitk.ReadImage(str(source))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    volume = read_volume(source)
    written = write_volume(volume, tmp_path / f"out{suffix}")

    found = sitk.ReadImage(str(written))
    assert found.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(sitk.GetArrayFromImage(found), array)
    assert np.abs(points(found) - points(given)).max() < (2e-5 if ".nii" in suffix else 1e-9)
    again = read_volume(written)
    assert np.abs(again.ijk_to_ras - volume.ijk_to_ras).max() < 1e-6
    assert np.array_equal(again.hu, volume.hu)
    assert all(file.read_bytes() == content for file, content in before.items())
    # The acquisition axis comes first and the affine tells where each voxel is.
    assert np.abs(volume.ijk_to_ras[:3, 2]).argmax() == 2
    for index in ((3, 4, 5), (20, 32, 16)):
        place = np.array(given.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        col, row, slice_ = np.linalg.solve(volume.ijk_to_ras, [*place, 1])[:3]
        nearest = tuple(round(n) for n in (slice_, row, col))
        assert np.abs(np.array([slice_, row, col]) - nearest).max() < 1e-4
        assert volume.hu[nearest] == array[index[::-1]]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_the_voxel_type_stays(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = ct_values((3, 20, 24), dtype).astype("float32").astype(dtype)
    sitk.WriteImage(image(array), str(tmp_path / f"in{suffix}"))
    volume = read_volume(tmp_path / f"in{suffix}")
    assert volume.source is not None and volume.source.dtype == dtype
    found = sitk.GetArrayFromImage(
        sitk.ReadImage(str(write_volume(volume, tmp_path / f"out{suffix}")))
    )
    assert found.dtype == dtype and np.array_equal(found, array)


def test_corrected_values_are_rounded_and_limited_to_the_type(tmp_path: Path) -> None:
    sitk.WriteImage(image(ct_values((2, 20, 20))), str(tmp_path / "in.nrrd"))
    volume = read_volume(tmp_path / "in.nrrd")
    changed = volume.hu.copy()
    changed[0, 0, :5] = (-0.6, 0.4, 1.5, 40000.0, -40000.0)
    written = write_volume(volume.with_hu(changed), tmp_path / "out.nrrd")
    row = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))[0, 0]
    assert row[:5].tolist() == [-1, 0, 2, 32767, -32768]
    exact = write_volume(volume.with_hu(changed), tmp_path / "f.nrrd", dtype="float32")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(exact))), changed)


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 513, 65), (2, 1024, 67)])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_single_slices_and_odd_sizes(
    tmp_path: Path, shape: tuple[int, int, int], suffix: str
) -> None:
    array = ct_values(shape)
    sitk.WriteImage(image(array), str(tmp_path / f"in{suffix}"))
    volume = read_volume(tmp_path / f"in{suffix}")
    assert volume.hu.shape == shape
    written = write_volume(volume, tmp_path / f"out{suffix}")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(written))), array)


def test_a_two_dimensional_image_is_a_single_slice(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(ct_values((1, 64, 70))[0]), str(tmp_path / "in.nrrd"))
    assert read_volume(tmp_path / "in.nrrd").hu.shape == (1, 64, 70)
    sitk.WriteImage(sitk.GetImageFromArray(ct_values((1, 64, 70))[0]), str(tmp_path / "in.nii"))
    assert read_volume(tmp_path / "in.nii").hu.shape == (1, 64, 70)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_tilted_gantry_stays_tilted(tmp_path: Path, suffix: str) -> None:
    angle = np.radians(15)
    tilt = np.array([[1, 0, 0], [0, 1, np.sin(angle)], [0, 0, np.cos(angle)]])
    sitk.WriteImage(image(ct_values((6, 20, 20)), tilt), str(tmp_path / f"in{suffix}"))
    volume = read_volume(tmp_path / f"in{suffix}")
    assert volume.source is not None and "15.00 deg" in volume.source.warnings[0]
    written = write_volume(volume, tmp_path / f"out{suffix}")
    given, found = (sitk.ReadImage(str(p)) for p in (tmp_path / f"in{suffix}", written))
    assert np.abs(points(found) - points(given)).max() < 1e-9
    with pytest.raises(OutputError, match=r"15\.00 deg .*write \.nrrd"):
        write_volume(volume, tmp_path / "out.nii.gz")


def test_nifti_written_here_is_read_alike_by_itk(tmp_path: Path) -> None:
    """Both orientations in the header, sform and qform, say the same."""
    sitk.WriteImage(image(ct_values((5, 20, 24)), OBLIQUE), str(tmp_path / "in.nrrd"))
    volume = read_volume(tmp_path / "in.nrrd")
    path = write_volume(volume, tmp_path / "out.nii")
    raw = bytearray(path.read_bytes())
    expected = points(sitk.ReadImage(str(tmp_path / "in.nrrd")))
    for code in (252, 254):  # without qform, without sform
        edited = bytearray(raw)
        edited[code : code + 2] = bytes(2)
        other = tmp_path / f"{code}.nii"
        other.write_bytes(edited)
        assert np.abs(points(sitk.ReadImage(str(other))) - expected).max() < 2e-4
        ours = read_volume(other).ijk_to_ras
        assert np.abs(ours - volume.ijk_to_ras).max() < 1e-4  # float32 in the header


def test_two_orientations_in_one_header_are_read_as_itk_reads_them(tmp_path: Path) -> None:
    sitk.WriteImage(image(ct_values((3, 20, 24))), str(tmp_path / "in.nii"))
    raw = bytearray((tmp_path / "in.nii").read_bytes())
    struct.pack_into("<12f", raw, 280, *np.c_[OBLIQUE * (0.712345678, 0.9, 2.5), (7, 8, 9)].ravel())
    for qform in (0, 1, 2, 4):
        for sform in (0, 1, 2, 4):
            struct.pack_into("<2h", raw, 252, qform, sform)
            path = tmp_path / f"{qform}{sform}.nii"
            path.write_bytes(raw)
            itk = sitk.ReadImage(str(path))
            for index in ((0, 0, 0), (23, 19, 2)):
                place = np.array(itk.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
                volume = read_volume(path)
                back = np.linalg.solve(volume.ijk_to_ras, [*place, 1])[:3]
                assert np.abs(back - index).max() < 1e-4


def test_nifti_2_big_endian_scaled_and_in_metres(tmp_path: Path) -> None:
    array = ct_values((3, 20, 24))
    sitk.WriteImage(image(array), str(tmp_path / "in.nii"))
    raw = (tmp_path / "in.nii").read_bytes()

    scaled = bytearray(raw)
    scaled[112:120] = struct.pack("<2f", 1.0, -24.0)
    (tmp_path / "scaled.nii").write_bytes(scaled)
    volume = read_volume(tmp_path / "scaled.nii")
    assert np.array_equal(volume.hu, array - 24.0)
    assert volume.source is not None and volume.source.dtype == "int16"

    metres = bytearray(raw)
    metres[123] = 1
    (tmp_path / "metres.nii").write_bytes(metres)
    itk = sitk.ReadImage(str(tmp_path / "metres.nii"))
    assert itk.GetSpacing()[2] == pytest.approx(2500)
    assert read_volume(tmp_path / "metres.nii").spacing_mm[0] == pytest.approx(2500)

    header = bytearray(348)
    struct.pack_into(">i", header, 0, 348)
    struct.pack_into(">8h", header, 40, 3, 24, 20, 3, 1, 1, 1, 1)
    struct.pack_into(">2h", header, 70, 4, 16)
    struct.pack_into(">8f", header, 76, 1, 0.7, 0.9, 2.5, 0, 0, 0, 0)
    struct.pack_into(">f", header, 108, 352)
    struct.pack_into(">2h", header, 252, 0, 1)
    struct.pack_into(">12f", header, 280, -0.7, 0, 0, 9, 0, -0.9, 0, 8, 0, 0, 2.5, 7)
    header[344:348] = b"n+1\x00"
    (tmp_path / "big.nii").write_bytes(bytes(header) + bytes(4) + array.astype(">i2").tobytes())
    big = read_volume(tmp_path / "big.nii")
    assert np.array_equal(big.hu, array)
    assert np.allclose(big.ijk_to_ras @ (1, 1, 1, 1), (8.3, 7.1, 9.5, 1))
    itk = sitk.ReadImage(str(tmp_path / "big.nii"))
    assert np.array_equal(sitk.GetArrayFromImage(itk), array)

    from MetalArtifactReductionLib.files.nifti import write_nifti

    matrix = np.array([[-0.7, 0, 0, 123.456789012], [0, -0.9, 0, 8], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    write_nifti(tmp_path / "two.nii.gz", array, matrix, version=2)
    two = read_volume(tmp_path / "two.nii.gz")
    assert np.array_equal(two.ijk_to_ras, matrix)  # double precision
    again = read_volume(write_volume(two, tmp_path / "again.nii.gz"))
    assert np.array_equal(again.ijk_to_ras, matrix) and np.array_equal(again.hu, array)


def test_names_with_spaces_and_accents(tmp_path: Path) -> None:
    folder = tmp_path / "Año 1 CT"
    folder.mkdir()
    for suffix in SUFFIXES:
        array = ct_values((2, 20, 20))
        sitk.WriteImage(image(array), str(folder / f"ñ 1{suffix}"))
        volume = read_volume(folder / f"ñ 1{suffix}")
        assert np.array_equal(read_volume(write_volume(volume, folder / f"ö{suffix}")).hu, array)


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    sitk.WriteImage(image(ct_values((3, 20, 20))), str(tmp_path / "in.nrrd"))
    volume = read_volume(tmp_path / "in.nrrd")
    one, two = (write_volume(volume, tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert one.read_bytes() == two.read_bytes()


# -- what cannot be read ------------------------------------------------------------------------


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.nii\.gz: no such file") as raised:
        read_volume(tmp_path / "nowhere.nii.gz")
    one_line(raised)
    (tmp_path / "empty.nii.gz").touch()
    with pytest.raises(InputError, match="empty"):
        read_volume(tmp_path / "empty.nii.gz")
    (tmp_path / "notes.txt").write_text("no CT")
    with pytest.raises(InputError, match=r"unknown format '\.txt'.*\.nii\.gz"):
        read_volume(tmp_path / "notes.txt")
    for suffix in SUFFIXES:
        (tmp_path / f"text{suffix}").write_text("this is a text, not an image " * 20)
        with pytest.raises(InputError) as raised:
            read_volume(tmp_path / f"text{suffix}")
        one_line(raised)


def test_no_permission_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitk.WriteImage(image(ct_values((2, 20, 20))), str(tmp_path / "in.nrrd"))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.R_OK)
    with pytest.raises(InputError, match="no permission to read"):
        read_volume(tmp_path / "in.nrrd")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated(
    tmp_path: Path, suffix: str, compressed: bool, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"in{suffix}"
    sitk.WriteImage(image(ct_values((6, 40, 40))), str(path), compressed)
    data = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    content = data.read_bytes()
    data.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"truncated|corrupted") as raised:
        read_volume(path)
    one_line(raised)
    assert capfd.readouterr().err == ""  # nothing of ITK's own reaches the terminal


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_damaged_bytes_in_a_compressed_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in{suffix}"
    sitk.WriteImage(image(ct_values((6, 40, 40))), str(path), True)
    data = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(data.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2] = bytes(255 - byte for byte in content[middle : middle + 2])
    data.write_bytes(content)
    with pytest.raises(InputError, match=r"corrupted|truncated"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_header_without_its_data_file(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(image(ct_values((2, 20, 20))), str(tmp_path / f"in{suffix}"))
    (tmp_path / "in.raw").unlink()
    with pytest.raises(InputError, match=r"in\.raw' is missing"):
        read_volume(tmp_path / f"in{suffix}")


def test_a_header_that_claims_terabytes_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "in.nii.gz"
    sitk.WriteImage(image(ct_values((2, 20, 20))), str(path))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<4h", raw, 40, 3, 30000, 30000, 30000)
    path.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(InputError, match="truncated"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_colour_vectors_and_time(tmp_path: Path, suffix: str) -> None:
    rgb = sitk.GetImageFromArray(np.zeros((4, 20, 20, 3), np.uint8), isVector=True)
    sitk.WriteImage(rgb, str(tmp_path / f"rgb{suffix}"))
    with pytest.raises(InputError, match=r"RGB|components|is not one 3-D volume"):
        read_volume(tmp_path / f"rgb{suffix}")
    series = sitk.GetImageFromArray(
        ct_values((2 * 3, 20, 20)).reshape(2, 3, 20, 20), isVector=False
    )
    sitk.WriteImage(series, str(tmp_path / f"time{suffix}"))
    with pytest.raises(InputError, match="holds 2 volumes of 20 x 20 x 3 voxels"):
        read_volume(tmp_path / f"time{suffix}")
    single = sitk.GetImageFromArray(ct_values((3, 20, 20))[None], isVector=False)
    sitk.WriteImage(single, str(tmp_path / f"one{suffix}"))
    assert np.array_equal(read_volume(tmp_path / f"one{suffix}").hu, ct_values((3, 20, 20)))


@pytest.mark.parametrize(
    "name", ["totalseg_example_hip_nail_3mm", "tcga_thca_E3-A3E5_dental_metal"]
)
def test_real_ct_round_trip(tmp_path: Path, name: str) -> None:
    path = shared_data(f"{name}.nii.gz")
    given = sitk.ReadImage(str(path))
    volume = read_volume(path)
    assert np.array_equal(volume.hu, sitk.GetArrayFromImage(given))
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        found = sitk.ReadImage(str(write_volume(volume, tmp_path / f"out{suffix}")))
        assert found.GetPixelID() == sitk.sitkInt16
        assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(given))
        assert np.abs(points(found) - points(given)).max() < 1e-4
    again = read_volume(tmp_path / "out.nii.gz")
    assert np.array_equal(again.ijk_to_ras, volume.ijk_to_ras)
