"""The DICOM series behind findings, its headers read again, for the objects that refer to it.

Writing the objects belongs to `exports.py` and `report/`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lesionlab.core.case import ChannelFacts
from lesionlab.core.errors import LesionLabError, ReadError
from lesionlab.core.results import Findings
from lesionlab.core.volume import Geometry
from lesionlab.read.dicom_facts import slice_facts
from lesionlab.read.dicom_series import Series, scan, volumes_of
from lesionlab.read.dicom_slices import Slice, telling_warnings
from lesionlab.read.dicom_stack import stack
from lesionlab.read.folders import files_below
from lesionlab.report.dicom_source import DicomSource, SourcePlane


def dicom_source(findings: Findings, given: Path | None = None) -> DicomSource:
    """The series behind the reference channel, its headers read again, or one in `given` on the same grid.

    Of several series in `given` the one with the mask's own voxels is taken, else the first. Raises ReadError
    where there is no DICOM series.
    """
    case = findings.case
    facts = case.facts.channels.get(case.reference, ChannelFacts())
    uid = str(facts.header.get("SeriesInstanceUID") or "")
    files = own_files(findings) if given is None else _files(given)
    with telling_warnings([]):
        series = [part for s in scan(files).series for part in volumes_of(s, [])]
        own = [s for s in series if s.uid == uid] or (series if given is not None else [])
        sources = [_source(s, findings) for s in _this_phase(own, facts, case.reference)]
    found = [source for source in sources if source is not None]
    if not found:
        raise ReadError(given or case.id, "no image series", "the DICOM series that the case was read from")
    fitting = [s for s in found if s.on_grid(findings.lesions.labels) is not None]
    return (fitting or found)[0]


def own_files(findings: Findings) -> list[Path]:
    """The DICOM files that the reference channel was read from.

    Raises ReadError where it was not read from DICOM, and for a file that is gone; none is opened.
    """
    case = findings.case
    facts = case.facts.channels.get(case.reference, ChannelFacts())
    if not facts.header.get("SeriesInstanceUID"):
        raise ReadError(case.id, "a scan that is not DICOM", "the DICOM series that it came from")
    files = [Path(file) for file in facts.files]
    gone = [file for file in files if not file.is_file()]
    if gone:
        raise ReadError(case.id, f"its file {gone[0]} gone", "the scan where it was read")
    return files


def _files(given: Path) -> list[Path]:
    if not given.exists():
        raise ReadError(given, "no such file or folder", "the DICOM series of the scan")
    return files_below(given) if given.is_dir() else [given]


def _this_phase(series: Sequence[Series], facts: ChannelFacts, channel: str) -> list[Series]:
    """Of the phases of one series the one that the channel was read from.

    By what its first slice says; a multi-frame file may say the same of all its frames, then by the
    channel's name (pre, post1, ...).
    """
    if len(series) < 2 or not facts.slices:
        return list(series)
    first = dict(facts.slices[0])
    same = [s for s in series if any(dict(slice_facts(item)) == first for item in s.slices)] or list(series)
    named = re.search(r"(pre|post(\d+))$", channel)
    phase = int(named[2] or 0) if named else None
    return [s for s in same if s.phase == phase] or same


def _source(series: Series, findings: Findings) -> DicomSource | None:
    """The series as a source, None where its slices make no volume."""
    if series.modality == "US" and series.slices[0].position is None:
        item = series.slices[0]
        given = findings.case.geometry
        shape = (1, *item.shape)
        return DicomSource((_plane(item),), given if given.shape == shape else Geometry(shape, given.spacing))
    try:
        ordered, geometry, _ = stack(series.slices[0].path, series.slices)
    except LesionLabError:
        return None
    return DicomSource(tuple(_plane(item) for item in ordered), geometry)


def _plane(item: Slice) -> SourcePlane:
    position = None if item.position is None else tuple(float(v) for v in item.position)
    many = bool(item.groups) or int(item.header.get("NumberOfFrames") or 1) > 1
    return SourcePlane(item.header, item.frame + 1 if many else None, position)  # type: ignore[arg-type]
