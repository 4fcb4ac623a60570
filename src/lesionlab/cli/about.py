"""Verbs that tell or show: info, demo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar

if TYPE_CHECKING:
    from lesionlab.core.recipe import Recipe


def info(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]", help="A bundle, a recipe (name or TOML file) or a scan.", show_default=False
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every setting, channel and note, not what fits a screen.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell what is installed and which devices there are, or what a bundle, a recipe or a scan holds.

    What fits a screen: of a recipe the settings that are not the defaults, of a scan a line per channel.
    `--all` and `--json` tell everything.

    Example: `lesionlab info`, `lesionlab info models/pet`, `lesionlab info dicom/patient7 --all`
    """
    found = _installation() if target is None else _about(target)
    if as_json:
        answer_json(found.whole)
    else:
        answer("\n".join(_lines(found.whole) if everything else _screen(found)))


SCREEN = 24
"""Lines of a terminal."""
NOTES = 5
"""So many of a scan's notes are told."""


@dataclass(frozen=True)
class Told:
    """What is known of something: the whole of it, and the lines that are told unless all is wanted.

    `hidden` says what those leave out.
    """

    whole: dict[str, Any]
    lines: list[str]
    hidden: str = ""


def _screen(found: Told) -> list[str]:
    """The lines to tell, cut to a screen, the last one saying what is left out."""
    room = SCREEN - 1
    cut = len(found.lines) > room
    kept = [*found.lines[: room - 1], f"and {len(found.lines) - room + 1} more lines"] if cut else found.lines
    hidden = found.hidden or ("the rest" if cut else "")
    return [*kept, f"--all or --json: {hidden}"] if hidden else kept


def _installation() -> Told:
    import importlib.util

    from lesionlab.core.registry import RECIPES, recipe_folder
    from lesionlab.pipeline.record import versions

    devices = ["cpu"]
    if importlib.util.find_spec("torch") is not None:
        import torch

        devices += ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    known = versions()
    whole = {
        "versions": known,
        "devices": devices,
        "recipes": list(RECIPES),
        "recipe_folder": str(recipe_folder()),
    }
    packages = ", ".join(f"{name} {version}" for name, version in known.items())
    rest = {name: value for name, value in whole.items() if name != "versions"}
    return Told(whole, [f"versions: {packages}", *_lines(rest)])


def _about(target: str) -> Told:
    from lesionlab.core.registry import RECIPES, find_recipe

    path = Path(target)
    if target in RECIPES or path.suffix == ".toml":
        recipe = find_recipe(target)
        head = {"recipe": recipe.name, "sha256": recipe.sha256}
        return _with_settings(head, recipe)
    if (path.is_dir() and (path / "dataset.json").is_file()) or (path / "recipe.toml").is_file():
        return _about_bundle(path)
    return _about_case(path)


def _with_settings(head: dict[str, Any], recipe: Recipe) -> Told:
    """A recipe below some facts: a line for each section that is not the default throughout."""
    whole = {**head, "settings": recipe.model_dump(mode="json")}
    chosen = recipe.model_dump(mode="json", exclude_defaults=True)
    lines = [f"  {name}: {_in_a_line(value)}" for name, value in chosen.items() if name != "name"]
    return Told(whole, [*_lines(head), "settings:", *lines], "the settings left at their defaults too")


def _in_a_line(value: Any) -> str:
    """A setting, or a section of settings, as TOML has it in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_in_a_line(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _about_bundle(path: Path) -> Told:
    from lesionlab.predict import load_bundle

    bundle = load_bundle(path)
    channels, labels = list(bundle.recipe.channels), bundle.recipe.labels
    head = {"bundle": bundle.name, "sha256": bundle.sha256, "channels": channels, "labels": labels}
    if bundle.members:
        head["mean of"] = {
            f"members/{one.folder.name}" if one.folder else one.name: f"{one.name} {one.sha256}"
            for one in bundle.members
        }
    else:
        head["folds"] = [checkpoint.parent.name for checkpoint in bundle.checkpoints]
        head["networks"] = list(bundle.recipe.steps) if bundle.checkpoints else []
    return _with_settings(head, bundle.recipe)


def _about_case(path: Path) -> Told:
    from lesionlab.read import open_case

    case = open_case(path)
    channels = {
        name: {
            "unit": volume.unit,
            "grid": volume.geometry.describe(),
            "range": [float(volume.array.min()), float(volume.array.max())],
            "files": len(case.facts.channels[name].files) if name in case.facts.channels else 0,
        }
        for name, volume in case.channels.items()
    }
    truth = None
    if case.truth is not None:
        voxels = int((case.truth.array > 0).sum())
        truth = {"grid": case.truth.geometry.describe(), "ml": voxels * case.truth.geometry.voxel_ml}
    head = {"case": case.id, "patient": case.patient_id, "reference": case.reference}
    whole = {**head, "channels": channels, "truth": truth, "notes": list(case.notes)}
    lines = [*_lines(head), "channels:"]
    for name, volume in case.channels.items():
        spread = f"{volume.array.min():g} to {volume.array.max():g} {volume.unit}"
        lines.append(f"  {name}: {spread}; {volume.geometry.describe()}")
    lines.append("truth: -" if truth is None else f"truth: {truth['ml']:.4g} ml; {truth['grid']}")
    notes = list(case.notes)
    lines += [f"note: {note}" for note in notes[:NOTES]]
    if len(notes) > NOTES:
        lines.append(f"and {len(notes) - NOTES} more notes")
    return Told(whole, lines, "the number of files of each channel, and every note")


def _lines(value: Any, indent: str = "") -> list[str]:
    """Nested data as indented lines."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{indent}{key}:", *_lines(item, indent + "  ")]
        elif isinstance(item, list | tuple):
            lines.append(f"{indent}{key}: {', '.join(map(str, item)) or '-'}")
        else:
            lines.append(f"{indent}{key}: {'-' if item in (None, {}, '') else item}")
    return lines


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the cohort, model and reports go.")
    ] = Path("out/demo"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the whole road in minutes: synthetic PET/CT patients, a network, found against known.

    Example: `lesionlab demo -o out/demo`
    """
    from lesionlab.demo.run import run_demo

    with progress_bar() as progress:
        result = run_demo(out, progress=progress)
    if as_json:
        answer_json(result)
    else:
        answer(result.text)
