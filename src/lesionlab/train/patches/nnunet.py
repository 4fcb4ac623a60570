"""nnU-Net's loaders, drawing cases and places and augmenting patches as the recipe says.

What is drawn and how it is changed is written in `sampling.py` and `augment.py`; here they meet nnU-Net's
loader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from lesionlab.core.learning import TrainingSettings
from lesionlab.train.augment import ANGLE_RAD, flips_rotation_crop, intensity_changes
from lesionlab.train.located import AroundLocated
from lesionlab.train.sampling import EvenLesions, case_shares

Geometry = tuple[Any, bool, Any, Any]
"""Angles of rotation, whether slices are thick, the size that patches are cut at, the axes to mirror."""


def patch_geometry(
    planned: Geometry, settings: TrainingSettings, size: Sequence[int], transposed: Sequence[int]
) -> Geometry:
    """nnU-Net's geometry for its own augmentation, changed for another one and to the axes that may flip.

    `size` is the patch's; `transposed` names the image's axis (0, 1, 2 for z, y, x) of each axis of the
    plans, the last of which are the patch's.
    """
    angles, in_plane, cut, axes = planned
    if settings.augmentation == "none":
        return angles, in_plane, size, None
    if settings.augmentation != "nnunet":
        turn = (-ANGLE_RAD, ANGLE_RAD)
        cut = get_patch_size(size, turn, turn, turn, (1.0, 1.0))
        if in_plane:
            cut[0] = size[0]
    if settings.flips is not None:
        own = list(transposed)[-len(size) :]
        axes = tuple(axis for axis in axes if "zyx"[own[axis]] in settings.flips) or None
    return angles, in_plane, cut, axes


def patch_transforms(trainer: Any, geometry: Geometry) -> tuple[Any, Any]:
    """The transforms of training and of validation patches. The truth leaves them at full size alone."""
    angles, in_plane, _, axes = geometry
    augmentation = trainer.recipe.training.augmentation
    size, cascaded = trainer.configuration_manager.patch_size, trainer.is_cascaded
    labels, ignored = trainer.label_manager.foreground_labels, trainer.label_manager.ignore_label
    plain = trainer.get_validation_transforms(None, cascaded, labels, None, ignored)
    if augmentation == "none":
        return plain, plain
    if augmentation != "nnunet":
        steps = [flips_rotation_crop(size, axes, in_plane=in_plane)]
        if augmentation == "flips_rotation_crop_intensity":
            steps.append(intensity_changes(in_plane=in_plane))
        return ComposeTransforms([*steps, plain]), plain
    masked = trainer.configuration_manager.use_mask_for_norm
    augmented = trainer.get_training_transforms(
        size, angles, None, axes, in_plane, masked, cascaded, labels, None, ignored
    )
    return augmented, plain


def _wrong(trainer: Any, case: str) -> Any:
    """Where the network that locates found something in a case that is none, 0 elsewhere."""
    folder = str(trainer.preprocessed_dataset_folder)
    previous = nnUNetDatasetBlosc2(folder, [case], str(trainer.located)).load_case(case)[2]
    return np.asarray(previous[:])


def patch_loaders(trainer: Any, geometry: Geometry) -> tuple[Any, Any]:
    """Endless batches of training and of validation patches, made in this process."""
    size, settings = trainer.configuration_manager.patch_size, trainer.recipe.training
    training, validation = trainer.get_tr_and_val_datasets()
    shares = case_shares(
        training.identifiers, trainer.with_lesion, settings.lesion_free_share, str(trainer.recipe.name)
    )
    if settings.sampling == "lesion_size":
        training = EvenLesions(training, trainer.label_manager.foreground_labels)
    if trainer.located is not None:
        training = AroundLocated(training, lambda case: _wrong(trainer, case), size)
    augmented, plain = patch_transforms(trainer, geometry)
    loaders = [
        nnUNetDataLoader(
            data,
            trainer.batch_size,
            cut,
            size,
            trainer.label_manager,
            oversample_foreground_percent=trainer.oversample_foreground_percent,
            sampling_probabilities=probabilities,
            transforms=transforms,
        )
        for data, cut, probabilities, transforms in (
            (training, geometry[2], shares, augmented),
            (validation, size, None, plain),
        )
    ]
    return SingleThreadedAugmenter(loaders[0], None), SingleThreadedAugmenter(loaders[1], None)
