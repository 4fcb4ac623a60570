"""DICOM files grouped into series, and the choice among series of one modality.

A choice that cannot be made from the headers is refused by name, never made silently; whatever is left
out is noted. Turning a series into voxels belongs to `dicom_stack.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.read.dicom_slices import Slice, read_header, slices_of
from lesionlab.read.dicom_stack import heights_of, normal_of

IMAGE_MODALITIES = ("PT", "CT", "MR", "US")


@dataclass(frozen=True, eq=False)
class Series:
    """One series: modality and slices in no particular order. `phase` counts from 0 if there are any."""

    uid: str
    modality: str
    slices: tuple[Slice, ...]
    phase: int | None = None

    @property
    def header(self) -> Dataset:
        """The header of its first slice."""
        return self.slices[0].header

    @property
    def label(self) -> str:
        """Modality, description and size, for messages."""
        described = str(self.header.get("SeriesDescription") or f"...{self.uid[-8:]}")
        return f"{self.modality} series {described!r} ({len(self.slices)} images, number {self.number})"

    @property
    def number(self) -> str:
        """The series number as text, "-" where there is none."""
        return str(self.header.get("SeriesNumber") or "-")

    @property
    def extent_mm(self) -> float:
        """Distance between the outermost slices."""
        return float(np.ptp(heights_of(self.slices)))

    def has(self, keyword: str, word: str) -> bool:
        """True where a many-valued attribute such as ImageType contains a word."""
        values: Any = self.slices[0].get(keyword) or self.header.get(keyword) or ()
        values = [values] if isinstance(values, str) else list(values)
        return word in [str(v).upper() for v in values]


@dataclass(frozen=True, eq=False)
class Scan:
    """What a set of files holds: image series, contour objects (path, header), and what else was seen."""

    series: tuple[Series, ...]
    structures: tuple[tuple[Path, Dataset], ...]
    segmentations: tuple[tuple[Path, Dataset], ...]
    patients: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def found(self) -> bool:
        """True where there was any DICOM object at all."""
        return bool(self.series or self.structures or self.segmentations or self.notes)


def scan(paths: Iterable[Path]) -> Scan:
    """Read the headers of all files and group the images by series; other files are passed by."""
    images: dict[tuple[str, str], list[Slice]] = defaultdict(list)
    other: dict[str, int] = defaultdict(int)
    structures, segmentations, patients = [], [], set()
    for path in paths:
        header = read_header(path)
        if header is None:
            continue
        modality = str(header.get("Modality") or "")
        if modality == "RTSTRUCT":
            structures.append((path, header))
        elif modality == "SEG":
            segmentations.append((path, header))
        elif modality in ("", *IMAGE_MODALITIES) and _is_image(header):
            if not modality:
                raise ReadError(path, "an image without Modality (truncated file?)", "a complete DICOM image")
            images[str(header.get("SeriesInstanceUID")), modality].extend(slices_of(path, header))
            patients.add(str(header.get("PatientID") or ""))
        elif "DirectoryRecordSequence" not in header:
            other[modality or "unknown modality"] += 1
    notes = [f"ignored {count} DICOM object(s) of {name}" for name, count in sorted(other.items())]
    series = tuple(Series(uid, modality, tuple(items)) for (uid, modality), items in images.items())
    return Scan(series, tuple(structures), tuple(segmentations), tuple(sorted(patients)), tuple(notes))


def _is_image(header: Dataset) -> bool:
    """By SOP class, because a truncated file may lack every other sign; by its size for private classes."""
    return header.SOPClassUID.name.endswith("Image Storage") or "Rows" in header


def volumes_of(series: Series, notes: list[str]) -> list[Series]:
    """The series as one or more volumes: localisers left out, repeated positions of MR split into phases.

    An empty list (with a note) when nothing volumetric is in it. Raises ReadError when slices of several
    shapes or orientations cannot be told apart, or positions repeat for no stated reason.
    """
    slices = [s for s in series.slices if "LOCALIZER" not in str(s.get("ImageType") or "").upper()]
    if len(slices) < len(series.slices):
        notes.append(f"ignored {len(series.slices) - len(slices)} localiser image(s) of {series.label}")
    if not slices:
        return []
    if series.modality == "US" and len(slices) == 1:
        return [series]
    if any(s.position is None or s.axes is None for s in slices):
        if len(series.slices) == 1:
            normal_of(slices[0])
        lacks = "no ImagePositionPatient or ImageOrientationPatient"
        clip = f"{len(slices)} pictures, {lacks}; measure one of them, saved as a picture of its own"
        notes.append(f"ignored {series.label}: {clip if series.modality == 'US' else lacks}")
        return []
    groups: dict[tuple[Any, ...], list[Slice]] = defaultdict(list)
    for item in slices:
        axes = np.round(item.axes, 2) + 0.0  # type: ignore[arg-type]
        groups[(item.shape, tuple(np.ravel(axes)))].append(item)
    if len(groups) > 1:
        sizes = ", ".join(f"{len(g)} of {shape[0]} x {shape[1]}" for (shape, _), g in groups.items())
        raise GeometryError(
            series.slices[0].path.parent,
            f"slices of different shape or orientation in {series.label}: {sizes}",
            "slices of one shape and orientation per series",
        )
    return _phases(replace(series, slices=tuple(slices)), notes)


def _phases(series: Series, notes: list[str]) -> list[Series]:
    """The phases of a series in which every position repeats alike; the series itself where none does.

    Only MR is split; repeated positions of other modalities are duplicates, which `stack` refuses. Raises
    ReadError for positions that repeat unequally often, and for echoes, diffusion weightings, flip angles and
    inversion times.
    """
    heights = np.round(heights_of(series.slices), 2)
    places, counts = np.unique(heights, return_counts=True)
    count = int(counts[0])
    if counts.max() == 1 or len(places) < 2 or series.modality != "MR":
        return [series]
    if len(set(counts.tolist())) > 1:
        low, high = int(counts.min()), int(counts.max())
        raise ReadError(
            series.slices[0].path.parent,
            f"{len(places)} positions with {low} to {high} images each in {series.label}",
            "as many images at every position as there are phases",
        )
    for keyword in _OTHERWISE:
        if len({str(s.get(keyword)) for s in series.slices}) > 1:
            raise ReadError(
                series.slices[0].path.parent,
                f"several {keyword} in {series.label}",
                f"one {keyword} per series",
            )
    keyword, ordered = _phase_order(series, heights, count)
    notes.append(f"{series.label} holds {count} phases of {len(places)} slices, ordered by {keyword}")
    return [replace(series, slices=tuple(part), phase=index) for index, part in enumerate(ordered)]


_OTHERWISE = ("EchoTime", "EffectiveEchoTime", "DiffusionBValue", "FlipAngle", "InversionTime")
"""Attributes that phases of one acquisition have in common; images that differ in one are no phases."""
_ACQUIRED_KEYWORDS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "FrameAcquisitionDateTime",
    "TriggerTime",
    "AcquisitionTime",
)
_CLOCKS = ("AcquisitionTime", "ContentTime")
_DAY = 240000.0
"""A day on a clock that reads HHMMSS."""
_PHASE_KEYWORDS = (*_ACQUIRED_KEYWORDS, "ContentTime")


def _phase_order(series: Series, heights: Any, count: int) -> tuple[str, list[list[Slice]]]:
    """Slices by phase, and what they were ordered by.

    The first of `_PHASE_KEYWORDS` that has one value in each phase and another in every other decides; else
    the first image of each position, by InstanceNumber (by frame in a multi-frame file), is of the first
    phase, the second of the second, and so on. Raises ReadError for images that nothing tells apart, and for
    those of several kinds that no time of acquisition does: water and fat are no phases.
    """
    places = len(series.slices) // count
    kinds = _kinds(series, places)
    for keyword in _ACQUIRED_KEYWORDS if kinds else _PHASE_KEYWORDS:
        values = _moments(series, keyword)
        if None in values:
            continue
        known = sorted({v for v in values if v is not None})
        parts = [[s for s, v in zip(series.slices, values, strict=True) if v == k] for k in known]
        if len(known) == count and all(len(p) == places == _distinct(p) for p in parts):
            return keyword, parts
    if kinds:
        raise ReadError(
            series.slices[0].path.parent,
            f"several ImageType in {series.label}: {kinds}",
            "one ImageType per series",
        )
    ordered: list[list[Slice]] = [[] for _ in range(count)]
    for place in np.unique(heights):
        here = [s for s, h in zip(series.slices, heights, strict=True) if h == place]
        if len({_number(s) for s in here}) < count:
            names = " and ".join(sorted(s.path.name for s in here)[:2])
            raise ReadError(
                here[0].path.parent,
                f"duplicate slices: {names} of {series.label}, alike in InstanceNumber and every time",
                "one slice per position, or phases told apart by time or InstanceNumber",
            )
        for phase, item in enumerate(sorted(here, key=_number)):
            ordered[phase].append(item)
    return "InstanceNumber", ordered


def _kinds(series: Series, places: int) -> str:
    """The kinds of image (ImageType, FrameType) that are there at every position; "" where there is one."""
    parts: dict[str, list[Slice]] = defaultdict(list)
    for item in series.slices:
        words = item.get("FrameType") or item.get("ImageType") or ()
        parts["/".join([words] if isinstance(words, str) else map(str, words))].append(item)
    told = len(parts) > 1 and all(_distinct(part) == places for part in parts.values())
    return " and ".join(sorted(parts)) if told else ""


def _moments(series: Series, keyword: str) -> list[float | None]:
    """The attribute of every slice; clock times without dates that are half a day apart lie at a midnight."""
    values = [_moment(s, keyword) for s in series.slices]
    known = [v for v in values if v is not None]
    latest = max(known, default=0.0)
    if keyword not in _CLOCKS or latest >= _DAY or latest - min(known, default=0.0) <= _DAY / 2:
        return values
    return [v + _DAY if v is not None and latest - v > _DAY / 2 else v for v in values]


def _moment(item: Slice, keyword: str) -> float | None:
    """The attribute as a number that grows with time, over midnight too where its date is stated."""
    value = _as_number(item.get(keyword))
    day = _as_number(item.get(keyword.replace("Time", "Date"))) if keyword in _CLOCKS else None
    return value if value is None or day is None else 1e6 * day + value


def _as_number(value: Any) -> float | None:
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None


def _number(item: Slice) -> tuple[int, int]:
    """What an image without a time is ordered by: its InstanceNumber, then its frame."""
    return int(item.get("InstanceNumber") or 0), item.frame


def _distinct(slices: Sequence[Slice]) -> int:
    return len(np.unique(np.round(heights_of(slices), 2)))


def choose_pet(subject: Path, candidates: list[Series], notes: list[str]) -> Series:
    """The attenuation-corrected one of several PET series; ReadError names those that remain alike."""
    rest = _prefer(
        candidates, [s.has("CorrectedImage", "ATTN") for s in candidates], "not corrected for ATTN", notes
    )
    return _only(subject, _without_derived(_without_single(rest, notes), notes))


def choose_ct(subject: Path, candidates: list[Series], frame: str, notes: list[str]) -> Series:
    """The CT in the PET's frame of reference that reaches farthest; ReadError names equals."""
    same = [not frame or s.header.get("FrameOfReferenceUID") == frame for s in candidates]
    rest = _prefer(candidates, same, "in another frame of reference", notes)
    rest = _without_derived(_without_single(rest, notes), notes)
    if len(rest) > 1:
        extents = [s.extent_mm for s in rest]
        rest = _prefer(rest, [e > max(extents) - 1.0 for e in extents], "of shorter extent", notes)
    return _only(subject, rest)


def keep_original(candidates: list[Series], notes: list[str]) -> list[Series]:
    """Series that are worth a channel each (MR): scouts and derived maps left out where originals exist."""
    return _without_derived(_without_single(candidates, notes), notes)


def _without_single(candidates: list[Series], notes: list[str]) -> list[Series]:
    return _prefer(candidates, [len(s.slices) > 1 for s in candidates], "a single image", notes)


def _without_derived(candidates: list[Series], notes: list[str]) -> list[Series]:
    return _prefer(candidates, [not s.has("ImageType", "DERIVED") for s in candidates], "derived", notes)


def _prefer(candidates: list[Series], keep: list[bool], why: str, notes: list[str]) -> list[Series]:
    """Those to keep, the others noted; all of them when none would remain."""
    if all(keep) or not any(keep):
        return candidates
    notes += [f"ignored {s.label}: {why}" for s, k in zip(candidates, keep, strict=True) if not k]
    return [s for s, k in zip(candidates, keep, strict=True) if k]


def _only(subject: Path, rest: list[Series]) -> Series:
    if len(rest) > 1:
        raise ReadError(
            subject,
            " and ".join(s.label for s in rest),
            f"one {rest[0].modality} series that can be told from the others",
        )
    return rest[0]
