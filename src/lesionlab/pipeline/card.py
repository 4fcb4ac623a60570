"""The model card: what a bundle is, what it was trained on, how good it was on patients it had not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lesionlab.core.recipe import Recipe

COUNTS = {
    "cases": "cases",
    "empty_truth": "without a lesion",
    "empty_prediction": "nothing found",
    "both_empty": "rightly nothing found",
    "missing_predictions": "without a prediction",
}
"""What the summary counts, in words; counts of none are left out."""


def model_card(
    recipe: Recipe, patients: Mapping[str, str], folds: Sequence[str], summary: Mapping[str, Any] | None
) -> str:
    """The card as Markdown; `patients` maps training cases to patients, `summary` is of held-out scores."""
    settings = recipe.training
    return _card(
        recipe,
        [
            f"- {_people(patients)}; folds by patient: {', '.join(folds)}",
            f"- nnU-Net v2, {' then '.join(recipe.steps)}, {recipe.network.architecture} network",
            f"- weights at the start: {_start(settings.start_from)}",
            f"- at most {settings.epochs} epochs of {settings.iterations} steps",
        ],
        summary,
    )


def ensemble_card(
    recipe: Recipe, patients: Mapping[str, str], members: Sequence[str], summary: Mapping[str, Any] | None
) -> str:
    """The card of an ensemble; `members` says of each bundle in members/ what it is."""
    return _card(
        recipe,
        [
            f"- {_people(patients)}",
            "- the mean probability of these, each with a card of its own:",
            *(f"  - members/{number}: {words}" for number, words in enumerate(members, start=1)),
        ],
        summary,
    )


def _card(recipe: Recipe, training: Sequence[str], summary: Mapping[str, Any] | None) -> str:
    lines = [
        f"# {recipe.name}",
        "",
        recipe.description or "A lesion segmentation model.",
        "",
        "Research software, not a medical device. It finds what resembles the lesions it was trained on.",
        "",
        "## Input and output",
        "",
        *(f"- channel `{name}`: {_scaling(recipe, name)}" for name in recipe.channels),
        *_made_before(recipe),
        f"- masks on the grid of `{recipe.reference}`; labels "
        + ", ".join(f"{number} = {label}" for label, number in recipe.labels.items()),
        "",
        "## Training",
        "",
        *training,
        f"- all settings: recipe.toml (hash {recipe.sha256[:12]})",
        "",
        "## On patients it had not seen",
        "",
        *_scores(summary),
    ]
    return "\n".join(lines) + "\n"


def _people(patients: Mapping[str, str]) -> str:
    return f"{len(patients)} cases of {len(set(patients.values()))} patients"


def _start(file: str | None) -> str:
    return "random" if file is None else f"`{Path(file).name}`"


def _scaling(recipe: Recipe, name: str) -> str:
    channel = recipe.channels[name]
    if channel.normalisation == "fixed":
        clip = "" if channel.clip is None else f"clipped to {channel.clip[0]:g} to {channel.clip[1]:g}, "
        curve = ", then ln(1 + x)" if channel.curve == "log" else ""
        return f"{clip}divided by {channel.divide_by:g}{curve}, the same for every patient"
    words = {"ct": "nnU-Net's CT scheme", "zscore": "z-score of each case", "none": "as it is"}
    return words[channel.normalisation]


def _made_before(recipe: Recipe) -> list[str]:
    """What becomes of a scan before nnU-Net's plan begins, which stock nnU-Net does not do; [] if nothing."""
    size = recipe.standardise.size
    slices = [] if size is None else [f"slices resized to {size[0]} x {size[1]} (rows, columns)"]
    fixed = [f"`{name}`" for name, channel in recipe.channels.items() if channel.normalisation == "fixed"]
    done = [*([f"the scaling of {', '.join(fixed)}"] if fixed else []), *slices]
    told = [f"- {text}" for text in slices]
    stock = f"- LesionLab does this itself; stock nnU-Net wants files that have it: {', '.join(done)}"
    return [*told, stock] if done else []


def _scores(summary: Mapping[str, Any] | None) -> list[str]:
    if summary is None:
        return ["Not cross-validated."]
    counts = [
        f"{words}: {summary[key]}" for key, words in COUNTS.items() if summary.get(key) or key == "cases"
    ]
    pooled = [f"{name} {_number(value)}" for name, value in summary.get("pooled", {}).items()]
    return [
        "Each case was examined by the fold that had not seen its patient.",
        "",
        *(f"- {text}" for text in counts),
        *([f"- pooled over all voxels: {', '.join(pooled)}"] if pooled else []),
        *([f"- {summary['spacing']}"] if summary.get("spacing") else []),
        *_interval_note(summary.get("intervals", {})),
        "",
        "| measure | mean | 95 % interval | median | cases |",
        "|---|---|---|---|---|",
        *(_row(name, entry) for name, entry in summary["metrics"].items() if entry["n"]),
    ]


def _interval_note(how: Mapping[str, Any]) -> list[str]:
    if not how:
        return []
    manner = f"{how['method']}, {how['resamples']} resamples"
    return [f"- intervals: bootstrap over {how['patients']} patients ({manner})"]


def _row(name: str, entry: Mapping[str, Any]) -> str:
    """A measure's line; one that no case has a value for is left out by the caller."""
    low, high = entry.get("mean_low"), entry.get("mean_high")
    interval = "-" if low is None or high is None else f"{_number(low)} to {_number(high)}"
    return f"| {name} | {_number(entry['mean'])} | {interval} | {_number(entry['median'])} | {entry['n']} |"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"
