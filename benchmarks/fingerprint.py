"""The fingerprint of a data set beside nnU-Net's: equal plans first, then seconds and memory.

Both read the same raw folder of NIfTI files in processes of their own and write dataset_fingerprint.json;
then nnU-Net's planner plans from either. Memory is that of all processes together (nnU-Net starts workers).

    python benchmarks/fingerprint.py DATA -o benchmarks/results

DATA holds `sts` (36 patients with PET) and `bus_bra` (of which the first 150 images are taken). About three
minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.files import write_json, write_text
from lesionlab.core.volume import Volume
from lesionlab.core.workspace import Workspace
from lesionlab.plan.fingerprint import Fingerprint
from lesionlab.read.nifti import load_volume

IMAGES = 150
"""So many of the ultrasound images."""
INTENSITIES = "foreground_intensity_properties_per_channel"
NOISE = 0.01
"""Largest difference of a statistic that passes, as a share of the 0.5th to 99.5th percentile."""


def sts_cases(data: Path) -> list[tuple[str, Volume, Volume]]:
    """Name, PET and contour of every sarcoma patient."""
    from lesionlab.read import find_cases, open_case

    found = []
    for path in find_cases(data / "sts"):
        case = open_case(path)
        if case.truth is not None and case.reference == "suv":
            found.append((case.id, case.channels["suv"], case.truth))
    return found


def bus_cases(data: Path) -> list[tuple[str, Volume, Volume]]:
    """Name, image and outline of the first ultrasound images."""
    from lesionlab.read import load_mask, open_case

    found = []
    for path in sorted((data / "bus_bra" / "Images").glob("*.png"))[:IMAGES]:
        image = open_case(path).channels["us"]
        mask = load_mask(data / "bus_bra" / "Masks" / path.name.replace("bus_", "mask_"), image.geometry)
        found.append((path.stem, image, mask))
    return found


def write_raw(cases: Sequence[tuple[str, Volume, Volume]], workspace: Workspace, channel: str) -> int:
    """nnU-Net's raw folder of these cases; returns the number of foreground voxels."""
    from lesionlab.report import save_volume

    voxels = 0
    for name, image, truth in cases:
        label = truth.with_array((truth.array > 0).astype(np.uint8))
        voxels += int(label.array.sum())
        save_volume(
            image.with_array(image.array.astype(np.float32)),
            workspace.raw / "imagesTr" / f"{name}_0000.nii.gz",
        )
        save_volume(label, workspace.raw / "labelsTr" / f"{name}.nii.gz")
    facts = {"channel_names": {"0": channel}, "labels": {"background": 0, "lesion": 1}}
    write_json(workspace.raw / "dataset.json", {**facts, "numTraining": len(cases), "file_ending": ".nii.gz"})
    return voxels


def ours(workspace: Workspace, target: Path) -> None:
    """Our fingerprint of a raw folder; the next case is read in a thread while one is counted."""

    def read(label: Path) -> tuple[str, Volume, Volume]:
        name = label.name.removesuffix(".nii.gz")
        image = load_volume(workspace.raw / "imagesTr" / f"{name}_0000.nii.gz")
        return name, image, load_volume(label)

    labels = sorted((workspace.raw / "labelsTr").glob("*.nii.gz"))
    with Fingerprint(target.parent) as gathered, ThreadPoolExecutor(1) as thread:
        coming = thread.submit(read, labels[0])
        for following in [*labels[1:], None]:
            name, image, truth = coming.result()
            if following is not None:
                coming = thread.submit(read, following)
            gathered.add(name, [image.array], truth.array, image.geometry.spacing)
        write_json(target, gathered.result())


def peer(workspace: Workspace, target: Path) -> None:
    """nnU-Net's, by its own extractor with as many processes as there are cores."""
    with workspace.environment(loaders=1):
        from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
            DatasetFingerprintExtractor,
        )

        DatasetFingerprintExtractor(workspace.dataset, len(os.sched_getaffinity(0))).run(
            overwrite_existing=True
        )
    shutil.copyfile(workspace.preprocessed / "dataset_fingerprint.json", target)


def measured(kind: str, workspace: Workspace, target: Path) -> tuple[float, float]:
    """Seconds of a fingerprint in a process of its own, and GB of it and its children at their peak."""
    command = [sys.executable, __file__, "--work", kind, str(workspace.root), workspace.name, str(target)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _, complaint, gb = watched(process)
    if process.returncode:
        raise RuntimeError(complaint[-2000:])
    return time.perf_counter() - start, gb


def watched(process: subprocess.Popen[str]) -> tuple[str, str, float]:
    """What a process writes on stdout and stderr, and GB of it and its children at their peak."""
    peak = [0.0]
    watch = threading.Thread(target=_watch, args=(process, peak))
    watch.start()
    text, complaint = process.communicate()
    watch.join()
    return text, complaint, peak[0]


def _watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], tree_gb(process.pid))
        time.sleep(0.05)


def tree_gb(number: int) -> float:
    """GB that a process and all below it hold now."""
    return sum(_kb_of(one) for one in _tree(number)) / 1e6


def _tree(number: int) -> list[int]:
    """A process and all below it."""
    found = [number]
    for task in Path(f"/proc/{number}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        found += [below for child in children for below in _tree(child)]
    return found


def _kb_of(number: int) -> int:
    """Memory of a process, what it shares counted in parts."""
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def plans_from(workspace: Workspace, fingerprint: Path) -> dict[str, Any]:
    """nnU-Net's default plans from a fingerprint."""
    with workspace.environment(loaders=1):
        from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
            ExperimentPlanner,
        )

        shutil.copyfile(fingerprint, workspace.preprocessed / "dataset_fingerprint.json")
        shutil.copyfile(workspace.raw / "dataset.json", workspace.preprocessed / "dataset.json")
        stdout, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115, PTH123 (it prints the plans)
        try:
            ExperimentPlanner(workspace.dataset).plan_experiment()
        finally:
            sys.stdout.close()
            sys.stdout = stdout
    plans: dict[str, Any] = json.loads((workspace.preprocessed / "nnUNetPlans.json").read_text())
    return plans


def differences(mine: dict[str, Any], theirs: dict[str, Any]) -> tuple[list[str], float]:
    """Keys of two plans that differ, intensities apart; and how far those are apart at most.

    The latter is a share of the range from the 0.5th to the 99.5th percentile.
    """
    pairs = [(mine[INTENSITIES][key], theirs[INTENSITIES][key]) for key in theirs[INTENSITIES]]
    worst = max(
        abs(a[name] - b[name]) / (b["percentile_99_5"] - b["percentile_00_5"])
        for a, b in pairs
        for name in ("mean", "std", "median", "percentile_00_5", "percentile_99_5")
    )
    keys = sorted(({*mine} | {*theirs}) - {INTENSITIES})
    return [key for key in keys if mine.get(key) != theirs.get(key)], worst


def compare(name: str, cases: Sequence[tuple[str, Volume, Volume]], channel: str, scratch: Path) -> str:
    """One row of the table."""
    workspace = Workspace(scratch / name, name)
    voxels = write_raw(cases, workspace, channel)
    files = {kind: scratch / name / f"{kind}.json" for kind in ("ours", "peer")}
    found = {kind: measured(kind, workspace, file) for kind, file in files.items()}
    different, worst = differences(*(plans_from(workspace, file) for file in files.values()))
    if different or worst > NOISE:
        raise RuntimeError(
            f"found plans of {name} that differ in {different} and by {worst:.2g}; needed equal"
        )
    (mine_s, mine_gb), (peer_s, peer_gb) = found["ours"], found["peer"]
    return (
        f"| {len(cases)} {name}, {voxels:,} foreground voxels | {mine_s:.1f} | {peer_s:.1f} "
        f"| {peer_s / mine_s:.1f}x | {mine_gb:.2f} | {peer_gb:.2f} | {peer_gb / mine_gb:.1f}x "
        f"| equal; intensities within {100 * worst:.2g} % |"
    )


def main() -> int:
    """Compare on both data sets and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("-o", "--out", type=Path, help="folder for fingerprint.md")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, root, name, target = options.work
        {"ours": ours, "peer": peer}[kind](Workspace(Path(root), name), Path(target))
        return 0
    if options.data is None or options.out is None:
        parser.error("found no DATA or no folder to write to; needed both")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            compare("sarcoma PET", sts_cases(options.data), "PET", Path(folder)),
            compare("ultrasound images", bus_cases(options.data), "US", Path(folder)),
        ]
    from importlib.metadata import version

    lines = [
        "# The fingerprint beside nnU-Net's",
        "",
        "Made by `python benchmarks/fingerprint.py DATA -o benchmarks/results` on "
        f"{len(os.sched_getaffinity(0))} cores ({platform.machine()}, {platform.system()}), nnU-Net "
        f"{version('nnunetv2')}, numpy {version('numpy')}.",
        "",
        "| data | ours, s | nnU-Net, s | ratio | ours, GB | nnU-Net, GB | ratio | plans |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Whole commands, imports and reading included; memory of all their processes. Plans are those of "
        "nnU-Net's default planner from either fingerprint; intensities are mean, standard deviation and "
        "percentiles, as a share of the range from the 0.5th to the 99.5th percentile.",
    ]
    write_text(options.out / "fingerprint.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
