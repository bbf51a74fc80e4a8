"""A small valid file of every format that is read, and its reader, for ``fuzz_readers.py``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

VTK = ("vtk", "vtk-binary", "vtp", "vtp-binary")


def imported(*places: str) -> Any:
    """The first of several "module:name" that there is."""
    for place in places:
        module, _, name = place.partition(":")
        with contextlib.suppress(ImportError, AttributeError):
            return getattr(import_module(module), name)
    raise ImportError(f"none of {', '.join(places)}")


def hu_values() -> np.ndarray:
    """A small body with metal, int16 ``(5, 24, 24)``."""
    row, col = np.mgrid[:24, :24]
    hu = np.full((5, 24, 24), -1000.0)
    hu[:, np.hypot(row - 12, col - 12) < 9] = 40
    hu[1:4, np.hypot(row - 12, col - 12) < 2] = 5000
    return np.rint(hu + np.random.default_rng(1).normal(0, 9, hu.shape)).astype(np.int16)


def _volume(folder: Path, kind: str) -> Path:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(hu_values())
    image.SetSpacing((1.5, 1.5, 2.0))
    names = {"nifti": "v.nii", "nifti.gz": "v.nii.gz", "nrrd": "v.nrrd", "mhd": "v.mhd"}
    path = folder / names.get(kind, "v.mha")
    sitk.WriteImage(image, str(path), kind in ("nifti.gz", "nrrd", "mha.z"))
    return path


def _dicom(folder: Path, kind: str) -> Path:
    from dicom_support import scanner_header, write_series

    write_series(folder / "dicom", np.repeat(hu_values()[:1], 1, axis=0), edit=scanner_header)
    path = next((folder / "dicom").iterdir())
    if kind == "dicom":
        return path
    import highdicom
    import pydicom
    from pydicom.sr.coding import Code

    segment = highdicom.seg.SegmentDescription(
        1, "Metal", Code("260787004", "SCT", "x"), Code("40388003", "SCT", "Implant"), "MANUAL"
    )
    source = pydicom.dcmread(path)
    source.StudyInstanceUID = source.StudyInstanceUID
    made = highdicom.seg.Segmentation(
        [source],
        (hu_values()[1:2] > 3000).astype(np.uint8),
        "BINARY",
        [segment],
        highdicom.UID(),
        9,
        highdicom.UID(),
        1,
        "m",
        "m",
        "1",
        "1",
    )
    made.save_as(folder / "metal.dcm")
    return folder / "metal.dcm"


def _mesh(folder: Path, kind: str) -> Path:
    import trimesh

    mesh = trimesh.creation.cylinder(radius=3.0, height=9.0, sections=12)
    if kind in VTK:
        return _vtk_mesh(folder, kind, mesh)
    content = mesh.export(file_type=kind)
    path = folder / f"rod.{kind}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _vtk_mesh(folder: Path, kind: str, mesh: Any) -> Path:
    import vtk

    from SimulateImplantsLib.implants.mesh import Mesh

    suffix, _, binary = kind.partition("-")
    writer = vtk.vtkXMLPolyDataWriter() if suffix == "vtp" else vtk.vtkPolyDataWriter()
    if suffix == "vtp" and not binary:
        writer.SetDataModeToAscii()
    if suffix == "vtk" and binary:
        writer.SetFileTypeToBinary()
    path = folder / f"rod.{suffix}"
    writer.SetInputData(Mesh(np.array(mesh.vertices), np.array(mesh.faces)).to_polydata())
    writer.SetFileName(str(path))
    writer.Write()
    return path


def _weights(folder: Path, kind: str) -> Path:
    from safetensors.numpy import save

    facts = {"format": 1, "architecture": "x", "arguments": {"n": 3}, "method": {"inpainter": "x"}}
    text = json.dumps(facts)
    path = folder / "w.safetensors"
    path.write_bytes(save({"a": np.ones(9, np.float32)}, {"metal-artifact-reduction": text}))
    return path


_PLAN = {
    "format": 1,
    "description": "two rods",
    "seed": 4,
    "parameters": {"a": [1, 2]},
    "warnings": ["x"],
    "implants": [
        {
            "implant": {"kind": "rod", "path_mm": [[0, 0, 0], [0, 10, 30]], "diameter_mm": 5.5},
            "matrix": np.eye(4).tolist(),
            "attributes": {"level": "L3", "side": "left"},
        },
        {"implant": {"kind": "sphere"}, "matrix": np.eye(4).tolist()},
    ],
    "shapes": [],
}
_DATASET = {
    "cts": [{"ct": "a.nii.gz", "segmentation": "m", "clicks": {"L3": [1, 2.5, 3]}}, "b.nii.gz"],
    "cases": 10,
    "seed": 1,
    "mix": {"random": 1.0},
    "presets": ["reference"],
    "acquisition": {"kvp": 120},
    "model": "polyenergetic",
    "clean": True,
}
_TOML = b"""task = "trace-cnn"
[training]
steps = 30
batch_size = 2
seed = 1
precision = "32-true"
[options]
width = 8
"""


def _text(folder: Path, kind: str) -> Path:
    content = {
        "plan.json": json.dumps(_PLAN).encode(),
        "dataset.json": json.dumps(_DATASET).encode(),
        "toml": _TOML,
        "csv": b"input,output,threshold\na.nii.gz,a,2500\nb.nii.gz,b,\n",
    }[kind]
    path = folder / {"toml": "t.toml", "csv": "c.csv"}.get(kind, kind)
    path.write_bytes(content)
    return path


def _bundle(folder: Path, kind: str) -> Path:
    inside = _volume(folder, "nifti")
    path = folder / f"study.{kind}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inside, "study/v.nii")
        archive.writestr("study/s.mrml", '<MRML version="Volumes" ></MRML>')
    return path


def _read_volume(path: Path) -> Any:
    return imported(
        "MetalArtifactReductionLib.volume:read_volume",
        "MetalArtifactReductionLib.files.volumes:read_volume",
    )(path, check=False).hu


def _read_seg(path: Path) -> Any:
    """As a mask of the CT that lies beside the valid file."""
    read_mask = imported(
        "MetalArtifactReductionLib.files.masks:read_mask",
        "MetalArtifactReductionLib.files.volumes:read_mask",
        "MetalArtifactReductionLib.volume_io:read_mask",
    )
    read_volume = imported(
        "MetalArtifactReductionLib.files.volumes:read_volume",
        "MetalArtifactReductionLib.volume_io:read_volume",
    )
    return read_mask(path, read_volume(path.parent.parent / "dicom", check=False))


def _read_mesh(path: Path) -> Any:
    family = imported("SimulateImplantsLib.implants.user_mesh:UserMesh")
    return family(str(path)).mesh().triangles


def _read_vtk(path: Path) -> Any:
    """Its process is forked from one that has VTK, which takes a hundredth of a new Python."""
    from SimulateImplantsLib.implants import vtk_files

    def forked(arguments: list[str], **_: Any) -> Any:
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os._exit(vtk_files.main(*arguments[-2:]))
            os._exit(1)
        return _Forked(child)

    module: Any = vtk_files
    module.start_python, module.kill_tree = forked, lambda _: None
    return _read_mesh(path)


class _Forked(contextlib.nullcontext[Any]):
    """What :func:`subprocess.Popen` says of a process, as far as it is asked here."""

    def __init__(self, child: int) -> None:
        super().__init__(self)
        self.child = child

    def wait(self, seconds: float) -> int:
        """The exit code; no signal comes from a reader of the fuzz that was killed."""
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def _read_plan(path: Path) -> Any:
    read_plan = imported(
        "SimulateImplantsLib.cases.plan_files:read_plan", "SimulateImplantsLib.plan_files:read_plan"
    )
    plan = read_plan(path)
    for item in plan.implants:
        item.make()
    return len(plan.implants)


def _read_dataset(path: Path) -> Any:
    return len(
        imported(
            "SimulateImplantsLib.dataset.config:read_config",
            "SimulateImplantsLib.dataset_config:read_config",
        )(path).sources
    )


def _read_toml(path: Path) -> Any:
    read_config = imported("MetalArtifactReductionLib.training.config:read_config")
    try:
        return read_config(path, ["trace-cnn"]).training
    except TypeError:
        if read_config.__code__.co_argcount > 1:
            raise
        return read_config(path).training


def _read_csv(path: Path) -> Any:
    case = imported(
        "MetalArtifactReductionLib.batch.case:Case", "MetalArtifactReductionLib.cases:Case"
    )
    read_cases = imported(
        "MetalArtifactReductionLib.batch.lists:read_cases",
        "MetalArtifactReductionLib.cases:read_cases",
    )
    return len(read_cases(path, case("", Path())))


def _read_facts(path: Path) -> Any:
    return imported(
        "MetalArtifactReductionLib.weights:read_facts",
        "MetalArtifactReductionLib.networks.weights:read_facts",
    )(path).architecture


def _read_scene(path: Path) -> Any:
    return imported("MetalArtifactReductionLib.mrml.scene:load_scene")(path).GetNumberOfNodes()


_Make = Callable[[Path, str], Path]
FORMATS: dict[str, tuple[_Make, Callable[[Path], Any]]] = {
    **dict.fromkeys(("nifti", "nifti.gz", "nrrd", "mha", "mha.z", "mhd"), (_volume, _read_volume)),
    "dicom": (_dicom, _read_volume),
    "dicom-seg": (_dicom, _read_seg),
    **dict.fromkeys(("stl", "obj", "ply"), (_mesh, _read_mesh)),
    **dict.fromkeys(VTK, (_mesh, _read_vtk)),
    "safetensors": (_weights, _read_facts),
    "plan.json": (_text, _read_plan),
    "dataset.json": (_text, _read_dataset),
    "toml": (_text, _read_toml),
    "csv": (_text, _read_csv),
    "zip": (_bundle, _read_volume),
    "mrb": (_bundle, _read_scene),
}
