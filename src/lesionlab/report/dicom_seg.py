"""A DICOM segmentation of the lesions: one coded, tracked segment for each, on the source's own grid.

Where the mask has other voxels than the source, the segmentation has a grid of its own in the same frame of
reference; nothing is ever resampled. Reading segmentations back belongs to `read/dicom_masks.py`.
"""

from __future__ import annotations

from typing import Any, Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lesionlab.core.errors import WriteError
from lesionlab.core.results import Findings
from lesionlab.core.volume import Volume
from lesionlab.report.dicom_codes import ABNORMAL, FINDINGS, OWN, REGIONS, colour_of, plain_ascii
from lesionlab.report.dicom_settings import DicomSettings
from lesionlab.report.dicom_source import DicomSource, Uids, merged, stand_ins

TYPES: Final = {"seg": "BINARY", "labelmap": "LABELMAP", "probability": "FRACTIONAL"}
MANUFACTURER: Final = "LesionLab"
MODEL: Final = "lesionlab"
BY_HAND: Final = Code("123109", "DCM", "Manual Processing")


def segmentation(
    findings: Findings, source: DicomSource, settings: DicomSettings, kind: str, uids: Uids
) -> Dataset:
    """The lesions as a SEG: `kind` is seg (BINARY), labelmap or probability (FRACTIONAL, one segment).

    Segment n is lesion n of the table; beyond `MOST_SEPARATE` the smaller ones share one. No lesion gives one
    segment without a voxel. Raises WriteError for a probability that the run has not kept, and a picture
    without frame of reference whose mask has other pixels.
    """
    volume = _voxels(findings, kind)
    described = _segments(findings, source, settings, kind, uids)
    aligned = source.on_grid(volume)
    images = stand_ins(source)
    if aligned is not None:
        pixels: Any = aligned.array
    elif source.frame_of_reference:
        pixels = _own_grid(volume, source)
    else:
        raise WriteError(
            findings.case.id,
            f"a mask on another {volume.geometry.describe()}",
            f"the picture's own {source.geometry.describe()}",
        )
    built = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=TYPES[kind],
        segment_descriptions=described,
        series_instance_uid=uids.series(kind),
        series_number=settings.series_number(kind),
        sop_instance_uid=uids.instance(kind),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=version_of(findings),
        device_serial_number=version_of(findings),
        content_label=_label(kind, settings),
        content_description=plain_ascii(f"{findings.provenance.bundle}: research, not for diagnosis")[:64],
        series_description=settings.series_words(kind),
    )
    built.ContentCreatorName = "" if settings.correction is None else settings.correction.person
    if not source.frame_of_reference:
        built.PatientOrientation = ""
        shared = built.SharedFunctionalGroupsSequence[0]
        if "PixelSpacing" not in source.header and "PixelMeasuresSequence" in shared:
            del shared.PixelMeasuresSequence  # the pixels' size is not known
    if source.multiframe:
        _true_references(built, source)
    return built


def version_of(findings: Findings) -> str:
    """The version of this program that made the findings."""
    return findings.provenance.versions.get("lesionlab", "unknown")


def region_of(source: DicomSource, settings: DicomSettings) -> Code | None:
    """The body region: the chosen one, else what BodyPartExamined says; None where neither is known."""
    stated = str(source.header.get("BodyPartExamined") or "").replace(" ", "").upper()
    return REGIONS.get(settings.region.upper() or stated)


def finding_of(settings: DicomSettings) -> Code:
    """What the lesions are called."""
    return FINDINGS[settings.finding]


def method_of(findings: Findings, settings: DicomSettings | None = None, lesion: int = 0) -> tuple[str, Code]:
    """How the mask came about: AUTOMATIC, SEMIAUTOMATIC or MANUAL, and the family of algorithms.

    With the settings of a correction: how this lesion came about, which nobody may have touched.
    """
    correction = None if settings is None else settings.correction
    known = "" if correction is None else correction.methods.get(lesion, "")
    if known in ("SEMIAUTOMATIC", "MANUAL"):
        return known, BY_HAND
    if not known and any(note.startswith("mask as given in the file") for note in findings.prediction.notes):
        by_hand = findings.provenance.bundle == "mask file"
        kind = "MANUAL" if by_hand else "SEMIAUTOMATIC"
        return kind, BY_HAND
    if findings.provenance.settings.get("method") == "network":
        return "AUTOMATIC", Code("123110", "DCM", "Artificial Intelligence")
    return "AUTOMATIC", Code("threshold", OWN, "Threshold of intensity")


def _label(kind: str, settings: DicomSettings) -> str:
    if kind == "probability":
        return "PROBABILITY"
    return "LESIONS" if settings.correction is None else "CORRECTED"


def _voxels(findings: Findings, kind: str) -> Volume:
    if kind == "probability":
        probability = findings.prediction.probability
        if probability is None:
            raise WriteError(
                findings.case.id,
                "no probability of this method",
                "a network's prediction, kept in the findings",
            )
        return probability.with_array(np.clip(np.nan_to_num(probability.array), 0, 1).astype(np.float32))
    _, labels = merged(findings)
    return findings.lesions.labels.with_array(labels.astype(np.uint8))


def _segments(
    findings: Findings, source: DicomSource, settings: DicomSettings, kind: str, uids: Uids
) -> list[hd.seg.SegmentDescription]:
    named = {number: plain_ascii(name) for number, name in merged(findings)[0].items()}
    if kind == "probability":
        named = {1: "Probability of lesion"}
    elif not named:
        named = {1: "Lesion (none found)"}
    run = findings.provenance
    methods = {number: method_of(findings, settings, number) for number in named}
    algorithms = {
        family: hd.AlgorithmIdentificationSequence(
            name=plain_ascii(run.bundle)[:64] or MODEL,
            family=family,
            version=f"{version_of(findings)} {run.bundle_sha256[:12] or run.recipe_sha256[:12]}".strip(),
            source=MANUFACTURER,
            parameters={"recipe": plain_ascii(run.recipe_name), "recipe_sha256": run.recipe_sha256},
        )
        for family in {family for _, family in methods.values()}
    }
    region = region_of(source, settings)
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=ABNORMAL,
            segmented_property_type=finding_of(settings),
            algorithm_type=methods[number][0],
            algorithm_identification=algorithms[methods[number][1]],
            tracking_uid=uids.lesion(number if kind != "probability" else 0),
            tracking_id=label,
            anatomic_regions=None if region is None else [region],
            display_color=hd.color.CIELabColor.from_rgb(*colour_of(number)),
        )
        for number, label in sorted(named.items())
    ]
    for item in described:
        if item.SegmentAlgorithmType == "MANUAL":
            del item.SegmentAlgorithmName  # PS3.3 C.8.20.2: only for what an algorithm drew
    return described


def _own_grid(volume: Volume, source: DicomSource) -> hd.Volume:
    geometry = volume.geometry
    affine = np.eye(4)
    affine[:3, :3] = geometry.matrix * np.asarray(geometry.spacing)
    affine[:3, 3] = geometry.origin
    return hd.Volume(
        array=np.ascontiguousarray(volume.array),
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=source.frame_of_reference,
    )


def _true_references(built: Dataset, source: DicomSource) -> None:
    """Let each frame refer to the file and frame of the source that it lies on, and not to its place in z."""
    for group in built.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence") or []:
            for image in derivation.SourceImageSequence:
                if "ReferencedFrameNumber" not in image:
                    continue
                plane = source.planes[int(image.ReferencedFrameNumber) - 1]
                image.ReferencedSOPInstanceUID = plane.header.SOPInstanceUID
                image.ReferencedFrameNumber = plane.frame
    for items in (built.SourceImageSequence, built.ReferencedSeriesSequence[0].ReferencedInstanceSequence):
        first = items[0]
        del items[:]
        for header in source.instances:
            item = Dataset()
            item.update(first)
            item.ReferencedSOPInstanceUID = header.SOPInstanceUID
            items.append(item)
