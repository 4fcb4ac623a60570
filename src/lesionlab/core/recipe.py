"""The recipe: every setting of a run as data, read from TOML, strict and frozen.

A recipe says which channels go in, how they are scaled, which method finds lesions, how it is trained,
how masks are refined and what is measured. What follows from data (patch size, spacing) is the
plan's business; a recipe may only pin it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from lesionlab.core.errors import RecipeError
from lesionlab.core.learning import (
    LocateSettings,
    LossSettings,
    NetworkSettings,
    PredictionSettings,
    TrainingSettings,
)
from lesionlab.core.settings import (
    KineticsSettings,
    MarginSettings,
    NonNegative,
    Positive,
    Settings,
    StandardiseSettings,
    UltrasoundSettings,
    explained,
)

GUIDE = "docs/reference/recipes.md"
"""Where settings that must agree are told."""


def _open_ends(value: Any) -> Any:
    """JSON has no infinity: an open end is written as null there, and read back as infinite."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(
            end if one is None else one for one, end in zip(value, (-math.inf, math.inf), strict=True)
        )
    return value


OpenRange = Annotated[tuple[float, float], BeforeValidator(_open_ends)]
"""A lower and an upper end, either of which may be infinite."""


class ChannelSettings(Settings):
    """How one channel reaches the network.

    `fixed`: clip to `clip`, then divide by `divide_by`, the same scale for every patient, as SUV
    deserves; with `curve = "log"` the quotient q becomes ln(1 + q), which spreads pale lesions apart and
    still tells every SUV from every other. `ct`: nnU-Net's CT scheme (clip to the 0.5 and 99.5 percentile
    of the training lesions, z-score). `zscore`: per case. `none`: as it is.
    """

    normalisation: Literal["fixed", "ct", "zscore", "none"] = "zscore"
    clip: OpenRange | None = None
    divide_by: Positive = 1.0
    curve: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _consistent(self) -> ChannelSettings:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip {list(self.clip)} needs its lower end below its upper end")
        scale = {"clip": self.clip, "divide_by": self.divide_by, "curve": self.curve}
        if self.normalisation != "fixed" and scale != {"clip": None, "divide_by": 1.0, "curve": "linear"}:
            raise ValueError(f"clip, divide_by, curve need normalisation 'fixed': {self.normalisation!r}")
        if self.curve == "log" and (self.clip is None or self.clip[0] <= -self.divide_by):
            raise ValueError("curve 'log' needs a clip whose lower end is above -divide_by")
        return self


class ThresholdSettings(Settings):
    """Threshold segmentation of a PET channel, no weights needed.

    `fixed`: SUVbw >= `suv`. `relative`: candidates are components with SUVbw >= `suv`; each is redrawn at
    `fraction` of its own maximum (docs/reference/biomarkers.md). `body_mask` restricts both to the body found
    on CT.
    """

    rule: Literal["fixed", "relative"] = "fixed"
    suv: Positive = 4.0
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.41
    body_mask: bool = False


class SuvSettings(Settings):
    """How activity becomes SUVbw where the standard's rules are not wanted (docs/reference/suv.md).

    `allow_cps` lets images in counts per second through, whose calibration the header states poorly.
    `times = "autopet"` takes AcquisitionTime as the moment of decay correction, as the public autoPET
    conversion does, so that its numbers can be reproduced.
    """

    allow_cps: bool = False
    times: Literal["standard", "autopet"] = "standard"


class RefineSettings(Settings):
    """Mask clean-up. `keep = "largest"` deletes metastases, so it is never a default for PET."""

    keep: Literal["all", "largest"] = "all"
    minimum_ml: NonNegative = 0.0
    fill_holes: bool = False
    connectivity: Literal[6, 18, 26] = 26


Delineation = Literal["fixed", "41", "50", "percist", "liver"]
"""How a metabolic volume is drawn again within a lesion; see `measure/thresholds.py`."""


class BiomarkerSettings(Settings):
    """What is measured per lesion; `channel` None means the reference channel.

    From `peak_centre` on, the settings concern a channel in SUVbw only.
    """

    channel: str | None = None
    kinetics: bool = False
    """Enhancement over the phases `pre`, `post1`, ... (section `kinetics`)."""
    ultrasound: bool = False
    """What ultrasound alone shows (section `ultrasound`)."""
    peak_ml: Positive = 1.0
    peak_centre: Literal["any_voxel", "hottest_voxel"] = "any_voxel"
    """Where the sphere of SUVpeak is centred: wherever in the lesion its mean is highest, or on SUVmax."""
    delineations: tuple[Delineation, ...] = ()
    """Each gives MTV_NAME and TLG_NAME per lesion and TMTV_NAME and TLG_NAME per patient."""
    fixed_suv: Positive = 4.0
    """SUVbw of the delineation `fixed`."""
    liver_factor: Positive = 1.5
    liver_deviations: NonNegative = 2.0
    """The delineation `liver` is at liver_factor x mean + liver_deviations x SD of the liver reference."""
    delineation_reach_mm: NonNegative = 0.0
    """How far beyond the lesion as drawn a delineation may reach; 0 = only the lesion's own voxels."""
    volume_at_suv: tuple[Positive, ...] = ()
    """Intensity-volume points: ml of the lesion at or above each SUVbw."""
    suv_at_share: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    """Intensity-volume points: SUVbw that the hottest such share of the lesion reaches."""


Family = Literal[
    "morphology",
    "spatial",
    "local",
    "statistics",
    "histogram",
    "volume_histogram",
    "glcm",
    "glrlm",
    "glszm",
    "gldzm",
    "ngtdm",
    "ngldm",
]
Aggregation = Literal["2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb"]


class RadiomicsSettings(Settings):
    """Features of the image biomarker standard (IBSI-1): which, and how the image is prepared for them.

    `families` empty = none are computed. Order of the steps, as in the standard: interpolation, rounding,
    re-segmentation by range, then by outliers, discretisation. Tuples are (z, y, x).
    """

    families: tuple[Family, ...] = ()
    aggregations: Annotated[tuple[Aggregation, ...], Field(min_length=1)] = ("3D_avg", "3D_comb")
    """How texture matrices are combined: by slice (2D), over slices (2_5D) or in the volume (3D), each with
    the features averaged over directions (avg) or the matrices merged (comb). Families without
    directions use the dimension alone."""
    spacing_mm: tuple[NonNegative, NonNegative, NonNegative] | None = None
    """Voxel size to interpolate to; 0 keeps that axis; None keeps the grid."""
    interpolation: Literal["nearest", "linear", "cubic"] = "linear"
    mask_interpolation: Literal["nearest", "linear", "cubic"] = "linear"
    round_to: NonNegative = 0.0
    """Intensities are rounded to multiples of this after interpolation (1 for CT); 0 = not."""
    keep_range: OpenRange | None = None
    """Re-segmentation: voxels outside leave the intensity mask; the lower end is also the first bin's edge
    under `bin_size`. Use inf for an open end."""
    outlier_sigma: Positive | None = None
    """Re-segmentation: voxels farther than this many standard deviations from the mean leave."""
    bin_size: Positive | None = None
    """Fixed bin size in the image's unit; excludes `bin_number`."""
    bin_number: Annotated[int, Field(ge=2)] | None = None
    """Fixed number of bins from the lesion's minimum to its maximum."""
    bin_origin: float | None = None
    """Lower edge of the first bin under `bin_size`; default: the range's lower end, else the minimum."""
    volume_histogram_bin_size: Positive | None = None
    volume_histogram_bins: Annotated[int, Field(ge=2)] | None = None
    """How the intensity-volume histogram discretises; neither = not at all (intensities as they are)."""
    names: Literal["ibsi", "pyradiomics"] = "ibsi"
    """pyradiomics: columns under PyRadiomics' names with its values, for models trained on its tables; bins
    of a fixed size then begin at a multiple of it, lesion by lesion, as there."""

    @model_validator(mode="after")
    def _consistent(self) -> RadiomicsSettings:
        if self.families and (self.bin_size is None) == (self.bin_number is None):
            raise ValueError("radiomics needs either bin_size or bin_number")
        if self.volume_histogram_bin_size is not None and self.volume_histogram_bins is not None:
            raise ValueError("either volume_histogram_bin_size or volume_histogram_bins, not both")
        if self.names == "pyradiomics" and not {"3D_avg", "2_5D_avg"}.intersection(self.aggregations):
            raise ValueError("names 'pyradiomics' needs aggregation 3D_avg or 2_5D_avg")
        if self.keep_range is not None and not self.keep_range[0] < self.keep_range[1]:
            raise ValueError("keep_range needs its lower end below its upper end")
        return self


class Recipe(Settings):
    """Everything that decides a result besides data and weights.

    `channels` are named in network order; `labels` map names to the integers of the truth, the highest of
    which may be called `ignore`. A case may hold more channels; the others are dropped by `standardise`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    description: str = ""
    channels: Annotated[dict[str, ChannelSettings], Field(min_length=1)]
    optional_channels: tuple[str, ...] = ()
    """Channels used when present (the body mask's CT) and never required."""
    reference: str
    labels: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: {"lesion": 1})
    suv: SuvSettings = SuvSettings()
    standardise: StandardiseSettings = StandardiseSettings()
    method: Literal["network", "threshold", "none"] = "network"
    """`none` finds nothing: for lesions that are already drawn."""
    threshold: ThresholdSettings = ThresholdSettings()
    network: NetworkSettings = NetworkSettings()
    locate: LocateSettings = LocateSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
    prediction: PredictionSettings = PredictionSettings()
    refine: RefineSettings = RefineSettings()
    biomarkers: BiomarkerSettings = BiomarkerSettings()
    kinetics: KineticsSettings = KineticsSettings()
    ultrasound: UltrasoundSettings = UltrasoundSettings()
    margin: MarginSettings = MarginSettings()
    radiomics: RadiomicsSettings = RadiomicsSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.reference not in self.channels:
            raise ValueError(f"reference {self.reference!r} is not among the channels {list(self.channels)}")
        if sorted(self.labels.values()) != list(range(1, len(self.labels) + 1)):
            raise ValueError(f"labels must be numbered 1, 2, ...; found {self.labels}")
        if self.ignored not in (None, len(self.labels)):
            raise ValueError(f"labels: 'ignore' needs the highest number, found {self.labels}")
        if not set(self.optional_channels).isdisjoint(self.channels):
            raise ValueError("optional_channels repeats a channel")
        if self.locate.spacing_mm is not None and self.network.configuration != "3d_fullres":
            raise ValueError(
                f"[locate] needs network.configuration '3d_fullres', found {self.network.configuration!r}"
            )
        if self.prediction.threshold != 0.5 and len(self.predicted_labels) > 1:
            found = f"{self.prediction.threshold} with labels {list(self.labels)}"
            raise ValueError(f"prediction.threshold needs a single label, found {found}")
        if self.prediction.scales != (1.0,) and self.standardise.size is None:
            raise ValueError("prediction.scales are shares of standardise.size, which is not set")
        if len(self.steps) > 1 and self.standardise.size is not None:
            size = self.standardise.size
            raise ValueError(f"two steps need scans as they are, found standardise.size {size}")
        return self

    @property
    def ignored(self) -> int | None:
        """The label of voxels that nobody judged: neither trained on nor scored, as nnU-Net has it."""
        return self.labels.get("ignore")

    @property
    def predicted_labels(self) -> dict[str, int]:
        """What a method draws: every label but the ignored one."""
        return {name: number for name, number in self.labels.items() if number != self.ignored}

    @property
    def steps(self) -> tuple[str, ...]:
        """The configurations that are trained, and predict, one after another; the last gives the mask."""
        last = self.network.configuration
        two = last == "3d_cascade_fullres" or self.locate.spacing_mm is not None
        return ("3d_lowres", last) if two else (last,)

    def step(self, configuration: str) -> Recipe:
        """The recipe of one of `steps` on its own: what trains, plans and predicts it.

        A threshold is that of the last one: what the second network sees of the first stays as in training.
        """
        if configuration == self.network.configuration:
            return self
        spacing = self.locate.spacing_mm or self.network.lowres_spacing_mm
        coarse = {"configuration": configuration, "lowres_spacing_mm": spacing}
        return self.changed(network=coarse, locate={"spacing_mm": None}, prediction={"threshold": 0.5})

    @property
    def sha256(self) -> str:
        """Hash of all settings, the same for equal recipes however their files are written."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def start_file(self) -> Path | None:
        """The file of weights that training starts from, None where it starts at random.

        Raises RecipeError when there is no such file.
        """
        name = self.training.start_from
        if name is not None and not Path(name).is_file():
            raise RecipeError(self.name, f"no file {name}", "training.start_from as a file of weights")
        return None if name is None else Path(name)

    def beside(self, folder: Path) -> Recipe:
        """The recipe with the file that it names (`training.start_from`) looked for in `folder`."""
        name = self.training.start_from
        if name is None or Path(name).is_absolute():
            return self
        return self.changed(training={"start_from": str((folder / name).absolute())})

    def to_hand_on(self) -> Recipe:
        """The recipe as it leaves the machine: of the file that it names the name, not where it was."""
        name = self.training.start_from
        return self if name is None else self.changed(training={"start_from": Path(name).name})

    def changed(self, **sections: Any) -> Recipe:
        """A copy with changes, a section given as a dict of its changed keys.

        `recipe.changed(training={"epochs": 250})`. Raises RecipeError as loading does.
        """
        data = self.model_dump(mode="json")
        for key, value in sections.items():
            data[key] = {**data[key], **value} if isinstance(value, dict) and key in data else value
        return parse_recipe(data, self.name)


def parse_recipe(data: dict[str, Any], subject: str) -> Recipe:
    """Build a recipe from plain data; RecipeError names each bad key and lists the known ones."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(subject, *explained(error, "recipe", _known_keys, GUIDE)) from None


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        if part == "channels":
            model = ChannelSettings
        elif model is Recipe and str(part) in Recipe.model_fields:
            default = Recipe.model_fields[str(part)].default
            model = type(default) if isinstance(default, BaseModel) else model
    return list(model.model_fields)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file; RecipeError when it is missing, not TOML, or not a recipe."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(path, str(error.strerror or error), "a readable recipe file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(path, str(error), "a TOML file") from None
    return parse_recipe(data, str(path))


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML text that `load_recipe` reads back to an equal recipe."""
    data = recipe.model_dump(mode="json", exclude_none=True)
    plain = [f"{key} = {_toml(value)}" for key, value in data.items() if key not in _tables(data)]
    blocks = ["\n".join(plain)]
    for key in _tables(data):
        if key == "channels":
            blocks += [_table(f"channels.{_key(name)}", body) for name, body in data[key].items()]
        else:
            blocks.append(_table(key, data[key]))
    return "\n\n".join(blocks) + "\n"


def _tables(data: dict[str, Any]) -> list[str]:
    return [key for key, value in data.items() if isinstance(value, dict)]


def _table(name: str, body: dict[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in body.items())])


def _key(name: str) -> str:
    """A key of TOML: in quotation marks unless it is letters (a to z), digits, hyphens and underscores."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """TOML for the scalars and lists that a recipe holds: JSON's forms, but for infinity."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
