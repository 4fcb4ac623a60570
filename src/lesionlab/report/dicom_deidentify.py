"""De-identification of the objects that we write ourselves, after DICOM PS3.15 annex E, basic profile.

A closed list: text that is not known to be ours goes, whatever its attribute. It serves our results only;
scans of a scanner hold far more (private attributes, overlays, faces) and are none of its business.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code

from lesionlab.report.dicom_source import derived_uid, speak_one_set


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLASS_UIDS: Final = _words(
    """SOPClassUID ReferencedSOPClassUID MediaStorageSOPClassUID TransferSyntaxUID ImplementationClassUID
    CodingSchemeUID ContextUID MappingResourceUID ContextGroupExtensionCreatorUID
    RelatedGeneralSOPClassUID"""
)
"""UIDs that name a kind of thing, never a thing."""
OUR_TEXT: Final = _words(
    """CodeValue LongCodeValue CodeMeaning CodingSchemeDesignator CodingSchemeVersion CodingSchemeName
    CodingSchemeResponsibleOrganization Manufacturer ManufacturerModelName SoftwareVersions
    DeviceSerialNumber SegmentAlgorithmName SegmentLabel SegmentDescription TrackingID TextValue
    ContentDescription
    SeriesDescription AlgorithmName AlgorithmVersion AlgorithmSource AlgorithmParameters
    DimensionDescriptionLabel StructureSetLabel StructureSetName ROIName SpecificCharacterSet"""
)
"""Text that `dicom_seg.py`, `dicom_sr.py`, `dicom_rtstruct.py` and `dicom_capture.py` write from tables."""
EMPTIED: Final = _words(
    """PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName
    PositionReferenceIndicator ContentCreatorName StructureSetDate StructureSetTime ROIInterpreter
    OperatorsName PatientOrientation"""
)
"""Required attributes (type 2) that may be empty."""
DUMMIES: Final = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
REQUIRED_TIMES: Final = frozenset(("ContentDate", "ContentTime", "DateTime", "Date", "Time"))
REMOVED_SEQUENCES: Final = _words(
    """ContributingEquipmentSequence OtherPatientIDsSequence IssuerOfAccessionNumberSequence
    IssuerOfPatientIDQualifiersSequence VerifyingObserverSequence AuthorObserverSequence
    ReferencedRequestSequence"""
)
REMOVED_NUMBERS: Final = frozenset(("PatientWeight", "PatientSize", "PregnancyStatus"))
TEXT: Final = frozenset(("AE", "AS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"))
BYTES: Final = frozenset(("PixelData", "ICCProfile"))
METHODS: Final = (
    Code("113100", "DCM", "Basic Application Confidentiality Profile"),
    Code("113104", "DCM", "Clean Structured Content Option"),
    Code("113105", "DCM", "Clean Descriptors Option"),
)
KEPT_UIDS: Final = Code("113110", "DCM", "Retain UIDs Option")


def deidentified(dataset: Dataset, pseudonym: str, *, secret: str, keep_uids: bool = False) -> Dataset:
    """One of our objects without whatever tells who the patient is; the given one stays as it is.

    `pseudonym` becomes PatientName and PatientID. UIDs of things become others that depend on `secret`
    alone, so that objects of one secret still refer to one another, unless `keep_uids`. The methods are
    stated in the object, as the profile asks.
    """
    cleaned = _cleaned(dataset, secret, keep_uids)
    speak_one_set(cleaned, pseudonym)
    cleaned.PatientName = cleaned.PatientID = pseudonym
    cleaned.PatientIdentityRemoved = "YES"
    cleaned.DeidentificationMethod = "LesionLab, results only: PS3.15 basic profile"
    codes = (*METHODS, KEPT_UIDS) if keep_uids else METHODS
    cleaned.DeidentificationMethodCodeSequence = [_item(code) for code in codes]
    cleaned.LongitudinalTemporalInformationModified = "REMOVED"
    if hasattr(dataset, "file_meta"):
        cleaned.file_meta = FileMetaDataset()
        cleaned.file_meta.update(dataset.file_meta)
        cleaned.file_meta.MediaStorageSOPInstanceUID = cleaned.SOPInstanceUID
    return cleaned


def _cleaned(dataset: Dataset, secret: str, keep_uids: bool) -> Dataset:
    cleaned = Dataset()
    for element in dataset:
        keyword, value = element.keyword, element.value
        if element.tag.is_private or keyword in REMOVED_SEQUENCES or keyword in REMOVED_NUMBERS:
            continue
        if keyword in EMPTIED:
            value = ""
        elif element.VR == "SQ":
            value = [_cleaned(item, secret, keep_uids) for item in value]
        elif element.VR == "UI":
            if keyword not in CLASS_UIDS and not keep_uids:
                value = _other_uids(value, secret)
        elif element.VR in DUMMIES:
            if keyword not in REQUIRED_TIMES:
                continue
            value = DUMMIES[element.VR]
        elif _tells(element):
            continue
        cleaned.add_new(element.tag, element.VR, value)
    return cleaned


def _tells(element: DataElement) -> bool:
    """Whether an element may hold a name, an address, a remark: any text or bytes that is not ours."""
    known = OUR_TEXT | BYTES
    return element.keyword not in known and (element.VR in TEXT or element.VR.startswith("O"))


def _other_uids(value: object, secret: str) -> str | list[str]:
    if isinstance(value, MultiValue | list):
        return [derived_uid(secret, str(uid)) for uid in value]
    return derived_uid(secret, str(value)) if value else ""


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
