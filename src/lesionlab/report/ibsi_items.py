"""The items of the IBSI reporting checklist: number, section, topic, modality and what an author must add.

Numbers, sections, topics and modalities are those of chapter 4 of the IBSI reference manual (Zwanenburg et
al., arXiv 1612.07003v11, CC BY 4.0); what has to be added is put in our own short words. Answers are made
in `ibsi_scan` and `ibsi_run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

State = Literal["filled", "open", "not applicable"]

SOURCE: Final = "IBSI reference manual, chapter 4 (arXiv 1612.07003v11)"

DYNAMIC: Final = "Dynamic scans"
"""The one entry in the manual's modality column that names a way of scanning."""


class Said(NamedTuple):
    """What is known about an item: its state, and the answer or the reason in words."""

    state: State
    text: str


def filled(text: str) -> Said:
    """The run knows the answer."""
    return Said("filled", text)


def unknown(text: str) -> Said:
    """The run knows a part at most; the text says it, and what is missing."""
    return Said("open", text)


def not_applicable(why: str) -> Said:
    """The item does not concern this run."""
    return Said("not applicable", why)


@dataclass(frozen=True, slots=True)
class Item:
    """One item: `modality` is empty where it concerns every image; `add` says what an author must write."""

    number: str
    section: str
    topic: str
    modality: str
    add: str


PATIENT: Final = "Patient"
ACQUISITION: Final = "Acquisition"
RECONSTRUCTION: Final = "Reconstruction"
REGISTRATION: Final = "Image registration"
CONVERSION: Final = "Image processing: data conversion"
POST: Final = "Image processing: post-acquisition processing"
SEGMENTATION: Final = "Segmentation"
INTERPOLATION: Final = "Image interpolation"
ROI: Final = "ROI interpolation"
RESEGMENTATION: Final = "Re-segmentation"
DISCRETISATION: Final = "Discretisation"
TRANSFORMATION: Final = "Image transformation"
COMPUTATION: Final = "Image biomarker computation"
TEXTURE: Final = "Image biomarker computation: texture parameters"
LEARNING: Final = "Machine learning and radiomics analysis"

ITEMS: Final[tuple[Item, ...]] = (
    Item("1", PATIENT, "Region of interest", "", "which part of the body, organ or tumour is imaged"),
    Item("2a", PATIENT, "Patient preparation", "", "instructions before the scan, such as fasting"),
    Item("2b", PATIENT, "Patient preparation", "", "drugs given before the scan"),
    Item("2c", PATIENT, "Patient preparation", "", "equipment for comfort during the scan"),
    Item("3a", PATIENT, "Radioactive tracer", "PET, SPECT", "the tracer"),
    Item("3b", PATIENT, "Radioactive tracer", "PET, SPECT", "how the tracer was given"),
    Item("3c", PATIENT, "Radioactive tracer", "PET, SPECT", "activity injected"),
    Item("3d", PATIENT, "Radioactive tracer", "PET, SPECT", "time from injection to scan"),
    Item("3e", PATIENT, "Radioactive tracer", "PET, SPECT", "control of competing substances (FDG: glucose)"),
    Item("4a", PATIENT, "Contrast agent", "", "the contrast agent, or that none was given"),
    Item("4b", PATIENT, "Contrast agent", "", "how the contrast agent was given"),
    Item("4c", PATIENT, "Contrast agent", "", "amount of contrast agent"),
    Item("4d", PATIENT, "Contrast agent", "", "time from contrast injection to scan"),
    Item("4e", PATIENT, "Contrast agent", "", "control of substances that compete with the contrast agent"),
    Item("5", PATIENT, "Comorbidities", "", "other diseases that change the image, such as diabetes"),
    Item("6", ACQUISITION, "Acquisition protocol", "", "a standard protocol, if used, and where it is"),
    Item("7", ACQUISITION, "Scanner type", "", "vendor and model of the scanners"),
    Item("8", ACQUISITION, "Imaging modality", "", "the modality"),
    Item("9a", ACQUISITION, "Static/dynamic scans", "", "whether scans are static or dynamic"),
    Item("9b", ACQUISITION, "Static/dynamic scans", DYNAMIC, "duration of each time frame"),
    Item("9c", ACQUISITION, "Static/dynamic scans", DYNAMIC, "how the course over time was modelled"),
    Item("10", ACQUISITION, "Scanner calibration", "", "how and when the scanner was calibrated"),
    Item("11", ACQUISITION, "Patient instructions", "", "instructions during the scan (breath holding)"),
    Item("12", ACQUISITION, "Anatomical motion correction", "", "how motion of the body was dealt with"),
    Item("13", ACQUISITION, "Scan duration", "", "duration of the scan, or per bed position"),
    Item("14", ACQUISITION, "Tube voltage", "CT", "peak voltage of the tube in kV"),
    Item("15", ACQUISITION, "Tube current", "CT", "tube current in mA"),
    Item("16", ACQUISITION, "Time-of-flight", "PET", "whether time of flight was used"),
    Item("17", ACQUISITION, "RF coil", "MRI", "kind and vendor of the receiving coil"),
    Item("18a", ACQUISITION, "Scanning sequence", "MRI", "the sequence"),
    Item("18b", ACQUISITION, "Scanning sequence", "MRI", "the sequence's variant"),
    Item("18c", ACQUISITION, "Scanning sequence", "MRI", "options of the sequence, such as gating"),
    Item("19", ACQUISITION, "Repetition time", "MRI", "repetition time in ms"),
    Item("20", ACQUISITION, "Echo time", "MRI", "echo time in ms"),
    Item("21", ACQUISITION, "Echo train length", "MRI", "k-space lines per excitation"),
    Item("22", ACQUISITION, "Inversion time", "MRI", "inversion time in ms, or that none was used"),
    Item("23", ACQUISITION, "Flip angle", "MRI", "flip angle"),
    Item("24", ACQUISITION, "Acquisition type", "MRI", "2D or 3D acquisition"),
    Item("25", ACQUISITION, "k-space traversal", "MRI", "trajectory through k-space"),
    Item("26", ACQUISITION, "Number of averages/excitations", "MRI", "number of averages"),
    Item("27", ACQUISITION, "Magnetic field strength", "MRI", "nominal field strength"),
    Item("28", RECONSTRUCTION, "In-plane resolution", "", "pixel spacing, or field of view and matrix"),
    Item("29", RECONSTRUCTION, "Image slice thickness", "", "slice thickness"),
    Item("30", RECONSTRUCTION, "Image slice spacing", "", "distance between slices"),
    Item("31a", RECONSTRUCTION, "Convolution kernel", "CT", "reconstruction kernel"),
    Item("31b", RECONSTRUCTION, "Convolution kernel", "CT", "settings of iterative reconstruction, if used"),
    Item("31c", RECONSTRUCTION, "Exposure", "CT", "exposure in mAs of the slices with the region"),
    Item("32a", RECONSTRUCTION, "Reconstruction method", "PET", "reconstruction method"),
    Item("32b", RECONSTRUCTION, "Reconstruction method", "PET", "iterations, if iterative"),
    Item("32c", RECONSTRUCTION, "Reconstruction method", "PET", "subsets, if iterative"),
    Item(
        "33",
        RECONSTRUCTION,
        "Point spread function modelling",
        "PET",
        "whether it was modelled",
    ),
    Item("34a", RECONSTRUCTION, "Image corrections", "PET", "attenuation correction"),
    Item("34b", RECONSTRUCTION, "Image corrections", "PET", "scatter, randoms and other corrections"),
    Item("35a", RECONSTRUCTION, "Reconstruction method", "MRI", "reconstruction from k-space"),
    Item("35b", RECONSTRUCTION, "Reconstruction method", "MRI", "how undersampling artefacts were reduced"),
    Item("36", RECONSTRUCTION, "Diffusion-weighted imaging", "DWI-MRI", "b-values, if diffusion-weighted"),
    Item("37", REGISTRATION, "Registration method", "", "how images of different modalities were registered"),
    Item("38", CONVERSION, "SUV normalisation", "PET", "which SUV"),
    Item("39", CONVERSION, "ADC computation", "DWI-MRI", "how ADC was computed, if diffusion-weighted"),
    Item("40", CONVERSION, "Other data conversions", "", "other conversions, such as perfusion maps"),
    Item("41", POST, "Anti-aliasing", "", "how aliasing was avoided where voxels became larger"),
    Item("42", POST, "Noise suppression", "", "noise filters"),
    Item("43", POST, "Post-reconstruction smoothing filter", "PET", "width (FWHM) of the smoothing filter"),
    Item("44", POST, "Skull stripping", "MRI (brain)", "how the skull was removed, if it was"),
    Item("45", POST, "Non-uniformity correction", "MRI", "correction of the field's non-uniformity"),
    Item("46", POST, "Intensity normalisation", "", "how intensities were normalised"),
    Item("47", POST, "Other post-acquisition processing methods", "", "any other processing of the image"),
    Item("48a", SEGMENTATION, "Segmentation method", "", "how the regions were drawn"),
    Item("48b", SEGMENTATION, "Segmentation method", "", "readers: number, experience, consensus"),
    Item("48c", SEGMENTATION, "Segmentation method", "", "settings of automatic segmentation, if used"),
    Item("48d", SEGMENTATION, "Segmentation method", "", "on which of several images the regions were drawn"),
    Item(
        "49",
        SEGMENTATION,
        "Conversion to mask",
        "",
        "how contours or meshes became voxels",
    ),
    Item("50a", INTERPOLATION, "Interpolation method", "", "image interpolation"),
    Item("50b", INTERPOLATION, "Interpolation method", "", "position of the new grid"),
    Item("50c", INTERPOLATION, "Interpolation method", "", "size of the new grid"),
    Item("50d", INTERPOLATION, "Interpolation method", "", "values beyond the image's edge"),
    Item("51", INTERPOLATION, "Voxel dimensions", "", "voxel size after interpolation"),
    Item("52", INTERPOLATION, "Intensity rounding", "CT", "rounding of HU after interpolation"),
    Item("53", ROI, "Interpolation method", "", "interpolation of the region's mask"),
    Item("54", ROI, "Partially masked voxels", "", "from which share a voxel belongs to the region"),
    Item("55", RESEGMENTATION, "Re-segmentation methods", "", "re-segmentation"),
    Item("56a", DISCRETISATION, "Discretisation method", "", "how grey levels were made"),
    Item("56b", DISCRETISATION, "Discretisation method", "", "number or size of bins"),
    Item(
        "56c",
        DISCRETISATION,
        "Discretisation method",
        "",
        "lower edge of the first bin",
    ),
    Item("57", TRANSFORMATION, "Image filter", "", "filters of the image"),
    Item("58", COMPUTATION, "Biomarker set", "", "which features, and where they are defined"),
    Item("59", COMPUTATION, "IBSI compliance", "", "whether the software meets the IBSI benchmarks"),
    Item("60", COMPUTATION, "Robustness", "", "how robustness of the features was examined"),
    Item("61", COMPUTATION, "Software availability", "", "software and version"),
    Item("62", TEXTURE, "Texture matrix aggregation", "", "how matrices were combined"),
    Item("63", TEXTURE, "Distance weighting", "", "weights by distance"),
    Item("64", TEXTURE, "CM symmetry", "", "symmetry of the co-occurrence matrix"),
    Item("65", TEXTURE, "CM distance", "", "distance of co-occurrence"),
    Item("66", TEXTURE, "SZM linkage distance", "", "which voxels form a zone"),
    Item("67", TEXTURE, "DZM linkage distance", "", "which voxels form a zone"),
    Item("68", TEXTURE, "DZM zone distance norm", "", "norm of a zone's distance to the border"),
    Item("69", TEXTURE, "NGTDM distance", "", "neighbourhood"),
    Item("70", TEXTURE, "NGLDM distance", "", "neighbourhood"),
    Item("71", TEXTURE, "NGLDM coarseness", "", "coarseness parameter"),
    Item("72", LEARNING, "Diagnostic and prognostic modelling", "", "the model, reported as TRIPOD asks"),
    Item("73", LEARNING, "Comparison with known factors", "", "comparison with known clinical factors"),
    Item("74", LEARNING, "Multicollinearity", "", "correlation between the features of the signature"),
    Item("75", LEARNING, "Model availability", "", "where the model and its preprocessing can be found"),
    Item("76", LEARNING, "Data availability", "", "where images and their data can be found"),
)
