"""A whole-body PET/CT end to end beside nnU-Net: from channels in memory to the mask on the scan's grid.

    python benchmarks/whole_body.py -o benchmarks/results

A synthetic scan of 2 x 326 x 400 x 400 voxels and a 3D U-Net of 31 million random weights, patches of 128 x
128 x 128, no flips; at the scan's own spacing and at 5/4 of it. Three tiles of each run are computed, and the
others are counted like them (`--computed 0` computes all, for more than an hour). About six minutes on two
cores. The floor is the network's multiplications over what the machine does in a large matrix product.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from road import TUNED, Setting, agreement, ask, environment, multiplications, product_rate, table

from lesionlab.core.files import write_text

WHOLE_BODY = Setting((326, 400, 400), (128, 128, 128), (32, 64, 128, 256, 320, 320))
SPACINGS = {"own spacing": 1.0, "5/4 of the spacing": 1.25}
LEAST = {"fp32": 0.995, "bf16": 0.97}
"""Dice that passes. Random weights put many voxels near zero, where nnU-Net's sums in half precision decide
otherwise; trained weights agree better (prediction.md)."""


def compare(name: str, setting: Setting) -> tuple[list[list[str]], bool]:
    """Table rows of one spacing, and whether the answers agree."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        # the first converts and keeps; what is timed is what every later run does
        ask("ours", replace(setting, computed=1), scratch)
        peers = [ask("peer", setting, scratch), ask("peer", setting, scratch, extra=TUNED)]
        found = {precision: ask("ours", setting, scratch, precision) for precision in LEAST}
        rows, passed = [], True
        for label, peer in zip(("nnU-Net as shipped", "nnU-Net, malloc tuned"), peers, strict=True):
            rows.append([name, label, *cells(peer), "", "", ""])
        for precision, mine in found.items():
            same = agreement(mine, peers[0])
            passed = passed and same >= LEAST[precision]
            ratios = [f"{peer['seconds'] / mine['seconds']:.1f}x" for peer in peers]
            rows.append([name, f"ours, {mine['name']}", *cells(mine), *ratios, f"{same:.4f}"])
    return rows, passed


def cells(facts: dict[str, float]) -> list[str]:
    """Seconds and memory of one run."""
    seconds = [f"{facts[part]:.1f}" for part in ("seconds", "preparing", "network", "around")]
    memory = [f"{facts[part]:.2f}" for part in ("peak_gb", "added_gb")]
    return [f"{facts['tiles']} ({facts['computed']})", *seconds, *memory]


def floor() -> str:
    """The least that a tile can take on this machine, in a sentence."""
    work = multiplications(WHOLE_BODY) / 1e9
    peaks = {precision: product_rate(precision) / 1e9 for precision in LEAST}
    each = "; ".join(
        f"{precision} {peak:.0f} a second, so {work / peak:.1f} s a tile" for precision, peak in peaks.items()
    )
    return (
        f"Floor: {work:.0f} GMAC (10**9 multiplications) a tile. In a matrix product, this machine: {each}."
    )


def main() -> int:
    """Compare both spacings; 1 where answers disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--computed", type=int, default=3, help="tiles that are computed; 0 = all")
    parser.add_argument("-o", "--out", type=Path, help="folder for whole_body.md")
    options = parser.parse_args()
    rows, agreed = [], True
    for name, target in SPACINGS.items():
        setting = replace(WHOLE_BODY, target=target, computed=options.computed or 10**6)
        found, passed = compare(name, setting)
        rows += found
        agreed = agreed and passed
    head = [
        *("scan", "what", "tiles (computed)", "all, s", "preparing, s", "network, s", "around it, s"),
        *("peak, GB", "beyond the scan, GB", "faster than shipped", "than tuned", "Dice with shipped"),
    ]
    lines = [
        "# A whole-body scan end to end, beside nnU-Net",
        "",
        f"Made by `python benchmarks/whole_body.py --computed {options.computed} -o benchmarks/results`.",
        f"{environment()}.",
        "",
        *table(head, rows),
        "",
        "The network's seconds are those of the computed tiles and, for each other tile, their median.",
        "Starting of processes and reading of files are left out on both sides; nnU-Net runs in one process.",
        "",
        floor(),
    ]
    print("\n".join(lines))
    if agreed and options.out is not None:
        write_text(options.out / "whole_body.md", "\n".join(lines) + "\n")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
