"""The node's listening socket: pynetdicom's server, with bounds for callers that it does not set itself.

Whoever connects may keep a thread waiting only for so long and make us hold only so many bytes. What is said
over a connection is pynetdicom's business, what is done with it the receiver's.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

REQUEST_S, IDLE_S = 15.0, 60.0
"""How long a caller may take to begin or to finish a message, and be silent between messages."""
REQUEST_BYTES = 1 << 20
"""At most so much before the first answer: an association request of 128 contexts is a tenth of it."""
MOST_ASSOCIATIONS = 32
"""Beyond it callers are rejected as the standard says ..."""
MOST_CONNECTIONS = 48
"""... and beyond this hung up on: each one that has not said anything yet costs a thread, too."""
WAITING_CALLERS = 128
POLL_S = 0.1
IDLE, AWAITING_REQUEST = "Sta1", "Sta2"
INVALID = "Evt19"
"""States of a connection and an event in it, PS3.8 table 9-10: over, before the request, an invalid unit."""

log = logging.getLogger(__name__)


class Meter:
    """Counts what a caller sends between two of our answers; OSError beyond `most` bytes.

    Raised within pynetdicom's reading of a message: for it the connection is lost, and so it becomes.
    """

    def __init__(self, most: int) -> None:
        self.most, self.left = most, REQUEST_BYTES

    def came(self, size: int) -> None:
        """So many bytes were read."""
        self.left -= size
        if self.left < 0:
            log.warning("a caller sent more than the %d bytes that an object may have", self.most)
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))

    def answered(self) -> None:
        """We sent something: the next object may come."""
        self.left = self.most


class Wire(socket.socket):
    """A metered connection."""

    meter: Meter

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As a socket's, counted."""
        received = super().recv(bufsize, flags)
        self.meter.came(len(received))
        return received

    def send(self, data: Any, flags: int = 0) -> int:
        """As a socket's; the count begins anew."""
        self.meter.answered()
        return super().send(data, flags)


class SecureWire(ssl.SSLSocket):
    """A metered connection within TLS."""

    meter: Meter

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As a socket's, counted."""
        received = super().recv(buflen, flags)
        self.meter.came(len(received))
        return received

    def send(self, data: Any, flags: int = 0) -> int:
        """As a socket's; the count begins anew."""
        self.meter.answered()
        return super().send(data, flags)


@dataclass(frozen=True)
class Bounds:
    """How a node listens; `most_bytes` is what one object may have."""

    tls: ssl.SSLContext | None
    most_bytes: int


class Listener(ThreadedAssociationServer):
    """pynetdicom's server, on a port that several processes share."""

    request_queue_size = WAITING_CALLERS

    def __init__(self, ae: AE, *given: Any, bounds: Bounds, **named: Any) -> None:
        self.bounds = bounds
        if bounds.tls is not None:
            bounds.tls.sslsocket_class = SecureWire
        super().__init__(ae, *given, **named)
        self.bind(evt.EVT_FSM_TRANSITION, over_before_it_began)

    def server_bind(self) -> None:
        """The system gives each process that shares the port its part of the callers."""
        self._listening().setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection, bounded; TLS begins later, in the caller's own thread."""
        try:
            accepted, address = self._listening().accept()
        except OSError:
            # too many open files, say: it would come again at once
            time.sleep(POLL_S)
            raise
        connection: Wire | SecureWire = Wire(fileno=accepted.detach())
        try:
            connection.settimeout(REQUEST_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.bounds.tls is not None:
                made = self.bounds.tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
                connection = cast(SecureWire, made)
        except OSError:
            connection.close()
            raise
        connection.meter = Meter(self.bounds.most_bytes)
        return connection, address

    def _listening(self) -> socket.socket:
        return cast(socket.socket, self.socket)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """False, and the connection is closed, beyond what we can look after."""
        if len(self.active_associations) < MOST_CONNECTIONS:
            return True
        log.warning("hung up on a caller: %d connections are open", MOST_CONNECTIONS)
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that could not be served ends; the others go on."""
        log.exception("a connection ended")

    def close_all(self) -> None:
        """Stop listening, end every association and return when nobody is served any more."""
        # pynetdicom's own `shutdown` only knows servers of the class that it chose
        BaseServer.shutdown(self)
        self.server_close()
        callers = self.active_associations
        for association in callers:
            if association.is_established:
                association.abort()
            else:
                hang_up(association)
        for association in callers:
            association.join()


def over_before_it_began(event: evt.Event) -> None:
    """Let an association end with its connection when the caller never made a valid request.

    pynetdicom would wait for the request until its time is over, and count the caller among the open ones.
    """
    if event.current_state == AWAITING_REQUEST and event.fsm_event == INVALID:
        log.warning("a caller sent something else than an association request")
    if event.next_state == IDLE and not event.assoc.is_established:
        # nothing in the queue of what came: as if the time were over
        event.assoc.dul.to_user_queue.put(cast(Any, None))


def hang_up(association: Association) -> None:
    """Close the connection of a caller that is not associated yet."""
    wire = association.dul.socket
    if wire is not None and wire.socket is not None:
        with suppress(OSError):
            wire.socket.shutdown(socket.SHUT_RDWR)
