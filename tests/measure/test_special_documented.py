"""The reference page of DCE, ultrasound and margins shows the columns as they are."""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.registry import find_recipe
from lesionlab.core.settings import MarginSettings, UltrasoundSettings
from lesionlab.core.units import STORED
from lesionlab.measure.kinetics import kinetic_columns
from lesionlab.measure.margin import margin_columns, total_columns
from lesionlab.measure.ultrasound import ultrasound_columns


def test_the_documentation_shows_the_same_columns() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "dce-ultrasound-margins.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    columns = (
        *kinetic_columns(find_recipe("dce-measure").kinetics),
        *ultrasound_columns(UltrasoundSettings(), STORED, known=True),
        *margin_columns(MarginSettings()),
        *total_columns(MarginSettings()),
    )
    shown = [row for row in rows if row.count("|") == 5]
    assert shown == [f"| `{c.name}` | {c.unit} | {c.meaning} | {c.code} |" for c in columns]
