"""Serves LesionLab: the whole of IBSI-1 in 3D, or the families and aggregations that are asked for."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from protocol import VOLUME_HISTOGRAM_BINS, Lesion, Measure, serve

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.measure.ibsi.radiomics import FEATURES, radiomics
from lesionlab.read.nifti import load_volume


def opener(lesion: Lesion) -> Measure:
    """Images are read before the clock starts."""
    image = load_volume(Path(lesion["image"]))
    mask = load_volume(Path(lesion["mask"])).array > 0
    settings = RadiomicsSettings(
        families=tuple(lesion.get("families", FEATURES)),
        aggregations=tuple(lesion.get("aggregations", ("3D_avg", "3D_comb"))),
        bin_size=lesion["bin_size"],
        bin_origin=lesion["bin_origin"],
        volume_histogram_bins=VOLUME_HISTOGRAM_BINS,
    )
    return lambda: radiomics(image, mask, settings)[0]


if __name__ == "__main__":
    serve("lesionlab", version("lesionlab"), opener)
