"""Which lines of a requirements file are not satisfied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MetalArtifactReductionLib.packages import missing_requirements
from support import REPOSITORY


def test_missing_wrong_and_satisfied_requirements(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# a comment\n\n"
        "numpy>=1.0  # satisfied\n"
        f"NumPy<{np.__version__}\n"
        "no-such-package-at-all==1.2\n"
        "nor-this-one; python_version < '3'\n"
        "pytest\n"
    )
    wrong = f"NumPy<{np.__version__}"
    assert missing_requirements(path) == [wrong, "no-such-package-at-all==1.2"]
    assert missing_requirements(path, any_version=True) == ["no-such-package-at-all==1.2"]
    assert missing_requirements(path, provided=["numpy"]) == ["no-such-package-at-all==1.2"]


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-torch.txt", "requirements-train.txt"]
)
def test_the_projects_own_files_can_be_read(name: str) -> None:
    """Every line is a requirement; here, where the tests run, all of them are met."""
    path = REPOSITORY / "MetalArtifactReduction" / "Resources" / name
    assert missing_requirements(path, any_version=True) == []
