"""What the second network of a cascade sees of the first one's mask: a channel for each label.

As in nnU-Net v2, the mask is brought from the case's grid into the network's space together with the image,
and its labels become channels of 0 and 1 behind those of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.predict.space import Space

NOTHING = -1
"""nnU-Net's label of what lies outside the body; where labels meet, it takes part in the resampling."""


def with_previous(
    prepared: NDArray[np.float32],
    mask: NDArray[Any],
    data: Sequence[NDArray[Any]],
    space: Space,
    labels: Sequence[int],
) -> NDArray[np.float32]:
    """The prepared channels (c, z, y, x) with one more for each of `labels`, float32.

    `mask` (z, y, x) is the first network's, on the case's grid as are the channels `data`; `space` is the one
    that prepared them. An empty mask gives channels of zeros.
    """
    nonzero = data[0] != 0
    for number in range(1, len(data)):
        nonzero |= data[number] != 0
    # as nnU-Net does, holes are filled before the image is cropped
    inside = scipy.ndimage.binary_fill_holes(nonzero.transpose(space.forward))[space.box]
    seen = mask.transpose(space.forward)[space.box].astype(np.int16)
    seen[(seen == 0) & ~inside] = NOTHING
    if seen.shape != space.inner:
        resample = _resampling(space.configuration)
        seen = np.asarray(resample(seen[None], space.inner, space.spacing, space.target))[0]
    added = np.stack([seen == label for label in labels]).astype(np.float32)
    return np.concatenate([prepared, added])


def _resampling(configuration: Any) -> Callable[..., Any]:
    """The plan's resampling of segmentations, ours where it is nnU-Net's default."""
    from lesionlab.networks.nnunet import FastConfiguration  # slow to import

    found: Callable[..., Any] = FastConfiguration(configuration.configuration).resampling_fn_seg
    return found
