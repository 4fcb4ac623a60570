"""Where the seconds of `lesionlab examine` go on a small scan: imports, stages, and all but the network.

    python benchmarks/startup.py SCAN -m BUNDLE -o benchmarks/results

The scan is examined four times in processes of their own: once so that the network is converted, twice on
the clock (the quicker counts), once with Python telling how long each import takes (a share of which is the
telling). Half a minute on two cores.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import lesionlab
from lesionlab.core.files import write_text

PROGRAM = """
import atexit, importlib, json, sys, time
from lesionlab.cli import main

clock = getattr(time, sys.argv.pop(1))
spent, stack = {}, [[0.0]]

def timed(module, name, label):
    # seconds of a function less those of the timed ones below it
    try:
        holder = importlib.import_module(module)
    except ImportError:
        return
    *path, last = name.split(".")
    for one in path:
        holder = getattr(holder, one)
    function = getattr(holder, last, None)
    if function is None:
        return
    def run(*words, **named):
        stack.append([0.0])
        start = clock()
        try:
            return function(*words, **named)
        finally:
            took = clock() - start
            spent[label] = spent.get(label, 0.0) + took - stack.pop()[0]
            stack[-1][0] += took
    setattr(holder, last, run)

for part in PARTS:
    timed(*part)
atexit.register(lambda: print(json.dumps({**spent, "all that the process computed": time.process_time()})))
main()
"""
PARTS = (
    ("lesionlab.cli.scans", "open_bundle", "opening the bundle: hashes"),
    ("lesionlab.pipeline.patient", "open_standardised", "reading the scan"),
    ("lesionlab.predict.nnunet", "_load", "loading the networks"),
    ("lesionlab.predict.space", "Space.enter", "preparing"),
    ("lesionlab.predict.space", "Space.tiles", "preparing"),
    ("lesionlab.predict.tiles", "ResizedTiles.tile", "preparing"),
    ("lesionlab.predict.tiles", "ChannelTiles.tile", "preparing"),
    ("lesionlab.predict.openvino", "OpenVinoBackend._infer", "network"),
    ("lesionlab.predict.engine", "_Sums.add", "sums of the window"),
    ("lesionlab.predict.engine", "_Sums.means", "sums of the window"),
    ("lesionlab.predict.engine", "_Sums.forget", "sums of the window"),
    ("lesionlab.predict.space", "Space.leave", "logits to mask"),
    ("lesionlab.pipeline.patient", "refine", "refining and measuring"),
    ("lesionlab.pipeline.patient", "measure", "refining and measuring"),
    ("lesionlab.report.page", "write_findings", "report"),
)
"""What is timed: module, function, and the words of the table."""
IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
SHOWN = 12
AIM_S = 2.5


def run(words: list[str], how: list[str]) -> tuple[float, str, str]:
    """Seconds, stdout and stderr of Python with these options and words; RuntimeError when it fails."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *how, *words], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return seconds, done.stdout, done.stderr


def program() -> str:
    """The timed program."""
    return PROGRAM.replace("PARTS", repr(PARTS))


def imports(text: str) -> list[tuple[str, float]]:
    """Seconds of importing by package, the slowest first, from what `-X importtime` wrote."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        if match := IMPORT.match(line):
            found[match[2].split(".")[0]] += int(match[1])
    return [(name, spent / 1e6) for name, spent in found.most_common()]


def main() -> int:
    """Examine, add up, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for startup.md")
    parser.add_argument(
        "--clock",
        choices=["perf_counter", "process_time"],
        default="perf_counter",
        help="process_time counts what all threads compute, for a machine that is not quiet",
    )
    options = parser.parse_args()
    # as an installed package is; a checkout may not be
    compileall.compile_dir(Path(lesionlab.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        words = ["examine", str(options.scan), "-m", str(options.model), "-o", f"{folder}/out"]
        words += ["--device", "cpu"]
        run(words, ["-m", "lesionlab"])
        runs = []
        for _ in range(2):
            seconds, text, _ = run([options.clock, *words], ["-c", program()])
            runs.append((seconds, json.loads(text.splitlines()[-1])))
        loaded = imports(run(words, ["-X", "importtime", "-m", "lesionlab"])[2])
    whole, parts = min(runs, key=lambda pair: pair[0] - pair[1]["network"])
    network = parts["network"]
    outside = whole - network
    rest = sum(spent for _, spent in loaded[SHOWN:])
    lines = [
        "# Where the seconds of a small scan go",
        "",
        "Made by `python benchmarks/startup.py SCAN -m BUNDLE -o benchmarks/results` on "
        f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}).",
        "",
        f"`lesionlab examine`: {whole:.2f} s, of which the network {network:.2f} s; outside it "
        f"{outside:.2f} s (aim: {AIM_S} s).",
        "",
        f"| stage | s ({options.clock}) |",
        "|---|---|",
        *(f"| {name} | {spent:.2f} |" for name, spent in parts.items()),
        "",
        "Each stage without those below it; what is left of the whole is Python's start, imports and end.",
        "",
        "| importing | s |",
        "|---|---|",
        *(f"| {name} | {spent:.3f} |" for name, spent in loaded[:SHOWN]),
        f"| all others | {rest:.3f} |",
    ]
    write_text(options.out / "startup.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
