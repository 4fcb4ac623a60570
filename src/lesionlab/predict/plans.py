"""An nnU-Net v2 plan as prediction needs it, read without nnU-Net's library.

Importing that library takes longer than examining a small scan. Plans of before nnU-Net 2.4 and labels that
are regions are left to it (`predict/nnunet.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_PARENTS = 10
"""Longer chains of configurations that inherit from each other are circles."""


@dataclass(frozen=True)
class Configuration:
    """One configuration of a plan; the names of its properties are nnU-Net's."""

    configuration: dict[str, Any]

    @property
    def preprocessor_name(self) -> str:
        """The class that prepares images."""
        return str(self.configuration["preprocessor_name"])

    @property
    def spacing(self) -> list[float]:
        """Voxel size in mm that the network was trained at."""
        return [float(value) for value in self.configuration["spacing"]]

    @property
    def patch_size(self) -> list[int]:
        """Voxels of a patch."""
        return [int(value) for value in self.configuration["patch_size"]]

    @property
    def normalization_schemes(self) -> list[str]:
        """How each channel is scaled."""
        return list(self.configuration["normalization_schemes"])

    @property
    def use_mask_for_norm(self) -> list[bool]:
        """Whether each channel is scaled by what is not zero."""
        return list(self.configuration["use_mask_for_norm"])

    @property
    def previous_stage_name(self) -> str | None:
        """The configuration whose mask this one refines."""
        return self.configuration.get("previous_stage")

    @property
    def resampling_fn_data(self) -> Callable[..., Any]:
        """Resampling of images, where it is none that this package has itself."""
        return self._resampling("data")

    @property
    def resampling_fn_seg(self) -> Callable[..., Any]:
        """Resampling of segmentations."""
        return self._resampling("seg")

    @property
    def resampling_fn_probabilities(self) -> Callable[..., Any]:
        """Resampling of logits."""
        return self._resampling("probabilities")

    def _resampling(self, kind: str) -> Callable[..., Any]:
        from lesionlab.networks.nnunet import FastConfiguration

        found: Callable[..., Any] = getattr(FastConfiguration(self.configuration), f"resampling_fn_{kind}")
        return found


@dataclass(frozen=True)
class Plans:
    """A plan; the names of its properties are nnU-Net's."""

    plans: dict[str, Any]

    @property
    def transpose_forward(self) -> list[int]:
        """Where the network's axes are among those of the file."""
        return [int(axis) for axis in self.plans["transpose_forward"]]

    @property
    def foreground_intensity_properties_per_channel(self) -> dict[str, dict[str, float]]:
        """Intensities of the training lesions, by channel."""
        found: dict[str, dict[str, float]] = self.plans["foreground_intensity_properties_per_channel"]
        return found


@dataclass(frozen=True)
class Labels:
    """The labels of a data set that has no regions; the names are nnU-Net's."""

    all_labels: tuple[int, ...]
    has_regions: bool = False
    regions_class_order: None = None

    @property
    def num_segmentation_heads(self) -> int:
        """Logits per voxel."""
        return len(self.all_labels)

    @property
    def foreground_labels(self) -> tuple[int, ...]:
        """All but the background."""
        return self.all_labels[1:]


@dataclass(frozen=True)
class Reading:
    """What a model folder says of its network: plan, configuration, labels, number of channels it sees."""

    plans: Any
    configuration: Any
    labels: Any
    channels: int


def read_plain(plans: dict[str, Any], dataset: Mapping[str, Any], name: str) -> Reading | None:
    """The reading of plans.json and dataset.json for the configuration `name`.

    None for what is left to nnU-Net's library: anything unusual, or incomplete.
    """
    content = _inherited(plans.get("configurations", {}), name)
    stated = dataset.get("labels", {})
    inputs = dataset.get("modality", dataset.get("channel_names"))
    usual = (
        content is not None
        and "architecture" in content
        and "foreground_intensity_properties_per_channel" in plans
        and plans.get("label_manager", "LabelManager") == "LabelManager"
        and stated.get("background") == 0
        and all(isinstance(value, int) for value in stated.values())
        and inputs is not None
    )
    if not usual or content is None or inputs is None:
        return None
    values = sorted({value for key, value in stated.items() if key != "ignore"})
    if stated.get("ignore", values[-1] + 1) != values[-1] + 1:
        return None
    labels, configuration = Labels(tuple(values)), Configuration(content)
    masks = 0 if configuration.previous_stage_name is None else len(labels.foreground_labels)
    return Reading(Plans(plans), configuration, labels, len(inputs) + masks)


def _inherited(configurations: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any] | None:
    """A configuration with what it inherits; None where one of them is missing or the chain does not end."""
    chain: list[dict[str, Any]] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted not in configurations or len(chain) > MOST_PARENTS:
            return None
        chain.append(configurations[wanted])
        wanted = chain[-1].get("inherits_from")
    found: dict[str, Any] = {}
    for configuration in reversed(chain):
        found |= configuration
    return found
