"""Cases for every recipe, and recipes shrunk until two steps of training take a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.recipe import Recipe
from lesionlab.core.units import HOUNSFIELD, ONE, STORED, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline.files import write_converted

GRID = Geometry((18, 40, 36), (4.0, 3.0, 3.0))
THIN = Geometry((18, 40, 36), (1.0, 1.0, 1.0))
PICTURE = Geometry((1, 60, 50), (1.0, 1.0, 1.0))
SCALES = {
    "suv": (1.0, 6.0, SUVBW),
    "ct": (0.0, 60.0, HOUNSFIELD),
    "us": (120.0, -70.0, STORED),
    "pre": (100.0, 5.0, STORED),
    "post1": (110.0, 90.0, STORED),
    "post2": (110.0, 90.0, STORED),
    "sub2": (10.0, 85.0, STORED),
}
"""Mean of the background, what a lesion adds, and the unit, of each channel that a recipe names."""
PATCHES = {"swin-unetr": [32, 64]}
CHANGES = {
    "unetr": {"first_features": 4, "max_features": 24},
    "transunet": {"first_features": 4, "max_features": 24},
}
"""What is shrunk differently from the rest, by architecture."""


def grid_of(recipe: Recipe) -> Geometry:
    """Pictures where slices are resized and no reader is asked for, thin slices for MR, thick ones else."""
    if recipe.name == "ultrasound-2d":
        return PICTURE
    return THIN if "pre" in recipe.channels or "us" in recipe.channels else GRID


def made_case(number: int, channels: tuple[str, ...], grid: Geometry, labels: tuple[int, ...] = (1,)) -> Case:
    """Noise with a ball of each label in it, at places that depend on `number`; a second reader draws less.

    The case with number 3 has no lesion.
    """
    random = np.random.default_rng(number)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    mask, smaller = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    for place, label in enumerate(labels):
        share = np.array([0.5, (place + 0.5) / len(labels), 0.5])
        centre = np.array(grid.shape) * (share + random.uniform(-0.1, 0.1, 3))
        distance = np.linalg.norm((index - centre) * grid.spacing, axis=-1) / grid.spacing[1]
        if number != 3:
            mask[distance <= 6.0], smaller[distance <= 4.0] = label, label
    volumes = {}
    for name in channels:
        mean, added, unit = SCALES[name]
        noise = random.normal(mean, 0.1 * abs(added), grid.shape)
        # of two labels the second one is twice as strong
        volumes[name] = Volume((noise + added * mask).astype(np.float32), grid, unit)
    truth, second = Volume(mask, grid, ONE), Volume(smaller, grid, ONE)
    readers: Mapping[str, Volume] = {"ea": truth, "mg": second} if "us" in channels else {}
    name = f"case_{number}"
    return Case(
        id=name,
        patient_id=f"patient_{number}",
        channels=volumes,
        reference=channels[0],
        truth=None if readers else truth,
        observers=readers,
    )


def write_cases(
    root: Path, channels: tuple[str, ...], grid: Geometry, *, cases: int = 4, labels: tuple[int, ...] = (1,)
) -> Path:
    """Cases as `lesionlab convert` leaves them, in `root`."""
    for number in range(cases):
        write_converted(
            made_case(number, channels, grid, labels), root / f"case_{number}", {"source": "phantom"}
        )
    return root


def shrunk(recipe: Recipe) -> Recipe:
    """The recipe with a tiny network, one epoch of two steps and two folds; all else as it is."""
    network = recipe.network
    flat = network.configuration == "2d"
    changes = {
        "patch_size": PATCHES.get(network.architecture, [32, 32] if flat else [16, 16, 16]),
        "batch_size": 2,
        "first_features": 4,
        "max_features": 8,
        "stages": 3 if network.stages else None,
        **CHANGES.get(network.architecture, {}),
    }
    training = {"epochs": 1, "iterations": 2, "validation_iterations": 1, "folds": 2}
    size = {"size": [32, 32]} if recipe.standardise.size else {}
    return recipe.changed(
        network=changes,
        training=training,
        standardise=size,
        prediction={"backend": "torch", "mirror": False, "precision": "fp32"},
    )
