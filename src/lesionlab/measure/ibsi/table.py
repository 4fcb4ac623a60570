"""The image biomarker standard's features of every lesion of a mask, as columns of the lesion table.

Only the going through lesions; one lesion is the business of `radiomics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from lesionlab.core.components import Box
from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.volume import Volume
from lesionlab.measure.added import Added, together
from lesionlab.measure.ibsi.radiomics import feature_columns, radiomics


def lesion_features(
    image: Volume, numbers: NDArray[Any], boxes: Sequence[Box], settings: RadiomicsSettings
) -> Added:
    """The chosen features of each lesion: `numbers` (z, y, x) of the image's grid, lesion n in box n - 1.

    Voxels of other lesions in a lesion's box are not part of it, though spheres and interpolation see their
    intensities. Notes name the lesions that share a reason. No lesion gives the columns alone.
    """
    rows, notes = [], []
    for number, box in enumerate(boxes, start=1):
        values, remarks = radiomics(image, numbers[box] == number, settings, box)
        rows.append(values)
        notes += [(number, remark) for remark in remarks]
    return Added(feature_columns(settings, image.unit), tuple(rows), notes=together(notes))
