"""The plan of the first of two steps: nnU-Net's `3d_lowres`, and the cascade that goes on from it.

nnU-Net plans a low resolution only for scans much larger than a patch. A recipe of two steps always gets
one, made by the same rules. Which steps a recipe has is `Recipe.steps`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lesionlab.core.files import jsonable
from lesionlab.core.recipe import Recipe
from lesionlab.networks.registry import NETWORKS

COARSE, FULL, CASCADE = "3d_lowres", "3d_fullres", "3d_cascade_fullres"
USUAL_FACTOR = 2.0
"""How much coarser than the full resolution the voxels are where neither recipe nor nnU-Net says."""
LEAST_EDGE = 8
"""A patch is not clipped below this: twice the smallest edge of nnU-Net's feature maps, one pooling."""


def plan_coarse(planner: Any, plans: dict[str, Any], spacing_mm: tuple[float, ...] | None) -> None:
    """Complete plans (changed in place) by the low resolution, and by the cascade that uses it.

    `planner` is the nnU-Net planner that made `plans`; `spacing_mm` (z, y, x) replaces what it chose. Data
    without 3D plans (single slices) is left as it is.
    """
    configurations = plans["configurations"]
    full = configurations.get(FULL)
    if full is None:
        return
    if spacing_mm is not None or COARSE not in configurations:
        configurations[COARSE] = _configuration(planner, plans, spacing_mm)
        full["batch_dice"] = True
    configurations[COARSE]["next_stage"] = CASCADE
    configurations[CASCADE] = {"inherits_from": FULL, "previous_stage": COARSE}


def _configuration(
    planner: Any, plans: dict[str, Any], spacing_mm: tuple[float, ...] | None
) -> dict[str, Any]:
    """The low resolution as nnU-Net's planner makes it for a spacing."""
    full = plans["configurations"][FULL]
    fine = np.array(full["spacing"], dtype=float)
    if spacing_mm is None:
        coarse = fine * USUAL_FACTOR
    else:
        coarse = np.array([spacing_mm[axis] for axis in plans["transpose_forward"]], dtype=float)
    sizes = fine / coarse * np.array(full["median_image_size_in_voxels"], dtype=float)
    shape = tuple(max(1, round(float(size))) for size in sizes)
    voxels = float(np.prod(shape)) * planner.dataset_json["numTraining"]
    name = planner.generate_data_identifier(COARSE)
    made = planner.get_plans_for_configuration(coarse, shape, name, voxels, {})
    plain: dict[str, Any] = json.loads(json.dumps(jsonable(made)))
    return {**plain, "batch_dice": False}


def pinned_steps(plans: dict[str, Any], recipe: Recipe) -> list[Recipe]:
    """For each configuration that a recipe trains, the recipe to pin it by: one without inheritance.

    A pinned patch, z first in a recipe, is turned as the plan turns scans. One for the full resolution is
    clipped, for the coarse one, to the size of its scans; not for a network that takes multiples of a fixed
    size only.
    """
    entry = NETWORKS.get(recipe.network.architecture)
    clipped = entry is None or entry.multiple is None
    steps = []
    for name in recipe.steps:
        step = recipe.step(name)
        if name == CASCADE:
            step = recipe.changed(network={"configuration": FULL})
        patch = step.network.patch_size
        if patch is not None and len(patch) == len(plans["transpose_forward"]):
            turned = [patch[axis] for axis in plans["transpose_forward"]]
            step = step.changed(network={"patch_size": turned})
        if name == COARSE and clipped and step.network.patch_size and COARSE in plans["configurations"]:
            scan = plans["configurations"][COARSE]["median_image_size_in_voxels"]
            sizes = zip(step.network.patch_size, scan, strict=False)
            step = step.changed(network={"patch_size": [_poolable(min(size, round(n))) for size, n in sizes]})
        steps.append(step)
    return steps


def _poolable(size: int) -> int:
    """The size, at least 8, rounded up to what can be halved as often as nnU-Net would pool it."""
    size = max(LEAST_EDGE, size)
    left, multiple = size, 1
    while left >= LEAST_EDGE:
        left, multiple = -(-left // 2), multiple * 2
    return -(-size // multiple) * multiple
