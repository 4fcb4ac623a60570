"""An instance that comes again: put right, passed on, or encoded in another way."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from lesionlab.serve.again import says_the_same
from lesionlab.serve.arrivals import Arrivals
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store


def changed(file: Path, change: Callable[[Dataset], object]) -> bytes:
    """A DICOM file with a change."""
    dataset, out = pydicom.dcmread(file), BytesIO()
    change(dataset)
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def traced(dataset: Dataset) -> None:
    dataset.RetrieveAETitle = "PACS"
    dataset.InstanceCoercionDateTime = "20260301120000"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.add_new(0x00110010, "LO", "PACS OF THE HOUSE")
    dataset.file_meta.ImplementationVersionName = "OTHER"


def in_implicit(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset["PixelData"].VR = "OW"


def compressed(dataset: Dataset) -> None:
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)


@pytest.mark.parametrize("change", [traced, in_implicit, compressed])
def test_traces_of_the_way_are_no_news(pet_study: Path, change: Callable[[Dataset], object]) -> None:
    file = min(pet_study.iterdir())
    came = changed(file, change)
    assert came != file.read_bytes()
    assert says_the_same(file.read_bytes(), came)


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: setattr(dataset, "PatientID", "OTHER"),
        lambda dataset: setattr(dataset, "AccessionNumber", "A-17"),
        lambda dataset: setattr(dataset, "PatientWeight", "71"),
        lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-20]),
        lambda dataset: delattr(dataset, "RadiopharmaceuticalInformationSequence"),
    ],
)
def test_what_results_rest_on_is_news(pet_study: Path, change: Callable[[Dataset], object]) -> None:
    file = min(pet_study.iterdir())
    assert not says_the_same(file.read_bytes(), changed(file, change))
    assert not says_the_same(changed(file, change), file.read_bytes())


def test_what_cannot_be_read_is_another_content() -> None:
    assert not says_the_same(b"junk", b"other junk")


def test_a_study_that_was_put_right_is_examined_again_once(
    settings: ServeSettings, queue: Queue, pet_study: Path
) -> None:
    store = Store(settings.data)
    arrivals = Arrivals(settings, store, queue, clock=lambda: 1e12)

    def send(change: Callable[[Dataset], object] | None = None) -> None:
        for number, file in enumerate(sorted(pet_study.iterdir())):
            content = file.read_bytes() if change is None else changed(file, change)
            store.put_instance("1.2", f"1.2.{number}", content)

    send()
    [first] = arrivals.look()
    send(lambda dataset: setattr(dataset, "PatientID", "RIGHT"))
    [second] = arrivals.look()
    assert second.id != first.id
    send(lambda dataset: (setattr(dataset, "PatientID", "RIGHT"), traced(dataset)))
    assert [job.id for job in arrivals.look()] == [second.id]
    assert {str(pydicom.dcmread(file).PatientID) for file in store.study("1.2").files} == {"RIGHT"}
