"""Serves LesionLab: the whole of IBSI-1 in 3D, or with `complete` false what Pictologics does by default."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from protocol import VOLUME_HISTOGRAM_BINS, Lesion, Measure, serve

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.measure.ibsi.radiomics import radiomics
from lesionlab.read.nifti import load_volume

COMMON = (
    "statistics", "morphology", "histogram", "volume_histogram",
    "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm",
)  # fmt: skip


def opener(lesion: Lesion) -> Measure:
    """Images are read before the clock starts."""
    image = load_volume(Path(lesion["image"]))
    mask = load_volume(Path(lesion["mask"])).array > 0
    settings = RadiomicsSettings(
        families=(*COMMON, "local") if lesion.get("complete", True) else COMMON,
        aggregations=tuple(lesion.get("aggregations", ("3D_avg", "3D_comb"))),
        bin_size=lesion["bin_size"],
        bin_origin=lesion["bin_origin"],
        volume_histogram_bins=VOLUME_HISTOGRAM_BINS,
    )
    return lambda: radiomics(image, mask, settings)[0]


if __name__ == "__main__":
    serve("lesionlab", version("lesionlab"), opener)
