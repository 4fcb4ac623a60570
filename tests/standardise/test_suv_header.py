"""Single quantities of a header, their repairs and doubts; half-lives of the nuclides."""

from __future__ import annotations

from typing import Any

import pytest

from lesionlab.core.errors import SuvError
from lesionlab.standardise.suv_header import dose_bq, half_life_s, height_cm, weight_kg, words_of
from lesionlab.standardise.suv_nuclides import CODES, HALF_LIVES_S, named_in, nuclide_of
from pet_headers import HALF_LIFE, ONE_HALF_LIFE, audit, series


@pytest.mark.parametrize(("stored", "kg", "warned"), [(80.0, 80.0, 0), ("80", 80.0, 0), (80000.0, 80.0, 1)])
def test_weight_in_g_is_taken_as_such(stored: Any, kg: float, warned: int) -> None:
    found = weight_kg(series(PatientWeight=stored))
    assert (found.value, len(found.warnings)) == (kg, warned)


@pytest.mark.parametrize(("stored", "cm", "warned"), [(1.8, 180.0, 0), (180.0, 180.0, 1), (3.0, 300.0, 0)])
def test_height_in_cm_is_taken_as_such(stored: float, cm: float, warned: int) -> None:
    found = height_cm(series(PatientSize=stored))
    assert (found.value, len(found.warnings)) == (pytest.approx(cm), warned)


@pytest.mark.parametrize("stored", [1800.0, 0.0, -1.0, "tall"])
def test_impossible_heights_are_refused(stored: Any) -> None:
    with pytest.raises(SuvError, match=f"PatientSize {str(stored).removesuffix('.0')}"):
        height_cm(series(PatientSize=stored))


@pytest.mark.parametrize(
    ("stored", "bq", "warning"),
    [
        (4e8, 4e8, ""),
        (400.0, 4e8, "taken as MBq"),
        (99999.0, 99999e6, "taken as MBq"),
        (5e5, 5e5, "less than"),
    ],
)
def test_a_dose_in_mbq_is_taken_as_such(stored: float, bq: float, warning: str) -> None:
    found = dose_bq(series(RadionuclideTotalDose=stored))
    assert found.value == pytest.approx(bq)
    assert warning in "".join(found.warnings)
    assert bool(found.warnings) == bool(warning)


def test_megabecquerels_and_grams_give_the_same_suv_with_warnings() -> None:
    found = audit(RadionuclideTotalDose=400.0, PatientWeight=80000.0)
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert any("taken as MBq" in w for w in found.warnings)
    assert any("taken as g" in w for w in found.warnings)


SECONDS = {
    ("C-111A1", "^18^Fluorine"): 6586.2,
    ("77004003", ""): 6586.2,
    ("C-131A3", ""): 4062.6,
    ("35337001", "^68^Gallium"): 4062.6,
    ("C-105A1", ""): 1221.7,
    ("C-107A1", ""): 598.0,
    ("C-B1038", ""): 122.3,
    ("C-159A2", ""): 75.45,
    ("C-127A2", "Copper 64"): 45721.0,
    ("C-168A4", ""): 282312.0,
    ("C-114A5", ""): 360806.0,
    ("", "Zr-89"): 282312.0,
}


@pytest.mark.parametrize(("code", "meaning"), SECONDS)
def test_a_missing_half_life_is_its_nuclides(code: str, meaning: str) -> None:
    item = series(without=("RadionuclideHalfLife",), RadionuclideCode=code, RadionuclideCodeMeaning=meaning)
    found = half_life_s(item)
    assert found.value == pytest.approx(SECONDS[code, meaning], rel=1e-3)
    assert found.tags == ("RadionuclideCodeSequence",)
    assert "RadionuclideHalfLife absent" in found.warnings[0]


def test_words_are_believed_before_a_code_of_another_nuclide_and_said_so() -> None:
    item = series(
        without=("RadionuclideHalfLife",), RadionuclideCode="C-131A1", RadionuclideCodeMeaning="^68^Gallium"
    )
    found = half_life_s(item)
    assert found.value == HALF_LIVES_S["Ga-68"]
    assert "the words mean Ga-68, the code C-131A1 Ga-66" in found.warnings[1]


@pytest.mark.parametrize(
    "tracer", ["FDG", "FDG -- fluorodeoxyglucose", "Fluorodeoxyglucose F^18^", "[18F]PSMA-1007"]
)
def test_the_tracers_name_is_the_last_resort(tracer: str) -> None:
    found = half_life_s(series(without=("RadionuclideHalfLife",), Radiopharmaceutical=tracer))
    assert found.value == 6586.2
    assert found.tags == ("Radiopharmaceutical",)


def test_a_stated_half_life_counts_even_where_it_is_not_the_nuclides() -> None:
    found = half_life_s(series(RadionuclideCode="C-111A1"))
    assert found.value == HALF_LIFE
    assert "says F-18" in found.warnings[0]
    assert half_life_s(series(RadionuclideCode="C-111A1", RadionuclideHalfLife=6588.0)).warnings == ()


@pytest.mark.parametrize(
    "text", ["", "PSMA-1007", "DOTATATE", "F-18 and Ga-68", "Tc-99m", "Mn-52m", "18FDGX9"]
)
def test_what_names_no_or_no_single_nuclide(text: str) -> None:
    assert named_in(text) is None


@pytest.mark.parametrize(
    "text", ["F-18", "18F", "F18", "^18^Fluorine", "Fluor-18", "[18F]", "F^18^", "fluorine 18"]
)
def test_every_common_spelling_of_a_nuclide(text: str) -> None:
    assert named_in(text) == "F-18"


def test_every_code_has_a_half_life_and_every_nuclide_is_known_by_name() -> None:
    assert set(CODES.values()) <= set(HALF_LIVES_S)
    assert all(named_in(name) == name for name in HALF_LIVES_S)
    assert nuclide_of({}) is None


@pytest.mark.parametrize("value", ["ATTN\\DECY", ("attn", " DECY "), ["ATTN", "DECY", ""]])
def test_lists_of_words_in_every_form(value: Any) -> None:
    assert words_of({"CorrectedImage": value}, "CorrectedImage") == ("ATTN", "DECY")
