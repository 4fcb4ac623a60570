"""Each value of DecayCorrection by hand-computed factors."""

from __future__ import annotations

import math

import pytest

from lesionlab.core.errors import SuvError
from pet_headers import HALF_LIFE, ONE_HALF_LIFE, WHOLE_DOSE, at, audit


def test_start_halves_the_dose_after_one_half_life() -> None:
    assert audit().factors == pytest.approx((ONE_HALF_LIFE,) * 3, rel=1e-12)


def test_administration_needs_no_times_and_no_half_life() -> None:
    gone = ("RadionuclideHalfLife", "RadiopharmaceuticalStartDateTime", "AcquisitionTime", "SeriesTime")
    found = audit(DecayCorrection="ADMIN", without=gone)
    assert found.factors == pytest.approx((WHOLE_DOSE,) * 3, rel=1e-12)
    assert found.tags == ("PatientWeight", "RadionuclideTotalDose")


def test_none_is_brought_back_slice_by_slice() -> None:
    """Frames of one half-life: the mean over the first is (1 - 1/2) / ln 2 of its beginning."""
    slices = [at("104000", 0.0, HALF_LIFE * 1000), at("122000", 0.0, HALF_LIFE * 1000)]
    found = audit(slices, DecayCorrection="NONE", CorrectedImage=("ATTN",))
    first = WHOLE_DOSE * 2 * math.log(2) / 0.5
    assert found.factors == pytest.approx((first, 2 * first), rel=1e-12)
    assert found.rule == "Units BQML, DecayCorrection NONE"
    assert found.warnings == ()


def test_none_that_claims_decay_correction_is_warned_about() -> None:
    found = audit([at("104000", 0.0)], DecayCorrection="NONE")
    assert any("names DECY" in w for w in found.warnings)


@pytest.mark.parametrize(("time", "ms"), [("080000", 120000.0), ("235900", 120000.0), ("104000", 0.0)])
def test_none_refuses_impossible_times_and_frames(time: str, ms: float) -> None:
    with pytest.raises(SuvError, match=r"AcquisitionTime|ActualFrameDuration 0"):
        audit(
            [at(time, 0.0, ms)],
            DecayCorrection="NONE",
            CorrectedImage="ATTN",
        )


def test_enhanced_frames_state_their_own_duration() -> None:
    item = {"FrameAcquisitionDateTime": "20240301104000", "FrameAcquisitionDuration": 120000.0}
    found = audit([item], DecayCorrection="NONE", CorrectedImage="ATTN")
    assert found.factors == audit([at("104000", 0.0)], DecayCorrection="NONE").factors
