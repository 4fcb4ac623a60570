"""The IBSI reporting checklist: every item answered or open, and what it says against headers and recipes."""

from __future__ import annotations

import csv
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

import dicom_phantoms
import phantoms
from lesionlab import find_recipe
from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.files import jsonable
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Findings
from lesionlab.core.units import ONE, STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.pipeline import examine, findings_of_mask, write_lesions
from lesionlab.pipeline.kept import Examined, from_json, to_json
from lesionlab.predict import Bundle
from lesionlab.report import CohortEntry, cohort_entry, save_volume, write_findings, write_measurements
from lesionlab.report.ibsi_checklist import Answer, checklist, merged, wanted
from lesionlab.report.ibsi_items import ITEMS
from lesionlab.report.tables import is_radiomics

MakeFindings = Callable[..., Findings]
RADIOMICS = {"families": ("statistics", "histogram"), "bin_size": 0.25, "keep_range": (0.5, math.inf)}
STUDY = StudyFacts(
    patient_id="SECRET-7",
    dose_bq=2.5e8,
    injected=datetime(2024, 1, 2, 23, 40),
    uptake_s=3930.0,
    frame_s=150.0,
)


def radiomics_recipe(name: str = "pet-threshold", **changes: Any) -> Recipe:
    recipe = find_recipe(name)
    return Recipe.model_validate({**recipe.model_dump(), "radiomics": {**RADIOMICS, **changes}})


def bundle_of(recipe: Recipe) -> Bundle:
    return Bundle(recipe.name, recipe, None, (), recipe.sha256)


def by_number(findings: Findings) -> dict[str, Answer]:
    return {answer.number: answer for answer in checklist(findings)}


def with_settings(findings: Findings, **settings: Any) -> Findings:
    return replace(findings, provenance=replace(findings.provenance, settings=settings))


def with_facts(findings: Findings, **channels: ChannelFacts) -> Findings:
    return replace(findings, case=replace(findings.case, facts=AcquisitionFacts(channels)))


def of_headers(findings: Findings, header: dict[str, Any], *slices: dict[str, Any]) -> dict[str, Answer]:
    """Answers for a PET channel with this header and these slices."""
    return by_number(with_facts(findings, suv=ChannelFacts("PT", header=header, slices=slices)))


@pytest.fixture(scope="module")
def pet_findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """A PET series with a scanner's usual attributes, examined by threshold with radiomics."""
    folder = tmp_path_factory.mktemp("pet")
    hot = dicom_phantoms.pet_volume().array.copy()
    hot[2:4, 3:6, 4:8] = 9.0
    files = dicom_phantoms.write_pet(folder, Volume(hot, dicom_phantoms.PET_GRID, "g/ml{SUVbw}"), STUDY)
    dicom_phantoms.edit_all(
        files,
        ManufacturerModelName="Ring 5",
        ReconstructionMethod="PSF+TOF 3i21s",
        ConvolutionKernel="XYZ Gauss5.00",
        DateOfLastCalibration="20240102",
        ProtocolName="Whole body",
        InstitutionName="Hospital of Nowhere",
        OperatorsName="Somebody",
    )

    def route(dataset: Dataset) -> None:
        dataset.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalRoute = "Intravenous"

    for file in files:
        dicom_phantoms.edit(file, route)
    return examine(folder, bundle_of(radiomics_recipe()))


def test_items_are_those_of_the_manual() -> None:
    numbers = [int(re.sub(r"\D", "", item.number)) for item in ITEMS]
    assert sorted(set(numbers)) == list(range(1, 77))
    assert numbers == sorted(numbers)
    assert len({item.number for item in ITEMS}) == len(ITEMS) == 104
    assert {item.modality for item in ITEMS} == {
        *("", "PET, SPECT", "PET", "CT", "MRI", "DWI-MRI", "MRI (brain)", "Dynamic scans")
    }


def test_header_values_are_filled_as_they_are(pet_findings: Findings) -> None:
    answers = by_number(pet_findings)
    expected = {
        "3a": "Fluorodeoxyglucose, 18Fluorine (Radiopharmaceutical)",
        "3b": "Intravenous (RadiopharmaceuticalRoute)",
        "3c": "250 MBq (RadionuclideTotalDose)",
        "3d": "65.5 min (RadiopharmaceuticalStartDateTime to the first AcquisitionTime of the slices read)",
        "7": "LesionLab phantom Ring 5",
        "8": "PET",
        "9a": "static (SeriesType)",
        "10": "20240102 (DateOfLastCalibration)",
        "13": "150 s per bed position or frame (ActualFrameDuration)",
        "16": "yes (ReconstructionMethod PSF+TOF 3i21s)",
        "28": "4 x 4.5 mm (PixelSpacing, rows x columns), matrix 8 x 10",
        "29": "3 mm (SliceThickness)",
        "30": "3 mm",
        "32a": "PSF+TOF 3i21s",
        "32b": "3 (from ReconstructionMethod PSF+TOF 3i21s)",
        "32c": "21 (from ReconstructionMethod PSF+TOF 3i21s)",
        "33": "yes (ReconstructionMethod PSF+TOF 3i21s)",
        "34a": "yes, CT (CorrectedImage, AttenuationCorrectionMethod)",
        "34b": "DECY, SCAT, DTIM, RAN, NORM (CorrectedImage)",
        "43": "XYZ Gauss5.00 (ConvolutionKernel)",
    }
    assert {number: answers[number].answer for number in expected} == expected
    assert {answers[number].state for number in expected} == {"filled"}
    audit = pet_findings.case.facts.channels["suv"].suv
    assert audit is not None
    assert answers["38"].answer == f"SUVbw (body weight): {audit.rule}, factor {audit.span}"


def test_what_only_the_author_knows_is_open(pet_findings: Findings) -> None:
    answers = by_number(pet_findings)
    to_add = {"1", "2a", "2b", "2c", "3e", "4a", "5", "11", "60", "72", "73", "74", "75", "76"}
    assert {answers[number].state for number in to_add} == {"open"}
    assert all(answers[number].answer.startswith("to add: ") for number in to_add)
    assert answers["6"].state == "open"
    assert answers["6"].answer.startswith("Whole body (ProtocolName); say")


def test_items_of_other_modalities_do_not_apply(pet_findings: Findings) -> None:
    for answer in checklist(pet_findings):
        other = answer.modality not in ("", "PET", "PET, SPECT", "Dynamic scans")
        assert (answer.answer == f"no {answer.modality}") == other
        assert answer.state == "not applicable" or not other
    answers = by_number(pet_findings)
    assert {answers[n].state for n in ("9b", "9c", "37", "48d")} == {"not applicable"}


def test_recipe_values_are_filled_as_they_are(pet_findings: Findings) -> None:
    answers = by_number(pet_findings)
    assert answers["48a"].answer.startswith("automatic, threshold: SUVbw >= 4")
    assert answers["48b"].state == answers["49"].state == answers["50a"].state == "not applicable"
    assert answers["51"].answer == "3 x 4 x 4.5 mm (z, y, x), as scanned"
    assert answers["55"].answer == "range from 0.5"
    assert answers["56a"].answer == "fixed bin size (FBS)"
    assert answers["56b"].answer == "0.25 g/ml (SUVbw)"
    assert answers["56c"].answer == "0.5 (lower end of the re-segmentation range)"
    measured = [c for c in pet_findings.lesions.columns if is_radiomics(c)]
    assert len(measured) > 20
    assert answers["58"].answer == (
        "intensity statistics (UHIW), intensity histogram (ZVCW): "
        f"{len(measured)} features of IBSI-1, defined with their codes in columns.csv"
    )
    assert f"lesionlab {pet_findings.provenance.versions['lesionlab']}" in answers["61"].answer
    assert {answers[str(n)].state for n in range(62, 72)} == {"not applicable"}


def test_nothing_names_a_person(pet_findings: Findings) -> None:
    text = " ".join(answer.answer for answer in checklist(pet_findings))
    for secret in ("SECRET", "Phantom^", "Nowhere", "Somebody", "19700101"):
        assert secret not in text


def test_files_beside_the_report(pet_findings: Findings, tmp_path: Path) -> None:
    page = write_findings(pet_findings, tmp_path / "out")
    with (tmp_path / "out" / "ibsi_checklist.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    answers = checklist(pet_findings)
    assert [(r["number"], r["state"], r["answer"]) for r in rows] == [
        (a.number, a.state, a.answer) for a in answers
    ]
    html = (tmp_path / "out" / "ibsi_checklist.html").read_text(encoding="utf-8")
    tree = ET.fromstring(html)  # noqa: S314 - our own output
    cells = ["".join(cell.itertext()) for cell in tree.iter("td")]
    for answer in answers:
        assert answer.state == "not applicable" or answer.answer in cells
    assert "no MRI" in html
    assert 'href="ibsi_checklist.html"' in page.read_text(encoding="utf-8")
    write_lesions(pet_findings, tmp_path / "one.csv")
    beside = (tmp_path / "one_ibsi_checklist.csv").read_bytes()
    assert beside == (tmp_path / "out" / "ibsi_checklist.csv").read_bytes()


def test_no_radiomics_no_checklist(two_lesions: Findings, tmp_path: Path) -> None:
    page = write_findings(two_lesions, tmp_path / "out")
    write_lesions(two_lesions, tmp_path / "one.csv")
    write_measurements([cohort_entry(two_lesions, None)], tmp_path / "many", title="many", long=False)
    assert not wanted(two_lesions)
    assert "ibsi_checklist" not in page.read_text(encoding="utf-8")
    assert not [p for p in tmp_path.rglob("*") if "checklist" in p.name]


def test_a_file_without_header_leaves_acquisition_open(tmp_path: Path) -> None:
    patient = phantoms.write_pet_patient(tmp_path / "p", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    answers = by_number(examine(patient, bundle_of(radiomics_recipe())))
    for number in ("3a", "3c", "3d", "6", "7", "9a", "9b", "10", "13", "16", "29", "32a", "34a"):
        assert answers[number].state == "open", number
        assert answers[number].answer.startswith("to add: ")
    assert answers["8"].answer == "PET"
    assert answers["28"].answer == "4 x 4 mm (rows x columns), matrix 32 x 32"
    assert answers["30"].answer == "4 mm"
    assert answers["38"].answer == "SUVbw (body weight): as stored in the file"
    assert answers["20"].state == "not applicable"


def test_a_drawn_mask_leaves_its_drawing_open(tmp_path: Path) -> None:
    patient = phantoms.write_pet_patient(tmp_path / "p", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    findings = findings_of_mask(patient / "suv.nii.gz", patient / "truth.nii.gz", radiomics_recipe())
    answers = by_number(findings)
    assert {answers[n].state for n in ("48a", "48b", "48c", "49")} == {"open"}
    assert answers["48d"].answer == "one image"
    assert answers["48a"].answer == "given as a mask file; say how the regions were drawn"


def test_mr_and_its_own_items(tmp_path: Path) -> None:
    files = dicom_phantoms.write_mr(tmp_path / "mr")
    dicom_phantoms.edit_all(
        files, MagneticFieldStrength="1.5", FlipAngle="12", ContrastBolusAgent="Gadoterate"
    )
    mask = np.zeros(dicom_phantoms.PET_GRID.shape, np.uint8)
    mask[2:4, 2:5, 2:5] = 1
    save_volume(Volume(mask, dicom_phantoms.PET_GRID, ONE), tmp_path / "mask.nii.gz")
    recipe = Recipe.model_validate(
        {
            "name": "mr",
            "channels": {"mr": {}},
            "reference": "mr",
            "method": "none",
            "radiomics": {"families": ("statistics",), "bin_number": 16, "round_to": 1.0},
        }
    )
    answers = by_number(findings_of_mask(tmp_path / "mr", tmp_path / "mask.nii.gz", recipe))
    expected = {
        "4a": "Gadoterate (ContrastBolusAgent)",
        "18a": "GR (ScanningSequence)",
        "18b": "NONE (SequenceVariant)",
        "19": "6 ms (RepetitionTime)",
        "20": "2 ms (EchoTime)",
        "23": "12 degrees (FlipAngle)",
        "24": "3D (MRAcquisitionType)",
        "27": "1.5 T (MagneticFieldStrength)",
        "47": "intensities rounded to multiples of 1",
    }
    assert {number: answers[number].answer for number in expected} == expected
    assert {answers[n].state for n in ("3a", "14", "32a", "38", "52")} == {"not applicable"}
    assert {answers[n].state for n in ("17", "21", "35a", "36")} == {"open"}
    # statistics alone have no grey levels
    assert {answers[n].state for n in ("56a", "56b", "56c")} == {"not applicable"}


@pytest.mark.parametrize(
    ("header", "began", "words", "by_clock"),
    [
        ({"RadiopharmaceuticalStartTime": "090000"}, ("20240102", "100030"), "60.5 min", True),
        ({"RadiopharmaceuticalStartTime": "060000"}, ("20240102", "200000"), "840.0 min", True),
        ({"RadiopharmaceuticalStartTime": "2350"}, ("20240103", "002000.5"), "30.0 min", True),
        ({"RadiopharmaceuticalStartDateTime": "20240101120000"}, ("20240103", "120000"), "2880.0 min", False),
        # the dates of anonymised files may contradict each other; the clock then decides
        (
            {"RadiopharmaceuticalStartDateTime": "20240101120000+0100"},
            ("20200103", "130000"),
            "60.0 min",
            True,
        ),
        ({"RadiopharmaceuticalStartDateTime": "20240101"}, ("20240101", "130000"), "to add", False),
        ({"RadiopharmaceuticalStartTime": "noon"}, ("20240101", "130000"), "to add", False),
        ({"RadiopharmaceuticalStartTime": "130000"}, ("20240101", "130000"), "to add", False),
        ({"RadiopharmaceuticalStartTime": "256199"}, ("20240101", "130000"), "to add", False),
    ],
)
def test_uptake_time(
    two_lesions: Findings, header: dict[str, str], began: tuple[str, str], words: str, by_clock: bool
) -> None:
    slices = [
        {"AcquisitionDate": began[0], "AcquisitionTime": "235959"},
        {"AcquisitionDate": began[0], "AcquisitionTime": began[1]},
    ]
    answer = of_headers(two_lesions, header, *slices)["3d"]
    assert answer.answer.startswith(words)
    assert answer.answer.endswith(", by the clock)") == by_clock
    assert answer.state == ("open" if words == "to add" else "filled")


def test_headers_of_other_makers(two_lesions: Findings) -> None:
    answers = of_headers(
        two_lesions,
        {
            "RadionuclideTotalDose": 370.0,
            "RadionuclideCodeMeaning": "^68^Gallium",
            "SeriesType": ("DYNAMIC", "IMAGE"),
            "ReconstructionMethod": "OSEM",
            "NumberOfIterations": 4.0,
            "TimeOfFlightInformationUsed": "FALSE",
            "ScatterCorrectionMethod": "Model",
        },
        {"ActualFrameDuration": 60000.0, "AcquisitionDateTime": "20240101130000"},
        {"ActualFrameDuration": 30000.0},
    )
    assert answers["3a"].answer == "68Gallium (RadionuclideCodeSequence)"
    assert answers["3c"].answer == "370 MBq (RadionuclideTotalDose, taken as MBq)"
    assert answers["9a"].answer == "dynamic (SeriesType)"
    assert answers["9b"].state == "open"
    assert answers["13"].answer.startswith("30 to 60 s")
    assert answers["16"].answer == "no (TimeOfFlightInformationUsed)"
    assert answers["32b"].answer == "4 (NumberOfIterations)"
    # a name that is silent about them says nothing
    assert {answers[n].state for n in ("32c", "33", "34a")} == {"open"}
    assert answers["34b"].answer == "scatter: Model"


def test_several_images_are_told_apart(two_lesions: Findings) -> None:
    case = two_lesions.case
    ct = Volume(np.zeros(case.geometry.shape), case.geometry, "[hnsf'U]")
    facts = {
        "suv": ChannelFacts("PT", header={"Manufacturer": "One", "ManufacturerModelName": "A"}),
        "ct": ChannelFacts(
            "CT",
            header={"KVP": 120.0, "Manufacturer": "One", "ManufacturerModelName": "B"},
            slices=tuple(
                {"XRayTubeCurrent": mA, "ImagePositionPatient": (0.0, 0.0, mA / 10)} for mA in (60.0, 85.0)
            ),
        ),
    }
    notes = ("ct brought onto the reference grid (linear) from a finer one",)
    both = replace(case, channels={**case.channels, "ct": ct}, facts=AcquisitionFacts(facts, notes))
    answers = by_number(replace(two_lesions, case=both))
    assert answers["7"].answer == "suv: One A; ct: One B"
    assert answers["14"].answer == "120 kV (KVP)"
    assert answers["15"].answer == "60 to 85 mA (XRayTubeCurrent)"
    assert answers["28"].state == "open"
    assert answers["28"].answer.endswith("; ct: not stated")
    assert answers["30"].answer == "suv: 5 mm; ct: 2.5 mm (ImagePositionPatient)"
    assert answers["37"].answer.endswith(notes[0])


def test_an_image_of_unknown_kind_stays_open(two_lesions: Findings) -> None:
    grid = Geometry((1, 8, 8), (1.0, 0.5, 0.5))
    case = Case("p", "p", {"image": Volume(np.zeros(grid.shape), grid, STORED)}, "image")
    answers = by_number(replace(two_lesions, case=case))
    assert answers["8"].state == "open"
    assert answers["20"].answer == "if the image is MRI: echo time in ms"
    assert answers["30"].answer == "a single image"


def test_phases_are_a_dynamic_scan(two_lesions: Findings) -> None:
    volume = two_lesions.case.channels["suv"].with_array(two_lesions.case.channels["suv"].array, STORED)
    case = Case("p", "p", dict.fromkeys(("pre", "post1", "post2"), volume), "post1")
    answers = by_number(replace(two_lesions, case=case))
    assert answers["8"].answer == "MRI"
    assert answers["9a"].answer == "dynamic: 3 phases (pre, post1, post2)"
    assert answers["9b"].state == "open"


def test_every_family_and_setting_is_told(two_lesions: Findings) -> None:
    families = (
        "morphology",
        "spatial",
        "local",
        "volume_histogram",
        "glcm",
        "glrlm",
        "glszm",
        "gldzm",
        "ngtdm",
        "ngldm",
    )
    settings = {
        "families": families,
        "aggregations": ("2D_comb", "2_5D_avg", "3D_avg", "3D_comb"),
        "spacing_mm": (0.0, 2.0, 2.0),
        "interpolation": "cubic",
        "round_to": 0.1,
        "keep_range": (-1.0, 40.0),
        "outlier_sigma": 3.0,
        "bin_size": 0.5,
        "bin_origin": 0.0,
        "volume_histogram_bins": 1000,
    }
    answers = by_number(with_settings(two_lesions, radiomics=settings))
    expected = {
        "41": "none: no filter before interpolation",
        "50a": "cubic",
        "51": "5 x 2 x 2 mm (z, y, x)",
        "53": "linear",
        "55": "range from -1 up to 40; then outliers beyond 3 standard deviations of the mean leave",
        "56a": "fixed bin size (FBS); intensity-volume histogram: 1000 bins",
        "56c": "0",
        "65": "Chebyshev distance of 1",
        "71": "0: only equal grey levels are dependent",
    }
    assert {number: answers[number].answer for number in expected} == expected
    assert {answers[str(n)].state for n in range(62, 72)} == {"filled"}
    parts = answers["62"].answer.split("; ")
    assert (
        parts[1] == "glcm and glrlm 2_5D_avg: slices merged by direction, features averaged over directions"
    )
    assert parts[5] == "glszm, gldzm, ngtdm, ngldm 2_5D: slices merged"
    assert [part.split(":")[0] for part in parts] == [
        *(f"glcm and glrlm {how}" for how in ("2D_comb", "2_5D_avg", "3D_avg", "3D_comb")),
        *(f"glszm, gldzm, ngtdm, ngldm {how}" for how in ("2D", "2_5D", "3D")),
    ]


@pytest.mark.parametrize(
    ("settings", "number", "words"),
    [
        ({"bin_number": 32}, "56b", "32 bins"),
        ({"bin_number": 32}, "56c", "fixed number of bins: the first bin begins at the lesion's minimum"),
        ({"bin_size": 1.0}, "56c", "the lesion's minimum"),
        ({"bin_size": 1.0, "keep_range": (-math.inf, 5.0)}, "56c", "the lesion's minimum"),
        ({"bin_size": 1.0, "keep_range": (-math.inf, 5.0)}, "55", "range up to 5"),
        ({"bin_size": 1.0}, "55", "none"),
        ({"bin_size": 1.0}, "58", "intensity histogram (ZVCW), defined with their codes in columns.csv"),
        ({"bin_size": 1.0, "spacing_mm": (5.0, 4.0, 3.0)}, "51", "5 x 4 x 3 mm (z, y, x), as scanned"),
        ({"bin_size": 1.0, "spacing_mm": (5.0, 4.0, 3.0)}, "50a", "no interpolation"),
        (
            {"bin_size": 1.0, "families": ("volume_histogram",), "volume_histogram_bin_size": 2.0},
            "56a",
            "intensity-volume histogram: bins of 2",
        ),
    ],
)
def test_discretisation_and_grid(
    two_lesions: Findings, settings: dict[str, Any], number: str, words: str
) -> None:
    answers = by_number(with_settings(two_lesions, radiomics={"families": ("histogram",), **settings}))
    assert answers[number].answer == words


def test_a_network_and_a_share_of_the_maximum(two_lesions: Findings) -> None:
    network = with_settings(two_lesions, method="network", channels={"suv": {}})
    answers = by_number(network)
    assert answers["48c"].answer.startswith(
        "network pet-threshold (SHA-256 b2b2b2b2b2b2); refinement: keep all"
    )
    relative = {"rule": "relative", "suv": 2.5, "fraction": 0.41, "body_mask": True}
    answers = by_number(with_settings(two_lesions, method="threshold", threshold=relative))
    assert answers["48c"].answer.startswith(
        "threshold: SUVbw >= 2.5, each region redrawn at 0.41 of its maximum, inside the body found on CT"
    )


def test_many_patients_in_one_checklist(two_lesions: Findings, tmp_path: Path) -> None:
    same = with_settings(two_lesions, radiomics={"families": ("statistics",), "bin_size": 1.0})
    doses = (3.125e8, 3e8, 2e8)
    entries = [
        cohort_entry(with_facts(same, suv=ChannelFacts("PT", header={"RadionuclideTotalDose": dose})), None)
        for dose in doses
    ]
    entries += [cohort_entry(same, None), CohortEntry("broken", error="no mask")]
    answers = {a.number: a for a in merged([entry.checklist for entry in entries[:-1]])}
    assert answers["3c"].state == "open"
    assert answers["3c"].answer == (
        "differs between cases: 200 to 312.5 MBq (RadionuclideTotalDose) (3 of 4 cases); "
        "or to add: activity injected (1 of 4 cases)"
    )
    assert answers["55"] == entries[0].checklist[[i.number for i in ITEMS].index("55")]
    write_measurements(entries, tmp_path / "out", title="study", long=False)
    with (tmp_path / "out" / "ibsi_checklist.csv").open(encoding="utf-8", newline="") as file:
        assert [row["answer"] for row in csv.DictReader(file)] == [a.answer for a in answers.values()]
    assert merged([]) == ()


def test_quantities_give_ranges_and_names_are_counted(two_lesions: Findings) -> None:
    headers = [
        {"RadionuclideTotalDose": 9.5e7 + 1e6 * n, "ManufacturerModelName": f"Ring {max(n, 1)}", "KVP": 1.0}
        for n in range(7)
    ]
    lists = [checklist(with_facts(two_lesions, suv=ChannelFacts("PT", header=h))) for h in headers]
    answers = {a.number: a for a in merged(lists)}
    # 95 to 101: ordered as numbers, not as text
    assert answers["3c"].answer == "95 to 101 MBq (RadionuclideTotalDose), over 7 cases"
    assert answers["7"].answer == (
        "differs between cases: Ring 1 (2 of 7 cases); or Ring 2 (1 of 7 cases); or Ring 3 (1 of 7 cases); "
        "or Ring 4 (1 of 7 cases); or 2 more"
    )
    assert answers["3c"].state == answers["7"].state == "filled"
    assert answers["14"] == lists[0][[i.number for i in ITEMS].index("14")]


def test_what_is_kept_of_a_patient_holds_the_checklist(two_lesions: Findings) -> None:
    findings = with_settings(two_lesions, radiomics={"families": ("glcm",), "bin_size": 1.0})
    entry = cohort_entry(findings, None)
    assert len(entry.checklist) == len(ITEMS)
    again = from_json(json.loads(json.dumps(jsonable(to_json(Examined(entry, None))))))
    assert again.entry.checklist == entry.checklist
