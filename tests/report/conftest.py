"""Findings made by hand for the report's tests: known hot voxels on a grid with unequal axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.core import units
from lesionlab.core.case import AcquisitionFacts, Case
from lesionlab.core.results import Column, Findings, LesionTable, Prediction, Provenance, Scores
from lesionlab.core.volume import Geometry, Volume

COLUMNS = (
    Column("lesion", units.ONE, "number of the lesion"),
    Column("voxels", units.ONE, "voxels in the lesion"),
    Column("SUVmax", units.SUVBW, "highest SUVbw <of a voxel> & nothing else", "IBSI:84IY"),
    Column("SUVpeak", units.SUVBW, "highest mean in 1 ml"),
    Column("MTV", units.MILLILITRE, "metabolic tumour volume", "DCM:126032"),
)
TOTALS = (
    Column("lesions", units.ONE, "number of lesions"),
    Column("TMTV", units.MILLILITRE, "sum of MTV"),
    Column("Dmax", units.MILLIMETRE, "largest distance"),
)
GRID = Geometry((20, 30, 40), (5.0, 4.0, 3.0), (-60.0, -58.0, -700.0))
RUN = Provenance(
    versions={"lesionlab": "0.1.0", "numpy": "2.0"},
    recipe_name="pet-threshold",
    recipe_sha256="a1" * 32,
    bundle="pet-threshold",
    bundle_sha256="b2" * 32,
    inputs={"suv": "c3" * 32},
    seconds={"read": 1.25, "measure": 0.5},
    device="cpu",
    started="2026-01-02T03:04:05+00:00",
    settings={"name": "pet-threshold", "threshold": {"suv": 4.0}},
    source="/scans/one",
)

MakeFindings = Callable[..., Findings]


def make(
    mask: np.ndarray | None = None,
    *,
    geometry: Geometry = GRID,
    suv: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    raw: np.ndarray | None = None,
    unit: str = units.SUVBW,
    case_id: str = "case-1",
    notes: tuple[str, ...] = (),
) -> Findings:
    """Findings whose lesions are the 26-connected parts of the mask (none by default)."""
    mask = np.zeros(geometry.shape, bool) if mask is None else mask
    if suv is None:
        suv = np.where(mask, 8.0, 1.0).astype(np.float32)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    rows = tuple(
        {
            "lesion": float(n),
            "voxels": float((labels == n).sum()),
            "SUVmax": float(suv[labels == n].max()) / 3,
            "SUVpeak": float("nan"),
            "MTV": float((labels == n).sum()) * geometry.voxel_ml,
        }
        for n in range(1, count + 1)
    )
    totals = {"lesions": float(count), "TMTV": float(mask.sum()) * geometry.voxel_ml, "Dmax": float("nan")}
    table = LesionTable(COLUMNS, rows, TOTALS, totals, Volume(labels.astype(np.int32), geometry, units.ONE))

    def volume(array: np.ndarray) -> Volume:
        return Volume(array.astype(np.uint8), geometry, units.ONE)

    case = Case(
        case_id,
        "patient-1",
        {"suv": Volume(suv, geometry, unit)},
        "suv",
        None if truth is None else volume(truth),
        AcquisitionFacts({}, notes),
    )
    prediction = Prediction(volume(mask), None, None if raw is None else volume(raw))
    scores = None
    if truth is not None:
        scores = Scores(case_id, {"dice": 0.8125, "volume_error_ml": -1.5, "lesion_ppv": float("nan")}, ())
    return Findings(case, prediction, table, RUN, scores)


@pytest.fixture
def make_findings() -> MakeFindings:
    """The maker of findings; every argument has a default."""
    return make


@pytest.fixture
def two_lesions(make_findings: MakeFindings) -> Findings:
    """A block of 2 x 3 x 4 voxels and a single voxel; the truth misses the one and has another."""
    mask = np.zeros(GRID.shape, bool)
    mask[4:6, 10:13, 20:24] = True
    mask[15, 5, 6] = True
    truth = np.zeros(GRID.shape, bool)
    truth[4:6, 10:13, 21:25] = True
    truth[10, 25, 35] = True
    raw = mask.copy()
    raw[1, 1, 1] = True
    return make_findings(mask, truth=truth, raw=raw, notes=("CT <resampled> & clipped",))
