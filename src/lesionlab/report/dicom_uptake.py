"""What SUV was computed from, coded, as an image library of the report (PS3.16 TID 1600).

The quantities come from the audit of the conversion; rules, candidates and warnings have no codes and stay
text, in `dicom_sr.py`. Concepts are those of TID 10022; the code of the weight is our own.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lesionlab.core.case import Case
from lesionlab.core.suv import SuvAudit
from lesionlab.report.dicom_codes import own
from lesionlab.report.dicom_content import coded, container, image_item, moment_item, number_item
from lesionlab.report.dicom_source import DicomSource

CONTEXT: Final = "HAS ACQ CONTEXT"
LIBRARY: Final = Code("111028", "DCM", "Image Library")
GROUP: Final = Code("126200", "DCM", "Image Library Group")
MODALITY: Final = Code("121139", "DCM", "Modality")
PET: Final = Code("PT", "DCM", "Positron emission tomography")
RADIONUCLIDE: Final = Code("89457008", "SCT", "Radionuclide")
AGENT: Final = Code("349358000", "SCT", "Radiopharmaceutical agent")
ADMINISTERED: Final = Code("123003", "DCM", "Radiopharmaceutical Start DateTime")
MEGABECQUEREL: Final = Code("MBq", "UCUM", "MBq")
SECONDS: Final = Code("s", "UCUM", "seconds")
KILOGRAMS: Final = Code("kg", "UCUM", "kilogram")
QUANTITIES: Final = {
    "activity_bq": (Code("113507", "DCM", "Administered activity"), MEGABECQUEREL, 1e-6),
    "half_life_s": (Code("304283002", "SCT", "Radionuclide Half Life"), SECONDS, 1.0),
    "uptake_s": (Code("126203", "DCM", "PET Radionuclide Incubation Time"), SECONDS, 1.0),
    "weight_kg": (own("patient-weight", "Patient weight that SUVbw was computed with"), KILOGRAMS, 1.0),
}
"""Of each quantity of an audit its concept, its unit, and what it is multiplied with to be in it."""
CODES: Final = (("RadionuclideCodeSequence", RADIONUCLIDE), ("RadiopharmaceuticalCodeSequence", AGENT))
PRIVATE: Final = ("weight_kg",)
"""What de-identified reports leave out, beside moments."""


def image_library(case: Case, source: DicomSource, *, private: bool = True) -> Dataset | None:
    """The library of the images that SUV was computed from; None where it was not computed from a header.

    `private` is False for de-identified reports: no moment, no weight. A quantity that the rule did not
    need is absent.
    """
    facts = case.facts.channels.get(case.reference)
    audit = None if facts is None else facts.suv
    if audit is None or not audit.quantities or str(source.header.get("Modality", "")) != "PT":
        return None
    items = [coded(CONTEXT, MODALITY, PET), *_tracer(source), *_quantities(audit, private=private)]
    if private and audit.administered is not None:
        items.append(moment_item(CONTEXT, ADMINISTERED, audit.administered))
    items += [image_item("CONTAINS", header) for header in source.instances]
    return container("CONTAINS", LIBRARY, [container("CONTAINS", GROUP, items)])


def _quantities(audit: SuvAudit, *, private: bool) -> list[Dataset]:
    return [
        number_item(CONTEXT, concept, factor * audit.quantities[name], unit)
        for name, (concept, unit, factor) in QUANTITIES.items()
        if name in audit.quantities and (private or name not in PRIVATE)
    ]


def _tracer(source: DicomSource) -> list[Dataset]:
    """Nuclide and agent as the scan codes them."""
    found = []
    for tracer in (source.header.get("RadiopharmaceuticalInformationSequence") or [])[:1]:
        for keyword, concept in CODES:
            for stated in (tracer.get(keyword) or [])[:1]:
                value, scheme = (
                    str(stated.get("CodeValue", "")),
                    str(stated.get("CodingSchemeDesignator", "")),
                )
                if value and scheme:
                    code = Code(value, scheme, str(stated.get("CodeMeaning", "")) or value)
                    found.append(coded(CONTEXT, concept, code))
    return found
