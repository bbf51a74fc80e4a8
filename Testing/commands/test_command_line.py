"""What commands share: JSON, messages, defaults from a file, dry runs, exit codes, completion."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import METAL_SLICES, ct_hu, metal_truth, run, snapshot, write_image
from MetalArtifactReductionLib.commands.configuration import Defaults
from MetalArtifactReductionLib.commands.records import RECORDS
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.files.schema import check_values


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_image(tmp_path / "ct.nii.gz", ct_hu())


@pytest.fixture(autouse=True)
def config_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's configuration lies: not this machine's own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home


def _json(capfd: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What a command printed as JSON, which is all that it printed, and fits its schema."""
    outcome = run(capfd, *arguments, "--json")
    assert outcome.code == 0, outcome.err
    values: dict[str, Any] = json.loads(outcome.out)
    assert values.pop("mar")
    kinds = [kind for kind in RECORDS[str(arguments[0])] if values.keys() == _names(kind)]
    assert len(kinds) == 1
    check_values(kinds[0], values, "standard output")
    return values


def _names(kind: type) -> set[str]:
    return set(kind.__annotations__)


def test_info_as_json(capfd: pytest.CaptureFixture[str], ct: Path) -> None:
    values = _json(capfd, "info", ct)
    assert values["matrix"] == [96, 96, 6] and values["format"] == "nifti"
    assert values["spacing_mm"] == pytest.approx([1.9, 2.0, 3.0], abs=1e-4)
    coarse = [one for one in values["findings"] if "pixels of" in one["what"]]
    assert coarse and "original series" in coarse[0]["remedy"]


def test_every_finding_has_a_remedy(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hu = ct_hu(metal=False).clip(-1024, 2000)
    path = write_image(tmp_path / "clean.nii.gz", hu)
    found = _json(capfd, "info", path, "--hu-offset", 1)["findings"]
    assert {"nothing as bright", "was added"} <= {
        word for word in ("nothing as bright", "was added") for one in found if word in one["what"]
    }
    assert all(one["remedy"] for one in found)
    assert "-> nothing to correct" in run(capfd, "info", path).out


def test_segment_as_json_says_what_the_mask_holds(
    capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path
) -> None:
    metal = _json(capfd, "segment", ct, tmp_path / "metal.nii.gz")["metal"]
    voxel_ml = 1.9 * 2.0 * 3.0 / 1000
    truth_ml = metal_truth().sum() * voxel_ml
    assert metal["volume_ml"] == pytest.approx(truth_ml, rel=0.25)
    assert metal["slices_with_metal"] == METAL_SLICES.stop - METAL_SLICES.start
    assert [part["is_metal"] for part in metal["parts"]] == [True, True]


def test_correct_as_json(capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path) -> None:
    output = tmp_path / "corrected.nii.gz"
    values = _json(capfd, "correct", ct, output, "--method", "li", "--device", "cpu")
    assert values["outputs"] == {"corrected": str(output)}
    assert (values["method"], values["device"], values["slices"]) == ("li", "cpu", 6)
    assert values["metal"]["threshold_hu"] > 1000


def test_a_batch_as_json_and_its_exit_code(
    capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.nii"
    broken.write_text("no image\n" * 100)
    outcome = run(capfd, "correct", ct, broken, tmp_path / "out", "--method", "li", "--json")
    assert outcome.code == 1
    cases = json.loads(outcome.out)["cases"]
    assert [case["status"] for case in cases] == ["done", "failed"]


def test_evaluate_as_json(capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path) -> None:
    truth = write_image(tmp_path / "truth.nii.gz", ct_hu(metal=False))
    mask = write_image(tmp_path / "mask.nii.gz", metal_truth().astype("uint8"))
    command = ("evaluate", ct, "--reference", truth, "--mask", mask)
    (figures,) = _json(capfd, *command)["figures"]
    assert figures["rmse_body_hu"] == pytest.approx(0.0, abs=1e-6)
    assert figures["psnr_db"] is None  # of no error: infinite, which JSON has not


def test_with_json_a_refusal_prints_nothing_there(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcome = run(capfd, "info", tmp_path / "none.nii.gz", "--json")
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.startswith("mar: ")


def test_verbose_quiet_and_log(capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path) -> None:
    log = tmp_path / "mar.log"
    command = ("correct", ct, tmp_path / "a.nii.gz", "--method", "li", "--log", log)
    quiet = run(capfd, *command, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    loud = run(capfd, *command, "--force", "--verbose")
    assert "mar: correcting: 100 %" in loud.err and "|" not in loud.err
    refused = run(capfd, *command)
    assert refused.code == 2
    text = log.read_text(encoding="utf-8")
    assert text.count("INFO mar ") == 3  # a log is added to
    assert "correcting: 100 %" in text and "OutputError" in text and "exists already" in text


def test_a_log_never_opens_another_kind_of_file(
    capfd: pytest.CaptureFixture[str], ct: Path
) -> None:
    before = ct.read_bytes()
    outcome = run(capfd, "info", ct, "--log", ct)
    assert outcome.code == 2 and "ends in .log" in outcome.err
    assert ct.read_bytes() == before


def test_the_command_line_goes_before_the_file_before_what_is_built_in(
    capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path, config_home: Path
) -> None:
    def refused(*more: object) -> str:
        """What is said of a method that does not exist names it."""
        return run(capfd, "correct", ct, tmp_path / "out.nii.gz", *more).err

    (config_home / "mar").mkdir()
    (config_home / "mar" / "config.toml").write_text('method = "of-the-user"\n')
    other = tmp_path / "other.toml"
    other.write_text('method = "of-the-file"\n')
    assert "of-the-user" in refused()
    assert "of-the-file" in refused("--config", other)
    assert "of-the-line" in refused("--method", "of-the-line", "--config", other)
    (config_home / "mar" / "config.toml").unlink()
    assert run(capfd, "config").out.count("\nmethod") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("methd = 'li'", ("methd", "method")),
        ("batch_slices = 'many'", ("batch_slices", "many")),
        ("batch_slices = 0", ("batch_slices", "0")),
        ("segmentation = 'magic'", ("segmentation", "magic", "kmeans")),
        ("device = ", ("TOML",)),
    ],
)
def test_a_wrong_entry_is_named(
    capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text + "\n")
    outcome = run(capfd, "info", ct, "--config", path)
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    for word in ("my.toml", *words):
        assert word in outcome.err


def test_config_prints_a_file_that_gives_the_same(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "my.toml"
    path.write_text('device = "cpu"\nbatch_slices = 3\n')
    printed = run(capfd, "config", "--config", path).out
    assert 'device = "cpu"\nbatch_slices = 3\n' in printed and '# method = "nmar"' in printed
    again = tmp_path / "again.toml"
    again.write_text(printed)
    told = run(capfd, "config", "--config", again).out
    assert told.splitlines()[1:] == printed.splitlines()[1:]


def test_the_built_in_defaults_are_those_of_the_correction() -> None:
    built_in, ours = CorrectionOptions(), Defaults()
    for name in ("method", "reconstruction", "always", "segmentation", "batch_slices"):
        assert getattr(built_in, name) == getattr(ours, name)


@pytest.mark.parametrize("kind", ["one", "many", "simulate", "dataset"])
def test_a_dry_run_writes_nothing(
    capfd: pytest.CaptureFixture[str], ct: Path, tmp_path: Path, kind: str
) -> None:
    clean = write_image(tmp_path / "clean.nii.gz", ct_hu(metal=False))
    out = tmp_path / "out"
    small = ("--set", "views=90", "--set", "bins=200", "--set", "bin_mm=2", "--set", "energies=2")
    shape = ("--shape", "sphere:diameter=12", "--at", "0,0,441", "--material", "CoCrMo")
    commands: dict[str, tuple[object, ...]] = {
        "one": ("correct", ct, tmp_path / "c.nii.gz", "--method", "li"),
        "many": ("correct", ct, clean, out, "--method", "li"),
        "simulate": ("simulate", clean, out, *shape, *small),
        "dataset": ("dataset", clean, out, "--cases", 3, *small),
    }
    before = snapshot(tmp_path)
    outcome = run(capfd, *commands[kind], "--dry-run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert snapshot(tmp_path) == before
    assert outcome.out.startswith("would ") and outcome.out.endswith("nothing was written\n")
    assert "about" in outcome.out and "GiB" in outcome.out


def test_a_dry_run_counts_the_time_to_find_places(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MetalArtifactReductionLib.commands.dry_run import Cost
    from SimulateImplantsLib.commands import dataset
    from SimulateImplantsLib.dataset import plan

    clean = write_image(tmp_path / "clean.nii.gz", ct_hu(metal=False))
    monkeypatch.setattr(dataset, "simulation_cost", lambda *_: Cost(1.0, None))
    monkeypatch.setattr(plan, "measured", lambda _: time.sleep(3.0))
    command = ("dataset", clean, tmp_path / "out", "--cases", 1, "--slices", 1, "--set", "views=90")
    told = [
        run(capfd, *command, "--mix", f"{k}=1", "--dry-run").out for k in ("random", "realistic")
    ]
    seconds = [float(text.split("about ")[1].split(" s")[0]) for text in told]
    assert seconds[1] - seconds[0] >= 2


def test_a_dry_run_refuses_what_the_run_would_refuse(
    capfd: pytest.CaptureFixture[str], ct: Path
) -> None:
    assert run(capfd, "correct", ct, ct, "--dry-run").code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(
    capfd: pytest.CaptureFixture[str], shell: str
) -> None:
    pytest.importorskip("shtab")
    outcome = run(capfd, "--print-completion", shell)
    assert outcome.code == 0
    assert "evaluate" in outcome.out and "--change-map" in outcome.out


def test_exit_codes_of_the_table(capfd: pytest.CaptureFixture[str], ct: Path) -> None:
    """0 and 2 here; 1 above and in test_batch; 130 and 141 where signals and pipes are tested."""
    assert run(capfd, "info", ct).code == 0
    assert run(capfd, "info", ct, "--no-such-option").code == 2
    assert run(capfd, "info", str(ct) + ".gone").code == 2


def test_a_fault_of_the_program_is_1_with_its_traceback() -> None:
    script = (
        "import sys; from MetalArtifactReductionLib.cli import main, add_command\n"
        "def more(c): add_command(c, 'fault', lambda o: 1 / 0, 'fails', '')\n"
        "sys.exit(main(['fault'], [more]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_numbers_that_json_has_not_are_null() -> None:
    from MetalArtifactReductionLib.commands.records import EvaluateRecord, printed

    figures: list[dict[str, float | None]] = [{"a": float("nan"), "b": float(np.float32(0.5))}]
    assert json.loads(printed(EvaluateRecord(["x"], None, figures)))["figures"] == [
        {"a": None, "b": 0.5}
    ]
