"""Several processes on one study: nothing is done twice, nothing is lost, whoever ends first."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import networks_phantom
from lesionlab.core.files import write_json
from lesionlab.core.tasks import Task
from lesionlab.study.together import alone, run_together

VARIANT = """
[[variants]]
name = "small"
"""


def counted(done: list[str], name: str) -> Task[str]:
    def work() -> str:
        done.append(name)
        return f"{name} made here"

    return Task(name, work)


class Elsewhere:
    """Another holder of a lock, until a callback is told that somebody waits for it."""

    def __init__(self, root: Path, lock: str, result: Path | None) -> None:
        self.got, self.free = threading.Event(), threading.Event()
        self.root, self.lock, self.result = root, lock, result
        self.thread = threading.Thread(target=self._hold)
        self.thread.start()
        assert self.got.wait(10)

    def _hold(self) -> None:
        with alone(self.root, self.lock):
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
    locks = [task.key for task in tasks]
    elsewhere = Elsewhere(tmp_path, locks[1], result)
    outcomes = run_together(tasks, locks, tmp_path, store, elsewhere)
    elsewhere.thread.join(10)
    second = "made elsewhere" if elsewhere_ends_well else "second made here"
    assert [outcome.value for outcome in outcomes] == ["first made here", second, "third made here"]
    assert done == (["first", "third"] if elsewhere_ends_well else ["first", "third", "second"])


def test_tasks_that_share_what_another_process_is_at_all_come_last(tmp_path: Path) -> None:
    done: list[str] = []
    tasks = [counted(done, name) for name in ("first", "second", "third")]
    elsewhere = Elsewhere(tmp_path, "one network", None)
    run_together(tasks, ["one network", "one network", "third"], tmp_path, tmp_path / "finished", elsewhere)
    elsewhere.thread.join(10)
    assert done == ["third", "first", "second"]


def test_without_waiting_a_held_lock_is_not_got_and_afterwards_it_is(tmp_path: Path) -> None:
    with alone(tmp_path, "reading") as first, alone(tmp_path, "reading", wait=False) as second:
        assert (first, second) == (True, False)
    with alone(tmp_path, "reading", wait=False) as third:
        assert third


def study_process(root: Path, out: str) -> subprocess.Popen[bytes]:
    words = ["study", "run", "study.toml", "-w", "work", "--device", "cpu", "-o", out]
    command = [sys.executable, "-m", "lesionlab", *words]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ended(process: subprocess.Popen[bytes]) -> None:
    said = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, said


@pytest.mark.slow
def test_two_processes_share_the_runs_of_a_study(tmp_path: Path) -> None:
    networks_phantom.write_study(tmp_path, VARIANT, [networks_phantom.sphere_case(n) for n in range(4)])
    for process in [study_process(tmp_path, name) for name in ("one", "two")]:
        ended(process)
    log = (tmp_path / "work" / "study.log").read_text(encoding="utf-8")
    for fold in (0, 1):
        assert log.count(f"done: small, fold {fold}") == 1, log
    assert (tmp_path / "one" / "study.csv").read_bytes() == (tmp_path / "two" / "study.csv").read_bytes()


@pytest.mark.slow
def test_what_a_killed_process_was_at_is_done_by_another(tmp_path: Path) -> None:
    networks_phantom.write_study(tmp_path, VARIANT, [networks_phantom.sphere_case(n) for n in range(4)])
    killed, log = study_process(tmp_path, "one"), tmp_path / "work" / "study.log"
    for _ in range(3000):
        if log.is_file() and "run 1 of 2" in log.read_text(encoding="utf-8"):
            break
        time.sleep(0.1)
    other = study_process(tmp_path, "two")
    killed.kill()
    killed.communicate(timeout=60)
    ended(other)
    said = log.read_text(encoding="utf-8")
    assert said.count("run 1 of 2") == 2 and said.count("done: small, fold 0") == 1, said
    assert (tmp_path / "two" / "study.csv").is_file() and not (tmp_path / "one").exists()
