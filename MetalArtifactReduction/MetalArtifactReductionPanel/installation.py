"""Install what the library needs into Slicer's Python, once, after asking."""

from __future__ import annotations

import logging
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from MetalArtifactReductionLib.errors import MARError
from MetalArtifactReductionLib.packages import installed_version, missing_requirements

SLICER_BRINGS = ("numpy", "SimpleITK", "pydicom")
"""Slicer's own builds; replacing them would break other modules."""


class MissingPackages(MARError):
    """Python packages are missing and were not installed."""


def nothing_missing(resources: Path) -> bool:
    """Whether all of the library's packages are there.

    :param resources: folder of the requirements files.
    """
    torch = missing_requirements(resources / "requirements-torch.txt", any_version=True)
    return not torch and not missing_requirements(
        resources / "requirements.txt", provided=SLICER_BRINGS
    )


def ensure_dependencies(resources: Path, method: str = "") -> None:
    """Make the library's packages importable; returns at once when they are.

    :param resources: folder of the requirements files.
    :param method: what will be done; one that trains first needs the packages of training too.
    :raises MissingPackages: names what is missing when it was not installed.
    """
    _ensure_torch(resources / "requirements-torch.txt")
    _ensure(resources / "requirements.txt")
    from MetalArtifactReductionLib.methods.registry import methods

    if method in methods() and methods()[method].trains_first:
        _ensure(resources / "requirements-train.txt")


def _ensure(path: Path) -> None:
    """The packages of one file."""
    missing = missing_requirements(path, provided=SLICER_BRINGS)
    if not missing:
        return
    try:
        from slicer import packaging
    except ImportError:  # Slicer before 5.12
        question = _("Metal artifact reduction needs to install: {names}").format(
            names=" ".join(missing)
        )
        if not slicer.app.testingEnabled() and slicer.util.confirmOkCancelDisplay(question):
            slicer.util.pip_install(missing)
    else:
        try:
            packaging.pip_ensure(missing, requester="MetalArtifactReduction")
        except RuntimeError as error:  # the user declined
            logging.info(str(error))
    installed_version.cache_clear()
    missing = missing_requirements(path, provided=SLICER_BRINGS)
    if missing:
        raise MissingPackages(
            _("Python packages are missing: {names}; install them and try again").format(
                names=", ".join(missing)
            )
        )


def _ensure_torch(requirements: Path) -> None:
    """PyTorch through the PyTorch extension, which picks the build that fits the machine."""
    missing = missing_requirements(requirements, any_version=True)
    if not missing:
        return
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError:
        raise MissingPackages(
            _("PyTorch is missing: install the extension PyTorch in the Extensions Manager")
        ) from None
    version = missing[0].removeprefix("torch")
    if PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=version):
        return
    raise MissingPackages(_("PyTorch was not installed; the correction cannot run without it"))
