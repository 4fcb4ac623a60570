"""Serves Pictologics: its five families of the native grid; with `complete`, also its other two.

The five (intensity, morphology, texture, histogram, volume histogram) are its default of 170 features; the
other two are spatial autocorrelation and intensity peaks.
"""

from __future__ import annotations

import pictologics
from pictologics import RadiomicsPipeline, load_image
from protocol import VOLUME_HISTOGRAM_BINS, Lesion, Measure, serve

FAMILIES = ["intensity", "morphology", "texture", "histogram", "ivh"]


def opener(lesion: Lesion) -> Measure:
    """Images are read and the pipeline is made before the clock starts."""
    image, mask = load_image(lesion["image"]), load_image(lesion["mask"])
    complete = bool(lesion.get("complete", False))
    pipeline = RadiomicsPipeline(load_standard=False)
    bins = {"method": "FBS", "bin_width": lesion["bin_size"], "min_val": lesion["bin_origin"]}
    extract = {
        "families": FAMILIES,
        "ivh_discretisation": {"method": "FBN", "n_bins": VOLUME_HISTOGRAM_BINS},
        "include_spatial_intensity": complete,
        "include_local_intensity": complete,
    }
    pipeline.add_config(
        "all",
        [
            {"step": "discretise", "params": bins},
            {"step": "extract_features", "params": extract},
        ],
    )

    def measure() -> dict[str, float]:
        return {key: float(value) for key, value in pipeline.run(image, mask)["all"].items()}

    return measure


if __name__ == "__main__":
    serve("pictologics", pictologics.__version__, opener)
