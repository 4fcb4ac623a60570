"""What a network is fed: a case's channels, clipped, scaled and resized as the recipe says.

Training writes these volumes into nnU-Net's raw folder and prediction computes them again, so both see the
same numbers. Results are always measured on the unscaled channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.fit import Size, fit_geometry, fit_volume
from lesionlab.core.recipe import ChannelSettings, Recipe
from lesionlab.core.units import ONE
from lesionlab.core.volume import FloatArray, Geometry, Volume


def network_input(case: Case, recipe: Recipe) -> tuple[Volume, ...]:
    """The network's input volumes in channel order, float32, on the reference grid.

    `fixed` channels are clipped and divided; all others keep their values, because nnU-Net's plan normalises
    them. With the recipe's `standardise.size` slices are resized, onto `network_grid`. Raises BundleError when
    the case lacks a channel or has it on another grid.
    """
    size = recipe.standardise.size
    return tuple(_made(volume, settings, size) for volume, settings in _chosen(case, recipe))


def network_truth(truth: Volume, recipe: Recipe) -> Volume:
    """A truth on the grid of `network_input`."""
    size = recipe.standardise.size
    return truth if size is None else fit_volume(truth, size, labels=True)


def network_grid(case: Case, recipe: Recipe) -> Geometry:
    """The grid of `network_input`: the case's own, or the resized one with pixels of 1 mm."""
    size = recipe.standardise.size
    return case.geometry if size is None else fit_geometry(case.geometry, size)


class NetworkArrays(Sequence[FloatArray]):
    """The arrays of `network_input`, each made anew when asked for, so that no second copy of a case is held.

    Raises BundleError at once when the case lacks a channel or has it on another grid.
    """

    def __init__(self, case: Case, recipe: Recipe) -> None:
        self._chosen, self._size = _chosen(case, recipe), recipe.standardise.size

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, number: Any) -> Any:
        volume, settings = self._chosen[number]
        return _made(volume, settings, self._size).array


def _chosen(case: Case, recipe: Recipe) -> list[tuple[Volume, ChannelSettings]]:
    """The case's volumes that a recipe's network wants, in its order, with their settings."""
    volumes = []
    for name, settings in recipe.channels.items():
        if name not in case.channels:
            present = ", ".join(case.channels)
            raise BundleError(case.id, f"channels {present}", f"channel {name!r} of recipe {recipe.name!r}")
        volume = case.channels[name]
        if not volume.geometry.matches(case.geometry):
            raise BundleError(
                case.id,
                f"{name} on {volume.geometry.describe()}",
                f"the reference {case.geometry.describe()}",
            )
        volumes.append((volume, settings))
    return volumes


def _made(volume: Volume, settings: ChannelSettings, size: Size | None) -> Volume:
    scaled = _scaled(volume, settings)
    return scaled if size is None else fit_volume(scaled, size)


def _scaled(volume: Volume, settings: ChannelSettings) -> Volume:
    array: FloatArray = volume.array.astype(np.float32, copy=False)
    if settings.normalisation != "fixed":
        return volume.with_array(array)
    if settings.clip is not None:
        array = np.clip(array, *settings.clip)
    array = (array / settings.divide_by).astype(np.float32, copy=False)
    return volume.with_array(np.log1p(array) if settings.curve == "log" else array, ONE)
