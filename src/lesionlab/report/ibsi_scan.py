"""What the scan's headers say about the IBSI checklist's items: patient, acquisition, reconstruction, SUV.

Answers come from the case's facts alone (DICOM keywords, see `read/dicom_facts.py`) and name the attribute
that they come from. What the recipe decides is in `ibsi_run`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lesionlab.core.case import Case, ChannelFacts
from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Volume
from lesionlab.report.ibsi_items import Said, filled, not_applicable, unknown

MODALITIES: Final[Mapping[str, str]] = {"PT": "PET", "CT": "CT", "MR": "MRI", "US": "US", "NM": "SPECT"}
NAMES: Final = (("suv", "PET"), ("pet", "PET"), ("ct", "CT"), ("us", "US"), ("mr", "MRI"))
PHASE: Final = re.compile(r"(?:.*_)?(?:pre|post\d+)")
"""Names of the channels of a DCE series."""
MEGABECQUEREL_BELOW: Final = 1e5
"""Activities are about 4e8 Bq; smaller numbers than this can only be MBq (as for SUV)."""
NAMING: Final = re.compile(r"(\d+)i(\d+)s")
"""How reconstructions state iterations and subsets in their name, such as 3i21s."""

Words = Callable[["Channel"], str]


@dataclass(frozen=True, eq=False)
class Channel:
    """One image of the case with what is known about it; `modality` as the manual writes it, or ""."""

    name: str
    volume: Volume
    facts: ChannelFacts
    is_reference: bool

    @property
    def modality(self) -> str:
        """From the header, else from the unit, else from the channel's name; "" when none tells."""
        if self.facts.modality in MODALITIES:
            return MODALITIES[self.facts.modality]
        if self.volume.unit == SUVBW:
            return "PET"
        if self.volume.unit == HOUNSFIELD:
            return "CT"
        if PHASE.fullmatch(self.name):
            return "MRI"
        return next((m for name, m in NAMES if self.name == name or self.name.startswith(f"{name}_")), "")

    def get(self, keyword: str) -> str:
        """A header's value as text; numbers without needless digits, several with commas, "" when absent."""
        return words(self.facts.header.get(keyword, ""))

    def over_slices(self, keyword: str) -> str:
        """An attribute that may differ by slice: its value, or the smallest and the largest; else ""."""
        found = [float(s[keyword]) for s in self.facts.slices if isinstance(s.get(keyword), float)]
        if not found:
            return self.get(keyword)
        low, high = min(found), max(found)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def words(value: Any) -> str:
    """A header value as text."""
    if isinstance(value, tuple | list):
        return ", ".join(words(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value).strip()


def channels_of(case: Case) -> tuple[Channel, ...]:
    """The case's images in their order."""
    known = case.facts.channels
    return tuple(
        Channel(name, volume, known.get(name, ChannelFacts()), name == case.reference)
        for name, volume in case.channels.items()
    )


def together(channels: Sequence[Channel], say: Words) -> tuple[str, bool]:
    """One text for several images, by name where they differ, and whether every image has its words."""
    said = {channel.name: say(channel) for channel in channels}
    kinds = list(dict.fromkeys(said.values()))
    complete = bool(said) and "" not in kinds
    if not any(kinds):
        return "", False
    if len(kinds) == 1:
        return kinds[0], complete
    parts = [
        f"{', '.join(name for name, text in said.items() if text == kind)}: {kind or 'not stated'}"
        for kind in kinds
    ]
    return "; ".join(parts), complete


def attribute(keyword: str, unit: str = "") -> Words:
    """Words that quote one attribute with its unit, or "" where it is absent."""

    def say(channel: Channel) -> str:
        value = channel.over_slices(keyword)
        return f"{value}{f' {unit}' if unit else ''} ({keyword})" if value else ""

    return say


def tracer(channel: Channel) -> str:
    """Item 3a: the tracer and its nuclide."""
    name, nuclide = channel.get("Radiopharmaceutical"), channel.get("RadionuclideCodeMeaning")
    nuclide = nuclide.replace("^", "")
    if not name:
        return f"{nuclide} (RadionuclideCodeSequence)" if nuclide else ""
    return f"{name}{f', {nuclide}' if nuclide else ''} (Radiopharmaceutical)"


def administration(channel: Channel) -> str:
    """Item 3b: route and volume."""
    route, volume = channel.get("RadiopharmaceuticalRoute"), channel.get("RadiopharmaceuticalVolume")
    if not route:
        return ""
    return f"{route} (RadiopharmaceuticalRoute){f', {volume} ml' if volume else ''}"


def activity(channel: Channel) -> str:
    """Item 3c: the injected activity in MBq."""
    value = channel.facts.header.get("RadionuclideTotalDose")
    if not isinstance(value, float) or value <= 0:
        return ""
    if value < MEGABECQUEREL_BELOW:
        return f"{value:.6g} MBq (RadionuclideTotalDose, taken as MBq)"
    return f"{value / 1e6:.6g} MBq (RadionuclideTotalDose)"


def uptake(channel: Channel) -> str:
    """Item 3d: minutes from the injection to the first slice's acquisition; by the clock if days are unclear.

    Headers of anonymised files often hold shifted dates, so a difference of dates counts only where it is
    positive and no more than thirty days.
    """
    header = channel.facts.header
    injected, began = _injected(header), _began(channel)
    if injected is None or began is None:
        return ""
    (start, has_day), keyword = injected
    acquired, acquired_day = began
    passed = acquired - start
    source = f"{keyword} to the first AcquisitionTime of the slices read"
    if not (has_day and acquired_day and timedelta(0) < passed <= timedelta(days=30)):
        passed = timedelta(seconds=passed.total_seconds() % 86400)
        source += ", by the clock"
    if passed <= timedelta(0):
        return ""
    return f"{passed.total_seconds() / 60:.1f} min ({source})"


def _injected(header: Mapping[str, Any]) -> tuple[tuple[datetime, bool], str] | None:
    whole = _moment("", str(header.get("RadiopharmaceuticalStartDateTime", "")))
    if whole is not None and whole[1]:
        return whole, "RadiopharmaceuticalStartDateTime"
    clock = _moment("", str(header.get("RadiopharmaceuticalStartTime", "")))
    return None if clock is None else (clock, "RadiopharmaceuticalStartTime")


def _began(channel: Channel) -> tuple[datetime, bool] | None:
    """The first acquisition of any slice, and whether its day is known."""
    found = []
    for facts in channel.facts.slices or (channel.facts.header,):
        day = str(facts.get("AcquisitionDate", channel.facts.header.get("AcquisitionDate", "")))
        text = str(facts.get("AcquisitionDateTime", ""))
        moment = _moment("", text) if text else _moment(day, str(facts.get("AcquisitionTime", "")))
        if moment is not None:
            found.append(moment)
    return min(found, default=None)


def _moment(day: str, clock: str) -> tuple[datetime, bool] | None:
    """A DT, or a DA with a TM, as a moment; the day is 1 January 1900 where only the clock is known."""
    digits, _, fraction = re.split(r"[+\-&]", clock.strip())[0].partition(".")
    if len(digits) >= 12:
        day, digits = digits[:8], digits[8:]
    known = len(day.strip()) == 8
    text = (day.strip() if known else "19000101") + digits.ljust(6, "0")
    if len(digits) < 4 or len(text) != 14 or not text.isdigit():
        return None
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return moment + timedelta(seconds=float(f"0.{fraction}") if fraction.isdigit() else 0.0), known


def scanner(channel: Channel) -> str:
    """Item 7: vendor and model."""
    vendor, model = channel.get("Manufacturer"), channel.get("ManufacturerModelName")
    return f"{vendor} {model}".strip()


def frame(channel: Channel) -> str:
    """Item 13: seconds per bed position or frame."""
    found = [s["ActualFrameDuration"] for s in channel.facts.slices if s.get("ActualFrameDuration")]
    numbers = sorted({float(value) / 1000 for value in found if isinstance(value, float)})
    if not numbers:
        return ""
    span = f"{numbers[0]:g}" if len(numbers) == 1 else f"{numbers[0]:g} to {numbers[-1]:g}"
    return f"{span} s per bed position or frame (ActualFrameDuration)"


def in_plane(channel: Channel) -> str:
    """Item 28: pixel spacing in mm, and the matrix where the image lies on its own grid."""
    stated = channel.facts.header.get("PixelSpacing")
    if isinstance(stated, tuple) and len(stated) == 2:
        size = f"{stated[0]:.6g} x {stated[1]:.6g} mm (PixelSpacing, rows x columns)"
    elif channel.is_reference:
        size = "{:.6g} x {:.6g} mm (rows x columns)".format(*channel.volume.geometry.spacing[1:])
    else:
        return ""
    rows, columns = channel.volume.geometry.shape[1:]
    return f"{size}, matrix {rows} x {columns}" if channel.is_reference else size


def slice_spacing(channel: Channel) -> str:
    """Item 30: mm between slices, from their positions where the image lies on its own grid."""
    if channel.is_reference:
        step, count = channel.volume.geometry.spacing[0], channel.volume.geometry.shape[0]
        return "a single image" if count == 1 else f"{step:.6g} mm"
    places = [s["ImagePositionPatient"] for s in channel.facts.slices[:2] if "ImagePositionPatient" in s]
    if len(places) == 2:
        return f"{math.dist(*places):.6g} mm (ImagePositionPatient)"
    stated = channel.get("SpacingBetweenSlices")
    return f"{stated} mm (SpacingBetweenSlices)" if stated else ""


def reconstruction(channel: Channel) -> str:
    """Item 32a: the reconstruction method's name."""
    return channel.get("ReconstructionMethod") or channel.get("ReconstructionAlgorithm")


def steps(keyword: str, position: int) -> Words:
    """Items 32b and 32c: a number of the header, or of the method's name (position 1 or 2 of 3i21s)."""

    def say(channel: Channel) -> str:
        stated = attribute(keyword)(channel)
        found = NAMING.search(reconstruction(channel))
        if stated or found is None:
            return stated
        return f"{found.group(position)} (from ReconstructionMethod {reconstruction(channel)})"

    return say


def named_in_method(word: str, keyword: str = "") -> Words:
    """Items 16 and 33: what an attribute or the method's name says; silence of the name says nothing."""

    def say(channel: Channel) -> str:
        if keyword and (stated := channel.get(keyword)):
            return f"{'yes' if stated.upper() == 'TRUE' else 'no'} ({keyword})"
        method = reconstruction(channel)
        return f"yes (ReconstructionMethod {method})" if word in method.upper() else ""

    return say


def attenuation(channel: Channel) -> str:
    """Item 34a."""
    method = channel.get("AttenuationCorrectionMethod")
    if "ATTN" not in channel.get("CorrectedImage").split(", "):
        return ""
    return f"yes{f', {method}' if method else ''} (CorrectedImage, AttenuationCorrectionMethod)"


def corrections(channel: Channel) -> str:
    """Item 34b: the codes of CorrectedImage and the methods stated."""
    codes = [c for c in channel.get("CorrectedImage").split(", ") if c and c != "ATTN"]
    methods = [
        f"{word} {channel.get(keyword)}"
        for word, keyword in (
            ("scatter:", "ScatterCorrectionMethod"),
            ("randoms:", "RandomsCorrectionMethod"),
        )
        if channel.get(keyword)
    ]
    return "; ".join([", ".join(codes) + " (CorrectedImage)", *methods]) if codes else "; ".join(methods)


SIMPLE: Final[tuple[tuple[str, str, Words], ...]] = (
    ("3a", "PET, SPECT", tracer),
    ("3b", "PET, SPECT", administration),
    ("3c", "PET, SPECT", activity),
    ("3d", "PET, SPECT", uptake),
    ("4a", "", attribute("ContrastBolusAgent")),
    ("4b", "", attribute("ContrastBolusRoute")),
    ("4c", "", attribute("ContrastBolusVolume", "ml")),
    ("10", "", attribute("DateOfLastCalibration")),
    ("12", "", attribute("RespiratoryMotionCompensationTechnique")),
    ("13", "", frame),
    ("14", "CT", attribute("KVP", "kV")),
    ("15", "CT", attribute("XRayTubeCurrent", "mA")),
    ("16", "PET", named_in_method("TOF", "TimeOfFlightInformationUsed")),
    ("17", "MRI", attribute("ReceiveCoilName")),
    ("18a", "MRI", attribute("ScanningSequence")),
    ("18b", "MRI", attribute("SequenceVariant")),
    ("18c", "MRI", attribute("ScanOptions")),
    ("19", "MRI", attribute("RepetitionTime", "ms")),
    ("20", "MRI", attribute("EchoTime", "ms")),
    ("21", "MRI", attribute("EchoTrainLength")),
    ("22", "MRI", attribute("InversionTime", "ms")),
    ("23", "MRI", attribute("FlipAngle", "degrees")),
    ("24", "MRI", attribute("MRAcquisitionType")),
    ("25", "MRI", attribute("GeometryOfKSpaceTraversal")),
    ("26", "MRI", attribute("NumberOfAverages")),
    ("27", "MRI", attribute("MagneticFieldStrength", "T")),
    ("31a", "CT", attribute("ConvolutionKernel")),
    ("31c", "CT", attribute("Exposure", "mAs")),
    ("32a", "PET", reconstruction),
    ("32b", "PET", steps("NumberOfIterations", 1)),
    ("32c", "PET", steps("NumberOfSubsets", 2)),
    ("33", "PET", named_in_method("PSF")),
    ("34a", "PET", attenuation),
    ("34b", "PET", corrections),
    ("36", "MRI", attribute("DiffusionBValue", "s/mm2")),
    ("43", "PET", attribute("ConvolutionKernel")),
)
"""Items that quote the headers of the images of some modality; one image that answers is enough."""

COMPLETE: Final[tuple[tuple[str, Words], ...]] = (
    ("6", attribute("ProtocolName")),
    ("7", scanner),
    ("8", lambda channel: channel.modality),
    ("28", in_plane),
    ("29", attribute("SliceThickness", "mm")),
    ("30", slice_spacing),
)
"""Items that every image must answer."""


def scan_answers(case: Case) -> dict[str, Said]:
    """What the images' headers say, by item number; an item that they say nothing about is absent."""
    channels = channels_of(case)
    answers: dict[str, Said] = {}
    for number, modality, say in SIMPLE:
        chosen = [c for c in channels if not modality or c.modality in modality.split(", ")]
        text, _ = together(chosen, say)
        if text:
            answers[number] = filled(text)
    for number, say in COMPLETE:
        text, complete = together(channels, say)
        if text:
            answers[number] = filled(text) if complete else unknown(text)
    if "6" in answers:
        answers["6"] = unknown(f"{answers['6'].text}; say whether it is a standard and where it is described")
    return answers | _course(channels) | _registered(case, channels) | _converted(channels)


def _course(channels: Sequence[Channel]) -> dict[str, Said]:
    """Items 9a to 9c: static or dynamic."""
    phases = [channel.name for channel in channels if PHASE.fullmatch(channel.name)]
    kinds = {channel.get("SeriesType").split(", ")[0] for channel in channels} - {""}
    if len(phases) > 1:
        return {"9a": filled(f"dynamic: {len(phases)} phases ({', '.join(phases)})")}
    if not kinds:
        return {}
    text = f"{', '.join(sorted(kinds)).lower()} (SeriesType)"
    if kinds & {"DYNAMIC", "GATED"}:
        return {"9a": filled(text)}
    static = not_applicable("static scan")
    return {"9a": filled(text), "9b": static, "9c": static}


def _registered(case: Case, channels: Sequence[Channel]) -> dict[str, Said]:
    if len(channels) == 1:
        return {"37": not_applicable("one image")}
    moved = [note for note in case.notes if "brought onto the reference grid" in note]
    words = "none in this run: images are taken as registered by the positions that their files state"
    return {"37": filled("; ".join([words, *moved]))}


def _converted(channels: Sequence[Channel]) -> dict[str, Said]:
    """Item 38: which SUV, and the rule that gave it."""
    pet = [channel for channel in channels if channel.modality == "PET"]
    if not pet:
        return {}

    def say(channel: Channel) -> str:
        if channel.volume.unit != SUVBW:
            return f"none: values in {channel.volume.unit}"
        audit = channel.facts.suv
        how = "as stored in the file" if audit is None else f"{audit.rule}, factor {audit.span}"
        return f"SUVbw (body weight): {how}"

    return {"38": filled(together(pet, say)[0])}
