"""Scoring a mask beside MONAI, MedPy, surface-distance, panoptica and a plain loop: answers, then times.

Three made-up cases: two lesions in a small box, one large lesion, and a whole body (400 x 400 x 326, 30
lesions, some missed and some false). Each tool runs in a process of its own that has both masks in memory.
How to install the tools: docs/reference/evaluation.md.

    python benchmarks/evaluation_peers.py --peers PYTHON -o benchmarks/results
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers.protocol import Tool
from scipy import ndimage

from lesionlab.core.files import write_text

SPACING = (3.0, 2.04, 2.04)
"""Slices of 3 mm with pixels of 2.04 mm, as autoPET's scans have."""
EQUAL = 1e-6
ROUNDS = 3
OURS = "evaluation"
AREA = ("surface", "elements")
SURFACE = ("hd_mm", "hd95_mm", "assd_mm", "nsd_2mm")
NAMES = {
    OURS: "LesionLab",
    "surface_distance": "surface-distance",
    "monai": "MONAI",
    "medpy": "MedPy",
    "panoptica": "panoptica",
    "component_loop": "loop over components",
}


@dataclass(frozen=True)
class Row:
    """One tool asked for one part; `exact` names what must equal our value, `slow` calls are made once."""

    tool: str
    part: str
    exact: tuple[str, ...]
    what: str
    slow: bool = False


ROWS = (
    Row(OURS, "surface", SURFACE, "HD, HD95, ASSD, NSD"),
    Row("surface_distance", "surface", SURFACE, "HD, HD95, ASSD, NSD", slow=True),
    Row("monai", "surface", (), "HD, HD95, ASSD, NSD"),
    Row("monai", "elements", ("nsd_2mm",), "HD, HD95, ASSD, NSD by area"),
    Row("medpy", "surface", (), "HD, HD95, ASSD", slow=True),
    Row(OURS, "all", (), "all {count} metrics of a case"),
    Row("monai", "overlap", ("dice",), "Dice"),
    Row("medpy", "overlap", ("dice", "iou", "ppv", "sensitivity"), "Dice, IoU, PPV, sensitivity"),
    Row(
        "panoptica",
        "lesions",
        (
            "dice",
            "lesions_true",
            "lesions_predicted",
            "panoptic_quality",
            "segmentation_quality",
            "recognition_quality",
        ),
        "Dice, lesion counts, PQ, SQ, RQ",
    ),
    Row("component_loop", "lesions", ("fp_volume_ml", "fn_volume_ml"), "FP and FN volume", slow=True),
)
Masks = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def rough_ball(random: np.random.Generator, radius_mm: float) -> np.ndarray[Any, Any]:
    """A ball with an uneven edge and in one piece, in a box with an empty margin."""
    reach = [math.ceil(1.3 * radius_mm / step) + 1 for step in SPACING]
    axes = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    distance = np.sqrt(sum((axis * step) ** 2 for axis, step in zip(axes, SPACING, strict=True)))
    uneven = ndimage.gaussian_filter(random.standard_normal(distance.shape), 1.5)
    return one_piece(distance < radius_mm * (1.0 + 0.8 * np.clip(uneven, -0.35, 0.35)))


def one_piece(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The largest part whose voxels hang together by faces: no rule of connectivity sees it otherwise."""
    numbers, _ = ndimage.label(mask)
    return np.asarray(numbers == np.bincount(numbers.ravel())[1:].argmax() + 1)


def draw(into: np.ndarray[Any, Any], ball: np.ndarray[Any, Any], centre: tuple[int, ...]) -> None:
    """Add a ball around a voxel; it lies inside the array."""
    low = [c - n // 2 for c, n in zip(centre, ball.shape, strict=True)]
    into[tuple(slice(at, at + n) for at, n in zip(low, ball.shape, strict=True))] |= ball


def whole_body() -> Masks:
    """30 true lesions of 5 to 25 mm radius on a coarse lattice, so that none touch: 24 found; 5 false."""
    random = np.random.default_rng(20)
    shape = (326, 400, 400)
    mask, truth = np.zeros(shape, bool), np.zeros(shape, bool)
    places = [
        (z, y, x) for z in (30, 83, 136, 189, 242, 295) for y in (90, 170, 250, 320) for x in (90, 200, 310)
    ]
    for k, at in enumerate(random.permutation(np.array(places))[:35]):
        ball = rough_ball(random, random.uniform(5.0, 25.0))
        place = tuple(int(c) for c in at)
        if k < 30:
            draw(truth, ball, place)
        if k < 24:
            moved = tuple(c + int(random.integers(-1, 2)) for c in place)
            draw(mask, ball if k % 2 else one_piece(ndimage.binary_erosion(ball)), moved)
        elif k >= 30:
            draw(mask, ball, place)
    return mask, truth


def small() -> Masks:
    """Two lesions of 20 mm in a small box, each off by a voxel or two."""
    random = np.random.default_rng(21)
    mask, truth = np.zeros((40, 60, 100), bool), np.zeros((40, 60, 100), bool)
    for x, off in ((25, 1), (70, 2)):
        ball = rough_ball(random, 20.0)
        draw(truth, ball, (20, 30, x))
        draw(mask, ball, (20, 30 - off, x + off))
    return mask, truth


def large() -> Masks:
    """One lesion of 90 mm radius, eroded and moved by one voxel."""
    ball = rough_ball(np.random.default_rng(22), 90.0)
    mask, truth = (np.pad(array, 3) for array in (one_piece(ndimage.binary_erosion(ball)), ball))
    return np.roll(mask, 1, axis=2), truth


CASES = {"two lesions": small, "one large lesion": large, "whole body": whole_body}


class Bench:
    """One process per row, which has had the masks of one case opened."""

    def __init__(self, python: str | None, folder: Path) -> None:
        self.python, self.folder = python, folder

    def started(self, row: Row) -> Tool:
        """A fresh process for a row."""
        return Tool(row.tool, sys.executable if row.tool == OURS or not self.python else self.python)

    def rows(self) -> list[Row]:
        """Those whose tool can be asked."""
        return [row for row in ROWS if self.python or row.tool in (OURS, "component_loop")]

    def run(self, name: str, make: Any) -> dict[Row, tuple[dict[str, float], float, float]]:
        """Values, best seconds and peak MB of every row for one case; the first call of each is not timed."""
        mask, truth = make()
        paths = {}
        for side, array in (("mask", mask), ("truth", truth)):
            paths[side] = str(self.folder / f"{side}.npy")
            np.save(paths[side], array)
        found = {}
        for row in self.rows():
            long = mask.size > 10_000_000
            if long and row.part == "elements":
                continue  # a convolution of every voxel, left out to keep the run short
            with self.started(row) as tool:
                part = "hd95" if row.tool == "medpy" and row.part == "surface" and long else row.part
                tool.open({"name": name, **paths, "spacing": SPACING, "part": part})
                values, times = self._asked(tool, name, row, long)
                found[row] = (values, min(times), tool.ask(do="peak")["megabytes"])
                VERSIONS[row.tool] = tool.version
        return found

    @staticmethod
    def _asked(tool: Tool, name: str, row: Row, long: bool) -> tuple[dict[str, float], list[float]]:
        if row.slow and long:
            began = time.perf_counter()  # compiles nothing, so its first call is as good as any
            values = tool.values(name)
            return values, [time.perf_counter() - began]
        values = tool.values(name)
        return values, tool.seconds(name, ROUNDS if long else 5 * ROUNDS)


VERSIONS: dict[str, str] = {}


def compared(row: Row, values: dict[str, float], ours: dict[str, float]) -> str:
    """Whether what must be equal is, and the rest beside ours."""
    apart = [
        n for n in row.exact if n in values and not abs(values[n] - ours[n]) <= EQUAL * max(1.0, abs(ours[n]))
    ]
    parts = []
    if apart:
        parts.append("NOT EQUAL: " + ", ".join(f"{n} {values[n]:.6g} against {ours[n]:.6g}" for n in apart))
    elif row.exact:
        parts.append(f"{', '.join(row.exact)} equal")
    others = [n for n in values if n in ours and n not in row.exact]
    if others:
        parts.append(
            "by its own definition " + ", ".join(f"{n} {values[n]:.4g} (ours {ours[n]:.4g})" for n in others)
        )
    return "; ".join(parts)


def tables(name: str, found: dict[Row, tuple[dict[str, float], float, float]]) -> tuple[list[str], list[str]]:
    """Answers and times of one case."""
    whole = next(row for row in found if row.tool == OURS and row.part == "all")
    ours = found[whole][0]
    answers, times = [], []
    for row, (values, seconds, megabytes) in found.items():
        mine = next(
            found[r][1] for r in found if r.tool == OURS and (r.part == "surface") == (row.part in AREA)
        )
        if row.tool != OURS:
            answers.append(f"| {name} | {NAMES[row.tool]} | {compared(row, values, ours)} |")
        what = "HD95 alone" if list(values) == ["hd95_mm"] else row.what.format(count=len(ours))
        ratio = "1" if row.tool == OURS else f"{seconds / mine:.1f}"
        times.append(f"| {name} | {NAMES[row.tool]} | {what} | {seconds:.4f} | {ratio} | {megabytes:.0f} |")
    return answers, times


def machine() -> str:
    """Processor, cores, system, and how busy it is."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].split(":")[1].strip() if names else platform.processor()
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{name}, {os.cpu_count()} cores; {platform.system()}; load before the run {busy}"


PAGE = """\
# Scoring a mask beside MONAI, MedPy, surface-distance, panoptica and a loop over components

Made by `python benchmarks/evaluation_peers.py{given} -o benchmarks/results`.

- {machine}
- {versions}
- Voxels of 3 x 2.04 x 2.04 mm. `two lesions`: 40 x 60 x 100. `one large lesion`: {large}. `whole body`:
  326 x 400 x 400 with 30 true lesions, of which 24 are found, and 5 false ones.
- Best of {rounds} calls (whole body; slow ones are called once there) or {short} (the others), after one that
  is not timed. Both masks are in memory before; the peak is that of a whole process with its libraries.

## Equal answers

What a tool defines as we do must be equal to {equal:g}; `docs/reference/evaluation.md` tells how the others'
surface metrics are defined.

| case | tool | answers |
|---|---|---|
{answers}

## Times

Ratios are to LesionLab's surface metrics for surface metrics, and to all its metrics together for the rest.

| case | tool | what | seconds | of ours | peak MB |
|---|---|---|---|---|---|
{times}
"""


def main() -> None:
    """Run everything, print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has the four peers installed")
    parser.add_argument("--case", choices=CASES, action="append", help="only this case; may be repeated")
    parser.add_argument("-o", "--output", type=Path, help="folder for evaluation_peers.md")
    options = parser.parse_args()
    answers, times = [], []
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.peers, Path(folder))
        for name in options.case or CASES:
            lines = tables(name, bench.run(name, CASES[name]))
            answers += lines[0]
            times += lines[1]
    text = PAGE.format(
        given=" --peers PYTHON" if options.peers else "",
        machine=about,
        versions="; ".join(f"{NAMES[tool]} {VERSIONS[tool]}" for tool in VERSIONS),
        large=" x ".join(str(n) for n in large()[0].shape),
        rounds=ROUNDS,
        short=5 * ROUNDS,
        equal=EQUAL,
        answers="\n".join(answers),
        times="\n".join(times),
    )
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        write_text(options.output / "evaluation_peers.md", text)
    if "NOT EQUAL" in text:
        raise SystemExit("some answers are not equal")


if __name__ == "__main__":
    main()
