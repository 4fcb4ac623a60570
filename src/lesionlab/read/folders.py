"""Image files that are not DICOM to named channels: what a name says about a file.

`suv`, `pet`, `ct`, `mr...`, `us`, `pa`, `pre`, `post1`, `sub1` in a name are channels; mask, seg, label,
truth, gt mark contours, with the channel that they were drawn on (`pet_mask`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionlab.core.case import ChannelFacts
from lesionlab.core.channel_names import channel_of, words_of
from lesionlab.core.errors import ReadError
from lesionlab.core.files import sha256_of
from lesionlab.core.units import HOUNSFIELD, STORED, SUVBW
from lesionlab.core.volume import Volume
from lesionlab.read.loaded import Loaded
from lesionlab.read.nifti import VOLUME_SUFFIXES, read_volume
from lesionlab.read.stacks import PICTURE_SUFFIXES, STACK_SUFFIXES, TIFF_SUFFIXES, read_stack, sidecar_of

IMAGE_SUFFIXES = VOLUME_SUFFIXES + STACK_SUFFIXES
MASK_WORDS = frozenset({"mask", "masks", "seg", "segmentation", "label", "labels", "truth", "gt"})
UNITS = {"suv": SUVBW, "ct": HOUNSFIELD}


@dataclass(frozen=True)
class Named:
    """An image file and what its name says: its channel ("" when nothing), and whether it is a mask."""

    path: Path
    channel: str
    is_mask: bool


def is_image(path: Path) -> bool:
    """True for the suffixes that are read as images here."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and its sub-folders, sorted; hidden ones left out.

    Symbolic links to folders are followed. A folder that is reached twice is listed once, so that a link to
    one of its own parents ends there.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        below = [Path(place, name) for name in folders if not name.startswith(".")]
        # A folder itself is preferred to a link to it.
        folders[:] = [path.name for path in sorted(below, key=lambda path: (path.is_symlink(), path))]
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def stem_of(path: Path) -> str:
    """The name without its image suffix, `.nii.gz` included."""
    name = path.name
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    else:
        name = path.stem if path.is_file() else name
    return name


def read_name(path: Path, root: Path) -> Named:
    """What the name says; the folders between the file and `root` may mark it as a mask, too."""
    words = words_of(stem_of(path))
    folders = path.parent.relative_to(root).parts if path != root else ()
    above = [word for part in folders for word in words_of(part)]
    is_mask = not MASK_WORDS.isdisjoint(words) or not MASK_WORDS.isdisjoint(above)
    return Named(path, channel_of([w for w in words if w not in MASK_WORDS]), is_mask)


def read_files(subject: Path, named: Sequence[Named]) -> tuple[dict[str, Loaded], list[str]]:
    """Read the images (not the masks) among named files as channels, with notes.

    A name that says nothing becomes `us` for a picture and `image` for a volume when it is alone, else the
    name itself. Raises ReadError when two files claim one channel.
    """
    images = [n for n in named if not n.is_mask]
    channels: dict[str, Loaded] = {}
    notes: list[str] = []
    for item in images:
        loaded = read_image(item.path)
        channel, assumed = _name_of(item, loaded, alone=len(images) == 1)
        if channel in channels:
            twins = (Path(channels[channel].facts.files[0]), item.path)
            words = " and ".join(path.relative_to(subject).as_posix() for path in twins)
            needed = "one file per channel, of one patient"
            raise ReadError(subject, f"two files for channel {channel!r}: {words}", needed)
        volume = loaded.volume
        if channel in UNITS and volume.unit == STORED:
            volume = Volume(volume.array, volume.geometry, UNITS[channel])
            assumed += [f"values taken as {UNITS[channel]}, by the file's name"]
        files = [item.path, *([sidecar_of(item.path)] if sidecar_of(item.path).is_file() else [])]
        facts = ChannelFacts("", tuple(str(f) for f in files), sha256_of(files))
        channels[channel] = Loaded(volume, loaded.notes, channel, facts)
        notes += [f"{channel}: {note}" for note in (*loaded.notes, *assumed)]
    return channels, notes


def read_image(path: Path) -> Loaded:
    """Read one image file by its suffix."""
    return read_volume(path) if path.name.lower().endswith(VOLUME_SUFFIXES) else read_stack(path)


def _name_of(item: Named, loaded: Loaded, *, alone: bool) -> tuple[str, list[str]]:
    if loaded.channel or item.channel:
        return loaded.channel or item.channel, []
    if not alone:
        return "_".join(words_of(stem_of(item.path))), []
    flat = (
        item.path.name.lower().endswith(PICTURE_SUFFIXES + TIFF_SUFFIXES)
        and loaded.volume.array.shape[0] == 1
    )
    return ("us", ["a picture, taken as ultrasound"]) if flat else ("image", [])
