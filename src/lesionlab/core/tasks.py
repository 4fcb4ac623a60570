"""Work over many cases, folds or recipes: a list of independent tasks handed to one function.

Tasks run here, one after another; a failing one is kept with its reason and the rest go on. With a store,
results are content-addressed, so that an interrupted run goes on where it stopped. No other module
knows where a task runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    """A named piece of work. `inputs` are everything its result depends on (JSON values)."""

    name: str
    run: Callable[[], T]
    inputs: Mapping[str, Any] = field(default_factory=dict)

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
        value, error = task.run(), None
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
    run again; failures are not stored.
    """
    outcomes = []
    for number, task in enumerate(tasks):
        progress(task.name, number / len(tasks))
        kept = None if store is None else store / f"{task.key}.json"
        if kept is not None and kept.is_file():
            outcomes.append(Outcome(task.name, json.loads(kept.read_text()), None, 0.0, reused=True))
            continue
        outcome = executor(task)
        if kept is not None and outcome.error is None:
            write_json(kept, outcome.value)
        outcomes.append(outcome)
    progress("done", 1.0)
    return outcomes
