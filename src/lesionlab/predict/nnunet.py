"""Running an nnU-Net v2 model folder in this process: its plan and weights, our own sliding window.

The trainer class that a checkpoint names is never looked up, because the plans tell the architecture.
Checkpoints (`checkpoints.py`) are opened, and torch is loaded, only where no converted network is kept.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.inputs import NetworkArrays
from lesionlab.core.learning import LocateSettings, PredictionSettings
from lesionlab.core.memory import available_memory
from lesionlab.core.results import Prediction, Wanted
from lesionlab.core.tasks import Progress
from lesionlab.core.units import ONE
from lesionlab.core.warned import without_warnings
from lesionlab.networks.device import device_name, on_device, thread_count
from lesionlab.predict.backends import (
    Backend,
    BuildNetwork,
    TurnedBackend,
    Wish,
    make_backends,
    user_cache,
    wants_openvino,
    work_of,
)
from lesionlab.predict.bundle import Bundle, fold_hash
from lesionlab.predict.cascade import with_previous
from lesionlab.predict.checkpoints import Told, keep_words, kept_words, safe_load, told_by
from lesionlab.predict.crops import candidates, crops_of, refined, share_of
from lesionlab.predict.decide import FloatArray, Rule, difference_rule, regions_rule
from lesionlab.predict.engine import Slab, TileDone, Window, slide
from lesionlab.predict.expected_dice import largest_expected_dice, levels
from lesionlab.predict.need import Extent, slab_axis
from lesionlab.predict.plans import Reading, read_plain
from lesionlab.predict.space import Space
from lesionlab.predict.threshold import body_mask
from lesionlab.predict.tiles import Tiles

if TYPE_CHECKING:
    import torch

BoolArray = NDArray[np.bool_]
LOADED = 4
"""So many models stay loaded: two steps, or the members of an ensemble."""
FAINT_UPTAKE = 0.1
"""SUVbw above which there may be a patient; air of a reconstructed PET lies below, skin above."""


@contextlib.contextmanager
def _quiet() -> Any:
    """nnU-Net prints and warns of its own libraries when a model is loaded; neither is for our user."""
    with contextlib.redirect_stdout(io.StringIO()), without_warnings():
        yield


@dataclass(frozen=True)
class Model:
    """The networks of all folds, ready to run, and nnU-Net's plan for them.

    `rule` says what the logits mean where it is not what the engine takes them for; `labels` are those of the
    foreground.
    """

    backends: list[Backend]
    window: Window
    plans: Any
    configuration: Any
    rule: Rule | None
    labels: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def cascaded(self) -> bool:
        """True for the second network of a cascade, which sees the first one's mask."""
        return self.configuration.previous_stage_name is not None


def predict_network(
    case: Case,
    bundle: Bundle,
    *,
    device: str,
    progress: Progress,
    probability: Wanted = False,
    before: Prediction | None = None,
) -> Prediction:
    """Segment a standardised case with every fold of a bundle, averaged.

    `before` is what an earlier step found, for the second network of two. The mask has the recipe's labels,
    and mask and probabilities, those of the first label or of every one if asked for, are on the reference
    grid. The last used models stay loaded. Raises BundleError when the case does not fit.
    """
    progress(f"{case.id}: loading the network", 0.0)
    if bundle.folder is None:
        raise BundleError(bundle.name, "no model folder", "a bundle with weights")
    inputs = NetworkArrays(case, bundle.recipe)
    settings = bundle.recipe.prediction
    own = settings.threshold == "expected_dice"
    labels = len(bundle.recipe.predicted_labels)
    wanted = labels if probability == "every" else int(probability)
    # of a single label the probability is resized and cut
    cut = own or (labels == 1 and inputs.grid != case.geometry)

    def run(chosen: str) -> tuple[Model, tuple[Any, Any, tuple[str, ...]]]:
        model = _load(bundle_weights(bundle), settings, chosen)
        if model.cascaded and before is None:
            needed = f"the folder of {model.configuration.previous_stage_name} beside it or in it"
            raise BundleError(bundle.folder, "the second network of a cascade alone", needed)
        over_body = settings.skip_outside_body
        job = _Job(case, inputs, over_body, before, bundle.recipe.locate, progress)
        return model, _run(model, job, max(wanted, int(cut)))

    (model, (mask, chance, notes)), lost = on_device(device, run)
    mask, chance = inputs.back(mask, chance)
    if own and chance is not None:
        mask = largest_expected_dice(levels(chance[0])).astype(mask.dtype)
    progress(f"{case.id}: network", 1.0)
    reference = case.channels[case.reference]
    folds = f"predicted with {len(bundle.checkpoints)} fold(s) by {model.backends[0].name}"
    volumes = [reference.with_array(one, ONE) for one in (() if chance is None else chance[:wanted])]
    return Prediction(
        mask=reference.with_array(mask, ONE),
        probability=volumes[0] if volumes else None,
        notes=(folds, *notes, *model.notes, *lost),
        others=tuple(volumes[1:]),
    )


@dataclass(frozen=True)
class _Job:
    """One case on its way through one model; `before` is what an earlier step found."""

    case: Case
    data: NetworkArrays
    over_body: bool
    before: Prediction | None
    locate: LocateSettings
    progress: Progress

    def done(self, number: int, count: int) -> None:
        """Tell how many tiles are finished."""
        self.progress(f"{self.case.id}: tile {number} of {count}", 0.1 + 0.85 * number / count)


def _run(model: Model, job: _Job, probability: int) -> tuple[Any, Any, tuple[str, ...]]:
    """Mask (uint8) of a case and the probability (n, z, y, x) of so many labels (float32) or None; notes."""
    data, subject, spacing = job.data, job.case.id, job.data.grid.spacing
    space = Space(model.plans, model.configuration, subject, spacing, thread_count())
    job.progress(f"{subject}: preparing", 0.05)
    axes, short = _axes(model, job, space, probability)
    prepared: FloatArray | Tiles
    if model.cascaded and job.before is not None:
        previous = data.there(job.before.mask.array)
        prepared = with_previous(space.enter(data, previous > 0), previous, data, space, model.labels)
    elif short or job.before is not None:
        prepared = space.enter(data)
    else:
        prepared = space.tiles(data)
    if isinstance(prepared, np.ndarray) and job.before is not None and job.locate.spacing_mm is not None:
        slabs, note = _in_crops(model, job, space, prepared)
        return (*space.leave(slabs, rule=model.rule, probability=probability), (note,))
    wanted, looked = _wanted(job, space)
    backends, window = model.backends, model.window
    if isinstance(prepared, np.ndarray) and short:
        backends, window = [TurnedBackend(backend, axes) for backend in backends], window.turned(axes)
        prepared = prepared.transpose(0, *(axis + 1 for axis in axes))
        wanted = None if wanted is None else wanted.transpose(axes)
    tiles = slide(prepared, backends, window, subject=subject, wanted=wanted, done=job.done)
    del wanted  # as large as the scan, and let go once the tiles are laid out
    logits = (slab.logits for slab in tiles)
    return (*space.leave(logits, rule=model.rule, probability=probability, axes=axes), (*short, *looked))


def _wanted(job: _Job, space: Space) -> tuple[BoolArray | None, tuple[str, ...]]:
    """Where tiles are to lie, in the network's space, None for everywhere; a note where that is not usual."""
    if not job.over_body:
        return None, ()
    body = _body(job.case)
    if not body.any():
        return None, ("found no body on CT or uptake, so looked everywhere",)
    share = f"{np.count_nonzero(body) / body.size:.0%}"
    return space.nearest(job.data.there(body)), (f"looked at the body alone, {share} of the scan",)


def _axes(
    model: Model, job: _Job, space: Space, probability: int
) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """The order of axes in which memory suffices, the one that slabs lie across first; a note if changed."""
    window, backend = model.window, model.backends[0]
    scan, inner = space.expected(job.data.grid.shape)
    logits = len(window.background(backend.classes)) if backend.device == "cpu" else 0
    turning = window.patch[0] > 1 and job.before is None
    work, streamed = work_of(model.backends), job.before is None and space.streams()
    extent = Extent(scan, inner, window.patch, len(job.data), logits, work, probability, streamed)
    first = slab_axis(job.case.id, extent, available_memory(), (0, 1, 2) if turning else (0,))
    if first == 0:
        return (0, 1, 2), ()
    order = (first, *(axis for axis in range(3) if axis != first))
    note = f"memory was short, so slabs lay across axis {first} of the network's space"
    return (order[0], order[1], order[2]), (note,)


def _in_crops(
    model: Model, job: _Job, space: Space, prepared: FloatArray
) -> tuple[Iterator[FloatArray], str]:
    """Rows of logits, from the network only around what the step before found, and what was done."""
    if job.before is None:
        raise ValueError("found no earlier step; needed one that locates")
    boxes, count = candidates(job.before, job.case.geometry.spacing, job.locate)
    crops = crops_of(boxes, space, model.window.patch)

    def run(part: FloatArray, done: TileDone) -> Iterator[Slab]:
        return slide(part, model.backends, model.window, subject=job.case.id, done=done)

    background = np.array(model.window.background(model.backends[0].classes), np.float32)
    share = share_of(crops, space.inner)
    note = f"located {count} candidate(s); refined in {len(crops)} crop(s), {share:.1%} of the scan"
    if count > len(boxes):
        note += f"; {count - len(boxes)} of low probability left out (maximum_crops)"
    return refined(prepared, crops, run, background, job.done), note


def _body(case: Case) -> BoolArray:
    """Where the patient is, generously: on CT above -300 HU as `body_mask` finds it, else any uptake."""
    if "ct" in case.channels:
        return body_mask(case.channels["ct"])
    body: BoolArray = case.channels[case.reference].array > FAINT_UPTAKE
    return body


def load_model(bundle: Bundle, device: str) -> Model:
    """The model of a bundle, ready to run; BundleError when it has no weights or they do not fit."""
    with _quiet():
        return _load(bundle_weights(bundle), bundle.recipe.prediction, device)


@dataclass(frozen=True)
class Weights:
    """Files of a model folder and what they held when the bundle was opened: a hash for each fold."""

    folder: Path
    files: tuple[Path, ...]
    names: tuple[str, ...]

    def state(self, number: int) -> dict[str, Any]:
        """A fold's checkpoint; BundleError when it is not what it was."""
        file = self.files[number]
        state = safe_load(file)
        if fold_hash(self.folder, file) != self.names[number]:
            raise BundleError(file, "weights that changed since the bundle was opened", "to open it again")
        return state


def bundle_weights(bundle: Bundle) -> Weights:
    """The weights of a bundle; BundleError when it has none."""
    if bundle.folder is None:
        raise BundleError(bundle.name, "no model folder", "a bundle with weights")
    folder = bundle.folder
    names = bundle.folds or tuple(fold_hash(folder, file) for file in bundle.checkpoints)
    return Weights(folder, bundle.checkpoints, names)


@lru_cache(maxsize=LOADED)
@_quiet()
def _load(weights: Weights, settings: PredictionSettings, device: str) -> Model:
    """The model of a bundle; hashes are part of the key, so that new weights in old files are read again."""
    folder, device = weights.folder, device_name(device)
    caches = (folder / "converted", user_cache())
    told = kept_words(weights.names[0], caches)
    first = None if told is not None else weights.state(0)
    told = told or told_by(first or {})
    reading = _reading(folder, told.configuration)
    wish = _wish(reading, settings, device, caches)

    def builder(number: int) -> BuildNetwork:
        def build() -> torch.nn.Module:
            state = first if number == 0 and first is not None else weights.state(number)
            return _network(reading.configuration, wish, state["network_weights"], folder)

        return build

    backends, notes = make_backends(list(map(builder, range(len(weights.files)))), weights.names, wish)
    if first is not None and wants_openvino(wish):
        keep_words(told, weights.names[0], caches)
    labels = reading.labels
    window = Window(wish.patch, settings.step, _flips(told, wish, settings), labels.has_regions)
    threshold = settings.cut
    rule = None if threshold == 0.5 else difference_rule(threshold)
    if labels.has_regions:
        rule = regions_rule(labels.regions_class_order, threshold)
    foreground = tuple(int(label) for label in labels.foreground_labels)
    return Model(backends, window, reading.plans, reading.configuration, rule, foreground, tuple(notes))


def _wish(reading: Reading, settings: PredictionSettings, device: str, caches: tuple[Path, ...]) -> Wish:
    """What a plan and the recipe's settings ask of the backends."""
    patch = [int(n) for n in reading.configuration.patch_size]
    flat, patch = len(patch) == 2, [1, *patch][-3:]
    return Wish(
        settings.backend,
        settings.precision,
        device,
        reading.channels,
        reading.labels.num_segmentation_heads,
        (patch[0], patch[1], patch[2]),
        flat,
        caches,
    )


def _flips(told: Told, wish: Wish, settings: PredictionSettings) -> tuple[int, ...]:
    """The axes (0 is z) that tiles are flipped along."""
    return tuple(axis + wish.flat for axis in told.mirroring) if settings.mirror else ()


def _reading(folder: Path, name: str) -> Reading:
    """What the folder's plan says of the configuration `name`; nnU-Net reads what we do not."""
    plans, dataset = (json.loads((folder / f"{one}.json").read_text()) for one in ("plans", "dataset"))
    plain = read_plain(plans, dataset, name)
    if plain is not None:
        return plain
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    configuration, labels = manager.get_configuration(name), manager.get_label_manager(dataset)
    channels = determine_num_input_channels(manager, configuration, dataset)
    return Reading(manager, configuration, labels, channels)


def _network(configuration: Any, wish: Wish, weights: dict[str, Any], folder: Path) -> torch.nn.Module:
    """The network of the plans with the weights of one fold."""
    from lesionlab.networks.build import build_network

    network = build_network(
        configuration.configuration["architecture"],
        wish.channels,
        wish.classes,
        deep_supervision=False,
        subject=folder,
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        found = f"weights that do not fit: {str(error)[:200]}"
        raise BundleError(folder, found, "plans.json's network") from None
    return network.eval()
