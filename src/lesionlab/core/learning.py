"""The sections of a recipe that concern a network: architecture, loss, training, and how it predicts.

The recipe itself is in `recipe.py`. What a setting does to a batch is written in `train/`, what it does to
a plan in `plan/` and `networks/`, what it does to a prediction in `predict/`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lesionlab.core.settings import Count, NonNegative, Positive, Settings, Share, Threshold

Architecture = Literal[
    "plain",
    "residual",
    "unet",
    "attention-unet",
    "unet-plus-plus",
    "vnet",
    "denseseg",
    "unetr",
    "swin-unetr",
    "transunet",
    "unext",
    "pspnet",
    "vgg16-unet",
    "efficientnet-unet",
    "efficientnet-lite-unet",
]
"""`plain` and `residual` are nnU-Net's own; the others are in `networks/` (docs/reference/networks.md)."""


class NetworkSettings(Settings):
    """Which network, and what of nnU-Net's plan is pinned (None = planned from the data)."""

    configuration: Literal["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"] = "3d_fullres"
    """`3d_cascade_fullres` is nnU-Net's cascade: a network at low resolution (`3d_lowres`) is trained first,
    and its mask is input to the one at full resolution."""
    lowres_spacing_mm: tuple[Positive, Positive, Positive] | None = None
    """Voxels (z, y, x) of `3d_lowres`; None = as nnU-Net plans it, and twice the full resolution's where
    nnU-Net, for scans little larger than a patch, plans none."""
    architecture: Architecture = "plain"
    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    patch_size: tuple[Count, ...] | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    first_features: Count | None = None
    """Number of features at full resolution; see docs/reference/networks.md for each network."""
    max_features: Count | None = None
    """Where features stop doubling from level to level; in `unetr` and `transunet` the width of a token."""
    stages: Annotated[int, Field(ge=2)] | None = None


class LocateSettings(Settings):
    """Locate, then refine: a coarse network (`3d_lowres`) sees the whole scan, and the network at full
    resolution only crops around what the coarse one finds. Outside the crops is background.

    `spacing_mm` turns it on. Crops are never smaller than the network's patch.
    """

    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    """Voxels (z, y, x) of the coarse network; None = one step."""
    margin_mm: NonNegative = 20.0
    """How far a crop reaches beyond what it was made for."""
    minimum_probability: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """A voxel is a candidate where the coarse network gives any label at least this probability."""
    maximum_crops: Count = 32
    """Of more candidates, those with the highest probabilities are refined."""


Weighted = Literal["cross_entropy", "binary_cross_entropy", "focal", "tversky", "focal_tversky"]
"""A term of the loss that can weigh lesion voxels."""


class LossSettings(Settings):
    """The loss: a sum of terms, each with its weight; a weight of 0 leaves the term out.

    `cross_entropy` is over all classes at once (softmax). The others are taken per foreground class from its
    probability: of the softmax, or with `activation = "sigmoid"` of its logit less the background's, which
    for one class is the same number. `fp_weight`, `fn_weight` and `focus` belong to the Tversky terms:
    index = TP / (TP + fp_weight FP + fn_weight FN), focal Tversky = (1 - index) ** focus. Formulas and
    papers: docs/reference/training.md.
    """

    activation: Literal["softmax", "sigmoid"] = "softmax"
    dice: NonNegative = 1.0
    cross_entropy: NonNegative = 1.0
    binary_cross_entropy: NonNegative = 0.0
    focal: NonNegative = 0.0
    tversky: NonNegative = 0.0
    focal_tversky: NonNegative = 0.0
    fp_weight: NonNegative = 0.5
    fn_weight: NonNegative = 0.5
    focus: Positive = 1.0
    focal_focus: NonNegative = 2.0
    """Exponent of the focal term, (1 - p) ** focal_focus."""
    smooth: Positive = 1e-5
    batch_overlap: bool | None = None
    """Overlaps (Dice, Tversky) over the whole batch instead of image by image; None = as nnU-Net plans it."""
    positive_weight: Positive | Literal["batch"] = 1.0
    """Weight of lesion voxels in the `weighted_terms`; `batch` = negatives over positives of the batch, class
    by class."""
    weighted_terms: tuple[Weighted, ...] | Literal["all"] = "all"
    """The terms that `positive_weight` holds for; Dice never is weighted."""
    deep_supervision: bool = True
    """Where the network has it: the same loss on its coarser outputs too."""

    @model_validator(mode="after")
    def _consistent(self) -> LossSettings:
        terms = (self.dice, self.cross_entropy, self.binary_cross_entropy)
        if not any((*terms, self.focal, self.tversky, self.focal_tversky)):
            raise ValueError("at least one term of the loss needs a weight above 0")
        if (self.tversky or self.focal_tversky) and self.fp_weight + self.fn_weight == 0:
            raise ValueError("the Tversky terms need fp_weight or fn_weight above 0")
        return self


class TrainingSettings(Settings):
    """Length and manner of training. An epoch is `iterations` optimiser steps."""

    start_from: str | None = None
    """File of weights to start from instead of random ones: checkpoint_final.pth of a bundle's or stock
    nnU-Net's fold, or tensors published for the network. Looked for beside the recipe's file."""
    epochs: Count = 1000
    minutes: Positive | None = None
    """Stop after the epoch that ends nearest to so many minutes, for comparisons at equal time; the schedule
    then runs over the minutes as it would over the `epochs`."""
    iterations: Count = 250
    validation_iterations: Count = 50
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Nesterov momentum of `sgd`, first beta of the Adams; None = 0.99 for `sgd`, 0.9 for the Adams."""
    weight_decay: NonNegative = 3e-5
    schedule: Literal["poly", "cosine", "cosine_restarts", "constant"] = "poly"
    poly_power: Positive = 0.9
    restart_epochs: Count = 10
    """Length of the first cycle of `cosine_restarts`; each next one is `restart_factor` times as long."""
    restart_factor: Count = 2
    warm_up_epochs: Annotated[int, Field(ge=0)] = 0
    """Over these first epochs the rate rises linearly; the schedule runs over those that are left."""
    clip_gradients: NonNegative = 12.0
    """Largest norm of the gradient; 0 = not clipped."""
    foreground_share: Share = 0.33
    """Share of the patches that are forced to contain foreground."""
    progressive: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    """Edges of the patches over the training, as shares of the full patch, each for an equal part of it: the
    same patches on a coarser grid. The last is 1."""
    sampling: Literal["uniform", "lesion_size"] = "uniform"
    """Where forced patches lie: `uniform` on any voxel of a class, so on large lesions mostly; `lesion_size`
    on lesions drawn evenly, however few voxels they have."""
    lesion_free: Literal["include", "exclude"] = "include"
    """Whether patients without a lesion are trained on."""
    lesion_free_share: Share | None = None
    """Share of the patches drawn from lesion-free patients; None = as often as they come."""
    augmentation: Literal["nnunet", "flips_rotation_crop", "flips_rotation_crop_intensity", "none"] = "nnunet"
    flips: tuple[Literal["z", "y", "x"], ...] | None = None
    """Axes of the image that patches are flipped along, and predictions mirrored; None = all of the patch's.
    Pictures with the skin at their top are flipped along x only."""
    stop_after: Count | None = None
    """Stop when the smoothed validation Dice has not improved for this many epochs."""
    stop_improvement: NonNegative = 0.002
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of an exponential moving average of the weights; 0 = off."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    """torch.compile the network, on CUDA; elsewhere it is left as it is."""
    folds: Count = 5
    """Folds by patient; a data set with official folds brings its own number."""
    official_folds: bool = True
    """Take the folds that a data set comes with (docs/how-to/datasets.md)."""
    duplicates: Literal["refuse", "drop", "group"] = "refuse"
    """Cases that look the same: `drop` keeps one of them, `group` keeps their patients in one fold."""
    seed: Annotated[int, Field(ge=0)] = 12345

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSettings:
        if self.warm_up_epochs >= self.epochs:
            raise ValueError(f"warm_up_epochs = {self.warm_up_epochs} must be below epochs = {self.epochs}")
        if max(self.progressive) > 1 or self.progressive[-1] != 1:
            raise ValueError(f"progressive = {list(self.progressive)} must not exceed 1 and end at 1")
        if self.lesion_free == "exclude" and self.lesion_free_share:
            raise ValueError("lesion_free_share needs lesion_free 'include'")
        return self

    @property
    def inertia(self) -> float:
        """The momentum that is used."""
        usual = 0.99 if self.optimiser == "sgd" else 0.9
        return usual if self.momentum is None else self.momentum


class PredictionSettings(Settings):
    """Sliding window: overlap step as a share of the patch, flips, numeric precision, what runs the network.

    `backend = "auto"` is OpenVINO on a CPU where it is installed, torch otherwise. `skip_outside_body` lays
    the tiles over the body found on CT or uptake alone (`predict/engine.py`), and finds nothing where no tile
    lies. It is off, because it trusts the body to be found, and because other tiles give other masks than
    nnU-Net's. A voxel is lesion where its probability is above `threshold`, at 0.5 as nnU-Net decides, or in
    the mask that has the largest expected Dice (`predict/expected_dice.py`); only a recipe of one label may
    have another than 0.5.
    """

    step: Annotated[float, Field(gt=0, le=1)] = 0.5
    mirror: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    backend: Literal["auto", "torch", "openvino"] = "auto"
    skip_outside_body: bool = False
    threshold: Threshold = 0.5
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    """Sizes that pictures are predicted at, as shares of `standardise.size`; probabilities are averaged."""

    @property
    def cut(self) -> float:
        """The probability that voxels are cut at first: the threshold, or 0.5 where each scan has its own."""
        return 0.5 if self.threshold == "expected_dice" else self.threshold
