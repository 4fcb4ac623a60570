"""The log of a study: what happened when, and now and then how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from lesionlab.core.errors import DatasetError
from lesionlab.core.files import require_folder
from lesionlab.core.tasks import Progress

LOG_FILE = "study.log"
LOG_EVERY_S = 30.0

Note = Callable[[str], None]
"""Adds a line to the log."""


def require_begun(root: Path) -> None:
    """Raise DatasetError for a folder in which no study was run, before anything is made there."""
    if not (root / LOG_FILE).is_file():
        raise DatasetError(root, f"no {LOG_FILE}", "the folder that `lesionlab study run` was given")


@contextmanager
def logged(file: Path, progress: Progress) -> Iterator[tuple[Note, Progress]]:
    """A function that adds a line with the time to a file, and the progress, a line there now and then."""
    require_folder(file.parent)
    file.parent.mkdir(parents=True, exist_ok=True)
    last = time.monotonic()

    def note(text: str) -> None:
        with file.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")

    def watched(message: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            note(f"{share:4.0%} {message}")
        progress(message, share)

    try:
        yield note, watched
    except BaseException as error:
        note(f"stopped: {type(error).__name__} {error}".rstrip())
        raise
