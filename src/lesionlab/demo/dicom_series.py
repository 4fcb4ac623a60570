"""Writes small, true DICOM series (PT, CT, MR) from volumes; the demo's scanner and the tests'.

Everything follows from the volume and the study's facts: UIDs are derived from a seed, so the same call
writes the same files. Contours are written by `dicom_contours.py`. No image synthesis belongs here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from lesionlab.core.units import ACTIVITY, SUVBW
from lesionlab.core.volume import Geometry, Volume

LARGEST_STORED = 32767


@dataclass(frozen=True)
class StudyFacts:
    """Patient, injection and timing of one synthetic study.

    `dose_bq` is the activity at `injected`; scanning starts `uptake_s` later and takes `frame_s` for each
    of `beds` equal axial blocks; activities are decay-corrected to the start (DICOM START).
    """

    patient_id: str = "PHANTOM-001"
    seed: int = 0
    weight_kg: float = 70.0
    height_m: float = 1.75
    sex: Literal["F", "M", "O"] = "F"
    dose_bq: float = 3.5e8
    half_life_s: float = 6586.2
    injected: datetime = datetime(2024, 1, 2, 8, 30)
    uptake_s: float = 3600.0
    frame_s: float = 120.0
    beds: int = 1

    @property
    def started(self) -> datetime:
        """When scanning starts, the time that activities are corrected to."""
        return self.injected + timedelta(seconds=self.uptake_s)

    @property
    def suv_per_bq_ml(self) -> float:
        """SUVbw of 1 Bq/ml at the start of the scan: weight in g over the dose left in the patient."""
        left_bq = self.dose_bq * math.exp(-math.log(2) * self.uptake_s / self.half_life_s)
        return self.weight_kg * 1000.0 / left_bq

    def uid(self, *parts: object) -> str:
        """A UID that depends on seed, patient and the given parts alone."""
        return str(generate_uid(entropy_srcs=[str(self.seed), self.patient_id, *map(str, parts)]))

    @property
    def frame_of_reference(self) -> str:
        """The one frame of reference of all series of this study."""
        return self.uid("frame of reference")


def write_pet_series(
    folder: Path, volume: Volume, study: StudyFacts, *, units: Literal["BQML", "GML"] = "BQML"
) -> list[Path]:
    """Write a PT series with one rescale slope per slice; returns the files in array order.

    `volume` holds SUVbw or Bq/ml at the start of the scan, nothing negative below -32768 slopes; it is
    converted to `units`. Values come back within half a slope, that is 1/65534 of the slice's maximum.
    Raises ValueError for a volume of another unit.
    """
    if volume.unit not in (SUVBW, ACTIVITY):
        raise ValueError(f"a PET volume is in {SUVBW} or {ACTIVITY}, not {volume.unit}")
    wanted = ACTIVITY if units == "BQML" else SUVBW
    to_suv = study.suv_per_bq_ml
    factor = 1.0 if volume.unit == wanted else (1.0 / to_suv if wanted == ACTIVITY else to_suv)
    values = volume.array.astype(np.float64) * factor

    def describe(header: Dataset, index: int) -> None:
        _describe_pet(header, study, units)
        _describe_frame(header, study, index, len(values))

    return _write(folder, Volume(values, volume.geometry, wanted), study, ("PT", _slope_of_slice, describe))


def write_ct_series(folder: Path, volume: Volume, study: StudyFacts) -> list[Path]:
    """Write a CT series in whole HU (intercept -1024); returns the files in array order."""

    def describe(header: Dataset, index: int) -> None:
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.KVP = "120"
        header.RescaleType = "HU"

    return _write(folder, volume, study, ("CT", lambda _: (1.0, -1024.0), describe))


def write_mr_series(folder: Path, volume: Volume, study: StudyFacts) -> list[Path]:
    """Write an MR series in whole grey levels, without rescale attributes; files in array order."""

    def describe(header: Dataset, index: int) -> None:
        header.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        header.ScanningSequence = "GR"
        header.SequenceVariant = "NONE"
        header.MRAcquisitionType = "3D"
        header.EchoTime = "2.0"
        header.RepetitionTime = "6.0"
        del header.RescaleSlope, header.RescaleIntercept

    return _write(folder, volume, study, ("MR", lambda _: (1.0, 0.0), describe))


_SOP_CLASS = {
    "PT": PositronEmissionTomographyImageStorage,
    "CT": CTImageStorage,
    "MR": MRImageStorage,
}
_Kind = tuple[
    str,
    Callable[[NDArray[np.float64]], tuple[float, float]],
    Callable[[Dataset, int], None],
]


def study_header(study: StudyFacts, modality: str, sop_class: str, name: object = "") -> Dataset:
    """Patient, study and series attributes; `name` tells two objects of one modality apart."""
    header = Dataset()
    header.SOPClassUID = sop_class
    header.StudyInstanceUID = study.uid("study")
    header.SeriesInstanceUID = study.uid("series", modality, name)
    header.FrameOfReferenceUID = study.frame_of_reference
    header.PatientID = study.patient_id
    header.PatientName = f"Phantom^{study.patient_id}"
    header.PatientBirthDate = "19700101"
    header.PatientSex = study.sex
    header.PatientWeight = decimal(study.weight_kg)
    header.PatientSize = decimal(study.height_m)
    header.Modality = modality
    header.Manufacturer = "LesionLab phantom"
    header.StudyID = "1"
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.SeriesNumber = {"CT": 2, "PT": 3, "MR": 4}.get(modality, 9)
    header.PositionReferenceIndicator = ""
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(header, f"{kind}Date", study.started.strftime("%Y%m%d"))
        setattr(header, f"{kind}Time", _time(study.started))
    return header


def save(header: Dataset, path: Path) -> None:
    """Write a dataset as a DICOM file, explicit little endian."""
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)


def decimal(value: float) -> str:
    """A number as DICOM decimal string, at most 16 characters."""
    return str(format_number_as_ds(float(value)))


def _write(folder: Path, volume: Volume, study: StudyFacts, kind: _Kind) -> list[Path]:
    modality, rescale, describe = kind
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index, values in enumerate(volume.array.astype(np.float64)):
        header = study_header(study, modality, _SOP_CLASS[modality])
        header.SOPInstanceUID = study.uid("slice", modality, index)
        header.InstanceNumber = index + 1
        slope, intercept = rescale(values)
        _place(header, volume.geometry, index)
        _store(header, values, slope, intercept)
        describe(header, index)
        files.append(folder / f"{modality.lower()}_{index:04d}.dcm")
        save(header, files[-1])
    return files


def _place(header: Dataset, geometry: Geometry, index: int) -> None:
    matrix = geometry.matrix
    header.ImagePositionPatient = [decimal(v) for v in geometry.to_world((index, 0, 0))]
    header.ImageOrientationPatient = [decimal(v) for v in (*matrix[:, 2], *matrix[:, 1])]
    header.PixelSpacing = [decimal(v) for v in geometry.spacing[1:]]
    header.SliceThickness = decimal(geometry.spacing[0])
    header.SpacingBetweenSlices = decimal(geometry.spacing[0])


def _store(header: Dataset, values: NDArray[np.float64], slope: float, intercept: float) -> None:
    stored = np.clip(np.rint((values - intercept) / slope), -LARGEST_STORED - 1, LARGEST_STORED)
    header.RescaleSlope = decimal(slope)
    header.RescaleIntercept = decimal(intercept)
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows, header.Columns = values.shape
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = 1
    header.PixelData = stored.astype("<i2").tobytes()


def _slope_of_slice(values: NDArray[np.float64]) -> tuple[float, float]:
    """The smallest slope that holds the slice, as a DICOM decimal string can say it."""
    peak = float(np.abs(values).max())
    slope = float(decimal(peak / LARGEST_STORED)) if peak > 0 else 1.0
    return slope, 0.0


def _describe_pet(header: Dataset, study: StudyFacts, units: str) -> None:
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    header.SeriesType = ["WHOLE BODY" if study.beds > 1 else "STATIC", "IMAGE"]
    header.Units = units
    if units == "GML":
        header.SUVType = "BW"
    header.CountsSource = "EMISSION"
    header.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"]
    header.DecayCorrection = "START"
    header.AttenuationCorrectionMethod = "CT"
    tracer = Dataset()
    tracer.Radiopharmaceutical = "Fluorodeoxyglucose"
    tracer.RadionuclideTotalDose = decimal(study.dose_bq)
    tracer.RadionuclideHalfLife = decimal(study.half_life_s)
    tracer.RadionuclidePositronFraction = "0.97"
    tracer.RadiopharmaceuticalStartDateTime = study.injected.strftime("%Y%m%d%H%M%S.%f")
    tracer.RadiopharmaceuticalStartTime = _time(study.injected)
    nuclide = Dataset()
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    tracer.RadionuclideCodeSequence = Sequence([nuclide])
    header.RadiopharmaceuticalInformationSequence = Sequence([tracer])


def _describe_frame(header: Dataset, study: StudyFacts, index: int, slices: int) -> None:
    """Times of the bed position that the slice belongs to, as a scanner that corrects to START says it."""
    before_s = (index * study.beds // slices) * study.frame_s
    acquired = study.started + timedelta(seconds=before_s)
    decay = math.log(2) / study.half_life_s
    average_s = math.log(decay * study.frame_s / -math.expm1(-decay * study.frame_s)) / decay
    header.AcquisitionDate = acquired.strftime("%Y%m%d")
    header.AcquisitionTime = _time(acquired)
    header.ActualFrameDuration = round(study.frame_s * 1000)
    header.FrameReferenceTime = decimal((before_s + average_s) * 1000.0)
    header.DecayFactor = decimal(math.exp(decay * (before_s + average_s)))
    header.NumberOfSlices = slices
    header.ImageIndex = index + 1


def _time(moment: datetime) -> str:
    return moment.strftime("%H%M%S.%f")
