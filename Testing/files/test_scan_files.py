"""Sinograms and geometry files of other programs, against those programs' own formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from cli_support import assert_refused, run
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.scan_geometry import read_scan_geometry
from MetalArtifactReductionLib.files.sinograms import read_scan, write_sinogram
from MetalArtifactReductionLib.tomography.rebinning import rays_of

FAN = """kind = "fan"
views = 120
bins = 60
bin_mm = 3.0
source_isocentre_mm = 550.0
source_detector_mm = 950.0
"""
CFG = """scanner.detectorCallback = "Detector_ThirdgenCurved" # shape
scanner.sid = 540.0   # mm
scanner.sdd = 950.0
scanner.detectorRowsPerMod = 2
scanner.detectorRowCount = scanner.detectorRowsPerMod
scanner.detectorRowSize = 1.0
scanner.detectorColSize = 3.0
scanner.detectorColCount = 60
scanner.detectorColOffset = 0.25
protocol.viewsPerRotation = 120
protocol.viewCount = 120
protocol.rotationDirection = -1
protocol.startAngle = 30
protocol.mA = __import__("os").abort()
recon.mu = 0.02
"""


def geometry_of(folder: Path, text: str, name: str = "scan.toml"):
    path = folder / name
    path.write_text(text)
    return read_scan_geometry([path])


def same_rays(geometry, source: np.ndarray, cell: np.ndarray) -> None:
    """The rays from ``source`` to ``cell``, ``(2, views, bins)``, are those of the geometry."""
    theta, s = np.broadcast_arrays(*rays_of(geometry))
    normal = np.stack([np.cos(theta), np.sin(theta)])
    for point in (source, cell):
        np.testing.assert_allclose((normal * point).sum(axis=0), s, atol=1e-6)


def points(angle: np.ndarray, u: np.ndarray, sod: float, odd: float):
    """Source and detector of ASTRA (``geom_2vec``) and of ODL's fan, which are the same."""
    source = np.stack([np.sin(angle), -np.cos(angle)]) * sod
    centre = np.stack([-np.sin(angle), np.cos(angle)]) * odd
    axis = np.stack([np.cos(angle), np.sin(angle)])
    return source[..., None] + 0 * u, centre[..., None] + axis[..., None] * u


@pytest.mark.parametrize("preset", ["astra", "odl"])
def test_fans_of_astra_and_odl_are_the_rays_that_they_measure(tmp_path: Path, preset: str) -> None:
    angle = math.radians(20) + np.arange(120) * 2 * math.pi / 120
    if preset == "odl":  # the middles of equal parts
        angle = angle + math.pi / 120
    u = (np.arange(60) - 29.5) * 3.0
    how = geometry_of(tmp_path, FAN + f'preset = "{preset}"\nstart_deg = 20')
    same_rays(how.geometry, *points(angle, u, 550.0, 400.0))


@pytest.mark.parametrize("preset", ["astra", "odl"])
def test_parallel_beams_of_astra_and_odl(tmp_path: Path, preset: str) -> None:
    angle = np.arange(120) * math.pi / 120 + (math.pi / 240 if preset == "odl" else 0)
    text = f'kind = "parallel"\nviews = 120\nbins = 60\nbin_mm = 3.0\npreset = "{preset}"'
    u = (np.arange(60) - 29.5) * 3.0
    far, cell = points(angle, u, 1000.0, 0.0)  # parallel: each cell has a source of its own
    same_rays(geometry_of(tmp_path, text).geometry, far + cell, cell)


def test_gecatsim_is_read_and_never_run(tmp_path: Path) -> None:
    how = geometry_of(tmp_path, CFG, "scan.cfg")
    beta = math.radians(30) - np.arange(120) * 2 * math.pi / 120
    alpha = (np.arange(60) - 29.5 + 0.25) * 3.0 / 950  # Detector_ThirdgenCurved
    turn = np.array([[np.cos(beta), -np.sin(beta)], [np.sin(beta), np.cos(beta)]])  # Gantry_Helical
    cell = np.stack([950 * np.sin(alpha), 540 - 950 * np.cos(alpha)])
    source = np.einsum("abv,b->av", turn, [0.0, 540.0])[..., None] + 0 * alpha
    same_rays(how.geometry, source, np.einsum("abv,bc->avc", turn, cell))
    assert how.mu_water_per_mm == 0.02 and how.slice_mm == pytest.approx(540 / 950)
    rng = np.random.default_rng(0)
    prep = (rng.random((120, 2, 60)) + np.hanning(60) * 3).astype(np.float32)
    prep.tofile(tmp_path / "scan.prep")
    scan = read_scan(tmp_path / "scan.prep", [tmp_path / "scan.cfg"])
    assert np.array_equal(scan.sinogram, prep.swapaxes(0, 1))
    write_sinogram(scan.sinogram, tmp_path / "again.prep")
    assert (tmp_path / "again.prep").read_bytes() == (tmp_path / "scan.prep").read_bytes()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5", ".raw"])
def test_arrays_of_other_programs_come_in_and_go_out(tmp_path: Path, suffix: str) -> None:
    sinogram = (np.hanning(60) * np.linspace(2, 3, 240).reshape(2, 120, 1)).astype(np.float32)
    path = tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, sinogram)
    elif suffix == ".npz":
        np.savez(path, sinogram=sinogram, angles=np.arange(120.0))
    elif suffix == ".mat":
        savemat(path, {"sinogram": sinogram, "note": "text"})
    elif suffix == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["group/sinogram"] = sinogram
            file["metal"] = np.zeros((4, 4))
            file.attrs["note"] = "text"
    else:
        sinogram.tofile(path)
    (tmp_path / "g.toml").write_text(FAN + 'array = "group/sinogram"\n' * (suffix == ".h5"))
    assert np.array_equal(read_scan(path, [tmp_path / "g.toml"]).sinogram, sinogram)
    write_sinogram(sinogram, tmp_path / f"out{suffix}")
    (tmp_path / "g.toml").write_text(FAN)
    assert np.array_equal(
        read_scan(tmp_path / f"out{suffix}", [tmp_path / "g.toml"]).sinogram, sinogram
    )


WRONG = {
    FAN + "range_deg = 6.2832": "range_deg is 6.2832: radians? give 360",
    FAN.replace("views = 120", "views = 12.5"): "views is 12.5; give a valid integer",
    FAN.replace("550.0", "'550'"): "source_isocentre_mm is '550'; give a valid number",
    FAN.replace("source_detector_mm = 950.0", ""): "source_detector_mm is None; a fan beam needs",
    FAN + "angles = 3": "unknown entry 'angles'",
    FAN.replace('"fan"', '"cone"'): "kind is 'cone'; give 'parallel' or 'fan'",
    "kind = fan": "cannot be read as TOML",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_geometry_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as refused:
        geometry_of(tmp_path, text)
    assert WRONG[text] in str(refused.value) and str(tmp_path) in str(refused.value)


def test_cone_beam_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"64 detector rows span 3\.9 degrees"):
        text = CFG.replace("PerMod = 2", "PerMod = 64")
        geometry_of(tmp_path, text, "scan.cfg")


def test_pickles_and_unnamed_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(FAN)
    np.savez(tmp_path / "a.npz", a=np.zeros((120, 60)), b=np.zeros((120, 60)))
    with pytest.raises(InputError, match=r"which array is the sinogram\? there are: a, b"):
        read_scan(tmp_path / "a.npz", [tmp_path / "g.toml"])
    np.save(tmp_path / "p.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"cannot be read as \.npy"):
        read_scan(tmp_path / "p.npy", [tmp_path / "g.toml"])
    np.zeros(100, np.float32).tofile(tmp_path / "c.raw")
    with pytest.raises(InputError, match="400 bytes are not some x 120 views x 60 bins"):
        read_scan(tmp_path / "c.raw", [tmp_path / "g.toml"])


def test_a_sinogram_needs_its_geometry(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "scan.npy", np.zeros((1, 120, 60)))
    outcome = run(capfd, "correct", tmp_path / "scan.npy", tmp_path / "out.nii.gz")
    assert_refused(outcome, "scan.npy: a sinogram? give --geometry")
