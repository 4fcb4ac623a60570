"""What a network is fed: a case's channels, clipped, scaled and resized as the recipe says.

Training writes these volumes into nnU-Net's raw folder and prediction computes them again, so both see the
same numbers. Results are always measured on the unscaled channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.fit import Size, fit, fit_geometry, fit_labels, fit_volume
from lesionlab.core.recipe import ChannelSettings, Recipe
from lesionlab.core.units import ONE
from lesionlab.core.volume import FloatArray, Geometry, Volume


def network_input(case: Case, recipe: Recipe) -> tuple[Volume, ...]:
    """The network's input volumes in channel order, float32, on the reference grid.

    `fixed` channels are clipped and divided; all others keep their values, because nnU-Net's plan normalises
    them. With the recipe's `standardise.size` slices are resized, onto `network_grid`. Raises BundleError
    when the case lacks a channel or has it on another grid.
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


def network_place(case: Case, recipe: Recipe) -> Geometry | None:
    """Where the pixels of `network_grid` lie in the patient, where slices are resized for it; else None."""
    size = recipe.standardise.size
    if size is None:
        return None
    shape = (case.geometry.shape[0], *size)
    shares = np.array(case.geometry.shape) / shape
    z, y, x = (np.array(case.geometry.spacing) * shares).tolist()
    first = case.geometry.to_world((shares - 1.0) / 2.0).tolist()
    return Geometry(shape, (z, y, x), (first[0], first[1], first[2]), case.geometry.direction)


class NetworkArrays(Sequence[FloatArray]):
    """The arrays of `network_input`, each made anew when asked for, so that no second copy of a case is held.

    `grid` is the one they lie on; `there` and `back` take masks to it and results from it. Raises BundleError
    at once when the case lacks a channel or has it on another grid.
    """

    def __init__(self, case: Case, recipe: Recipe) -> None:
        self._chosen, self._size = _chosen(case, recipe), recipe.standardise.size
        self._shape, self.grid = case.geometry.shape, network_grid(case, recipe)
        self._threshold, self._one_label = recipe.prediction.cut, len(recipe.predicted_labels) == 1

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, number: Any) -> Any:
        volume, settings = self._chosen[number]
        return _made(volume, settings, self._size).array

    def cut(self, number: int) -> Callable[[tuple[slice, ...]], FloatArray]:
        """What gives boxes (z, y, x) of one of the arrays, made alone where slices keep their size."""
        volume, settings = self._chosen[number]
        if self._size is not None:
            whole: FloatArray = self[number]
            return whole.__getitem__
        return lambda box: _scaled(volume.array[box], settings)

    def there(self, mask: NDArray[Any]) -> NDArray[Any]:
        """A label map (z, y, x) of the case's grid on the network's."""
        return mask if self._size is None else fit_labels(mask, self._size)

    def back(
        self, labels: NDArray[Any], chance: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Labels and the probabilities (label, z, y, x), or None, brought back onto the case's grid.

        Where the recipe has one label, and its probability is given, the probability is resized and cut at
        the recipe's threshold, which is smoother than resizing the decision. Of several the likeliest was
        decided on, which may lie below any threshold.
        """
        if self._size is None:
            return labels, chance
        size = self._shape[1], self._shape[2]
        if chance is None:
            return fit_labels(labels, size), None
        resized = np.stack([fit(one, size) for one in chance])
        if self._one_label:
            return (resized[0] > self._threshold).astype(labels.dtype), resized
        return fit_labels(labels, size), resized


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
    unit = ONE if settings.normalisation == "fixed" else volume.unit
    scaled = volume.with_array(_scaled(volume.array, settings), unit)
    return scaled if size is None else fit_volume(scaled, size)


def _scaled(array: NDArray[Any], settings: ChannelSettings) -> FloatArray:
    array = array.astype(np.float32, copy=False)
    if settings.normalisation != "fixed":
        return array
    if settings.clip is not None:
        array = np.clip(array, *settings.clip)
    array = (array / settings.divide_by).astype(np.float32, copy=False)
    return np.log1p(array) if settings.curve == "log" else array
