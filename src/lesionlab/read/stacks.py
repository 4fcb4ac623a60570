"""Arrays, TIFF stacks and pictures: formats that do not carry a medical geometry of their own.

A sidecar (the same name ending in .json) says what the file cannot: spacing_mm (z, y, x), unit, channel,
origin (LPS mm), direction (nine numbers, columns = z, y, x axes). Formats with geometry belong to
`nifti.py` and `dicom*.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import SPACING_UNKNOWN
from lesionlab.core.errors import GeometryError, LesionLabError, ReadError, reason
from lesionlab.core.units import STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.loaded import Loaded, require_finite

if TYPE_CHECKING:
    import tifffile

ARRAY_SUFFIXES = (".npy",)
TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
STACK_SUFFIXES = ARRAY_SUFFIXES + TIFF_SUFFIXES + PICTURE_SUFFIXES
_LISTS = ("spacing_mm", "origin", "direction")
SIDECAR_KEYS = (*_LISTS, "unit", "channel")
COLOUR = "colour turned into luminance"
UNKNOWN_SPACING = f"{SPACING_UNKNOWN}: 1 mm assumed, so lengths, areas and volumes mean pixels"

_Decoded = tuple[NDArray[Any], tuple[float, ...] | None, tuple[str, ...]]
_IMAGEJ_MM = {
    "mm": 1.0,
    "millimeter": 1.0,
    "cm": 10.0,
    "micron": 1e-3,
    "um": 1e-3,
    "µm": 1e-3,
    "\\u00B5m": 1e-3,
}


def read_stack(path: Path, like: Geometry | None = None) -> Loaded:
    """Read .npy, TIFF or a picture; see the module for the sidecar.

    Arrays and multi-page TIFFs without known spacing raise ReadError; a single picture gets 1 mm and a
    note. With `like` (a mask's image), a file that states no spacing takes that grid, which must have
    its shape. Colour becomes luminance. NaN or infinite voxels raise ReadError.
    """
    sidecar = _read_sidecar(path)
    array, spacing, notes = _decode(path)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or not array.size:
        raise ReadError(path, f"an array of shape {array.shape}", "a 2D or 3D image")
    require_finite(path, array)
    if like is not None and spacing is None and "spacing_mm" not in sidecar:
        if array.shape != like.shape:
            raise GeometryError(path, f"shape {array.shape} (z, y, x)", f"the image's shape {like.shape}")
        geometry, note = like, ""
    else:
        geometry, note = _place(path, array.shape, spacing, sidecar)
    volume = Volume(array, geometry, str(sidecar.get("unit", STORED)))
    return Loaded(volume, (*notes, note) if note else notes, str(sidecar.get("channel", "")))


def decoded(path: Path) -> NDArray[Any]:
    """The bare array of a .npy, TIFF or picture; ReadError when it cannot be read."""
    return _decode(path)[0]


def _decode(path: Path) -> _Decoded:
    suffix = path.suffix.lower()
    read = (
        _read_array if suffix in ARRAY_SUFFIXES else _read_tiff if suffix in TIFF_SUFFIXES else _read_picture
    )
    try:
        return read(path)
    except LesionLabError:
        raise
    except Exception as error:  # each decoder has its own exception types
        found = f"{type(error).__name__}: {reason(error)}"
        raise ReadError(path, found, "a complete image file") from None


def sidecar_of(path: Path) -> Path:
    """Where the sidecar of an image file lies."""
    return path.with_suffix(".json")


def _read_sidecar(path: Path) -> dict[str, Any]:
    file = sidecar_of(path)
    if not file.is_file():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(file, f"{type(error).__name__}: {reason(error)}", "a JSON sidecar") from None
    unknown = sorted(set(data) - set(SIDECAR_KEYS)) if isinstance(data, dict) else ["(not a mapping)"]
    if unknown:
        raise ReadError(file, f"unknown key {unknown[0]!r}", f"keys among {', '.join(SIDECAR_KEYS)}")
    for key, value in data.items():
        if not isinstance(value, list if key in _LISTS else str):
            needed = "a list of numbers" if key in _LISTS else "text"
            raise ReadError(file, f"{key} {json.dumps(value)[:60]}", needed)
    return dict(data)


def _place(
    path: Path, shape: tuple[int, ...], spacing: tuple[float, ...] | None, sidecar: dict[str, Any]
) -> tuple[Geometry, str]:
    note = ""
    if "spacing_mm" in sidecar:
        spacing = tuple(sidecar["spacing_mm"])
    if spacing is None and shape[0] == 1 and path.suffix.lower() not in ARRAY_SUFFIXES:
        spacing, note = (1.0, 1.0, 1.0), UNKNOWN_SPACING
    if spacing is None:
        raise ReadError(path, "no voxel spacing", f"spacing_mm (z, y, x) in {sidecar_of(path).name}")
    more = {key: tuple(sidecar[key]) for key in ("origin", "direction") if key in sidecar}
    try:
        return Geometry(shape, spacing, **more), note  # type: ignore[arg-type]
    except (GeometryError, TypeError, ValueError) as error:
        found = error.found if isinstance(error, GeometryError) else str(error)
        raise GeometryError(path, found, "positive spacing and orthonormal axes in the sidecar") from None


def _read_array(path: Path) -> _Decoded:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ReadError(path, f"an array of {getattr(array, 'dtype', type(array).__name__)}", "real numbers")
    return array, None, ()


def _read_tiff(path: Path) -> _Decoded:
    import tifffile  # slow to import, and volumes do without; its TiffFileError is a ValueError

    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise ReadError(path, f"{len(file.series)} image series", "one stack per file")
        series = file.series[0]
        array = series.asarray()
        spacing = _tiff_spacing(file)
    if "S" in series.axes:
        array = np.moveaxis(array, series.axes.index("S"), -1)
        return _luminance(array), spacing, (COLOUR,) * _coloured(array)
    if array.ndim > 3:
        array = array.reshape([n for n in array.shape if n > 1])
    return array, spacing, ()


def _tiff_spacing(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    """Spacing from ImageJ's metadata; plain resolution tags do not say the distance between pages."""
    metadata = file.imagej_metadata or {}
    unit = _IMAGEJ_MM.get(str(metadata.get("unit", "")))
    tags = file.pages[0].tags
    if unit is None or "spacing" not in metadata or "XResolution" not in tags or "YResolution" not in tags:
        return None
    (nx, dx), (ny, dy) = tags["XResolution"].value, tags["YResolution"].value
    return (float(metadata["spacing"]) * unit, unit * dy / ny, unit * dx / nx) if nx and ny else None


def _read_picture(path: Path) -> _Decoded:
    from PIL import Image  # slow to import, and volumes do without

    with Image.open(path) as picture:
        if picture.mode in ("L", "I", "F", "I;16", "I;16B", "1"):
            return np.asarray(picture), None, ()
        coloured = _coloured(np.asarray(picture.convert("RGB")))
        return np.asarray(picture.convert("L")), None, (COLOUR,) * coloured


def _coloured(array: NDArray[Any]) -> bool:
    """True where red, green and blue (the last axis) are not alike everywhere; grey with an alpha is not."""
    return array.shape[-1] > 2 and bool((array[..., :3] != array[..., :1]).any())


def _luminance(array: NDArray[Any]) -> NDArray[Any]:
    """Rec. 601 luma of (..., 3 or 4) colour, the weights that PNG and JPEG readers use; grey of (..., 2)."""
    if array.shape[-1] < 3:
        return array[..., 0]
    luma: NDArray[Any] = np.rint(array[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(array.dtype)
    return luma
