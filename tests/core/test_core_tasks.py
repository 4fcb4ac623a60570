"""Tasks: order, failures that stay their own, and a store that lets an interrupted run go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lesionlab.core.errors import ReadError
from lesionlab.core.tasks import Outcome, Task, run_here, run_tasks, silent


def fail() -> int:
    raise ReadError("case 2", "no slices", "at least one")


def crash() -> int:
    raise ZeroDivisionError("by nought")


def test_outcomes_come_in_order_and_one_failure_stops_nobody() -> None:
    tasks = [Task("one", lambda: 1), Task("two", fail), Task("three", crash), Task("four", lambda: 4)]
    outcomes = run_tasks(tasks)
    assert [o.value for o in outcomes] == [1, None, None, 4]
    assert [o.name for o in outcomes] == ["one", "two", "three", "four"]
    assert outcomes[1].error == "case 2: found no slices; needed at least one"
    assert outcomes[2].error == "three: ZeroDivisionError: by nought"


def test_an_interruption_is_not_swallowed() -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_here(Task("one", interrupt))


def test_a_store_keeps_results_and_forgets_failures(tmp_path: Path) -> None:
    calls: list[str] = []

    def work() -> dict[str, float]:
        calls.append("work")
        return {"dice": 0.5}

    def flaky() -> dict[str, float]:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ReadError("x", "y", "z")
        return {"dice": 1.0}

    tasks = [Task("work", work, {"epochs": 3}), Task("flaky", flaky)]
    first = run_tasks(tasks, store=tmp_path)
    second = run_tasks(tasks, store=tmp_path)
    assert calls == ["work", "flaky", "flaky"]
    assert [o.reused for o in first] == [False, False]
    assert [o.reused for o in second] == [True, False]
    assert [o.value for o in second] == [{"dice": 0.5}, {"dice": 1.0}]


def test_the_key_is_the_content_of_name_and_inputs() -> None:
    base = Task("a", lambda: 1, {"x": 1, "y": [1, 2]})
    assert base.key == Task("a", lambda: 2, {"y": (1, 2), "x": 1}).key
    assert base.key != Task("b", lambda: 1, {"x": 1, "y": [1, 2]}).key
    assert base.key != Task("a", lambda: 1, {"x": 2, "y": [1, 2]}).key


def test_progress_goes_from_nought_to_one() -> None:
    seen: list[tuple[str, float]] = []
    run_tasks([Task("a", lambda: 1), Task("b", lambda: 2)], progress=lambda m, s: seen.append((m, s)))
    assert seen == [("a", 0.0), ("b", 0.5), ("done", 1.0)]
    assert run_tasks([]) == []
    silent("nothing", 0.5)


def test_another_executor_takes_the_tasks() -> None:
    def elsewhere(task: Task[int]) -> Outcome[int]:
        return Outcome(task.name, 41, None, 0.0)

    assert [o.value for o in run_tasks([Task("a", lambda: 1)], elsewhere)] == [41]


def prepared_tasks(log: list[str], names: str = "abc") -> list[Task[str]]:
    """Tasks that note when they prepare and run; each value is what was prepared, in capitals."""

    def prepare(name: str) -> str:
        log.append(f"{name} prepared in {threading.current_thread().name.split('_')[0]}")
        if name == "x":
            raise ReadError("case x", "no slices", "at least one")
        return name

    def run(given: str) -> str:
        log.append(f"{given} run")
        return given.upper()

    return [Task(name, run, prepare=partial(prepare, name)) for name in names]


def test_the_next_task_is_prepared_while_one_runs() -> None:
    begun, log = threading.Event(), []

    def run_first(given: str) -> str:
        # the next one is prepared although this one has not come back
        assert begun.wait(20)
        return given.upper()

    def prepare_second() -> str:
        begun.set()
        return "b"

    first = Task("a", run_first, prepare=lambda: "a")
    second = Task("b", str.upper, prepare=prepare_second)
    outcomes = run_tasks([first, second, *prepared_tasks(log, "c")])
    assert [o.value for o in outcomes] == ["A", "B", "C"] and all(o.error is None for o in outcomes)
    assert log == ["c prepared in ahead", "c run"]


def test_preparing_ahead_changes_no_outcome_and_a_failure_stays_with_its_task(tmp_path: Path) -> None:
    log: list[str] = []
    tasks = [*prepared_tasks(log, "axb"), Task("plain", lambda: "P"), *prepared_tasks(log, "c")]
    alone = [run_here(task) for task in tasks]
    assert [o.value for o in alone] == ["A", None, "B", "P", "C"]
    for _ in range(2):
        # the second time those that succeeded are read back, and only the failed one is prepared
        log.clear()
        outcomes = run_tasks(tasks, store=tmp_path)
        assert [(o.name, o.value, o.error) for o in outcomes] == [(o.name, o.value, o.error) for o in alone]
    assert log == ["x prepared in MainThread"]


def test_an_interruption_waits_for_nothing_that_was_begun_ahead() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def interrupt(given: str) -> str:
        assert begun.wait(20)
        raise KeyboardInterrupt

    def slow() -> str:
        begun.set()
        go_on.wait(20)
        return "b"

    ran: list[str] = []
    tasks = [Task("a", interrupt, prepare=lambda: "a"), Task("b", ran.append, prepare=slow)]
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tasks(tasks)
        assert not go_on.is_set() and not ran
    finally:
        go_on.set()


def turned_into_an_error() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("a library's own error") from None


def lost() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return


def swallowed_within() -> None:
    went_on: list[str] = []
    try:
        run_tasks([Task("inner", turned_into_an_error), Task("next", lambda: went_on.append("next"))])
    finally:
        if went_on:
            pytest.fail("the tasks within went on")


@pytest.mark.parametrize("swallow", [turned_into_an_error, lost, swallowed_within])
def test_an_interruption_that_a_library_swallows_ends_the_run(
    swallow: Callable[[], None],
) -> None:
    done: list[str] = []
    tasks = [Task("one", swallow), Task("two", lambda: done.append("two"))]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tasks(tasks)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == []
