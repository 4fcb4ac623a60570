"""Work over many cases, folds or recipes: a list of independent tasks handed to one function.

Tasks run here, one after another; a failing one is kept with its reason and the rest go on. With a store,
results are content-addressed, so that an interrupted run goes on where it stopped. No other module
knows where a task runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from lesionlab.core.errors import LesionLabError
from lesionlab.core.files import jsonable, write_json

T = TypeVar("T")
Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0 to 1; the command line draws it."""

log = logging.getLogger(__name__)


def silent(message: str, share: float) -> None:
    """The progress callback that shows nothing."""


@dataclass(frozen=True)
class Task(Generic[T]):
    """A named piece of work. `inputs` are everything its result depends on (JSON values).

    With `prepare`, which may be done in another thread while the task before still runs, `run` is called
    with what it gave; otherwise without argument. An error in it is an error of this task.
    """

    name: str
    run: Callable[..., T]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[], Any] | None = None

    @property
    def key(self) -> str:
        """Content address of the result."""
        text = json.dumps([self.name, jsonable(self.inputs)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of a task: a value, or the one line that says why not."""

    name: str
    value: T | None
    error: str | None
    seconds: float
    reused: bool = False


def run_here(task: Task[T]) -> Outcome[T]:
    """Run a task in this process; any exception becomes the outcome's error."""
    start = time.perf_counter()
    try:
        value, error = (task.run() if task.prepare is None else task.run(task.prepare())), None
    except LesionLabError as problem:
        value, error = None, str(problem)
    except Exception as problem:
        # One broken case must not stop a cohort; the traceback goes to the log for us to mend.
        log.debug("task %s failed", task.name, exc_info=True)
        value, error = None, f"{task.name}: {type(problem).__name__}: {problem}"
    return Outcome(task.name, value, error, time.perf_counter() - start)


def run_tasks(
    tasks: Sequence[Task[T]],
    executor: Callable[[Task[T]], Outcome[T]] = run_here,
    *,
    store: Path | None = None,
    progress: Progress = silent,
) -> list[Outcome[T]]:
    """Run every task and return the outcomes in the tasks' order.

    With `store`, values must be JSON values: a finished task is read back from `store/KEY.json` instead of
    run again; failures are not stored. A task that prepares something does so while the one before runs.
    Ctrl-C ends the run even where a task took the interruption for an error of its own.
    """
    outcomes = []
    files = [None if store is None else store / f"{task.key}.json" for task in tasks]
    with _Ahead(tasks) as ahead, _listening() as interruption:
        for number, (task, kept) in enumerate(zip(tasks, files, strict=True)):
            progress(task.name, number / len(tasks))
            if kept is not None and kept.is_file():
                outcomes.append(Outcome(task.name, json.loads(kept.read_text()), None, 0.0, reused=True))
                continue
            later = range(number + 1, len(tasks))
            following = next((n for n in later if not ((file := files[n]) and file.is_file())), None)
            outcome = executor(ahead.take(number, following))
            if kept is not None and outcome.error is None:
                write_json(kept, outcome.value)
            if interruption.pressed:
                raise KeyboardInterrupt
            outcomes.append(outcome)
    progress("done", 1.0)
    return outcomes


class _CtrlC:
    """A handler that notes Ctrl-C and does what was done before: libraries make its exception one of theirs,
    or lose it in a callback.
    """

    def __init__(self, usual: Any) -> None:
        self.usual, self.pressed = usual, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        self.usual(number, frame)


@contextlib.contextmanager
def _listening() -> Iterator[_CtrlC]:
    """Hear of Ctrl-C while tasks run, those within a task too; not where somebody else decides about it."""
    usual = signal.getsignal(signal.SIGINT)
    heard = _CtrlC(usual)
    ours = usual is signal.default_int_handler or isinstance(usual, _CtrlC)
    if not ours or threading.current_thread() is not threading.main_thread():
        yield heard
        return
    signal.signal(signal.SIGINT, heard)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, usual)


class _Ahead:
    """One thread that prepares one task ahead of its turn."""

    def __init__(self, tasks: Sequence[Task[Any]]) -> None:
        self.tasks = tasks
        self.pool: ThreadPoolExecutor | None = None
        self.begun: dict[int, Future[Any]] = {}

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, *error: object) -> None:
        """An interruption does not wait for what is being prepared; nobody asks for it any more."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)

    def take(self, number: int, following: int | None) -> Task[Any]:
        """The task, which takes what was prepared, or its error, from here and then has the next begun."""
        task, future = self.tasks[number], self.begun.pop(number, None)
        if task.prepare is None:
            self._begin(following)
            return task
        prepare = task.prepare if future is None else future.result

        def prepare_and_begin() -> Any:
            try:
                return prepare()
            finally:
                self._begin(following)

        return replace(task, prepare=prepare_and_begin)

    def _begin(self, number: int | None) -> None:
        prepare = None if number is None else self.tasks[number].prepare
        if number is None or prepare is None:
            return
        if self.pool is None:
            self.pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self.begun[number] = self.pool.submit(prepare)
