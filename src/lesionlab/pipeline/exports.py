"""Findings into the clinic's and the researcher's own tools: DICOM objects, .seg.nrrd, BIDS derivatives.

Finds the source's headers again and keeps the record of what was written; the files themselves belong to
`report/`. The command line and every server write DICOM through `write_dicom`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesionlab.core.case import ChannelFacts
from lesionlab.core.errors import LesionLabError, ReadError, WriteError
from lesionlab.core.files import sha256_of, write_json
from lesionlab.core.results import Findings
from lesionlab.core.volume import Geometry
from lesionlab.read.case import files_below
from lesionlab.read.dicom_facts import slice_facts
from lesionlab.read.dicom_series import Series, scan, volumes_of
from lesionlab.read.dicom_slices import Slice, telling_warnings
from lesionlab.read.dicom_stack import stack
from lesionlab.report.dicom_source import DicomSettings, DicomSource, SourcePlane

DICOM_FOLDER = "dicom"
RECORD = "exports"
"""Under this key run.json lists what was written beside the report."""


@dataclass(frozen=True)
class Exports:
    """What is written beside a report: DICOM objects (`dicom.kinds`), and files for research viewers."""

    dicom: DicomSettings = field(default_factory=lambda: DicomSettings(kinds=()))
    research: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        """False where nothing was asked for."""
        return bool(self.dicom.kinds or self.research)


def write_dicom(
    findings: Findings,
    source: str | Path | None,
    out: str | Path,
    settings: DicomSettings | None = None,
) -> dict[str, Path]:
    """Write findings as DICOM objects (by default seg.dcm and sr.dcm) into a folder; returns files by kind.

    `source` is the folder or file with the DICOM series that results refer to; None takes the files that the
    case was read from. No lesion gives a report that says so and no segmentation. Raises ReadError where no
    DICOM series is found again and WriteError for what cannot be written.
    """
    from lesionlab.report.dicom_files import dicom_objects, write_objects  # tables of codes, slow to load

    settings = settings or DicomSettings()
    found = dicom_source(findings, None if source is None else Path(source))
    return write_objects(dicom_objects(findings, found, settings), Path(out))


def write_exports(findings: Findings, folder: Path, exports: Exports) -> list[Path]:
    """Write what `exports` asks for into the folder of a finished report, and record it in its run.json.

    DICOM goes into dicom/, lesions.seg.nrrd beside the report, BIDS into bids/. An earlier record is
    replaced.
    """
    from lesionlab.report.research import RESEARCH, write_bids, write_segmentation

    unknown = [kind for kind in exports.research if kind not in RESEARCH]
    if unknown:
        raise WriteError("research files", f"the kind {unknown[0]!r}", f"some of {', '.join(RESEARCH)}")
    files: list[Path] = []
    settings = exports.dicom
    if settings.kinds:
        files += write_dicom(findings, None, folder / DICOM_FOLDER, settings).values()
    if "nrrd" in exports.research:
        named = {"finding": settings.finding, "region": settings.region}
        files.append(write_segmentation(findings, folder / "lesions.seg.nrrd", **named))
    if "bids" in exports.research:
        files += write_bids(findings, folder / "bids", subject=settings.pseudonym)
    record = [{"file": str(f.relative_to(folder)), "sha256": sha256_of([f])} for f in files]
    run = folder / "run.json"
    known: dict[str, Any] = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    write_json(run, {**known, RECORD: record})
    return files


def exported(folder: Path) -> list[Path]:
    """The files that an earlier run wrote beside the report in `folder` and that still stand there."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        files = [folder / str(item["file"]) for item in record.get(RECORD, [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [file for file in files if file.is_file()]


def dicom_source(findings: Findings, given: Path | None = None) -> DicomSource:
    """The series behind the reference channel, its headers read again, or one in `given` on the same grid.

    Of several series in `given` the one with the mask's own voxels is taken, else the first. Raises ReadError
    where there is no DICOM series.
    """
    case = findings.case
    facts = case.facts.channels.get(case.reference, ChannelFacts())
    uid = str(facts.header.get("SeriesInstanceUID") or "")
    if given is None and not uid:
        raise ReadError(case.id, "a scan that is not DICOM", "the DICOM series that it came from")
    files = [Path(f) for f in facts.files] if given is None else _files(given)
    gone = [file for file in files if not file.is_file()]
    if gone:
        raise ReadError(case.id, f"its file {gone[0]} gone", "the scan where it was read")
    with telling_warnings([]):
        series = [part for s in scan(files).series for part in volumes_of(s, [])]
        own = [s for s in series if s.uid == uid] or (series if given is not None else [])
        sources = [_source(s, findings) for s in _this_phase(own, facts, case.reference)]
    found = [source for source in sources if source is not None]
    if not found:
        raise ReadError(given or case.id, "no image series", "the DICOM series that the case was read from")
    fitting = [s for s in found if s.on_grid(findings.lesions.labels) is not None]
    return (fitting or found)[0]


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
