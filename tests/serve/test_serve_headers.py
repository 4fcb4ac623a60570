"""Values at the beginning of a data set, against pydicom's reading of the whole."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from lesionlab.serve import headers
from lesionlab.serve.arrivals import facts_of
from lesionlab.serve.headers import HEAD_BYTES, data_values, file_values
from lesionlab.serve.store import Store

TAGS = {0x00080060: "Modality", 0x0008103E: "SeriesDescription", 0x0020000D: "StudyInstanceUID"}
UNBOUNDED = b"\x08\0\5\0SQ\0\0\xff\xff\xff\xff" + b"junk" * 8
"""A sequence without a length that holds no items."""


def written(source: Path, syntax: str, **changes: object) -> bytes:
    dataset = pydicom.dcmread(source)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    if syntax != dataset.file_meta.TransferSyntaxUID:
        del dataset.PixelData
        dataset.file_meta.TransferSyntaxUID = syntax
    out = BytesIO()
    encoding = {
        "implicit_vr": syntax == ImplicitVRLittleEndian,
        "little_endian": syntax != ExplicitVRBigEndian,
    }
    # elements that were never decoded could not be written in another byte order
    list(dataset.iterall())
    dcmwrite(out, dataset, force_encoding=True, **encoding)
    return out.getvalue()


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_values_are_those_of_pydicom(pet_study: Path, syntax: str) -> None:
    source = sorted(pet_study.iterdir())[0]
    content = written(source, syntax, SeriesDescription="WB odd")
    expected = pydicom.dcmread(source)
    values = file_values(content, TAGS)
    assert values[0x0020000D] == expected.StudyInstanceUID
    assert (values[0x00080060], values[0x0008103E]) == ("PT", "WB odd")


def test_only_what_is_not_plain_is_decoded(pet_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, decoded = sorted(pet_study.iterdir())[0], []
    real = headers._decoded
    monkeypatch.setattr(headers, "_decoded", lambda *given: decoded.append(1) or real(*given))
    assert file_values(source.read_bytes(), TAGS)[0x00080060] == "PT"
    assert file_values(source.read_bytes()[:2000], TAGS)[0x00080060] == "PT", "the beginning is enough"
    assert not decoded
    text = {"SpecificCharacterSet": "ISO_IR 192", "SeriesDescription": "Ganzkörper"}
    assert file_values(written(source, ExplicitVRLittleEndian, **text), TAGS)[0x0008103E] == "Ganzkörper"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    nested = pydicom.dcmread(source)
    nested.ReferencedStudySequence = [item]
    nested["ReferencedStudySequence"].is_undefined_length = True
    out = BytesIO()
    nested.save_as(out)
    assert file_values(out.getvalue(), TAGS)[0x0020000D] == nested.StudyInstanceUID
    assert len(decoded) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"junk", "no DICOM file"),
        (bytes(128) + b"DICM" + b"\2\0\1\0UL\4\0", "no transfer syntax"),
        (bytes(128) + b"DICM" + b"\2\0\x10\0UI\2\x001\0", "no length of the file header"),
        (
            bytes(128)
            + b"DICM\2\0\0\0UL\4\0"
            + b"\x1c\0\0\0\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
            + UNBOUNDED,
            "a header that cannot be read",
        ),
    ],
)
def test_what_is_no_dicom_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        file_values(content, TAGS)


def test_a_deflated_data_set_is_left_to_pydicom() -> None:
    assert data_values(b"", "1.2.840.10008.1.2.1.99", TAGS) is None


def test_text_that_switches_its_character_set_is_left_to_pydicom(pet_study: Path) -> None:
    sets, words = ["", "ISO 2022 IR 87"], "全身"
    source = sorted(pet_study.iterdir())[0]
    content = written(source, ExplicitVRLittleEndian, SpecificCharacterSet=sets, SeriesDescription=words)
    assert file_values(content, (0x0008103E,)) == {0x0008103E: words}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_long_header_is_asked_as_a_short_one(pet_study: Path, tmp_path: Path, syntax: str) -> None:
    """Sequences without a length before and after the wanted values, and more than is read at first."""
    source = pydicom.dcmread(sorted(pet_study.iterdir())[0])
    code = Dataset()
    code.CodeValue = "x"
    source.ProcedureCodeSequence = [code]
    frames = [Dataset() for _ in range(400)]
    for number, frame in enumerate(frames):
        # noise, so that it stays long when it is deflated
        frame.PatientComments = np.random.default_rng(number).bytes(200).hex()
    source.PerFrameFunctionalGroupsSequence = frames
    for name in ("ProcedureCodeSequence", "PerFrameFunctionalGroupsSequence"):
        source[name].is_undefined_length = True
    source.SeriesDescription = "whole body"
    source.save_as(tmp_path / "plain.dcm")
    content = written(tmp_path / "plain.dcm", syntax)
    assert len(content) > HEAD_BYTES
    store = Store(tmp_path / "store")
    store.put_instance("1.2", "1.2.3", content)
    study = store.study("1.2")
    assert study is not None
    facts = facts_of(study)
    assert (facts.modalities, facts.descriptions) == ({"PT"}, ("whole body",))
