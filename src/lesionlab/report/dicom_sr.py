"""The lesion table as a DICOM structured report: TID 1500, a TID 1411 group for each lesion, patient totals.

Every number carries its concept, UCUM unit, derivation and method as `dicom_codes.py` has them; nothing is
computed here. No lesion gives a report that says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lesionlab.core.results import Column, Findings
from lesionlab.report import dicom_codes as coded
from lesionlab.report.dicom_seg import (
    MANUFACTURER,
    MODEL,
    finding_of,
    method_of,
    region_of,
    version_of,
)
from lesionlab.report.dicom_settings import DicomSettings
from lesionlab.report.dicom_source import (
    MOST_SEPARATE,
    DicomSource,
    Uids,
    derived_uid,
    references,
)
from lesionlab.report.dicom_uptake import image_library
from lesionlab.report.tables import LESION, all_notes, lesion_names, lesion_number

NOT_REPORTED: Final = (LESION, "label")
"""Columns that number rows and measure nothing."""
PURPOSE: Final = "Research software, not a medical device: no diagnosis or treatment may rest on this report."
IMAGING_PROCEDURE: Final = Code("363679005", "SCT", "Imaging procedure")


def structured_report(
    findings: Findings, source: DicomSource, settings: DicomSettings, seg: Dataset | None, uids: Uids
) -> Dataset:
    """The report as a Comprehensive 3D SR whose lesion groups refer to the segments of `seg`.

    Values that could not be computed (NaN) are left out and named in a remark of their group: a number
    without value is legal, but common readers stumble over it.
    `seg` is None only where there is no lesion. De-identified reports carry no free text of the run.
    """
    table = findings.lesions
    lesions = [
        _lesion(findings, (lesion_number(row, i), row), source, settings, (seg, uids))
        for i, row in enumerate(table.rows[: _reported(findings)] if seg is not None else ())
        if seg is not None
    ]
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", MODEL, version_of(findings)),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL,
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=IMAGING_PROCEDURE,
        imaging_measurements=[_totals(findings, settings, uids)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    built = sr.Comprehensive3DSR(
        evidence=[*references(source), *([] if seg is None else [seg])],
        content=report,
        series_instance_uid=uids.series("sr"),
        series_number=settings.series_number("sr"),
        sop_instance_uid=uids.instance("sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=version_of(findings),
        is_complete=True,
        series_description=settings.series_words("measurements"),
        coding_schemes=[
            CodingSchemeIdentificationItem(coded.OWN, name="LesionLab", responsible_organization=MANUFACTURER)
        ],
    )
    [measured] = (i for i in built.ContentSequence if i.name == codes.DCM.ImagingMeasurements)
    # put in afterwards: the constructor copies and searches its whole content several times over
    for group in lesions:
        measured.ContentSequence.extend(group)
    library = image_library(findings.case, source, private=not settings.pseudonym)
    if library is not None:
        items = list(built.ContentSequence)
        place = items.index(measured)
        built.ContentSequence = [*items[:place], library, *items[place:]]
    return built


def _reported(findings: Findings) -> int:
    """How many lesions have a group of their own: those that have a segment of their own."""
    count = len(findings.lesions.rows)
    return count if count <= MOST_SEPARATE + 1 else MOST_SEPARATE


def _lesion(
    findings: Findings,
    lesion: tuple[int, Mapping[str, float]],
    source: DicomSource,
    settings: DicomSettings,
    named: tuple[Dataset, Uids],
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """The TID 1411 group of one lesion; `named` is the segmentation and the UIDs."""
    (number, row), (seg, uids) = lesion, named
    region = region_of(source, settings)
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=uids.lesion(number), identifier=coded.plain_ascii(lesion_names(findings.lesions)[number])
        ),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(source.series_uid),
        ),
        finding_category=coded.ABNORMAL,
        finding_type=finding_of(settings),
        finding_sites=None if region is None else [sr.FindingSite(region)],
        algorithm_id=_algorithm(findings, method_of(findings, settings, number)[0]),
        measurements=_measurements(findings.lesions.columns, row),
    )
    _say(group, _not_computed(findings.lesions.columns, row))
    return group


def _totals(
    findings: Findings, settings: DicomSettings, uids: Uids
) -> sr.MeasurementsAndQualitativeEvaluations:
    """The TID 1501 group of the patient: was any lesion found, totals, how SUV came about, notes."""
    table = findings.lesions
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uids.lesion(0), identifier="Patient totals"),
        finding_type=finding_of(settings),
        algorithm_id=_algorithm(findings, method_of(findings)[0]),
        measurements=_measurements(table.total_columns, table.totals, total=True),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(coded.LESION_FOUND, coded.YES if table.rows else coded.NO)
        ],
    )
    texts = _texts(findings, private=not settings.pseudonym)
    _say(group, [*texts, *_not_computed(table.total_columns, table.totals)])
    return group


def _texts(findings: Findings, *, private: bool) -> Iterable[str]:
    """What numbers cannot say; notes and the SUV audit hold file names and clock times, hence `private`."""
    count = len(findings.lesions.rows)
    found = "No lesion found." if count == 0 else f"{count} lesion{'' if count == 1 else 's'} found."
    rest = count - _reported(findings)
    if rest:
        found += f" The {count - rest} largest have a group each; {rest} smaller ones share a segment."
        found += " All are in the totals."
    yield f"{found} {PURPOSE}"
    if not private:
        return
    for name, facts in findings.case.facts.channels.items():
        if facts.suv is not None:
            yield coded.plain_ascii(f"SUV of channel {name}: {' '.join(facts.suv.notes)}")
    told = [note for note in all_notes(findings) if not note.startswith("SUVbw")]
    if told:
        yield coded.plain_ascii("Notes of the run: " + "; ".join(told))


def _algorithm(findings: Findings, method: str) -> sr.AlgorithmIdentification:
    run = findings.provenance
    return sr.AlgorithmIdentification(
        name=coded.plain_ascii(run.bundle) or MODEL,
        version=version_of(findings),
        parameters=[
            f"recipe {coded.plain_ascii(run.recipe_name)} sha256 {run.recipe_sha256}",
            f"model sha256 {run.bundle_sha256}",
            f"segmentation {method.lower()}",
        ],
    )


def _measurements(
    columns: Sequence[Column], row: Mapping[str, float], *, total: bool = False
) -> list[sr.Measurement]:
    return [
        _measurement(column, float(row[column.name]), total)
        for column in columns
        if column.name not in NOT_REPORTED and _known(row, column)
    ]


def _measurement(column: Column, value: float, total: bool) -> sr.Measurement:
    kind = coded.quantity(column, total=total)
    return sr.Measurement(
        name=kind.name,
        value=value,
        unit=coded.unit(column),
        derivation=kind.derivation,
        method=kind.method,
    )


def _not_computed(columns: Sequence[Column], row: Mapping[str, float]) -> list[str]:
    names = [c.name for c in columns if c.name not in NOT_REPORTED and not _known(row, c)]
    return [f"Not computed: {', '.join(names)}"] if names else []


def _known(row: Mapping[str, float], column: Column) -> bool:
    return math.isfinite(row.get(column.name, math.nan))


def _say(group: Sequence[Dataset], texts: Iterable[str]) -> None:
    """Add remarks to a measurement group."""
    for text in texts:
        group[0].ContentSequence.append(
            sr.TextContentItem(
                name=coded.COMMENT, value=text, relationship_type=sr.RelationshipTypeValues.CONTAINS
            )
        )
