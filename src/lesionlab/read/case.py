"""A path to a case: which files belong to it, which grid is the reference, which contour is the truth.

File formats belong to the modules beside this one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlab.core.case import AcquisitionFacts, Case
from lesionlab.core.errors import ReadError
from lesionlab.core.volume import Volume
from lesionlab.read.folders import (
    IMAGE_SUFFIXES,
    Named,
    files_below,
    is_image,
    read_files,
    read_name,
    stem_of,
)
from lesionlab.read.loaded import Loaded
from lesionlab.read.masks import Target, read_mask

if TYPE_CHECKING:
    from lesionlab.read.dicom import DicomChannels
    from lesionlab.read.dicom_series import Scan

log = logging.getLogger(__name__)

REFERENCE_ORDER = ("suv", "pet", "pre", "mr", "us", "ct")
"""The first of these that a case has is its reference, unless another is asked for."""
OBSERVERS = "observers"
"""Sub-folder of a case with a mask file for each of several readers, by reader."""


@dataclass(frozen=True, eq=False)
class _Contents:
    """Everything read from a source before truth and reference are settled."""

    channels: dict[str, Loaded]
    masks: tuple[Named, ...]
    scan: Scan | None
    patient_id: str
    notes: tuple[str, ...]


def open_case(
    source: str | Path,
    *,
    truth: str | Path | None = None,
    reference: str | None = None,
    case_id: str | None = None,
) -> Case:
    """Read one patient at one timepoint from a folder or file.

    `truth` is a mask file in any form (otherwise one found beside the images is taken); `reference` names
    the channel whose grid counts (default: the first of suv, pet, pre, mr, us, ct). Masks in a sub-folder
    `observers` are those of several readers, by reader. The id is the folder's or file's name. A truth that
    the folder does not hold stays None. Raises ReadError when there is no usable scan or a choice cannot be
    made, GeometryError for impossible grids.
    """
    path = Path(source)
    if not path.exists():
        raise ReadError(path, "no such file or folder", "a scan")
    name = case_id or stem_of(path.resolve())
    contents = _read(path)
    chosen = _reference(name, contents.channels, reference)
    mask, mask_notes = _truth(path, contents, chosen, None if truth is None else Path(truth))
    notes = (*contents.notes, *(n for c in contents.channels.values() for n in c.notes), *mask_notes)
    notes = tuple(dict.fromkeys(notes))
    for note in notes:
        log.info("%s: %s", name, note)
    channels = {channel: loaded.volume for channel, loaded in contents.channels.items()}
    return Case(
        name,
        contents.patient_id or name,
        channels,
        chosen,
        mask,
        AcquisitionFacts({channel: loaded.facts for channel, loaded in contents.channels.items()}, notes),
        _observers(path / OBSERVERS, _target(contents, chosen)),
    )


def _observers(folder: Path, target: Target) -> dict[str, Volume]:
    if not folder.is_dir():
        return {}
    files: dict[str, Path] = {}
    for file in sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")):
        reader = stem_of(file)
        if not is_image(file) and not _is_dicom(file):
            continue
        if reader in files:
            found = f"two masks of reader {reader}: {files[reader].name} and {file.name}"
            raise ReadError(folder, found, "one mask per reader")
        files[reader] = file
    return {reader: read_mask(file, target)[0] for reader, file in files.items()}


def _is_dicom(path: Path) -> bool:
    from lesionlab.read.dicom_slices import read_header, telling_warnings  # pydicom, slow to import

    with telling_warnings([]):
        return read_header(path) is not None


def _target(contents: _Contents, reference: str) -> Target:
    """Where masks have to go: the grid of the reference."""
    chosen = contents.channels[reference]
    frame = str(chosen.facts.header.get("FrameOfReferenceUID", ""))
    grids = {
        str(c.facts.header.get("SeriesInstanceUID", "")): c.volume.geometry
        for c in contents.channels.values()
    }
    return Target(chosen.volume.geometry, frame, {uid: g for uid, g in grids.items() if uid})


def _read(path: Path) -> _Contents:
    paths = [p for p in files_below(path) if p.parent != path / OBSERVERS] if path.is_dir() else [path]
    if not paths:
        raise ReadError(path, "an empty folder", "the files of a scan")
    root = path if path.is_dir() else path.parent
    named = tuple(read_name(p, root) for p in paths if is_image(p))
    dicom = _read_dicom(path, [p for p in paths if not is_image(p)])
    masks = tuple(n for n in named if n.is_mask)
    if dicom is not None:
        notes = [f"ignored {n.path.name}: DICOM series are the case" for n in named if not n.is_mask]
        return _Contents(dicom.channels, masks, dicom.scan, dicom.patient_id, (*dicom.notes, *notes))
    if path.is_file() and named:
        named, masks = (Named(path, named[0].channel, False),), ()
    if not any(not n.is_mask for n in named):
        found = f"{len(masks)} mask(s) and no image" if masks else _strangers(path, paths)
        raise ReadError(path, found, f"DICOM or a file ending in {', '.join(IMAGE_SUFFIXES)}")
    channels, file_notes = read_files(path, named)
    # Notes of the channels are among these already.
    quiet = {c: Loaded(v.volume, (), v.channel, v.facts) for c, v in channels.items()}
    return _Contents(quiet, masks, None, "", tuple(file_notes))


def _read_dicom(path: Path, others: Sequence[Path]) -> DicomChannels | None:
    if not others:
        return None
    from lesionlab.read.dicom import read_dicom  # pydicom, slow to import; volumes do without

    return read_dicom(path, others)


def _strangers(source: Path, paths: Sequence[Path]) -> str:
    if source.is_file():
        return "a file that is no image"
    if len(paths) == 1:
        return f"no scan in it, only {paths[0].name}"
    return f"{len(paths)} files of which none is an image ({paths[0].name}, ...)"


def _reference(name: str, channels: dict[str, Loaded], wanted: str | None) -> str:
    if wanted is None:
        return next((c for c in REFERENCE_ORDER if c in channels), next(iter(channels)))
    aliases = {"suv": "pet", "pet": "suv"}
    if wanted not in channels and aliases.get(wanted) in channels:
        return aliases[wanted]
    if wanted not in channels:
        raise ReadError(name, f"channels {', '.join(channels)}", f"the reference channel {wanted!r}")
    return wanted


def _truth(
    path: Path, contents: _Contents, reference: str, given: Path | None
) -> tuple[Volume | None, list[str]]:
    if given is None:
        given = _find_truth(path, contents, reference)
        if given is None:
            return None, []
    elif given.is_dir():
        below = files_below(given)
        if len(below) != 1:
            raise ReadError(given, f"{len(below)} files", "one mask file")
        given = below[0]
    mask, notes = read_mask(given, _target(contents, reference))
    return mask, [f"truth from {given.name}", *(f"truth: {note}" for note in notes)]


def _find_truth(path: Path, contents: _Contents, reference: str) -> Path | None:
    """The contour beside the images: drawn on the reference, else of no named channel, else the only one."""
    candidates = [(n.path, n.channel) for n in contents.masks]
    if contents.scan is not None:
        candidates += _dicom_candidates(contents, reference)
    same = "suv" if reference == "pet" else reference
    for wanted in ((reference, same), ("",)):
        preferred = [p for p, channel in candidates if channel in wanted]
        if len(preferred) == 1:
            return preferred[0]
        if preferred:
            raise ReadError(
                path, f"masks {', '.join(p.name for p in preferred)}", "one mask, or truth= naming it"
            )
    if len(candidates) > 1:
        raise ReadError(
            path, f"masks {', '.join(p.name for p, _ in candidates)}", "one mask, or truth= naming it"
        )
    return candidates[0][0] if candidates else None


def _dicom_candidates(contents: _Contents, reference: str) -> list[tuple[Path, str]]:
    """RTSTRUCT and SEG objects with the channel that they were drawn on ("" when they do not say)."""
    scan = contents.scan
    if scan is None:
        return []
    from lesionlab.read.rtstruct import frames_of_reference, referenced_series

    # Phases share a series: what was drawn on it was drawn on the reference, if that is one of them.
    names = sorted(contents.channels, key=lambda name: name == reference)
    by_uid = {str(contents.channels[n].facts.header.get("SeriesInstanceUID")): n for n in names}
    frame = str(contents.channels[reference].facts.header.get("FrameOfReferenceUID", ""))
    found = []
    for path, header in scan.structures:
        stated = frames_of_reference(header)
        if not frame or not stated or frame in stated:
            found.append((path, _drawn_on(referenced_series(header), by_uid)))
    for path, header in scan.segmentations:
        uids = {str(s.get("SeriesInstanceUID")) for s in header.get("ReferencedSeriesSequence") or []}
        if not frame or str(header.get("FrameOfReferenceUID") or frame) == frame:
            found.append((path, _drawn_on(uids, by_uid)))
    return found


def _drawn_on(uids: set[str], by_uid: dict[str, str]) -> str:
    known = sorted({by_uid[uid] for uid in uids if uid in by_uid})
    return known[0] if len(known) == 1 else ("" if not uids else "other")
