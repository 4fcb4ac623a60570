"""The end of the process: exit handlers, then out, without taking torch and OpenVINO apart first.

Their teardown takes longer than reading and measuring a small scan, and the operating system does it anyway.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

FLUSH_FAILED = 120
"""Python's own exit code where what was written did not reach its reader."""

_asked: list[int] = []
"""The exit code that a program run here asked for; empty in a process that runs none."""


def run_and_leave(run: Callable[[], Any]) -> None:
    """Run a program to its end, so that the process then ends at once with the exit code it asked for.

    Threads are waited for, exit handlers run and streams are flushed as ever; modules are not torn down. An
    error that nobody caught is printed by Python and gives 1.
    """
    _asked[:] = [1]
    try:
        run()
        _asked[:] = [0]
    except SystemExit as stop:
        _asked[:] = [stop.code if isinstance(stop.code, int) else int(stop.code is not None)]
        raise


def _leave() -> None:
    if not _asked:
        return
    # its own handler may have been registered before this one, and then comes too late
    logging.shutdown()
    status = _asked[0]
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # closed before the process began
                stream.flush()
        except (OSError, ValueError):
            status = status or FLUSH_FAILED
    os._exit(status)


# Handlers run last in, first out: registered before any library is loaded, this one comes after theirs.
atexit.register(_leave)
