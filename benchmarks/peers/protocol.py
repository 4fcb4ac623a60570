"""How a tool is asked for one lesion's features: JSON lines over a process's standard streams.

Each `ask_*.py` beside this file runs under the interpreter of the tool it names and serves that tool; so
nothing is imported here but the standard library. A request is one of

    {"do": "open", "lesion": {"name", "image", "mask", "bin_size", "bin_origin"}}
    {"do": "measure", "lesion": name, "repeats": n}     seconds of each call
    {"do": "values", "lesion": name}                    features by the tool's own names
    {"do": "peak"}                                      most MB of memory that the process has held

and each has one answer. Reading files is never timed, unless the tool takes nothing but paths.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VOLUME_HISTOGRAM_BINS = 1000
"""The one discretisation of the intensity-volume histogram that all three standard tools offer."""
Lesion = dict[str, Any]
Measure = Callable[[], dict[str, float]]
Opener = Callable[[Lesion], Measure]
"""Reads a lesion's files; what it returns does the timed work and gives the features."""


def serve(tool: str, version: str, opener: Opener) -> None:
    """Answer requests until standard input ends; whatever the tool prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer({"tool": tool, "version": version, "python": platform.python_version()})
    opened: dict[str, Measure] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "open":
            opened[request["lesion"]["name"]] = opener(request["lesion"])
            answer({})
        elif request["do"] == "peak":
            answer({"megabytes": peak_megabytes()})
        elif request["do"] == "values":
            values = opened[request["lesion"]]()
            answer({"values": {k: float(v) if math.isfinite(v) else None for k, v in values.items()}})
        else:
            answer({"seconds": [seconds(opened[request["lesion"]]) for _ in range(request["repeats"])]})


def peak_megabytes() -> float:
    """Most memory that this process has held, since it began (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024.0 for line in lines if line.startswith("VmHWM"))


def seconds(work: Measure) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Tool:
    """A tool's process, started with its interpreter; a context manager that ends the process it started."""

    def __init__(self, name: str, python: str, environment: dict[str, str] | None = None) -> None:
        self.name = name
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(HERE / f"ask_{name}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        hello = self._answer()
        self.version, self.python = hello["version"], hello["python"]
        self.start_s = time.perf_counter() - began

    def __enter__(self) -> Tool:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request, one answer."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def open(self, lesion: Lesion) -> None:
        """Have a lesion's files read."""
        self.ask(do="open", lesion=lesion)

    def seconds(self, lesion: str, repeats: int) -> list[float]:
        """Wall seconds of each of `repeats` calls."""
        return self.ask(do="measure", lesion=lesion, repeats=repeats)["seconds"]

    def values(self, lesion: str) -> dict[str, float]:
        """The features under the tool's own names; NaN where it gives none."""
        found = self.ask(do="values", lesion=lesion)["values"]
        return {key: math.nan if value is None else value for key, value in found.items()}

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{self.name}: its process ended; run benchmarks/peers/ask_{self.name}.py by hand"
            )
        return json.loads(line)
