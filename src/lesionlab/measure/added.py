"""Columns that only one kind of image has, and joining them to a lesion table; tables in pixels.

Only the container, the joining and the units; the values come from `kinetics`, `ultrasound` and `margin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lesionlab.core import units
from lesionlab.core.results import Column, LesionTable

LENGTHS: Final = (units.MILLIMETRE, units.SQUARE_MILLIMETRE, units.MILLILITRE)


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """More columns of a lesion table: a mapping per lesion, in the order of their numbers, and totals."""

    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, float], ...]
    total_columns: tuple[Column, ...] = ()
    totals: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()


def join(table: LesionTable, added: Added) -> LesionTable:
    """The table with the added columns behind its own; both have a row for each lesion."""
    rows = tuple({**row, **more} for row, more in zip(table.rows, added.rows, strict=True))
    return replace(
        table,
        columns=table.columns + added.columns,
        rows=rows,
        total_columns=table.total_columns + added.total_columns,
        totals={**table.totals, **(added.totals or {})},
        notes=table.notes + added.notes,
    )


def together(notes: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    """Notes of lesions (number, remark) with those of equal wording in one line."""
    by_text: dict[str, list[int]] = {}
    for number, text in notes:
        by_text.setdefault(text, []).append(number)
    lines = []
    for text, numbers in by_text.items():
        shown = ", ".join(str(n) for n in numbers[:5])
        more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
        lines.append(f"lesion{'s' if len(numbers) > 1 else ''} {shown}{more}: {text}")
    return tuple(lines)


def in_pixels(table: LesionTable) -> LesionTable:
    """A table measured as if a pixel were 1 mm, with the truth in its units: lengths and areas in pixels.

    For images whose spacing is not known: mm and mm2 become {pixels}, ml the number of pixels, and the g of
    a TLG their g/ml times that number.
    """

    def unit(old: str) -> str:
        if old == units.GRAM:
            return f"{units.GRAM}/{units.MILLILITRE}.{units.PIXELS}"
        return units.PIXELS if old in LENGTHS else old.replace(units.MILLIMETRE, units.PIXELS)

    def relabel(columns: Sequence[Column]) -> tuple[Column, ...]:
        return tuple(replace(c, unit=unit(c.unit)) for c in columns)

    by_volume = (units.MILLILITRE, units.GRAM)
    volumes = {c.name for c in (*table.columns, *table.total_columns) if c.unit in by_volume}
    rows = tuple({k: v * 1000.0 if k in volumes else v for k, v in row.items()} for row in table.rows)
    totals = {k: v * 1000.0 if k in volumes else v for k, v in table.totals.items()}
    return replace(
        table,
        columns=relabel(table.columns),
        rows=rows,
        total_columns=relabel(table.total_columns),
        totals=totals,
    )
