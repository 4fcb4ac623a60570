"""Which paths below a folder are cases: patients as folders or files, DICOM or not, in any mixture.

Reads at most one DICOM header per folder. Reading the cases belongs to `case.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lesionlab.core.errors import ReadError
from lesionlab.read.dicom_slices import read_header, telling_warnings
from lesionlab.read.folders import Named, is_image, read_name


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


def _cases(folder: Path) -> list[Path]:
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in entries if p.is_file()]
    folders = [p for p in entries if p.is_dir()]
    named = [read_name(p, folder) for p in files if is_image(p)]
    if any(not n.is_mask for n in named):
        return _flat_cases(folder, named) + [case for sub in folders for case in _cases(sub)] * _many(named)
    if any(_identity(p) for p in files[:8] + files[-1:] if not is_image(p)):
        return [folder]
    marks = {sub: _identities(sub) for sub in folders}
    if _one_study([m for m in marks.values() if m]) and all(
        m or _only_masks(sub) for sub, m in marks.items()
    ):
        return [folder]
    if not any(marks.values()) and _one_set(folder, folders):
        return [folder]
    return [case for sub in folders for case in _cases(sub)]


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
    named = [read_name(p, folder) for sub in folders for p in sub.rglob("*") if p.is_file() and is_image(p)]
    images = [n for n in named if not n.is_mask]
    return (
        len(images) == 1 and len(named) > 1 and len({n.path.relative_to(folder).parts[0] for n in named}) > 1
    )


def _only_masks(folder: Path) -> bool:
    return all(read_name(p, folder.parent).is_mask for p in folder.rglob("*") if p.is_file() and is_image(p))


def _identities(folder: Path) -> list[frozenset[str]]:
    """What each leaf folder of DICOM below says of patient, study and frame; one file read per folder."""
    found = []
    for place in sorted({p.parent for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")}):
        for path in sorted(p for p in place.iterdir() if p.is_file() and not is_image(p))[:8]:
            identity = _identity(path)
            if identity:
                found.append(identity)
                break
    return found


def _identity(path: Path) -> frozenset[str]:
    """Study and frame of reference of a DICOM file, each with the patient; empty for any other file."""
    try:
        with telling_warnings([]):
            header = read_header(path)
    except ReadError:
        return frozenset({str(path)})  # a damaged DICOM file is still a case, which will say so
    if header is None:
        return frozenset()
    patient = str(header.get("PatientID") or "")
    uids = [header.get("StudyInstanceUID"), header.get("FrameOfReferenceUID")]
    uids += [f.get("FrameOfReferenceUID") for f in header.get("ReferencedFrameOfReferenceSequence") or []]
    return frozenset(f"{patient}/{uid}" for uid in uids if uid) or frozenset({str(path)})


def _one_study(groups: Sequence[Sequence[frozenset[str]]]) -> bool:
    """True where all identities hang together through a shared study or frame of reference."""
    identities = [identity for group in groups for identity in group]
    if not identities:
        return False
    joined, rest = set(identities[0]), identities[1:]
    while rest:
        touching = [identity for identity in rest if identity & joined]
        if not touching:
            return False
        joined.update(*touching)
        rest = [identity for identity in rest if not identity & joined]
    return True
