"""The chosen DICOM objects of one patient's findings as files that appear together or not at all.

Which objects there are is decided here; what is in them belongs to `dicom_seg.py`, `dicom_sr.py`,
`dicom_rtstruct.py` and `dicom_capture.py`, finding their source to `pipeline/`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from lesionlab.core.errors import WriteError
from lesionlab.core.results import Findings
from lesionlab.core.warned import without_warnings
from lesionlab.report.dicom_codes import FINDINGS, REGIONS
from lesionlab.report.dicom_settings import KINDS, DicomSettings
from lesionlab.report.dicom_source import DicomSource, Uids
from lesionlab.report.folder import filled

NEEDS_LESIONS = ("seg", "labelmap", "probability", "rtstruct")
"""Kinds that are left out where no lesion was found, unless an empty segmentation is asked for."""


def dicom_objects(findings: Findings, source: DicomSource, settings: DicomSettings) -> dict[str, Dataset]:
    """The objects by kind, in the order of `KINDS`.

    A structured report refers to segments, so it brings a segmentation (`seg`) along where none was chosen.
    No lesion gives no segmentation and no contours, unless the settings ask for an empty segmentation.
    Raises WriteError for an unknown kind, finding or region, and for what the objects themselves refuse.
    """
    _check(settings)
    # highdicom takes a third of a second to load, which every other command would pay for.
    from lesionlab.report.dicom_capture import capture
    from lesionlab.report.dicom_deidentify import deidentified
    from lesionlab.report.dicom_rtstruct import structure_set
    from lesionlab.report.dicom_seg import segmentation
    from lesionlab.report.dicom_sr import structured_report

    if settings.pseudonym and settings.correction is not None:
        settings = replace(settings, correction=replace(settings.correction, person=""))
    tracking = None if settings.correction is None else settings.correction.tracking
    uids = Uids(findings, source, tracking)
    made: dict[str, Dataset] = {}
    # What a scanner wrote against the standard is copied as it is, and has been told when it was read.
    with without_warnings():
        for kind in _kinds(findings, settings):
            if kind == "sr":
                seg = made.get("seg", made.get("labelmap"))
                made[kind] = structured_report(findings, source, settings, seg, uids)
            elif kind == "rtstruct":
                made[kind] = structure_set(findings, source, settings, uids)
            elif kind == "sc":
                made[kind] = capture(findings, source, settings, uids)
            else:
                made[kind] = segmentation(findings, source, settings, kind, uids)
        if settings.pseudonym:
            secret = secrets.token_hex(16)
            how: dict[str, Any] = {"secret": secret, "keep_uids": settings.keep_uids}
            made = {kind: deidentified(item, settings.pseudonym, **how) for kind, item in made.items()}
    return made


def write_objects(objects: Mapping[str, Dataset], folder: Path) -> dict[str, Path]:
    """Write the objects as KIND.dcm into a folder, all or none; returns the files by kind.

    Files that an earlier call left there for kinds that are no more (a mask without lesions has no
    segmentation) are removed. Raises WriteError for a place that cannot be written.
    """
    with filled(folder) as inside, without_warnings():
        for kind, dataset in objects.items():
            dataset.save_as(inside / f"{kind}.dcm", enforce_file_format=True)
    for kind in KINDS:
        if kind not in objects:
            (folder / f"{kind}.dcm").unlink(missing_ok=True)
    return {kind: folder / f"{kind}.dcm" for kind in objects}


def _check(settings: DicomSettings) -> None:
    unknown = [kind for kind in settings.kinds if kind not in KINDS]
    if unknown:
        raise WriteError("DICOM results", f"the kind {unknown[0]!r}", f"some of {', '.join(KINDS)}")
    if settings.finding not in FINDINGS:
        raise WriteError(
            "DICOM results", f"the finding {settings.finding!r}", f"one of {', '.join(FINDINGS)}"
        )
    if settings.region and settings.region.upper() not in REGIONS:
        raise WriteError("DICOM results", f"the region {settings.region!r}", f"one of {', '.join(REGIONS)}")


def _kinds(findings: Findings, settings: DicomSettings) -> list[str]:
    wanted = set(settings.kinds)
    if "sr" in wanted and not wanted & {"seg", "labelmap"}:
        wanted.add("seg")
    if not findings.lesions.rows:
        wanted -= {k for k in NEEDS_LESIONS if k == "rtstruct" or not settings.empty_segmentation}
    return [kind for kind in KINDS if kind in wanted]
