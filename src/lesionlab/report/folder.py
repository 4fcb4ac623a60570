"""A folder of results that is either complete or absent, and that never costs anyone another file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lesionlab.core.errors import WriteError
from lesionlab.core.files import writing

LAST = "report.html"
"""Moved into place last, so that where a report stands, the files that it names stand too."""


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """Give an empty temporary folder; on success its files appear in `folder`, on failure nothing does.

    A folder that does not exist yet appears by one rename. In an existing one (a user's own folder, an
    earlier run) files of the same name are replaced one by one and all others stay. Raises WriteError
    for any OSError.
    """
    try:
        with _filled_new(folder) if not folder.exists() else _filled_old(folder) as temporary:
            yield temporary
    except WriteError as error:
        # A file inside was refused: name it by the place where the user would have found it.
        where = Path(error.subject)
        inside = where.name if where != folder else ""
        raise WriteError(folder / inside, error.found, error.needed) from error


@contextmanager
def _filled_new(folder: Path) -> Iterator[Path]:
    with writing(folder) as temporary:
        temporary.mkdir()
        yield temporary


@contextmanager
def _filled_old(folder: Path) -> Iterator[Path]:
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".report.", suffix=".part", dir=folder))
        yield temporary
        for path in sorted(temporary.iterdir(), key=lambda path: (path.name == LAST, path.name)):
            path.replace(folder / path.name)
    except OSError as error:
        found = error.strerror or str(error)
        raise WriteError(folder, found, "a writable folder with enough space") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
