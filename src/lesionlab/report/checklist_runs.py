"""What one run.json says about the items of CLAIM and CLEAR.

Answers come from the recipe that the record holds, and from its versions and notes. Nothing is said that the
program did not decide itself: of a model that others trained, training stays open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from lesionlab.core.errors import RecipeError
from lesionlab.core.learning import LossSettings, TrainingSettings
from lesionlab.core.recipe import ChannelSettings, RadiomicsSettings, Recipe, parse_recipe
from lesionlab.report.ibsi_items import Said, filled, not_applicable, unknown
from lesionlab.report.ibsi_run import FAMILIES
from lesionlab.report.tables import RADIOMICS_TAGS

Record = Mapping[str, Any]
"""The content of a run.json."""

FOREIGN: Final = "an nnU-Net v2 model folder"
"""How `predict/` describes the recipe of a model that was not trained here."""
BEFORE: Final = "what was done to the files before is not known to the run"
GIVEN: Final = "mask as given in the file"
"""How the note begins of a run whose mask came from a file."""
FOLDS: Final = re.compile(r"with (\d+) fold")
OPTIMISERS: Final = {"sgd": "stochastic gradient descent", "adam": "Adam", "adamw": "AdamW"}
RATES: Final = {
    "poly": "polynomial decay",
    "cosine": "cosine decay",
    "cosine_restarts": "cosine decay with warm restarts",
    "constant": "no decay",
}
AUGMENTATIONS: Final = {
    "nnunet": "nnU-Net's augmentation",
    "flips_rotation_crop": "flips, rotations and crops as augmentation",
    "flips_rotation_crop_intensity": "flips, rotations, crops and changes of intensity as augmentation",
    "none": "no augmentation",
}
TERMS: Final = ("dice", "cross_entropy", "binary_cross_entropy", "focal", "tversky", "focal_tversky")
"""The terms of a loss, by the names of their weights."""
SCHEMES: Final = {"ct": "nnU-Net's scheme for CT", "zscore": "z-score of each case", "none": "as it is"}


def recipe_of_run(run: Record) -> Recipe | None:
    """The recipe that a record holds; None where it holds none that this version understands."""
    settings = run.get("settings")
    if not isinstance(settings, Mapping) or not settings:
        return None
    try:
        return parse_recipe(dict(settings), str(run.get("case_id", "run")))
    except RecipeError:
        return None


def claim_of_run(run: Record) -> dict[str, Said]:
    """CLAIM's items on preprocessing, model, software and training."""
    recipe = recipe_of_run(run)
    if recipe is None:
        return {}
    answers = {
        "9": filled(f"{_preprocessing(recipe)}; {BEFORE}"),
        "13": unknown(f"channels {_channels(run)}"),
        "23": filled(_software(run)),
        "42": unknown(f"all settings: {_recipe(run)} in run.json"),
    }
    return answers | _model(run, recipe)


def _model(run: Record, recipe: Recipe) -> dict[str, Said]:
    """Items 22 and 24 to 27; a mask from a file leaves them open."""
    method = _method(run, recipe)
    if method == "mask":
        return {"22": unknown("the masks were given as files")}
    if method == "threshold":
        none = not_applicable("no trained model")
        return {"22": filled(_segmentation(run, recipe))} | dict.fromkeys(("24", "25", "26", "27"), none)
    training = recipe.training
    folds = FOLDS.search(" ".join(_notes(run, "prediction")))
    flips = "predictions of mirrored inputs averaged" if recipe.prediction.mirror else "no mirroring"
    if recipe.prediction.scales != (1.0,):
        flips += (
            f"; at {', '.join(f'{scale:.0%}' for scale in recipe.prediction.scales)} of the size, averaged"
        )
    count = int(folds[1]) if folds else 0
    models = f"softmax of {count} folds averaged" if count > 1 else "one model"
    answers = {
        "22": filled(
            f"{_segmentation(run, recipe)}; inputs {', '.join(recipe.channels)}, outputs "
            f"{', '.join(recipe.labels)}; layers in the bundle's plans.json"
        ),
        "27": filled(f"{models}; {flips}") if folds else unknown(flips),
    }
    if recipe.description == FOREIGN:
        return answers
    average = training.weight_averaging
    stop = "" if training.stop_after is None else f", stopped after {training.stop_after} without improvement"
    kept = f"moving average of the weights (decay {average:g} per step)" if average else "weights"
    return answers | {
        "24": filled(f"{_start(training)}, seed {training.seed} plus the fold's number"),
        "25": filled(
            f"at most {training.epochs} epochs of {training.iterations} steps{stop}; {_optimiser(training)}; "
            f"{_patches(training)}; "
            f"{AUGMENTATIONS[training.augmentation]}; loss {_loss(recipe.loss)}"
        ),
        "26": filled(f"{kept} after the last epoch; none was chosen by its score"),
    }


def _start(training: TrainingSettings) -> str:
    if training.start_from is None:
        return "random, nnU-Net's scheme"
    return f"those of {PurePath(training.start_from).name}, what it does not hold random"


def _patches(training: TrainingSettings) -> str:
    lesions = f"{training.foreground_share:.0%} of patches on lesions"
    if training.progressive == (1.0,):
        return lesions
    edges = ", ".join(f"{share:.0%}" for share in training.progressive)
    return f"{lesions}, with edges of {edges} of the full patch in turn"


def _optimiser(training: TrainingSettings) -> str:
    momentum = "Nesterov momentum" if training.optimiser == "sgd" else "first beta"
    warm = f" after {training.warm_up_epochs} epochs of warm-up" if training.warm_up_epochs else ""
    return (
        f"{OPTIMISERS[training.optimiser]}, learning rate {training.learning_rate:g} with "
        f"{RATES[training.schedule]}{warm}, {momentum} {training.inertia:g}, "
        f"weight decay {training.weight_decay:g}"
    )


def _loss(loss: LossSettings) -> str:
    weights = {term: getattr(loss, term) for term in TERMS}
    return " + ".join(f"{weight:g} {term.replace('_', ' ')}" for term, weight in weights.items() if weight)


def clear_of_run(run: Record) -> dict[str, Said]:
    """CLEAR's items on segmentation, image processing and features; nothing for a run without radiomics."""
    recipe = recipe_of_run(run)
    if recipe is None or not recipe.radiomics.families:
        return {}
    settings, version = recipe.radiomics, _versions(run).get("lesionlab", "")
    drawn = _method(run, recipe) != "mask"
    count = sum(str(column.get("name", "")).startswith(RADIOMICS_TAGS) for column in run.get("columns", ()))
    families = ", ".join(FAMILIES[family] for family in settings.families)
    return {
        "16": unknown(f"channels {_channels(run)}; ibsi_checklist.csv has what the headers say"),
        "19": filled(_segmentation(run, recipe)) if drawn else unknown("the masks were given as files"),
        "20": not_applicable("drawn by the program") if drawn else unknown(""),
        "21": filled(f"{_channels(run)}; {_rounding(settings)}; {BEFORE}"),
        "22": filled(_resampling(settings)),
        "23": filled(_bins(settings)),
        "24": filled("original image alone; no filter"),
        "25": filled(f"lesionlab {version}, features of IBSI-1 under the names of {settings.names}"),
        "26": filled(families),
        "27": filled(f"{count} per lesion") if count else unknown(""),
        "28": filled("every setting, default or not, is in run.json under settings.radiomics"),
        "29": unknown("a feature that cannot be computed is left empty, with a note"),
        "54": unknown("lesions.csv has every feature of every lesion"),
        "55": unknown(f"{_recipe(run)} in run.json can be shared"),
    }


def _recipe(run: Record) -> str:
    return f"recipe {run.get('recipe_name', '')} (SHA-256 {str(run.get('recipe_sha256', ''))[:12]})"


def _method(run: Record, recipe: Recipe) -> str:
    """How the mask came about: network, threshold or mask (a file)."""
    given = any(note.startswith(GIVEN) for note in _notes(run, "prediction"))
    return "mask" if given or run.get("bundle") == "mask file" or recipe.method == "none" else recipe.method


def _segmentation(run: Record, recipe: Recipe) -> str:
    if recipe.method == "threshold":
        rule = recipe.threshold
        relative = f", each region at {rule.fraction:.0%} of its maximum" if rule.rule == "relative" else ""
        return f"automatic: threshold of SUVbw {rule.suv:g}{relative}"
    network = recipe.network
    sha256 = str(run.get("bundle_sha256", ""))[:12]
    return (
        f"automatic: nnU-Net v2, {network.configuration}, {network.architecture} U-Net, "
        f"{run.get('bundle', '')} (SHA-256 {sha256})"
    )


def _preprocessing(recipe: Recipe) -> str:
    parts = [f"{name}: {_scaling(channel)}" for name, channel in recipe.channels.items()]
    if recipe.method == "network":
        spacing = recipe.network.spacing_mm
        size = "the spacing in plans.json" if spacing is None else f"{' x '.join(map(str, spacing))} mm"
        parts.append(f"resampled to {size} for the network, masks back to the image's grid")
    if len(recipe.channels) > 1:
        parts.append(f"all on the grid of {recipe.reference}")
    return "; ".join(parts)


def _scaling(channel: ChannelSettings) -> str:
    if channel.normalisation != "fixed":
        return SCHEMES[channel.normalisation]
    clip = "" if channel.clip is None else f"clipped to {channel.clip[0]:g} to {channel.clip[1]:g}, "
    curve = "" if channel.curve == "linear" else f", {channel.curve} curve"
    return f"{clip}divided by {channel.divide_by:g}{curve}"


def _channels(run: Record) -> str:
    channels = run.get("channels")
    if not isinstance(channels, Mapping):
        return ""
    return ", ".join(f"{name} ({value.get('unit', '')})" for name, value in channels.items())


def _versions(run: Record) -> Mapping[str, str]:
    versions = run.get("versions")
    return versions if isinstance(versions, Mapping) else {}


def _software(run: Record) -> str:
    return ", ".join(f"{name} {version}" for name, version in _versions(run).items())


def _notes(run: Record, stage: str) -> list[str]:
    notes = run.get("notes")
    return [str(note) for note in notes.get(stage, ())] if isinstance(notes, Mapping) else []


def _rounding(settings: RadiomicsSettings) -> str:
    rounding = f"rounded to multiples of {settings.round_to:g}" if settings.round_to else "no rounding"
    low_high = settings.keep_range
    kept = "all voxels of the mask" if low_high is None else f"voxels of {low_high[0]:g} to {low_high[1]:g}"
    sigma = settings.outlier_sigma
    return f"{rounding}; {kept}" + ("" if sigma is None else f" within {sigma:g} SD of their mean")


def _resampling(settings: RadiomicsSettings) -> str:
    if settings.spacing_mm is None:
        return "none: features on the scan's grid"
    size = " x ".join("as it is" if value == 0 else f"{value:g}" for value in settings.spacing_mm)
    return f"to {size} mm (z, y, x), image {settings.interpolation}, mask {settings.mask_interpolation}"


def _bins(settings: RadiomicsSettings) -> str:
    if settings.bin_number is not None:
        return f"fixed number of {settings.bin_number} bins, lesion by lesion"
    return f"fixed bin size of {settings.bin_size or 0:g} in the image's unit"
