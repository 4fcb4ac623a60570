"""Single content items of a structured report as plain datasets, for what is put into a finished report.

Which items there are belongs to `dicom_correction.py` and `dicom_uptake.py`; whole reports to `dicom_sr.py`.
"""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lesionlab.report.dicom_source import decimal


def content(relationship: str, value_type: str, concept: Code) -> Dataset:
    """An item without its value."""
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, value_type
    item.ConceptNameCodeSequence = [code_item(concept)]
    return item


def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def coded(relationship: str, concept: Code, value: Code) -> Dataset:
    """A CODE item."""
    item = content(relationship, "CODE", concept)
    item.ConceptCodeSequence = [code_item(value)]
    return item


def number_item(relationship: str, concept: Code, value: float, unit: Code) -> Dataset:
    """A NUM item."""
    item, measured = content(relationship, "NUM", concept), Dataset()
    measured.MeasurementUnitsCodeSequence = [code_item(unit)]
    measured.NumericValue, measured.FloatingPointValue = decimal(value), value
    item.MeasuredValueSequence = [measured]
    return item


def moment_item(relationship: str, concept: Code, when: datetime) -> Dataset:
    """A DATETIME item, to the second, in the time zone of the report."""
    item = content(relationship, "DATETIME", concept)
    item.DateTime = when.strftime("%Y%m%d%H%M%S")
    return item


def text_item(relationship: str, concept: Code, text: str) -> Dataset:
    """A TEXT item."""
    item = content(relationship, "TEXT", concept)
    item.TextValue = text
    return item


def person_item(relationship: str, concept: Code, name: str) -> Dataset:
    """A PNAME item."""
    item = content(relationship, "PNAME", concept)
    item.PersonName = name
    return item


def container(relationship: str, concept: Code, items: list[Dataset]) -> Dataset:
    """A CONTAINER of separate items."""
    item = content(relationship, "CONTAINER", concept)
    item.ContinuityOfContent = "SEPARATE"
    item.ContentSequence = items
    return item


def image_item(relationship: str, header: Dataset) -> Dataset:
    """An IMAGE item without a name, as TID 1601 has it."""
    item, reference = Dataset(), Dataset()
    item.RelationshipType, item.ValueType = relationship, "IMAGE"
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    item.ReferencedSOPSequence = [reference]
    return item
