"""The PET series of a source and nothing else: no other channel is decoded, no contour looked for.

For work that concerns the PET header alone; a whole case is read by `case.py`.
"""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.case import AcquisitionFacts, Case
from lesionlab.core.errors import ReadError
from lesionlab.read.dicom import read_series
from lesionlab.read.dicom_series import choose_pet, scan, volumes_of
from lesionlab.read.dicom_slices import telling_warnings
from lesionlab.read.folders import files_below, is_image, stem_of


def open_pet(source: str | Path) -> Case:
    """The PET series below a folder (or in a file) as a case with the one channel `pet`, as stored.

    Raises ReadError when there is none, when there are several patients, or series that cannot be told
    apart; GeometryError for gaps, duplicates and mixed slices.
    """
    path = Path(source)
    if not path.exists():
        raise ReadError(path, "no such file or folder", "a PET series as DICOM")
    notes: list[str] = []
    with telling_warnings(notes):
        found = scan(p for p in (files_below(path) if path.is_dir() else [path]) if not is_image(p))
        series = [s for s in found.series if s.modality == "PT"]
        candidates = [volume for s in series for volume in volumes_of(s, notes)]
        if not candidates:
            others = ", ".join(s.label for s in found.series) or "no DICOM images"
            raise ReadError(path, others, "a PET series as DICOM")
        if len(found.patients) > 1:
            raise ReadError(path, f"{len(found.patients)} patients", "the series of one patient")
        loaded = read_series(path, "pet", choose_pet(path, candidates, notes))
    name = stem_of(path.resolve())
    facts = AcquisitionFacts({"pet": loaded.facts}, tuple(dict.fromkeys((*notes, *loaded.notes))))
    return Case(name, found.patients[0] or name, {"pet": loaded.volume}, "pet", None, facts)
