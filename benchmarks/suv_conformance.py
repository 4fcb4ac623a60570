"""SUV against its published answers: reference objects, vendors' headers, DICOM beside NIfTI; one table.

    python benchmarks/suv_conformance.py DATA -o benchmarks/results

DATA holds suv_dro (IBSI digital reference objects), suv_vendor_metadata, sts_dicom with sts, and pet_raw_ge;
a folder that is absent is named as such. Exit code 1 when a row fails.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.errors import LesionLabError
from lesionlab.core.files import write_text
from lesionlab.core.grid import resample
from lesionlab.core.private_tags import PHILIPS_ACTIVITY_FACTOR, PHILIPS_SUV_FACTOR
from lesionlab.read import load_mask, load_volume, open_pet
from lesionlab.standardise import suv_audit, suv_volume

OBJECT_ANSWER = (0.20, 1.00, 4.00)
OBJECT_TOLERANCE = 0.005
COARSE_TOLERANCE = 0.03
"""For objects in CM2ML only: stored at slope 0.01, they cannot read 4.00."""
FACTOR_TOLERANCE = 2e-4
PRIVATE = {"SUVScaleFactor": PHILIPS_SUV_FACTOR, "ActivityConcentrationScaleFactor": PHILIPS_ACTIVITY_FACTOR}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    rule: str
    found: str
    wanted: str
    passed: bool
    warnings: str = ""


def objects(folder: Path) -> Iterator[Row]:
    """Every digital reference object: minimum, median and maximum of SUVbw inside its mask."""
    wanted = " / ".join(f"{value:.2f}" for value in OBJECT_ANSWER)
    for path in sorted(folder.glob("DRO_*")):
        try:
            case = open_pet(path)
            volume, audit = suv_volume(case, "SUVbw")
            inside = load_mask(next(path.glob("mask/*.nii.gz")), volume.geometry).array > 0
        except LesionLabError as error:
            yield Row(path.name, "", str(error), wanted, False)
            continue
        values = volume.array[inside]
        found = (float(values.min()), float(np.median(values)), float(values.max()))
        tolerance = COARSE_TOLERANCE if "CM2ML" in audit.rule else OBJECT_TOLERANCE
        passed = all(abs(a - b) <= tolerance for a, b in zip(found, OBJECT_ANSWER, strict=True))
        shown = " / ".join(f"{value:.4f}" for value in found)
        yield Row(path.name, audit.rule, shown, wanted, passed, "; ".join(audit.warnings))


def headers(folder: Path) -> Iterator[Row]:
    """Every vendor's header: the SUVbw factor of its first instance."""
    for line in csv.DictReader((folder / "expected_suvbw_factors.csv").read_text().splitlines()):
        name, wanted = line["file"].removesuffix("-instances.json"), float(line["suvbw_factor"])
        instances = json.loads((folder / "test" / "metadata" / line["file"]).read_text())
        slices = [named(instance) for instance in instances]
        try:
            audit = suv_audit(name, slices[0], slices)
        except LesionLabError as error:
            yield Row(name, "", str(error), f"{wanted:.6g}", False)
            continue
        passed = all(abs(factor / wanted - 1) <= FACTOR_TOLERANCE for factor in audit.factors)
        yield Row(name, audit.rule, audit.span, f"{wanted:.6g}", passed, "; ".join(audit.warnings))


def named(instance: dict[str, Any]) -> dict[str, Any]:
    """An instance with its private attributes under the names that reading gives them."""
    private = instance.get("PhilipsPETPrivateGroup", {})
    return instance | {name: private[key] for key, name in PRIVATE.items() if key in private}


def same_grid(data: Path) -> Iterator[Row]:
    """A GML series beside its published NIfTI: the largest difference."""
    volume, audit = suv_volume(open_pet(data / "sts_dicom" / "STS_010"), "SUVbw")
    published = load_volume(data / "sts" / "STS_010" / "pet.nii.gz")
    worst = float(np.abs(volume.array - published.array).max())
    yield Row("sts_dicom/STS_010", audit.rule, f"differs by {worst:.2g}", "below 1e-4", worst < 1e-4)


def raw(data: Path) -> Iterator[Row]:
    """A raw BQML series beside the published SUV of a part of it: slices that agree."""
    volume, audit = suv_volume(open_pet(data / "pet_raw_ge" / "image"), "SUVbw")
    published = load_volume(data / "pet_raw_ge" / "reference_suv_crop.nii.gz")
    ours = resample(volume, published.geometry)
    agree = int((np.abs(ours.array - published.array).max(axis=(1, 2)) < 0.001).sum())
    found = f"{agree} of {len(ours.array)} slices within 0.001"
    yield Row("pet_raw_ge", audit.rule, found, "57 of 59", agree >= 57, "; ".join(audit.warnings))


def tables(data: Path) -> list[tuple[str, list[Row]]]:
    """Title and rows of each part whose data is there; a part without data has no rows."""
    parts = (
        ("Digital reference objects: SUVbw min / median / max", data / "suv_dro", lambda p: objects(p)),
        ("Vendors' headers: SUVbw factor", data / "suv_vendor_metadata", lambda p: headers(p)),
        ("GML as DICOM beside NIfTI", data / "sts_dicom", lambda p: same_grid(p.parent)),
        ("Raw BQML beside the published SUV", data / "pet_raw_ge", lambda p: raw(p.parent)),
    )
    return [(title, list(make(folder)) if folder.is_dir() else []) for title, folder, make in parts]


def page(parts: list[tuple[str, list[Row]]]) -> str:
    """The tables as Markdown, the command on top."""
    lines = [
        "# SUV against its published answers",
        "",
        "Made by `python benchmarks/suv_conformance.py DATA -o benchmarks/results`.",
        f"Reference objects must read 0.20 / 1.00 / 4.00 within {OBJECT_TOLERANCE} ({COARSE_TOLERANCE} for",
        "CM2ML, whose values are stored in steps of 0.01); vendors' factors agree within "
        f"{100 * FACTOR_TOLERANCE:g} %.",
    ]
    for title, rows in parts:
        passed = sum(row.passed for row in rows)
        head = f"{passed} of {len(rows)} passed" if rows else "data absent"
        lines += ["", f"## {title}: {head}", ""]
        if rows:
            lines += ["| what | rule | found | wanted | passed | warnings |", "|---|---|---|---|---|---|"]
            lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table's cells."""
    return row.name, row.rule, row.found, row.wanted, "yes" if row.passed else "NO", row.warnings


def main() -> int:
    """Print the table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, help="folder for suv_conformance.md")
    arguments = parser.parse_args()
    parts = tables(arguments.data)
    text = page(parts)
    sys.stdout.write(text)
    if arguments.out is not None:
        write_text(arguments.out / "suv_conformance.md", text)
    return 0 if all(row.passed for _, rows in parts for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
