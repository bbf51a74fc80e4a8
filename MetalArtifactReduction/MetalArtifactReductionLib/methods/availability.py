"""Can a method be used here? Asked before anything runs; loads no network."""

from __future__ import annotations

from ..errors import InputError
from ..weights import read_facts, weights_path
from .registry import METHODS, WEIGHTS_SUFFIX

_KNOW_ERROR = ("image-prior",)
"""Kinds of learned methods whose own image is the result, with its expected error."""


def require_method(method: str) -> None:
    """Refuse a method that cannot be made here.

    :param method: a name of :data:`.registry.METHODS`, or a file of weights.
    :raises InputError: unknown name; weights that are missing, corrupted, or of another program.
    """
    if method.endswith(WEIGHTS_SUFFIX):
        read_facts(method)
    elif not method:
        raise InputError("no weights file chosen: choose a .safetensors file")
    elif method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    elif METHODS[method].learned:
        weights_path(METHODS[method].weights or method)


def knows_expected_error(method: str) -> bool:
    """Whether a method says how far its values may be off; the others have no such map.

    :param method: as of :func:`require_method`.
    :raises InputError: as :func:`require_method`.
    """
    require_method(method)
    entry = METHODS.get(method)
    if entry is not None and (not entry.learned or entry.mode not in ("", "best")):
        return False
    name = method if entry is None else entry.weights or method
    return read_facts(name).method.get("inpainter") in _KNOW_ERROR


def require_expected_error(method: str) -> None:
    """Refuse a method that does not know its expected error, naming those that do.

    :raises InputError: so, or as :func:`require_method`.
    """
    if not knows_expected_error(method):
        able = ", ".join(name for name in METHODS if _shipped(name) and knows_expected_error(name))
        raise InputError(
            f"method {method!r} does not know its expected error; use one that does ({able})"
        )


def _shipped(name: str) -> bool:
    """Whether nothing is missing for a method of this version."""
    try:
        require_method(name)
    except InputError:
        return False
    return True
