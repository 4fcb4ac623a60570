"""Several processes on one study: nothing is done twice, nothing is lost, whoever ends first."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import networks_phantom
from lesionlab.core.files import write_json
from lesionlab.core.recipe import dump_recipe
from lesionlab.core.tasks import Task
from lesionlab.pipeline.files import write_converted
from lesionlab.study.together import alone, run_together

STUDY = """
name = "phantom"
data = "patients"
recipe = "tiny.toml"
folds = 2
protocol = "patches"
amount = 8

[common]
prediction = { backend = "torch", mirror = false }
training = { iterations = 2, validation_iterations = 1 }

[[variants]]
name = "small"
"""


def counted(done: list[str], name: str) -> Task[str]:
    def work() -> str:
        done.append(name)
        return f"{name} made here"

    return Task(name, work)


class Elsewhere:
    """Another holder of a task's lock, until a callback is told that somebody waits for it."""

    def __init__(self, root: Path, task: Task[str], result: Path | None) -> None:
        self.got, self.free = threading.Event(), threading.Event()
        self.root, self.task, self.result = root, task, result
        self.thread = threading.Thread(target=self._hold)
        self.thread.start()
        assert self.got.wait(10)

    def _hold(self) -> None:
        with alone(self.root, self.task.key):
            self.got.set()
            assert self.free.wait(10)
            if self.result is not None:
                write_json(self.result, "made elsewhere")

    def __call__(self, message: str, share: float) -> None:
        assert "another process" in message
        self.free.set()


@pytest.mark.parametrize("elsewhere_ends_well", [True, False])
def test_a_task_that_another_process_is_at_comes_last(tmp_path: Path, elsewhere_ends_well: bool) -> None:
    done: list[str] = []
    tasks = [counted(done, name) for name in ("first", "second", "third")]
    store = tmp_path / "finished"
    result = store / f"{tasks[1].key}.json" if elsewhere_ends_well else None
    elsewhere = Elsewhere(tmp_path, tasks[1], result)
    outcomes = run_together(tasks, tmp_path, store, elsewhere)
    elsewhere.thread.join(10)
    second = "made elsewhere" if elsewhere_ends_well else "second made here"
    assert [outcome.value for outcome in outcomes] == ["first made here", second, "third made here"]
    assert done == (["first", "third"] if elsewhere_ends_well else ["first", "third", "second"])


def test_without_waiting_a_held_lock_is_not_got_and_afterwards_it_is(tmp_path: Path) -> None:
    with alone(tmp_path, "reading") as first, alone(tmp_path, "reading", wait=False) as second:
        assert (first, second) == (True, False)
    with alone(tmp_path, "reading", wait=False) as third:
        assert third


@pytest.mark.slow
def test_two_processes_share_the_runs_of_a_study(tmp_path: Path) -> None:
    for number in range(4):
        case = networks_phantom.sphere_case(number)
        write_converted(case, tmp_path / "patients" / case.id, {"source": "phantom"})
    (tmp_path / "tiny.toml").write_text(dump_recipe(networks_phantom.tiny_recipe()))
    (tmp_path / "study.toml").write_text(STUDY)
    command = [
        sys.executable,
        "-m",
        "lesionlab",
        "study",
        "run",
        "study.toml",
        "-w",
        "work",
        "--device",
        "cpu",
    ]
    both = [
        subprocess.Popen(
            [*command, "-o", name], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for name in ("one", "two")
    ]
    said = [process.communicate(timeout=300)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    log = (tmp_path / "work" / "study.log").read_text(encoding="utf-8")
    for fold in (0, 1):
        assert log.count(f"done: small, fold {fold}") == 1, log
    assert (tmp_path / "one" / "study.csv").read_bytes() == (tmp_path / "two" / "study.csv").read_bytes()
