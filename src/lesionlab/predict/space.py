"""From a case's grid into the space a network was trained in, and back: axes, crop, scale, spacing.

The steps and their order are those of nnU-Net v2's DefaultPreprocessor and of its export, computed here in
this process and without a segmentation alongside. The plans come as nnU-Net's own objects.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core.components import foreground_box
from lesionlab.core.errors import BundleError
from lesionlab.core.resize import ANISOTROPY, ORDERS, low_resolution_axis, resize
from lesionlab.core.resize_planes import resize_planes
from lesionlab.predict.channels import Channel, Crop, cuts_of, not_empty
from lesionlab.predict.decide import FloatArray, Rule, decide, rule_of
from lesionlab.predict.tiles import ChannelTiles, HeldTiles, ResizedTiles, Tiles

Size = tuple[int, int, int]
OWN_RESAMPLING = "resample_data_or_seg_to_shape"
"""nnU-Net's default, which `core.resize` equals; any other that a plan names is called as it is."""


class Space:
    """The network's space of one case: `enter` takes its channels there, `leave` brings logits back."""

    def __init__(
        self, plans: Any, configuration: Any, subject: str, spacing: tuple[float, ...], workers: int = 1
    ) -> None:
        self.plans, self.configuration = plans, configuration
        self.subject, self.workers = subject, workers
        if configuration.preprocessor_name != "DefaultPreprocessor":
            raise BundleError(
                subject,
                f"preprocessing by {configuration.preprocessor_name}",
                "DefaultPreprocessor (not yet)",
            )
        self.forward = [int(axis) for axis in plans.transpose_forward]
        self.spacing = [float(spacing[axis]) for axis in self.forward]
        target = [float(value) for value in configuration.spacing]
        # a 2D model leaves the distance between slices as it is
        self.target = target if len(target) == 3 else [self.spacing[0], *target]

    def enter(self, data: Sequence[NDArray[Any]], marked: NDArray[np.bool_] | None = None) -> FloatArray:
        """Channels, each (z, y, x), as the network wants them, float32 (c, z, y, x); the input is kept.

        `marked` (z, y, x) counts as body too where channels are scaled by the body: in nnU-Net, what a first
        network found.
        """
        return self.tiles(data, marked).tile((slice(0, self.inner[0]), slice(None), slice(None)))

    def tiles(self, data: Sequence[NDArray[Any]], marked: NDArray[np.bool_] | None = None) -> Tiles:
        """What `enter` gives, made as a sliding window asks for it where the plans let that be."""
        cuts = cuts_of(data)
        nonzero = not_empty(cuts, data[0].shape).transpose(self.forward)
        self.full = nonzero.shape
        z, y, x = foreground_box(nonzero) or tuple(slice(0, n) for n in self.full)
        self.box = (z, y, x)
        crop = Crop(tuple(self.forward), self.box)
        self.shape, self.inner = crop.shape, self._sizes(crop.shape)
        inside = None
        if any(map(self._masked, range(len(data)))):
            inside = scipy.ndimage.binary_fill_holes(nonzero[self.box])
            if marked is not None:
                inside |= marked.transpose(self.forward)[self.box]
        del nonzero
        channels = [Channel(cut, crop) for cut in cuts]
        stated = self.plans.foreground_intensity_properties_per_channel
        for number, channel in enumerate(channels):
            scheme, mask = self.configuration.normalization_schemes[number], self._masked(number)
            channel.scale(scheme, stated.get(str(number), {}), self.subject, inside if mask else None)
        return self._resized(channels)

    def _resized(self, channels: list[Channel]) -> Tiles:
        """Tiles of scaled channels in the network's spacing."""
        if self.inner == self.shape:
            return ChannelTiles(channels)
        if not self.streams():
            whole = np.stack([channel[:] for channel in channels])
            return HeldTiles(self._resample(whole, self.inner, (self.spacing, self.target), "data"))
        settings = self.configuration.configuration["resampling_fn_data_kwargs"]
        separate = self._apart(settings, self.spacing, self.target) == 0

        def starting(channel: Channel) -> Callable[[], Iterator[FloatArray]]:
            order, limits = settings.get("order", 3), (None, None) if separate else channel.limits()
            return lambda: resize_planes(channel, self.inner, order=order, separate=separate, limits=limits)

        return ResizedTiles([starting(channel) for channel in channels], self.inner)

    def streams(self) -> bool:
        """True where channels are resized some planes at a time, or not at all."""
        settings = self.configuration.configuration["resampling_fn_data_kwargs"]
        apart = self._apart(settings, self.spacing, self.target)
        same = all(math.isclose(a, b) for a, b in zip(self.spacing, self.target, strict=True))
        return same or (self._known("data") and settings.get("order", 3) != 0 and apart in (None, 0))

    def expected(self, scan: Sequence[int]) -> tuple[Size, Size]:
        """The sizes of a scan (z, y, x) on its own grid and in the network's space, if nothing is cropped."""
        z, y, x = (int(scan[axis]) for axis in self.forward)
        return (z, y, x), self._sizes((z, y, x))

    def _sizes(self, shape: Sequence[int]) -> Size:
        z, y, x = (max(1, round(s / t * n)) for s, t, n in zip(self.spacing, self.target, shape, strict=True))
        return z, y, x

    def leave(
        self,
        slabs: Iterable[FloatArray],
        *,
        rule: Rule | None = None,
        probability: int = 0,
        axes: tuple[int, int, int] = (0, 1, 2),
    ) -> tuple[NDArray[np.uint8], FloatArray | None]:
        """Labels on the case's grid, and the probability of the first `probability` labels, as logits come.

        `slabs` (k, n, y, x) follow one another along the first of `axes`, which is the order of the network's
        axes in them; logits are resampled, not the decision. `rule` says what they mean (by default
        `decide.rule_of` their number). Outside the crop both results are 0. Linear resampling, which is what
        nnU-Net plans, holds a few slabs; any other holds all logits.
        """
        rows: Iterator[FloatArray] = iter(slabs)
        first = next(rows)
        rule, rows = rule or rule_of(len(first)), itertools.chain([first], rows)
        shape = tuple(self.full[self.forward.index(axis)] for axis in range(3))
        labels = np.zeros(shape, np.uint8)
        chance = np.zeros((probability, *shape), np.float32) if probability else None
        old, apart = tuple(self.inner[axis] for axis in axes), None
        if self.inner != self.shape:
            settings = self.configuration.configuration["resampling_fn_probabilities_kwargs"]
            if self._known("probabilities") and settings.get("order", 3) == 1:
                found = self._apart(settings, self.target, self.spacing)
                apart = None if found is None else axes.index(found)
            else:
                back = [0, *(axes.index(axis) + 1 for axis in range(3))]
                whole = np.concatenate(list(rows), axis=1).transpose(back)
                axes = (0, 1, 2)
                whole = self._resample(whole, self.shape, (self.target, self.spacing), "probabilities")
                rows, old = iter([whole]), self.shape
        decide(
            rows,
            old,
            labels.transpose(self.forward)[self.box].transpose(axes),
            rule,
            separate_axis=apart,
            probability=None if chance is None else self._turned(chance, axes),
        )
        return labels, chance

    def _turned(self, chance: FloatArray, axes: tuple[int, ...]) -> FloatArray:
        """Volumes (n, ...) of the case's grid as the network's axes see them, in the order of `axes`."""
        inside = chance.transpose(0, *(axis + 1 for axis in self.forward))[(slice(None), *self.box)]
        return inside.transpose(0, *(axis + 1 for axis in axes))

    def nearest(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the case's grid in the network's space, by nearest voxel and one voxel wider."""
        inside = mask.transpose(self.forward)[self.box]
        sizes = zip(inside.shape, self.inner, strict=True)
        index = [((np.arange(new) + 0.5) * old / new).astype(int) for old, new in sizes]
        wide: NDArray[np.bool_] = scipy.ndimage.binary_dilation(inside[np.ix_(*index)])
        return wide

    def _masked(self, number: int) -> bool:
        """True where a channel is scaled by what lies inside the body only."""
        name = self.configuration.normalization_schemes[number]
        return bool(self.configuration.use_mask_for_norm[number] and name == "ZScoreNormalization")

    def _known(self, kind: str) -> bool:
        """True where the plans' resampling of this `kind` is one that `core.resize` equals."""
        name, settings = (
            self.configuration.configuration[f"resampling_fn_{kind}{end}"] for end in ("", "_kwargs")
        )
        known = settings.get("order_z", 0) == 0 and settings.get("force_separate_z") in (None, False)
        return bool(name == OWN_RESAMPLING and settings.get("order", 3) in ORDERS and known)

    @staticmethod
    def _apart(settings: dict[str, Any], old: list[float], new: list[float]) -> int | None:
        """The axis that is resampled by nearest plane."""
        if settings.get("force_separate_z", False) is not None:
            return None
        threshold = settings.get("separate_z_anisotropy_threshold", ANISOTROPY)
        return low_resolution_axis(old, new, threshold=threshold)

    def _resample(
        self, array: FloatArray, shape: tuple[int, ...], spacings: tuple[list[float], list[float]], kind: str
    ) -> FloatArray:
        """`array` (c, z, y, x) with a new shape, as the plans' resampling of this `kind` gives it."""
        if array.shape[1:] == tuple(shape):
            return array
        if not self._known(kind):
            resample = getattr(self.configuration, f"resampling_fn_{kind}")
            return np.asarray(resample(array, shape, *spacings), dtype=np.float32)
        settings = self.configuration.configuration[f"resampling_fn_{kind}_kwargs"]
        apart = self._apart(settings, *spacings)
        return resize(array, shape, order=settings.get("order", 3), separate_axis=apart, workers=self.workers)
