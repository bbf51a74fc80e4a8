"""Scenes saved and read again: everything comes back, whole or not at all, nothing else touched."""

from __future__ import annotations

import os
import signal
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.correction import CorrectionResult
from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.mrml.hierarchy import INPUT_REFERENCE, METAL_REFERENCE
from mrml_support import affine, rotation, world_position

SHAPE = (10, 20, 24)


@pytest.fixture
def results(scene: Any, add_volume: Any, add_transform: Any) -> Any:
    """A corrected oblique CT under a registration, in a study."""
    import slicer

    stored = np.random.default_rng(0).permutation(np.prod(SHAPE)).reshape(SHAPE) - 1024
    ct = add_volume(stored.astype(np.int16), affine(rotation(8), (0.7, 0.8, 2.0)), name="Hüfte:1/2")
    ct.SetAndObserveTransformNodeID(add_transform(affine(rotation(3), (1, 1, 1))).GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.CreateItem(hierarchy.CreateStudyItem(patient, "Study of the hip"), ct)
    volume = mrml.volume_from_node(ct)
    metal = np.zeros(volume.hu.shape, dtype=np.float32)
    metal[3:6, 4:9, 5:8] = 1.0
    change = np.where(metal > 0, 0.25, 0).astype(np.float32) - 37.5
    parameters = {"note": 'quotes " and <angle> & ; : are kept'}
    finished = CorrectionResult(
        volume.with_hu(volume.hu + change), metal, change, "nmar", parameters
    )
    return mrml.add_results(scene, ct, finished, keep_fraction=True)


def scene_path(folder: Path, kind: str) -> Path:
    return folder / "case.mrb" if kind == "mrb" else folder / "case" / "case.mrml"


@pytest.mark.parametrize("kind", ["mrb", "mrml"])
def test_everything_comes_back(scene: Any, results: Any, tmp_path: Path, kind: str) -> None:
    import slicer

    ct = results.corrected.GetNodeReference(INPUT_REFERENCE)
    path = mrml.save_scene(scene, scene_path(tmp_path, kind))
    again = mrml.load_scene(path)

    for before in (ct, results.corrected, results.change_map, results.fraction):
        after = again.GetNodeByID(before.GetID())
        assert after.GetName() == before.GetName()
        old, new = mrml.volume_from_node(before), mrml.volume_from_node(after)
        np.testing.assert_array_equal(new.hu, old.hu)
        np.testing.assert_allclose(new.ijk_to_ras, old.ijk_to_ras, atol=1e-6)
        old_display, new_display = before.GetDisplayNode(), after.GetDisplayNode()
        assert new_display.GetWindow() == pytest.approx(old_display.GetWindow())
        assert new_display.GetLevel() == pytest.approx(old_display.GetLevel())
    new_ct = again.GetNodeByID(ct.GetID())
    for value in (-1000, 0, 2000):
        np.testing.assert_allclose(world_position(new_ct, value), world_position(ct, value))

    corrected = again.GetNodeByID(results.corrected.GetID())
    metal = corrected.GetNodeReference(METAL_REFERENCE)
    assert corrected.GetNodeReference(INPUT_REFERENCE) is new_ct
    assert mrml.results_of(again, new_ct, "corrected") == [corrected]
    name = "MetalArtifactReduction.parameters"
    assert corrected.GetAttribute(name) == results.corrected.GetAttribute(name)
    np.testing.assert_array_equal(
        mrml.fraction_from_segmentation(metal, new_ct),
        mrml.volume_from_node(results.fraction).hu,
    )
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(again)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(corrected))
    assert hierarchy.GetItemName(hierarchy.GetItemParent(folder)) == "Study of the hip"
    composite = again.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetBackgroundVolumeID() == corrected.GetID()
    # A further correction of the reloaded scene finds the folder it had.
    assert mrml.place_results(again, new_ct, [], "x") == folder

    table = again.GetNodeByID(results.change_map.GetID()).GetDisplayNode().GetColorNode()
    original = results.change_map.GetDisplayNode().GetColorNode()
    count = original.GetLookupTable().GetNumberOfTableValues()
    assert table.GetLookupTable().GetNumberOfTableValues() == count
    for index in range(count):
        np.testing.assert_allclose(
            table.GetLookupTable().GetTableValue(index),
            original.GetLookupTable().GetTableValue(index),
            atol=1 / 255,
        )


def test_the_files_are_readable_by_others_and_relative(
    scene: Any, results: Any, tmp_path: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = mrml.save_scene(scene, scene_path(tmp_path, "mrml"))
    moved = tmp_path / "elsewhere"
    path.parent.rename(moved)
    root = ElementTree.parse(moved / "case.mrml").getroot()
    names = [node.get("fileName") for node in root.iter() if node.get("fileName")]
    assert len(names) >= 6
    assert not [name for name in names if Path(name).is_absolute() or str(tmp_path) in name]
    ct = mrml.volume_from_node(results.corrected)
    images = [sitk.ReadImage(str(file)) for file in (moved / "Data").glob("NMAR*.nrrd")]
    assert len(images) == 1
    array = sitk.GetArrayFromImage(images[0])
    slice_, row, col = 4, 7, 11
    value = ct.hu[slice_, row, col]
    k, j, i = (int(index) for index in np.argwhere(array == value)[0])
    lps = images[0].TransformIndexToPhysicalPoint((i, j, k))
    expected = (ct.ijk_to_ras @ [col, row, slice_, 1.0])[:3] * (-1, -1, 1)
    np.testing.assert_allclose(lps, expected, atol=1e-6)
    again = mrml.load_scene(moved / "case.mrml")
    assert again.GetNodeByID(results.corrected.GetID()).GetImageData() is not None


def test_the_bundle_is_packed_as_slicer_packs_it(scene: Any, results: Any, tmp_path: Path) -> None:
    path = mrml.save_scene(scene, tmp_path / "case.mrb")
    with zipfile.ZipFile(path) as bundle:
        assert bundle.testzip() is None
        names = bundle.namelist()
    assert "case/case.mrml" in names
    assert all(name.startswith("case/") for name in names)
    assert os.listdir(tmp_path) == ["case.mrb"]  # noqa: PTH208
    # And Slicer's own reader takes it, not only ours.
    import slicer

    own = mrml.headless_scene()
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    scene_file = own.UnpackSlicerDataBundle(str(path), str(unpacked))
    assert Path(scene_file).name == "case.mrml"
    assert slicer.vtkMRMLScene.ParseVersion is not None


def test_saving_changes_neither_the_scene_nor_the_users_files(
    scene: Any, results: Any, tmp_path: Path
) -> None:
    ct = results.corrected.GetNodeReference(INPUT_REFERENCE)
    original = tmp_path / "patient.nrrd"
    ct.AddDefaultStorageNode()
    storage = ct.GetStorageNode()
    storage.SetFileName(str(original))
    assert storage.WriteData(ct)
    content, changed = original.read_bytes(), original.stat().st_mtime_ns
    mrml.save_scene(scene, tmp_path / "case.mrb")
    mrml.save_scene(scene, tmp_path / "case" / "case.mrml")
    assert storage.GetFileName() == str(original)
    assert original.read_bytes() == content
    assert original.stat().st_mtime_ns == changed
    assert scene.GetURL() == ""


def test_existing_outputs_are_kept_unless_overwriting_is_allowed(
    scene: Any, results: Any, tmp_path: Path
) -> None:
    bundle = tmp_path / "case.mrb"
    bundle.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        mrml.save_scene(scene, bundle)
    assert bundle.read_text() == "precious"
    mrml.save_scene(scene, bundle, overwrite=True)
    assert zipfile.is_zipfile(bundle)

    folder = tmp_path / "case"
    mrml.save_scene(scene, folder / "case.mrml")
    with pytest.raises(OutputError, match="not empty"):
        mrml.save_scene(scene, folder / "case.mrml")
    results.corrected.SetName("second")
    mrml.save_scene(scene, folder / "case.mrml", overwrite=True)
    assert (folder / "Data" / "second.nrrd").is_file()
    (folder / "thesis.doc").write_text("precious")
    with pytest.raises(OutputError, match=r"thesis\.doc"):
        mrml.save_scene(scene, folder / "case.mrml", overwrite=True)
    assert (folder / "thesis.doc").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["case", "case.mrb"]  # noqa: PTH208


def error_on_a_full_disk(bytes_left: int, work: Callable[[], object]) -> str:
    """What is said where no file can grow beyond this size.

    In a fork: a NRRD writer that has failed crashes its process at the end.
    """
    resource = pytest.importorskip("resource", reason="file size limits exist on Unix only")
    heard, said = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: none is used there
        child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left))
            work()
        except OutputError as error:
            os.write(said, str(error).encode())
        finally:
            os._exit(0)
    os.close(said)
    with os.fdopen(heard, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.parametrize("kind", ["mrb", "mrml"])
@pytest.mark.parametrize("bytes_left", [2000, 15_000])
def test_a_full_disk_leaves_what_was_there(
    scene: Any, results: Any, tmp_path: Path, kind: str, bytes_left: int
) -> None:
    path = mrml.save_scene(scene, scene_path(tmp_path, kind))
    before = path.read_bytes()
    largest = max(file.stat().st_size for file in tmp_path.rglob("*.*") if file.is_file())
    assert kind == "mrb" or bytes_left < largest
    told = error_on_a_full_disk(bytes_left, lambda: mrml.save_scene(scene, path, overwrite=True))
    assert told and "\n" not in told
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    assert mrml.load_scene(path).GetNodeByID(results.corrected.GetID()) is not None


def test_names_and_places_that_cannot_be_written(scene: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "case.nrrd", "end in .mrb or .mrml"),
        (tmp_path / "missing" / "case.mrb", "does not exist"),
        (tmp_path / "missing" / "deep" / "case.mrml", "does not exist"),
        (tmp_path / "file" / "case.mrml", "not a folder"),
    ):
        with pytest.raises(OutputError, match=message):
            mrml.save_scene(scene, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_files_that_are_no_scene(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mrb"
    cut.write_bytes(b"PK\x03\x04 and nothing more")
    empty = tmp_path / "empty.mrb"
    with zipfile.ZipFile(empty, "w") as file:
        file.writestr("readme.txt", "no scene")
    text = tmp_path / "text.mrml"
    text.write_text("<MRML><Volume")
    (tmp_path / "a.nrrd").write_text("")
    for name, message in (
        ("none.mrb", "no such scene file"),
        ("a.nrrd", "not a scene"),
        ("cut.mrb", "damaged"),
        ("empty.mrb", "no scene inside"),
        ("text.mrml", "could not be read"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            mrml.load_scene(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_scenes_are_independent_and_outlive_their_callers() -> None:
    pytest.importorskip("slicer", reason="the package slicer-core is not installed")
    import gc

    first, second = mrml.headless_scene(), mrml.headless_scene()
    gc.collect()
    first.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    assert second.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    node = first.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert node.GetSegmentation().AddEmptySegment("a", "Metal") == "a"
    assert second.GetNodeByID("vtkMRMLColorTableNodeGrey") is not None
