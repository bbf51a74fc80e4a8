"""Damaged files end in a result or in one line; ``fuzz_readers.py`` makes thousands of them."""

from __future__ import annotations

import pytest
from fuzz_readers import BAD, FORMATS, fuzzed

from support import HANG_S


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "mrb"])
def test_damaged_files_end_well(kind: str) -> None:
    if kind in ("stl", "obj", "ply"):
        pytest.importorskip("trimesh")
    told: list[str] = []
    found, _ = fuzzed(kind, 30, 11, seconds=HANG_S, tell=told.append)
    assert sum(found.values()) == 30
    assert not any(found[name] for name in BAD), told
