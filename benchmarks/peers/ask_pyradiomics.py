"""Serves PyRadiomics: every feature of the original image, its own defaults but for the bin width.

PyRadiomics aligns bins to multiples of their width by itself, which is the origin that the others are given.
"""

from __future__ import annotations

import logging
import os

import radiomics
import SimpleITK as sitk
from protocol import Lesion, Measure, serve
from radiomics import featureextractor


def opener(lesion: Lesion) -> Measure:
    """Images are read before the clock starts."""
    image, mask = sitk.ReadImage(lesion["image"]), sitk.ReadImage(lesion["mask"])
    extractor = featureextractor.RadiomicsFeatureExtractor(
        binWidth=lesion["bin_size"], force2D=lesion.get("in_plane", False)
    )

    def measure() -> dict[str, float]:
        found = extractor.execute(image, mask)
        return {key: float(value) for key, value in found.items() if key.startswith("original_")}

    return measure


if __name__ == "__main__":
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(int(os.environ.get("OMP_NUM_THREADS", "0")) or 1)
    serve("pyradiomics", radiomics.__version__.lstrip("v"), opener)
