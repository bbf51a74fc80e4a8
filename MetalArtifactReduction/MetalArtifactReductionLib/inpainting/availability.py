"""Can a method be used here? Asked before anything runs; loads no network."""

from __future__ import annotations

from ..errors import InputError
from ..networks.weights import read_facts, weights_path
from .registry import METHODS, WEIGHTS_SUFFIX


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
