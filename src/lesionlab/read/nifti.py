"""NIfTI (own reader), MHA and NRRD (SimpleITK): one file, one volume, converted to (z, y, x) and LPS.

NIfTI is decoded here because the common readers refuse files whose sform is not exactly orthonormal, and
those are to be repaired, not refused. Which channel a file is belongs to `folders.py`.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import GeometryError, LesionLabError, ReadError
from lesionlab.core.units import STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.loaded import Loaded, require_finite
from lesionlab.read.orthonormal import nearest_orthonormal
from lesionlab.read.stacks import UNKNOWN_SPACING

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES

_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
LONGEST_HEADER = 1 << 16
_SPACING_KEYS = (b"spacings", b"space directions", b"elementspacing", b"elementsize")
_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_LPS = np.diag([-1.0, -1.0, 1.0])


class _Fields(NamedTuple):
    """Where NIfTI-1 and NIfTI-2 keep the same things: byte offset and numpy type."""

    dim: tuple[int, str]
    datatype: tuple[int, str]
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    scale: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    sform: tuple[int, str]


_LAYOUT = {
    348: _Fields((40, "i2"), (70, "i2"), (76, "f4"), (108, "f4"), (112, "f4"), (123, "u1"), (252, "i2"),
                 (256, "f4"), (280, "f4")),
    540: _Fields((16, "i8"), (12, "i2"), (104, "f8"), (168, "i8"), (176, "f8"), (500, "i4"), (344, "i4"),
                 (352, "f8"), (400, "f8")),
}  # fmt: skip


def load_volume(path: Path) -> Volume:
    """Read a NIfTI, MHA or NRRD file as a volume (unit unknown: stored values).

    A 2D image becomes z = 1. Raises ReadError for anything that is not one finite scalar volume, and
    GeometryError for spacing or axes that cannot be.
    """
    return read_volume(Path(path)).volume


def read_volume(path: Path) -> Loaded:
    """As `load_volume`, with notes on repairs."""
    loaded = _read_nifti(path) if path.name.lower().endswith(NIFTI_SUFFIXES) else _read_itk(path)
    require_finite(path, loaded.volume.array)
    return loaded


def _read_nifti(path: Path) -> Loaded:
    raw = _bytes_of(path)
    fields, order = _layout_of(path, raw)

    def values(field: tuple[int, str], count: int) -> NDArray[Any]:
        return np.frombuffer(raw, np.dtype(order + field[1]), count, field[0])

    dim = values(fields.dim, 8).tolist()
    size = _size_of(path, dim)
    pixdim = values(fields.pixdim, 8).astype(float)
    if dim[0] < 3:
        pixdim[3] = pixdim[3] if pixdim[3] > 0 else 1.0
    if not (np.isfinite(pixdim[1:4]).all() and (pixdim[1:4] > 0).all()):
        raise GeometryError(path, f"spacing {pixdim[1:4].tolist()} mm", "three positive spacings")
    array = _voxels(path, raw, values, (fields, size))
    codes = values(fields.codes, 2)
    scale = _TO_MM.get(int(values(fields.units, 1)[0]) & 7, 1.0)
    rotation = values(fields.quaternion, 6).astype(float)
    qform = _qform(rotation, pixdim) if codes[0] > 0 else None
    sform = values(fields.sform, 12).astype(float).reshape(3, 4) if codes[1] > 0 else None
    affine, notes = _choose_affine(sform, qform, pixdim, size)
    geometry, note = _geometry(path, affine * scale, size)
    return Loaded(Volume(array, geometry, STORED), tuple(n for n in (*notes, note) if n))


def _bytes_of(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ReadError(path, "a truncated or damaged gzip stream", "a complete NIfTI file") from None
    except OSError as error:
        raise ReadError(path, error.strerror or str(error), "a readable file") from None


def _layout_of(path: Path, raw: bytes) -> tuple[_Fields, str]:
    for order in "<>":
        length = int(np.frombuffer(raw[:4], order + "i4")[0]) if len(raw) >= 4 else 0
        if length in _LAYOUT and len(raw) >= length:
            return _LAYOUT[length], order
    raise ReadError(path, f"{len(raw)} bytes without a NIfTI header", "a NIfTI-1 or NIfTI-2 file")


def _size_of(path: Path, dim: Sequence[int]) -> tuple[int, int, int]:
    axes = dim[1 : dim[0] + 1] if 2 <= dim[0] <= 7 else ()
    if len(axes) < 2 or min(axes) < 1:
        raise ReadError(path, f"dimensions {list(dim)}", "two or three positive sizes")
    if math.prod(axes[3:]) > 1:
        raise ReadError(path, f"{math.prod(axes[3:])} volumes in one file", "one volume per file")
    nx, ny, nz = (*axes[:3], 1)[:3]
    return nz, ny, nx


def _voxels(path: Path, raw: bytes, values: Any, what: tuple[_Fields, tuple[int, int, int]]) -> NDArray[Any]:
    fields, size = what
    code = int(values(fields.datatype, 1)[0])
    if code not in _TYPES:
        raise ReadError(path, f"NIfTI datatype {code}", "real scalar voxels")
    offset, count = int(values(fields.vox_offset, 1)[0]), math.prod(size)
    if len(raw) - offset < count * int(_TYPES[code][1]):
        raise ReadError(
            path,
            f"{max(len(raw) - offset, 0)} bytes of voxels (truncated file)",
            f"{count * int(_TYPES[code][1])} bytes",
        )
    stored = values((offset, _TYPES[code]), count).reshape(size)
    # most often this is a view of what was read, not a copy
    array: NDArray[Any] = np.require(stored, stored.dtype.newbyteorder("="), "A")
    slope, intercept = values(fields.scale, 2).astype(float).tolist()
    if slope == 0 or not math.isfinite(slope) or (slope, intercept) == (1.0, 0.0):
        return array
    scaled: NDArray[Any] = (array * slope + intercept).astype(np.float32)
    return scaled


def _qform(rotation: NDArray[np.float64], pixdim: NDArray[np.float64]) -> NDArray[np.float64]:
    """RAS affine of the NIfTI quaternion (nifti1.h, method 2)."""
    b, c, d = rotation[:3]
    a = math.sqrt(max(0.0, 1.0 - float(b * b + c * c + d * d)))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
            [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
            [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - c * c - b * b],
        ]
    )
    steps = pixdim[1:4] * (1.0, 1.0, -1.0 if pixdim[0] < 0 else 1.0)
    return np.hstack([turn * steps, rotation[3:6, None]])


def _choose_affine(
    sform: NDArray[np.float64] | None,
    qform: NDArray[np.float64] | None,
    pixdim: NDArray[np.float64],
    size: tuple[int, int, int],
) -> tuple[NDArray[np.float64], list[str]]:
    """The sform where there is one, else the qform, else spacing alone; notes where they disagree."""
    if sform is not None:
        if qform is None:
            return sform, []
        # the first voxel, the last and the ends of the axes, which swapped axes of a cube move alone
        corners = np.vstack([np.zeros(3), np.eye(3), np.ones(3)]) * (np.array(size)[::-1] - 1)
        gap = np.abs(np.hstack([corners, np.ones((5, 1))]) @ (sform - qform).T).max()
        return sform, [f"sform and qform differ by {gap:.3g} mm; sform taken"] if gap > 0.1 else []
    if qform is not None:
        return qform, []
    bare = np.hstack([np.diag(pixdim[1:4]), np.zeros((3, 1))])
    return bare, [
        "neither sform nor qform: position and orientation unknown, axes taken as right-anterior-superior"
    ]


def _geometry(path: Path, ras: NDArray[np.float64], size: tuple[int, int, int]) -> tuple[Geometry, str]:
    lps = _LPS @ ras
    columns = lps[:, 2::-1]
    spacing = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise GeometryError(path, f"spacing {spacing.tolist()} mm", "three positive spacings")
    axes, note = nearest_orthonormal(path, columns / spacing)
    return Geometry(size, tuple(spacing), tuple(lps[:, 3]), tuple(axes.ravel())), note


def _read_itk(path: Path) -> Loaded:
    import SimpleITK as sitk  # slow to import, and NIfTI does without

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip() or "an unreadable file"
        kind: type[LesionLabError] = GeometryError if "spacing" in reason.lower() else ReadError
        raise kind(path, reason, "a complete MHA, MHD or NRRD file with positive spacing") from None
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ReadError(
            path, f"{image.GetNumberOfComponentsPerPixel()} values per voxel", "one value per voxel"
        )
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() == 2:
        image = sitk.JoinSeries([image])
    if image.GetDimension() != 3:
        raise ReadError(path, f"a {image.GetDimension()}D image", "one 2D or 3D volume per file")
    array = sitk.GetArrayFromImage(image)
    columns = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    lengths = np.linalg.norm(columns, axis=0)
    axes, note = nearest_orthonormal(path, columns / np.where(lengths > 0, lengths, 1.0))
    geometry = Geometry(array.shape, image.GetSpacing()[::-1], image.GetOrigin(), tuple(axes.ravel()))
    notes = (note, "" if _states_spacing(path) else UNKNOWN_SPACING)
    return Loaded(Volume(array, geometry, STORED), tuple(n for n in notes if n))


def _states_spacing(path: Path) -> bool:
    """Whether the text header of an NRRD or MHA file states a spacing; else SimpleITK assumes 1 mm."""
    with path.open("rb") as file:
        text = file.read(LONGEST_HEADER)
    for line in re.split(rb"\n\r?\n|ElementDataFile", text)[0].splitlines():
        key, _, value = line.replace(b"=", b":", 1).partition(b":")
        if key.strip().lower() in _SPACING_KEYS:
            return b"nan" not in value.lower() and any(digit in value for digit in b"0123456789")
    return False
