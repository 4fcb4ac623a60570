"""The moments that SUV rules need: acquisition, administration, and what START was corrected to.

Functions of header mappings. What follows from the moments belongs to `suv_decay.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lesionlab.core.private_tags import GE_ADMIN_DATETIME, GE_DECAY_DATETIME
from lesionlab.standardise.dicom_times import DAY, clock_of, moment, parse, stated, time_before, time_near
from lesionlab.standardise.suv_header import Known, PetSeries, number_of

AGREEMENT: Final = 0.01
"""Moments that change the SUV by less than this share count as one."""
MARGIN_S: Final = 5.0
"""A back-computed reference may lie this much after the first acquisition (rounded durations)."""
BACK_COMPUTED: Final = "AcquisitionTime, FrameReferenceTime and ActualFrameDuration"
ANY_DAY: Final = "20000101"
DATES: Final = ("SeriesDate", "StudyDate", "ContentDate")

Named = tuple[str, datetime]


def acquired_at(series: PetSeries) -> Known[tuple[datetime, ...]]:
    """When the acquisition of each slice started.

    Enhanced files state it per frame, classic ones in two attributes or one. A time without a date is put on
    another date of the header (SeriesDate first), else on the day of the administration, else on any
    day, and beds on both sides of a midnight stay together; the warning says which. Raises SuvError for a
    slice without any time.
    """
    known: list[datetime] = []
    tags: dict[str, None] = {}
    warnings: dict[str, None] = {}
    dateless = 0
    for item in series.each():
        found = _acquired(item)
        if found is None:
            raise series.refusal("no AcquisitionDate and AcquisitionTime", "when the acquisition started")
        known.append(found.value)
        tags |= dict.fromkeys(found.tags)
        warnings |= dict.fromkeys(found.warnings)
        dateless += bool(found.warnings)
    if dateless == len(known) and max(known) - min(known) > DAY / 2:
        # no scan takes half a day: those in the small hours were acquired after midnight
        known = [when + DAY if max(known) - when > DAY / 2 else when for when in known]
    return Known(tuple(known), tuple(tags), tuple(warnings))


def _acquired(item: Mapping[str, Any]) -> Known[datetime] | None:
    for found, tag in (
        (stated(item, "FrameAcquisitionDateTime"), "FrameAcquisitionDateTime"),
        (moment(item, "AcquisitionDate", "AcquisitionTime"), "AcquisitionTime"),
        (stated(item, "AcquisitionDateTime"), "AcquisitionDateTime"),
    ):
        if found is not None:
            return Known(found, (tag,))
    return _dateless(item)


def _dateless(item: Mapping[str, Any]) -> Known[datetime] | None:
    """AcquisitionTime on a day that another attribute names; None where there is no time."""
    clock = clock_of(item, "AcquisitionTime")
    if not clock:
        return None
    for keyword in DATES:
        day = str(item.get(keyword, "")).strip()
        borrowed = parse(day + clock) if len(day) == 8 else None
        if borrowed is not None:
            opened = moment(item, "SeriesDate", "SeriesTime") if keyword == "SeriesDate" else None
            when = borrowed if opened is None else time_near(item, "AcquisitionTime", opened) or borrowed
            return Known(when, ("AcquisitionTime",), (f"AcquisitionDate absent: {keyword} taken",))
    given = stated(item, "RadiopharmaceuticalStartDateTime")
    if given is not None:
        after = parse(given.strftime("%Y%m%d") + clock)
        text = "AcquisitionDate absent: within a day after RadiopharmaceuticalStartDateTime"
        if after is not None:
            return Known(after if after >= given else after + DAY, ("AcquisitionTime",), (text,))
    undated = parse(ANY_DAY + clock)
    text = "no date in the header: administration taken within the day before the acquisition"
    return None if undated is None else Known(undated, ("AcquisitionTime",), (text,))


def administered_at(series: PetSeries, acquired: datetime) -> Known[datetime]:
    """When the tracer was given: with its date, else on the day of the acquisition or the one before.

    Then GE's private attribute. Raises SuvError when the header has none of them.
    """
    header = series.header
    for when, tag in (
        (stated(header, "RadiopharmaceuticalStartDateTime"), "RadiopharmaceuticalStartDateTime"),
        (time_before(header, "RadiopharmaceuticalStartTime", acquired), "RadiopharmaceuticalStartTime"),
        (
            stated(header, GE_ADMIN_DATETIME) or time_before(header, GE_ADMIN_DATETIME, acquired),
            GE_ADMIN_DATETIME,
        ),
    ):
        if when is not None:
            return Known(when, (tag,), series.unclaimed(tag) if tag == GE_ADMIN_DATETIME else ())
    raise series.refusal(
        "no RadiopharmaceuticalStartDateTime or RadiopharmaceuticalStartTime", "when the tracer was given"
    )


@dataclass(frozen=True, slots=True)
class References:
    """The moment that START was corrected to, the candidates that were not taken, and warnings."""

    taken: Named
    others: tuple[Named, ...]
    warnings: tuple[str, ...] = ()


def references(
    series: PetSeries, half_life_s: float, acquired: Sequence[datetime], *, autopet: bool = False
) -> References:
    """Which moment the activities of a START series are corrected to.

    In order: GE's private tag; the moment back-computed from the frames, where that is believable; SeriesDate
    and SeriesTime when not after the first acquisition (post-processing rewrites them); the first
    acquisition. With `autopet`, AcquisitionTime of the first image (by InstanceNumber) before all of
    these. DecayCorrectionDateTime is a cross-check, never taken.
    """
    first = min(acquired)
    private = _ge_reference(series, half_life_s, first)
    opened = series_opened(series, first)
    computed = back_computed_reference(series, half_life_s, acquired, opened)
    possible: list[tuple[Named | None, bool]] = [
        (None if private is None else (GE_DECAY_DATETIME, private), True),
        (
            None if computed is None else (BACK_COMPUTED, computed.value),
            computed is not None and computed.fits,
        ),
        (None if opened is None else ("SeriesTime", opened), opened is not None and opened <= first),
        (("AcquisitionTime", first), True),
    ]
    if autopet:
        possible.insert(0, (("AcquisitionTime (autoPET)", _of_first_image(series, acquired)), True))
    named = [(name, fits) for name, fits in possible if name is not None]
    taken = next(name for name, fits in named if fits)
    others = [name for name, _ in named if name is not taken]
    correction = stated(series.header, "DecayCorrectionDateTime")
    if correction is not None:
        others.append(("DecayCorrectionDateTime", correction))
    return References(taken, tuple(others), series.unclaimed(GE_DECAY_DATETIME))


def series_opened(series: PetSeries, first: datetime) -> datetime | None:
    """SeriesDate and SeriesTime; a time without a date lies within twelve hours of the acquisition."""
    if series.text("SeriesDate"):
        return moment(series.header, "SeriesDate", "SeriesTime")
    return time_near(series.header, "SeriesTime", first)


def _ge_reference(series: PetSeries, half_life_s: float, first: datetime) -> datetime | None:
    """GE's tag, which must be one moment for all slices; a bare time lies within twelve hours of `first`."""
    stated_or_bare = (
        stated(item, GE_DECAY_DATETIME) or time_near(item, GE_DECAY_DATETIME, first) for item in series.each()
    )
    found = [m for m in stated_or_bare if m is not None]
    if not found:
        return None
    if not _agree(found, half_life_s):
        raise series.refusal(
            f"{GE_DECAY_DATETIME} from {min(found)} to {max(found)}", "one moment of decay correction"
        )
    return found[0]


@dataclass(frozen=True, slots=True)
class BackComputed:
    """The reference that the frames imply, and whether it is to be believed."""

    value: datetime
    fits: bool


def back_computed_reference(
    series: PetSeries, half_life_s: float, acquired: Sequence[datetime], opened: datetime | None
) -> BackComputed | None:
    """The moment that FrameReferenceTime counts from, over all slices; None where one lacks the attributes.

    Believed when all slices agree on one that is neither after the first acquisition nor before the
    series' own start: scanners that repeat one AcquisitionTime for all beds, or count FrameReferenceTime
    from another zero, fail this.
    """
    pairs = zip(series.each(), acquired, strict=True)
    computed = [
        m for m in (back_computed(item, start, half_life_s) for item, start in pairs) if m is not None
    ]
    if not computed or len(computed) != len(acquired):
        return None
    first, early, late = min(acquired), min(computed), max(computed)
    earliest = opened if opened is not None and opened <= first else early
    in_time = (late - first).total_seconds() <= MARGIN_S >= (earliest - early).total_seconds()
    return BackComputed(sorted(computed)[len(computed) // 2], _agree(computed, half_life_s) and in_time)


def back_computed(item: Mapping[str, Any], started: datetime, half_life_s: float) -> datetime | None:
    """Acquisition start + T_ave - FrameReferenceTime: the zero that FrameReferenceTime counts from.

    T_ave is when the decaying activity equals its mean over the frame, ln(lT / (1 - exp(-lT))) / l. None
    when an attribute is missing.
    """
    duration = frame_s(item)
    reference_ms = number_of(item.get("FrameReferenceTime"))
    if duration is None or reference_ms is None:
        return None
    rate = math.log(2) / half_life_s
    average_s = math.log(rate * duration / -math.expm1(-rate * duration)) / rate
    try:
        return started + timedelta(seconds=average_s - reference_ms / 1000.0)
    except OverflowError:  # before the first year or after the last: the number is none of ms
        return None


def frame_s(item: Mapping[str, Any]) -> float | None:
    """ActualFrameDuration (enhanced: FrameAcquisitionDuration) in s; None when absent or not above 0."""
    duration_ms = number_of(item.get("ActualFrameDuration", item.get("FrameAcquisitionDuration")))
    return duration_ms / 1000.0 if duration_ms is not None and duration_ms > 0 else None


def _of_first_image(series: PetSeries, acquired: Sequence[datetime]) -> datetime:
    order = [number_of(item.get("InstanceNumber")) for item in series.slices]
    numbered = [(n, when) for n, when in zip(order, acquired, strict=True) if n is not None]
    return min(numbered)[1] if len(numbered) == len(acquired) else acquired[0]


def _agree(moments: Sequence[datetime], half_life_s: float) -> bool:
    spread_s = (max(moments) - min(moments)).total_seconds()
    return math.log(2) * spread_s / half_life_s <= AGREEMENT
