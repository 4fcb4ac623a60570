"""Decoding the pixels of one DICOM file, whatever its transfer syntax, to frames of grey values.

pydicom first; what its plugins cannot decode is tried by SimpleITK (GDCM), which knows JPEG lossless.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut, pixel_array

from lesionlab.core.errors import ReadError
from lesionlab.read.dicom_slices import Slice

log = logging.getLogger(__name__)


def decode(item: Slice) -> tuple[NDArray[Any], bool]:
    """All frames (n, rows, columns) of the slice's file, and True where slope and intercept are applied.

    Colour becomes luminance, of ultrasound a palette's too (brought to 8 bits); elsewhere a palette is a way
    to show numbers that mean something. Raises ReadError for truncated pixels or a transfer syntax that
    nothing here can decode.
    """
    syntax = item.header.file_meta.get("TransferSyntaxUID") if hasattr(item.header, "file_meta") else None
    try:
        dataset = pydicom.dcmread(item.path, force=True)
        if syntax is None:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        if "PixelData" not in dataset:
            raise ReadError(item.path, "no PixelData", "an image with pixels")
        return _frames(dataset, np.asarray(pixel_array(dataset))), False
    except ReadError:
        raise
    except Exception as error:  # each decoder has its own exception types
        log.debug("pydicom cannot decode %s: %s", item.path.name, error)
        if syntax is not None and syntax.is_compressed:
            return _by_itk(item, str(syntax.name))
        raise ReadError(
            item.path,
            f"pixels that cannot be decoded ({type(error).__name__}), a truncated file?",
            "complete pixels",
        ) from None


def _frames(dataset: pydicom.Dataset, array: NDArray[Any]) -> NDArray[Any]:
    colour = int(dataset.get("SamplesPerPixel") or 1) > 1
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR" and dataset.get("Modality") == "US":
        array, colour = apply_color_lut(array, dataset), True
        array = (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
    if colour:
        array = np.rint(array[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(array.dtype)
    return array if array.ndim == 3 else array[None]


def _by_itk(item: Slice, syntax: str) -> tuple[NDArray[Any], bool]:
    """GDCM applies the file's slope and intercept itself, which enhanced files have per frame: refused."""
    try:
        if item.groups:
            raise RuntimeError("multi-frame")
        image = sitk.ReadImage(str(item.path), imageIO="GDCMImageIO")
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise RuntimeError("colour")
    except RuntimeError:
        raise ReadError(
            item.path, f"transfer syntax {syntax}", "a complete file in a transfer syntax that can be decoded"
        ) from None
    return sitk.GetArrayFromImage(image), True
