"""One caller of our node, from request to release: instances in, acknowledgements out, nothing else.

A thread for each caller that waits on its socket. What becomes of an instance is the `take` function's
business; who may call, the `admit` function's.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import IO

from lesionlab.core.errors import ServeError
from lesionlab.serve.node import upper_layer as layer

C_STORE, C_ECHO, C_CANCEL = 0x0001, 0x0030, 0x0FFF
SUCCESS, NO_SUCH_CLASS, NO_SUCH_OPERATION = 0x0000, 0x0122, 0x0211
"""Status codes, PS3.7 annex C."""
LONGEST_UNIT = 1 << 18
"""Size of the data units that we ask callers for ..."""
MOST_BYTES = 1 << 22
"""... and at which we hang up: nobody may make us hold more than this for a unit."""
BUFFER = 1 << 18
REQUEST_S, IDLE_S = 15.0, 60.0
"""How long a caller may take to begin, and be silent later."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Instance:
    """An instance as it came: `content` is a whole DICOM file, whose data set begins at `start`."""

    sop_uid: str
    syntax: str
    sender: str
    content: bytearray
    start: int


@dataclass(frozen=True)
class Rules:
    """What a node accepts, and what it does with it.

    `admit` tells for called and calling AE title why a caller is rejected (the reason of PS3.8 table 9-21),
    or None; `take` keeps an instance and returns the status of its answer. `most_bytes`: of one instance.
    """

    classes: frozenset[str]
    syntaxes: Sequence[str]
    admit: Callable[[str, str], int | None]
    take: Callable[[Instance], int]
    most_bytes: int


class Association:
    """Serves one connection until its end; `run` never raises for what a caller does."""

    def __init__(self, connection: socket.socket, rules: Rules) -> None:
        self.connection, self.rules = connection, rules
        self.contexts: dict[int, layer.Context] = {}
        self.sender = ""
        self.command_bytes = bytearray()
        self.command: layer.Command | None = None
        self.content, self.start = bytearray(), 0

    def run(self) -> None:
        """Answer until the caller releases, aborts, breaks the rules or falls silent."""
        try:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection.settimeout(REQUEST_S)
            with BufferedReader(self.connection.makefile("rb", buffering=0), BUFFER) as source:
                if self._begin(source):
                    self.connection.settimeout(IDLE_S)
                    while self._serve(source):
                        pass
        except ServeError as error:
            log.warning("%s: %s", self.sender or "a caller", error)
            self.end()
        except (OSError, EOFError) as error:
            # who only tries whether the port answers, as the service does at its start, has no name
            level = logging.WARNING if self.sender else logging.DEBUG
            log.log(level, "%s is gone: %s", self.sender or "a caller", error or type(error).__name__)
        finally:
            self.connection.close()

    def end(self) -> None:
        """Tell the caller that this is the end."""
        with suppress(OSError):
            self.connection.sendall(layer.abort())
            self.connection.shutdown(socket.SHUT_RDWR)

    def _begin(self, source: IO[bytes]) -> bool:
        """Negotiate; False when the caller is not let in."""
        kind, body = _read(source)
        if kind != layer.ASSOCIATE_RQ:
            raise ServeError("first message", f"type {kind}", "an association request")
        proposal = layer.read_proposal(body)
        reason = self.rules.admit(proposal.called, proposal.calling)
        if reason is not None:
            log.warning("rejected %s calling %s", proposal.calling or "nobody", proposal.called or "nobody")
            self.connection.sendall(layer.rejection(1, 1, reason))
            return False
        self.sender = proposal.calling
        self.contexts, results = layer.negotiate(proposal, self.rules.classes, self.rules.syntaxes)
        self.connection.sendall(layer.acceptance(proposal, self.contexts, results, LONGEST_UNIT))
        log.info("association with %s", self.sender or "nobody")
        return True

    def _serve(self, source: IO[bytes]) -> bool:
        """Take one message; False at the end."""
        kind, body = _read(source)
        if kind == layer.DATA:
            for context, bits, fragment in layer.data_values(body):
                self._take(context, bits, fragment)
            return True
        if kind == layer.RELEASE_RQ:
            self.connection.sendall(layer.unit(layer.RELEASE_RP, bytes(4)))
            return False
        if kind == layer.ABORT:
            log.info("%s aborted", self.sender)
            return False
        raise ServeError("message", f"type {kind}", "data, release or abort")

    def _take(self, number: int, bits: int, fragment: memoryview) -> None:
        """One fragment of a command or of its data set; answers when the last one is there."""
        context = self.contexts.get(number)
        if context is None:
            raise ServeError("data", f"presentation context {number}", "one that was accepted")
        if bits & layer.COMMAND:
            self._bounded(self.command_bytes, fragment, MOST_BYTES)
            if bits & layer.LAST:
                self._begin_command(context)
            return
        if self.command is None:
            raise ServeError("data", "a data set without a command", "a command first")
        self._bounded(self.content, fragment, self.rules.most_bytes)
        if bits & layer.LAST:
            self._answer(context)

    def _bounded(self, target: bytearray, fragment: memoryview, most: int) -> None:
        if len(target) + len(fragment) > most:
            raise ServeError("object", f"more than {most} bytes", "a smaller one")
        target += fragment

    def _begin_command(self, context: layer.Context) -> None:
        self.command = layer.read_command(bytes(self.command_bytes))
        self.command_bytes.clear()
        self.content = bytearray()
        if self.command.field == C_STORE:
            names = (self.command.sop_class, self.command.sop_uid, context.syntaxes[0], self.sender)
            self.content += layer.file_header(*names)
        self.start = len(self.content)
        if not self.command.has_data:
            self._answer(context)

    def _answer(self, context: layer.Context) -> None:
        command, self.command = self.command, None
        if command is None or command.field == C_CANCEL:
            return
        status = NO_SUCH_OPERATION
        if command.field == C_ECHO:
            status = SUCCESS
        elif command.field == C_STORE and command.sop_class != context.abstract:
            status = NO_SUCH_CLASS
        elif command.field == C_STORE:
            instance = Instance(command.sop_uid, context.syntaxes[0], self.sender, self.content, self.start)
            status = self.rules.take(instance)
        self.content = bytearray()
        self.connection.sendall(layer.answer(context.number, command, status))


def _read(source: IO[bytes]) -> tuple[int, bytes]:
    """The next protocol data unit; EOFError when the connection ends, ServeError when it is too long."""
    head = source.read(6)
    if len(head) < 6:
        raise EOFError("the connection ended without a release")
    kind, length = struct.unpack(">BxI", head)
    if not 1 <= kind <= 7 or length > MOST_BYTES:
        raise ServeError("message", f"type {kind} of {length} bytes", f"PS3.8, at most {MOST_BYTES} bytes")
    body = source.read(length)
    if len(body) < length:
        raise EOFError("the connection ended within a message")
    return kind, body
