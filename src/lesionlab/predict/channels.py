"""A scan's channels as a network wants them, of which parts are made when they are asked for.

Cropping and the schemes of nnU-Net's normalisation; where the crop lies and what is resized is `space.py`'s
business. No second copy of the scan is held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import BundleError
from lesionlab.core.inputs import NetworkArrays
from lesionlab.core.resize import value_range

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Cut = Callable[[Box], NDArray[Any]]
"""Gives a box of one channel on the case's grid."""
SMALLEST = 1e-8
"""No division by less (nnU-Net's `eps`)."""
ROWS = 32
"""Planes that are looked at together."""
LEAF = 1 << 20
"""Values that are summed together."""


@dataclass(frozen=True)
class Crop:
    """A box of the case's grid seen with other axes: axis i of the crop is axis `forward[i]` of the case."""

    forward: tuple[int, ...]
    box: Box

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the crop."""
        z, y, x = (side.stop - side.start for side in self.box)
        return z, y, x

    def there(self, part: Box) -> Box:
        """A box of the crop on the case's grid."""
        found = [slice(0)] * 3
        for axis, side, whole in zip(self.forward, part, self.box, strict=True):
            start, stop, _ = side.indices(whole.stop - whole.start)
            found[axis] = slice(whole.start + start, whole.start + stop)
        z, y, x = found
        return z, y, x


@dataclass(frozen=True)
class Scaling:
    """What one of nnU-Net's schemes does to each value: clip, subtract, divide."""

    clip: tuple[float, float] | None = None
    subtract: Any = None
    divide: Any = None

    def apply(self, values: FloatArray) -> None:
        """Scale values in place."""
        if self.clip is not None:
            np.clip(values, *self.clip, out=values)
        if self.subtract is not None:
            values -= self.subtract
        if self.divide is not None:
            values /= self.divide


class Channel:
    """One channel (z, y, x), cropped and scaled: planes by number or slice, float32 and new each time.

    `inside`, on the crop's grid, is where the scaling acts; everywhere if None.
    """

    def __init__(self, cut: Cut, crop: Crop) -> None:
        self.cut, self.crop, self.shape = cut, crop, crop.shape
        self.scaling = Scaling()
        self.inside: BoolArray | None = None

    def scale(
        self, scheme: str, stated: dict[str, float], subject: str, inside: BoolArray | None = None
    ) -> None:
        """Find out how `scheme` scales this channel; `stated` are the training lesions' intensities.

        Raises BundleError naming `subject` for a scheme that nnU-Net has not, or values that it cannot scale.
        """
        self.scaling, self.inside = _scaling(self, scheme, stated, inside, subject), inside

    def __getitem__(self, planes: Any) -> FloatArray:
        if isinstance(planes, slice):
            return self.part((planes, slice(None), slice(None)))
        plane: FloatArray = self.part((slice(planes, planes + 1), slice(None), slice(None)))[0]
        return plane

    def part(self, box: Box) -> FloatArray:
        """A box of the channel, scaled."""
        values = self.raw(box)
        if self.inside is None:
            self.scaling.apply(values)
        else:
            chosen = self.inside[box]
            scaled = values[chosen]
            self.scaling.apply(scaled)
            values[chosen] = scaled
        return values

    def raw(self, box: Box) -> FloatArray:
        """A box of the channel as it is, in memory of its own."""
        return np.array(self.cut(self.crop.there(box)).transpose(self.crop.forward), np.float32, order="C")

    def limits(self) -> tuple[Any, Any]:
        """Least and largest scaled value, NaN left out unless there is nothing else."""
        found = [value_range(self[first : first + ROWS]) for first in range(0, self.shape[0], ROWS)]
        lows, highs = (np.array(side, np.float32) for side in zip(*found, strict=True))
        return np.fmin.reduce(lows), np.fmax.reduce(highs)


def cuts_of(data: Sequence[NDArray[Any]]) -> list[Cut]:
    """What gives boxes of each channel of `data`, made anew where its arrays are."""
    if isinstance(data, NetworkArrays):
        return [data.cut(number) for number in range(len(data))]
    return [array.__getitem__ for array in data]


def not_empty(cuts: Sequence[Cut], shape: Sequence[int]) -> BoolArray:
    """Where any channel is not zero, on the case's grid of this shape (z, y, x)."""
    found = np.zeros(tuple(shape), np.bool_)
    for first in range(0, len(found), ROWS):
        box = (slice(first, min(first + ROWS, len(found))), slice(0, shape[1]), slice(0, shape[2]))
        for cut in cuts:
            found[box] |= cut(box) != 0
    return found


def _scaling(
    channel: Channel, scheme: str, stated: dict[str, float], inside: BoolArray | None, subject: str
) -> Scaling:
    """How one of nnU-Net's schemes scales a channel, whose own scaling is none yet."""
    if scheme == "ZScoreNormalization":
        mean, deviation = _moments(channel) if inside is None else _moments_inside(channel, inside)
        return Scaling(None, mean, max(deviation, SMALLEST))
    if scheme == "CTNormalization":
        clip = stated["percentile_00_5"], stated["percentile_99_5"]
        return Scaling(clip, stated["mean"], max(stated["std"], SMALLEST))
    if scheme == "RescaleTo01Normalization":
        low, high = _extremes(channel)
        return Scaling(None, low, max(high - low, SMALLEST))
    if scheme == "RGBTo01Normalization":
        low, high = _extremes(channel)
        if low < 0 or high > 255:
            raise BundleError(subject, f"values {low:g} to {high:g}", "8-bit colour, 0 to 255")
        return Scaling(divide=255.0)
    if scheme != "NoNormalization":
        raise BundleError(subject, f"normalisation {scheme}", "one of nnU-Net's five")
    return Scaling()


def _extremes(channel: Channel) -> tuple[Any, Any]:
    """Least and largest value, NaN where there is one."""
    lows, highs = [], []
    for first in range(0, channel.shape[0], ROWS):
        part = channel[first : first + ROWS]
        lows.append(part.min())
        highs.append(part.max())
    return np.min(lows), np.max(highs)


def _moments_inside(channel: Channel, inside: BoolArray) -> tuple[Any, Any]:
    """Mean and standard deviation where `inside` is true; 0 and 1 where nothing is, as in a blank scan."""
    values = np.concatenate(
        [
            channel[first : first + ROWS][inside[first : first + ROWS]]
            for first in range(0, channel.shape[0], ROWS)
        ]
    )
    return (values.mean(), values.std()) if values.size else (0.0, 1.0)


def _moments(channel: Channel) -> tuple[Any, Any]:
    """Mean and standard deviation as numpy gives them of the whole in float32, to the bit."""
    plane = channel.shape[1] * channel.shape[2]
    count = channel.shape[0] * plane

    def values(first: int, last: int) -> FloatArray:
        start = first // plane
        part = channel[start : -(-last // plane)].reshape(-1)
        return part[first - start * plane : last - start * plane]

    def deviations(first: int, last: int) -> FloatArray:
        apart = values(first, last) - mean
        apart *= apart
        return apart

    # numpy divides in float64, because the count is no float32
    mean = np.float32(np.float64(_pairwise(values, 0, count)) / count)
    variance = np.float32(np.float64(_pairwise(deviations, 0, count)) / count)
    return mean, np.sqrt(variance)


def _pairwise(values: Callable[[int, int], FloatArray], first: int, last: int) -> Any:
    """The sum of values `first` to `last` in numpy's order of addition, which halves until little is left."""
    count = last - first
    if count <= LEAF:
        return np.add.reduce(values(first, last))
    half = count // 2 - count // 2 % 8
    return _pairwise(values, first, first + half) + _pairwise(values, first + half, last)
