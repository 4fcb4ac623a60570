"""What a name says a channel is: one rule for files and for the inputs that a foreign model states."""

from __future__ import annotations

import re
from collections.abc import Sequence

CHANNEL_WORDS = {
    "suv": "suv",
    "suvbw": "suv",
    "pet": "suv",
    "pt": "suv",
    "fdg": "suv",
    "ct": "ct",
    "ctres": "ct",
    "us": "us",
    "bus": "us",
    "ultrasound": "us",
    "pa": "pa",
    "photoacoustic": "pa",
}


def words_of(name: str) -> list[str]:
    """The words of a name in small letters; [] where it has neither letters nor digits."""
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def channel_of(words: Sequence[str]) -> str:
    """The channel that words name, the last of several; "" where they name none."""
    for position in range(len(words) - 1, -1, -1):
        word = words[position]
        if word in CHANNEL_WORDS:
            return CHANNEL_WORDS[word]
        if word in ("mr", "mri"):
            return "_".join(["mr", *words[position + 1 :]])
        if re.fullmatch(r"pre|(post|sub)\d+", word):
            return word
    return ""
