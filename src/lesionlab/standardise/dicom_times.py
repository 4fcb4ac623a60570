"""DICOM dates and times of a PET header as moments; no zone is known, so none is assumed.

Which moment a rule needs belongs to `suv.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

DAY = timedelta(days=1)


def moment(header: Mapping[str, Any], date: str, time: str) -> datetime | None:
    """The moment that a DA and a TM attribute state together; None when either is absent or malformed."""
    return parse(f"{header.get(date, '')}".strip() + f"{header.get(time, '')}".strip().replace(":", ""))


def stated(header: Mapping[str, Any], keyword: str) -> datetime | None:
    """The moment of a DT attribute (fraction and zone offset allowed); None when absent or malformed."""
    text = f"{header.get(keyword, '')}".strip()
    for sign in "+-":
        text = text.split(sign)[0] if len(text.split(sign)[0]) >= 14 else text
    return parse(text)


def parse(text: str) -> datetime | None:
    """YYYYMMDDHHMMSS with an optional fraction; None for anything else (a date alone says no time)."""
    whole, _, fraction = text.partition(".")
    if len(whole) < 14 or not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    try:
        found = datetime.strptime(whole[:14], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return found + timedelta(seconds=float(f"0.{fraction}") if fraction else 0.0)


def time_near(header: Mapping[str, Any], keyword: str, before: datetime) -> datetime | None:
    """The moment of a bare TM attribute on the day of `before`, one day earlier if that is after it."""
    text = f"{header.get(keyword, '')}".strip().replace(":", "")
    found = parse(before.strftime("%Y%m%d") + text) if text else None
    if found is not None and found > before:
        return found - DAY
    return found
