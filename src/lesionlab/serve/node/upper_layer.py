"""The upper layer's messages (PS3.8 section 9.3) and the commands within (PS3.7), as a receiver needs them.

Bytes to values and back; nothing here reads a socket. Only for taking instances in: as a caller we use
pynetdicom, whose two polling threads for each association would cost a receiver most of its time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lesionlab.core.errors import ServeError

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
"""Types of protocol data units."""
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_UID = "2.25.313706155211716917325806486164227911234"
IMPLEMENTATION = "LESIONLAB"
ACCEPTED, NO_SUCH_CLASS, NO_SUCH_SYNTAX = 0, 3, 4
"""Results of a presentation context, PS3.8 table 9-18."""
NO_DATA_SET = 0x0101
FIXED = 68
"""Bytes before the items of an association request, PS3.8 table 9-11."""
COMMAND, LAST = 1, 2
"""Bits of the header of a presentation data value, PS3.8 annex E."""


@dataclass(frozen=True)
class Context:
    """A presentation context: proposed with all its transfer syntaxes, accepted with one."""

    number: int
    abstract: str
    syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class Proposal:
    """An association request."""

    called: str
    calling: str
    contexts: tuple[Context, ...]


def read_proposal(body: bytes) -> Proposal:
    """An A-ASSOCIATE-RQ (without its first six bytes). Raises ServeError for one that is malformed."""
    try:
        if len(body) < FIXED:
            raise IndexError
        called, calling = (body[at : at + 16].decode("ascii").strip() for at in (4, 20))
        contexts = tuple(_context(value) for kind, value in _items(body, FIXED) if kind == 0x20)
    except (struct.error, UnicodeDecodeError, IndexError):
        raise ServeError("association request", "malformed bytes", "an A-ASSOCIATE-RQ of PS3.8") from None
    return Proposal(called, calling, contexts)


def _context(value: bytes) -> Context:
    abstract, syntaxes = "", []
    for kind, text in _items(value, 4):
        name = text.decode("ascii").strip("\0 ")
        if kind == 0x30:
            abstract = name
        elif kind == 0x40:
            syntaxes.append(name)
    return Context(value[0], abstract, tuple(syntaxes))


def _items(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        value = body[at + 4 : at + 4 + length]
        if len(value) < length:
            raise IndexError
        yield kind, value
        at += 4 + length


def negotiate(
    proposal: Proposal, classes: frozenset[str], syntaxes: Sequence[str]
) -> tuple[dict[int, Context], dict[int, int]]:
    """Accepted contexts, each with the caller's first syntax that we know; and every context's result."""
    accepted, results = {}, {}
    for context in proposal.contexts:
        known = [syntax for syntax in context.syntaxes if syntax in syntaxes]
        if context.abstract not in classes:
            results[context.number] = NO_SUCH_CLASS
        elif not known:
            results[context.number] = NO_SUCH_SYNTAX
        else:
            results[context.number] = ACCEPTED
            accepted[context.number] = Context(context.number, context.abstract, (known[0],))
    return accepted, results


def acceptance(
    proposal: Proposal, accepted: Mapping[int, Context], results: Mapping[int, int], longest: int
) -> bytes:
    """An A-ASSOCIATE-AC; `longest` is the size of data units that we take."""
    body = struct.pack(">HH16s16s32x", 1, 0, _title(proposal.called), _title(proposal.calling))
    body += _item(0x10, APPLICATION_CONTEXT.encode())
    for number, result in results.items():
        # of a context that is refused, the syntax means nothing (PS3.8 section 9.3.3.2)
        syntax = accepted[number].syntaxes[0] if result == ACCEPTED else "1.2.840.10008.1.2"
        body += _item(0x21, struct.pack(">BxBx", number, result) + _item(0x40, syntax.encode()))
    user = _item(0x51, struct.pack(">I", longest))
    user += _item(0x52, IMPLEMENTATION_UID.encode()) + _item(0x55, IMPLEMENTATION.encode())
    return unit(ASSOCIATE_AC, body + _item(0x50, user))


def rejection(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ, PS3.8 table 9-21."""
    return unit(ASSOCIATE_RJ, bytes((0, result, source, reason)))


def abort(source: int = 2, reason: int = 0) -> bytes:
    """An A-ABORT; by default from the service provider, without a reason."""
    return unit(ABORT, bytes((0, 0, source, reason)))


def unit(kind: int, body: bytes) -> bytes:
    """A protocol data unit."""
    return struct.pack(">BxI", kind, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _title(name: str) -> bytes:
    return name.encode("ascii").ljust(16)


def data_values(body: bytes | memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The presentation data values of a P-DATA-TF: context, header bits, fragment. ServeError when cut."""
    view, at = memoryview(body), 0
    while at < len(view):
        try:
            length, context, bits = struct.unpack_from(">IBB", view, at)
        except struct.error:
            raise _cut() from None
        fragment = view[at + 6 : at + 4 + length]
        if length < 2 or len(fragment) != length - 2:
            raise _cut()
        yield context, bits, fragment
        at += 4 + length


def _cut() -> ServeError:
    return ServeError("data unit", "lengths that do not fit", "whole presentation data values")


@dataclass(frozen=True)
class Command:
    """A DIMSE command: what is asked, and of which object."""

    field: int
    message: int
    sop_class: str
    sop_uid: str
    has_data: bool


def read_command(content: bytes) -> Command:
    """A command set (implicit little endian, PS3.7 section 6.3.1). Raises ServeError for a malformed one."""
    values: dict[int, bytes] = {}
    at = 0
    try:
        while at < len(content):
            group, element, length = struct.unpack_from("<HHI", content, at)
            values[group << 16 | element] = content[at + 8 : at + 8 + length]
            at += 8 + length
        return Command(
            _number(values[0x0100]),
            _number(values.get(0x0110, b"\0\0")),
            _text(values.get(0x0002, b"")),
            _text(values.get(0x1000, b"")),
            _number(values.get(0x0800, b"\x01\x01")) != NO_DATA_SET,
        )
    except (struct.error, KeyError, UnicodeDecodeError):
        raise ServeError("command", "malformed bytes", "a command set of PS3.7") from None


def answer(context: int, command: Command, status: int) -> bytes:
    """The response to a command, as a data unit."""
    content = _element(0x0002, _padded(command.sop_class))
    content += _element(0x0100, struct.pack("<H", command.field | 0x8000))
    content += _element(0x0120, struct.pack("<H", command.message))
    content += _element(0x0800, struct.pack("<H", NO_DATA_SET))
    content += _element(0x0900, struct.pack("<H", status))
    if command.sop_uid:
        content += _element(0x1000, _padded(command.sop_uid))
    content = _element(0x0000, struct.pack("<I", len(content))) + content
    return unit(DATA, struct.pack(">IBB", len(content) + 2, context, COMMAND | LAST) + content)


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _padded(uid: str) -> bytes:
    return uid.encode("ascii") + (b"\0" if len(uid) % 2 else b"")


def _number(value: bytes) -> int:
    return int(struct.unpack("<H", value)[0])


def _text(value: bytes) -> str:
    return value.decode("ascii").strip("\0 ")


def file_header(sop_class: str, sop_uid: str, syntax: str, sender: str) -> bytes:
    """Preamble and file meta information (PS3.10 section 7.1) for a received data set."""
    content = _meta(0x0001, b"OB", b"\0\1")
    for element, uid in (
        (0x0002, sop_class),
        (0x0003, sop_uid),
        (0x0010, syntax),
        (0x0012, IMPLEMENTATION_UID),
    ):
        content += _meta(element, b"UI", _padded(uid))
    content += _meta(0x0013, b"SH", _even(IMPLEMENTATION)) + _meta(0x0016, b"AE", _even(sender))
    return bytes(128) + b"DICM" + _meta(0x0000, b"UL", struct.pack("<I", len(content))) + content


def _meta(element: int, kind: bytes, value: bytes) -> bytes:
    length = struct.pack("<xxI", len(value)) if kind == b"OB" else struct.pack("<H", len(value))
    return struct.pack("<HH", 2, element) + kind + length + value


def _even(text: str) -> bytes:
    return text.encode("ascii") + (b" " if len(text) % 2 else b"")
