"""Driving nnU-Net's planner and preprocessor in this process, and pinning what the recipe pins.

The only place in `plan/` that imports nnunetv2. nnU-Net prints as it plans; that goes to `plan.log`.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.errors import RecipeError
from lesionlab.core.files import sha256_of, write_json, write_text
from lesionlab.core.learning import NetworkSettings
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Progress
from lesionlab.core.workspace import Workspace
from lesionlab.networks.registry import Entry, fitting_patch, network_entry, plan_network, widths_as_unet
from lesionlab.plan.coarse import COARSE, pinned_steps, plan_coarse

SCHEMES = {
    "fixed": "NoNormalization",
    "none": "NoNormalization",
    "ct": "CTNormalization",
    "zscore": "ZScoreNormalization",
}
MINIMUM_EDGE = 4
"""Smallest feature map edge, nnU-Net's UNet_featuremap_min_edge_length."""

Subject = tuple[str, list[int]]
"""What an error is about: the recipe's name; and the axis of the scan that each axis of the plan is."""


def make_plans(workspace: Workspace, recipe: Recipe) -> dict[str, Any]:
    """Run nnU-Net's planner on raw folder and fingerprint, apply the recipe's pins, write plans.json.

    Returns the plans. Raises RecipeError when the planned data has no such configuration (a 3D
    network for 2D images) or a pinned patch fits no network.
    """
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners,
    )

    settings = recipe.network
    residual = residual_encoder_unet_planners.ResEncUNetPlanner
    kind = residual if settings.architecture == "residual" else ExperimentPlanner
    spacing = None if settings.spacing_mm is None else list(settings.spacing_mm)
    with workspace.environment(loaders=1), _nnunet_output(workspace.root / "plan.log"):
        planner = kind(
            workspace.dataset,
            plans_name=workspace.plans_name,
            overwrite_target_spacing=spacing,
            # resized slices have pixels of 1 mm, so their spacing does not tell which axis is the coarse one
            suppress_transpose=recipe.standardise.size is not None,
        )
        if settings.first_features is not None and widths_as_unet(settings):
            planner.UNet_base_num_features = settings.first_features
        if settings.max_features is not None and widths_as_unet(settings):
            planner.UNet_max_features_2d = planner.UNet_max_features_3d = settings.max_features
        planner.plan_experiment()
    file = workspace.preprocessed / f"{workspace.plans_name}.json"
    plans: dict[str, Any] = json.loads(file.read_text())
    if COARSE in recipe.steps:
        with workspace.environment(loaders=1), _nnunet_output(workspace.root / "plan.log"):
            plan_coarse(planner, plans, recipe.step(COARSE).network.lowres_spacing_mm)
    for step in pinned_steps(plans, recipe):
        _pin(plans, step, planner)
        stamp = {"name": recipe.name, "sha256": recipe.sha256}
        plans["configurations"][step.network.configuration]["lesionlab_recipe"] = stamp
    write_json(file, plans)
    return plans


def _pin(plans: dict[str, Any], recipe: Recipe, planner: Any) -> None:
    """Change the recipe's configuration in place to what the recipe pins; `planner` is nnU-Net's."""
    settings = recipe.network
    configuration = plans["configurations"].get(settings.configuration)
    if configuration is None:
        raise RecipeError(
            recipe.name,
            f"network.configuration = {settings.configuration!r}",
            f"one of {', '.join(plans['configurations'])} for this data",
        )
    configuration["normalization_schemes"] = [SCHEMES[c.normalisation] for c in recipe.channels.values()]
    configuration["use_mask_for_norm"] = [False] * len(recipe.channels)
    if settings.batch_size is not None:
        configuration["batch_size"] = settings.batch_size
    entry = network_entry(settings, len(configuration["spacing"]), recipe.name)
    subject = recipe.name, plans["transpose_forward"]
    if entry is not None:
        _choose_network(configuration, entry, settings, subject)
    elif settings.patch_size is not None or settings.stages is not None:
        _pin_topology(configuration, settings, subject, planner)
    _require_levels(configuration, settings, subject)


def _require_levels(configuration: dict[str, Any], settings: NetworkSettings, subject: Subject) -> None:
    """Raise RecipeError where scans are too small to be halved once: the network would have no decoder."""
    strides = configuration["architecture"]["arch_kwargs"].get("strides")
    if strides is not None and len(strides) < 2:
        sizes, spacing = configuration["patch_size"], configuration["spacing"]
        raise RecipeError(
            subject[0],
            f"{settings.configuration} with a patch of {' x '.join(map(str, sizes))} voxels at "
            f"{' x '.join(f'{float(mm):.3g}' for mm in spacing)} mm",
            "a patch that nnU-Net's rules halve: larger scans, smaller voxels or a larger patch_size",
        )


def _choose_network(
    configuration: dict[str, Any], entry: Entry, settings: NetworkSettings, subject: Subject
) -> None:
    """Put a network of ours in the place of nnU-Net's, and bring the patch to what it takes."""
    planned = configuration["patch_size"]
    if entry.stages is None:
        strides: list[list[int]] = []
        patch = fitting_patch(entry, settings, planned, subject[0])
    else:
        stages = settings.stages or entry.stages[len(planned)]
        patch, strides, _ = _topology(configuration, settings, stages - 1, subject)
    configuration["patch_size"] = patch
    configuration["architecture"] = plan_network(entry, settings, patch, strides)


def _pin_topology(
    configuration: dict[str, Any], settings: NetworkSettings, subject: Subject, planner: Any
) -> None:
    """Set the patch, and the network that nnU-Net's planner, by its rules and tables, makes for it."""
    most = 999 if settings.stages is None else settings.stages - 1
    patch, strides, kernels = _topology(configuration, settings, most, subject)
    stages = len(strides)
    network = configuration["architecture"]["arch_kwargs"]
    first = network["features_per_stage"][0]
    top = planner.UNet_max_features_2d if len(patch) == 2 else planner.UNet_max_features_3d
    blocks = "n_blocks_per_stage" if "n_blocks_per_stage" in network else "n_conv_per_stage"
    network.update(
        n_stages=stages,
        strides=strides,
        kernel_sizes=kernels,
        features_per_stage=[min(top, first * 2**i) for i in range(stages)],
        n_conv_per_stage_decoder=list(planner.UNet_blocks_per_stage_decoder[: stages - 1]),
    )
    network[blocks] = list(planner.UNet_blocks_per_stage_encoder[:stages])
    configuration["patch_size"] = patch


def _topology(
    configuration: dict[str, Any], settings: NetworkSettings, most: int, subject: Subject
) -> tuple[list[int], list[list[int]], list[list[int]]]:
    """The patch (the recipe's, else the planned one), and by nnU-Net's rules strides and kernels for it.

    With at most so many halvings of an axis. Raises RecipeError, saying which sizes of the scan fit.
    """
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    name, turned = subject
    spacing = configuration["spacing"]
    patch = list(settings.patch_size or configuration["patch_size"])
    if len(patch) != len(spacing):
        raise RecipeError(name, f"patch_size {patch}", f"{len(spacing)} sizes for this configuration")
    _, strides, kernels, padded, divisor = get_pool_and_conv_props(spacing, patch, MINIMUM_EDGE, most)
    if list(padded) != patch:
        # slices are never turned in their plane
        back = np.argsort(turned) if len(patch) == len(turned) else range(len(patch))
        sizes, steps = [patch[axis] for axis in back], [int(divisor[axis]) for axis in back]
        raise RecipeError(name, f"patch_size {sizes}", f"multiples of {steps}")
    return patch, [list(map(int, s)) for s in strides], [list(map(int, k)) for k in kernels]


def preprocess(
    workspace: Workspace,
    recipe: Recipe,
    case_ids: list[str],
    progress: Progress,
    *,
    steps: Sequence[str] | None = None,
) -> None:
    """Preprocess each case with nnU-Net's preprocessor and our resampling, one by one in this process.

    Once for each of the recipe's `steps`, all of them where None. A case that was preprocessed before
    from the same files by the same plan is kept, so that an interrupted run goes on.
    """
    for name in recipe.steps if steps is None else steps:
        _preprocess(workspace, recipe.step(name), case_ids, progress)


def _preprocess(workspace: Workspace, recipe: Recipe, case_ids: list[str], progress: Progress) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from lesionlab.networks.nnunet import FastConfiguration

    plans = PlansManager(str(workspace.preprocessed / f"{workspace.plans_name}.json"))
    configuration = FastConfiguration(plans.get_configuration(recipe.network.configuration).configuration)
    folder = workspace.preprocessed / configuration.data_identifier
    folder.mkdir(parents=True, exist_ok=True)
    dataset = json.loads((workspace.raw / "dataset.json").read_text())
    planned = sha256_of([workspace.preprocessed / f"{workspace.plans_name}.json"])
    with workspace.environment(), _nnunet_output(workspace.root / "plan.log"):
        preprocessor = configuration.preprocessor_class(verbose=False)
        for number, case in enumerate(case_ids):
            progress(f"preprocessing {case}", number / len(case_ids))
            images = [
                str(workspace.raw / "imagesTr" / f"{case}_{c:04d}.nii.gz")
                for c in range(len(recipe.channels))
            ]
            label = str(workspace.raw / "labelsTr" / f"{case}.nii.gz")
            stamp = f"{planned} {sha256_of(map(Path, [*images, label]))}"
            kept = workspace.preprocessed / "stamps" / configuration.data_identifier / f"{case}.txt"
            made = [folder / f"{case}{end}" for end in (".b2nd", "_seg.b2nd", ".pkl")]
            there = all(file.is_file() for file in (kept, *made))
            if there and kept.read_text(encoding="utf-8") == stamp:
                continue
            # blosc2 does not write over a file.
            for old in (kept, *made):
                old.unlink(missing_ok=True)
            preprocessor.run_case_save(str(folder / case), images, label, plans, configuration, dataset)
            write_text(kept, stamp)


@contextlib.contextmanager
def _nnunet_output(log: Path) -> Iterator[None]:
    """Send what nnU-Net prints to a log file, and keep its library warnings from the user."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
