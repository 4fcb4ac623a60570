"""Findings into the clinic's and the researcher's own tools: DICOM objects, .seg.nrrd, BIDS derivatives.

Keeps the record of what was written; the files themselves belong to `report/`, the source's headers to
`dicom_sources.py`. The command line and every server write DICOM through `write_dicom`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesionlab.core.errors import WriteError
from lesionlab.core.files import sha256_of, write_json
from lesionlab.core.results import Findings
from lesionlab.report.dicom_settings import DicomSettings

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
    from lesionlab.pipeline.dicom_sources import dicom_source  # pydicom and tables of codes, slow to load
    from lesionlab.report.dicom_files import dicom_objects, write_objects

    settings = settings or DicomSettings()
    found = dicom_source(findings, None if source is None else Path(source))
    return write_objects(dicom_objects(findings, found, settings), Path(out))


def require_exportable(findings: Findings, exports: Exports) -> None:
    """Raise for findings that cannot become what is asked for; nothing is written, and no file read again.

    ReadError where the scan is no DICOM or its files are gone, WriteError where a method without
    probabilities is to give them.
    """
    if not exports.dicom.kinds:
        return
    from lesionlab.pipeline.dicom_sources import own_files

    own_files(findings)
    if "probability" in exports.dicom.kinds and findings.prediction.probability is None:
        raise WriteError(
            findings.case.id, "no probability of this method", "a network's, for --dicom probability"
        )


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


def exported_of_all(folder: Path) -> list[Path]:
    """The files that an earlier run over many patients wrote beside their reports below `folder`."""
    return [file for record in sorted(folder.glob("*/run.json")) for file in exported(record.parent)]
