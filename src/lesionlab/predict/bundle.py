"""A bundle: a recipe and, where it needs weights, nnU-Net's model folder beside it.

Any nnU-Net v2 model folder is a bundle too: its channel names tell which channels of a case it wants. An
ensemble is a recipe beside a folder of bundles.
Building networks and running them belongs to `predict/nnunet.py`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lesionlab.core.channel_names import channel_of, words_of
from lesionlab.core.errors import BundleError, RecipeError
from lesionlab.core.files import digest_of, sha256_joined, write_text, writing
from lesionlab.core.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from lesionlab.core.registry import RECIPES, find_recipe

WHOLE = "fold_all"
"""The folder of a network that was trained on all patients."""
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
PLAN = ("plans.json", "dataset.json")
"""What of a model folder decides, with the weights, what it answers."""
MEMBERS = "members"
"""The folder of an ensemble's bundles."""
HASHED_TOGETHER = 2


@dataclass(frozen=True, slots=True)
class Bundle:
    """A method ready to be applied: its recipe, and the model folder unless it needs no weights.

    `earlier` is the model whose prediction this one starts from, in a cascade or to locate.
    """

    name: str
    recipe: Recipe
    folder: Path | None
    checkpoints: tuple[Path, ...]
    sha256: str
    earlier: Bundle | None = None
    folds: tuple[str, ...] = ()
    """Content hash of each fold with its plan, when the bundle was opened."""
    members: tuple[Bundle, ...] = ()
    """Of an ensemble, the models whose mean probability it is; it has no checkpoints of its own."""

    def predicting(self, **settings: str | bool) -> Bundle:
        """The bundle with other settings of prediction in every network of it."""
        return replace(
            self,
            recipe=self.recipe.changed(prediction=settings),
            earlier=None if self.earlier is None else self.earlier.predicting(**settings),
            members=tuple(member.predicting(**settings) for member in self.members),
        )


def load_bundle(source: str | Path, channels: tuple[str, ...] | None = None) -> Bundle:
    """Open a bundle folder, any nnU-Net v2 model folder, or a weight-free recipe by name or file.

    `channels` names a foreign model's input channels in order, where its dataset.json does not tell. Raises
    BundleError when files are missing, channel counts disagree or the recipe needs weights.
    """
    folder = Path(source)
    if folder.is_dir():
        return _from_folder(folder, channels)
    if str(source) not in RECIPES and folder.suffix != ".toml":
        weightless = ", ".join(name for name in RECIPES if find_recipe(name).method != "network")
        found = "a file that is no recipe" if folder.is_file() else "no such folder or recipe"
        raise BundleError(source, found, f"a bundle folder, a recipe's TOML file or one of {weightless}")
    recipe = find_recipe(source)
    if recipe.method == "network":
        raise BundleError(source, "a recipe without weights", "the bundle folder of a trained model")
    return Bundle(recipe.name, recipe, None, (), recipe.sha256)


def _from_folder(folder: Path, channels: tuple[str, ...] | None) -> Bundle:
    recipe_file = folder / "recipe.toml"
    if recipe_file.is_file():
        recipe = load_recipe(recipe_file)
        if recipe.method == "threshold":
            return Bundle(recipe.name, recipe, folder, (), recipe.sha256)
        if (folder / MEMBERS).is_dir():
            return _ensemble(folder, recipe)
    dataset = _json(folder / "dataset.json")
    plans = _json(folder / "plans.json")
    checkpoints = _checkpoints(folder)
    if not recipe_file.is_file():
        recipe = _foreign_recipe(folder, dataset, plans, channels)
    names = dataset.get("channel_names", dataset.get("modality", {}))
    if len(names) != len(recipe.channels):
        raise BundleError(
            folder, f"a model of {len(names)} channels", f"{len(recipe.channels)} as in recipe.toml"
        )
    bundle = bundle_of(recipe.name, recipe, folder, checkpoints)
    first = _first_folder(folder, recipe if recipe_file.is_file() else None, plans)
    return bundle if first is None else after(_from_folder(first, channels), bundle)


def _ensemble(folder: Path, recipe: Recipe) -> Bundle:
    """An ensemble; BundleError where a member does not answer the same question from the same images."""
    members = tuple(_from_folder(one, None) for one in sorted((folder / MEMBERS).iterdir()) if one.is_dir())
    if not members:
        raise BundleError(folder, f"no bundle in {MEMBERS}/", "a bundle for each network of the ensemble")
    for member in members:
        own, place = member.recipe, Path(member.folder or folder)
        if own.labels != recipe.labels:
            found, needed = (
                f"labels {', '.join(own.labels)}",
                f"those of recipe.toml: {', '.join(recipe.labels)}",
            )
        elif _json(place / "dataset.json").get("regions_class_order"):
            found, needed = "regions, which may overlap", "labels that do not"
        elif not set(own.channels) <= set(recipe.channels):
            found, needed = f"channels {', '.join(own.channels)}", f"some of {', '.join(recipe.channels)}"
        elif own.reference != recipe.reference:
            found, needed = f"reference {own.reference}", f"{recipe.reference}, as in recipe.toml"
        else:
            continue
        raise BundleError(place, found, needed)
    both = hashlib.sha256(" ".join(sorted(member.sha256 for member in members)).encode()).hexdigest()
    return Bundle(recipe.name, recipe, folder, (), both, members=members)


def bundle_of(name: str, recipe: Recipe, folder: Path, checkpoints: tuple[Path, ...]) -> Bundle:
    """A bundle of some folds of a model folder; each file is read once for its hashes, two at a time."""
    plan = [digest_of(folder / part) for part in PLAN]
    with ThreadPoolExecutor(HASHED_TOGETHER) as pool:
        waiting = pool.map(digest_of, checkpoints)
        if checkpoints:
            # slow to import and needed next; hashing leaves the interpreter free
            importlib.import_module("lesionlab.predict.nnunet")
        digests = list(waiting)
    folds = tuple(sha256_joined([*plan, one]) for one in digests)
    return Bundle(name, recipe, folder, checkpoints, sha256_joined([*plan, *digests]), folds=folds)


def fold_hash(folder: Path, checkpoint: Path) -> str:
    """Content hash of one fold of a model folder: its plan, its data set and its checkpoint."""
    return sha256_joined([*(digest_of(folder / part) for part in PLAN), digest_of(checkpoint)])


def after(earlier: Bundle, bundle: Bundle) -> Bundle:
    """The bundle as the second of two steps; the hash is that of both."""
    both = hashlib.sha256(f"{earlier.sha256} {bundle.sha256}".encode()).hexdigest()
    return replace(bundle, earlier=earlier, sha256=both)


def _first_folder(folder: Path, recipe: Recipe | None, plans: dict[str, Any]) -> Path | None:
    """The model folder of the step before, None for a model of one step; `recipe` is None for a foreign one.

    It lies in the folder under the name of its configuration or, as nnU-Net leaves it, beside it.
    """
    if recipe is not None:
        stages = recipe.steps[:-1]
    else:
        last = folder.name.rpartition("__")[2]
        found = {name: c.get("previous_stage") for name, c in plans.get("configurations", {}).items()}
        named = found.get(last) if last in found else None
        stages = tuple(stage for stage in found.values() if stage and (folder / stage).is_dir())
        stages = (named,) if named else stages[:1]
    if not stages:
        return None
    beside = folder.parent / f"{folder.name.rpartition('__')[0]}__{stages[0]}"
    for place in (folder / stages[0], beside):
        if place.is_dir():
            return place
    raise BundleError(folder, f"no first step {stages[0]}", f"{stages[0]}/ in it or {beside.name}/ beside it")


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise BundleError(file.parent, f"no {file.name}", "an nnU-Net v2 model folder") from None
    except ValueError:
        raise BundleError(file, "text that is not JSON", "nnU-Net's JSON") from None
    if not isinstance(content, dict):
        raise BundleError(file, "JSON that is no object", "nnU-Net's JSON")
    return content


def _members(checkpoints: list[Path]) -> list[Path]:
    """The folds that predict together: the numbered ones, or the one of all patients where there are none.

    So stock nnU-Net has it: a network that saw every patient is another model, no further fold.
    """
    numbered = [file for file in checkpoints if file.parent.name != WHOLE]
    return numbered or checkpoints


def _checkpoints(folder: Path) -> tuple[Path, ...]:
    found = []
    for fold in sorted(path for path in folder.glob("fold_*") if path.is_dir()):
        file = next((fold / name for name in CHECKPOINTS if (fold / name).is_file()), None)
        if file is not None:
            found.append(file)
    if not found:
        raise BundleError(folder, "no trained fold", f"fold_*/{CHECKPOINTS[0]}")
    return tuple(_members(found))


def _foreign_recipe(
    folder: Path, dataset: dict[str, Any], plans: dict[str, Any], channels: tuple[str, ...] | None
) -> Recipe:
    """A recipe for a model that LesionLab did not train: nnU-Net's own plan does all normalising."""
    stated = [str(name) for name in dataset.get("channel_names", dataset.get("modality", {})).values()]
    names = list(channels) if channels else [_channel_name(name) for name in stated]
    if len(set(names)) != len(stated) or "nonorm" in names:
        raise BundleError(folder, f"channel names {stated}", "the channels in order, e.g. --channels suv,ct")
    labels = _labels(folder, dataset)
    reference = "suv" if "suv" in names else names[0]
    try:
        return parse_recipe(
            {
                "name": re.sub(r"[^A-Za-z0-9_.-]+", "-", str(plans.get("dataset_name", folder.name))),
                "description": "an nnU-Net v2 model folder",
                "channels": {name: {"normalisation": "none"} for name in names},
                "reference": reference,
                "labels": labels,
            },
            str(folder),
        )
    except RecipeError as error:
        raise BundleError(folder, error.found, "integer labels 1, 2, ...") from None


def _labels(folder: Path, dataset: dict[str, Any]) -> dict[str, Any]:
    """Names and numbers of what a foreign model's masks hold.

    With regions, each name goes with the number that its region paints; later regions lie on top of it.
    """
    stated = dataset.get("labels", {})
    values = {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value
        for name, value in stated.items()
        if name not in ("background", "ignore")
    }
    if not any(isinstance(value, list) for value in values.values()):
        return values
    regions = [name for name, value in values.items() if value != 0]
    order = dataset.get("regions_class_order", [])
    if len(order) != len(regions):
        raise BundleError(folder, f"regions_class_order {order}", f"a number for each of {regions}")
    return dict(zip(regions, order, strict=True))


def _channel_name(stated: str) -> str:
    """The channel that a file of the stated name is read as."""
    words = words_of(stated)
    return channel_of(words) or "_".join(words)


def require_bundle_place(target: Path) -> None:
    """Raise BundleError for a folder that holds something else than a bundle, which would replace it all."""
    parts = {"recipe.toml", "plans.json"}
    if target.is_dir() and any(target.iterdir()) and not any((target / part).is_file() for part in parts):
        raise BundleError(target, "a folder with other files", "a new folder, or a bundle to replace")


def write_bundle(
    model: Path,
    recipe: Recipe,
    card: str,
    target: Path,
    *,
    earlier: Path | None = None,
    whole: bool = False,
) -> Path:
    """Copy nnU-Net's model folder to `target` as a bundle: final checkpoints, recipe.toml, model card.

    `earlier` is the model folder of a first step; it becomes a bundle of its own inside, named after its
    configuration. Stock nnU-Net loads both. Of a file that the weights were started from only the name is
    kept, not where it was. `whole` takes the network of all patients instead of the folds. Raises BundleError
    when a step has no fold with a final checkpoint, and for a target that holds something else than a bundle.
    """
    require_bundle_place(target)
    recipe = recipe.to_hand_on()
    with writing(target) as folder:
        _copy_model(model, folder, whole)
        write_text(folder / "recipe.toml", dump_recipe(recipe))
        write_text(folder / "MODEL_CARD.md", card)
        if earlier is not None:
            first = recipe.steps[0]
            _copy_model(earlier, folder / first, whole)
            write_text(folder / first / "recipe.toml", dump_recipe(recipe.step(first)))
    return target


def write_ensemble(
    members: Sequence[Callable[[Path], Path]], recipe: Recipe, card: str, target: Path
) -> Path:
    """Write an ensemble: each of `members` writes its bundle into the folder it is given.

    Raises BundleError as `load_bundle` does where they do not go together, nothing is left then, and for a
    target that holds something else than a bundle.
    """
    require_bundle_place(target)
    with writing(target) as folder:
        for number, write in enumerate(members, start=1):
            write(folder / MEMBERS / str(number))
        write_text(folder / "recipe.toml", dump_recipe(recipe.to_hand_on()))
        write_text(folder / "MODEL_CARD.md", card)
        load_bundle(folder)
    return target


def finished(model: Path, *, whole: bool = False) -> list[Path]:
    """The final checkpoints of a model folder that a bundle takes; `whole`: that of all patients alone."""
    finals = sorted(model.glob(f"{WHOLE if whole else 'fold_*'}/{CHECKPOINTS[0]}"))
    return _members(finals)


def _copy_model(model: Path, folder: Path, whole: bool) -> None:
    """What of nnU-Net's model folder prediction needs."""
    finals = finished(model, whole=whole)
    if not finals:
        needed = f"{WHOLE if whole else 'fold_*'}/{CHECKPOINTS[0]}; train first"
        raise BundleError(model, "no finished fold", needed)
    folder.mkdir()
    for name in ("dataset.json", "plans.json", "dataset_fingerprint.json"):
        shutil.copyfile(model / name, folder / name)
    for final in finals:
        (folder / final.parent.name).mkdir()
        shutil.copyfile(final, folder / final.parent.name / final.name)
