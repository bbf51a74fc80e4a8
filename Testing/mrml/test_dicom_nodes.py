"""A result in the scene becomes DICOM beside the series that ITK loaded into the scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from dicom_support import STEP_MM, scanner_header, values, write_series
from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.jobs.call import result_of
from MetalArtifactReductionLib.mrml.dicom import can_export, export_corrected_node, export_job

CHANGED = np.s_[3:6, 20:30, 20:30]


def loaded(folder: Path, add_volume: Callable[..., Any]) -> tuple[Any, dict[str, str]]:
    """A series as Slicer's DICOM module loads it: through ITK, with the UIDs as an attribute."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    to_lps = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3)
    to_lps[:3, :3] = directions * image.GetSpacing()
    to_lps[:3, 3] = image.GetOrigin()
    node = add_volume(
        sitk.GetArrayFromImage(image), np.diag([-1.0, -1, 1, 1]) @ to_lps, name="Hips"
    )
    database = {str(pydicom.dcmread(name).SOPInstanceUID): name for name in names}
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database))
    return node, database


def result_for(scene: Any, node: Any) -> Any:
    """What a correction adds to the scene, without computing one."""
    volume = mrml.volume_from_node(node)
    change = np.zeros_like(volume.hu)
    change[CHANGED] = 100.25
    fraction = (change > 0).astype(np.float32)
    after = volume.with_hu(volume.hu + change)
    parameters = {"method": "nmar", "window": "ramp"}
    result = CorrectionResult(after, fraction, change, "nmar", parameters)
    return mrml.add_results(scene, node, result).corrected


@pytest.mark.parametrize("kind", ["axial", "oblique", "tilted", "uneven"])
def test_exported_slices_are_the_source_s(
    scene: Any, add_volume: Any, tmp_path: Path, kind: str
) -> None:
    """Tilted and uneven series too, to which ITK gives a rectangular, even grid."""
    turned = Rotation.from_euler("zyx", (0.2, -0.3, 0.25)).as_matrix()
    tilted = Rotation.from_euler("x", np.radians(9)).as_matrix()
    rotation = {"oblique": turned, "tilted": tilted}.get(kind, np.eye(3))

    def edit(index: int, dataset: Dataset) -> None:
        scanner_header(index, dataset)
        if kind == "uneven":
            dataset.ImagePositionPatient[2] = float(dataset.ImagePositionPatient[2]) + 0.1 * (
                index == 1
            )

    step = np.array([0, 0, STEP_MM]) if kind == "tilted" else None
    write_series(tmp_path / "source", rotation=rotation, step=step, edit=edit)
    node, database = loaded(tmp_path / "source", add_volume)
    corrected = result_for(scene, node)
    assert can_export(corrected) == ""
    out = tmp_path / "out"
    out.mkdir()
    paths = export_corrected_node(
        scene, corrected, out, file_of_instance=lambda uid: database.get(uid, "")
    )
    assert paths == (out / "corrected", out / "change", out / "metal.dcm")
    source, again = read_volume(tmp_path / "source"), read_volume(out / "corrected")
    assert np.array_equal(again.ijk_to_ras, source.ijk_to_ras)
    assert np.argwhere(again.hu != source.hu).shape[0] == 300
    assert np.array_equal(again.hu[CHANGED], values()[CHANGED] + 100)
    text = pydicom.dcmread(out / "corrected" / "0001.dcm").DerivationDescription
    assert "method nmar" in text and '"window":"ramp"' in text
    # The metal of the scene, slice by slice.
    import highdicom

    metal = highdicom.seg.segread(str(out / "metal.dcm"))
    assert source.source is not None and source.source.dicom is not None
    uids = list(source.source.dicom.sop_instance_uids)
    mask = metal.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    expected = np.zeros(source.hu.shape, bool)
    expected[CHANGED] = True
    assert np.array_equal(mask[..., 0] > 0, expected)


def test_a_job_writes_the_same(scene: Any, add_volume: Any, tmp_path: Path) -> None:
    write_series(tmp_path / "source", edit=scanner_header)
    node, database = loaded(tmp_path / "source", add_volume)
    corrected = result_for(scene, node)
    given = {"file_of_instance": lambda uid: database.get(uid, "")}
    for name in ("here", "job"):
        (tmp_path / name).mkdir()
    export_corrected_node(scene, corrected, tmp_path / "here", **given)
    job = export_job(scene, corrected, tmp_path / "job", **given)
    job.wait()
    paths = result_of(job)
    job.close()
    assert paths == tuple(tmp_path / "job" / name for name in ("corrected", "change", "metal.dcm"))
    for name in ("corrected/0001.dcm", "change/0001.dcm", "metal.dcm"):
        here, there = (pydicom.dcmread(tmp_path / one / name) for one in ("here", "job"))
        assert here.PixelData == there.PixelData
    with pytest.raises(OutputError, match="no such folder"):
        export_job(scene, corrected, tmp_path / "nowhere", **given)
    again = export_job(scene, corrected, tmp_path / "job", **given)
    again.wait()
    assert "not empty" in again.error
    again.close()


def test_only_what_came_from_dicom(scene: Any, add_volume: Any, tmp_path: Path) -> None:
    write_series(tmp_path / "source", edit=scanner_header)
    node, database = loaded(tmp_path / "source", add_volume)
    corrected = result_for(scene, node)

    def export(folder: Path = tmp_path, known: dict[str, str] = database) -> None:
        export_corrected_node(
            scene, corrected, folder, file_of_instance=lambda uid: known.get(uid, "")
        )

    with pytest.raises(InputError, match="9 of 9 files of 'Hips' are not in the DICOM database"):
        export(known={})
    with pytest.raises(OutputError, match="no such folder"):
        export(folder=tmp_path / "nowhere")
    with pytest.raises(OutputError, match="folder of the source series"):
        export(folder=tmp_path / "source")
    node.SetAttribute("DICOM.instanceUIDs", None)
    assert "was not loaded from DICOM" in can_export(corrected)
    with pytest.raises(InputError, match="was not loaded from DICOM"):
        export()
    assert "original" in can_export(node) or "result" in can_export(node)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_a_volume_that_is_no_longer_the_scan(scene: Any, add_volume: Any, tmp_path: Path) -> None:
    """An attribute that was copied with the node says nothing of the voxels."""
    write_series(tmp_path / "source", edit=scanner_header)
    node, database = loaded(tmp_path / "source", add_volume)
    other = add_volume(
        np.roll(values(), 7, axis=2), np.diag([-1.0, -1, 1, 1]), name="something else"
    )
    other.SetAttribute("DICOM.instanceUIDs", node.GetAttribute("DICOM.instanceUIDs"))
    corrected = result_for(scene, other)
    with pytest.raises(InputError, match="another geometry"):
        export_corrected_node(
            scene, corrected, tmp_path, file_of_instance=lambda uid: database[uid]
        )
    assert not (tmp_path / "corrected").exists()
