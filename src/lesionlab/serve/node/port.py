"""The node's port, asked for before receivers start.

Receivers share their port (SO_REUSEPORT): the system would let them share it with a service on another data
folder, too, and each would get a part of every study's callers.
"""

from __future__ import annotations

import errno
import socket
import time

from lesionlab.core.errors import ServeError
from lesionlab.serve.settings import NodeSettings

PATIENCE_S = 5.0
"""Receivers of a service that was killed notice it within half a second and hang up on their callers."""
POLL_S = 0.1


def require_port(node: NodeSettings) -> None:
    """Return when nobody listens on the node's port; ServeError when somebody does for too long.

    The same for an address that is not this machine's. Port 0 (any free one) is always free.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.socket() as probe:
                # not kept by connections that are just closing, but by whoever listens
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((node.host, node.port))
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                where, found = f"{node.host}:{node.port}", error.strerror or str(error)
                raise ServeError(where, found, "an address of this machine and a port that is free") from None
        time.sleep(POLL_S)
