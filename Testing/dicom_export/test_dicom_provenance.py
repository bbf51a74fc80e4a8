"""The description of a derivation: complete where it fits, honest where it does not, no folders."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from MetalArtifactReductionLib.dicom_export import Derivation
from MetalArtifactReductionLib.dicom_export.derived import described
from MetalArtifactReductionLib.dicom_export.values import encoding_for


def test_everything_is_said() -> None:
    digest = "ab" * 32
    parameters = {
        "method_parameters": {"weights_sha256": digest, "base": 0.1234567891, "steps": (1, 2)},
        "window": "ramp",
    }
    text = Derivation("unet", parameters, "1.2.3").description()
    assert "method unet, MetalArtifactReduction 1.2.3, " in text
    assert f", weights SHA-256 {digest}, " in text
    said = json.loads(text[text.index("parameters ") + len("parameters ") :])
    assert said["window"] == "ramp" and said["method_parameters"]["steps"] == [1, 2]
    assert said["method_parameters"]["base"] == pytest.approx(0.1234567891, rel=1e-5)
    assert Derivation("li").weights_sha256 == ""


@pytest.mark.parametrize("path", ["/home/doe/a/w.safetensors", "C:\\Users\\doe\\w.safetensors"])
def test_no_folder_gets_into_an_image(path: str) -> None:
    text = Derivation("unet", {"weights": path}).description()
    assert "w.safetensors" in text and "doe" not in text and "\\" not in text


def test_long_parameters_are_cut_and_can_still_be_checked() -> None:
    parameters = {f"parameter {n}": n for n in range(200)}
    text = Derivation("li", parameters).description()
    assert len(text) <= 1024 and text.isascii()
    whole = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(whole.encode()).hexdigest() in text


def test_the_label_fits_behind_any_description() -> None:
    assert described("Hip", "MAR li") == "Hip MAR li"
    assert described(None, "MAR li") == "MAR li"
    assert len(described("x" * 64, "MAR li")) == 64
    assert described("x" * 64, "MAR li").endswith("x MAR li")


def test_any_values_are_stored_to_the_nearest_step() -> None:
    """Whatever the range and the source's rescale: at most half a step away, and never clipped."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        low, high = np.sort(rng.uniform(-40000, 80000, 2))
        hu = rng.uniform(low, high, (3, 4, 5)).astype(np.float32)
        slope = float(rng.choice([1, 0.5, 0.123, 2, 10]))
        rescale = [(slope, float(rng.choice([0, -1024, -8192, 0.5])))] * 3
        encoding = encoding_for(hu, rescale, signed=bool(rng.integers(2)))
        for index, plane in enumerate(hu):
            step, intercept = encoding.rescale[index]
            stored = encoding.stored(plane, index)
            assert stored.dtype.itemsize == 2
            error = np.abs(stored.astype(float) * step + intercept - plane)
            assert error.max() <= step / 2 + 1e-6
            assert step <= max(slope, 1) or encoding.coarser == step
