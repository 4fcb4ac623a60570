"""Catching warnings while another thread may do so too.

Python keeps one list of filters for the whole process: two threads that replace and restore it at the same
time leave the wrong one behind. Whoever catches warnings here does so alone.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect every warning that is given inside, instead of showing it."""
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@contextmanager
def without_warnings() -> Iterator[None]:
    """Show no warning that is given inside."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
