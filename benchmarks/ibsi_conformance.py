"""Conformance with the image biomarker standard (IBSI-1): values passed of values published.

Every published value of the digital phantom and of CT configurations A to E is computed and compared within
its tolerance; the settings are those of tests/ibsi_reference.py. Writes ibsi_conformance.md.

    python benchmarks/ibsi_conformance.py -o benchmarks/results
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from lesionlab.core.files import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import ibsi_reference

TITLES = {
    "image processing": "grids, masks and intensities of the chain",
    "morphology": "morphology",
    "spatial": "Moran's I and Geary's C",
    "local": "local intensity",
    "statistics": "intensity statistics",
    "histogram": "intensity histogram",
    "volume_histogram": "intensity-volume histogram",
    "glcm": "grey level co-occurrence",
    "glrlm": "grey level run length",
    "glszm": "grey level size zone",
    "gldzm": "grey level distance zone",
    "ngtdm": "neighbourhood grey tone difference",
    "ngldm": "neighbouring grey level dependence",
}


def table(checked: dict[str, list[ibsi_reference.Checked]]) -> list[str]:
    """Markdown rows: a family per row, a data set per column, values passed of values published."""
    defined = Counter((name, c.family) for name, values in checked.items() for c in values)
    passed = Counter((name, c.family) for name, values in checked.items() for c in values if c.passed)
    names = list(checked)
    head = [name if name == "phantom" else f"config. {name}" for name in names]
    lines = [f"| family | {' | '.join(head)} | all |", "|---" * (len(names) + 2) + "|"]
    for family in (*TITLES, None):
        cells = [_cell(defined, passed, chosen, family) for chosen in (*([name] for name in names), names)]
        lines.append(f"| {TITLES[family] if family else '**all**'} | {' | '.join(cells)} |")
    return lines


def _cell(
    defined: Counter[tuple[str, str]], passed: Counter[tuple[str, str]], names: list[str], family: str | None
) -> str:
    total = sum(n for (name, of), n in defined.items() if name in names and family in (None, of))
    good = sum(n for (name, of), n in passed.items() if name in names and family in (None, of))
    return f"{good} of {total}" if total else "–"


def main() -> int:
    """Compare every published value and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    checked = {name: ibsi_reference.check(name) for name in ibsi_reference.NAMES}
    failed = [(name, c) for name, values in checked.items() for c in values if not c.passed]
    lines = [
        "# Conformance with the image biomarker standard (IBSI-1)",
        "",
        "Made by `python benchmarks/ibsi_conformance.py -o benchmarks/results`.",
        "",
        "Values passed of values published with consensus (arXiv 1612.07003v11), for the digital phantom and",
        "CT configurations A to E. A value passes when, rounded to the digits of the published one, it lies",
        "within the published tolerance; where that is 0, it must be equal.",
        "",
        *table(checked),
        "",
    ]
    if failed:
        lines += ["| data set | tag | published | tolerance | found |", "|---|---|---|---|---|"]
        lines += [f"| {n} | {c.tag} | {c.value:g} | {c.tolerance:g} | {c.found} |" for n, c in failed]
    else:
        lines.append("No published value is missed.")
    lines += [
        "",
        "Five features have no published value in these sets: `morph_vol_dens_ombb`, `morph_area_dens_ombb`,",
        "`morph_vol_dens_mvee`, `morph_area_dens_mvee` and `ivh_auc`.",
    ]
    write_text(options.out / "ibsi_conformance.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
