"""From a case's grid into the space a network was trained in, and back: axes, crop, scale, spacing.

The steps and their order are those of nnU-Net v2's DefaultPreprocessor and of its export, computed here in
this process and without a segmentation alongside. The plans come as nnU-Net's own objects.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlab.core.components import foreground_box
from lesionlab.core.errors import BundleError
from lesionlab.core.resize import ORDERS, low_resolution_axis, resize
from lesionlab.predict.decide import FloatArray, Rule, decide, rule_of

Size = tuple[int, int, int]
SMALLEST = 1e-8
"""No division by less (nnU-Net's `eps`)."""
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

        Each is taken from `data` twice, one after another, so that a sequence may make them when asked.
        `marked` (z, y, x) counts as body too where channels are scaled by the body: in nnU-Net, what a first
        network found.
        """
        nonzero = data[0] != 0
        for number in range(1, len(data)):
            nonzero |= data[number] != 0
        nonzero = nonzero.transpose(self.forward)
        self.full = nonzero.shape
        self.box = foreground_box(nonzero) or tuple(slice(0, n) for n in self.full)
        nonzero = nonzero[self.box]
        self.shape = nonzero.shape
        self.inner = self._sizes(self.shape)
        inside = ndimage.binary_fill_holes(nonzero) if any(map(self._masked, range(len(data)))) else None
        if inside is not None and marked is not None:
            inside |= marked.transpose(self.forward)[self.box]
        if not self._known("data"):
            cropped = np.stack([self._prepared(data[n], n, inside) for n in range(len(data))])
            return self._resample(cropped, self.inner, (self.spacing, self.target), "data")
        prepared = np.empty((len(data), *self.inner), np.float32)
        for number in range(len(data)):
            channel = self._prepared(data[number], number, inside)[None]
            prepared[number] = self._resample(channel, self.inner, (self.spacing, self.target), "data")[0]
        return prepared

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
        probability: bool = False,
        axes: tuple[int, int, int] = (0, 1, 2),
    ) -> tuple[NDArray[np.uint8], FloatArray | None]:
        """Labels on the case's grid, and the probability of label 1 if asked for, from logits as they come.

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
        chance = np.zeros(shape, np.float32) if probability else None
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
            probability=None if chance is None else chance.transpose(self.forward)[self.box].transpose(axes),
        )
        return labels, chance

    def nearest(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the case's grid in the network's space, by nearest voxel and one voxel wider."""
        inside = mask.transpose(self.forward)[self.box]
        sizes = zip(inside.shape, self.inner, strict=True)
        index = [((np.arange(new) + 0.5) * old / new).astype(int) for old, new in sizes]
        wide: NDArray[np.bool_] = ndimage.binary_dilation(inside[np.ix_(*index)])
        return wide

    def _masked(self, number: int) -> bool:
        """True where a channel is scaled by what lies inside the body only."""
        name = self.configuration.normalization_schemes[number]
        return bool(self.configuration.use_mask_for_norm[number] and name == "ZScoreNormalization")

    def _prepared(self, channel: NDArray[Any], number: int, inside: NDArray[np.bool_] | None) -> FloatArray:
        """One channel cropped and scaled by its scheme; `inside` is where any channel is not zero, filled."""
        cropped = np.array(channel.transpose(self.forward)[self.box], np.float32, order="C")
        stated = self.plans.foreground_intensity_properties_per_channel.get(str(number), {})
        name = self.configuration.normalization_schemes[number]
        _scale(cropped, name, stated, inside if self._masked(number) else None, self.subject)
        return cropped

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
        return low_resolution_axis(old, new) if settings.get("force_separate_z", False) is None else None

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


def _scale(
    image: FloatArray, scheme: str, stated: dict[str, float], mask: NDArray[np.bool_] | None, subject: str
) -> None:
    """One channel in place by one of nnU-Net's schemes; `stated` are the training lesions' intensities."""
    if scheme == "ZScoreNormalization":
        values = image if mask is None else image[mask]
        scaled = (values - values.mean()) / max(values.std(), SMALLEST)
        image[... if mask is None else mask] = scaled
    elif scheme == "CTNormalization":
        np.clip(image, stated["percentile_00_5"], stated["percentile_99_5"], out=image)
        image -= stated["mean"]
        image /= max(stated["std"], SMALLEST)
    elif scheme == "RescaleTo01Normalization":
        image -= image.min()
        image /= max(image.max(), SMALLEST)
    elif scheme == "RGBTo01Normalization":
        if image.min() < 0 or image.max() > 255:
            raise BundleError(subject, f"values {image.min():g} to {image.max():g}", "8-bit colour, 0 to 255")
        image /= 255.0
    elif scheme != "NoNormalization":
        raise BundleError(subject, f"normalisation {scheme}", "one of nnU-Net's five")
