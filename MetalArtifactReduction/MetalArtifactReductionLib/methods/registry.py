"""All methods: one entry says what there is to know of one, here or in a package of its own.

A method is a folder and an entry. The entry of another package is found through the entry-point
group :data:`GROUP`, or given to :func:`register`; command line, panel, batches and training then
have the method. Listing them loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..packages import loaded_entries
from ..weights import SUFFIX, load_weights, own_folder, own_weights, read_facts, weights_path

if TYPE_CHECKING:
    from ..training.task import Task
    from .base import Method

GROUP = "metal_artifact_reduction.methods"
"""Each entry point is a :class:`MethodEntry`."""


@dataclass(frozen=True)
class MethodEntry:
    """One method.

    What is to be imported is ``"module:name"``, relative to this package where it begins with a
    dot.

    :param name: as the user types it.
    :param label: what the panel shows.
    :param summary: one line for the command line: what it is for.
    :param explanation: what a user of the panel should know before choosing it.
    :param inpainter: makes the :class:`.base.Method`, from its loaded weights if it has any; empty
        for a network that only serves other methods.
    :param options: that the inpainter is made with, unless others are given.
    :param weights: name of the shipped weights; empty if it needs none, or only files have any.
    :param kind: what files of weights (``"inpainter"``) and configurations of trainings (``task``)
        call what it learned; methods of one kind share network and training.
    :param architecture: what files of weights call the network.
    :param network: its class, built with the arguments that the file holds.
    :param task: takes the options of a configuration, the folder with the data (or None) and the
        seed, and makes the :class:`..training.task.Task`.
    :param tells_error: it says how far its values may be off.
    :param trains_first: on the volume itself, so that a few slices tell nothing about its time.
    """

    name: str
    label: str
    summary: str
    explanation: str = ""
    inpainter: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    kind: str = ""
    architecture: str = ""
    network: str = ""
    task: str = ""
    tells_error: bool = False
    trains_first: bool = False

    def load(self, part: str) -> Any:
        """What ``"inpainter"``, ``"network"`` or ``"task"`` names, imported now."""
        module, name = getattr(self, part).split(":")
        return getattr(import_module(module, __package__), name)


JUDGE = "prior"
"""Of every correction, whatever its method, these weights tell what may be changed."""

_PRIOR = MethodEntry(
    "prior",
    "Learned, best: the most accurate",
    "learned image of the slice without metal, itself the result: the most accurate",
    "A network draws each slice as it would be without artifacts: the most accurate in tests. May "
    "change values outside the metal's rays: bounded, mapped and reported. May invent structures "
    "next to metal.",
    ".image_prior.inpainter:ImagePriorMethod",
    {"mode": "best"},
    weights="prior",
    kind="image-prior",
    architecture="image-prior",
    network=".image_prior.network:ImagePrior",
    task=".image_prior.task:make_task",
    tells_error=True,
)
_UNET = MethodEntry(
    "unet",
    "U-Net, trained on simulated implants",
    "U-Net on three slices' sinograms, trained on simulated implants: spine, not hips",
    "A network fills what metal hid, from three slices at a time, trained on simulated implants. "
    "For spines: in tests about as good as NMAR, or better; in hips worse. May invent structures "
    "next to metal.",
    ".sinogram_unet.inpainter:SinogramUNet",
    weights="unet",
    kind="sinogram-unet",
    architecture="masked-unet",
    network=".sinogram_unet.network:MaskedUNet",
    task=".sinogram_unet.task:make_task",
)

_ENTRIES: dict[str, MethodEntry] = {
    entry.name: entry
    for entry in (
        MethodEntry(
            "li",
            "Linear interpolation",
            "linear interpolation of the trace along the bins (Kalender 1987): the baseline",
            "Draws a straight line across what metal hid: the baseline. Blurs bone next to metal.",
            ".linear:LinearInterpolation",
        ),
        MethodEntry(
            "nmar",
            "NMAR",
            "normalised interpolation with a prior image (Meyer 2010): keeps bone near metal",
            "Interpolates after dividing by a model of the tissue: keeps bone next to metal. A "
            "good first choice.",
            ".nmar.inpainter:NMAR",
        ),
        _PRIOR,
        replace(
            _PRIOR,
            name="prior-strict",
            label="Learned, strict: only the metal's rays change",
            summary="the same image fills the trace and its rim: no other measured value changes",
            explanation="The same network fills only what metal hid: nothing but the metal's rays "
            "and those that touch it changes. Streaks that the scanner put into other rays stay. "
            "May invent structures next to metal.",
            options={"mode": "strict"},
            tells_error=False,
        ),
        MethodEntry(
            "trace-cnn",
            "Trace CNN, trained on simulated metal in hips",
            "small convolutional network trained on several patients' own slices",
            "A small network, trained on the hips of two patients and a nail: not for prostheses, "
            "which hide more than it can see. May invent structures next to metal.",
            ".trace_cnn.inpainter:TraceCNNMethod",
            weights="trace-cnn",
            kind="trace-cnn",
            architecture="trace-cnn",
            network=".trace_cnn.network:TraceCNN",
            task=".trace_cnn.task:make_task",
        ),
        MethodEntry(
            "patient",
            "Train on this patient",
            "the same, trained on this volume's own slices next to the metal first: minutes",
            "Trains a small network on this patient's own slices above and below the metal, then "
            "corrects: takes minutes. May invent structures next to metal.",
            ".trace_cnn.patient:PatientTraining",
            trains_first=True,
        ),
        _UNET,
        replace(
            _UNET,
            name="cgan",
            label="Conditional GAN, trained on simulated implants",
            summary="the same U-Net trained on against a discriminator: spine, not hips",
            explanation="As the U-Net, but trained on against a second network to look real. For "
            "spines: in tests about as good as NMAR, or better, with more noise; in hips worse. "
            "May invent structures next to metal.",
            weights="cgan",
        ),
        MethodEntry(
            "metal-refiner",
            "Metal refiner",
            "how much of the segmented metal is metal and not its blur",
            weights="metal-refiner",
            kind="metal-refiner",
            architecture="metal-refiner",
            network=".metal_refiner.network:MetalRefiner",
            task=".metal_refiner.task:make_task",
        ),
    )
}


def entries() -> Mapping[str, MethodEntry]:
    """All entries by name, those of installed packages and of the user's own weights included."""
    known = {**_ENTRIES, **_installed()}
    return {**known, **_own(known)}


def methods() -> Mapping[str, MethodEntry]:
    """The entries that a user can correct with, by name.

    >>> methods()["nmar"].label
    'NMAR'
    """
    return {name: entry for name, entry in entries().items() if entry.inpainter}


def _own(known: Mapping[str, MethodEntry]) -> dict[str, MethodEntry]:
    """Every file of :func:`..weights.own_folder` as the methods of its kind.

    Those that differ in more than their weights differ in their names as the shipped ones do:
    ``mine`` and ``mine-strict``.
    """
    found: dict[str, MethodEntry] = {}
    for stem, path in own_weights().items():
        try:
            kind = _kind_of(path, path.stat().st_mtime_ns)
        except (InputError, OSError):
            continue  # told when it is asked for by its path
        alike = [e for e in known.values() if e.kind == kind and e.inpainter and e.weights]
        # One for each way to use them: unet and cgan are used alike.
        for entry in reversed({str(e.options): e for e in reversed(alike)}.values()):
            first = f"own-{stem}" if stem in known else stem
            name = first + entry.name.removeprefix(alike[0].name)
            found[name] = replace(
                entry,
                name=name,
                label=f"{name}: own weights, as {entry.name}",
                summary=f"own weights, used as {entry.name} is ({path})",
                explanation=f"Weights of your own, from {path.parent}, used as {entry.name} is. "
                "What it was trained on says its card.",
                weights=str(path),
            )
    return found


@cache
def _kind_of(path: Path, _changed_ns: int) -> str:
    return str(read_facts(path).method.get("inpainter", ""))


def register(entry: MethodEntry) -> None:
    """Add a method to this process; a package names it in its entry points instead.

    :raises ValueError: another one has its name.
    """
    if entries().get(entry.name, entry) != entry:
        raise ValueError(f"there is a method {entry.name!r} already; give another name")
    _ENTRIES[entry.name] = entry


@cache
def _installed() -> Mapping[str, MethodEntry]:
    found = sorted(loaded_entries(GROUP), key=lambda entry: str(entry.name))
    return {entry.name: entry for entry in found}


def entry_of(method: str) -> MethodEntry:
    """The entry of a name; of a file of weights that of its kind, with the file as weights.

    :raises InputError: unknown name; weights that are missing, corrupted, or of another program.
    """
    if not method:
        raise InputError(f"no weights file chosen: choose a {SUFFIX} file")
    if not method.endswith(SUFFIX):
        if method not in methods():
            raise InputError(
                f"unknown method {method!r}; choose one of {', '.join(methods())}, give a file of "
                f"weights ({SUFFIX}), or put one into {own_folder()}"
            )
        return methods()[method]
    kind = str(read_facts(method).method.get("inpainter", "nothing"))
    for entry in methods().values():
        if entry.kind == kind:
            return replace(entry, weights=method)
    known = dict.fromkeys(entry.kind for entry in methods().values() if entry.kind)
    raise InputError(
        f"{method}: its weights are for {kind!r}, which is no method of this version; it has "
        f"{', '.join(known)}"
    )


def require_method(method: str) -> MethodEntry:
    """Refuse a method that cannot be made here; loads no network.

    :param method: a name, or a file of weights.
    :returns: its entry.
    :raises InputError: as :func:`entry_of`; its weights, or those of :data:`JUDGE`, are not
        installed.
    """
    entry = entry_of(method)
    for weights in (entry.weights, JUDGE):
        if weights:
            weights_path(weights)
    return entry


def require_expected_error(method: str) -> None:
    """Refuse a method that does not know its expected error, naming those that do.

    :raises InputError: so, or as :func:`require_method`.
    """
    if not require_method(method).tells_error:
        able = ", ".join(entry.name for entry in methods().values() if entry.tells_error)
        raise InputError(
            f"method {method!r} does not know its expected error; use one that does ({able})"
        )


def create_method(method: str | Method, **options: object) -> Method:
    """The method of that name, made with ``options``; one made already is returned as it is.

    :param method: a name, a file of weights (``.safetensors``), or a method.
    :raises InputError: as :func:`require_method`; weights of another network; an option that the
        method does not have, or a value that it cannot use.
    """
    if not isinstance(method, str):
        if options:
            raise InputError(f"options {sorted(options)} need a method by name, not an object")
        return method
    entry = require_method(method)
    given = {**entry.options, **options}
    inpainter = entry.load("inpainter")
    try:
        if not entry.weights:
            made: Method = inpainter(**given)
        else:
            loaded = load_weights(entry.weights, entry.architecture, entry.load("network"))
            made = inpainter(loaded, **given)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"method {method!r} cannot be made with {given}: {error}") from error
    return made


def task_names() -> tuple[str, ...]:
    """What a configuration can have trained."""
    return tuple(dict.fromkeys(entry.kind for entry in entries().values() if entry.task))


def recipe_of(method: str) -> Path:
    """The configuration that a method's weights are trained with: beside its task.

    :raises InputError: it is no method, or has none.
    """
    if method not in trainable():
        raise InputError(
            f"{method!r} is neither a method that can be trained ({', '.join(trainable())}) nor a "
            "configuration (.toml); a method for one CT: mar train-patient"
        )
    entry = entries()[method]
    module = import_module(entry.task.partition(":")[0], __package__)
    path = Path(str(module.__file__)).parent / f"{entry.weights or entry.name}.toml"
    if not path.is_file():
        raise InputError(
            f"method {method!r} has no configuration {path.name}; give one of your own"
        )
    return path


def trainable() -> list[str]:
    """Names of the methods whose weights can be trained."""
    return [name for name, entry in {**_ENTRIES, **_installed()}.items() if entry.task]


def make_task(name: str, options: Mapping[str, Any], data: Path | None, seed: int) -> Task:
    """A task, ready to train.

    :param name: one of :func:`task_names`.
    :param data: folder with the data that the options name.
    :raises InputError: options or data that cannot be used.
    """
    entry = next(entry for entry in entries().values() if entry.task and entry.kind == name)
    task: Task = entry.load("task")(dict(options), data, seed)
    return task
