"""From a case's grid into the space a network was trained in, and back: axes, crop, scale, spacing.

The steps and their order are those of nnU-Net v2's DefaultPreprocessor and of its export, computed here in
this process and without a segmentation alongside. The plans come as nnU-Net's own objects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlab.core.components import foreground_box
from lesionlab.core.errors import BundleError
from lesionlab.core.resize import ORDERS, low_resolution_axis, resize

FloatArray = NDArray[np.float32]
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

    def enter(self, data: NDArray[Any]) -> FloatArray:
        """Channels (c, z, y, x) as the network wants them, float32; the input is not changed."""
        data = data.astype(np.float32, copy=False).transpose([0, *(axis + 1 for axis in self.forward)])
        self.full = data.shape[1:]
        nonzero = (data != 0).any(axis=0)
        self.box = foreground_box(nonzero) or tuple(slice(0, n) for n in self.full)
        cropped = data[(slice(None), *self.box)].copy(order="C")
        self.shape = cropped.shape[1:]
        self._normalise(cropped, nonzero[self.box])
        rounded = [round(s / t * n) for s, t, n in zip(self.spacing, self.target, self.shape, strict=True)]
        self.inner = tuple(max(1, int(n)) for n in rounded)
        return self._resample(cropped, self.inner, (self.spacing, self.target), "data")

    def leave(self, logits: FloatArray) -> tuple[NDArray[np.uint8], FloatArray]:
        """Labels and the probability of label 1 on the case's grid, from logits in the network's space.

        `logits` (k, z, y, x) are as in `engine.Slab`; they are resampled, not the decision. Outside the
        crop both are 0.
        """
        logits = self._resample(logits, self.shape, (self.target, self.spacing), "probabilities")
        if len(logits) == 1:
            labels, probability = (logits[0] > 0).astype(np.uint8), _sigmoid(logits[0])
        else:
            labels = logits.argmax(axis=0).astype(np.uint8)
            powers = np.exp(logits - logits.max(axis=0))
            probability = powers[1] / powers.sum(axis=0)
        return self._uncropped(labels), self._uncropped(probability)

    def nearest(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the case's grid in the network's space, by nearest voxel and one voxel wider."""
        inside = mask.transpose(self.forward)[self.box]
        sizes = zip(inside.shape, self.inner, strict=True)
        index = [((np.arange(new) + 0.5) * old / new).astype(int) for old, new in sizes]
        wide: NDArray[np.bool_] = ndimage.binary_dilation(inside[np.ix_(*index)])
        return wide

    def _uncropped(self, values: NDArray[Any]) -> Any:
        full = np.zeros(self.full, dtype=values.dtype)
        full[self.box] = values
        return np.ascontiguousarray(full.transpose(np.argsort(self.forward)))

    def _resample(
        self, array: FloatArray, shape: tuple[int, ...], spacings: tuple[list[float], list[float]], kind: str
    ) -> FloatArray:
        """`array` (c, z, y, x) with a new shape, as the plans' resampling of this `kind` gives it."""
        if array.shape[1:] == tuple(shape):
            return array
        name, settings = (
            self.configuration.configuration[f"resampling_fn_{kind}{end}"] for end in ("", "_kwargs")
        )
        known = settings.get("order_z", 0) == 0 and settings.get("force_separate_z") in (None, False)
        if name != OWN_RESAMPLING or settings.get("order", 3) not in ORDERS or not known:
            resample = getattr(self.configuration, f"resampling_fn_{kind}")
            return np.asarray(resample(array, shape, *spacings), dtype=np.float32)
        apart = low_resolution_axis(*spacings) if settings.get("force_separate_z", False) is None else None
        return resize(array, shape, order=settings.get("order", 3), separate_axis=apart, workers=self.workers)

    def _normalise(self, data: FloatArray, nonzero: NDArray[np.bool_]) -> None:
        """Each channel by its scheme of the plans, in place; `nonzero` is where any channel is not zero."""
        inside: NDArray[np.bool_] | None = None
        for number, name in enumerate(self.configuration.normalization_schemes):
            mask = None
            if self.configuration.use_mask_for_norm[number] and name == "ZScoreNormalization":
                if inside is None:
                    inside = ndimage.binary_fill_holes(nonzero)
                mask = inside
            stated = self.plans.foreground_intensity_properties_per_channel.get(str(number), {})
            _scale(data[number], name, stated, mask, self.subject)


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


def _sigmoid(difference: FloatArray) -> FloatArray:
    # large negative differences overflow exp to inf, and 1 / inf is the right answer
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-difference))
