"""Real lesions: our radiomics beside what PyRadiomics, MIRP and Pictologics say of them.

What they say is recorded in tests/reference/radiomics_peers.json by benchmarks/radiomics_record.py. Every
feature of theirs is compared; where a tool departs, the table below says by how much and why.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lesionlab.core.components import foreground_box
from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.measure.ibsi.radiomics import radiomics
from lesionlab.measure.ibsi.table import lesion_features
from lesionlab.measure.pyradiomics_names import APPROXIMATE, MISSING, rename_for_pyradiomics
from lesionlab.read.nifti import load_volume

pytestmark = pytest.mark.real

RECORDED = json.loads((Path(__file__).parents[1] / "reference" / "radiomics_peers.json").read_text())
FAMILIES = (
    "morphology", "spatial", "local", "statistics", "histogram", "volume_histogram",
    "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm",
)  # fmt: skip
EQUAL = 1e-6
"""Relative difference up to which two values are one; our own claim towards all three."""
COUNTS = {"pyradiomics": 99, "mirp": 205, "pictologics": 144}
"""Features of each tool that are equal on all lesions; fewer would be a change for the worse."""

SINGLE = "computes with single precision"
ORDER = "takes percentiles as order statistics, without interpolating between them"
LONE = "counts a voxel without neighbours in its slice, which the standard leaves out"
MESH = "chooses another surface where a cell's corners leave it open"
BOX = "takes the box along the principal axes for the smallest one"
ELLIPSOID = "approximates the smallest ellipsoid from inside"
BINS = "answers with the next bin where the standard asks for the next one that holds a voxel"
AREA = "integrates over bin numbers instead of the fraction of the intensity range"
EXTRA = "no feature of the standard"
DEVIATIONS: dict[str, dict[str, tuple[float, str]]] = {
    "pyradiomics": {f"original_{name}": (2e-3, MESH) for name in APPROXIMATE}
    | {f"original_{name}": (math.inf, why) for name, why in MISSING.items()},
    "pyradiomics in_plane": {f"original_{name}": (2e-3, MESH) for name in APPROXIMATE}
    | {f"original_{name}": (math.inf, why) for name, why in MISSING.items()}
    | {f"original_ngtdm_{name}": (1e-3, LONE) for name in ("Busyness", "Coarseness", "Complexity")}
    | {f"original_ngtdm_{name}": (1e-3, LONE) for name in ("Contrast", "Strength")},
    "mirp": {
        "morph_com": (1e-5, SINGLE),
        "stat_skew": (2e-5, SINGLE),
        "stat_kurt": (2e-5, SINGLE),
        "ih_skew": (2e-5, SINGLE),
        "ih_kurt": (2e-5, SINGLE),
        "ivh_v25": (math.inf, EXTRA),
        "ivh_v50": (math.inf, EXTRA),
        "ivh_v75": (math.inf, EXTRA),
        "ivh_i25": (math.inf, EXTRA),
        "ivh_i50": (math.inf, EXTRA),
        "ivh_i75": (math.inf, EXTRA),
        "ivh_diff_v25_v75": (math.inf, EXTRA),
        "ivh_diff_i25_i75": (math.inf, EXTRA),
    },
    "pictologics": {
        "stat_p10": (0.05, ORDER),
        "stat_p90": (0.05, ORDER),
        "stat_iqr": (0.05, ORDER),
        "stat_rmad": (0.05, ORDER),
        "stat_qcod": (0.05, ORDER),
        "ih_p10": (0.15, ORDER),
        "ih_rmad": (0.05, ORDER),
        "morph_area_mesh": (5e-3, MESH),
        "morph_volume": (5e-3, MESH),
        "morph_av": (5e-3, MESH),
        "morph_comp_1": (5e-3, MESH),
        "morph_comp_2": (5e-3, MESH),
        "morph_sph_dispr": (5e-3, MESH),
        "morph_sphericity": (5e-3, MESH),
        "morph_asphericity": (5e-3, MESH),
        "morph_integ_int": (5e-3, MESH),
        "morph_vol_dens_aee": (5e-3, MESH),
        "morph_area_dens_aee": (5e-3, MESH),
        "morph_vol_dens_conv_hull": (5e-3, MESH),
        "morph_area_dens_conv_hull": (5e-3, MESH),
        "morph_vol_dens_aabb": (5e-3, MESH),
        "morph_area_dens_aabb": (5e-3, MESH),
        "morph_vol_dens_ombb": (0.5, BOX),
        "morph_area_dens_ombb": (0.5, BOX),
        "morph_vol_dens_mvee": (5e-3, ELLIPSOID),
        "morph_area_dens_mvee": (5e-3, ELLIPSOID),
        "ivh_i10": (0.2, BINS),
        "ivh_i90": (0.2, BINS),
        "ivh_diff_i10_i90": (0.2, BINS),
        "ivh_auc": (math.inf, AREA),
    },
}
"""Tool -> its feature -> largest relative difference on these lesions and why; infinite: not to compare."""


@pytest.fixture(scope="module")
def ours(shared_data):
    """Lesion -> our values by tag and the volume of a voxel, with the settings of the record."""
    folder = shared_data / "sts"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder}")
    found = {}
    for name, lesion in RECORDED["lesions"].items():
        patient, channel = name.split("/")
        image = load_volume(folder / patient / f"{channel}.nii.gz")
        mask = load_volume(folder / patient / f"{channel}_mask.nii.gz").array > 0
        settings = RadiomicsSettings(
            families=FAMILIES,
            aggregations=("3D_avg", "3D_comb", "2_5D_avg"),
            bin_size=lesion["bin_size"],
            bin_origin=lesion["bin_origin"],
            volume_histogram_bins=1000,
        )
        assert mask.sum() == lesion["voxels"]
        found[name] = radiomics(image, mask, settings)[0], image.geometry.voxel_ml * 1000
    return found


def differences(theirs, mine):
    """Feature -> largest relative difference over lesions; infinite where only one has it."""
    worst: dict[str, float] = {}
    for name, values in theirs.items():
        for feature, value in values.items():
            own = mine[name].get(feature, math.nan)
            both_nan = value is None and feature in mine[name] and math.isnan(own)
            if value is None or math.isnan(own):
                difference = 0.0 if both_nan else math.inf
            else:
                difference = abs(own - value) / max(abs(value), 1e-9)
            worst[feature] = max(worst.get(feature, 0.0), difference)
    return worst


def check(worst, tool):
    known = DEVIATIONS[tool]
    wrong = {f: d for f, d in worst.items() if d > EQUAL and not d <= known.get(f, (0.0, ""))[0]}
    assert wrong == {}
    stale = {feature for feature in known if worst[feature] <= EQUAL}
    assert stale == set()
    equal = sum(difference <= EQUAL for difference in worst.values())
    assert equal == COUNTS.get(tool, equal)


def test_pyradiomics_names_hold_what_pyradiomics_computes(ours):
    mine = {name: rename_for_pyradiomics(*found) for name, found in ours.items()}
    check(differences(RECORDED["peers"]["pyradiomics"]["values"], mine), "pyradiomics")


def test_pyradiomics_within_slices(ours):
    mine = {name: rename_for_pyradiomics(*found, dimension="2_5D") for name, found in ours.items()}
    check(differences(RECORDED["peers"]["pyradiomics"]["in_plane"], mine), "pyradiomics in_plane")


@pytest.mark.parametrize("tool", ["mirp", "pictologics"])
def test_tools_that_follow_the_standard(ours, tool):
    mine = {name: values for name, (values, _) in ours.items()}
    check(differences(RECORDED["peers"][tool]["values"], mine), tool)


def test_the_lesion_table_under_pyradiomics_names(shared_data):
    """The road of a user: a recipe with `names = "pyradiomics"` and no bin_origin of his own."""
    name, lesion = next((n, item) for n, item in RECORDED["lesions"].items() if n.endswith("/pet"))
    folder = shared_data / "sts" / name.split("/")[0]
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder}")
    image, mask = load_volume(folder / "pet.nii.gz"), load_volume(folder / "pet_mask.nii.gz").array > 0
    settings = RadiomicsSettings(families=FAMILIES, bin_size=lesion["bin_size"], names="pyradiomics")
    box = foreground_box(mask)
    assert box is not None
    added = lesion_features(image, mask.astype("int32"), [box], settings)
    theirs = RECORDED["peers"]["pyradiomics"]["values"][name]
    exact = set(theirs) - {f"original_{feature}" for feature in (*APPROXIMATE, *MISSING)}
    assert {column.name for column in added.columns} == set(added.rows[0])
    assert len(exact) == COUNTS["pyradiomics"]
    for feature in exact:
        assert added.rows[0][feature] == pytest.approx(theirs[feature], rel=EQUAL), feature
