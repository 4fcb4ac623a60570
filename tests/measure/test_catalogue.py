from __future__ import annotations

from pathlib import Path

import pytest

from lesionlab.core import units
from lesionlab.measure.catalogue import lesion_columns, total_columns


@pytest.mark.parametrize("unit", [units.SUVBW, units.HOUNSFIELD, units.STORED, units.ACTIVITY])
def test_every_column_has_a_name_of_its_own_a_unit_and_a_meaning(unit):
    for columns in (lesion_columns(unit, 1.0), total_columns(unit)):
        names = [column.name for column in columns]
        assert len(set(names)) == len(names)
        assert all(column.unit and column.meaning for column in columns)


def test_suv_names_stand_for_suvbw_only():
    assert {"SUVmax", "SUVmean", "SUVpeak", "MTV", "TLG"} <= {
        c.name for c in lesion_columns(units.SUVBW, 1.0)
    }
    general = {c.name: c for c in (*lesion_columns(units.HOUNSFIELD, 1.0), *total_columns(units.HOUNSFIELD))}
    assert not any(name.startswith("SUV") or name in ("MTV", "TLG", "TMTV") for name in general)
    assert general["max"].unit == general["mean"].unit == units.HOUNSFIELD
    assert general["volume"].unit == "ml"


def test_the_peak_names_its_volume_and_radius():
    meaning = next(c.meaning for c in lesion_columns(units.SUVBW, 0.5) if c.name == "SUVpeak")
    assert "0.5 ml" in meaning
    assert "r = 4.9 mm" in meaning


def test_the_documentation_shows_the_same_columns():
    page = Path(__file__).parents[2] / "docs" / "reference" / "biomarkers.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    columns = (*lesion_columns(units.SUVBW, 1.0), *total_columns(units.SUVBW))
    assert rows == [f"| `{c.name}` | {c.unit} | {c.meaning} | {c.code} |" for c in columns]
