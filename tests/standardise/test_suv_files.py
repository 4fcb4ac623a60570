"""Whole DICOM files, stored anew as each vendor would: every one must read the SUVbw that was written."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicom_phantoms import edit, pet_volume, write_pet
from lesionlab.core.errors import SuvError
from lesionlab.core.private_tags import GE_DECAY_DATETIME, PHILIPS_SUV_FACTOR
from lesionlab.core.recipe import SuvSettings
from lesionlab.core.registry import find_recipe
from lesionlab.demo.dicom_series import StudyFacts, decimal
from lesionlab.read import open_case, open_pet
from lesionlab.standardise import SuvAudit, standardise, with_suv

STUDY = StudyFacts(beds=3)
"""A woman of 70 kg and 175 cm, given 350 MBq at 08:30 and scanned from 09:30 in beds of 120 s."""
RATE = math.log(2) / STUDY.half_life_s
LEFT = math.exp(-RATE * STUDY.uptake_s)
SUV = STUDY.suv_per_bq_ml
HALF_HOUR = timedelta(minutes=30)
Change = Callable[[Dataset], None]


def scaled(header: Dataset, factor: float) -> None:
    """Store the same grey values for values that are `factor` times larger."""
    header.RescaleSlope = decimal(float(header.RescaleSlope) * factor)


def tracer(header: Dataset) -> Dataset:
    return header.RadiopharmaceuticalInformationSequence[0]


def as_counts(header: Dataset, offset: int, factor: float, creator: str = "", maker: str = "") -> None:
    header.Units = "CNTS"
    header.Manufacturer = maker
    if creator:
        header.private_block(0x7053, creator, create=True).add_new(offset, "DS", decimal(factor))
    else:
        header.add_new((0x7053, 0x1000 + offset), "DS", decimal(factor))


def philips_suv(header: Dataset) -> None:
    """A factor of its own in every slice."""
    factor = 0.0005 * int(header.InstanceNumber)
    scaled(header, SUV / factor)
    as_counts(header, 0x00, factor, "Philips PET Private Group")


def philips_activity(header: Dataset) -> None:
    scaled(header, 1 / 2.5)
    as_counts(header, 0x09, 2.5, "Philips PET Private Group")


def philips_activity_beside_an_empty_factor(header: Dataset) -> None:
    philips_activity(header)
    header.add_new((0x7053, 0x1000), "DS", "0")


def philips_without_creator(header: Dataset) -> None:
    scaled(header, 1 / 2.5)
    as_counts(header, 0x09, 2.5, maker="Philips Medical Systems")


def counts_without_creator_and_manufacturer(header: Dataset) -> None:
    scaled(header, SUV / 0.0005)
    as_counts(header, 0x00, 0.0005)


def grams(header: Dataset, kind: str, normaliser_kg: float) -> None:
    header.Units, header.SUVType = "GML", kind
    scaled(header, SUV * normaliser_kg / 70.0)


def lean_morgan(header: Dataset) -> None:
    grams(header, "LBM", 1.07 * 70 - 148 * (70 / 175) ** 2)


def lean_janmahasatian_of_unknown_sex(header: Dataset) -> None:
    index = 70 / 1.75**2
    header.PatientSex = "O"
    grams(header, "LBMJANMA", 9270 * 70 * (1 / (6680 + 216 * index) + 1 / (8780 + 244 * index)) / 2)


def ideal_weight_with_height_in_cm(header: Dataset) -> None:
    header.PatientSize = "175"
    grams(header, "IBW", 45.5 + 0.91 * 23)


def surface(header: Dataset) -> None:
    header.Units = "CM2ML"
    scaled(header, SUV * 0.007184 * 70**0.425 * 175**0.725 * 1e4 / 70000)


def corrected_to_administration(header: Dataset) -> None:
    header.DecayCorrection = "ADMIN"
    scaled(header, 1 / LEFT)


def not_corrected(header: Dataset) -> None:
    """Each frame holds its mean activity, decayed since the first bed and within the frame."""
    header.DecayCorrection = "NONE"
    header.CorrectedImage = ["ATTN", "SCAT"]
    bed_s = (int(header.InstanceNumber) - 1) * 3 // 6 * 120.0
    scaled(header, math.exp(-RATE * bed_s) * -math.expm1(-RATE * 120.0) / (RATE * 120.0))


def later(header: Dataset, **shifts: timedelta) -> None:
    """Move the time of Series or Acquisition."""
    for name, shift in shifts.items():
        text = getattr(header, f"{name}Date") + getattr(header, f"{name}Time")
        moved = datetime.strptime(text, "%Y%m%d%H%M%S.%f") + shift
        setattr(header, f"{name}Date", moved.strftime("%Y%m%d"))
        setattr(header, f"{name}Time", moved.strftime("%H%M%S.%f"))


def series_time_rewritten(header: Dataset) -> None:
    later(header, Series=HALF_HOUR)


def series_time_rewritten_without_frame_times(header: Dataset) -> None:
    later(header, Series=HALF_HOUR)
    del header.FrameReferenceTime


def ge(header: Dataset, creator: bool) -> None:
    """All public times half an hour late: only GE's own tag says what was corrected to."""
    later(header, Series=HALF_HOUR, Acquisition=HALF_HOUR)
    header.Manufacturer = "GE MEDICAL SYSTEMS"
    when = STUDY.started.strftime("%Y%m%d%H%M%S.00")
    if creator:
        header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", when)
    else:
        header.add_new((0x0009, 0x100D), "DT", when)


def ge_injection(header: Dataset) -> None:
    del tracer(header).RadiopharmaceuticalStartDateTime, tracer(header).RadiopharmaceuticalStartTime
    header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x3B, "DT", "20240102083000.00")


def only_a_time_of_injection(header: Dataset) -> None:
    del tracer(header).RadiopharmaceuticalStartDateTime


def no_date_at_all(header: Dataset) -> None:
    only_a_time_of_injection(header)
    del header.AcquisitionDate, header.SeriesDate, header.StudyDate, header.ContentDate


def after_midnight(header: Dataset) -> None:
    """Everything 15.2 hours later: given at 23:42, scanned at 00:42."""
    only_a_time_of_injection(header)
    tracer(header).RadiopharmaceuticalStartTime = "234200"
    later(header, Series=timedelta(hours=15.2), Acquisition=timedelta(hours=15.2))


def no_half_life(header: Dataset) -> None:
    del tracer(header).RadionuclideHalfLife


def megabecquerels_and_grams(header: Dataset) -> None:
    tracer(header).RadionuclideTotalDose = "350"
    header.PatientWeight = "70000"


def no_list_of_corrections(header: Dataset) -> None:
    del header.CorrectedImage


CHANGES: tuple[Change, ...] = (
    philips_suv,
    philips_activity,
    philips_activity_beside_an_empty_factor,
    philips_without_creator,
    counts_without_creator_and_manufacturer,
    lean_morgan,
    lean_janmahasatian_of_unknown_sex,
    ideal_weight_with_height_in_cm,
    surface,
    corrected_to_administration,
    not_corrected,
    series_time_rewritten,
    series_time_rewritten_without_frame_times,
    lambda header: ge(header, True),
    lambda header: ge(header, False),
    ge_injection,
    only_a_time_of_injection,
    no_date_at_all,
    after_midnight,
    no_half_life,
    megabecquerels_and_grams,
    no_list_of_corrections,
)


def converted(folder: Path, settings: SuvSettings | None = None) -> tuple[np.ndarray, SuvAudit]:
    case = with_suv(open_case(folder), settings or SuvSettings())
    audit = case.facts.channels["suv"].suv
    assert audit is not None
    return case.channels["suv"].array, audit


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_the_same_suv_however_it_is_stored(tmp_path: Path, change: Change, implicit: bool) -> None:
    for path in write_pet(tmp_path, study=STUDY):
        edit(path, change)
        if implicit:
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dataset.save_as(path, implicit_vr=True, little_endian=True)
    found, _ = converted(tmp_path)
    np.testing.assert_allclose(found, pet_volume().array, rtol=1e-5, atol=2e-3)


def test_a_vendors_attribute_in_another_vendors_file_is_not_believed(tmp_path: Path) -> None:
    for path in write_pet(tmp_path, study=STUDY):
        edit(path, lambda header: header.add_new((0x0009, 0x100D), "DT", "20240102080000.00"))
    header = open_pet(tmp_path).facts.channels["pet"].header
    assert GE_DECAY_DATETIME not in header


def test_a_group_that_another_creator_has_reserved_is_not_believed(tmp_path: Path) -> None:
    def other(header: Dataset) -> None:
        header.Units, header.Manufacturer = "CNTS", "Philips"
        header.private_block(0x7053, "SOMEONE ELSE", create=True).add_new(0x00, "DS", "0.5")

    for path in write_pet(tmp_path, study=STUDY):
        edit(path, other)
    assert PHILIPS_SUV_FACTOR not in open_pet(tmp_path).facts.channels["pet"].header
    with pytest.raises(SuvError, match="Units CNTS without Philips' factors"):
        converted(tmp_path)


def test_a_creator_that_reserved_another_block_is_found(tmp_path: Path) -> None:
    def second(header: Dataset) -> None:
        header.private_block(0x7053, "SOMEONE ELSE", create=True).add_new(0x00, "DS", "7")
        philips_suv(header)

    for path in write_pet(tmp_path, study=STUDY):
        edit(path, second)
    np.testing.assert_allclose(converted(tmp_path)[0], pet_volume().array, rtol=1e-5, atol=2e-3)


def test_counts_per_second_use_the_volume_of_the_grid(tmp_path: Path) -> None:
    """Voxels of 3 x 4 x 4.5 mm; SliceThickness lies, the slices' positions do not."""

    def per_second(header: Dataset) -> None:
        scaled(header, 0.054 / 20.0)
        header.Units, header.DoseCalibrationFactor = "CPS", "20"
        header.SliceThickness = header.SpacingBetweenSlices = "9"

    for path in write_pet(tmp_path, study=STUDY):
        edit(path, per_second)
    with pytest.raises(SuvError, match="Units CPS"):
        converted(tmp_path)
    found, audit = converted(tmp_path, SuvSettings(allow_cps=True))
    np.testing.assert_allclose(found, pet_volume().array, rtol=1e-5, atol=2e-3)
    assert "DoseCalibrationFactor" in audit.tags


def test_autopet_numbers_are_those_of_the_first_images_time(tmp_path: Path) -> None:
    """Three beds stored from the last to the first: image 1 was acquired 240 s after the start."""

    def backwards(header: Dataset) -> None:
        header.InstanceNumber = 7 - int(header.InstanceNumber)

    for path in write_pet(tmp_path, study=STUDY):
        edit(path, backwards)
    found, audit = converted(tmp_path, SuvSettings(times="autopet"))
    late = math.exp(RATE * 240.0)
    np.testing.assert_allclose(found, pet_volume().array * late, rtol=1e-5, atol=2e-3)
    assert audit.candidates[0].rule == "AcquisitionTime (autoPET)"


def test_the_recipe_decides_on_the_mode(tmp_path: Path) -> None:
    write_pet(tmp_path, study=STUDY)
    recipe = find_recipe("pet-threshold").changed(suv={"times": "autopet"})
    audit = standardise(open_case(tmp_path), recipe).facts.channels["suv"].suv
    assert audit is not None
    assert audit.candidates[0].rule == "AcquisitionTime (autoPET)"
