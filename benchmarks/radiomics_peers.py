"""Radiomics of one lesion beside PyRadiomics, MIRP and Pictologics: same lesions, same settings, one run.

First the answers are compared, then the clock runs: the tools take turns, so that a busy moment of the
machine falls on all. Then a fresh process's first lesion, with our kernels compiled before and not, and our
time and memory over lesions of up to ten million voxels. How to install the tools: docs/conformance.md.

    python benchmarks/radiomics_peers.py DATA/sts --pyradiomics PYTHON --mirp PYTHON --pictologics PYTHON \
        -o benchmarks/results
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from peers.naming import from_mirp, from_pictologics
from peers.protocol import HERE, Tool
from radiomics_record import lesion_of

from lesionlab.core.files import write_text
from lesionlab.measure.pyradiomics_names import rename_for_pyradiomics

LESIONS = ("STS_004/pet", "STS_004/ct")
PEERS = ("pyradiomics", "mirp", "pictologics")
EQUAL = 1e-6
ROUNDS = 9
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PICTOLOGICS_NUM_THREADS")
ONE_THREAD = dict.fromkeys(THREADS, "1")


@dataclass(frozen=True)
class Row:
    """One line of the table of times: which features, by which tool, on how many threads, how often."""

    features: str
    tool: str
    one_thread: bool
    options: Mapping[str, object]
    per_round: int = 10
    rounds: int = ROUNDS

    @property
    def label(self) -> str:
        """A name that no other row has."""
        return f"{self.features}: {self.tool}{', one thread' if self.one_thread else ''}"


DEFAULT, COMPLETE, OTHER, WHOLE = (
    "Pictologics' default",
    "all, GLCM and GLRLM merged",
    "PyRadiomics'",
    "all, GLCM and GLRLM both merged and averaged",
)
SETS: dict[str, dict[str, object]] = {
    OTHER: {
        "families": (
            "statistics", "morphology", "histogram", "glcm", "glrlm", "glszm", "ngtdm", "ngldm",
        ),
        "aggregations": ("3D_avg",),
    },
    DEFAULT: {
        "families": (
            "statistics", "morphology", "histogram", "volume_histogram",
            "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm",
        ),
        "aggregations": ("3D_comb",),
    },
    COMPLETE: {"aggregations": ("3D_comb",)},
    WHOLE: {},
}  # fmt: skip
"""What LesionLab is asked for beside which tool; its families hold more than PyRadiomics' features."""
ROWS = tuple(
    row
    for one_thread in (False, True)
    for row in (
        Row(OTHER, "lesionlab", one_thread, SETS[OTHER]),
        Row(OTHER, "pyradiomics", one_thread, {}, 1, 5),
        Row(DEFAULT, "lesionlab", one_thread, SETS[DEFAULT]),
        Row(DEFAULT, "pictologics", one_thread, {}),
        Row(COMPLETE, "lesionlab", one_thread, SETS[COMPLETE]),
        Row(COMPLETE, "pictologics", one_thread, {"complete": True}),
        Row(WHOLE, "lesionlab", one_thread, SETS[WHOLE]),
        Row(WHOLE, "mirp", one_thread, {}, 1, 2),
    )
    if not (one_thread and row.tool == "mirp")
)
COMPARED = (OTHER, COMPLETE, WHOLE)
"""In the table of answers; of Pictologics' two rows the longer."""


VOXELS: dict[str, int] = {}
"""Of each lesion; filled in by `main`."""
FEATURES: dict[str, int] = {}
"""How many each row's tool gives; filled in by `answers_table`."""


class Bench:
    """The tools that were given, each started once per number of threads, and the lesions they have open."""

    def __init__(self, pythons: Mapping[str, str], data: Path, stack: contextlib.ExitStack) -> None:
        self.rows = [row for row in ROWS if row.tool in pythons]
        self.tools: dict[tuple[str, bool], Tool] = {}
        for row in self.rows:
            key = (row.tool, row.one_thread)
            if key not in self.tools:
                environment = ONE_THREAD if row.one_thread else {}
                self.tools[key] = stack.enter_context(Tool(row.tool, pythons[row.tool], environment))
            for lesion in LESIONS:
                self.tools[key].open(
                    lesion_of(data, lesion, **row.options) | {"name": f"{lesion} {row.label}"}
                )

    def values(self, row: Row, lesion: str) -> dict[str, float]:
        """What a row's tool answers."""
        return self.tools[row.tool, row.one_thread].values(f"{lesion} {row.label}")

    def times(self, lesion: str) -> dict[str, list[float]]:
        """Seconds of every call by row, the rows taking turns; each has answered before."""
        seconds: dict[str, list[float]] = {row.label: [] for row in self.rows}
        for turn in range(ROUNDS):
            for row in self.rows:
                if turn < row.rounds:
                    tool = self.tools[row.tool, row.one_thread]
                    seconds[row.label] += tool.seconds(f"{lesion} {row.label}", row.per_round)
        return seconds


def compared(ours: dict[str, float], theirs: dict[str, float], voxel_mm3: float, tool: str) -> str:
    """One line: how many features are equal, and the largest differences of the others."""
    mine = rename_for_pyradiomics(ours, voxel_mm3) if tool == "pyradiomics" else ours
    answers = {"mirp": from_mirp, "pictologics": from_pictologics}.get(tool, dict)(theirs)
    apart = {}
    for name, value in answers.items():
        own = mine.get(name)
        if own is not None and not (math.isnan(value) and math.isnan(own)):
            apart[name] = abs(own - value) / max(abs(value), 1e-12)
    unlike = sorted((name for name, d in apart.items() if not d <= EQUAL), key=lambda name: -apart[name])
    shown = ", ".join(f"{name} {apart[name]:.1g}" for name in unlike)
    return f"{len(apart) - len(unlike)} of {len(answers)} equal | {shown or 'none'}"


def answers_table(bench: Bench) -> list[str]:
    """Equal answers first; also warms every row up."""
    lines = [
        "| lesion | tool | features equal to ours (1e-6) | others, relative difference |",
        "|---|---|---|---|",
    ]
    for lesion in LESIONS:
        found = {row.label: bench.values(row, lesion) for row in bench.rows}
        ours = found[Row(WHOLE, "lesionlab", False, {}).label]
        voxel = ours["morph_vol_approx"] / VOXELS[lesion]
        for row in bench.rows:
            if row.tool != "lesionlab" and not row.one_thread and row.features in COMPARED:
                line = compared(ours, found[row.label], voxel, row.tool)
                lines.append(f"| {lesion} | {row.tool} | {line} |")
            FEATURES[row.label] = len(found[row.label])
    return lines


def times_table(bench: Bench) -> list[str]:
    """Median and best milliseconds, and how many times ours of the same features the median is."""
    heads = [f"{lesion}, {VOXELS[lesion]:,} voxels: ms | best | of ours" for lesion in LESIONS]
    lines = [f"| features | tool | number | {' | '.join(heads)} |", "|---" * (3 + 3 * len(LESIONS)) + "|"]
    taken = {lesion: bench.times(lesion) for lesion in LESIONS}
    for row in bench.rows:
        cells = []
        base = replace(row, tool="lesionlab").label
        for lesion in LESIONS:
            mine, own = (statistics.median(taken[lesion][label]) for label in (base, row.label))
            best = 1000 * min(taken[lesion][row.label])
            cells.append(f"{1000 * own:.2f} | {best:.2f} | {own / mine:.2f}x")
        tool = f"{row.tool}, one thread" if row.one_thread else row.tool
        lines.append(f"| {row.features} | {tool} | {FEATURES[row.label]} | {' | '.join(cells)} |")
    return lines


def first_lesion(tool: str, python: str, data: Path, environment: dict[str, str]) -> float:
    """Seconds from starting a process to its first lesion's answer."""
    lesion = lesion_of(data, LESIONS[0])
    began = time.perf_counter()
    with Tool(tool, python, environment) as started:
        started.open(lesion)
        started.seconds(lesion["name"], 1)
        return time.perf_counter() - began


def first_table(pythons: Mapping[str, str], data: Path) -> list[str]:
    """A fresh process: compiled kernels cached, and for us also with an empty cache."""
    lines = ["| tool | fresh process to its first lesion, s |", "|---|---|"]
    for tool, python in pythons.items():
        lines.append(f"| {tool}, kernels cached | {first_lesion(tool, python, data, {}):.1f} |")
    with tempfile.TemporaryDirectory() as empty:
        cold = first_lesion("lesionlab", sys.executable, data, {"NUMBA_CACHE_DIR": empty})
    return [*lines, f"| lesionlab, the very first time on a machine | {cold:.1f} |"]


def sizes_table() -> list[str]:
    """Time and memory over the size of a made-up lesion, without and with the sums over pairs of voxels."""
    lines = [
        "| voxels | box | without Moran and Geary: s | microseconds a voxel | MB above the image | "
        "bytes a voxel of the box | everything: s | microseconds a voxel | MB above the image | "
        "bytes a voxel of the box |",
        "|---" * 10 + "|",
    ]
    for size in SIZES:
        cells = []
        for which in ("without", "everything"):
            command = [sys.executable, str(HERE / "one_size.py"), str(size), which]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            cells.append(
                f"{found['seconds']:.3f} | {1e6 * found['seconds'] / found['voxels']:.2f} | "
                f"{found['megabytes']:.0f} | {found['megabytes'] * 2**20 / found['box']:.0f}"
            )
        lines.append(f"| {found['voxels']:,} | {found['box']:,} | {' | '.join(cells)} |")
    return lines


def machine() -> str:
    """Processor, cores, system, and how busy it is."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].split(":")[1].strip() if names else platform.processor()
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{name}, {os.cpu_count()} cores; {platform.system()}; load before the run {busy}"


PAGE = """\
# Radiomics of one lesion beside PyRadiomics, MIRP and Pictologics

Made by `python benchmarks/radiomics_peers.py DATA/sts{given} -o benchmarks/results`.

- {machine}
- {versions}
- Bins of 0.25 SUV (PET) and 25 HU (CT) from the same origin, native grid, 3D. Reading files is not timed, but
  for MIRP, which takes paths. LesionLab is asked for the same features as the tool beside it: PyRadiomics
  averages GLCM and GLRLM over directions, Pictologics merges them (by default all but Moran's I, Geary's C
  and the local peaks), MIRP does both. The tools take turns; ratios are of medians.

## Equal answers

{answers}

## Times

{times}

## The first lesion

{first}

## Time and memory over size (LesionLab, a sphere, everything in 3D)

{sizes}
"""


def main() -> None:
    """Run everything, print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of sarcoma patients, sts")
    for name in PEERS:
        parser.add_argument(f"--{name}", metavar="PYTHON")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"))
    options = vars(parser.parse_args())
    for variable in THREADS:
        os.environ.pop(variable, None)
    given = {name: options[name] for name in PEERS if options[name]}
    pythons = {"lesionlab": sys.executable} | given
    data = options["data"]
    VOXELS.update({lesion: lesion_of(data, lesion)["voxels"] for lesion in LESIONS})
    parts = {"machine": machine(), "given": "".join(f" --{name} PYTHON" for name in given)}
    with contextlib.ExitStack() as stack:
        bench = Bench(pythons, data, stack)
        tools = [tool for (_, one_thread), tool in bench.tools.items() if not one_thread]
        parts["versions"] = "; ".join(f"{tool.name} {tool.version} (Python {tool.python})" for tool in tools)
        parts["answers"] = "\n".join(answers_table(bench))
        parts["times"] = "\n".join(times_table(bench))
    parts["first"] = "\n".join(first_table(pythons, data))
    parts["sizes"] = "\n".join(sizes_table())
    text = PAGE.format(**parts)
    print(text)
    options["output"].mkdir(parents=True, exist_ok=True)
    write_text(options["output"] / "radiomics_peers.md", text)


if __name__ == "__main__":
    main()
