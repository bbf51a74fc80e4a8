"""Boot a complete MRML scene without Slicer; save and read scenes."""

from __future__ import annotations

import shutil
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from ..errors import InputError, OutputError
from ..files.archives import unpack
from ..files.leftovers import hidden_folder, temporary_folder
from ..files.whole import check_path_free, written_whole
from .namespace import slicer_classes

_OLDEST_READER = "Slicer 5.8.0 0"
"""Written into saved scenes: the oldest Slicer meant to read them, so that none of them warns."""

_LOGICS = (
    ("Volumes", "vtkSlicerVolumesLogic"),
    ("Models", "vtkSlicerModelsLogic"),
    ("Markups", "vtkSlicerMarkupsLogic"),
    ("Transforms", "vtkSlicerTransformLogic"),
    ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    ("CropVolume", "vtkSlicerCropVolumeLogic"),
    ("Tables", "vtkSlicerTablesLogic"),
)


def headless_scene() -> Any:
    """A new scene with the logics, node classes and colours that Slicer itself would bring.

    Works on the ``slicer-core`` package, without Qt, display or GPU. Every call gives an
    independent scene. Inside Slicer use ``slicer.mrmlScene`` instead.

    :returns: a ``vtkMRMLScene``; it keeps its logics alive.
    :raises SceneUnavailable: where MRML is not installed.
    """
    slicer = slicer_classes()
    scene = slicer.vtkMRMLScene()
    scene.SetVersion(_OLDEST_READER)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    colors = application.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    application.SetModuleLogic("Colors", colors)
    logics = [application]
    for name, class_name in _LOGICS:
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        logics.append(logic)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    scene.headless_logics = tuple(logics)
    return scene


def save_scene(scene: Any, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a scene with all its data so that Slicer opens it; whole or not at all.

    The scene itself stays as it was: the files its nodes were read from keep their names and
    are not touched.

    :param scene: ``vtkMRMLScene``.
    :param path: ``case.mrb`` writes one file; ``folder/case.mrml`` writes the scene with its data
        in ``folder``, which must be new or empty, since the scene fills it.
    :param overwrite: replace an existing ``.mrb``, or a folder that holds nothing but one scene.
    :returns: the absolute path of the scene file.
    :raises OutputError: unknown ending, exists already, no permission, disk full, node not
        writable.
    """
    target = Path(path).absolute()
    if target.suffix.lower() == ".mrb":
        _save_bundle(scene, target, overwrite=overwrite)
    elif target.suffix.lower() == ".mrml":
        _save_folder(scene, target, overwrite=overwrite)
    else:
        raise OutputError(f"{target}: not the name of a scene; let it end in .mrb or .mrml")
    return target


def load_scene(path: str | PathLike[str], scene: Any = None) -> Any:
    """Read a ``.mrb`` or ``.mrml`` file.

    :param path: the scene file.
    :param scene: import into this scene; a new :func:`headless_scene` if None.
    :returns: the scene.
    :raises InputError: no such file, not a scene, or one of its nodes cannot be read.
    """
    slicer = slicer_classes()
    source = Path(path).absolute()
    if not source.is_file():
        raise InputError(f"{source}: no such scene file; check the path")
    if source.suffix.lower() not in (".mrb", ".mrml"):
        raise InputError(f"{source}: not a scene; choose a .mrb or .mrml file")
    with temporary_folder() as unpacked:
        file = source
        if source.suffix.lower() == ".mrb":
            file = _unzip_bundle(source, unpacked)
        scene = headless_scene() if scene is None else scene
        messages = slicer.vtkMRMLMessageCollection()
        scene.SetURL(str(file))
        scene.SetRootDirectory(str(file.parent))
        success = scene.Import(messages)
    scene.SetURL(str(source))
    scene.SetRootDirectory(str(source.parent))
    errors = _errors(messages)
    if errors or not success:
        reason = errors[0] if errors else "damaged"
        raise InputError(f"{source}: the scene could not be read ({reason}); save it again")
    return scene


def _save_bundle(scene: Any, target: Path, *, overwrite: bool) -> None:
    """Write one ``.mrb``: a zip with the scene's folder on top, as Slicer packs it."""
    check_path_free(target, overwrite=overwrite)
    with written_whole(target, overwrite=overwrite) as packed:
        folder = packed.parent / "unpacked" / target.stem
        folder.mkdir(parents=True)
        _write_folder(scene, folder)
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for entry in sorted(folder.rglob("*")):
                file.write(entry, entry.relative_to(folder.parent))
        shutil.rmtree(folder.parent)


def _save_folder(scene: Any, target: Path, *, overwrite: bool) -> None:
    """Write a ``.mrml`` and its data as a folder that comes into being by one rename."""
    destination = target.parent
    _check_folder_free(destination, overwrite=overwrite)
    work: Path | None = None
    try:
        work = hidden_folder(destination.parent)
        folder = work / target.stem
        folder.mkdir()
        _write_folder(scene, folder)
        _replace_folder(folder, destination, work / "previous")
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{target}: could not be written ({error.strerror or error}); choose another folder"
        ) from None
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _check_folder_free(destination: Path, *, overwrite: bool) -> None:
    """Refuse before any work a folder that the scene could not or must not fill."""
    if not destination.parent.is_dir():
        raise OutputError(
            f"{destination}: the folder {destination.parent} does not exist; create it first"
        )
    if destination.exists() and not destination.is_dir():
        raise OutputError(f"{destination}: is not a folder; choose another place for the scene")
    contents = sorted(destination.iterdir()) if destination.is_dir() else []
    if not contents:
        return
    if not overwrite:
        raise OutputError(
            f"{destination}: is not empty, and a .mrml scene fills its own folder; name a new"
            " folder, or a .mrb to get one file"
        )
    scenes = {entry.stem for entry in contents if entry.suffix.lower() == ".mrml"}
    of_scene = {"Data", *(f"{stem}.mrml" for stem in scenes), *(f"{s}_Private" for s in scenes)}
    foreign = [entry.name for entry in contents if entry.name not in of_scene]
    if foreign or len(scenes) != 1:
        example = f" ({foreign[0]})" if foreign else ""
        raise OutputError(
            f"{destination}: holds more than one scene{example} and is not replaced; name a new"
            " folder"
        )


def _write_folder(scene: Any, folder: Path) -> None:
    """Write ``folder/<name of folder>.mrml`` and the data files below it."""
    slicer = slicer_classes()
    messages = slicer.vtkMRMLMessageCollection()
    success = scene.SaveSceneToSlicerDataBundleDirectory(str(folder), None, messages)
    errors = _errors(messages)
    if errors or not success:
        reason = errors[0] if errors else "a node could not be written"
    else:
        reason = _damage(folder / f"{folder.name}.mrml")
    if reason:
        raise OutputError(f"scene {folder.name}: {reason}; free space or choose another disk")


def _damage(scene_file: Path) -> str:
    """What is wrong with a scene just written, or "": MRML does not notice a cut scene file."""
    try:
        root = ElementTree.parse(scene_file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        return f"the scene file was not written whole ({error})"
    for node in root.iter():
        name = unquote(node.get("fileName") or "")
        # A storage node that no node uses may still name a file somewhere else.
        if name.startswith("Data/") and not (scene_file.parent / name).is_file():
            return f"{name} was not written"
    return ""


def _replace_folder(folder: Path, destination: Path, previous: Path) -> None:
    """Put ``folder`` where ``destination`` is; what was there comes back if that fails."""
    if destination.exists():
        destination.replace(previous)
    try:
        folder.replace(destination)
    except OSError:
        if previous.exists():
            previous.replace(destination)
        raise


def _unzip_bundle(source: Path, folder: Path) -> Path:
    """Unpack a .mrb and return the path of the scene file inside."""
    unpack(source, folder)
    scenes = sorted(folder.glob("*/*.mrml")) or sorted(folder.glob("*.mrml"))
    if not scenes:
        raise InputError(f"{source}: no scene inside; choose a .mrb that Slicer saved")
    return scenes[0]


def _errors(messages: Any) -> list[str]:
    """The errors among MRML's messages, one line each."""
    import vtk

    return [
        " ".join(messages.GetNthMessageText(index).split())
        for index in range(messages.GetNumberOfMessages())
        if messages.GetNthMessageType(index) == vtk.vtkCommand.ErrorEvent
    ]
