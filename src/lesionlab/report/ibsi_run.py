"""What the run itself says about the IBSI checklist's items: regions, image processing, features, software.

Answers come from the recipe as the provenance holds it, and from the conventions of `measure/ibsi`, which the
standard's reference values fix. What the scan's headers say is in `ibsi_scan`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, TypeVar

from lesionlab.core.recipe import BiomarkerSettings, RadiomicsSettings, RefineSettings, ThresholdSettings
from lesionlab.core.results import Findings
from lesionlab.core.settings import Settings
from lesionlab.core.volume import Geometry
from lesionlab.report.html import unit_words
from lesionlab.report.ibsi_items import Said, filled, not_applicable, unknown
from lesionlab.report.tables import is_radiomics

Section = TypeVar("Section", bound=Settings)

LEVELLED: Final = ("histogram", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm")
"""Families that are computed on grey levels."""
DIRECTIONAL: Final = ("glcm", "glrlm")
TEXTURES: Final = LEVELLED[1:]
CHEBYSHEV: Final = "Chebyshev distance of 1"
NEIGHBOURS: Final = f"{CHEBYSHEV} (26 neighbours in 3D, 8 in a slice)"
TEXTURE_ITEMS: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    ("63", ("glcm", "glrlm", "ngtdm", "ngldm"), "no weighting by distance"),
    ("64", ("glcm",), "symmetric: each pair counts in both directions"),
    ("65", ("glcm",), CHEBYSHEV),
    ("66", ("glszm",), NEIGHBOURS),
    ("67", ("gldzm",), NEIGHBOURS),
    ("68", ("gldzm",), "Manhattan distance to the border of the morphological mask"),
    ("69", ("ngtdm",), NEIGHBOURS),
    ("70", ("ngldm",), NEIGHBOURS),
    ("71", ("ngldm",), "0: only equal grey levels are dependent"),
)
"""Item, the families that it concerns, and the convention."""
AGGREGATIONS: Final[Mapping[str, str]] = {
    "2D_avg": "by slice, features averaged over directions and slices",
    "2D_comb": "by slice, directions merged, features averaged over slices",
    "2_5D_avg": "slices merged by direction, features averaged over directions",
    "2_5D_comb": "slices and directions merged",
    "3D_avg": "in the volume, features averaged over directions",
    "3D_comb": "in the volume, directions merged",
}
DIMENSIONS: Final[Mapping[str, str]] = {
    "2D": "by slice, features averaged over slices",
    "2_5D": "slices merged",
    "3D": "in the volume",
}
BEFORE: Final = "; what was done to the files before is not known to the run"
UNPROCESSED: Final[tuple[tuple[str, str], ...]] = (
    ("40", "none in this run but rescaling as the header says"),
    ("42", "none in this run"),
    ("44", "none in this run"),
    ("45", "none in this run"),
    ("46", "none in this run: features are computed on the image in its unit"),
    ("47", "none in this run"),
)
FAMILIES: Final[Mapping[str, str]] = {
    "morphology": "morphology (HCUG)",
    "spatial": "Moran's I and Geary's C (HCUG)",
    "local": "local intensity (9ST6)",
    "statistics": "intensity statistics (UHIW)",
    "histogram": "intensity histogram (ZVCW)",
    "volume_histogram": "intensity-volume histogram (P88C)",
    "glcm": "GLCM (LFYI)",
    "glrlm": "GLRLM (TP0I)",
    "glszm": "GLSZM (9SAK)",
    "gldzm": "GLDZM (VMDZ)",
    "ngtdm": "NGTDM (IPET)",
    "ngldm": "NGLDM (REK0)",
}
"""Families in words, with the standard's codes."""
SOFTWARE: Final = ("lesionlab", "python", "numpy", "scipy", "numba")


def section(findings: Findings, name: str, kind: type[Section]) -> Section:
    """A section of the recipe that the provenance holds; its defaults where there is none."""
    found = findings.provenance.settings.get(name)
    return kind.model_validate(found) if isinstance(found, Mapping) else kind()


def run_answers(findings: Findings) -> dict[str, Said]:
    """What the run decides, by item number."""
    settings = section(findings, "radiomics", RadiomicsSettings)
    grid = findings.case.geometry
    return (
        {number: filled(text + BEFORE) for number, text in UNPROCESSED}
        | _regions(findings)
        | _interpolation(settings, grid)
        | _levels(settings, _unit(findings))
        | _features(findings, settings)
        | _textures(settings)
    )


def _regions(findings: Findings) -> dict[str, Said]:
    """Items 48a to 49: by threshold, by network, or from a file whose making the run does not know."""
    run, case = findings.provenance, findings.case
    one = {} if len(case.channels) > 1 else {"48d": not_applicable("one image")}
    given = any(note.startswith("mask as given in the file") for note in findings.prediction.notes)
    if given or run.bundle == "mask file":
        return one | {
            "48a": unknown("given as a mask file; say how the regions were drawn"),
            "49": unknown(
                "given as a mask file: voxels as stored; of contours (RTSTRUCT) those with centre inside; "
                "say how stored voxels were made, if from contours or meshes"
            ),
        }
    method = str(run.settings.get("method", ""))
    if method not in ("network", "threshold"):
        return one
    refined = section(findings, "refine", RefineSettings)
    clean_up = (
        f"refinement: keep {refined.keep}, at least {refined.minimum_ml:g} ml, "
        f"holes {'filled' if refined.fill_holes else 'kept'}, connectivity {refined.connectivity}"
    )
    images = tuple(str(name) for name in _mapping(run.settings.get("channels"))) or (case.reference,)
    if method == "threshold":
        threshold = section(findings, "threshold", ThresholdSettings)
        how = f"SUVbw >= {threshold.suv:g}"
        if threshold.rule == "relative":
            how += f", each region redrawn at {threshold.fraction:g} of its maximum"
        how += ", inside the body found on CT" if threshold.body_mask else ""
        rule, images = f"threshold: {how}", (case.reference,)
    else:
        rule = f"network {run.bundle} (SHA-256 {run.bundle_sha256[:12]})"
    return {
        "48a": filled(f"automatic, {rule}; say so if the masks were corrected by hand"),
        "48b": not_applicable("no manual delineation in this run"),
        "48c": filled(f"{rule}; {clean_up}"),
        "48d": filled(", ".join(images)),
        "49": not_applicable("drawn as voxels"),
    } | one


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _interpolation(settings: RadiomicsSettings, grid: Geometry) -> dict[str, Said]:
    """Items 41, 47 and 50a to 54: the standard's grid, aligned by its centre, or the scan's own; rounding."""
    wanted = settings.spacing_mm or (0.0, 0.0, 0.0)
    final = tuple(new or old for new, old in zip(wanted, grid.spacing, strict=True))
    size = " x ".join(f"{value:.6g}" for value in final) + " mm (z, y, x)"
    rounding = f"to multiples of {settings.round_to:g}" if settings.round_to else "none"
    # for other images than CT the rounding belongs to the other processing
    answers = {"52": filled(rounding)} | (
        {"47": filled(f"intensities rounded {rounding}")} if settings.round_to else {}
    )
    if all(abs(new - old) <= 1e-6 * old for new, old in zip(final, grid.spacing, strict=True)):
        none = not_applicable("no interpolation")
        numbers = ("41", "50a", "50b", "50c", "50d", "53", "54")
        return answers | dict.fromkeys(numbers, none) | {"51": filled(f"{size}, as scanned")}
    return answers | {
        "41": filled("none: no filter before interpolation"),
        "50a": filled(settings.interpolation),
        "50b": filled("both grids share their centre"),
        "50c": filled("as many voxels as cover the original grid (rounded up)"),
        "50d": filled("the value at the edge goes on"),
        "51": filled(size),
        "53": filled(settings.mask_interpolation),
        "54": filled("a voxel belongs from a share of 0.5 on"),
    }


def _unit(findings: Findings) -> str:
    """The unit of the image that is measured."""
    channels, reference = findings.case.channels, findings.case.reference
    name = section(findings, "biomarkers", BiomarkerSettings).channel or reference
    return unit_words(channels[name if name in channels else reference].unit)


def _levels(settings: RadiomicsSettings, unit: str) -> dict[str, Said]:
    """Items 55 to 57: re-segmentation, discretisation, filters."""
    steps = []
    if settings.keep_range is not None:
        low, high = settings.keep_range
        ends = [f"from {low:g}"] * math.isfinite(low) + [f"up to {high:g}"] * math.isfinite(high)
        steps.append(f"range {' '.join(ends) or 'without ends'}")
    if settings.outlier_sigma is not None:
        steps.append(f"outliers beyond {settings.outlier_sigma:g} standard deviations of the mean leave")
    answers = {"55": filled("; then ".join(steps) or "none"), "57": filled("none")}
    volume = _volume_histogram(settings)
    if not set(settings.families) & set(LEVELLED):
        none = not_applicable("no family on grey levels")
        return answers | {"56a": filled(volume) if volume else none, "56b": none, "56c": none}
    if settings.bin_number is not None:
        method, size = "fixed number of bins (FBN)", f"{settings.bin_number} bins"
        edge = not_applicable("fixed number of bins: the first bin begins at the lesion's minimum")
    else:
        method, size = "fixed bin size (FBS)", f"{settings.bin_size or 0:g} {unit}".rstrip()
        edge = filled(_first_edge(settings))
    return answers | {
        "56a": filled(f"{method}; {volume}" if volume else method),
        "56b": filled(size),
        "56c": edge,
    }


def _volume_histogram(settings: RadiomicsSettings) -> str:
    """How the intensity-volume histogram takes its steps; "" where it is not computed."""
    if "volume_histogram" not in settings.families:
        return ""
    if settings.volume_histogram_bins is not None:
        how = f"{settings.volume_histogram_bins} bins"
    elif settings.volume_histogram_bin_size is not None:
        how = f"bins of {settings.volume_histogram_bin_size:g}"
    else:
        how = "no discretisation"
    return f"intensity-volume histogram: {how}"


def _first_edge(settings: RadiomicsSettings) -> str:
    """Where the first bin of a fixed size begins; the order is that of `measure/ibsi/levels.py`."""
    if settings.bin_origin is not None:
        return f"{settings.bin_origin:g}"
    if settings.keep_range is not None and math.isfinite(settings.keep_range[0]):
        return f"{settings.keep_range[0]:g} (lower end of the re-segmentation range)"
    return "the lesion's minimum"


def _features(findings: Findings, settings: RadiomicsSettings) -> dict[str, Said]:
    """Items 58, 59 and 61: which features, by which software."""
    run = findings.provenance
    version = run.versions.get("lesionlab", "")
    software = [f"{name} {run.versions[name]}" for name in SOFTWARE if name in run.versions]
    answers = {
        "59": filled(
            "computed as the standard's reference values ask (digital phantom and CT configurations); "
            f"which are met is tabulated in docs/conformance.md of lesionlab {version}".rstrip()
        ),
        "61": filled(f"{', '.join(software)}; recipe {run.recipe_name} (SHA-256 {run.recipe_sha256[:12]})"),
    }
    if not settings.families:
        return answers | {"58": not_applicable("the recipe names no family")}
    count = sum(map(is_radiomics, findings.lesions.columns))
    chosen = ", ".join(FAMILIES[family] for family in settings.families)
    chosen += f": {count} features of IBSI-1" if count else ""
    return answers | {"58": filled(f"{chosen}, defined with their codes in columns.csv")}


def _textures(settings: RadiomicsSettings) -> dict[str, Said]:
    """Items 62 to 71: only what concerns a chosen family."""
    families = set(settings.families)
    answers = {
        number: filled(text) if families & set(concerned) else not_applicable(f"no {' or '.join(concerned)}")
        for number, concerned, text in TEXTURE_ITEMS
    }
    parts = []
    if families & set(DIRECTIONAL):
        names = " and ".join(name for name in DIRECTIONAL if name in families)
        parts += [f"{names} {a}: {AGGREGATIONS[a]}" for a in settings.aggregations]
    others = [name for name in TEXTURES if name in families and name not in DIRECTIONAL]
    if others:
        kinds = dict.fromkeys(a.rpartition("_")[0] for a in settings.aggregations)
        parts += [f"{', '.join(others)} {kind}: {DIMENSIONS[kind]}" for kind in kinds]
    none = not_applicable("no texture family")
    return answers | {"62": filled("; ".join(parts)) if parts else none}
