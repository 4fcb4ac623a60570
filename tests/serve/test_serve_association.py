"""One caller of the node: answers by the standard, and an end for whoever breaks it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from lesionlab.core.errors import ServeError
from lesionlab.serve.node import receiver as receiver_module
from lesionlab.serve.node import upper_layer as layer
from lesionlab.serve.node.association import C_CANCEL, C_ECHO, C_STORE, Association, Instance, Rules
from lesionlab.serve.node.receiver import Receiver
from lesionlab.serve.settings import ServeSettings
from serve_phantoms import until

PET, CT, ECHO = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1"
EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
UID = "1.2.3"


class Caller:
    """The other side of an association."""

    def __init__(self) -> None:
        self.wire, other = socket.socketpair(socket.AF_UNIX)
        # a pair of local sockets has no such option
        other_side = _Wire(other)
        self.taken: list[Instance] = []
        rules = Rules(frozenset((PET, ECHO)), [EXPLICIT, JPEG], self.admit, self.take, most_bytes=1000)
        self.association = Association(other_side, rules)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.association.run)
        self.thread.start()
        self.wire.settimeout(10)

    def admit(self, called: str, calling: str) -> int | None:
        return None if (called, calling) == ("NODE", "ME") else 3

    def take(self, instance: Instance) -> int:
        self.taken.append(instance)
        return 0xA700 if instance.sop_uid.endswith("9") else 0

    def send(self, kind: int, body: bytes) -> None:
        self.wire.sendall(layer.unit(kind, body))

    def answer(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self.wire.recv(6, socket.MSG_WAITALL))
        return kind, self.wire.recv(length, socket.MSG_WAITALL)

    def ask(self, *contexts: tuple[int, str, tuple[str, ...]], called: str = "NODE") -> tuple[int, bytes]:
        self.send(layer.ASSOCIATE_RQ, proposal(*contexts, called=called))
        return self.answer()

    def status(self) -> tuple[int, int]:
        """Field and status of the next response."""
        kind, body = self.answer()
        assert kind == layer.DATA
        [(_, bits, content)] = layer.data_values(body)
        assert bits == layer.COMMAND | layer.LAST
        at = bytes(content).index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
        return layer.read_command(bytes(content)).field, struct.unpack_from("<H", content, at)[0]

    def over(self) -> None:
        self.wire.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


class _Wire:
    """A socket without the options of the internet's."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire

    def setsockopt(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        return getattr(self.wire, name)


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def proposal(*contexts: tuple[int, str, tuple[str, ...]], called: str = "NODE") -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), b"ME".ljust(16))
    for number, abstract, syntaxes in contexts:
        inner = item(0x30, abstract.encode()) + b"".join(item(0x40, name.encode()) for name in syntaxes)
        body += item(0x20, bytes((number, 0, 0, 0)) + inner)
    return body


def command(field: int, sop_class: str = PET, sop_uid: str = UID, *, data: bool = True) -> bytes:
    """A command in one data unit's body, on context 1."""
    content = b""
    for element, value in (
        (0x0002, sop_class.encode()),
        (0x0100, struct.pack("<H", field)),
        (0x0110, struct.pack("<H", 7)),
        (0x0800, struct.pack("<H", 0 if data else 0x0101)),
        (0x1000, sop_uid.encode()),
    ):
        value += b"\0" * (len(value) % 2)
        content += struct.pack("<HHI", 0, element, len(value)) + value
    return value_of(3, content)


def value_of(bits: int, content: bytes, context: int = 1) -> bytes:
    return struct.pack(">IBB", len(content) + 2, context, bits) + content


@pytest.fixture
def caller() -> Iterator[Caller]:
    caller = Caller()
    yield caller
    caller.over()


@pytest.fixture
def let_in(caller: Caller) -> Caller:
    assert caller.ask((1, PET, (EXPLICIT,)))[0] == layer.ASSOCIATE_AC
    return caller


def test_contexts_are_accepted_one_by_one_with_the_callers_first_choice(caller: Caller) -> None:
    kind, body = caller.ask((1, PET, ("1.9", JPEG, EXPLICIT)), (3, CT, (EXPLICIT,)), (5, PET, ("1.9",)))
    assert kind == layer.ASSOCIATE_AC
    results = [(value[0], value[2]) for kind, value in layer._items(body, 68) if kind == 0x21]
    assert results == [(1, 0), (3, 3), (5, 4)]
    assert item(0x40, JPEG.encode()) in body
    assert caller.association.contexts[1].syntaxes == (JPEG,)


def test_a_caller_that_is_not_admitted_is_told_why(caller: Caller) -> None:
    assert caller.ask((1, PET, (EXPLICIT,)), called="OTHER") == (layer.ASSOCIATE_RJ, bytes((0, 1, 1, 3)))


def test_an_instance_is_put_together_from_its_fragments(let_in: Caller) -> None:
    let_in.send(layer.DATA, command(C_STORE)[:4] + command(C_STORE)[4:])
    let_in.send(layer.DATA, value_of(0, b"one ") + value_of(0, b"two "))
    let_in.send(layer.DATA, value_of(2, b"three!"))
    assert let_in.status() == (C_STORE | 0x8000, 0)
    [instance] = let_in.taken
    assert instance.content[instance.start :] == b"one two three!"
    assert (instance.sop_uid, instance.syntax, instance.sender) == (UID, EXPLICIT, "ME")
    let_in.send(layer.DATA, command(C_STORE, sop_uid="1.9") + value_of(2, b"more"))
    assert let_in.status() == (C_STORE | 0x8000, 0xA700)
    let_in.send(layer.RELEASE_RQ, bytes(4))
    assert let_in.answer() == (layer.RELEASE_RP, bytes(4))


def test_other_commands_are_answered_and_do_not_end_the_association(let_in: Caller) -> None:
    let_in.send(layer.DATA, command(C_STORE, CT) + value_of(2, b"data"))
    assert let_in.status() == (C_STORE | 0x8000, 0x0122)
    let_in.send(layer.DATA, command(0x0020) + value_of(2, b"query"))
    assert let_in.status() == (0x8020, 0x0211)
    let_in.send(layer.DATA, command(C_CANCEL, data=False))
    let_in.send(layer.DATA, command(C_ECHO, ECHO, data=False))
    assert let_in.status() == (C_ECHO | 0x8000, 0)
    assert let_in.taken == []


@pytest.mark.parametrize(
    ("breach", "words"),
    [
        (lambda caller: caller.send(layer.DATA, value_of(3, b"x", context=9)), "presentation context 9"),
        (lambda caller: caller.send(layer.DATA, value_of(2, b"x")), "a data set without a command"),
        (lambda caller: caller.send(layer.DATA, value_of(3, b"x" * 9)), "malformed bytes"),
        (lambda caller: caller.send(layer.DATA, b"\0\0\0\xff\1\3"), "lengths that do not fit"),
        (lambda caller: caller.send(layer.DATA, b"\0\0"), "lengths that do not fit"),
        (
            lambda caller: caller.send(layer.DATA, command(C_STORE) + value_of(0, bytes(2000))),
            "more than 1000",
        ),
        (lambda caller: caller.send(layer.RELEASE_RP, bytes(4)), "needed data, release or abort"),
        (lambda caller: caller.wire.sendall(struct.pack(">BxI", 4, 1 << 30)), "type 4 of 1073741824 bytes"),
    ],
)
def test_who_breaks_the_rules_is_told_that_it_is_over(
    let_in: Caller, breach: Callable[[Caller], None], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    breach(let_in)
    assert let_in.answer() == (layer.ABORT, bytes((0, 0, 2, 0)))
    let_in.thread.join(10)
    assert words in caplog.text
    assert let_in.taken == []


@pytest.mark.parametrize("body", [proposal((1, PET, (EXPLICIT,)))[:-3], b"\xff" * 80, b"", bytes(70)])
def test_requests_that_are_malformed(caller: Caller, body: bytes) -> None:
    caller.send(layer.ASSOCIATE_RQ, body)
    assert caller.answer()[0] == layer.ABORT
    with pytest.raises(ServeError, match="needed an A-ASSOCIATE-RQ"):
        layer.read_proposal(body)


def test_something_else_than_a_request(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caller.send(layer.RELEASE_RQ, bytes(4))
    assert caller.answer()[0] == layer.ABORT
    assert "needed an association request" in caplog.text


def test_an_abort_is_an_end(let_in: Caller) -> None:
    let_in.send(layer.ABORT, bytes(4))
    assert let_in.wire.recv(1) == b""


def test_beyond_the_most_associations_callers_are_put_off(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "MOST_ASSOCIATIONS", 1)
    receiver = Receiver(settings)
    port = receiver.start()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as first,
        socket.create_connection(("127.0.0.1", port), timeout=10) as second,
    ):
        until(lambda: len(receiver.open) == 1, 10)
        second.sendall(layer.unit(layer.ASSOCIATE_RQ, proposal((1, PET, (EXPLICIT,)))))
        first.sendall(layer.unit(layer.ASSOCIATE_RQ, proposal((1, PET, (EXPLICIT,)), called="LESIONLAB")))
        answers = {wire.recv(10) for wire in (first, second)}
        assert layer.rejection(2, 3, 2) in answers
    receiver.stop()
