"""What of a DICOM header a case keeps: plain values by keyword, nothing that names a person.

A literal list: an attribute that is not here is not kept. Interpreting the values belongs to
`standardise/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import IS, DSdecimal, DSfloat

from lesionlab.core.private_tags import PHILIPS_SUV_FACTOR, PRIVATE_TAGS, VENDORS, WITHOUT_CREATOR
from lesionlab.read.dicom_slices import Slice

_SERIES = """
    Modality SOPClassUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID StudyDescription
    SeriesDescription SeriesNumber ImageType Manufacturer ManufacturerModelName SoftwareVersions
    BodyPartExamined PatientPosition PatientSex PatientAge PatientWeight PatientSize
    StudyDate StudyTime SeriesDate SeriesTime AcquisitionDate AcquisitionTime AcquisitionDateTime
    TimezoneOffsetFromUTC
    Units SUVType DecayCorrection DecayCorrectionDateTime CorrectedImage CountsSource SeriesType
    AttenuationCorrectionMethod ScatterCorrectionMethod RandomsCorrectionMethod ReconstructionMethod
    DoseCalibrationFactor NumberOfSlices NumberOfTimeSlices
    RescaleType KVP ConvolutionKernel SliceThickness SpacingBetweenSlices PixelSpacing
    MagneticFieldStrength ScanningSequence SequenceName EchoTime RepetitionTime FlipAngle ContrastBolusAgent
    ContrastBolusStartTime
    TransducerData LossyImageCompression LossyImageCompressionRatio
    ProtocolName DateOfLastCalibration ContrastBolusRoute ContrastBolusVolume
    RespiratoryMotionCompensationTechnique ReconstructionAlgorithm NumberOfIterations NumberOfSubsets
    TimeOfFlightInformationUsed SequenceVariant ScanOptions MRAcquisitionType EchoTrainLength InversionTime
    NumberOfAverages GeometryOfKSpaceTraversal ReceiveCoilName DiffusionBValue
    """
SERIES_KEYWORDS = tuple(_SERIES.split())
_SLICE = """
    SOPInstanceUID InstanceNumber ImagePositionPatient AcquisitionDate AcquisitionTime AcquisitionDateTime
    FrameAcquisitionDateTime FrameReferenceDateTime FrameAcquisitionDuration
    ContentDate ContentTime ActualFrameDuration FrameReferenceTime DecayFactor RescaleSlope RescaleIntercept
    TriggerTime AcquisitionDuration TemporalPositionIdentifier TemporalPositionIndex AcquisitionNumber
    XRayTubeCurrent Exposure
    """
SLICE_KEYWORDS = tuple(_SLICE.split())
_TRACER = """
    Radiopharmaceutical RadiopharmaceuticalStartTime RadiopharmaceuticalStartDateTime
    RadiopharmaceuticalStopTime RadiopharmaceuticalStopDateTime RadionuclideTotalDose RadionuclideHalfLife
    RadionuclidePositronFraction RadiopharmaceuticalVolume RadiopharmaceuticalRoute
    """
TRACER_KEYWORDS = tuple(_TRACER.split())


def series_facts(item: Slice) -> dict[str, Any]:
    """Series-wide attributes: listed keywords, the tracer's (flattened) and the private ones of SUV rules.

    `item` is the first slice; an enhanced file's functional groups are searched as well as its header.
    """
    facts = _present(item, SERIES_KEYWORDS)
    tracers = item.get("RadiopharmaceuticalInformationSequence") or []
    if len(tracers) > 0:
        facts |= _present(tracers[0], TRACER_KEYWORDS)
        facts["RadiopharmaceuticalInformationSequence"] = float(len(tracers))
        codes = tracers[0].get("RadionuclideCodeSequence") or []
        if len(codes) > 0:
            facts["RadionuclideCode"] = str(codes[0].get("CodeValue", ""))
            facts["RadionuclideCodeMeaning"] = str(codes[0].get("CodeMeaning", ""))
    private, unclaimed = private_facts(item.header)
    facts |= private
    if unclaimed:
        facts[WITHOUT_CREATOR] = unclaimed
    return facts


def slice_facts(item: Slice) -> Mapping[str, Any]:
    """Attributes that may differ by slice; a PET's private ones are among them."""
    facts = _present(item, SLICE_KEYWORDS)
    if str(item.header.get("Modality") or "") == "PT":
        facts |= private_facts(item.header)[0]
    return facts


def private_facts(header: Dataset) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The private attributes of `PRIVATE_TAGS`, and the names of those found without their creator.

    Tools that edit files lose creators. Then the usual place is believed when no creator has reserved it and
    the manufacturer is the vendor (or, for Philips' group, Units is CNTS, which it alone explains).
    """
    facts: dict[str, Any] = {}
    unclaimed: list[str] = []
    for name, (creator, group, offset) in PRIVATE_TAGS.items():
        try:
            element = header.private_block(group, creator)[offset]
        except KeyError:
            tag = (group, 0x1000 + offset)
            if tag not in header or (group, 0x0010) in header or not _vendor_of(header, group):
                continue
            element = header[tag]
            unclaimed.append(name)
        value = element.value
        if value not in (None, "", b""):
            facts[name] = plain(
                value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else value
            )
    return facts, tuple(name for name in unclaimed if name in facts)


def _vendor_of(header: Dataset, group: int) -> bool:
    maker = str(header.get("Manufacturer") or "").strip().upper()
    counts = group == PRIVATE_TAGS[PHILIPS_SUV_FACTOR][1] and str(header.get("Units") or "") == "CNTS"
    return maker.startswith(VENDORS[group]) or counts


def plain(value: Any) -> Any:
    """Numbers as float, several values as a tuple, everything else as text."""
    if isinstance(value, MultiValue | list | tuple):
        return tuple(plain(v) for v in value)
    if isinstance(value, int | float | IS | DSfloat | DSdecimal):
        return float(value)
    return str(value)


def _present(dataset: Dataset | Slice, keywords: Sequence[str]) -> dict[str, Any]:
    values = ((keyword, dataset.get(keyword)) for keyword in keywords)
    return {keyword: plain(value) for keyword, value in values if value not in (None, "")}
