"""Ctrl-C ends a command, whatever library it is in; what is moved into place is moved whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from MetalArtifactReductionLib.files.whole import new_folder, written_together
from MetalArtifactReductionLib.jobs.interrupt import ended_by_ctrl_c
from support import HANG_S

DEAF = """
import hashlib, pathlib, sys
from MetalArtifactReductionLib.files.leftovers import ASIDE, hidden_folder
from MetalArtifactReductionLib.jobs.interrupt import ended_by_ctrl_c

folder = pathlib.Path(sys.argv[1])
(hidden_folder(folder) / "half").touch()
(folder / "old").rename(hidden_folder(folder, ASIDE) / "old")
with ended_by_ctrl_c():
    said = False
    while True:
        try:
            said = said or print("deaf", flush=True) or True
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
        except KeyboardInterrupt:  # where it came before the library was in
            pass
"""


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A shell starts what runs in its background deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_a_library_that_does_not_listen(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", DEAF, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"deaf\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert told.endswith(b"mar: stopped; nothing unfinished was written\n")
    assert [one.name for one in tmp_path.iterdir()] == ["old"]


def test_an_interrupt_that_is_heard_is_pythons_own() -> None:
    with pytest.raises(KeyboardInterrupt), ended_by_ctrl_c():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_files_that_are_being_moved_all_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in "abc"]
    real = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        signal.raise_signal(signal.SIGINT)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with (
        pytest.raises(KeyboardInterrupt, match="the outputs are complete"),
        written_together(paths) as places,
    ):
        for place in places.values():
            place.touch()
    assert sorted(tmp_path.iterdir()) == paths
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_folder_that_is_being_filled_goes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "new") as folder:
        (folder / "half").touch()
        signal.raise_signal(signal.SIGINT)
    assert list(tmp_path.iterdir()) == []
