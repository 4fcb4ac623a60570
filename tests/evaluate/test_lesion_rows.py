from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from lesionlab.core.volume import Geometry
from lesionlab.evaluate import lesion_records, lesions_csv, match_lesions, sensitivity_of_records
from lesionlab.evaluate.lesions import HEAD

GRID = Geometry((4, 10, 20), (5.0, 2.0, 2.0), (100.0, -50.0, 7.0))


def records():
    """A true lesion of 8 voxels, 4 of them covered; one that is missed, and a false one."""
    truth, mask = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    truth[1:3, 2:4, 2:4] = True
    truth[0, 9, 19] = True
    mask[1, 2, 2:4] = mask[1, 3, 2] = True
    mask[2, 3, 3] = mask[3, 8, 10:12] = True
    return lesion_records("P1", match_lesions(mask, truth, GRID.voxel_ml), GRID)


def test_a_record_of_every_lesion():
    found = records()
    assert [tuple(record) for record in found] == [HEAD] * len(found)
    big, missed = (r for r in found if r["side"] == "truth")
    assert (big["volume_ml"], big["found"], big["iou"]) == (pytest.approx(0.16), 1, pytest.approx(4 / 8))
    # mean index (1.5, 2.5, 2.5) in world mm
    assert (big["x_mm"], big["y_mm"], big["z_mm"]) == pytest.approx((105.0, -45.0, 14.5))
    assert (missed["found"], missed["partners"], missed["touching"], missed["iou"]) == (0, "", 0, 0.0)
    assert (missed["x_mm"], missed["y_mm"], missed["z_mm"]) == pytest.approx((138.0, -32.0, 7.0))
    false = [r for r in found if r["side"] == "prediction" and not r["found"]]
    assert [(r["volume_ml"], r["partners"]) for r in false] == [(pytest.approx(0.04), "")]


def test_partners_name_each_other():
    truth, mask = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    truth[1, 1, 1:9] = True
    mask[1, 1, 1:4] = mask[1, 1, 6:8] = True
    rows = lesion_records("P1", match_lesions(mask, truth, GRID.voxel_ml), GRID)
    assert [(r["side"], r["lesion"], r["partners"], r["touching"]) for r in rows] == [
        ("truth", 1, "1 2", 2),
        ("prediction", 1, "1", 1),
        ("prediction", 2, "1", 1),
    ]
    assert rows[0]["iou"] == pytest.approx(3 / 8)


def test_the_table_and_the_sizes():
    found = records()
    rows = list(csv.DictReader(io.StringIO(lesions_csv(found))))
    assert [row["lesion"] for row in rows] == [str(record["lesion"]) for record in found]
    assert lesions_csv([]) == ",".join(HEAD) + "\n"
    first = sensitivity_of_records(found)[0]
    assert (first.lesions, first.found) == (2, 1)
    assert sum(item.lesions for item in sensitivity_of_records([])) == 0


def test_no_lesion_gives_no_record():
    nothing = np.zeros(GRID.shape, bool)
    assert lesion_records("P1", match_lesions(nothing, nothing, GRID.voxel_ml), GRID) == []
