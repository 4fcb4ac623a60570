"""A whole-body PET/CT end to end beside nnU-Net: from channels in memory to the mask on the scan's grid.

    python benchmarks/whole_body.py -o benchmarks/results
    python benchmarks/whole_body.py -o benchmarks/results --computed 0 --spacing resampled

A synthetic scan of 2 x 326 x 400 x 400 voxels, a patient in a field of view of 98 x 82 x 82 cm (`road.py`),
and a 3D U-Net of 31 million random weights, patches of 128 x 128 x 128, no flips; at the scan's own spacing
and at 5/4 of it. Ours once with nnU-Net's tiles, which must give its mask, and once with tiles over the
patient alone (`skip_outside_body`), which give another: body_tiles.py tells what that is worth. Three tiles
of each run are computed, and the others are counted like them, ours as the peer's. With `--computed 0` all
are, into a table of its own: in half an hour at 5/4 of the spacing (`--spacing resampled`), in more than an
hour at its own. Memory is that of the whole process. The table is written anew after each spacing. About ten
minutes on two cores. The floor is the network's multiplications over what the machine does in a large matrix
product. `--small` tries all of it in a minute, on a scan and a network that say nothing, and writes no table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from road import (
    TUNED,
    Setting,
    agreement,
    ask,
    environment,
    multiplications,
    product_rate,
    say,
    table,
)

from lesionlab.core.files import write_text

SMALL = Setting((80, 100, 100), (32, 32, 32), (8, 16, 32), patient=True)
WHOLE_BODY = Setting((326, 400, 400), (128, 128, 128), (32, 64, 128, 256, 320, 320), patient=True)
SPACINGS = {"own": ("own spacing", 1.0), "resampled": ("5/4 of the spacing", 1.25)}
LEAST = {"fp32": 0.995, "bf16": 0.97}
"""Dice that passes. Random weights put many voxels near zero, where nnU-Net's sums in half precision decide
otherwise; trained weights agree better (prediction.md)."""


def compare(name: str, setting: Setting, scratch: Path) -> tuple[list[list[str]], bool]:
    """Table rows of one spacing, and whether the answers agree."""
    rows, passed, peers = [], True, []
    for label, extra in (("nnU-Net as shipped", {}), ("nnU-Net, malloc tuned", TUNED)):
        peers.append(ask("peer", setting, scratch, extra=extra))
        rows.append([name, label, *cells(peers[-1]), "", "", ""])
        say(", ".join(rows[-1]))
    for precision, least in LEAST.items():
        mine = ask("ours", setting, scratch, precision)
        same = agreement(mine, peers[0])
        passed = passed and same >= least
        ratios = [f"{peer['seconds'] / mine['seconds']:.1f}x" for peer in peers]
        rows.append([name, f"ours, {mine['name']}", *cells(mine), *ratios, f"{same:.4f}"])
        say(", ".join(rows[-1]))
    for precision in LEAST:
        mine = ask("ours", replace(setting, over_body=True), scratch, precision)
        ratios = [f"{peer['seconds'] / mine['seconds']:.1f}x" for peer in peers]
        rows.append([name, f"ours over the patient, {mine['name']}", *cells(mine), *ratios, "other tiles"])
        say(", ".join(rows[-1]))
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


def page(rows: list[list[str]], words: str, lowest: str) -> list[str]:
    """The lines of the results so far; `words` are the command's arguments."""
    head = [
        *("scan", "what", "tiles (computed)", "all, s", "preparing, s", "network, s", "around it, s"),
        *("peak, GB", "beyond the scan, GB", "faster than shipped", "than tuned", "Dice with shipped"),
    ]
    return [
        "# A whole-body scan end to end, beside nnU-Net",
        "",
        f"Made by `python benchmarks/whole_body.py {words} -o benchmarks/results`.",
        f"{environment()}.",
        "",
        *table(head, rows),
        "",
        "The network's seconds, ours and nnU-Net's, are those of the computed tiles and, for each tile that "
        "was not, their median.",
        "Starting of processes and reading of files are left out on both sides; nnU-Net runs in one process.",
        "Ours prepares the scan as the window moves, so most of that is counted as around the network.",
        "Tiles over the patient are laid otherwise, so their masks are not nnU-Net's (body_tiles.md).",
        "",
        lowest,
    ]


def main() -> int:
    """Compare both spacings; 1 where answers disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--computed", type=int, default=3, help="tiles that are computed; 0 = all")
    parser.add_argument("--spacing", choices=SPACINGS, nargs="+", default=[*SPACINGS])
    parser.add_argument("--small", action="store_true", help="only try it, on a small scan and network")
    parser.add_argument("-o", "--out", type=Path, help="folder for whole_body.md")
    options = parser.parse_args()
    rows: list[list[str]] = []
    agreed, lowest = True, floor()
    say(lowest)
    whole = replace(SMALL if options.small else WHOLE_BODY, computed=options.computed or 10**6)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        # the first converts and keeps; what is timed is what every later run does
        ask("ours", replace(whole, computed=1), scratch)
        say("network converted")
        for name, target in (SPACINGS[chosen] for chosen in options.spacing):
            found, passed = compare(name, replace(whole, target=target), scratch)
            rows += found
            agreed = agreed and passed
            words = f"--computed {options.computed} --spacing {' '.join(options.spacing)}"
            lines = page(rows, words, lowest)
            if agreed and options.out is not None and not options.small:
                file = "whole_body.md" if options.computed else "whole_body_every_tile.md"
                write_text(options.out / file, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
