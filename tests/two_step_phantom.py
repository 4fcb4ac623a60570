"""nnU-Net model folders with random weights (one step, a cascade, regions), and stock nnU-Net over them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from lesionlab.core.case import Case
from lesionlab.core.units import ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume

PLAIN = {"labels": {"background": 0, "lesion": 1, "node": 2}}
REGIONS = {
    "labels": {"background": 0, "whole": [1, 2], "core": [2]},
    "regions_class_order": [1, 2],
}
NAME = "nnUNetTrainer__nnUNetPlans__"
IMAGE, LABELS = {"order": 3, "order_z": 0, "force_separate_z": None}, {"order": 1, "order_z": 0}


def configuration(spacing: list[float], patch: list[int]) -> dict[str, Any]:
    """A configuration of nnU-Net's plans with a U-Net of two stages."""
    separate = {"force_separate_z": None}
    resample = "resample_data_or_seg_to_shape"
    return {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "median_image_size_in_voxels": [20, 20, 20],
        "spacing": spacing,
        "normalization_schemes": ["ZScoreNormalization", "NoNormalization"],
        "use_mask_for_norm": [True, False],
        "resampling_fn_data": resample,
        "resampling_fn_seg": resample,
        "resampling_fn_probabilities": resample,
        "resampling_fn_data_kwargs": {"is_seg": False, **IMAGE},
        "resampling_fn_seg_kwargs": {"is_seg": True, **LABELS, **separate},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, **LABELS, **separate},
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [4, 8],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
                "strides": [[1, 1, 1], [2, 2, 2]],
                "n_conv_per_stage": [1, 1],
                "n_conv_per_stage_decoder": [1],
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }


def plans() -> dict[str, Any]:
    """Plans of a cascade, axes turned: the network's first axis is the scan's last."""
    return {
        "dataset_name": "Dataset007_Two",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [2, 0, 1],
        "transpose_backward": [1, 2, 0],
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
        "foreground_intensity_properties_per_channel": {"0": {}, "1": {}},
        "configurations": {
            "3d_lowres": {
                **configuration([6.0, 5.0, 5.5], [8, 8, 12]),
                "next_stage": "3d_cascade_fullres",
            },
            "3d_fullres": configuration([3.0, 2.5, 2.5], [8, 12, 12]),
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
    }


def model_folder(
    folder: Path, name: str, dataset: dict[str, Any], *, folds: int = 1, channels: int = 2
) -> Path:
    """A model folder of configuration `name` as nnU-Net leaves it, its weights random."""
    folder.mkdir(parents=True)
    named = {"channel_names": {"0": "PET", "1": "noNorm_ct"}, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**named, **dataset}))
    (folder / "plans.json").write_text(json.dumps(plans()))
    architecture = configuration([1.0] * 3, [8] * 3)["architecture"]
    heads = 2 if "regions_class_order" in dataset else 3
    for fold in range(folds):
        torch.manual_seed(fold + len(name))
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            channels,
            heads,
            allow_init=True,
            deep_supervision=False,
        )
        (folder / f"fold_{fold}").mkdir()
        state = {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": name},
            "inference_allowed_mirroring_axes": (0, 2),
        }
        torch.save(state, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def cascade_folders(root: Path, dataset: dict[str, Any]) -> Path:
    """Both model folders of a cascade side by side; returns the second one's."""
    model_folder(root / f"{NAME}3d_lowres", "3d_lowres", dataset)
    return model_folder(
        root / f"{NAME}3d_cascade_fullres", "3d_cascade_fullres", dataset, folds=2, channels=4
    )


def two_channel_case() -> Case:
    """Noise in a body with a hole (all zero) in it and nothing around it, PET and CT."""
    random = np.random.default_rng(3)
    geometry = Geometry((19, 23, 21), (4.0, 3.0, 3.5), (0.0, 0.0, 0.0))
    index = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in geometry.shape], indexing="ij"), -1)
    body = np.linalg.norm(index / [9, 10, 8], axis=-1) < 1
    body &= np.linalg.norm(index - [1, 2, 0], axis=-1) > 2.5
    # lumps larger than a voxel, so that a network has something to see
    lumps = np.kron(random.normal(size=(7, 8, 7)), np.ones((3, 3, 3)))[:19, :23, :21]
    suv = (2 + lumps + random.normal(0, 0.2, geometry.shape)) * body
    ct = (lumps - random.normal(0, 0.5, geometry.shape)) * body
    channels = {
        "suv": Volume(suv.astype(np.float32), geometry, SUVBW),
        "ct": Volume(ct.astype(np.float32), geometry, ONE),
    }
    return Case("two", "two", channels, "suv")


def stock_predict(folder: Path, case: Case, previous: np.ndarray | None = None) -> np.ndarray:
    """The mask of nnU-Net's own predictor, `previous` being the first network's mask."""
    return stock_prediction(folder, case, previous)[0]


def stock_prediction(
    folder: Path, case: Case, previous: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The mask and the probabilities (label, z, y, x) of nnU-Net's own predictor.

    It keeps sums in half precision; float32 here, so that no voxel is on the other side for rounding.
    """
    half, torch.half = torch.half, torch.float32
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predictor = nnUNetPredictor(
                device=torch.device("cpu"), allow_tqdm=False, perform_everything_on_device=False
            )
            folds = tuple(range(len(list(folder.glob("fold_*")))))
            predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
            data = np.stack([volume.array for volume in case.channels.values()])
            properties = {"spacing": list(case.geometry.spacing)}
            seen = None if previous is None else previous[None].astype(np.float32)
            mask, probabilities = predictor.predict_single_npy_array(
                data, properties, seen, save_or_return_probabilities=True
            )
            return np.asarray(mask), np.asarray(probabilities)
    finally:
        torch.half = half
