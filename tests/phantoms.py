"""Small volumes with known answers, made on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from lesionlab.core.case import Case
from lesionlab.core.units import STORED, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.report import save_volume

OBLIQUE = tuple(Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix().ravel())
"""Directions of a grid that lies askew in the patient."""


def ball_mask(geometry: Geometry, centre_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """True where a voxel centre lies within `radius_mm` of an LPS position."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij"), -1)
    return np.linalg.norm(geometry.to_world(index) - np.asarray(centre_mm), axis=-1) <= radius_mm


def ball_ml(radius_mm: float) -> float:
    """Volume of a ball in ml."""
    return 4.0 / 3.0 * np.pi * radius_mm**3 / 1000.0


def pet_case(array: np.ndarray, geometry: Geometry, case_id: str = "P1", **channels: Volume) -> Case:
    """A case with the SUVbw channel `suv` as reference, and any other channels."""
    suv = Volume(np.asarray(array, dtype=np.float32), geometry, SUVBW)
    return Case(case_id, case_id, {"suv": suv, **channels}, "suv")


def write_pet_patient(
    folder: Path, balls: Sequence[tuple[tuple[float, float, float], float, float]] = (), *, truth: bool = True
) -> Path:
    """Write suv.nii.gz (SUVbw 1 everywhere) and truth.nii.gz of one patient and return the folder.

    The grid is 24 x 32 x 32 voxels of 4 mm from (0, 0, 0) LPS; each ball is (centre in LPS mm, radius in mm,
    SUVbw).
    """
    geometry = Geometry((24, 32, 32), (4.0, 4.0, 4.0))
    suv, mask = np.ones(geometry.shape, np.float32), np.zeros(geometry.shape, np.uint8)
    for centre, radius, value in balls:
        inside = ball_mask(geometry, centre, radius)
        suv[inside], mask[inside] = value, 1
    folder.mkdir(parents=True, exist_ok=True)
    save_volume(Volume(suv, geometry, SUVBW), folder / "suv.nii.gz")
    if truth:
        save_volume(Volume(mask, geometry, "1"), folder / "truth.nii.gz")
    return folder


def wash_in(kind: str, seconds: float) -> float:
    """PE in % of a made-up enhancement curve at a time from injection; 0 before it.

    `persistent` rises by 1 %/s to 60 % at 60 s, then by 0.1 %/s; `plateau` rises by 2 %/s to 120 % at 60 s
    and stays; `washout` rises by 2.5 %/s to 150 % at 60 s, then falls by 0.2 %/s.
    """
    rate, late = {"persistent": (1.0, 0.1), "plateau": (2.0, 0.0), "washout": (2.5, -0.2)}[kind]
    return 0.0 if seconds <= 0 else rate * min(seconds, 60.0) + late * max(seconds - 60.0, 0.0)


def dce_case(
    balls: Sequence[tuple[tuple[float, float, float], float, str]],
    times_s: Sequence[float] = (-30.0, 60.0, 180.0, 300.0),
    geometry: Geometry | None = None,
) -> tuple[Case, Volume]:
    """A case with phases `pre`, `post1` ... at the times, and the mask of its lesions.

    Signal before contrast is 100 in a block of tissue, 5 in air around it; each ball (centre in LPS mm,
    radius in mm, kind of curve) enhances as `wash_in` says, other tissue by 10 % of a persistent curve.
    """
    geometry = geometry or Geometry((20, 30, 30), (2.0, 1.5, 1.5))
    before = np.full(geometry.shape, 5.0)
    before[2:-2, 3:-3, 3:-3] = 100.0
    mask = np.zeros(geometry.shape, np.uint8)
    inside = [ball_mask(geometry, centre, radius) for centre, radius, _ in balls]
    channels = {}
    for index, seconds in enumerate(times_s):
        percent = np.full(geometry.shape, 0.1 * wash_in("persistent", seconds))
        for ball, (_, _, kind) in zip(inside, balls, strict=True):
            percent[ball], mask[ball] = wash_in(kind, seconds), 1
        signal = before * (1.0 + percent / 100.0)
        channels["pre" if index == 0 else f"post{index}"] = Volume(signal, geometry, STORED)
    return Case("D1", "D1", channels, "pre"), Volume(mask, geometry, "1")
