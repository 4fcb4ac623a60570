"""The model card: what a bundle is, what it was trained on, how good it was on patients it had not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lesionlab.core.recipe import Recipe


def model_card(
    recipe: Recipe, patients: Mapping[str, str], folds: Sequence[str], summary: Mapping[str, Any] | None
) -> str:
    """The card as Markdown; `patients` maps training cases to patients, `summary` is of held-out scores."""
    people = len(set(patients.values()))
    settings = recipe.training
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
        f"- masks on the grid of `{recipe.reference}`; labels "
        + ", ".join(f"{number} = {label}" for label, number in recipe.labels.items()),
        "",
        "## Training",
        "",
        f"- {len(patients)} cases of {people} patients; folds by patient: {', '.join(folds)}",
        f"- nnU-Net v2, {' then '.join(recipe.steps)}, {recipe.network.architecture} network",
        f"- at most {settings.epochs} epochs of {settings.iterations} steps",
        f"- all settings: recipe.toml (hash {recipe.sha256[:12]})",
        "",
        "## On patients it had not seen",
        "",
        *_scores(summary),
    ]
    return "\n".join(lines) + "\n"


def _scaling(recipe: Recipe, name: str) -> str:
    channel = recipe.channels[name]
    if channel.normalisation == "fixed":
        clip = "" if channel.clip is None else f"clipped to {channel.clip[0]:g} to {channel.clip[1]:g}, "
        return f"{clip}divided by {channel.divide_by:g}, the same for every patient"
    words = {"ct": "nnU-Net's CT scheme", "zscore": "z-score of each case", "none": "as it is"}
    return words[channel.normalisation]


def _scores(summary: Mapping[str, Any] | None) -> list[str]:
    if summary is None:
        return ["Not cross-validated."]
    lines = ["Each case was examined by the fold that had not seen its patient.", ""]
    return lines + [f"- {name}: {value}" for name, value in _flat(summary)]


def _flat(value: Mapping[str, Any], name: str = "") -> list[tuple[str, str]]:
    found = []
    for key, item in value.items():
        full = f"{name} {key}".strip()
        if isinstance(item, Mapping):
            found += _flat(item, full)
        elif not isinstance(item, list | tuple):
            found.append((full, f"{item:.4g}" if isinstance(item, float) else str(item)))
    return found
