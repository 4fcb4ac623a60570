"""Volumes as files for other programs: the only place where our geometry is turned into SimpleITK's.

Reading files back belongs to `read/`; DICOM objects to modules of their own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lesionlab.core.errors import WriteError
from lesionlab.core.files import writing
from lesionlab.core.volume import Volume

INTEGERS = (np.uint8, np.uint16, np.int16, np.int32)
"""Types that a NIfTI file may hold for integer voxels, the smallest first."""


SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd")
"""What volumes are written as: one file that keeps the geometry."""


def require_volume_name(path: Path) -> Path:
    """The path of a volume that is to be written; WriteError unless it ends as one that is written here."""
    if not path.name.endswith(SUFFIXES):
        found = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        raise WriteError(path, found, f"a file name ending in {', '.join(SUFFIXES)}")
    return path


def save_volume(volume: Volume, path: Path) -> Path:
    """Write a volume as NIfTI (or MHA or NRRD, by its suffix), through a temporary name.

    Booleans and integers (masks, lesion numbers, CT) take the smallest of uint8, uint16, int16 and int32
    that holds them; everything else becomes float32. The file states mm and, through SimpleITK, the same
    patient position as `volume.geometry`. An all-zero mask is written as such. Raises WriteError when the
    place cannot be written, the disk is full or the suffix is none of `SUFFIXES`.
    """
    path = require_volume_name(Path(path))
    with writing(path) as temporary:
        try:
            sitk.WriteImage(to_image(volume), str(temporary), useCompression=True)
            # ITK's NIfTI writer does not look at what the operating system answered: a full disk would
            # leave a truncated file behind and no error.
            whole = _whole(temporary, volume)
        except RuntimeError as error:
            raise WriteError(path, _reason(error), "a writable place") from error
        if not whole:
            raise WriteError(path, "a truncated file after writing", "enough space on the disk")
    return path


def to_image(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image: axes (x, y, z), world LPS in mm, voxels in a type fit for files."""
    geometry = volume.geometry
    image = sitk.GetImageFromArray(np.ascontiguousarray(_storable(volume.array)))
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.matrix[:, ::-1].ravel().tolist())
    return image


def _storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype.kind not in "biu":
        return array.astype(np.float32)
    low, high = int(array.min()), int(array.max())
    for kind in INTEGERS:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array.astype(np.float32)


def _whole(path: Path, volume: Volume) -> bool:
    """Whether the file's voxels can be read back to the end and are the ones meant."""
    image = sitk.ReadImage(str(path))  # must outlive the view of its voxels
    read = sitk.GetArrayViewFromImage(image)
    meant = _storable(volume.array)
    same = read == meant
    if meant.dtype.kind == "f":
        same |= ~np.isfinite(meant)  # ITK reads NaN and infinities in a NIfTI file as 0
    return bool(same.all())


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else "an unknown failure of the writer"
