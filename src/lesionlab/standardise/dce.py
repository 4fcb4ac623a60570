"""The phases of a DCE series: which channels they are, in which order, and when each was acquired.

Enhancement itself belongs to `measure/kinetics.py`; splitting one DICOM series into phases to `read/`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any, Final

from lesionlab.core.case import Case, ChannelFacts
from lesionlab.core.errors import DatasetError
from lesionlab.core.phases import Phases
from lesionlab.core.settings import KineticsSettings

CLOCKS: Final = (
    ("FrameAcquisitionDateTime", ""),
    ("AcquisitionDateTime", ""),
    ("AcquisitionTime", "AcquisitionDate"),
    ("TriggerTime", ""),
    ("ContentTime", "ContentDate"),
)
"""Where a phase's start may stand, the best first: the attribute of the time and that of its date."""
SEQUENCE: Final = ("ScanningSequence", "SequenceName", "EchoTime", "RepetitionTime", "FlipAngle")
"""What two series have in common that are phases of one acquisition."""
DAY_S: Final = 86400.0

Item = Mapping[str, Any]


def phase_names(case: Case) -> tuple[str, ...]:
    """`pre`, `post1`, `post2` ... of a case in order; empty when it has no `pre`.

    Raises DatasetError when one is missing in between.
    """
    numbers = sorted(int(name[4:]) for name in case.channels if re.fullmatch(r"post\d+", name))
    if "pre" not in case.channels:
        return ()
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        found = ", ".join(("pre", *(f"post{n}" for n in numbers)))
        raise DatasetError(case.id, f"phases {found}", "pre, post1, post2, ... without gaps")
    return ("pre", *(f"post{n}" for n in numbers))


def phases_of(case: Case, settings: KineticsSettings) -> Phases:
    """The phases of a standardised case with their times.

    Times are the settings' `times_s`, else those of the headers: the start of each phase by the first of
    CLOCKS that grows from phase to phase, plus half a phase's duration (AcquisitionDuration, else the
    shortest interval between phases after contrast), counted from the injection
    (ContrastBolusStartTime where it fits, else the start of `post1`). Without either they are None.
    Raises DatasetError for missing phases and for `times_s` of another number.
    """
    names = phase_names(case)
    if not names:
        known = ", ".join(case.channels)
        raise DatasetError(case.id, f"channels {known}", "the phases pre, post1, ... of a DCE series")
    volumes = tuple(case.channels[name] for name in names)
    if settings.times_s is not None:
        if len(settings.times_s) != len(names):
            raise DatasetError(
                case.id,
                f"{len(settings.times_s)} times in kinetics.times_s for {len(names)} phases",
                "one time for each phase",
            )
        return Phases(names, volumes, settings.times_s, ("phase times as the recipe gives them",))
    times, note = header_times([case.facts.channels.get(name) for name in names])
    return Phases(names, volumes, times, (note,))


def header_times(facts: Sequence[ChannelFacts | None]) -> tuple[tuple[float, ...] | None, str]:
    """Seconds from the injection to the middle of each phase, and how they were found; None when unknown."""
    found = _starts(facts)
    if found is None:
        return None, "phase times unknown: no attribute of the header grows from phase to phase"
    keyword, starts = found
    gaps = [late - early for early, late in pairwise(starts)]
    duration = min(gaps[1:] or gaps)
    stated = _duration_s(facts[1])
    how = "the interval between phases"
    if stated is not None and 0 < stated <= 1.05 * min(gaps):
        duration, how = stated, "AcquisitionDuration"
    injection, origin = starts[1], "assumed at the start of post1"
    if keyword != "TriggerTime":
        stated_at = _bolus(facts, keyword)
        # a time alone, which may lie after a midnight that follows the first phase
        days = () if stated_at is None else (stated_at, stated_at + DAY_S)
        fitting = [bolus for bolus in days if starts[0] <= bolus < starts[1] + duration / 2.0]
        if fitting:
            injection, origin = fitting[0], "by ContrastBolusStartTime"
    times = tuple(start + duration / 2.0 - injection for start in starts)
    shown = ", ".join(f"{t:.0f}" for t in times)
    return times, (
        f"phase times {shown} s: {keyword} plus half of {duration:.0f} s ({how}); injection {origin}"
    )


def _starts(facts: Sequence[ChannelFacts | None]) -> tuple[str, list[float]] | None:
    """The first clock that grows from phase to phase, and each phase's start on it in seconds."""
    for keyword, day in CLOCKS:
        starts = []
        for phase in facts:
            items = [{**phase.header, **item} for item in phase.slices] if phase is not None else []
            moments = [m for m in (_moment(item, keyword, day) for item in items) if m is not None]
            if not moments or len(moments) < len(items):
                break
            starts.append(min(moments))
        if len(starts) < len(facts):
            continue
        for k in range(1, len(starts)):
            # Midnight between two phases whose date is not stated.
            if starts[k] < starts[k - 1] - DAY_S / 2.0:
                starts[k:] = [s + DAY_S for s in starts[k:]]
        if all(late > early for early, late in pairwise(starts)):
            return keyword, starts
    return None


def _moment(item: Item, keyword: str, day: str) -> float | None:
    """Seconds of a TM with its DA, of a DT, or of TriggerTime's milliseconds; None when there is none."""
    value = item.get(keyword)
    if value in (None, ""):
        return None
    if keyword == "TriggerTime":
        return value / 1000.0 if isinstance(value, float | int) else None
    text = f"{value}".strip().replace(":", "")
    if keyword.endswith("DateTime"):
        return _clock(text[8:].split("+")[0].split("-")[0], text[:8])
    return _clock(text, f"{item.get(day, '')}".strip())


def _clock(time: str, day: str) -> float | None:
    whole, _, fraction = time.partition(".")
    if len(whole) < 4 or not (whole + fraction).isdigit():
        return None
    whole = whole.ljust(6, "0")
    seconds = 3600.0 * int(whole[:2]) + 60.0 * int(whole[2:4]) + float(f"{whole[4:6]}.{fraction or 0}")
    try:
        days = date(int(day[:4]), int(day[4:6]), int(day[6:8])).toordinal() if len(day) == 8 else 0
    except ValueError:
        days = 0
    return days * DAY_S + seconds


def _duration_s(facts: ChannelFacts | None) -> float | None:
    if facts is None or not facts.slices:
        return None
    item = {**facts.header, **facts.slices[0]}
    for keyword, scale in (("AcquisitionDuration", 1.0), ("FrameAcquisitionDuration", 1e-3)):
        if item.get(keyword) not in (None, ""):
            return float(item[keyword]) * scale
    return None


def _bolus(facts: Sequence[ChannelFacts | None], keyword: str) -> float | None:
    """The moment of ContrastBolusStartTime on the day of the first phase that states it."""
    for phase in facts:
        if phase is not None and phase.slices and phase.header.get("ContrastBolusStartTime"):
            item = {**phase.header, **phase.slices[0]}
            day = str(item.get(dict(CLOCKS)[keyword], ""))
            if keyword.endswith("DateTime"):
                day = str(item[keyword])[:8]
            return _clock(str(item["ContrastBolusStartTime"]).strip().replace(":", ""), day)
    return None


def with_phases(case: Case) -> Case:
    """A case whose phases came as MR series of their own, with these named `pre`, `post1`, ...

    Series are phases of one acquisition when they share a grid, the sequence's attributes (SEQUENCE) and a
    clock that tells them apart. A case that has `pre`, or no such series, is returned unchanged. Raises
    DatasetError when two groups of series could be the phases.
    """
    if "pre" in case.channels:
        return case
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, facts in case.facts.channels.items():
        if facts.modality == "MR" and facts.slices and name in case.channels:
            grid = case.channels[name].geometry.describe()
            groups[(grid, *(str(facts.header.get(k, "")) for k in SEQUENCE))].append(name)
    found = [names for names in groups.values() if len(names) > 1]
    if not found:
        return case
    if len(found) > 1:
        shown = " and ".join(", ".join(names) for names in found)
        raise DatasetError(case.id, f"several sets of MR series: {shown}", "the phases of one DCE series")
    ordered = _in_time(case, found[0])
    if ordered is None:
        return case
    renamed = {name: "pre" if k == 0 else f"post{k}" for k, name in enumerate(ordered)}
    note = "phases: " + ", ".join(f"{new} = {old}" for old, new in renamed.items())
    return replace(
        case,
        channels={renamed.get(name, name): volume for name, volume in case.channels.items()},
        reference=renamed.get(case.reference, case.reference),
        facts=replace(
            case.facts,
            channels={renamed.get(name, name): f for name, f in case.facts.channels.items()},
        ).with_notes(note),
    )


def _in_time(case: Case, names: Sequence[str]) -> list[str] | None:
    """Series in the order of their starts; None when no clock tells all of them apart.

    Phases of one DICOM series keep the order that reading found for them, by a clock or another attribute.
    """
    uids = {str(case.facts.channels[name].header.get("SeriesInstanceUID", "")) for name in names}
    if len(uids) == 1 and "" not in uids:
        return list(names)
    for keyword, day in CLOCKS:
        starts: dict[str, float] = {}
        for name in names:
            facts = case.facts.channels[name]
            moments = [_moment({**facts.header, **item}, keyword, day) for item in facts.slices]
            known = [m for m in moments if m is not None]
            if len(known) == len(moments):
                starts[name] = min(known)
        latest = max(starts.values(), default=0.0)
        if latest < DAY_S:
            # Midnight between two series whose date is not stated.
            starts = {n: s + DAY_S if s < latest - DAY_S / 2.0 else s for n, s in starts.items()}
        if len(starts) == len(names) == len(set(starts.values())):
            return sorted(names, key=starts.__getitem__)
    return None
