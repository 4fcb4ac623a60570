"""How the command line speaks: results on stdout, everything else on stderr, errors in one line.

Exit codes: 0 done, 1 failed, 2 bad arguments, 130 interrupted. Verbs live in the modules beside this one.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lesionlab.core.devices import require_device
from lesionlab.core.errors import LesionLabError

if TYPE_CHECKING:
    from lesionlab.core.tasks import Progress

DEBUG = "lesionlab.debug"
LINE_EVERY_S = 20.0


class Verbs(TyperGroup):
    """The group of all verbs: turns what goes wrong in them into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; an error becomes `error: ...` on stderr and exit code 1 (a traceback with --debug)."""
        try:
            return super().invoke(ctx)
        except LesionLabError as error:
            if ctx.meta.get(DEBUG):
                raise
            complain(str(error))
        except BrokenPipeError:
            raise
        except Exception as error:
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort) or ctx.meta.get(DEBUG):
                raise
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            complain(f"{text} (unexpected; --debug shows where)")
        raise typer.Exit(1)


def _set_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.meta[DEBUG] = True
        logging.getLogger("lesionlab").setLevel(logging.DEBUG)
    return value


def _known_device(value: str) -> str:
    require_device(value)
    return value


Debug = Annotated[
    bool, typer.Option("--debug", callback=_set_debug, help="Show where an error comes from, and the log.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Answer in JSON on stdout, and nothing else there, for programs.")
]
Device = Annotated[
    str,
    typer.Option(
        callback=_known_device,
        help="Where a network computes: auto (CUDA, then MPS, then CPU), cpu, cuda or mps.",
    ),
]


class StderrHandler(logging.Handler):
    """Log records as lines on whatever stderr is at that moment, so that a progress bar keeps its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        typer.echo(f"{record.levelname.lower()}: {self.format(record)}", err=True)


def start_logging() -> None:
    """Warnings of the package go to stderr as `warning: ...`, once however often this is called."""
    log = logging.getLogger("lesionlab")
    log.setLevel(logging.WARNING)
    if not any(isinstance(handler, StderrHandler) for handler in log.handlers):
        log.addHandler(StderrHandler())
        log.propagate = False


def say(text: str) -> None:
    """Something for the user that is not the result: to stderr."""
    typer.echo(text, err=True)


def complain(text: str) -> None:
    """An error, one line on stderr."""
    say(f"error: {text}")


def answer(text: str) -> None:
    """The result, to stdout."""
    typer.echo(text)


def answer_json(value: Any) -> None:
    """The result as strict JSON, to stdout (NaN and infinities become null)."""
    from lesionlab.core.files import jsonable

    answer(json.dumps(jsonable(value), indent=2, allow_nan=False))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress callback drawn on stderr: a bar with the time left, or a line now and then in a log."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<38.38}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        drawn = bar.add_task("", total=1.0)

        def draw(message: str, share: float) -> None:
            # Square brackets in a message (a case id, a list) are no markup.
            bar.update(drawn, description=message.replace("[", "("), completed=share)

        yield draw


def _lines() -> Progress:
    """Progress for a log: at most a line every `LINE_EVERY_S` seconds, none for short work."""
    last = time.monotonic()

    def tell(message: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            say(f"{share:4.0%} {message}")

    return tell


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in plain text: text to the left, numbers to the right, two blanks between columns."""
    cells = [list(head), *([shown(value) for value in row] for row in rows)]
    right = [bool(rows) and all(_is_number(row[c]) for row in rows) for c in range(len(head))]
    widths = [max(len(row[c]) for row in cells) for c in range(len(head))]
    lines = (
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )
    return "\n".join(lines)


def shown(value: object) -> str:
    """A value for the eye: four significant digits, whole numbers whole, unknown as a dash."""
    if value is None or (_is_number(value) and value != value):
        return "-"
    if isinstance(value, bool) or not _is_number(value):
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    if number.is_integer() or abs(number) >= 1000:
        return f"{number:.0f}"
    return f"{number:.4g}"


def _is_number(value: object) -> bool:
    return value is None or (hasattr(value, "__float__") and not isinstance(value, bool | str))
