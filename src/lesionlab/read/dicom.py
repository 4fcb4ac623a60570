"""DICOM files to named channels: `pet`, `ct`, `mr` (or `pre`, `post1`, ... for phases) and `us`.

Here the series become volumes with their facts. What makes a case of them belongs to `case.py`, contours
to `masks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from lesionlab.core.case import SPACING_UNKNOWN, ChannelFacts
from lesionlab.core.errors import ReadError
from lesionlab.core.files import sha256_of
from lesionlab.core.units import ACTIVITY, HOUNSFIELD, STORED, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.dicom_facts import series_facts, slice_facts
from lesionlab.read.dicom_series import Scan, Series, choose_ct, choose_pet, keep_original, scan, volumes_of
from lesionlab.read.dicom_slices import Slice, telling_warnings
from lesionlab.read.dicom_stack import stack, voxels
from lesionlab.read.loaded import Loaded

PET_UNITS = {"BQML": ACTIVITY, "GML": "g/ml", "CNTS": "{counts}", "CPS": "{counts}/s", "PROPCNTS": "{counts}"}
UNKNOWN_US_SPACING = f"ultrasound {SPACING_UNKNOWN}: 1 mm assumed, so lengths, areas and volumes mean pixels"


@dataclass(frozen=True, eq=False)
class DicomChannels:
    """Channels of one patient, the scan that they were chosen from, and notes."""

    channels: dict[str, Loaded]
    scan: Scan
    patient_id: str
    notes: tuple[str, ...]


def read_dicom(subject: Path, paths: Sequence[Path]) -> DicomChannels | None:
    """Read the channels that the DICOM files among `paths` hold; None when none is DICOM.

    Raises ReadError for several patients, for series that cannot be told apart and when no image series
    is left; GeometryError for gaps, duplicates and mixed slices.
    """
    notes: list[str] = []
    with telling_warnings(notes):
        found = scan(paths)
        if not found.found:
            return None
        notes += found.notes
        if len(found.patients) > 1:
            raise ReadError(subject, f"{len(found.patients)} patients", "the series of one patient")
        chosen = _choose(subject, found, notes)
        if not chosen:
            raise ReadError(subject, _what(found, notes), "an image series of PT, CT, MR or US")
        channels = {name: read_series(subject, name, series) for name, series in chosen.items()}
    return DicomChannels(channels, found, next(iter(found.patients), ""), tuple(notes))


def _what(found: Scan, notes: Sequence[str]) -> str:
    """What a scan without an image holds, and why its series are none."""
    parts = [s.label for s in found.series]
    parts += [f"{len(found.structures)} RTSTRUCT"] * bool(found.structures)
    parts += [f"{len(found.segmentations)} SEG"] * bool(found.segmentations)
    ignored = [note for note in notes if note.startswith("ignored") and note not in found.notes]
    return "only " + "; ".join([", ".join(parts) or "; ".join(found.notes), *ignored])


def _choose(subject: Path, found: Scan, notes: list[str]) -> dict[str, Series]:
    volumes: dict[str, list[Series]] = {"PT": [], "CT": [], "MR": [], "US": []}
    for series in found.series:
        volumes[series.modality] += volumes_of(series, notes)
    chosen: dict[str, Series] = {}
    if volumes["PT"]:
        chosen["pet"] = choose_pet(subject, volumes["PT"], notes)
    frame = str(chosen["pet"].header.get("FrameOfReferenceUID") or "") if chosen else ""
    if volumes["CT"]:
        chosen["ct"] = choose_ct(subject, volumes["CT"], frame, notes)
    if volumes["US"]:
        if len(volumes["US"]) > 1:
            raise ReadError(
                subject, f"{len(volumes['US'])} ultrasound images", "one image or volume per case"
            )
        chosen["us"] = volumes["US"][0]
    chosen |= _name_mr(keep_original(volumes["MR"], notes) if volumes["MR"] else [])
    return _one_frame(chosen, notes)


def _name_mr(candidates: list[Series]) -> dict[str, Series]:
    """`mr` for one series; `pre`, `post1`, ... for the phases of one; else `mr_` and the description."""
    uids = {s.uid for s in candidates}
    names: dict[str, Series] = {}
    for series in candidates:
        described = re.sub(
            r"[^a-z0-9]+", "_", str(series.header.get("SeriesDescription") or "").lower()
        ).strip("_")
        name = "mr" if len(uids) == 1 else f"mr_{described or series.number}"
        if series.phase is not None:
            phase = "pre" if series.phase == 0 else f"post{series.phase}"
            name = phase if len(uids) == 1 else f"{name}_{phase}"
        names[name if name not in names else f"{name}_{series.number}_{series.uid[-4:]}"] = series
    return names


def _one_frame(chosen: dict[str, Series], notes: list[str]) -> dict[str, Series]:
    """Drop, with a note, channels whose stated frame of reference is not the first channel's."""
    frames = {name: str(s.header.get("FrameOfReferenceUID") or "") for name, s in chosen.items()}
    first = next(iter(frames.values()), "")
    kept = {name: s for name, s in chosen.items() if frames[name] in ("", first) or not first}
    notes += [
        f"ignored {s.label}: in another frame of reference" for name, s in chosen.items() if name not in kept
    ]
    return kept


def read_series(subject: Path, name: str, series: Series) -> Loaded:
    """Sort, check, decode and rescale one chosen series; facts per series and slice."""
    notes: list[str] = []
    if series.modality == "US" and series.slices[0].position is None:
        ordered, geometry, notes = _flat(series.slices[0])
    else:
        ordered, geometry, notes = stack(_subject(subject, series), series.slices)
    if series.modality == "PT":
        _require_slope(ordered)
    if series.modality == "CT" and any(s.slope is None or s.intercept is None for s in ordered):
        notes.append("CT without RescaleSlope or RescaleIntercept: stored values taken as HU")
    volume = Volume(voxels(ordered), geometry, _unit(series))
    files = sorted({s.path for s in series.slices})
    facts = ChannelFacts(
        series.modality,
        tuple(str(f) for f in files),
        sha256_of(files),
        series_facts(ordered[0]),
        tuple(slice_facts(s) for s in ordered),
    )
    stated = ordered[0].header.get("NumberOfSlices")
    if series.modality == "PT" and stated and int(stated) != len(ordered):
        notes.append(f"NumberOfSlices says {stated}, {len(ordered)} are here")
    return Loaded(volume, tuple(f"{name}: {note}" for note in notes), name, facts)


def _subject(subject: Path, series: Series) -> Path:
    """The folder of the series where all its files lie in one."""
    parents = {s.path.parent for s in series.slices}
    if len(series.slices) == 1 or len({s.path for s in series.slices}) == 1:
        return series.slices[0].path
    return parents.pop() if len(parents) == 1 else subject


def _require_slope(slices: Sequence[Slice]) -> None:
    for item in slices:
        if item.slope is None or not item.slope > 0:
            raise ReadError(
                item.path, f"RescaleSlope {item.slope}", "a positive RescaleSlope in each PET slice"
            )


def _unit(series: Series) -> str:
    if series.modality == "CT":
        return HOUNSFIELD
    if series.modality != "PT":
        return STORED
    units, kind = (str(series.slices[0].get(k) or "") for k in ("Units", "SUVType"))
    return SUVBW if units == "GML" and kind in ("", "BW") else PET_UNITS.get(units, STORED)


def _flat(item: Slice) -> tuple[list[Slice], Geometry, list[str]]:
    """A single ultrasound picture: spacing from PixelSpacing or its regions that are calibrated in cm.

    Raises ReadError where these regions differ by more than 1 %, as two views side by side may.
    """
    spacing, notes = item.spacing, []
    if spacing is None:
        sizes = [size for r in item.header.get("SequenceOfUltrasoundRegions") or [] if (size := _size(r))]
        if sizes and not np.allclose(sizes, sizes[0], rtol=0.01, atol=0.0):
            stated = " and ".join(dict.fromkeys(f"{y:.4g} x {x:.4g} mm" for y, x in sizes))
            raise ReadError(
                item.path, f"regions with pixels of {stated}", "one size: crop to the lesion's region"
            )
        spacing = sizes[0] if sizes else None
    if spacing is None:
        spacing, notes = (1.0, 1.0), [UNKNOWN_US_SPACING]
    return [item], Geometry((1, *item.shape), (1.0, *spacing)), notes


def _size(region: Dataset) -> tuple[float, float] | None:
    """The pixel of an ultrasound region in mm (y, x); None unless both of its axes are calibrated in cm."""
    in_cm = region.get("PhysicalUnitsXDirection") == region.get("PhysicalUnitsYDirection") == 3
    if not (in_cm and region.get("PhysicalDeltaX") and region.get("PhysicalDeltaY")):
        return None
    return abs(region.PhysicalDeltaY) * 10.0, abs(region.PhysicalDeltaX) * 10.0
