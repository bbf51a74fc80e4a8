"""Install on a machine without a network: one command makes a folder, one installs from it.

    python3 Resources/offline.py make FOLDER        # with a network, in a clone of the repository
    python3 FOLDER/offline.py install ENVIRONMENT   # without one: makes a virtual environment
    PythonSlicer FOLDER/offline.py slicer           # without one: into 3D Slicer's own Python

FOLDER holds the project's wheel with its weights, every wheel that it needs, the extension as a zip
and the requirement files. Both machines have the same kind of system and of Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CPU_TORCH = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds without CUDA: 0.2 GB instead of 2.8."""

PROJECT = "metal-artifact-reduction[headless]"
HERE = Path(__file__).resolve().parent


def pip(python: Path | str, *arguments: object) -> None:
    """Run pip; its messages go to the terminal."""
    command = [str(python), "-m", "pip", *map(str, arguments)]
    subprocess.run(command, check=True)


def make(options: argparse.Namespace) -> None:
    """Fill the folder."""
    repository, folder = HERE.parent, options.folder
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder}: is not empty; give the name of a new folder")
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    index = [] if options.gpu else ["--extra-index-url", CPU_TORCH]
    pip(sys.executable, "wheel", *index, "--wheel-dir", wheels, f"{repository}[headless]")
    resources = repository / "MetalArtifactReduction" / "Resources"
    lines = [(resources / f"requirements{n}.txt").read_text("utf-8") for n in ("", "-torch")]
    (folder / "requirements-slicer.txt").write_text("".join(lines), "utf-8")
    if options.slicer_python:
        pip(
            *(sys.executable, "download", *index, "--dest", wheels, "--only-binary", ":all:"),
            *("--python-version", options.slicer_python, "--requirement"),
            folder / "requirements-slicer.txt",
        )
    modules = ["MetalArtifactReduction", "SimulateImplants"]
    archive = ["git", "-C", str(repository), "archive", "--output", folder.resolve() / "slicer.zip"]
    subprocess.run([*archive, "HEAD", *modules], check=True)
    shutil.copy(__file__, folder / "offline.py")
    size_gb = sum(file.stat().st_size for file in folder.rglob("*")) / 1e9
    print(f"{folder}: {len(list(wheels.iterdir()))} wheels, {size_gb:.1f} GB")


def install(options: argparse.Namespace) -> None:
    """A virtual environment with all of it."""
    venv.create(options.environment, with_pip=True)
    binaries = options.environment / ("Scripts" if os.name == "nt" else "bin")
    pip(binaries / "python", "install", "--no-index", "--find-links", HERE / "wheels", PROJECT)
    print(f"try: {binaries / 'mar'} demo")


def slicer(_options: argparse.Namespace) -> None:
    """What the modules need, into the Python that runs this, and the modules beside the folder."""
    wheels, wanted = HERE / "wheels", HERE / "requirements-slicer.txt"
    pip(sys.executable, "install", "--no-index", "--find-links", wheels, "--requirement", wanted)
    shutil.unpack_archive(HERE / "slicer.zip", HERE / "modules")
    for module in sorted((HERE / "modules").iterdir()):
        print(f"add to Slicer's module paths: {module}")


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="make|install|slicer")
    one = commands.add_parser("make", help="on a machine with a network")
    one.add_argument("folder", type=Path, metavar="FOLDER")
    one.add_argument("--gpu", action="store_true", help="PyTorch with CUDA")
    one.add_argument(
        "--slicer-python", metavar="VERSION", help="also for a Slicer whose Python is, say, 3.12"
    )
    one.set_defaults(run=make)
    one = commands.add_parser("install", help="without a network")
    one.add_argument("environment", type=Path, metavar="ENVIRONMENT")
    one.set_defaults(run=install)
    commands.add_parser("slicer", help="in 3D Slicer's Python").set_defaults(run=slicer)
    options = parser.parse_args()
    try:
        options.run(options)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd[:4]))} ... ended with {error.returncode}")


if __name__ == "__main__":
    main()
