"""The ratios of `make bench` in one table, beside what was aimed at.

    python benchmarks/summary.py benchmarks/results

Reads the tables that the other scripts wrote and measures nothing itself, in no time at all. Rows whose ratio
is below the aim say so; a table that is missing is named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lesionlab.core.files import write_text


@dataclass(frozen=True)
class Source:
    """A table: the columns of a row's name, of its ratios and its agreement, and the ratios aimed at."""

    file: str
    what: str
    names: tuple[int, ...]
    shipped: int
    tuned: int | None
    agreement: int | None
    aims: tuple[float | None, float | None]


SOURCES = (
    Source("whole_body.md", "whole body", (0, 1), 9, 10, 11, (10.0, 4.0)),
    Source("prediction.md", "two patients", (0,), 3, 5, 6, (5.0, 4.0)),
    Source("resampling.md", "resampling", (0,), 5, None, 2, (12.0, None)),
    Source("fingerprint.md", "fingerprint", (0,), 3, None, 7, (20.0, None)),
    Source("training_step.md", "training step", (0,), 3, 5, 7, (2.5, 1.3)),
    Source("logits_to_mask.md", "logits to mask", (0,), 5, None, 1, (5.0, None)),
    Source("scaling.md", "size of the scan", (0,), 5, 6, 11, (None, None)),
)
HEAD = ("benchmark", "row", "faster than nnU-Net as shipped", "than malloc-tuned", "agreement", "aims")


def table_of(text: str) -> list[list[str]]:
    """The rows of the first Markdown table in a text, without its head."""
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith("|---")), len(lines))
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return rows


def rows_of(source: Source, text: str) -> Iterator[list[str]]:
    """The summary's rows of one table; rows without a ratio are those of the peer."""
    for cells in table_of(text):
        if not cells[source.shipped]:
            continue
        ratios = [cells[source.shipped], "" if source.tuned is None else cells[source.tuned]]
        verdicts = [
            f"{aim:g}x {'met' if float(ratio.rstrip('x')) >= aim else 'missed'}"
            for ratio, aim in zip(ratios, source.aims, strict=True)
            if aim is not None and ratio
        ]
        agreement = "" if source.agreement is None else cells[source.agreement]
        name = ", ".join(cells[column] for column in source.names)
        yield [source.what, name, *ratios, agreement, "; ".join(verdicts)]


def summary(folder: Path) -> list[str]:
    """The lines of summary.md."""
    rows: list[list[str]] = []
    for source in SOURCES:
        file = folder / source.file
        if file.is_file():
            rows += rows_of(source, file.read_text(encoding="utf-8"))
        else:
            rows.append([source.what, f"{source.file} is not there", "", "", "", ""])
    return [
        "# Ours beside nnU-Net",
        "",
        "Collected by `python benchmarks/summary.py benchmarks/results` from the tables beside it, which",
        "tell machine, sizes and what was compared.",
        "",
        *(f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD), *rows)),
    ]


def main() -> int:
    """Write summary.md and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of the tables")
    lines = summary(parser.parse_args().results)
    write_text(parser.parse_args().results / "summary.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
