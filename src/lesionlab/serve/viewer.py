"""What the page's viewer needs of a finished examination: `viewer/` beside its results.

    viewer/CHANNEL.nii.gz   each channel on the reference grid, rounded so that it travels lightly
    viewer/lesions.json     channels with their windows, lesions with a point to go to, totals

For looking at, not for measuring: the numbers are those of the results, the masks are mask.nii.gz and
lesions.nii.gz beside the report.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lesionlab.core import units
from lesionlab.core.errors import WriteError
from lesionlab.core.files import write_json
from lesionlab.core.grid import resample
from lesionlab.core.results import Column, Findings, LesionTable
from lesionlab.core.volume import Volume
from lesionlab.report.display import window_of
from lesionlab.report.html import number, unit_words
from lesionlab.report.volumes import to_image

VIEWER = "viewer"
MOST_CHANNELS = 8
"""The reference and the first others; a dynamic series of many phases would make a heavy page."""
ADDED = np.uint32(1 << 11)
KEPT = np.uint32(0xFFFFF000)
"""Of a float's 23 bits of fraction 11 are kept: an error below 1 in 4,000, and files of half the size."""
SHOWN = ("SUVmax", "SUVpeak", "MTV", "TLG", "max", "volume", "diameter_3d", "SUVmean", "mean")
"""Columns of the page's table, as far as the lesions have them, in this order."""


def write_viewer(findings: Findings, folder: Path) -> None:
    """Write `viewer/` into an existing folder of results. No lesion gives an empty list of lesions.

    Raises WriteError where a file cannot be written.
    """
    case = findings.case
    names = [case.reference, *(name for name in case.channels if name != case.reference)][:MOST_CHANNELS]
    target = folder / VIEWER
    target.mkdir(exist_ok=True)
    channels = []
    for name in names:
        volume = case.channels[name]
        window = window_of(volume)
        file = f"{name}.nii.gz"
        _write(resample(volume, case.geometry, outside=float(volume.array.min())), target / file)
        channels.append(
            {
                "name": name,
                "file": f"{VIEWER}/{file}",
                "unit": unit_words(volume.unit),
                "kind": _kind(volume.unit),
                "low": window.low,
                "high": window.high,
            }
        )
    record = {
        "case_id": case.id,
        "patient_id": case.patient_id,
        "reference": case.reference,
        "flat": case.geometry.shape[0] == 1,
        "channels": channels,
        **table_record(findings.lesions),
    }
    write_json(target / "lesions.json", record)


def table_record(table: LesionTable) -> dict[str, Any]:
    """The table as the page shows it: columns, lesions with `at_lps_mm` and cells in words, totals."""
    known = {column.name: column for column in table.columns}
    columns = [known[name] for name in SHOWN if name in known]
    points = _points(table.labels, len(table.rows))
    return {
        "columns": [_told(column) for column in columns],
        "lesions": [
            {
                "number": position + 1,
                "at_lps_mm": points[position],
                "cells": [number(row.get(column.name, math.nan), column.unit) for column in columns],
            }
            for position, row in enumerate(table.rows)
        ],
        "totals": [
            {**_told(column), "value": number(table.totals[column.name], column.unit)}
            for column in table.total_columns
            if column.name in table.totals
        ],
        "notes": list(table.notes),
    }


def _told(column: Column) -> dict[str, str]:
    # names say SUVbw already
    unit = unit_words(column.unit).removesuffix(" (SUVbw)")
    return {"name": column.name, "unit": unit, "meaning": column.meaning}


def _kind(unit: str) -> str:
    return {units.SUVBW: "pet", units.HOUNSFIELD: "ct"}.get(unit, "grey")


def _points(labels: Volume, count: int) -> list[list[float]]:
    """For each lesion the LPS position (mm) of its voxel nearest to its centroid: always inside it."""
    boxes = ndimage.find_objects(labels.array, max_label=count) if count else []
    points = []
    for lesion, box in enumerate(boxes, start=1):
        voxels = np.argwhere(labels.array[box] == lesion)
        middle = voxels.mean(axis=0)
        spacing = np.asarray(labels.geometry.spacing)
        nearest = voxels[(((voxels - middle) * spacing) ** 2).sum(axis=1).argmin()]
        corner = np.array([part.start for part in box])
        points.append([round(float(v), 3) for v in labels.geometry.to_world(nearest + corner)])
    return points


def _write(volume: Volume, path: Path) -> None:
    array = _light(volume.array, volume.unit)
    try:
        sitk.WriteImage(to_image(volume.with_array(array)), str(path), useCompression=True)
    except RuntimeError as error:
        raise WriteError(path, str(error).splitlines()[-1][:200], "a disk with enough space") from error


def _light(array: NDArray[Any], unit: str) -> NDArray[Any]:
    """Voxels in a form that compresses well: whole Hounsfield units, other numbers with 11 bits kept."""
    if array.dtype.kind in "biu":
        return array
    finite = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    if unit == units.HOUNSFIELD:
        whole: NDArray[Any] = np.rint(np.clip(finite, -32768, 32767)).astype(np.int16)
        return whole
    bits = np.ascontiguousarray(finite).view(np.uint32)
    rounded: NDArray[Any] = np.bitwise_and(bits + ADDED, KEPT)
    return rounded.view(np.float32)
