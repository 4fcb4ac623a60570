"""Callers of the node, byte by byte: answers by the standard, and an end for whoever breaks it."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from lesionlab.serve.node import listener, receiver
from lesionlab.serve.node.receiver import OUT_OF_RESOURCES, Instance, Receiver
from lesionlab.serve.settings import LimitSettings, ServeSettings
from serve_phantoms import until

PET, CT, ECHO = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1"
EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
UID = "1.2.3"
REQUEST, ACCEPT, REJECT, DATA, RELEASE, RELEASED, ABORT = range(1, 8)
"""Types of protocol data units, PS3.8 section 9.3."""
C_STORE, C_FIND, C_ECHO, C_CANCEL = 0x0001, 0x0020, 0x0030, 0x0FFF


class Node(Receiver):
    """A node that keeps what came in a list instead of on disk."""

    def __init__(self, settings: ServeSettings) -> None:
        self.taken: list[Instance] = []
        super().__init__(settings)

    def take(self, instance: Instance) -> int:
        self.taken.append(instance)
        return OUT_OF_RESOURCES if instance.sop_uid.endswith("9") else 0


class Caller:
    """The other side of an association."""

    def __init__(self, node: Node, port: int) -> None:
        self.node = node
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=10)

    def send(self, kind: int, body: bytes) -> None:
        self.wire.sendall(unit(kind, body))

    def answer(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self.wire.recv(6, socket.MSG_WAITALL))
        return kind, self.wire.recv(length, socket.MSG_WAITALL)

    def ask(
        self, *contexts: tuple[int, str, tuple[str, ...]], called: str = "LESIONLAB"
    ) -> tuple[int, bytes]:
        self.send(REQUEST, proposal(*contexts, called=called))
        return self.answer()

    def status(self) -> tuple[int, int]:
        """Field and status of the next response."""
        kind, body = self.answer()
        assert kind == DATA
        field, status = (body.index(struct.pack("<HHI", 0, element, 2)) + 8 for element in (0x0100, 0x0900))
        return struct.unpack_from("<H", body, field)[0], struct.unpack_from("<H", body, status)[0]

    def is_hung_up_on(self) -> bool:
        """True when the node ends the connection, with a word of abort or without."""
        try:
            rest = b"".join(iter(lambda: self.wire.recv(4096), b""))
        except ConnectionResetError:
            return True
        units = [rest[at : at + 10] for at in range(0, len(rest), 10)]
        return all(part[:6] == unit(ABORT, bytes(4))[:6] for part in units)


def unit(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def proposal(*contexts: tuple[int, str, tuple[str, ...]], called: str = "LESIONLAB") -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), b"ME".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract, syntaxes in contexts:
        inner = item(0x30, abstract.encode()) + b"".join(item(0x40, name.encode()) for name in syntaxes)
        body += item(0x20, bytes((number, 0, 0, 0)) + inner)
    return body + item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4"))


def command(field: int, sop_class: str = PET, sop_uid: str = UID, *, data: bool = True) -> bytes:
    """A command in one data unit's body, on context 1."""
    elements = {0x0002: sop_class.encode(), 0x0100: struct.pack("<H", field), 0x0110: struct.pack("<H", 7)}
    if field == C_CANCEL:
        elements = {0x0100: struct.pack("<H", field), 0x0120: struct.pack("<H", 7)}
    if data:
        elements[0x0700] = bytes(2)
    elements[0x0800] = struct.pack("<H", 0 if data else 0x0101)
    if field == C_STORE:
        elements[0x1000] = sop_uid.encode()
    content = b""
    for element, value in elements.items():
        value += b"\0" * (len(value) % 2)
        content += struct.pack("<HHI", 0, element, len(value)) + value
    return value_of(3, content)


def value_of(bits: int, content: bytes, context: int = 1) -> bytes:
    return struct.pack(">IBB", len(content) + 2, context, bits) + content


@pytest.fixture
def caller(settings: ServeSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    monkeypatch.setattr(listener, "REQUEST_S", 1.0)
    node = Node(settings.model_copy(update={"limits": LimitSettings(free_disk_gb=0.0, upload_mb=0.1)}))
    caller = Caller(node, node.start())
    yield caller
    caller.wire.close()
    node.stop()
    assert node.server is not None
    assert node.server.active_associations == []


@pytest.fixture
def let_in(caller: Caller) -> Caller:
    assert caller.ask((1, PET, (EXPLICIT,)), (3, ECHO, (EXPLICIT,)))[0] == ACCEPT
    return caller


def test_contexts_are_accepted_one_by_one_with_the_callers_first_choice(caller: Caller) -> None:
    contexts = [(1, PET, ("1.9", JPEG, EXPLICIT)), (3, "1.2.9", (EXPLICIT,)), (5, CT, ("1.9",))]
    kind, body = caller.ask(*contexts, (7, PET, (EXPLICIT,)))
    assert kind == ACCEPT
    found, at = {}, 68
    while at < len(body):
        sort, length = struct.unpack_from(">BxH", body, at)
        value = body[at + 4 : at + 4 + length]
        at += 4 + length
        if sort == 0x21:
            found[value[0]] = (value[2], value[8:].decode())
    assert found[1] == (0, JPEG)
    assert (found[3][0], found[5][0]) == (3, 4), "no such class, no such syntax"
    assert found[7] == (0, EXPLICIT)


def test_a_caller_that_is_not_admitted_is_told_why(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    assert caller.ask((1, PET, (EXPLICIT,)), called="OTHER") == (REJECT, bytes((0, 1, 1, 7)))
    assert caller.is_hung_up_on()
    until(lambda: "rejected 'ME' calling 'OTHER'" in caplog.text, 10)


def test_an_instance_is_put_together_from_its_fragments(let_in: Caller) -> None:
    let_in.send(DATA, command(C_STORE))
    let_in.send(DATA, value_of(0, b"one ") + value_of(0, b"two "))
    let_in.send(DATA, value_of(2, b"three!"))
    assert let_in.status() == (C_STORE | 0x8000, 0)
    [instance] = let_in.node.taken
    assert instance.content[instance.start :] == b"one two three!"
    assert instance.content[128:132] == b"DICM"
    assert (instance.sop_uid, instance.syntax, instance.sender) == (UID, EXPLICIT, "ME")
    let_in.send(DATA, command(C_STORE, sop_uid="1.9") + value_of(2, b"more"))
    assert let_in.status() == (C_STORE | 0x8000, OUT_OF_RESOURCES)
    let_in.send(RELEASE, bytes(4))
    assert let_in.answer() == (RELEASED, bytes(4))


def test_other_commands_are_answered_and_do_not_end_the_association(let_in: Caller) -> None:
    let_in.send(DATA, command(C_STORE, CT) + value_of(2, b"data"))
    assert let_in.status() == (C_STORE | 0x8000, receiver.NOT_OF_THIS_CLASS)
    let_in.send(DATA, command(C_CANCEL, data=False))
    echo = command(C_ECHO, ECHO, data=False)
    let_in.send(DATA, echo[:4] + b"\3" + echo[5:])
    assert let_in.status() == (C_ECHO | 0x8000, 0)
    assert let_in.node.taken == []


# a command that is none ends the library's own thread for this caller
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "breach",
    [
        lambda caller: caller.send(DATA, value_of(3, command(C_STORE)[6:], context=9) + value_of(2, b"", 9)),
        lambda caller: caller.send(DATA, value_of(2, b"x")),
        lambda caller: caller.send(DATA, value_of(3, b"x" * 9)),
        lambda caller: caller.send(DATA, b"\0\0\0\xff\1\3"),
        lambda caller: caller.send(DATA, b"\0\0"),
        lambda caller: caller.send(DATA, command(C_FIND) + value_of(2, b"query")),
        lambda caller: caller.send(RELEASED, bytes(4)),
        lambda caller: caller.send(9, bytes(4)),
        lambda caller: caller.wire.shutdown(socket.SHUT_WR),
    ],
)
def test_for_who_breaks_the_rules_it_is_over(let_in: Caller, breach: Callable[[Caller], None]) -> None:
    breach(let_in)
    assert let_in.is_hung_up_on()
    until(lambda: not let_in.node.server.active_associations, 10)
    assert let_in.node.taken == []


@pytest.mark.parametrize("unit_bytes", [1 << 14, 1 << 30])
def test_nobody_makes_us_hold_more_than_an_object_may_have(
    let_in: Caller, unit_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In many units, or in one that claims to be huge."""
    let_in.send(DATA, command(C_STORE))
    part = struct.pack(">BxIIBB", DATA, unit_bytes + 6, unit_bytes + 2, 1, 0)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(1000):
            let_in.wire.sendall(part + bytes(1 << 14))
            part = part if unit_bytes == 1 << 14 else b""
    until(lambda: "more than the 100000 bytes that an object may have" in caplog.text, 10)
    until(lambda: not let_in.node.server.active_associations, 10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("body", [proposal((1, PET, (EXPLICIT,)))[:-3], b"\xff" * 80, b"", bytes(70)])
def test_requests_that_are_malformed(caller: Caller, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caller.send(REQUEST, body)
    assert caller.is_hung_up_on()
    until(lambda: "a caller sent something else than an association request" in caplog.text, 10)


def test_an_endless_request(caller: Caller) -> None:
    caller.wire.sendall(struct.pack(">BxI", REQUEST, 1 << 31))
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(100):
            caller.wire.sendall(bytes(1 << 16))


def test_something_else_than_a_request(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caller.wire.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert caller.is_hung_up_on()
    until(lambda: "a caller sent something else than an association request" in caplog.text, 10)


def test_an_abort_is_an_end(let_in: Caller, caplog: pytest.LogCaptureFixture) -> None:
    let_in.send(ABORT, bytes(4))
    assert let_in.is_hung_up_on()
    until(lambda: "'ME' calling 'LESIONLAB' ended without a release" in caplog.text, 10)


def test_who_only_knocks_is_forgotten_at_once(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand connections that say nothing, most at once more than we look after; then a real one."""
    _, port = caller.wire.getpeername()
    knocks = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
    until(lambda: "hung up on a caller: 48 connections are open" in caplog.text, 10)
    for knock in knocks:
        knock.close()
    for _ in range(940):
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    caller.wire.close()
    until(lambda: not caller.node.server.active_associations, 10)
    late = Caller(caller.node, port)
    assert late.ask((1, PET, (EXPLICIT,)))[0] == ACCEPT
    late.wire.close()


def test_beyond_the_most_associations_callers_are_put_off(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MOST_ASSOCIATIONS", 1)
    node = Node(settings)
    port = node.start()
    first = Caller(node, port)
    assert first.ask((1, PET, (EXPLICIT,)))[0] == ACCEPT
    second = Caller(node, port)
    assert second.ask((1, PET, (EXPLICIT,))) == (REJECT, bytes((0, 2, 3, 2)))
    for caller in (first, second):
        caller.wire.close()
    node.stop()


def test_half_open_callers_do_not_hold_up_the_end(settings: ServeSettings) -> None:
    node = Node(settings)
    port = node.start()
    silent, partly, idle = (Caller(node, port) for _ in range(3))
    partly.wire.sendall(proposal((1, PET, (EXPLICIT,)))[:40])
    assert idle.ask((1, PET, (EXPLICIT,)))[0] == ACCEPT
    until(lambda: len(node.server.active_associations) == 3, 10)
    end = threading.Thread(target=node.stop)
    end.start()
    end.join(5)
    assert not end.is_alive()
    for caller in (silent, partly, idle):
        with caller.wire:
            assert caller.is_hung_up_on()


def test_the_log_of_a_receiver_has_a_line_for_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pynetdicom", "pynetdicom.dul", "pynetdicom.fsm", "pynetdicom.dimse"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    monkeypatch.setattr(threading, "excepthook", None)
    receiver.quiet("r")
    assert not logging.getLogger("pynetdicom.dul").isEnabledFor(logging.ERROR)
    assert logging.getLogger("pynetdicom.association").isEnabledFor(logging.ERROR)
    told = threading.ExceptHookArgs((ValueError, ValueError("x"), None, None))
    with monkeypatch.context() as context:
        lines: list[str] = []
        context.setattr(receiver.log, "warning", lambda text, *given: lines.append(text % given))
        threading.excepthook(told)
    assert lines == ["a caller's thread ended: ValueError('x')"]
