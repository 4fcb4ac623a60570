"""Our features under PyRadiomics' names, so that a model trained on PyRadiomics' tables can be fed.

Names, and the closed forms between the two definitions. The features themselves are in `ibsi/`. Measured
against PyRadiomics 3.0.1 (docs/conformance.md has the table). Equal answers need equal grey levels:
`bins_like_pyradiomics` gives the settings for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.results import Column

Dimension = Literal["3D", "2_5D"]
"""2_5D is what PyRadiomics calls force2D: neighbours in the slice, all slices in one matrix."""

FIRST_ORDER_AND_SHAPE: Final[Mapping[str, str]] = {
    "firstorder_10Percentile": "stat_p10",
    "firstorder_90Percentile": "stat_p90",
    "firstorder_Energy": "stat_energy",
    "firstorder_Entropy": "ih_entropy",
    "firstorder_InterquartileRange": "stat_iqr",
    "firstorder_Maximum": "stat_max",
    "firstorder_Mean": "stat_mean",
    "firstorder_MeanAbsoluteDeviation": "stat_mad",
    "firstorder_Median": "stat_median",
    "firstorder_Minimum": "stat_min",
    "firstorder_Range": "stat_range",
    "firstorder_RobustMeanAbsoluteDeviation": "stat_rmad",
    "firstorder_RootMeanSquared": "stat_rms",
    "firstorder_Skewness": "stat_skew",
    "firstorder_Uniformity": "ih_uniformity",
    "firstorder_Variance": "stat_var",
    "shape_Elongation": "morph_pca_elongation",
    "shape_Flatness": "morph_pca_flatness",
    "shape_Maximum3DDiameter": "morph_diam",
    "shape_VoxelVolume": "morph_vol_approx",
}
"""The same number under another name."""

DIRECTIONAL: Final[Mapping[str, str]] = {
    "glcm_Autocorrelation": "cm_auto_corr",
    "glcm_ClusterProminence": "cm_clust_prom",
    "glcm_ClusterShade": "cm_clust_shade",
    "glcm_ClusterTendency": "cm_clust_tend",
    "glcm_Contrast": "cm_contrast",
    "glcm_DifferenceAverage": "cm_diff_avg",
    "glcm_DifferenceEntropy": "cm_diff_entr",
    "glcm_DifferenceVariance": "cm_diff_var",
    "glcm_Id": "cm_inv_diff",
    "glcm_Idm": "cm_inv_diff_mom",
    "glcm_Idmn": "cm_inv_diff_mom_norm",
    "glcm_Idn": "cm_inv_diff_norm",
    "glcm_Imc2": "cm_info_corr2",
    "glcm_InverseVariance": "cm_inv_var",
    "glcm_JointAverage": "cm_joint_avg",
    "glcm_JointEnergy": "cm_energy",
    "glcm_JointEntropy": "cm_joint_entr",
    "glcm_MaximumProbability": "cm_joint_max",
    "glcm_SumAverage": "cm_sum_avg",
    "glcm_SumEntropy": "cm_sum_entr",
    "glcm_SumSquares": "cm_joint_var",
    "glrlm_GrayLevelNonUniformity": "rlm_glnu",
    "glrlm_GrayLevelNonUniformityNormalized": "rlm_glnu_norm",
    "glrlm_GrayLevelVariance": "rlm_gl_var",
    "glrlm_HighGrayLevelRunEmphasis": "rlm_hgre",
    "glrlm_LongRunEmphasis": "rlm_lre",
    "glrlm_LongRunHighGrayLevelEmphasis": "rlm_lrhge",
    "glrlm_LongRunLowGrayLevelEmphasis": "rlm_lrlge",
    "glrlm_LowGrayLevelRunEmphasis": "rlm_lgre",
    "glrlm_RunEntropy": "rlm_rl_entr",
    "glrlm_RunLengthNonUniformity": "rlm_rlnu",
    "glrlm_RunLengthNonUniformityNormalized": "rlm_rlnu_norm",
    "glrlm_RunPercentage": "rlm_r_perc",
    "glrlm_RunVariance": "rlm_rl_var",
    "glrlm_ShortRunEmphasis": "rlm_sre",
    "glrlm_ShortRunHighGrayLevelEmphasis": "rlm_srhge",
    "glrlm_ShortRunLowGrayLevelEmphasis": "rlm_srlge",
}
"""Of matrices that have directions PyRadiomics averages the features: our tags ending in `_avg`."""

UNDIRECTED: Final[Mapping[str, str]] = {
    "gldm_DependenceEntropy": "ngl_dc_entr",
    "gldm_DependenceNonUniformity": "ngl_dcnu",
    "gldm_DependenceNonUniformityNormalized": "ngl_dcnu_norm",
    "gldm_DependenceVariance": "ngl_dc_var",
    "gldm_GrayLevelNonUniformity": "ngl_glnu",
    "gldm_GrayLevelVariance": "ngl_gl_var",
    "gldm_HighGrayLevelEmphasis": "ngl_hgce",
    "gldm_LargeDependenceEmphasis": "ngl_hde",
    "gldm_LargeDependenceHighGrayLevelEmphasis": "ngl_hdhge",
    "gldm_LargeDependenceLowGrayLevelEmphasis": "ngl_hdlge",
    "gldm_LowGrayLevelEmphasis": "ngl_lgce",
    "gldm_SmallDependenceEmphasis": "ngl_lde",
    "gldm_SmallDependenceHighGrayLevelEmphasis": "ngl_ldhge",
    "gldm_SmallDependenceLowGrayLevelEmphasis": "ngl_ldlge",
    "glszm_GrayLevelNonUniformity": "szm_glnu",
    "glszm_GrayLevelNonUniformityNormalized": "szm_glnu_norm",
    "glszm_GrayLevelVariance": "szm_gl_var",
    "glszm_HighGrayLevelZoneEmphasis": "szm_hgze",
    "glszm_LargeAreaEmphasis": "szm_lze",
    "glszm_LargeAreaHighGrayLevelEmphasis": "szm_lzhge",
    "glszm_LargeAreaLowGrayLevelEmphasis": "szm_lzlge",
    "glszm_LowGrayLevelZoneEmphasis": "szm_lgze",
    "glszm_SizeZoneNonUniformity": "szm_zsnu",
    "glszm_SizeZoneNonUniformityNormalized": "szm_zsnu_norm",
    "glszm_SmallAreaEmphasis": "szm_sze",
    "glszm_SmallAreaHighGrayLevelEmphasis": "szm_szhge",
    "glszm_SmallAreaLowGrayLevelEmphasis": "szm_szlge",
    "glszm_ZoneEntropy": "szm_zs_entr",
    "glszm_ZonePercentage": "szm_z_perc",
    "glszm_ZoneVariance": "szm_zs_var",
    "ngtdm_Busyness": "ngt_busyness",
    "ngtdm_Coarseness": "ngt_coarseness",
    "ngtdm_Complexity": "ngt_complexity",
    "ngtdm_Contrast": "ngt_contrast",
    "ngtdm_Strength": "ngt_strength",
}

APPROXIMATE: Final[Mapping[str, str]] = {
    "shape_MeshVolume": "morph_volume",
    "shape_SurfaceArea": "morph_area_mesh",
    "shape_SurfaceVolumeRatio": "morph_av",
    "shape_Sphericity": "morph_sphericity",
}
"""Not equal: where the corners of a cell leave open how the surface runs, the two meshes differ."""

MISSING: Final[Mapping[str, str]] = {
    "glcm_MCC": "the maximal correlation coefficient is no feature of the standard",
    "shape_Maximum2DDiameterColumn": "a diameter in one plane is no feature of the standard",
    "shape_Maximum2DDiameterRow": "a diameter in one plane is no feature of the standard",
    "shape_Maximum2DDiameterSlice": "a diameter in one plane is no feature of the standard",
}
"""What PyRadiomics computes by default and we cannot give, and why."""


Convert = Callable[[Mapping[str, float], float, Dimension], float]


def _kurtosis(values: Mapping[str, float], _: float, __: Dimension) -> float:
    """Not the excess; and 0 for constant intensity."""
    return 0.0 if values["stat_var"] == 0 else values["stat_kurt"] + 3.0


def _total_energy(values: Mapping[str, float], voxel_mm3: float, _: Dimension) -> float:
    return values["stat_energy"] * voxel_mm3


def _axis(tag: str) -> Convert:
    def convert(values: Mapping[str, float], voxel_mm3: float, _: Dimension) -> float:
        """Variances of voxel positions divided by n instead of n - 1; NaN without a voxel."""
        if math.isnan(values["morph_vol_approx"]):
            return math.nan
        voxels = round(values["morph_vol_approx"] / voxel_mm3)
        return values[tag] * math.sqrt((voxels - 1) / voxels)

    return convert


def _correlation(values: Mapping[str, float], _: float, dimension: Dimension) -> float:
    """1 where there is one grey level."""
    return 1.0 if _flat(values) else values[f"cm_corr_{dimension}_avg"]


def _information(values: Mapping[str, float], _: float, dimension: Dimension) -> float:
    """0 where there is one grey level."""
    return 0.0 if _flat(values) else values[f"cm_info_corr1_{dimension}_avg"]


def _flat(values: Mapping[str, float]) -> bool:
    return values.get("ih_range") == 0


CONVERTED: Final[Mapping[str, tuple[str, Convert]]] = {
    "firstorder_Kurtosis": ("stat_kurt", _kurtosis),
    "firstorder_TotalEnergy": ("stat_energy", _total_energy),
    "glcm_Correlation": ("cm_corr", _correlation),
    "glcm_Imc1": ("cm_info_corr1", _information),
    "shape_LeastAxisLength": ("morph_pca_least_axis", _axis("morph_pca_least_axis")),
    "shape_MajorAxisLength": ("morph_pca_maj_axis", _axis("morph_pca_maj_axis")),
    "shape_MinorAxisLength": ("morph_pca_min_axis", _axis("morph_pca_min_axis")),
}
"""A closed form of our value, whose tag stands first: kurtosis = excess + 3, total energy = energy x voxel
volume in mm3, axis lengths x ((n - 1) / n)^(1/2) of n voxels; correlation and information correlation 1
differ only where one grey level leaves 0 / 0."""


def rename_for_pyradiomics(
    values: Mapping[str, float],
    voxel_mm3: float,
    *,
    dimension: Dimension = "3D",
    image_type: str = "original",
    approximate: bool = True,
) -> dict[str, float]:
    """One lesion's features, by our tags, under PyRadiomics' names (`original_glcm_JointEntropy`).

    `voxel_mm3` is the volume of one voxel of the grid that was measured. Features that were not measured are
    left out, as are all that PyRadiomics does not have; `approximate` = False also leaves out those of
    APPROXIMATE, so that every value equals PyRadiomics' to rounding errors (on the same grid, with the
    grey levels of `bins_like_pyradiomics` and PyRadiomics' default settings). An empty mapping gives an
    empty one; NaN stays NaN. Source: PyRadiomics 3.0.1.
    """
    tags = tags_of(dimension, approximate=approximate)
    found = {}
    for name, tag in tags.items():
        if tag in values:
            convert = CONVERTED[name][1] if name in CONVERTED else None
            found[name] = convert(values, voxel_mm3, dimension) if convert else values[tag]
    return {f"{image_type}_{name}": found[name] for name in sorted(found)}


def tags_of(dimension: Dimension, *, approximate: bool = True) -> dict[str, str]:
    """PyRadiomics' name (`glcm_JointEntropy`) to the full tag of the feature of ours that it comes from."""
    tags = dict(FIRST_ORDER_AND_SHAPE)
    tags |= {name: f"{tag}_{dimension}_avg" for name, tag in DIRECTIONAL.items()}
    tags |= {name: f"{tag}_{dimension}" for name, tag in UNDIRECTED.items()}
    tags |= {
        name: f"{tag}_{dimension}_avg" if tag.startswith("cm_") else tag
        for name, (tag, _) in CONVERTED.items()
    }
    return {**tags, **(APPROXIMATE if approximate else {})}


def columns_for_pyradiomics(columns: Sequence[Column], dimension: Dimension) -> tuple[Column, ...]:
    """The columns of `rename_for_pyradiomics`' values, given those of the features they come from."""
    ours = {column.name: column for column in columns}
    return tuple(
        Column(
            f"original_{name}",
            ours[tag].unit,
            f"PyRadiomics' {name}, {_relation(name)} {tag}: {ours[tag].meaning}",
        )
        for name, tag in sorted(tags_of(dimension).items())
        if tag in ours
    )


def _relation(name: str) -> str:
    return "computed from" if name in CONVERTED else "close to" if name in APPROXIMATE else "equal to"


def bins_like_pyradiomics(settings: RadiomicsSettings, lowest: float) -> RadiomicsSettings:
    """Settings whose grey levels are PyRadiomics' for a lesion whose lowest intensity is `lowest`.

    PyRadiomics begins bins of a fixed size at the multiple of it at or below the lowest intensity; the
    standard begins at the range's lower end, or else at the lowest intensity itself. A fixed number of
    bins is the same in both, and such settings come back as they are.
    """
    if settings.bin_size is None or not math.isfinite(lowest):
        return settings
    origin = lowest - lowest % settings.bin_size
    return settings.model_copy(update={"bin_origin": origin})
