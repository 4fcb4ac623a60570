"""The command itself: help at once, exit codes, streams, and nothing drawn where there is no terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import phantoms
from lesionlab.cli.terminal import progress_bar, shown, table

VERBS = (
    "examine",
    "convert",
    "predict",
    "plan",
    "train",
    "refine",
    "measure",
    "evaluate",
    "compare",
    "quality",
    "agree",
    "observers",
    "response",
    "robustness",
    "suv",
    "serve",
    "report",
    "info",
    "demo",
)
COMMAND = [sys.executable, "-m", "lesionlab"]


def start(*arguments: object, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **kwargs
    )


def test_help_names_every_verb(run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for verb in VERBS:
        assert f" {verb} " in result.stdout
    assert "not a medical device" in " ".join(result.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(run, verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert f"lesionlab {verb} " in " ".join(result.stdout.split())
    assert "Example:" in result.stdout


@pytest.mark.parametrize("verb", ["run", "table"])
def test_the_verbs_of_a_study_explain_themselves(run, verb: str) -> None:
    assert f"Example: `lesionlab study {verb} " in " ".join(run("study", verb, "--help").stdout.split())


@pytest.mark.parametrize("arguments", [["examin"], ["--what"], ["info", "--what"], ["plan"]])
def test_bad_arguments_exit_2(run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_version(run) -> None:
    from lesionlab import __version__

    assert run("--version").stdout == f"lesionlab {__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['lesionlab', '--help']\n"
        "try: runpy.run_module('lesionlab', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'nnunetv2', 'matplotlib', 'SimpleITK', 'pandas', 'scipy', 'numpy', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"


def test_a_run_in_a_process_of_its_own(tmp_path: Path) -> None:
    patient = phantoms.write_pet_patient(tmp_path / "anna", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    good = start("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out", "--json")
    assert good.returncode == 0
    assert good.stderr == ""
    assert json.loads(good.stdout)["totals"]["lesions"] == 1
    bad = start("examine", tmp_path / "gone", "-m", "pet-threshold", "-o", tmp_path / "out2")
    assert bad.returncode == 1
    assert bad.stdout == ""
    assert bad.stderr.startswith("error: ")
    assert bad.stderr.count("\n") == 1
    worse = start("examine", patient, "-m", "nothing", "-o", tmp_path / "out2", "--debug")
    assert worse.returncode == 1
    assert "Traceback" in worse.stderr
    assert "BundleError" in worse.stderr
    assert not (tmp_path / "out2").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_exits_130_and_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number in range(20):
        phantoms.write_pet_patient(root / f"p{number:02d}", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    out = tmp_path / "out"
    # Tests that run in the background inherit an ignored SIGINT; a terminal's user has it.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{listening}; from lesionlab.cli import main; main()"]
    arguments = [*command, "examine", str(root), "-m", "pet-threshold", "-o", str(out)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "p00").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    finished = sorted(path for path in out.iterdir() if path.name != ".finished")
    assert 1 <= len(finished) < 20
    # whole patients only: no temporary folder, no cohort report over an unfinished cohort
    assert all((folder / "report.html").is_file() for folder in finished)


def test_info_tells_versions_and_devices(run) -> None:
    answer = json.loads(run("info", "--json").stdout)
    assert "cpu" in answer["devices"]
    assert answer["versions"]["numpy"]
    assert "pet-threshold" in answer["recipes"]
    assert "devices: cpu" in run("info").stdout


def test_info_on_a_recipe_a_case_and_a_bundle(run, tmp_path: Path, tiny_bundle) -> None:
    recipe = json.loads(run("info", "pet-threshold", "--json").stdout)
    assert recipe["settings"]["threshold"]["suv"] == 4.0
    patient = phantoms.write_pet_patient(tmp_path / "anna", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    case = json.loads(run("info", patient, "--json").stdout)
    assert case["channels"]["suv"]["unit"] == "g/ml{SUVbw}"
    assert case["channels"]["suv"]["range"] == [1.0, 8.0]
    assert case["truth"]["ml"] == pytest.approx(phantoms.ball_ml(12.0), rel=0.1)
    bundle = json.loads(run("info", tiny_bundle.folder, "--json").stdout)
    assert bundle["sha256"] == tiny_bundle.sha256
    assert "channels:" in run("info", patient).stdout


def test_info_on_nothing(run, tmp_path: Path) -> None:
    result = run("info", tmp_path / "gone")
    assert result.exit_code == 1
    assert "gone: found no such file or folder" in result.stderr


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress("working", 0.5)
    assert capsys.readouterr() == ("", "")


def test_progress_is_drawn_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar() as progress:
        progress("case [bold]7", 0.5)
        time.sleep(0.2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "case (bold]7" in captured.err
    assert "50%" in captured.err


def test_tables_line_up() -> None:
    text = table(["name", "ml"], [["a", 1.0], ["long name", 12.3456], ["none", float("nan")]])
    assert text.splitlines() == [
        "name          ml",
        "a              1",
        "long name  12.35",
        "none           -",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (3.0, "3"),
        (0.12345, "0.1235"),
        (12345.6, "12346"),
        ("x", "x"),
        (True, "True"),
    ],
)
def test_numbers_for_the_eye(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_log_gets_a_line_of_progress_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 19.0, 21.0, 21.0, 30.0])
    monkeypatch.setattr("lesionlab.cli.terminal.time.monotonic", lambda: next(clock))
    with progress_bar() as progress:
        progress("training", 0.1)
        progress("training", 0.25)
        progress("training", 0.3)
    assert capsys.readouterr().err == " 25% training\n"
