"""What a killed run leaves goes or comes back; two runs never write into one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from MetalArtifactReductionLib.errors import OutputError
from MetalArtifactReductionLib.files.leftovers import (
    ASIDE,
    claimed,
    clear_leftovers,
    hidden_folder,
    locked,
    own_prefix,
)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def of_the_dead(folder: Path, kind: str = ".mar-") -> Path:
    path = folder / f"{own_prefix(kind).replace(f'-{os.getpid()}-', f'-{dead_pid()}-')}x_1"
    path.mkdir()
    return path


def test_only_folders_of_the_dead_go(tmp_path: Path) -> None:
    mine = hidden_folder(tmp_path)
    dead = of_the_dead(tmp_path)
    (dead / "half.nii.gz").write_text("half")
    foreign = tmp_path / ".mar-elsewhere-1-abc"
    foreign.mkdir()
    clear_leftovers(tmp_path)
    assert not dead.exists() and mine.exists() and foreign.exists()


def test_what_was_moved_aside_comes_back(tmp_path: Path) -> None:
    aside = of_the_dead(tmp_path, ASIDE)
    for name in ("gone", "replaced"):
        (aside / name).mkdir()
        (aside / name / "old").write_text("old")
    (tmp_path / "replaced").mkdir()
    clear_leftovers(tmp_path)
    assert (tmp_path / "gone" / "old").exists() and not aside.exists()
    assert not (tmp_path / "replaced" / "old").exists()


@pytest.mark.parametrize("held", ["locked", "claimed"])
def test_the_second_run_is_told_of_the_first(tmp_path: Path, held: str) -> None:
    folder, hold = tmp_path / ("é" * 80), {"locked": locked, "claimed": claimed}[held]
    folder.mkdir(parents=True)
    target = folder if held == "locked" else folder / ("o" * 240 + ".nii.gz")
    code = (
        f"import sys, pathlib; from MetalArtifactReductionLib.files.leftovers import {held}\n"
        f"with {held}(pathlib.Path(sys.argv[1])): print('has it', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stdout is not None and first.stdout.readline().strip() == b"has it"
    with pytest.raises(OutputError, match=rf"another run .*{first.pid}"), hold(target):
        pass
    clear_leftovers(folder)
    assert len(list(folder.iterdir())) == 1
    first.kill()  # the system lets go of it
    first.communicate()
    with hold(target):
        (lock,) = folder.iterdir()
        assert json.loads(lock.read_text())["process"] == os.getpid()
    assert list(folder.iterdir()) == []
    lock.write_text("of a run that was killed")
    clear_leftovers(folder)
    assert list(folder.iterdir()) == []
