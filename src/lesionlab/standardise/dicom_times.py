"""DICOM dates and times of a PET header as moments, in the scanner's own clock.

Which moment a rule needs belongs to `suv_times.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

DAY: Final = timedelta(days=1)
_CLOCK: Final = re.compile(r"(\d{2})(\d{2})?(\d{2})?(\.\d+)?")
_MOMENT: Final = re.compile(r"(\d{8})(\d{4,6})(\.\d+)?([+-]\d{4})?")


def moment(header: Mapping[str, Any], date: str, time: str) -> datetime | None:
    """The moment that a DA and a TM attribute state together; None when either is absent or malformed."""
    day, clock = _text(header, date).replace(".", "").replace("-", ""), clock_of(header, time)
    return parse(day + clock) if len(day) == 8 and clock else None


def stated(header: Mapping[str, Any], keyword: str) -> datetime | None:
    """The moment of a DT attribute; None when absent, malformed or without hours and minutes.

    An offset from UTC is part of the moment only where the header also states the offset of its other times
    (TimezoneOffsetFromUTC); the result is in the clock of those. Otherwise it is dropped.
    """
    found = _MOMENT.fullmatch(_text(header, keyword))
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    whole = parse(day + clock.ljust(6, "0") + (fraction or ""))
    local = _offset(_text(header, "TimezoneOffsetFromUTC"))
    own = _offset(offset or "")
    return whole if whole is None or local is None or own is None else whole - own + local


def parse(text: str) -> datetime | None:
    """YYYYMMDDHHMMSS with an optional fraction; None for anything else (a date alone says no time)."""
    whole, _, fraction = text.partition(".")
    if len(whole) != 14 or not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    try:
        found = datetime.strptime(whole, "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return found + timedelta(seconds=float(f"0.{fraction}") if fraction else 0.0)


def clock_of(header: Mapping[str, Any], keyword: str) -> str:
    """A TM attribute as HHMMSS with its fraction (minutes and seconds may be left out); "" if it is none."""
    found = _CLOCK.fullmatch(_text(header, keyword).replace(":", ""))
    if found is None:
        return ""
    hours, minutes, seconds, fraction = found.groups()
    return f"{hours}{minutes or '00'}{seconds or '00'}{fraction or ''}"


def time_before(header: Mapping[str, Any], keyword: str, before: datetime) -> datetime | None:
    """The moment of a bare TM attribute on the day of `before`, one day earlier if that is after it."""
    clock = clock_of(header, keyword)
    found = parse(before.strftime("%Y%m%d") + clock) if clock else None
    return found - DAY if found is not None and found > before else found


def time_near(header: Mapping[str, Any], keyword: str, near: datetime) -> datetime | None:
    """The moment of a bare TM attribute on the day that brings it within twelve hours of `near`."""
    clock = clock_of(header, keyword)
    found = parse(near.strftime("%Y%m%d") + clock) if clock else None
    if found is None:
        return None
    return min((found - DAY, found, found + DAY), key=lambda when: abs(when - near))


def _text(header: Mapping[str, Any], keyword: str) -> str:
    return f"{header.get(keyword, '')}".strip()


def _offset(text: str) -> timedelta | None:
    if not re.fullmatch(r"[+-]\d{4}", text):
        return None
    amount = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
    return -amount if text[0] == "-" else amount
