"""1, 2, 4 and 8 times the voxels: seconds and memory of both roads from channels to a mask.

    python benchmarks/scaling.py -o benchmarks/results

A scan of 2 x 80 x 144 x 144 voxels gets longer along z, as a whole-body scan does; it is brought to 5/4 of
its spacing, and a small 3D U-Net (8 to 64 features) slides over it in patches of 64 x 96 x 96. Every tile is
computed. Linear time is the same seconds per million voxels in each row. Memory is what a process takes at
its peak beyond what it held with the scan in it, less the mask, which must grow. The table is written anew
after each size. About three minutes on two cores.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from road import TUNED, Setting, agreement, ask, environment, say, table

from lesionlab.core.files import write_text

FIRST = Setting((80, 144, 144), (64, 96, 96), (8, 16, 32, 64), target=1.25, computed=10**6)
TIMES = (1, 2, 4, 8)
LEAST = 0.99
"""Dice that passes; nnU-Net's sums in half precision decide voxels near zero otherwise."""


def compare(times: int, scratch: Path) -> tuple[list[str], float]:
    """The row of one size, and the Dice of our mask and the peer's."""
    setting = replace(FIRST, shape=(FIRST.shape[0] * times, *FIRST.shape[1:]))
    voxels = math.prod(setting.shape)
    found = [
        ask("ours", setting, scratch),
        ask("peer", setting, scratch),
        ask("peer", setting, scratch, extra=TUNED),
    ]
    same = agreement(found[0], found[1])
    seconds, mask_gb = [one["seconds"] for one in found], voxels / 1e9
    row = [
        *(f"{times}x", f"{voxels / 1e6:.1f}", *(f"{s:.1f}" for s in seconds)),
        *(f"{seconds[1] / seconds[0]:.1f}x", f"{seconds[2] / seconds[0]:.1f}x"),
        f"{seconds[0] / voxels * 1e6:.2f}",
        *(f"{one['added_gb'] - mask_gb:.2f}" for one in found),
        f"{same:.4f}",
    ]
    return row, same


def page(rows: list[list[str]]) -> list[str]:
    """The lines of the results so far."""
    head = [
        *("size", "million voxels", "ours, s", "nnU-Net as shipped, s", "malloc tuned, s"),
        *("faster than shipped", "than tuned", "ours, s per million"),
        *("ours adds, GB", "shipped adds, GB", "tuned adds, GB", "Dice with shipped"),
    ]
    return [
        "# 1 to 8 times the voxels",
        "",
        "Made by `python benchmarks/scaling.py -o benchmarks/results`.",
        f"{environment()}.",
        "",
        *table(head, rows),
        "",
        '"Adds" is a process\'s peak memory beyond what it held with the scan in it, less the mask.',
    ]


def main() -> int:
    """Compare every size; 1 where answers disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=TIMES)
    parser.add_argument("-o", "--out", type=Path, help="folder for scaling.md")
    options = parser.parse_args()
    rows: list[list[str]] = []
    agreed = True
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        ask("ours", replace(FIRST, computed=1), scratch)
        say("network converted")
        for times in options.times:
            row, same = compare(times, scratch)
            rows.append(row)
            say(f"{times}x: {', '.join(row)}")
            agreed = agreed and same >= LEAST
            if agreed and options.out is not None:
                write_text(options.out / "scaling.md", "\n".join(page(rows)) + "\n")
    print("\n".join(page(rows)))
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
