"""The image biomarker standard's features of every lesion of a mask, as columns of the lesion table.

Only the going through lesions; one lesion is the business of `radiomics`, other tools' names that of
`pyradiomics_names`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import Box
from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.volume import Volume
from lesionlab.measure.added import Added, together
from lesionlab.measure.ibsi.chain import prepare
from lesionlab.measure.ibsi.radiomics import feature_columns, radiomics
from lesionlab.measure.ibsi.region import BoolArray
from lesionlab.measure.pyradiomics_names import (
    Dimension,
    bins_like_pyradiomics,
    columns_for_pyradiomics,
    rename_for_pyradiomics,
)

Measured = tuple[dict[str, float], tuple[str, ...]]


def lesion_features(
    image: Volume, numbers: NDArray[Any], boxes: Sequence[Box], settings: RadiomicsSettings
) -> Added:
    """The chosen features of each lesion: `numbers` (z, y, x) of the image's grid, lesion n in box n - 1.

    Voxels of other lesions in a lesion's box are not part of it, though spheres and interpolation see their
    intensities. Notes name the lesions that share a reason. No lesion gives the columns alone. With
    `settings.names` "pyradiomics", names, values and grey levels are PyRadiomics'.
    """
    columns = feature_columns(settings, image.unit)
    if settings.names == "pyradiomics":
        columns = columns_for_pyradiomics(columns, _dimension(settings))

    def one(number: int) -> Measured:
        box = boxes[number - 1]
        mask = numbers[box] == number
        if settings.names == "pyradiomics":
            return _like_pyradiomics(image, mask, settings, box)
        return radiomics(image, mask, settings, box)

    # Compiled kernels and most array code leave the interpreter's lock, so threads suffice.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads:
        found = list(threads.map(one, range(1, len(boxes) + 1)))
    notes = [(number, remark) for number, (_, remarks) in enumerate(found, start=1) for remark in remarks]
    return Added(columns, tuple(values for values, _ in found), notes=together(notes))


def _like_pyradiomics(image: Volume, mask: BoolArray, settings: RadiomicsSettings, box: Box) -> Measured:
    # of the prepared lesion, as PyRadiomics has it: interpolation and re-segmentation may raise the lowest
    inside = prepare(image, mask, settings, box).inside
    lowest = float(inside.min()) if len(inside) else 0.0
    values, notes = radiomics(image, mask, bins_like_pyradiomics(settings, lowest), box)
    wanted = settings.spacing_mm or (0.0, 0.0, 0.0)
    spacing = [new or old for new, old in zip(wanted, image.geometry.spacing, strict=True)]
    return rename_for_pyradiomics(values, float(np.prod(spacing)), dimension=_dimension(settings)), notes


def _dimension(settings: RadiomicsSettings) -> Dimension:
    """PyRadiomics' own default, the volume, where its features are asked for; else slices (force2D)."""
    return "3D" if "3D_avg" in settings.aggregations else "2_5D"
