"""What a network is fed: a case's channels, clipped and scaled as the recipe says.

Training writes these volumes into nnU-Net's raw folder and prediction computes them again, so both see the
same numbers. Results are always measured on the unscaled channels.
"""

from __future__ import annotations

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.recipe import ChannelSettings, Recipe
from lesionlab.core.units import ONE
from lesionlab.core.volume import FloatArray, Volume


def network_input(case: Case, recipe: Recipe) -> tuple[Volume, ...]:
    """The network's input volumes in channel order, float32, on the reference grid.

    `fixed` channels are clipped and divided; all others keep their values, because nnU-Net's plan normalises
    them. Raises BundleError when the case lacks a channel or has it on another grid.
    """
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
        volumes.append(_scaled(volume, settings))
    return tuple(volumes)


def _scaled(volume: Volume, settings: ChannelSettings) -> Volume:
    array: FloatArray = volume.array.astype(np.float32)
    if settings.normalisation != "fixed":
        return volume.with_array(array)
    if settings.clip is not None:
        array = np.clip(array, *settings.clip)
    array = (array / settings.divide_by).astype(np.float32)
    return volume.with_array(np.log1p(array) if settings.curve == "log" else array, ONE)
