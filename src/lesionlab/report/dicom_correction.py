"""A corrected result beside the one before it: which lesions are the same, and that somebody answers for it.

What is in the objects themselves belongs to the other `dicom_*.py`; who may correct and accept, to `serve/`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lesionlab.core.errors import WriteError
from lesionlab.report.dicom_codes import plain_ascii
from lesionlab.report.dicom_content import coded, person_item, text_item
from lesionlab.report.dicom_settings import Correction
from lesionlab.report.dicom_source import MOST_SEPARATE, derived_uid, speak_one_set, zone_of

OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
PERSON = Code("121006", "DCM", "Person")
PERSON_NAME = Code("121008", "DCM", "Person Observer Name")
ORGANISATION = Code("121009", "DCM", "Person Observer's Organization Name")
OBSERVER = "HAS OBS CONTEXT"
LONGEST_NAME = 64


@dataclass(frozen=True)
class Attestation:
    """Who accepted a result, and when. `person` is a DICOM person name, "" where nobody is named.

    A report counts as verified where both `person` and `organisation` are known: DICOM asks for both.
    """

    person: str
    organisation: str
    time: datetime


def same_lesions(before: NDArray[Any], after: NDArray[Any]) -> dict[int, int]:
    """Lesions that are still the same: number after -> number before, each before and after at most once.

    Both arrays hold lesion numbers on one grid (0 = none). Of all pairs the one with the largest common
    volume comes first: of a lesion that was cut in two, the part with more of it is still that lesion. No
    common voxel gives no pair. Raises WriteError for grids of different size.
    """
    return {new: old for new, old, _ in _pairs(before, after)}


def correction_of(
    before: NDArray[Any], after: NDArray[Any], segments: Dataset | None, person: str
) -> Correction:
    """What a corrected mask keeps of the result before it.

    `before` and `after` hold lesion numbers on one grid; `segments` is the segmentation of `before`, whose
    segment n is lesion n (None where there was none: nothing is known of its lesions). Lesions that keep
    every voxel keep their method; others that overlap an earlier one are SEMIAUTOMATIC, new ones MANUAL.
    """
    items = [] if segments is None else list(segments.SegmentSequence)
    # the last of so many segments may hold all smaller lesions, which have no identity of their own
    known = {int(i.SegmentNumber): i for i in items if int(i.SegmentNumber) <= MOST_SEPARATE}
    tracking: dict[int, str] = {}
    touched = np.unique(after[(after > 0) & (before > 0)])
    methods = dict.fromkeys(np.unique(after[after > 0]).tolist(), "MANUAL")
    methods |= dict.fromkeys(touched.tolist(), "SEMIAUTOMATIC")
    for new, old, unchanged in _pairs(before, after):
        if old in known:
            tracking[new] = str(known[old].TrackingUID)
            if unchanged:
                methods[new] = str(known[old].SegmentAlgorithmType)
    return Correction(person, tracking, methods)


def _pairs(before: NDArray[Any], after: NDArray[Any]) -> list[tuple[int, int, bool]]:
    """New number, old number, whether every voxel is the same."""
    if before.shape != after.shape:
        raise WriteError("corrected mask", f"a grid of {after.shape}", f"the corrected one's {before.shape}")
    old_sizes = np.bincount(before.ravel().astype(np.int64))
    new_sizes = np.bincount(after.ravel().astype(np.int64))
    both = (before > 0) & (after > 0)
    pairs, common = np.unique(np.stack([after[both], before[both]]), axis=1, return_counts=True)
    taken_new: set[int] = set()
    taken_old: set[int] = set()
    found = []
    for position in np.argsort(-common, kind="stable").tolist():
        new, old = (int(number) for number in pairs[:, position])
        if new not in taken_new and old not in taken_old:
            taken_new.add(new)
            taken_old.add(old)
            found.append((new, old, bool(common[position] == old_sizes[old] == new_sizes[new])))
    return found


def person_name(name: str) -> str:
    """A name as every character set of DICOM holds it: accents dropped, one component group, 64 letters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    return plain_ascii(plain).replace("=", " ").replace("\\", " ").strip()[:LONGEST_NAME]


def attested(
    objects: Mapping[str, Dataset], by: Attestation, superseded: Dataset | None
) -> dict[str, Dataset]:
    """The objects as they go out once somebody accepted them; by kind, the given ones are changed.

    The report names its observer and counts as verified where person and organisation are known; it refers
    to the report that it takes the place of (`superseded`, its header). Contours are approved. Both get new
    instance UIDs: what was there before was another document. All else stays as it is.
    """
    for kind, dataset in objects.items():
        if kind == "sr":
            _attest_report(dataset, by, superseded)
        elif kind == "rtstruct":
            _approve_contours(dataset, by)
        else:
            continue
        uid = derived_uid("accepted", str(dataset.SOPInstanceUID), by.person, by.time.isoformat())
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    return dict(objects)


def _attest_report(report: Dataset, by: Attestation, superseded: Dataset | None) -> None:
    if superseded is not None:
        report.PredecessorDocumentsSequence = [_predecessor(superseded)]
    if not by.person:
        return
    speak_one_set(report, by.organisation)
    items = list(report.ContentSequence)
    place = next((n for n, item in enumerate(items) if item.RelationshipType == OBSERVER), 0)
    report.ContentSequence = [*items[:place], *_observer(by), *items[place:]]
    if not by.organisation:
        return
    observer = Dataset()
    observer.VerifyingObserverName = by.person
    observer.VerifyingOrganization = by.organisation[:LONGEST_NAME]
    observer.VerificationDateTime = by.time.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
    observer.VerifyingObserverIdentificationCodeSequence = []
    report.VerifyingObserverSequence = [observer]
    report.VerificationFlag = "VERIFIED"


def _predecessor(report: Dataset) -> Dataset:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = report.SOPClassUID
    instance.ReferencedSOPInstanceUID = report.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = report.SeriesInstanceUID, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = report.StudyInstanceUID, [series]
    return study


def _observer(by: Attestation) -> list[Dataset]:
    """The person observer of TID 1002 and 1003."""
    items = [coded(OBSERVER, OBSERVER_TYPE, PERSON), person_item(OBSERVER, PERSON_NAME, by.person)]
    if by.organisation:
        items.append(text_item(OBSERVER, ORGANISATION, by.organisation))
    return items


def _approve_contours(contours: Dataset, by: Attestation) -> None:
    if not by.person:
        return
    moment = by.time.astimezone(zone_of(contours))
    contours.ApprovalStatus, contours.ReviewerName = "APPROVED", by.person
    contours.ReviewDate, contours.ReviewTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
