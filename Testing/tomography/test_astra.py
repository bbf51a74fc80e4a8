"""Fan and parallel beams against the ASTRA toolbox where it is installed (GPL: never shipped)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from analytic import Ellipse, rasterize, relative_error
from MetalArtifactReductionLib import Scan
from MetalArtifactReductionLib.files.scan_geometry import read_scan_geometry
from MetalArtifactReductionLib.tomography import (
    FanGeometry,
    FanProjector,
    ImageGrid,
    MeasuredScan,
    ParallelProjector,
)

astra = pytest.importorskip("astra")

GRID = ImageGrid(128, 128, (1.5, 1.5))
BODY = [Ellipse(0.02, 70, 52, 5, -8, 20), Ellipse(0.012, 14, 9, -25, 14, 40)]
ENTRIES = {
    "parallel": 'kind = "parallel"\nviews = 360\nbins = 190\nbin_mm = 1.5\n',
    "fanflat": 'kind = "fan"\nviews = 500\nbins = 330\nbin_mm = 1.5\n'
    "source_isocentre_mm = 550\nsource_detector_mm = 950\n",
}


def smooth_image() -> np.ndarray:
    """Without edges sharper than pixels, on which no two discretisations agree."""
    return ndimage.gaussian_filter(rasterize(BODY, GRID), 1.5)


def measured_by_astra(kind: str, image: np.ndarray) -> np.ndarray:
    half = GRID.cols * GRID.spacing_mm[1] / 2
    volume = astra.create_vol_geom(GRID.rows, GRID.cols, -half, half, -half, half)
    if kind == "parallel":
        angles = np.arange(360) * np.pi / 360
        beams = astra.create_proj_geom("parallel", 1.5, 190, angles)
    else:
        angles = np.arange(500) * 2 * np.pi / 500
        beams = astra.create_proj_geom("fanflat", 1.5, 330, angles, 550.0, 400.0)
    projector = astra.create_projector(
        "line" if kind == "parallel" else "line_fanflat", beams, volume
    )
    number, sinogram = astra.create_sino(image, projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return np.asarray(sinogram)


@pytest.mark.parametrize("kind", ENTRIES)
def test_forward_and_back_agree_with_astra(kind: str, tmp_path: Path) -> None:
    (tmp_path / "scan.toml").write_text(
        ENTRIES[kind] + 'preset = "astra"\n[image]\nrows = 128\npixel_mm = 1.5\n'
    )
    how = read_scan_geometry([tmp_path / "scan.toml"])
    image = smooth_image()
    theirs = measured_by_astra(kind, image)
    project = FanProjector if isinstance(how.geometry, FanGeometry) else ParallelProjector
    ours = project(GRID, how.geometry)(torch.from_numpy(image)[None])[0].numpy()
    assert relative_error(ours, theirs) < 5e-3
    scan = MeasuredScan(Scan(theirs[None], how.geometry, how.grid), torch.device("cpu"))
    back = scan.reconstruct(scan.sinogram(np.array([0])))[0].numpy()
    assert relative_error(back, image) < 5e-3
    assert relative_error(measured_by_astra(kind, back), theirs) < 5e-3
