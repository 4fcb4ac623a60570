"""Which networks there are beside nnU-Net's own, and how each is planned.

A recipe names one of them (`network.architecture`); the plan then holds its dotted path and arguments. Making
strides and patch sizes belongs to `plan/`, building the network to `build.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lesionlab.core.errors import RecipeError
from lesionlab.core.learning import NetworkSettings

ROOM = "lesionlab.networks"


@dataclass(frozen=True)
class Frame:
    """What a network is planned for: patch, strides of its levels, first and largest number of features."""

    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    first: int
    most: int | None

    @property
    def features(self) -> list[int]:
        """Features of each level, doubled from one to the next."""
        return [min(self.most or 2**30, self.first * 2**level) for level in range(len(self.strides))]


@dataclass(frozen=True)
class Entry:
    """How a network is planned.

    Exactly one of `stages` (levels by dimensions, fewer where the patch is small, with strides that follow
    the spacing) and `multiple` (edges of the patch are multiples of it) is given.
    """

    path: str
    """Dotted path of the class."""
    arguments: Callable[[Frame], dict[str, Any]]
    """The class's keyword arguments, plain values that JSON can hold."""
    first: Mapping[int, int]
    """First number of features in 2D and in 3D, where the network is for those."""
    takes: tuple[str, ...] = ("first_features",)
    """Settings of the recipe that it heeds; another one is refused."""
    stages: Mapping[int, int] | None = None
    multiple: int | None = None
    cells: int = 1
    """Of its coarsest grid, at least so many cells must lie in a patch."""
    feature_step: int = 1
    """`first_features` is a multiple of it."""
    deep_supervision: bool = False

    @property
    def one_size(self) -> bool:
        """Whether the network is built for one size of patch: it has an embedding of each token's place."""
        return self.takes == TOKENS


def _levels(frame: Frame) -> dict[str, Any]:
    return {"strides": [list(stride) for stride in frame.strides], "features": frame.features}


def _unet(frame: Frame) -> dict[str, Any]:
    return {**_levels(frame), "narrow_first": len(frame.patch) == 3}


def _denseseg(frame: Frame) -> dict[str, Any]:
    return {"strides": _levels(frame)["strides"], "features": frame.first}


def _features(frame: Frame) -> dict[str, Any]:
    return {"features": frame.first}


def _swin_unetr(frame: Frame) -> dict[str, Any]:
    return {"dimensions": len(frame.patch), "features": frame.first}


def _tokens(frame: Frame) -> dict[str, Any]:
    """Width of a token 768 and heads of 64 features (ViT-Base, arXiv:2010.11929), fewer heads where they do
    not divide it.
    """
    hidden = frame.most or 768
    return {"hidden": hidden, "heads": math.gcd(hidden, max(1, hidden // 64)), "patch": list(frame.patch)}


def _unetr(frame: Frame) -> dict[str, Any]:
    return {**_tokens(frame), "features": frame.first}


def _transunet(frame: Frame) -> dict[str, Any]:
    return {**_tokens(frame), "width": frame.first}


LEVELS = ("first_features", "max_features", "stages")
TOKENS = ("first_features", "max_features")

NETWORKS: dict[str, Entry] = {
    "unet": Entry(
        f"{ROOM}.unet.UNet", _unet, {2: 64, 3: 64}, LEVELS, stages={2: 5, 3: 4}, deep_supervision=True
    ),
    "attention-unet": Entry(
        f"{ROOM}.unet.AttentionUNet",
        _levels,
        {2: 64, 3: 16},
        LEVELS,
        stages={2: 5, 3: 5},
        deep_supervision=True,
    ),
    "unet-plus-plus": Entry(
        f"{ROOM}.unet_plus_plus.UNetPlusPlus",
        _levels,
        {2: 32, 3: 32},
        LEVELS,
        stages={2: 5, 3: 5},
        deep_supervision=True,
    ),
    "vnet": Entry(f"{ROOM}.vnet.VNet", _levels, {2: 16, 3: 16}, LEVELS, stages={2: 5, 3: 5}),
    "denseseg": Entry(
        f"{ROOM}.denseseg.DenseSeg", _denseseg, {3: 32}, ("first_features", "stages"), stages={3: 5}
    ),
    "unetr": Entry(f"{ROOM}.from_monai.UNETR", _unetr, {2: 16, 3: 16}, TOKENS, multiple=16),
    "swin-unetr": Entry(
        f"{ROOM}.from_monai.SwinUNETR", _swin_unetr, {2: 48, 3: 48}, multiple=32, cells=2, feature_step=12
    ),
    "transunet": Entry(f"{ROOM}.transunet.TransUNet", _transunet, {2: 64}, TOKENS, multiple=16),
    "unext": Entry(f"{ROOM}.unext.UNeXt", _features, {2: 16}, multiple=32),
    "pspnet": Entry(f"{ROOM}.pspnet.PSPNet", _features, {2: 64}, multiple=8),
    "vgg16-unet": Entry(f"{ROOM}.vgg_unet.VGGUNet", _features, {2: 64}, multiple=16, deep_supervision=True),
    "efficientnet-unet": Entry(f"{ROOM}.from_monai.EfficientNetUNet", _features, {2: 16}, multiple=32),
    "efficientnet-lite-unet": Entry(
        f"{ROOM}.efficientnet_lite.EfficientNetLiteUNet", _features, {2: 16}, multiple=32
    ),
}
"""Every `Architecture` but `plain` and `residual`, which are nnU-Net's."""


def network_entry(settings: NetworkSettings, dimensions: int, name: str) -> Entry | None:
    """The entry of a recipe's network, None for nnU-Net's own.

    Raises RecipeError, about the recipe `name`, when the network is not for so many dimensions or the recipe
    sets what it does not heed.
    """
    entry = NETWORKS.get(settings.architecture)
    if entry is None:
        return None
    if dimensions not in entry.first:
        only = " or ".join(f"{d}D" for d in entry.first)
        raise RecipeError(name, f"{settings.architecture} in {dimensions}D", f"{only} for this network")
    for key in LEVELS:
        if getattr(settings, key) is not None and key not in entry.takes:
            heeded = ", ".join(entry.takes)
            raise RecipeError(name, f"network.{key} for {settings.architecture}", f"no more than {heeded}")
    if (settings.first_features or 0) % entry.feature_step:
        found = f"network.first_features = {settings.first_features} for {settings.architecture}"
        raise RecipeError(name, found, f"a multiple of {entry.feature_step}")
    return entry


def widths_as_unet(settings: NetworkSettings) -> bool:
    """Whether `first_features` and `max_features` mean of this network what they mean of nnU-Net's, whose
    planner weighs a patch's memory by them.
    """
    entry = NETWORKS.get(settings.architecture)
    return entry is None or ("max_features" in entry.takes and entry.stages is not None)


def fitting_patch(entry: Entry, settings: NetworkSettings, planned: Sequence[int], name: str) -> list[int]:
    """A patch that fits a network with a fixed `multiple`: the recipe's, else the nearest to the planned.

    Raises RecipeError, saying which sizes fit, when the recipe's does not.
    """
    step = entry.multiple or 1
    wanted = list(settings.patch_size or planned)
    fits = f"multiples of {step}" + (
        f", at least one of them {entry.cells * step}" if entry.cells > 1 else ""
    )
    patch = [max(step, (edge + step // 2) // step * step) for edge in (*wanted, *planned[len(wanted) :])][
        : len(planned)
    ]
    if math.prod(edge // step for edge in patch) < entry.cells:
        patch[-1] = entry.cells * step
    if settings.patch_size is not None and (patch != wanted or len(patch) != len(planned)):
        found = f"patch_size {wanted} for {settings.architecture}"
        raise RecipeError(name, found, f"{len(planned)} {fits}, such as {patch}")
    return patch


def edge_multiples(architecture: Mapping[str, Any], dimensions: int) -> tuple[int, ...] | None:
    """What a patch's edges must be multiples of, by a plan's `architecture`; None if only the planned fit."""
    named = architecture["network_class_name"]
    entry = next((entry for entry in NETWORKS.values() if entry.path == named), None)
    if entry is None or entry.multiple is None:
        strides = architecture["arch_kwargs"]["strides"]
        return tuple(math.prod(axis) for axis in zip(*strides, strict=True))
    return None if entry.one_size else (entry.multiple,) * dimensions


def plan_network(
    entry: Entry, settings: NetworkSettings, patch: Sequence[int], strides: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The `architecture` of a plan's configuration; `strides` are empty for a network that has its own."""
    frame = Frame(
        tuple(patch),
        tuple(tuple(stride) for stride in strides),
        settings.first_features or entry.first[len(patch)],
        settings.max_features,
    )
    return {
        "network_class_name": entry.path,
        "arch_kwargs": entry.arguments(frame),
        "_kw_requires_import": [],
    }
