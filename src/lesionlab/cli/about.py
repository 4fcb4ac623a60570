"""Verbs that tell or show: info, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar


def info(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]", help="A bundle, a recipe (name or TOML file) or a scan.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell what is installed and which devices there are, or what a bundle, a recipe or a scan holds.

    Example: `lesionlab info`, `lesionlab info models/pet`, `lesionlab info dicom/patient7`
    """
    found = _installation() if target is None else _about(target)
    if as_json:
        answer_json(found)
    else:
        answer("\n".join(_lines(found)))


def _installation() -> dict[str, Any]:
    import importlib.util

    from lesionlab.core.registry import RECIPES, recipe_folder
    from lesionlab.pipeline.record import versions

    devices = ["cpu"]
    if importlib.util.find_spec("torch") is not None:
        import torch

        devices += ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    return {
        "versions": versions(),
        "devices": devices,
        "recipes": list(RECIPES),
        "recipe_folder": str(recipe_folder()),
    }


def _about(target: str) -> dict[str, Any]:
    from lesionlab.core.registry import RECIPES, find_recipe

    path = Path(target)
    if target in RECIPES or path.suffix == ".toml":
        recipe = find_recipe(target)
        return {"recipe": recipe.name, "sha256": recipe.sha256, "settings": recipe.model_dump(mode="json")}
    if (path.is_dir() and (path / "dataset.json").is_file()) or (path / "recipe.toml").is_file():
        return _about_bundle(path)
    return _about_case(path)


def _about_bundle(path: Path) -> dict[str, Any]:
    from lesionlab.predict import load_bundle

    bundle = load_bundle(path)
    return {
        "bundle": bundle.name,
        "sha256": bundle.sha256,
        "folds": [checkpoint.parent.name for checkpoint in bundle.checkpoints],
        "channels": list(bundle.recipe.channels),
        "labels": bundle.recipe.labels,
        "networks": list(bundle.recipe.steps) if bundle.checkpoints else [],
        "settings": bundle.recipe.model_dump(mode="json"),
    }


def _about_case(path: Path) -> dict[str, Any]:
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
    return {
        "case": case.id,
        "patient": case.patient_id,
        "reference": case.reference,
        "channels": channels,
        "truth": truth,
        "notes": list(case.notes),
    }


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
