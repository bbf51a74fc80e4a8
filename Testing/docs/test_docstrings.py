"""The examples in the docstrings of public names run, and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "MetalArtifactReductionLib.volume",
        "MetalArtifactReductionLib.files.volumes",
        "MetalArtifactReductionLib.metal.segmentation",
        "MetalArtifactReductionLib.correction.correct",
        "MetalArtifactReductionLib.methods.registry",
        "SimulateImplantsLib.implants.registry",
        "SimulateImplantsLib.voxels.voxelize",
        "SimulateImplantsLib.cases.case",
    ],
)
def test_examples_of_docstrings(module: str) -> None:
    result = doctest.testmod(import_module(module))
    assert result.attempted > 0 and result.failed == 0
