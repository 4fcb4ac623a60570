"""Tiles over the patient alone (`skip_outside_body`) beside nnU-Net's, on scans with air around the patient.

    make demo
    python benchmarks/body_tiles.py out/demo/bundle out/demo/cohort/unseen/patients -o benchmarks/results

Every patient is predicted as scanned, and in a field of view so many times as wide (`--wide`) whose air holds
a little noise (zeros would be cut away, as in nnU-Net): with nnU-Net's tiles, with tiles over the patient
alone, and, to tell how much another place of the tiles changes anyhow, with nnU-Net's tiles a little closer
together. The bundle has learned from scans without that air. `--wide 1` measures your own scans as they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from road import dice, environment, table

from lesionlab.core.case import Case
from lesionlab.core.files import write_text
from lesionlab.core.volume import Volume
from lesionlab.pipeline.patient import open_standardised
from lesionlab.predict import Bundle, load_bundle, predict

NOISE = 0.02
"""Standard deviation of the air's uptake, as SUVbw; the patient is looked for above 0.1."""
CLOSER = 0.4
"""Step of the tiles that lie closer than nnU-Net's, which are half a patch apart."""


@dataclass(frozen=True)
class Found:
    """A mask in the scan's own field of view, the tiles it took, and seconds of processor."""

    mask: NDArray[np.bool_]
    tiles: int
    seconds: float


def widened(case: Case, factor: float) -> tuple[Case, tuple[slice, ...]]:
    """The case in a field of view `factor` times as wide, with air around; where it lies in that."""
    height, width = case.channels[case.reference].geometry.shape[1:]
    room = [(0, 0), *((round(n * (factor - 1) / 2),) * 2 for n in (height, width))]
    random = np.random.default_rng(0)

    def wide(name: str, volume: Volume) -> Volume:
        array = np.pad(volume.array, room, constant_values=volume.array.min())
        if name == case.reference:
            air = np.abs(random.normal(0, NOISE, array.shape)).astype(array.dtype)
            array = np.maximum(array, air)
        geometry = replace(volume.geometry, shape=array.shape)
        return Volume(array, geometry, volume.unit)

    inner = (slice(None), *(slice(a, a + n) for (a, _), n in zip(room[1:], (height, width), strict=True)))
    channels = {name: wide(name, volume) for name, volume in case.channels.items()}
    return replace(case, channels=channels, truth=None), inner


def found(case: Case, bundle: Bundle, inner: tuple[slice, ...], **settings: float) -> Found:
    """What the bundle finds with these settings of prediction."""
    tiles = 0

    def count(words: str, share: float) -> None:
        nonlocal tiles
        tiles += ": tile " in words

    changed = replace(bundle, recipe=bundle.recipe.changed(prediction=settings))
    start = time.process_time()
    mask = predict(case, changed, device="cpu", progress=count).mask.array > 0
    return Found(mask[inner], tiles, time.process_time() - start)


def row_of(case: Case, bundle: Bundle, factor: float) -> list[float]:
    """Tiles, seconds, agreement and Dice with the truth of one patient."""
    wide, inner = widened(case, factor)
    narrow = found(replace(case, truth=None), bundle, (slice(None),) * 3)
    usual, over = (found(wide, bundle, inner, skip_outside_body=chosen) for chosen in (False, True))
    closer = found(wide, bundle, inner, step=CLOSER)
    truth = case.truth.array > 0 if case.truth is not None else np.zeros_like(narrow.mask)
    scores = [dice(truth, one.mask) for one in (narrow, usual, over, closer)]
    same = [dice(usual.mask, over.mask), dice(usual.mask, closer.mask)]
    return [usual.tiles, over.tiles, usual.seconds, over.seconds, *same, *scores]


def page(rows: dict[str, list[float]], factor: float) -> list[str]:
    """The lines of the results."""
    head = [
        *("patient", "tiles as in nnU-Net", "over the patient", "s as in nnU-Net", "s over the patient"),
        *("Dice between both", f"Dice with step {CLOSER}"),
        *("as scanned", "wide, as in nnU-Net", "wide, over the patient", f"wide, step {CLOSER}"),
    ]
    means = [float(np.mean(column)) for column in zip(*rows.values(), strict=True)]
    lines = [
        [
            name,
            *(f"{n:.0f}" for n in row[:2]),
            *(f"{n:.1f}" for n in row[2:4]),
            *(f"{n:.3f}" for n in row[4:]),
        ]
        for name, row in {**rows, "mean": means}.items()
    ]
    return [
        "# Tiles over the patient alone",
        "",
        f"Made by `python benchmarks/body_tiles.py BUNDLE SCANS --wide {factor:g} -o benchmarks/results`, "
        "on the demo's bundle and unseen patients.",
        f"{environment()}.",
        "",
        *table(head, lines),
        "",
        "The last four columns are Dice with the truth; two empty masks have Dice 1.",
        "Seconds are the processor's.",
        f"Over the patient {means[0] / means[1]:.1f}x fewer tiles, {means[2] / means[3]:.1f}x as fast.",
    ]


def main() -> int:
    """Measure every patient with a truth and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("scans", type=Path, help="a folder of patients")
    parser.add_argument("--wide", type=float, default=2.0, help="so many times the field of view")
    parser.add_argument("-o", "--out", type=Path, help="folder for body_tiles.md")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    rows: dict[str, list[float]] = {}
    for folder in sorted(path for path in options.scans.iterdir() if path.is_dir()):
        rows[folder.name] = row_of(open_standardised(folder, bundle.recipe), bundle, options.wide)
        print(folder.name, *(f"{n:.3g}" for n in rows[folder.name]), file=sys.stderr, flush=True)
    lines = page(rows, options.wide)
    if options.out is not None:
        write_text(options.out / "body_tiles.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
