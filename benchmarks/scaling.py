"""1, 2, 4 and 8 times the voxels: seconds and memory of both roads from channels to a mask.

    python benchmarks/scaling.py -o benchmarks/results

A scan of 2 x 80 x 160 x 160 voxels gets longer along z, as a whole-body scan does, and a 3D U-Net of one
million weights slides over it in patches of 64 x 64 x 64. Every tile is computed. Linear time is the same
seconds per million voxels in each row; memory is what a run takes beyond the scan, less the prepared scan and
the mask, which must grow. About three minutes on two cores.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from road import TUNED, Setting, agreement, ask, environment, table

from lesionlab.core.files import write_text

FIRST = Setting((80, 160, 160), (64, 64, 64), (16, 32, 64, 128), computed=10**6)
TIMES = (1, 2, 4, 8)
LEAST = 0.99
"""Dice that passes; nnU-Net's sums in half precision decide voxels near zero otherwise."""


def main() -> int:
    """Compare every size; 1 where answers disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=TIMES)
    parser.add_argument("-o", "--out", type=Path, help="folder for scaling.md")
    options = parser.parse_args()
    rows, agreed = [], True
    for times in options.times:
        setting = replace(FIRST, shape=(FIRST.shape[0] * times, *FIRST.shape[1:]))
        voxels = math.prod(setting.shape)
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            ask("ours", replace(setting, shape=FIRST.shape, computed=1), scratch)
            found = [
                ask("ours", setting, scratch),
                ask("peer", setting, scratch),
                ask("peer", setting, scratch, extra=TUNED),
            ]
            same = agreement(found[0], found[1])
        agreed = agreed and same >= LEAST
        # two prepared channels of float32, and a mask of bytes
        grown = 9 * voxels / 1e9
        seconds = [one["seconds"] for one in found]
        rows.append(
            [
                *(f"{times}x", f"{voxels / 1e6:.1f}", *(f"{s:.1f}" for s in seconds)),
                *(f"{seconds[1] / seconds[0]:.1f}x", f"{seconds[2] / seconds[0]:.1f}x"),
                f"{seconds[0] / voxels * 1e6:.2f}",
                *(f"{one['added_gb'] - grown:.2f}" for one in found),
                f"{same:.4f}",
            ]
        )
    head = [
        *("size", "million voxels", "ours, s", "nnU-Net as shipped, s", "malloc tuned, s"),
        *("faster than shipped", "than tuned", "ours, s per million"),
        *("ours adds, GB", "shipped adds, GB", "tuned adds, GB", "Dice with shipped"),
    ]
    lines = [
        "# 1 to 8 times the voxels",
        "",
        "Made by `python benchmarks/scaling.py -o benchmarks/results`.",
        f"{environment()}.",
        "",
        *table(head, rows),
        "",
        '"Adds" is memory beyond the scan, the prepared scan (float32) and the mask, which must grow.',
    ]
    print("\n".join(lines))
    if agreed and options.out is not None:
        write_text(options.out / "scaling.md", "\n".join(lines) + "\n")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
