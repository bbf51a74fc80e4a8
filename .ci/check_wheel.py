"""A wheel holds what git tracks of the two libraries and nothing else, in 20 MB at the most.

python .ci/check_wheel.py WHEEL
"""

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

LARGEST_MB = 20
LIBRARIES = (
    "MetalArtifactReduction/MetalArtifactReductionLib",
    "SimulateImplants/SimulateImplantsLib",
)

wheel = Path(sys.argv[1])
with zipfile.ZipFile(wheel) as archive:
    held = {name for name in archive.namelist() if ".dist-info/" not in name}
listed = subprocess.run(
    ["git", "ls-files", "-z", *LIBRARIES], capture_output=True, text=True, check=True
)
tracked = {str(PurePosixPath(*Path(name).parts[1:])) for name in listed.stdout.split("\0") if name}
wrong = [f"unexpected: {name}" for name in sorted(held - tracked)]
wrong += [f"missing: {name}" for name in sorted(tracked - held)]
size_mb = wheel.stat().st_size / 1e6
if size_mb > LARGEST_MB:
    wrong.append(f"{size_mb:.1f} MB; at most {LARGEST_MB}")
print(f"{wheel.name}: {len(held)} files, {size_mb:.1f} MB", *wrong, sep="\n")
sys.exit(bool(wrong))
