"""Which paths below a folder are cases: patients as folders or files, DICOM or not, in any mixture.

Reads at most one DICOM header per folder. Reading the cases belongs to `case.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionlab.core.errors import ReadError
from lesionlab.read.folders import Named, files_below, is_image, read_name


def find_cases(root: str | Path) -> list[Path]:
    """The root itself if it is one case, else the paths below it that are cases, sorted.

    One case is: a file; a folder with DICOM files in it, or whose sub-folders belong to one study or frame
    of reference; a folder whose image files name different channels. Several images that name no
    channel are a case each. A folder without images gives an empty list; a missing one ReadError.
    """
    path = Path(root)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ReadError(path, "no such file or folder", "a scan or a folder of scans")
    return sorted(_cases(path))


def is_dicom_scan(folder: Path) -> bool:
    """True for a folder that is one case and holds DICOM images, not segmentations or contours alone."""
    if not folder.is_dir() or find_cases(folder) != [folder]:
        return False
    marks = (_mark(path) for path in files_below(folder) if not is_image(path))
    return any(mark is not None and mark.modality for mark in marks)


def _cases(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """The cases in a folder; `above` are the folders around it, so that a link to one of them ends there."""
    around = above | {folder.resolve()}
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in entries if p.is_file()]
    folders = [p for p in entries if p.is_dir() and p.resolve() not in around]
    named = [read_name(p, folder) for p in files if is_image(p)]
    if any(not n.is_mask for n in named):
        below = [case for sub in folders for case in _cases(sub, around)] if _many(named) else []
        return _flat_cases(folder, named) + below
    if any(_mark(p) for p in files if not is_image(p)):
        return [folder]
    marks = {sub: _marks(sub) for sub in folders}
    if _one_study([m for m in marks.values() if m]) and all(
        m or _only_masks(sub) for sub, m in marks.items()
    ):
        return [folder]
    if not any(marks.values()) and _one_set(folder, folders):
        return [folder]
    return [case for sub in folders for case in _cases(sub, around)]


def _many(named: Sequence[Named]) -> bool:
    """True where the images of a folder are a case each, so that its sub-folders may hold more."""
    images = [n for n in named if not n.is_mask]
    return len(images) > 1 and not all(n.channel for n in images)


def _flat_cases(folder: Path, named: Sequence[Named]) -> list[Path]:
    images = [n for n in named if not n.is_mask]
    channels = [n.channel for n in images]
    if len(images) == 1 or (all(channels) and len(set(channels)) == len(channels)):
        return [folder]
    return [n.path for n in images]


def _one_set(folder: Path, folders: Sequence[Path]) -> bool:
    """Image and mask in sub-folders of one case: one image below, a mask in another folder."""
    named = [read_name(p, folder) for sub in folders for p in files_below(sub) if is_image(p)]
    images = [n for n in named if not n.is_mask]
    return (
        len(images) == 1 and len(named) > 1 and len({n.path.relative_to(folder).parts[0] for n in named}) > 1
    )


def _only_masks(folder: Path) -> bool:
    return all(read_name(p, folder.parent).is_mask for p in files_below(folder) if is_image(p))


@dataclass(frozen=True)
class _Mark:
    """What one leaf folder of DICOM says: image modality ("" for contours), depth, and who and when it is."""

    modality: str
    depth: int
    identity: frozenset[str]


def _marks(folder: Path) -> list[_Mark]:
    """One mark per leaf folder of DICOM below, from one file each."""
    found = []
    for place in sorted({p.parent for p in files_below(folder)}):
        for path in sorted(p for p in place.iterdir() if p.is_file() and not is_image(p)):
            mark = _mark(path, len(place.relative_to(folder).parts))
            if mark is not None:
                found.append(mark)
                break
    return found


def _mark(path: Path, depth: int = 0) -> _Mark | None:
    """Study and frame of reference of a DICOM file, each with the patient; None for any other file."""
    from lesionlab.read.dicom_slices import read_header, telling_warnings  # pydicom, slow to import

    alone = frozenset({str(path)})
    try:
        with telling_warnings([]):
            header = read_header(path)
    except ReadError:
        return _Mark("", depth, alone)  # a damaged DICOM file is still a case, which will say so
    if header is None:
        return None
    patient = str(header.get("PatientID") or "")
    uids = [header.get("StudyInstanceUID"), header.get("FrameOfReferenceUID")]
    uids += [f.get("FrameOfReferenceUID") for f in header.get("ReferencedFrameOfReferenceSequence") or []]
    modality = (
        str(header.get("Modality") or "") if "Rows" in header and header.get("Modality") != "SEG" else ""
    )
    return _Mark(modality, depth, frozenset(f"{patient}/{uid}" for uid in uids if uid) or alone)


def _split_by_folder(groups: Sequence[Sequence[_Mark]]) -> bool:
    """True where several sub-folders have sub-folders with images of one modality: a patient each."""
    nested = [{m.modality for m in group if m.depth > 0 and m.modality} for group in groups]
    nested = [modalities for modalities in nested if modalities]
    return len(nested) > 1 and bool(set.intersection(*nested))


def _one_study(groups: Sequence[Sequence[_Mark]]) -> bool:
    """True where all identities hang together through a shared study or frame of reference."""
    identities = [mark.identity for group in groups for mark in group]
    if not identities or _split_by_folder(groups):
        return False
    joined, rest = set(identities[0]), identities[1:]
    while rest:
        touching = [identity for identity in rest if identity & joined]
        if not touching:
            return False
        joined.update(*touching)
        rest = [identity for identity in rest if not identity & joined]
    return True
