"""A few values from the beginning of an encoded DICOM data set, without decoding the rest.

A study that arrives is asked for its UID, its modalities and descriptions, thousands of times: decoding whole
headers would cost more than writing them to disk. What is not plain (compressed as a whole, elements of
undefined length before the wanted ones) is left to pydicom.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from io import BytesIO
from typing import IO

from pydicom.filereader import read_partial

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Value representations with a length of four bytes, PS3.5 section 7.1.2."""
UNDEFINED = 0xFFFFFFFF
HEAD_BYTES = 1 << 16
"""So much of a file is read first: what is asked for stands at the beginning."""
PREAMBLE = 132
TRANSFER_SYNTAX = 0x00020010
GROUP_LENGTH = b"\2\0\0\0"


def file_values(content: bytes, tags: Collection[int]) -> dict[int, str]:
    """Text values of a DICOM file by their tags (group * 65536 + element), those that it has.

    `content` may be the file's beginning only. Raises ValueError for what is no DICOM file.
    """
    if content[PREAMBLE - 4 : PREAMBLE] != b"DICM":
        raise ValueError("no DICOM file")
    meta, _end = _walk(content, PREAMBLE, (TRANSFER_SYNTAX,), implicit=False, order="<")
    if meta is None or TRANSFER_SYNTAX not in meta:
        raise ValueError("no transfer syntax")
    found = data_values(
        content, meta[TRANSFER_SYNTAX].decode().strip("\0 "), tags, start=_after_meta(content)
    )
    return found if found is not None else _decoded(content, tags)


def head_values(content: IO[bytes], tags: Collection[int]) -> dict[int, str]:
    """The same of an open file, read no further than needed. Raises OSError, too."""
    head = content.read(HEAD_BYTES)
    try:
        return file_values(head, tags)
    except ValueError:
        # compressed as a whole, say: the beginning alone cannot be unpacked
        rest = content.read()
        if not rest:
            raise
        return file_values(head + rest, tags)


def data_values(
    content: bytes | bytearray, syntax: str, tags: Collection[int], start: int = 0
) -> dict[int, str] | None:
    """The same for a data set in a known transfer syntax; None where pydicom must look."""
    if syntax == DEFLATED:
        return None
    order = ">" if syntax == BIG_ENDIAN else "<"
    found, _ = _walk(content, start, tags, implicit=syntax == IMPLICIT, order=order)
    if found is None or not all(map(_plain, found.values())):
        return None
    return {tag: value.decode("ascii").strip("\0 ") for tag, value in found.items()}


def _plain(value: bytes) -> bool:
    """True for text that is the same in every character set: no escape to another one (ISO 2022)."""
    return value.isascii() and b"\x1b" not in value


def _decoded(content: bytes, tags: Collection[int]) -> dict[int, str]:
    """What pydicom reads there, up to the last wanted tag: what follows may be cut short."""
    last = max(tags)
    try:
        header = read_partial(
            BytesIO(content), lambda tag, _vr, _length: tag > last, specific_tags=list(tags)
        )
        return {tag: str(header[tag].value) for tag in tags if tag in header}
    except Exception as error:
        # a header from elsewhere can break a decoder in more ways than can be listed
        raise ValueError(f"a header that cannot be read ({type(error).__name__})") from None


def _after_meta(content: bytes) -> int:
    """Where the data set begins: the file header says its own length in its first element (PS3.10)."""
    if content[PREAMBLE : PREAMBLE + 4] != GROUP_LENGTH or len(content) < PREAMBLE + 12:
        raise ValueError("no length of the file header")
    (length,) = struct.unpack_from("<I", content, PREAMBLE + 8)
    return PREAMBLE + 12 + int(length)


def _walk(
    content: bytes | bytearray, at: int, tags: Collection[int], *, implicit: bool, order: str
) -> tuple[dict[int, bytes] | None, int]:
    """Values up to the last wanted tag, and where it stopped; None where an element has no length."""
    found: dict[int, bytes] = {}
    last, size = max(tags), len(content)
    head, word = struct.Struct(order + "HH2sH"), struct.Struct(order + "I")
    while at + 8 <= size:
        group, element, kind, length = head.unpack_from(content, at)
        tag = group << 16 | element
        if tag > last:
            break
        at += 8
        if implicit:
            (length,) = word.unpack_from(content, at - 4)
        elif kind in LONG:
            if at + 4 > size:
                break
            (length,) = word.unpack_from(content, at)
            at += 4
        if length == UNDEFINED:
            return None, at
        if tag in tags:
            found[tag] = bytes(content[at : at + length])
        at += length
    return found, at
