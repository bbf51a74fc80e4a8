"""Help and option errors come at once: the heavy libraries load only for the work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support import HANG_S

HEAVY = ("torch", "scipy", "numpy", "SimpleITK", "vtk", "pydicom", "skimage")
PROBE = """
import sys
from MetalArtifactReductionLib.cli import main
try:
    main(sys.argv[1:])
finally:
    print("LOADED", *(m for m in {heavy} if m in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        [],
        ["help"],
        ["help", "correct"],
        ["correct", "--help"],
        ["simulate", "--help"],
        ["dataset", "--help"],
        ["correct"],
        ["simulate", "a.nii", "b", "--rods", "many"],
        ["bake"],
    ],
)
def test_help_and_option_errors_load_nothing_heavy(arguments: list[str]) -> None:
    refused = bool(arguments) and not {"--help", "help", "--version"} & set(arguments)
    command = [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == (2 if refused else 0), done.stderr
    assert done.stderr.splitlines()[-1] == "LOADED"
    wanted = "mar correct" if "correct" in arguments else "mar"
    assert refused or wanted in done.stdout
