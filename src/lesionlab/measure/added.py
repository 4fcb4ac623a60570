"""Columns that only one kind of image has, and joining them to a lesion table.

Only the container and the joining; the values come from `kinetics`, `ultrasound` and `margin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lesionlab.core.results import Column, LesionTable


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
