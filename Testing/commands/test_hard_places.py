"""Full disks, folders that are read-only, no /tmp, no HOME, an output that is closed or ASCII."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cli_support import Outcome, assert_refused, ct_hu, snapshot, write_image
from support import HANG_S

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX limits and streams")

WITHOUT_TMP = """
import sys, tempfile
tempfile._candidate_tempdir_list = lambda: ["/nonexistent"]
from MetalArtifactReductionLib.cli import main
sys.exit(main())
"""


def mar(
    *arguments: object,
    before: Callable[[], None] | None = None,
    leave_out: str = "",
    without_tmp: bool = False,
    **environment: str,
) -> Outcome:
    """``mar ARGUMENTS`` in a process; ``before`` runs in it first."""
    how = ["-c", WITHOUT_TMP] if without_tmp else ["-m", "MetalArtifactReductionLib.cli"]
    done = subprocess.run(
        [sys.executable, *how, *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=HANG_S,
        preexec_fn=before,
        env={k: v for k, v in os.environ.items() if k != leave_out} | environment,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_image(tmp_path / "hüfte.nii.gz", ct_hu())


@pytest.fixture
def archive(tmp_path: Path, ct: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as file:
        file.write(ct, "ct.nii.gz")
    return tmp_path / "study.zip"


def full_disk() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def test_a_full_disk(tmp_path: Path, ct: Path, archive: Path) -> None:
    before = snapshot(tmp_path)
    out = tmp_path / "m.nii"
    assert_refused(mar("segment", ct, out, "--quiet", before=full_disk), "m.nii: could not be")
    assert_refused(mar("info", archive, before=full_disk), "study.zip: cannot be unpacked")
    assert snapshot(tmp_path) == before


def test_a_read_only_folder(tmp_path: Path, ct: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)

    def nobody() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)

    tmp_path.chmod(0o755)
    try:
        readable = mar("info", ct, before=nobody).code == 0
    except PermissionError:  # of Python itself
        readable = False
    if not readable:
        pytest.skip("permissions do not bind the superuser, and nobody may not read here")
    outcome = mar("segment", ct, tmp_path / "locked" / "m.nii.gz", before=nobody)
    assert_refused(outcome, "no permission to write in", "choose another folder")


def test_without_a_place_for_temporary_files(tmp_path: Path, ct: Path, archive: Path) -> None:
    assert_refused(mar("info", archive, without_tmp=True), "no folder to unpack it", "TMPDIR")
    assert mar("segment", ct, tmp_path / "m.nrrd", without_tmp=True).code == 0
    assert (tmp_path / "m.nrrd").is_file()


def test_without_a_home(ct: Path) -> None:
    outcome = mar("info", ct, leave_out="HOME")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_terminal_that_knows_ascii_only(tmp_path: Path, ct: Path) -> None:
    outcome = mar("segment", ct, tmp_path / "m.nrrd", PYTHONIOENCODING="ascii")
    assert outcome.code == 0 and outcome.err.isascii() and outcome.err.endswith("done\n")
    assert outcome.out.isascii() and "metal above" in outcome.out
    assert_refused(mar("info", tmp_path / "ü.nii", PYTHONIOENCODING="ascii"), r"\xfc.nii: no such")


@pytest.mark.parametrize("stream", [1, 2])
def test_a_stream_that_is_closed(tmp_path: Path, ct: Path, stream: int) -> None:
    """No file that is written may take its number, and with it what was meant for it."""
    out = tmp_path / "m.nrrd"
    outcome = mar("segment", ct, out, before=lambda: os.close(stream))
    assert outcome.code == 0 and "Traceback" not in outcome.err
    assert out.read_bytes().startswith(b"NRRD")


def test_nobody_reads_the_output(tmp_path: Path, ct: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    def unread() -> None:
        os.dup2(writing, 1)

    outcome = mar("info", ct, before=unread)
    os.close(writing)
    assert (outcome.code, outcome.err) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_the_output_goes_to_a_full_disk(ct: Path) -> None:
    def full() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    outcome = mar("info", ct, before=full)
    assert outcome.code != 0 and outcome.err.startswith("mar: No space left on device")
    assert "Traceback" not in outcome.err
