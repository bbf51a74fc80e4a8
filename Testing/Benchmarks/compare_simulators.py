"""Our physics beside a second simulator's, gecatsim (XCIST): the same scene, scanner and settings.

    python Testing/Benchmarks/compare_simulators.py [--views 1000] [--pixels 512] [--case NAME ...]

A water cylinder of 300 mm holds an insert of cortical bone, two rods of Ti6Al4V and two of CoCrMo.
gecatsim projects the cylinders analytically and looks up attenuation in its own tables; ours are
voxelised. What either measures goes through the same logarithm, the water correction of its own
spectrum and the same filtered back-projection, so that only the acquisition differs.

First table: mean line integral of gecatsim, ours less gecatsim's (standard deviation), by what a
ray meets; a rod's edge is up to 3 mm of it. Second table, HU and mm: water in the middle less that
at the rim, bone; of either pair of rods their HU, the way from 90 to 10 % of their height, water
between them, streak amplitude within 30 mm; noise below the middle.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from MetalArtifactReductionLib.evaluation.comparison import aligned_table
from MetalArtifactReductionLib.evaluation.metrics import streak_amplitude
from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters, preset
from MetalArtifactReductionLib.physics.materials import Material, material
from MetalArtifactReductionLib.physics.noise import standard_normals
from MetalArtifactReductionLib.physics.scanner import Scanner
from MetalArtifactReductionLib.physics.slice_models import relative_mu
from MetalArtifactReductionLib.physics.spectra import Spectrum, tube_spectrum
from MetalArtifactReductionLib.physics.water import WaterCorrection
from MetalArtifactReductionLib.tomography import ImageGrid
from MetalArtifactReductionLib.tomography.rebinning import rays_of

FIELD_MM = 360.0
ROW_MM = 3.0
"""Height of a detector cell; with the photons of the open beam it is of no consequence."""

GAIN = 17.0
"""Electrons a keV, gecatsim's default."""

ATOMIC_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "Na": 11, "Mg": 12, "Al": 13, "P": 15, "S": 16}
ATOMIC_NUMBERS |= {"Ca": 20, "Ti": 22, "V": 23, "Cr": 24, "Co": 27, "Mo": 42}


@dataclass(frozen=True)
class Cylinder:
    """Along the axis of rotation; lengths in mm, y upwards."""

    material: str
    x: float
    y: float
    radius: float


BODY = Cylinder("water", 0.0, 0.0, 150.0)
BONE = Cylinder("cortical-bone", 0.0, 100.0, 15.0)
TITANIUM = (Cylinder("Ti6Al4V", -40.0, -70.0, 5.0), Cylinder("Ti6Al4V", 40.0, -70.0, 5.0))
COBALT = (Cylinder("CoCrMo", -40.0, 30.0, 5.0), Cylinder("CoCrMo", 40.0, 30.0, 5.0))
SCENE = (BODY, BONE, *TITANIUM, *COBALT)
"""Later ones displace earlier ones."""


@dataclass(frozen=True)
class Case:
    """What both are asked to simulate.

    :param changes: of the ``reference`` acquisition.
    :param own_tube: gecatsim takes its own tungsten spectrum, behind the same filter, and its own
        scintillator, instead of our spectrum and a detector that absorbs all.
    """

    changes: Mapping[str, Any]
    own_tube: bool = False


_QUIET: dict[str, Any] = {"photons_per_ray": None, "floor_photons": 1e-6, "scatter_to_primary": 0.0}
CASES: Mapping[str, Case] = {
    "70 keV": Case(_QUIET | {"monoenergetic_kev": 70.0}),
    "120 kVp": Case(_QUIET),
    "with noise": Case({"scatter_to_primary": 0.0, "starvation_filter_photons": 0.0}),
    "with scatter": Case(_QUIET | {"scatter_to_primary": 0.05}),
    "narrow scatter": Case(_QUIET | {"scatter_to_primary": 0.05, "scatter_width_mm": 11.0}),
    "its tube": Case(_QUIET, own_tube=True),
}


@dataclass(frozen=True)
class Scan:
    """Line integrals before and after the water correction, ``(views, bins)``, and the HU."""

    raw: np.ndarray
    hu: np.ndarray


def shares(grid: ImageGrid, samples: int = 16) -> dict[Cylinder, np.ndarray]:
    """Share of each pixel that a cylinder fills, ``(rows, cols)`` float32."""
    offset = (np.arange(samples) + 0.5) / samples - 0.5
    row_mm, col_mm = grid.spacing_mm
    x = ((np.arange(grid.cols) - (grid.cols - 1) / 2)[:, None] + offset).ravel() * col_mm
    y = (((grid.rows - 1) / 2 - np.arange(grid.rows))[:, None] - offset).ravel() * row_mm
    found = {}
    for one in SCENE:
        inside = np.hypot(x[None] - one.x, y[:, None] - one.y) <= one.radius
        blocks = inside.reshape(grid.rows, samples, grid.cols, samples)
        found[one] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return found


def ours(scanner: Scanner, case: Case, seed: int = 0) -> Scan:
    """The scene by our simulator."""
    part = shares(scanner.grid)
    bone_hu = 1000 * (relative_mu(material("cortical-bone"), 70.0) - 1)
    hu = torch.from_numpy(-1000 * (1 - part[BODY]) + bone_hu * part[BONE])
    names = ("Ti6Al4V", "CoCrMo")
    fractions = torch.from_numpy(
        np.stack([sum(part[one] for one in SCENE if one.material == name) for name in names])
    )
    left = 1 - fractions.sum(dim=0)
    whole, kept = scanner.tissue_paths(hu, torch.stack([torch.ones_like(left), left]))
    signal = scanner.transmitted_with_implants(
        scanner.transmitted(whole),
        kept,
        scanner.implant_paths(fractions),
        [material(name) for name in names],
    )
    normals = standard_normals(seed, 0, (2, *scanner.cells.sinogram_shape))
    noisy = scanner.parameters.photons_per_ray is not None
    corrected = scanner.line_integrals(signal, normals if noisy else None)
    uncorrected = scanner.with_beam(water_correction=False)
    raw = uncorrected.line_integrals(signal, normals if noisy else None)
    scale = WaterCorrection(scanner.spectrum, "energy-integrating", False, scanner.device)
    raw /= scale(torch.ones(1))
    return Scan(raw.numpy(), scanner.reconstruct(corrected[None])[0].numpy())


def theirs(scanner: Scanner, case: Case, seed: int = 0) -> Scan:
    """The scene by gecatsim, reconstructed by our scanner."""
    np.random.seed(seed)  # noqa: NPY002 - of its electronics; its photons differ each time
    with tempfile.TemporaryDirectory() as folder:
        ct = _gecatsim(Path(folder), scanner.parameters, case)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if scanner.parameters.photons_per_ray is not None:
                beam = ct.air_scan()
                photons = float((beam.detFlux * beam.sim.Wvec).sum(axis=1).mean())
                ct.protocol.mA *= scanner.parameters.photons_per_ray / photons
            beam = ct.air_scan()
            ct.phantom_scan()
        air = np.fromfile(f"{ct.resultsName}.air", np.float32)
        counts = np.fromfile(f"{ct.resultsName}.scan", np.float32).reshape(-1, air.size)
    middle = (beam.detFlux * beam.sim.Wvec)[air.size // 2].astype(np.float64)
    energies = np.atleast_1d(np.asarray(beam.sim.Evec, np.float64))
    seen = middle > 1e-9 * middle.sum()  # the filter leaves none below 10 keV
    spectrum = Spectrum(scanner.parameters.kvp, energies[seen], middle[seen] / middle.sum())
    floor = scanner.parameters.floor_photons / (scanner.parameters.photons_per_ray or 1e6)
    raw = torch.from_numpy(-np.log(np.maximum(counts / air, floor)))
    water = WaterCorrection(spectrum, "energy-integrating", True, torch.device("cpu"))
    return Scan(raw.numpy(), scanner.reconstruct(water(raw)[None])[0].numpy())


def _gecatsim(folder: Path, p: AcquisitionParameters, case: Case) -> Any:
    """A scanner with the settings of ours, ready to scan the scene."""
    with contextlib.redirect_stdout(io.StringIO()):
        import gecatsim
        from gecatsim.pyfiles.CommonTools import my_path

        ct = gecatsim.CatSim()
    my_path.extra_search_paths = [str(folder)]
    for one in SCENE:
        (folder / one.material).write_text(_material_file(material(one.material)))
    ct.resultsName = str(folder / "scan")
    ct.phantom.callback, ct.phantom.projectorCallback = "Phantom_Analytic", "C_Projector_Analytic"
    ct.phantom.projectorNumThreads = 1
    geometry = {"sid": p.source_isocentre_mm, "sdd": p.source_detector_mm}
    geometry |= {"detectorColCount": p.bins, "detectorColSize": p.bin_mm}
    geometry |= {"detectorRowCount": 1, "detectorRowsPerMod": 1, "detectorRowSize": ROW_MM}
    geometry |= {"detectorColOffset": 0.0, "detectorRowOffset": 0.0}
    geometry |= {"detectorColFillFraction": 1.0, "detectorRowFillFraction": 1.0}
    geometry |= {"focalspotShape": "Uniform", "focalspotWidth": p.focal_spot_mm}
    electrons = p.electronic_noise_photons * p.spectrum().mean_energy_kev * GAIN
    geometry |= {"detectionGain": GAIN, "eNoise": electrons}
    if not case.own_tube:
        geometry |= {"detectorPrefilter": [], "detectorDepth": 1e5}
    scan = {"viewsPerRotation": p.views, "viewCount": p.views, "stopViewId": p.views - 1}
    scan |= {"startAngle": -90.0, "bowtie": "", "flatFilter": ["Al", 3.0, "Cu", 0.25]}
    scan |= {"spectrumFilename": f"tungsten_tar10.0_{p.kvp:.0f}_filt.dat"}
    tube = tube_spectrum(p.kvp)
    if not case.own_tube:
        photons = zip(tube.energies_kev, 1e6 * tube.photons, strict=True)
        rows = "\n".join(f"{energy:.3f},{count:.6f}" for energy, count in photons)
        (folder / "tube.dat").write_text(f"{len(tube.photons)}\n{rows}\n")
        scan |= {"spectrumFilename": str(folder / "tube.dat"), "flatFilter": []}
        scan |= {"spectrumUnit_mm": 1}
    samples = {"colSampleCount": p.samples_per_bin, "srcXSampleCount": p.samples_per_bin}
    samples |= {"rowSampleCount": 1, "srcYSampleCount": 1, "viewSampleCount": 1}
    samples |= {"energyCount": round(p.kvp) if case.own_tube else len(tube.photons)}
    samples |= {"monochromatic": p.monoenergetic_kev or -1}
    noisy = int(p.photons_per_ray is not None)
    samples |= {"enableQuantumNoise": noisy, "enableElectronicNoise": noisy}
    for group, values in ((ct.scanner, geometry), (ct.protocol, scan), (ct.physics, samples)):
        vars(group).update(values)
    if p.scatter_to_primary > 0:
        ct.physics.scatterCallback = "Scatter_ConvolutionModel"
        ct.physics.scatterScaleFactor = p.scatter_to_primary / _scatter_to_primary(ct, folder)
        ct.protocol.stopViewId = p.views - 1
    ct.phantom.filename = _phantom_file(folder / "scene.ppm", SCENE)
    return ct


def _scatter_to_primary(ct: Any, folder: Path) -> float:
    """Behind the middle of the water cylinder, with gecatsim's scatter as it comes."""
    ct.phantom.filename = _phantom_file(folder / "water.ppm", (BODY,))
    ct.protocol.stopViewId, ct.physics.scatterScaleFactor = 0, 1.0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        view = ct.phantom_scan()
    scatter = view.scatter_view.sum(axis=1)
    primary = view.thisSubView.sum(axis=1) - scatter
    return float(scatter[len(scatter) // 2] / primary[len(scatter) // 2])


def _material_file(one: Material) -> str:
    """Our composition; its attenuation is gecatsim's own."""
    rows = [f"{ATOMIC_NUMBERS[symbol]} {fraction}" for symbol, fraction in one.composition]
    return "\n".join([str(len(rows)), str(one.density_g_cm3), *rows, ""])


def _phantom_file(path: Path, cylinders: tuple[Cylinder, ...]) -> str:
    names = list(dict.fromkeys(one.material for one in cylinders))
    lines = ["materialList = {" + " ".join(f"'{name}'" for name in names) + "};"]
    for k, one in enumerate(cylinders, start=1):
        lines += [
            f"object.center({k},:) = [{one.x} {one.y} 0.0];",
            f"object.half_axes({k},:) = [{one.radius} {one.radius} 1000.0];",
            f"object.euler_angs({k},:) = [0.0 0.0 0.0];",
            f"object.density({k}) = 1.0;",
            f"object.type({k}) = 2;",
            f"object.material({k}) = {names.index(one.material) + 1};",
            f"object.axial_lims({k},:) = [0 0];",
            f"object.shape({k}) = 0;",
            f"object.clip{{{k}}} = [];",
            "",
        ]
    path.write_text("\n".join(lines))
    return str(path)


def chords(scanner: Scanner) -> dict[str, np.ndarray]:
    """Path of every cell's middle ray in each material but water, in mm ``(views, bins)``."""
    theta, s_mm = rays_of(scanner.geometry)
    paths: dict[str, np.ndarray] = {}
    for one in SCENE:
        away = s_mm - one.x * np.cos(theta) - one.y * np.sin(theta)
        path = 2 * np.sqrt(np.maximum(one.radius**2 - away**2, 0))
        paths[one.material] = paths.get(one.material, 0) + path
    return paths


def line_row(name: str, scanner: Scanner, our: np.ndarray, their: np.ndarray) -> list[str]:
    """Ours less theirs by what a ray meets: mean and standard deviation, of line integrals."""
    paths = chords(scanner)
    bone, titanium, cobalt = (paths[name] for name in ("cortical-bone", "Ti6Al4V", "CoCrMo"))
    groups = [
        (paths["water"] > 20) & (bone + titanium + cobalt == 0),
        (bone > 5) & (titanium + cobalt == 0),
        (titanium > 3) & (cobalt == 0),
        (titanium > 0) & (titanium <= 3) & (cobalt == 0),
        (cobalt > 3) & (titanium == 0),
        (cobalt > 0) & (cobalt <= 3) & (titanium == 0),
    ]
    row = [name]
    for group in groups:
        change = our[group] - their[group]
        row.append(f"{their[group].mean():.2f}: {change.mean():+.3f} ({change.std():.3f})")
    return row


def image_row(name: str, who: str, hu: np.ndarray, quiet: np.ndarray) -> list[str]:
    """Figures of one reconstruction, HU and mm; ``quiet`` is the same without noise."""
    pixel = FIELD_MM / len(hu)
    axis = (np.arange(len(hu)) - (len(hu) - 1) / 2) * pixel
    x, y = axis[None], -axis[:, None]

    def disc(x0: float, y0: float, radius: float) -> np.ndarray:
        return np.hypot(x - x0, y - y0) <= radius

    def rods(pair: tuple[Cylinder, ...]) -> list[float]:
        inside = np.mean([hu[disc(one.x, one.y, 3.0)].mean() for one in pair])
        band = (np.abs(x) < 25) & (np.abs(y - pair[0].y) < 2)
        near = np.any([disc(one.x, one.y, 30.0) & ~disc(one.x, one.y, 8.0) for one in pair], axis=0)
        return [inside, edge_mm(hu, pair), hu[band].mean(), streak_amplitude(hu[near])]

    def edge_mm(hu: np.ndarray, pair: tuple[Cylinder, ...]) -> float:
        """From 90 to 10 % of the rod's height over its surroundings, mean over all directions."""
        radius, angle = np.arange(0, 9, 0.05), np.arange(0, 2 * np.pi, np.pi / 36)[:, None]
        profile = np.zeros(len(radius))
        for one in pair:
            rows = (-one.y - radius * np.sin(angle)) / pixel + (len(hu) - 1) / 2
            cols = (one.x + radius * np.cos(angle)) / pixel + (len(hu) - 1) / 2
            profile += ndimage.map_coordinates(hu, [rows, cols], order=1).mean(axis=0)
        height = (profile - profile[-20:].mean()) / (profile[:40].mean() - profile[-20:].mean())
        inner, outer = (int(np.flatnonzero(height > level)[-1]) for level in (0.9, 0.1))
        return float(radius[outer] - radius[inner])

    rim = ~disc(0, 0, 135.0) & disc(0, 0, 142.0)
    flat = disc(0, -20, 12.0)
    values = [hu[flat].mean() - hu[rim].mean(), hu[disc(BONE.x, BONE.y, 12.0)].mean()]
    values += rods(TITANIUM) + rods(COBALT) + [(hu - quiet)[disc(0, -110, 10.0)].std()]
    return [name, who, *(f"{v:.1f}" if abs(v) < 20 else f"{v:.0f}" for v in values)]


LINE_HEAD = ["case", "water", "bone", "Ti", "its edge", "CoCr", "its edge"]
IMAGE_HEAD = "case,by,middle,bone,Ti,edge mm,between,streaks,CoCr,edge mm,between,streaks,noise"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--views", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=512)
    parser.add_argument("--case", action="append", choices=list(CASES), help="default: all")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    options = parser.parse_args()
    torch.set_num_threads(1)
    grid = ImageGrid(options.pixels, options.pixels, (FIELD_MM / options.pixels,) * 2)
    lines, images = [LINE_HEAD], [IMAGE_HEAD.split(",")]
    scanner = Scanner(grid, preset("reference", views=options.views, hu_clip=None))
    quiet: dict[str, np.ndarray] = {}
    for name in options.case or CASES:
        case = CASES[name]
        beam = scanner.with_beam(**case.changes)
        our, their = ours(beam, case), theirs(beam, case)
        lines.append(line_row(name, beam, our.raw, their.raw))
        for who, hu in (("ours", our.hu), ("gecatsim", their.hu)):
            if beam.parameters.photons_per_ray is None:
                quiet[who] = hu
            images.append(image_row(name, who, hu, quiet.get(who, hu)))
    print(
        f"gecatsim {version('gecatsim')}, {options.views} views, {grid.spacing_mm[0]:.2f} mm pixels"
    )
    for table in (lines, images):
        print(aligned_table(table, markdown=options.markdown))


if __name__ == "__main__":
    main()
