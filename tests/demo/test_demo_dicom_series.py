"""What the phantom's scanner writes must say the truth in DICOM's own terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from lesionlab.core.contours import edge_loops
from lesionlab.core.units import HOUNSFIELD, ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts, write_ct_series, write_mr_series, write_pet_series

GRID = Geometry((5, 6, 7), (3.0, 2.0, 1.5), (10.0, -20.0, 30.0))


def _suv(seed: int = 1) -> Volume:
    values = np.random.default_rng(seed).gamma(1.0, 2.0, GRID.shape)
    values[3] = 0.0
    return Volume(values, GRID, SUVBW)


def test_pet_slices_hold_the_suv_within_half_a_slope(tmp_path: Path) -> None:
    study, suv = StudyFacts(beds=2), _suv()
    files = write_pet_series(tmp_path, suv, study)
    slopes = set()
    for index, path in enumerate(files):
        header = pydicom.dcmread(path)
        slope = float(header.RescaleSlope)
        slopes.add(slope)
        tracer = header.RadiopharmaceuticalInformationSequence[0]
        assert float(tracer.RadionuclideTotalDose) == study.dose_bq
        left = study.dose_bq * 2 ** (-study.uptake_s / study.half_life_s)
        to_suv = study.weight_kg * 1000 / left
        found = header.pixel_array * slope * to_suv
        assert np.abs(found - suv.array[index]).max() <= 0.5001 * slope * to_suv
        assert list(header.ImagePositionPatient) == [10.0, -20.0, 30.0 + 3.0 * index]
    assert len(slopes) == len(files)


def test_gml_needs_no_factor_and_bq_is_converted(tmp_path: Path) -> None:
    study, suv = StudyFacts(), _suv()
    activity = Volume(suv.array / study.suv_per_bq_ml, GRID, "Bq/ml")
    header = pydicom.dcmread(write_pet_series(tmp_path, activity, study, units="GML")[0])
    assert header.Units == "GML"
    np.testing.assert_allclose(header.pixel_array * float(header.RescaleSlope), suv.array[0], atol=1e-3)


def test_pet_of_another_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not 1"):
        write_pet_series(tmp_path, Volume(np.zeros(GRID.shape), GRID, ONE), StudyFacts())


def test_ct_and_mr_share_study_and_frame_with_pet(tmp_path: Path) -> None:
    study = StudyFacts(seed=4)
    ct = Volume(np.full(GRID.shape, -1000.0), GRID, HOUNSFIELD)
    headers = [
        pydicom.dcmread(files[0])
        for files in (
            write_ct_series(tmp_path / "ct", ct, study),
            write_mr_series(tmp_path / "mr", Volume(np.full(GRID.shape, 77), GRID, ONE), study),
            write_pet_series(tmp_path / "pt", _suv(), study),
        )
    ]
    assert len({h.StudyInstanceUID for h in headers}) == len({h.FrameOfReferenceUID for h in headers}) == 1
    assert len({h.SeriesInstanceUID for h in headers}) == 3
    assert headers[0].pixel_array[0, 0] + float(headers[0].RescaleIntercept) == -1000
    assert headers[1].pixel_array[0, 0] == 77
    assert "RescaleSlope" not in headers[1]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_pet_series(tmp_path / name, _suv(), StudyFacts(seed=seed))
    first, second, third = ((tmp_path / n / "pt_0000.dcm").read_bytes() for n in "abc")
    assert first == second != third


def test_loops_close_around_holes_and_diagonal_neighbours() -> None:
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
    loops = edge_loops(mask)
    assert sum(len(loop) for loop in loops) == 12 + 4 + 4
    assert edge_loops(np.zeros((3, 3), dtype=bool)) == []


def test_rtstruct_names_rois_and_keeps_one_without_contours(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    labels[1:3, 2:4, 2:5] = 1
    path = write_rtstruct(tmp_path / "rs.dcm", Volume(labels, GRID, ONE), StudyFacts(), names=("GTV", "none"))
    header = pydicom.dcmread(path)
    assert [roi.ROIName for roi in header.StructureSetROISequence] == ["GTV", "none"]
    assert [len(item.ContourSequence) for item in header.ROIContourSequence] == [2, 0]
