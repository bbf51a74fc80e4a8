"""Wheel and source archive hold what git tracks of the two libraries, and only what belongs there.

python .ci/check_release.py FOLDER    (of `python -m build --outdir FOLDER`)
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

LARGEST_MB = 20
LIBRARIES = (
    "MetalArtifactReduction/MetalArtifactReductionLib",
    "SimulateImplants/SimulateImplantsLib",
)
BESIDE = ("README.md", "LICENSE.txt", "pyproject.toml", "MetalArtifactReduction/Resources/*.txt")
MADE = ("PKG-INFO", "setup.cfg")


def tracked(*names: str) -> set[str]:
    """Files that git knows, by their path in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *names], capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.split("\0") if name}


def complaints(archive: Path, held: set[str], expected: set[str]) -> list[str]:
    """One line for each fault of an archive."""
    size_mb = archive.stat().st_size / 1e6
    print(f"{archive.name}: {len(held)} files, {size_mb:.1f} MB")
    wrong = [f"{archive.name}: unexpected: {name}" for name in sorted(held - expected)]
    wrong += [f"{archive.name}: missing: {name}" for name in sorted(expected - held)]
    if size_mb > LARGEST_MB:
        wrong.append(f"{archive.name}: {size_mb:.1f} MB; at most {LARGEST_MB}")
    return wrong


(wheel,), (source,) = (list(Path(sys.argv[1]).glob(name)) for name in ("*.whl", "*.tar.gz"))
with zipfile.ZipFile(wheel) as archive:
    installed = {name for name in archive.namelist() if ".dist-info/" not in name}
with tarfile.open(source) as archive:
    files = [PurePosixPath(*Path(one.name).parts[1:]) for one in archive if one.isfile()]
sources = {str(one) for one in files if not one.parts[0].endswith(".egg-info")} - set(MADE)
libraries = {str(PurePosixPath(*Path(name).parts[1:])) for name in tracked(*LIBRARIES)}
found = complaints(wheel, installed, libraries)
found += complaints(source, sources, tracked(*LIBRARIES, *BESIDE))
for line in found:
    print(line)
sys.exit(bool(found))
