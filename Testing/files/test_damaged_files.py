"""Damaged files end in a result or in one line; ``fuzz_readers.py`` makes thousands of them."""

from __future__ import annotations

import pytest
from fuzz_formats import FORMATS, VTK
from fuzz_readers import BAD, fuzzed

from support import HANG_S


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "mrb"])
def test_damaged_files_end_well(kind: str) -> None:
    count = 30
    if kind in ("stl", "obj", "ply", *VTK):
        pytest.importorskip("trimesh")
    told: list[str] = []
    found, _ = fuzzed(kind, count, 11, seconds=HANG_S, tell=told.append)
    assert sum(found.values()) == count
    assert not any(found[name] for name in BAD), told
