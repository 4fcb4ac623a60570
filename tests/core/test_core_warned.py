"""Warnings are caught by one thread at a time, so that none restores the filters of another."""

from __future__ import annotations

import threading
import warnings

from lesionlab.core.warned import recorded_warnings, without_warnings


def test_warnings_are_collected_or_dropped() -> None:
    with recorded_warnings() as caught:
        warnings.warn("first", stacklevel=1)
        warnings.warn("first", stacklevel=1)
        with without_warnings():
            warnings.warn("second", stacklevel=1)
    assert [str(one.message) for one in caught] == ["first", "first"]


def test_another_thread_waits_and_the_filters_come_back() -> None:
    before, entered = list(warnings.filters), threading.Event()

    def other() -> None:
        with without_warnings():
            entered.set()

    with recorded_warnings():
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set() and warnings.filters == before
