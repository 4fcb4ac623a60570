"""Several processes on one study's folder: each run is done once, by whichever comes to it first.

Locks are files that the operating system gives free when their process ends, however it ends. What a run
consists of belongs to `run.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.pipeline.record import part

T = TypeVar("T")
FOLDER = "locks"
EVERY_S = 1.0
"""How often a process that waits looks again."""


@contextmanager
def alone(root: Path, name: str, progress: Progress = silent, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of that name in a study's folder; gives whether it was got.

    Where another process has it, wait for it and say so, or without `wait` give False.
    """
    file = root / FOLDER / f"{name}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            yield False
            return
        progress("waiting for another process on this study", 0.0)
        lock.acquire(poll_interval=EVERY_S)
    try:
        yield True
    finally:
        lock.release()


def run_together(
    tasks: Sequence[Task[T]], locks: Sequence[str], root: Path, store: Path, progress: Progress = silent
) -> list[Outcome[T]]:
    """Outcomes of `run_tasks` in the tasks' order, in a folder where other processes may do the same.

    `locks` names one for each task; of those with the same, only one runs at a time. A task whose lock
    another process holds is put off. When nothing else is left it is waited for, and its result read back,
    or done here after all where the other one failed or ended.
    """
    found: dict[int, Outcome[T]] = {}
    for wait in (False, True):
        for number, (task, lock) in enumerate(zip(tasks, locks, strict=True)):
            if number in found:
                continue
            so_far = part(progress, len(found) / len(tasks), 1.0)
            with alone(root, lock, so_far, wait=wait) as got:
                if got:
                    found[number] = run_tasks([task], store=store)[0]
    return [found[number] for number in range(len(tasks))]
