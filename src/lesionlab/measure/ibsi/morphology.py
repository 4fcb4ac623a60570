"""Shape of a lesion and where its intensities lie: 27 of the standard's 29 morphological features.

This file names them and puts them together. Mesh, hull and enclosing bodies are in the other files of that
name; the two features that sum over pairs of voxels are in `spatial`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lesionlab.measure.ibsi.feature import INTENSITY, Feature
from lesionlab.measure.ibsi.morphology_boxes import (
    box_area,
    ellipsoid_area,
    ellipsoid_volume,
    smallest_box,
)
from lesionlab.measure.ibsi.morphology_ellipsoid import smallest_ellipsoid
from lesionlab.measure.ibsi.morphology_hull import largest_diameter, mesh_hull
from lesionlab.measure.ibsi.morphology_mesh import mesh_area_volume
from lesionlab.measure.ibsi.morphology_moments import Moments, moments
from lesionlab.measure.ibsi.region import FloatArray, Region, tight

FEATURES: Final[tuple[Feature, ...]] = (
    Feature("morph_volume", "RNU0", "mm3", "V, volume enclosed by the surface mesh"),
    Feature("morph_vol_approx", "YEKZ", "mm3", "number of voxels times the volume of one"),
    Feature("morph_area_mesh", "C0JK", "mm2", "A, area of the surface mesh"),
    Feature("morph_av", "2PR5", "/mm", "A / V"),
    Feature("morph_comp_1", "SKGS", "1", "V / (pi^(1/2) A^(3/2))"),
    Feature("morph_comp_2", "BQWJ", "1", "36 pi V^2 / A^3"),
    Feature("morph_sph_dispr", "KRCK", "1", "A / (36 pi V^2)^(1/3)"),
    Feature("morph_sphericity", "QCFX", "1", "(36 pi V^2)^(1/3) / A"),
    Feature("morph_asphericity", "25C7", "1", "(A^3 / (36 pi V^2))^(1/3) - 1"),
    Feature(
        "morph_com", "KLMA", "mm", "distance from the mean voxel position to the intensity-weighted mean"
    ),
    Feature("morph_diam", "L0JK", "mm", "largest distance between two vertices of the surface mesh"),
    Feature("morph_pca_maj_axis", "TDIC", "mm", "4 l1^(1/2), l1 >= l2 >= l3 variances along principal axes"),
    Feature("morph_pca_min_axis", "P9VJ", "mm", "4 l2^(1/2)"),
    Feature("morph_pca_least_axis", "7J51", "mm", "4 l3^(1/2)"),
    Feature("morph_pca_elongation", "Q3CK", "1", "(l2 / l1)^(1/2)"),
    Feature("morph_pca_flatness", "N17B", "1", "(l3 / l1)^(1/2)"),
    Feature("morph_vol_dens_aabb", "PBX1", "1", "V / volume of the mesh's box along the image axes"),
    Feature("morph_area_dens_aabb", "R59B", "1", "A / area of the mesh's box along the image axes"),
    Feature("morph_vol_dens_ombb", "ZH1A", "1", "V / volume of the mesh's smallest box in any orientation"),
    Feature("morph_area_dens_ombb", "IQYR", "1", "A / area of the mesh's smallest box in any orientation"),
    Feature("morph_vol_dens_aee", "6BDE", "1", "V / volume of the ellipsoid with semi-axes 2 l^(1/2)"),
    Feature("morph_area_dens_aee", "RDD2", "1", "A / area of the ellipsoid with semi-axes 2 l^(1/2)"),
    Feature("morph_vol_dens_mvee", "SWZ1", "1", "V / volume of the smallest ellipsoid around the mesh"),
    Feature("morph_area_dens_mvee", "BRI8", "1", "A / area of the smallest ellipsoid around the mesh"),
    Feature("morph_vol_dens_conv_hull", "R3ER", "1", "V / volume of the mesh's convex hull"),
    Feature("morph_area_dens_conv_hull", "7T7F", "1", "A / area of the mesh's convex hull"),
    Feature("morph_integ_int", "99N0", f"{INTENSITY}.mm3", "V times the mean intensity"),
)

NAN: Final = float("nan")


def morphology(region: Region) -> dict[str, float]:
    """27 morphological features of one lesion, in the order of `FEATURES`.

    Geometry is that of the morphological mask; intensities are those of the intensity mask. NaN where a value
    is not defined: everything for an empty lesion; what needs intensities where none was left, and the shift
    of the centre also where intensities sum to 0; elongation and flatness for one voxel; densities of the
    approximate ellipsoid where it is flat (lesions in one plane). Source: IBSI-1, section on morphological
    features.
    """
    lesion = tight(region)
    found = moments(lesion)
    if found.count == 0:
        return {feature.name: NAN for feature in FEATURES}
    area, volume = mesh_area_volume(lesion.morphological, lesion.spacing)
    results = {
        "morph_volume": volume,
        "morph_vol_approx": found.count * float(np.prod(lesion.spacing)),
        **_roundness(area, volume),
        **_principal(found),
        **_densities(lesion, found, area, volume),
        "morph_com": found.centre_shift,
        "morph_integ_int": volume * found.mean_intensity,
    }
    return {feature.name: results[feature.name] for feature in FEATURES}


def _roundness(area: float, volume: float) -> dict[str, float]:
    ball = (36 * np.pi * volume**2) ** (1 / 3)
    return {
        "morph_area_mesh": area,
        "morph_av": area / volume,
        "morph_comp_1": volume / float(np.sqrt(np.pi) * area**1.5),
        "morph_comp_2": float((ball / area) ** 3),
        "morph_sph_dispr": float(area / ball),
        "morph_sphericity": float(ball / area),
        "morph_asphericity": float(area / ball - 1),
    }


def _principal(found: Moments) -> dict[str, float]:
    least, minor, major = np.sqrt(found.variances)
    return {
        "morph_pca_maj_axis": float(4 * major),
        "morph_pca_min_axis": float(4 * minor),
        "morph_pca_least_axis": float(4 * least),
        "morph_pca_elongation": float(minor / major) if major > 0 else NAN,
        "morph_pca_flatness": float(least / major) if major > 0 else NAN,
    }


def _densities(lesion: Region, found: Moments, area: float, volume: float) -> dict[str, float]:
    hull = mesh_hull(lesion.morphological, lesion.spacing)
    aligned = np.asarray(lesion.morphological.shape) * np.asarray(lesion.spacing)
    oriented = smallest_box(hull, found.axes)
    outer = smallest_ellipsoid(hull.vertices)
    approximate = 2 * np.sqrt(found.variances)
    bodies: dict[str, tuple[float, float]] = {
        "aabb": (float(aligned.prod()), box_area(aligned)),
        "ombb": (float(oriented.prod()), box_area(oriented)),
        "aee": _ellipsoid(approximate),
        "mvee": _ellipsoid(outer),
        "conv_hull": (hull.volume_mm3, hull.area_mm2),
    }
    densities = {"morph_diam": largest_diameter(hull.vertices)}
    for name, (body_volume, body_area) in bodies.items():
        densities[f"morph_vol_dens_{name}"] = volume / body_volume
        densities[f"morph_area_dens_{name}"] = area / body_area
    return densities


def _ellipsoid(semi_axes: FloatArray) -> tuple[float, float]:
    if semi_axes.min() == 0:
        return NAN, NAN
    return ellipsoid_volume(semi_axes), ellipsoid_area(semi_axes)
