"""From the other tools' feature names to ours, the tags of the standard's reference values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lesionlab.measure.ibsi import (
    histogram,
    local,
    morphology,
    spatial,
    statistics,
    texture,
    volume_histogram,
)

MIRP_SETTINGS = re.compile(r"_(fbs_w|d|a)[0-9.]+(?=_|$)")
MIRP_POOLED = {"_3d_avg": "_3D_avg", "_3d_v_mrg": "_3D_comb", "_3d": "_3D"}
VOLUME_HISTOGRAM = {
    "BC2M_10": "ivh_v10",
    "BC2M_90": "ivh_v90",
    "DDTU": "ivh_diff_v10_v90",
    "GBPN_10": "ivh_i10",
    "GBPN_90": "ivh_i90",
    "CNV2": "ivh_diff_i10_i90",
    "9CMM": "ivh_auc",
}
PICTOLOGICS_OWN = {
    "10th_discretised_intensity_percentile_1PR": "ih_p10",
    "90th_discretised_intensity_percentile_GPMT": "ih_p90",
}
"""Names whose code is not the standard's."""
PICTOLOGICS_CODES = {"P001": "5QRC"}
"""Small zone emphasis, whose code is 5QRC in DICOM and MIRP."""


def from_mirp(values: Mapping[str, float]) -> dict[str, float]:
    """MIRP's names are our tags with settings between and another spelling of the aggregation."""
    found = {}
    for name, value in values.items():
        tag = MIRP_SETTINGS.sub("", name)
        for theirs, ours in MIRP_POOLED.items():
            if tag.endswith(theirs):
                tag = tag.removesuffix(theirs) + ours
                break
        found[tag] = value
    return found


def from_pictologics(values: Mapping[str, float]) -> dict[str, float]:
    """Pictologics ends names in the standard's code; its GLCM and GLRLM are merged, the rest in 3D."""
    tag_of = tags_by_code()
    found = {}
    for name, value in values.items():
        code = re.search(r"_([0-9A-Z]{3,4}(_[0-9]+)?)$", name)
        known = PICTOLOGICS_CODES.get(code[1], code[1])
        tag = PICTOLOGICS_OWN.get(name) or VOLUME_HISTOGRAM.get(known) or tag_of[known]
        found[tag] = value
    return found


def tags_by_code() -> dict[str, str]:
    """Our tag of each code in 3D, with matrices merged where there are directions."""
    found = {}
    for module in (histogram, local, morphology, spatial, statistics, volume_histogram):
        found.update({feature.code: feature.name for feature in module.FEATURES})
    for family, features in texture.FEATURES.items():
        suffix = "_3D_comb" if family in texture.DIRECTIONAL else "_3D"
        found.update({feature.code: feature.name + suffix for feature in features})
    return found


def lowest(values: Iterable[float], width: float) -> float:
    """The multiple of the bin width at or below the lowest value: where PyRadiomics begins its bins."""
    return float(min(values) // width * width)
