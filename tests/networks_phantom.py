"""Cases and a recipe small enough that a network really trains on them within a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.recipe import Recipe, dump_recipe, parse_recipe
from lesionlab.core.units import ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline.files import write_converted
from lesionlab.plan import plan_dataset
from lesionlab.predict import Bundle, load_bundle, write_bundle
from lesionlab.report import save_volume
from lesionlab.train import train_fold

SHAPE = (24, 28, 26)
SPACING = (4.0, 3.0, 3.5)


def sphere_case(number: int, *, lesion: bool = True, shape: tuple[int, int, int] = SHAPE) -> Case:
    """A hot sphere (SUVbw 8) in a noisy background (SUVbw 1); its place depends on `number`."""
    random = np.random.default_rng(number)
    geometry = Geometry(shape, SPACING, (-40.0, 20.0, 100.0))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    centre = np.array(shape) * random.uniform(0.3, 0.7, 3)
    distance = np.linalg.norm((index - centre) * SPACING, axis=-1)
    inside = (distance <= 14.0) & lesion
    suv = random.normal(1.0, 0.2, shape) + 7.0 * inside
    return Case(
        id=f"sphere_{number}",
        patient_id=f"patient_{number}",
        channels={"suv": Volume(suv.astype(np.float32), geometry, SUVBW)},
        reference="suv",
        truth=Volume(inside.astype(np.uint8), geometry, ONE),
    )


def tiny_recipe() -> Recipe:
    """Four-feature network, a few iterations, three folds."""
    return parse_recipe(
        {
            "name": "tiny",
            "channels": {"suv": {"normalisation": "fixed", "clip": [0.0, 20.0], "divide_by": 5.0}},
            "reference": "suv",
            "network": {"first_features": 4, "max_features": 8, "patch_size": [16, 16, 16]},
            "training": {
                "epochs": 3,
                "iterations": 8,
                "validation_iterations": 2,
                "folds": 3,
                "weight_averaging": 0.9,
            },
        },
        "tiny",
    )


STUDY_HEAD = """
name = "phantom"
data = "patients"
recipe = "tiny.toml"
folds = 2
protocol = "patches"
amount = 8

[common]
prediction = { backend = "torch", mirror = false }

[common.training]
iterations = 2
validation_iterations = 1
weight_averaging = 0.0
"""


def write_study(root: Path, variants: str, cases: Sequence[Case]) -> Path:
    """`study.toml` of the tiny recipe with its variants, and the patients that it is about."""
    for case in cases:
        write_converted(case, root / "patients" / case.id, {"source": "phantom"})
    (root / "tiny.toml").write_text(dump_recipe(tiny_recipe()))
    (root / "study.toml").write_text(STUDY_HEAD + variants)
    return root / "study.toml"


def plan_tiny(root: Path, recipe: Recipe | None = None) -> Path:
    """A workspace of six sphere cases, planned and preprocessed."""
    cases = [sphere_case(number, lesion=number != 5) for number in range(6)]
    plan_dataset(cases, recipe or tiny_recipe(), root, save_volume)
    return root


def train_tiny(root: Path) -> Path:
    """The planned workspace with fold 0 trained."""
    plan_tiny(root)
    train_fold(root, 0, device="cpu")
    return root


def bundle_of(root: Path) -> Bundle:
    """A bundle written from a trained workspace."""
    workspace, recipe = open_workspace(root)
    target = root / "bundle"
    return load_bundle(write_bundle(workspace.model("3d_fullres"), recipe, "# tiny\n", target))
