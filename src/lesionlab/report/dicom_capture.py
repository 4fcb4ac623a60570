"""A secondary-capture picture for viewers that show nothing else: projections with outlines and a table.

No name, date or id of a patient is drawn. The projections are those of `figures.py`.
"""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
from highdicom.sc import SCImage
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from lesionlab.core.results import Findings
from lesionlab.report import canvas, figures
from lesionlab.report.dicom_seg import MANUFACTURER, MODEL, version_of
from lesionlab.report.dicom_settings import DicomSettings
from lesionlab.report.dicom_source import DicomSource, Uids, references
from lesionlab.report.html import number, unit_words
from lesionlab.report.tables import LESION, lesion_number

SHOWN: Final = ("SUVmax", "SUVmean", "SUVpeak", "MTV", "TLG", "max", "mean", "volume", "diameter_3d")
ROWS: Final = 20
"""So many lesions have a row in the picture's table; the structured report has them all."""
ROW_INCHES: Final = 0.26
PURPOSE: Final = "LesionLab. Research software, not a medical device."


def capture(findings: Findings, source: DicomSource, settings: DicomSettings, uids: Uids) -> Dataset:
    """The picture as an RGB secondary capture that refers to the source's images."""
    built = SCImage.from_ref_dataset(
        ref_dataset=references(source)[0],
        pixel_array=picture(findings),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=uids.series("sc"),
        series_number=settings.series_number("sc"),
        sop_instance_uid=uids.instance("sc"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=version_of(findings),
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=settings.series_words("picture"),
    )
    built.PatientOrientation = ""  # several views side by side have no one orientation
    built.Laterality = ""
    built.BurnedInAnnotation = "NO"
    built.SourceImageSequence = [_reference(item) for item in source.instances]
    return built


def picture(findings: Findings) -> NDArray[np.uint8]:
    """Projections above, the lesion table below, as (rows, columns, 3) in 0 to 255."""
    parts = [_pixels(figures.projections(findings))]
    parts.append(_pixels(_table(findings, parts[0].shape[1] / canvas.DPI)))
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_widened(part, width) for part in parts])


def _table(findings: Findings, inches: float) -> Figure:
    lesions = findings.lesions
    columns = [c for c in lesions.columns if c.name in SHOWN and c.name != LESION]
    head = ["Lesion", *(f"{c.name.replace('_', ' ')}\n{unit_words(c.unit)}" for c in columns)]
    rows = [
        [str(lesion_number(row, i)), *(number(row.get(c.name, math.nan), c.unit) for c in columns)]
        for i, row in enumerate(lesions.rows[:ROWS])
    ]
    hidden = len(lesions.rows) - len(rows)
    words = f"{hidden} more lesions in the structured report. " if hidden else ""
    words = words if lesions.rows else "No lesion found. "
    height = ROW_INCHES * (len(rows) + 4)
    figure = Figure(figsize=(inches, height))
    edges = np.linspace(0.0, 1.0, len(head) + 1)
    for r, row in enumerate([head, *rows] if rows else []):
        y = 1 - (ROW_INCHES * (r + 1 + (r > 0) * 0.5)) / height
        for c, text in enumerate(row):
            figure.text(
                (edges[c] + edges[c + 1]) / 2,
                y,
                text,
                fontsize=canvas.LABEL_POINTS,
                fontweight="normal" if r else "bold",
                color=canvas.INK,
                ha="center",
                va="center",
            )
    figure.text(0.01, 0.5 * ROW_INCHES / height, words + PURPOSE, fontsize=canvas.LABEL_POINTS, va="center")
    return figure


def _pixels(figure: Figure) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(canvas.png(figure))).convert("RGB"), dtype=np.uint8)


def _widened(pixels: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    missing = width - pixels.shape[1]
    return np.pad(pixels, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)), constant_values=255)


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item
