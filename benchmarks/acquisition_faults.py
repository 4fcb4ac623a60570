"""How far may a model be trusted when the scan is bad? Simulated acquisition faults at rising strength.

Every patient of a fold is examined by that fold, which has not seen him, after each fault at each strength;
the truth stays as it was. Motion, ghosting, bias field and spikes are TorchIO's (a development dependency)
and are left out, with a word, where it is not installed; the others are LesionLab's own.

    python benchmarks/acquisition_faults.py WORKSPACE --fold 0 -o benchmarks/results
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.files import write_text, writing
from lesionlab.core.recipe import Recipe
from lesionlab.core.volume import Volume
from lesionlab.core.workspace import open_workspace
from lesionlab.evaluate import score_case
from lesionlab.evaluate.faults import FAULTS, Fault, trusted_up_to
from lesionlab.pipeline.patient import open_standardised
from lesionlab.pipeline.training import SOURCES_FILE, fold_bundle
from lesionlab.predict import Bundle, predict
from lesionlab.refine import refine

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COMMAND = "python benchmarks/acquisition_faults.py WORKSPACE --fold 0 -o benchmarks/results"
DICE, TMTV = 3, 4
"""Columns of a row."""
WORSE = {DICE: 0.05, TMTV: 10.0}
"""A model is trusted while its mean Dice falls, or its mean absolute TMTV error rises, by at most so much."""
Row = tuple[str, float, str, float, float]
"""Fault, strength, case, Dice and error of TMTV in %."""


def torchio_faults() -> tuple[Fault, ...]:
    """TorchIO's faults of Fourier space and its bias field, with one number for strength; or nothing."""
    try:
        import torch
        import torchio
    except ImportError:
        return ()

    def applied(volume: Volume, transform: object) -> Volume:
        tensor = torch.from_numpy(np.array(volume.array, np.float32))[None]
        # TorchIO's axes are ours (z, y, x) here; the spacing is all it needs to know of the geometry
        image = torchio.ScalarImage(tensor=tensor, affine=np.diag([*volume.geometry.spacing, 1.0]))
        array = transform(image).numpy()[0]  # type: ignore[operator]
        return volume.with_array(np.maximum(array, min(0.0, float(volume.array.min()))))

    def motion(volume: Volume, strength: float, seed: int) -> Volume:
        random = np.random.default_rng(seed)
        times = np.array([0.25, 0.5, 0.75])
        turns, shifts = strength * random.uniform(-1, 1, (2, 3, 3))
        return applied(volume, torchio.Motion(turns, shifts, times, "linear"))

    def ghosting(volume: Volume, strength: float, seed: int) -> Volume:
        axis = int(np.random.default_rng(seed).integers(1, 3))
        return applied(volume, torchio.Ghosting(4, axis, strength, 0.02))

    def bias_field(volume: Volume, strength: float, seed: int) -> Volume:
        terms = np.random.default_rng(seed).uniform(-1, 1, 20)
        terms[0] = 0.0  # a constant is the scale error's
        return applied(volume, torchio.BiasField((strength * terms).tolist(), 3))

    def spikes(volume: Volume, strength: float, seed: int) -> Volume:
        places = np.random.default_rng(seed).uniform(0.3, 0.7, (2, 3))
        return applied(volume, torchio.Spike(places, strength))

    return (
        Fault("motion", "turns (degrees) and shifts (mm) up to", (2.0, 5.0, 10.0, 20.0), motion),
        Fault("ghosting", "share of every 4th plane of k-space lost", (0.25, 0.5, 0.75, 1.0), ghosting),
        Fault("bias field", "coefficients of order 3 up to", (0.1, 0.25, 0.5, 1.0), bias_field),
        Fault("spikes", "share of the spectrum's maximum, two spikes", (0.05, 0.1, 0.2, 0.4), spikes),
    )


def spoilt(case: Case, fault: Fault, strength: float, seed: int) -> Case:
    """The case with the fault on its reference channel."""
    name = case.reference
    return replace(case, channels={**case.channels, name: fault.apply(case.channels[name], strength, seed)})


def scored(case: Case, bundle: Bundle) -> tuple[float, float]:
    """Dice, and the error of the total metabolic tumour volume in %."""
    mask = refine(predict(case, bundle, device="cpu"), case, bundle.recipe).mask
    assert case.truth is not None  # noqa: S101 (planned cases have one)
    values = score_case(case.id, mask, case.truth).values
    return values["dice"], values["volume_error_percent"]


def held_out(root: Path, fold: int) -> tuple[list[Case], Bundle, Recipe]:
    """The cases that a fold has not seen, and its bundle without mirroring (an eighth of the time)."""
    workspace, recipe = open_workspace(root)
    sources = json.loads((root / SOURCES_FILE).read_text(encoding="utf-8"))["cases"]
    split = json.loads((workspace.preprocessed / "splits_final.json").read_text())[fold]
    cases = [
        open_standardised(sources[name]["source"], recipe, case_id=sources[name]["case_id"])
        for name in sorted(split["val"])
    ]
    bundle = fold_bundle(workspace, recipe, fold)
    return cases, replace(bundle, recipe=recipe.changed(prediction={"mirror": False})), recipe


def strengths_of(fault: Fault) -> list[float]:
    """The strengths with 0, no fault, among them."""
    return sorted({0.0, *fault.strengths})


def run(cases: Sequence[Case], bundle: Bundle, faults: Sequence[Fault]) -> list[Row]:
    """Every fault at every strength on every case; the clean case is examined once."""
    rows: list[Row] = []
    clean = {case.id: scored(case, bundle) for case in cases}
    for fault in faults:
        for strength in strengths_of(fault):
            for seed, case in enumerate(cases):
                found = (
                    clean[case.id] if strength == 0.0 else scored(spoilt(case, fault, strength, seed), bundle)
                )
                rows.append((fault.name, strength, case.id, *found))
        print(f"{fault.name} done", file=sys.stderr)
    return rows


def values_at(rows: Sequence[Row], fault: str, strength: float, column: int) -> np.ndarray:
    """The patients' Dice or TMTV errors of a fault at a strength, in one order."""
    return np.array([row[column] for row in rows if row[0] == fault and row[1] == strength])


def limits(rows: Sequence[Row], fault: Fault, column: int) -> dict[str, float]:
    """How far the model is trusted: by direction where strengths have two signs, else `up` alone."""

    def scores(strength: float) -> np.ndarray:
        values = values_at(rows, fault.name, strength, column)
        return values if column == DICE else -np.abs(values)

    sides = {
        "down": [s for s in reversed(strengths_of(fault)) if s < 0],
        "up": [s for s in strengths_of(fault) if s > 0],
    }
    return {
        side: trusted_up_to(steps, [scores(s) for s in steps], scores(0.0), loss=WORSE[column])
        for side, steps in sides.items()
        if steps
    }


def limit_words(found: Mapping[str, float], fault: Fault) -> str:
    """The limits in words for table and plot."""
    most = {"down": min(fault.strengths), "up": max(fault.strengths)}
    parts = []
    for side, value in found.items():
        where = f"{value:g}" if value else f"not even {_first(fault, side):g}"
        parts.append(f"{where} (all tried)" if value == most[side] else where)
    return " and ".join(parts)


def _first(fault: Fault, side: str) -> float:
    sign = 1.0 if side == "up" else -1.0
    return sign * min(abs(s) for s in fault.strengths if s * sign > 0)


def plot(rows: Sequence[Row], fault: Fault, path: Path) -> None:
    """Dice and TMTV error against strength: patients thin, mean thick, the trusted range shaded."""
    steps = strengths_of(fault)
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    labels = (
        f"mean Dice falls by at most {WORSE[DICE]:g} up to",
        f"mean absolute TMTV error rises by at most {WORSE[TMTV]:g} points up to",
    )
    for axes, column, label in zip(panels, (DICE, TMTV), ("Dice", "TMTV error, %"), strict=True):
        trusted = limits(rows, fault, column)
        axes.set_title(f"{labels[column - DICE]}\n{limit_words(trusted, fault)}", fontsize=9)
        table = np.array([values_at(rows, fault.name, step, column) for step in steps])
        axes.plot(steps, table, color="0.75", linewidth=0.8)
        axes.plot(steps, table.mean(axis=1), color="C0", linewidth=2, marker="o", label="mean over patients")
        low, high = np.percentile(table, (25, 75), axis=1)
        axes.fill_between(steps, low, high, color="C0", alpha=0.15, label="middle half of patients")
        axes.axvspan(trusted.get("down", 0.0), trusted["up"], color="C2", alpha=0.10)
        axes.set_xlabel(f"{fault.name}: {fault.meaning}")
        axes.set_ylabel(label)
    panels[0].set_ylim(0, 1)
    panels[1].axhline(0.0, color="0.4", linewidth=0.8)
    panels[0].legend(fontsize=8, loc="lower left")
    with writing(path) as temporary:
        figure.savefig(temporary, dpi=100, metadata={"Software": None})
    plt.close(figure)


def fault_table(rows: Sequence[Row], faults: Sequence[Fault]) -> list[str]:
    """A row per fault and strength, and one with the limit of trust per fault."""
    lines = [
        "| fault | strength | Dice mean (worst) | change of mean | TMTV error %, mean (mean absolute) |",
        "|---|---|---|---|---|",
    ]
    for fault in faults:
        clean = values_at(rows, fault.name, 0.0, DICE).mean()
        for strength in strengths_of(fault):
            if strength == 0.0 and fault is not faults[0]:
                continue
            dice, error = (values_at(rows, fault.name, strength, column) for column in (DICE, TMTV))
            name = "none" if strength == 0.0 else fault.name
            lines.append(
                f"| {name} | {strength:g} | {dice.mean():.3f} ({dice.min():.3f}) "
                f"| {dice.mean() - clean:+.3f} | {error.mean():+.1f} ({np.abs(error).mean():.1f}) |"
            )
    lines += [
        "",
        f"| fault | strength is | mean Dice falls by at most {WORSE[DICE]:g} up to "
        f"| mean absolute TMTV error rises by at most {WORSE[TMTV]:g} points up to | plot |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {fault.name} | {fault.meaning} | {limit_words(limits(rows, fault, DICE), fault)} "
        f"| {limit_words(limits(rows, fault, TMTV), fault)} | [plot]({picture_name(fault)}) |"
        for fault in faults
    ]
    return lines


def picture_name(fault: Fault) -> str:
    """The plot's path beside the table."""
    return f"acquisition_faults/{fault.name.lower().replace(' ', '_')}.png"


def page(rows: Sequence[Row], faults: Sequence[Fault], recipe: Recipe, note: str, *, fold: int) -> str:
    """The committed table."""
    cases = len({row[2] for row in rows})
    lines = [
        "# Acquisition faults: how far a small PET model may be trusted",
        "",
        f"Made by `{COMMAND}`.",
        f"Recipe {recipe.name} ({recipe.sha256[:12]}), fold {fold}, its {cases} held-out sarcoma patients, "
        f"without mirroring. {note}".rstrip(),
        "",
        *fault_table(rows, faults),
        "",
        "The fault is put on the SUV image, the truth stays. A scale error goes into SUVmax, SUVpeak and TLG "
        "in full, whatever the mask does. Motion, ghosting and spikes are faults of MR's "
        "Fourier space; on PET they stand for artefacts of that look. Few patients and one seed each: read "
        "the plots, not the third digit. Values per patient: `acquisition_faults.csv`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run; exit 1 when a Dice could not be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workspace", type=Path, help="a workspace with the fold trained")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--note", default="", help="a sentence for the table, e.g. on the machine")
    options = parser.parse_args()
    began = time.perf_counter()
    cases, bundle, recipe = held_out(options.workspace, options.fold)
    more = torchio_faults()
    if not more:
        print(
            "TorchIO is not installed: motion, ghosting, bias field and spikes are left out", file=sys.stderr
        )
    faults = (*FAULTS, *more)
    rows = run(cases, bundle, faults)
    for fault in faults:
        plot(rows, fault, options.out / picture_name(fault))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["fault", "strength", "case", "dice", "tmtv_error_percent"])
    writer.writerows(
        [name, f"{s:g}", case, f"{dice:.4f}", f"{error:.2f}"] for name, s, case, dice, error in rows
    )
    write_text(options.out / "acquisition_faults.csv", text.getvalue())
    write_text(
        options.out / "acquisition_faults.md", page(rows, faults, recipe, options.note, fold=options.fold)
    )
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    print("\n".join(fault_table(rows, faults)))
    return 1 if any(math.isnan(row[3]) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
