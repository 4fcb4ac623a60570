"""C-STORE and C-ECHO: instances are taken in as they come, undecoded, and acknowledged when on disk.

A receiver is a process of its own (several may share a port), so that a busy page or worker never slows
it down. It decides nothing about a study; it only refuses what the service has no room for.

    python -m lesionlab.serve.node.receiver SETTINGS.json NAME
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from pynetdicom import AllStoragePresentationContexts

from lesionlab.core.errors import LesionLabError, ServeError, WriteError
from lesionlab.serve.headers import data_values, file_values
from lesionlab.serve.jobs import Queue
from lesionlab.serve.node.association import REQUEST_S, Association, Instance, Rules
from lesionlab.serve.node.tls import server_context
from lesionlab.serve.node.upper_layer import rejection
from lesionlab.serve.room import no_room
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
"""Status codes of the C-STORE response, PS3.4 table B.2-1."""
CALLING_UNKNOWN, CALLED_UNKNOWN = 3, 7
TOO_MANY = rejection(2, 3, 2)
"""Rejections, PS3.8 table 9-21; the last: transient, local limit exceeded."""
STUDY_UID = 0x0020000D
TRANSFER_SYNTAXES = [
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
]
"""Uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K; no video."""
CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
ROOM_EVERY_S = 1.0
MOST_ASSOCIATIONS = 32
WAITING_CALLERS = 128

log = logging.getLogger(__name__)


class Receiver:
    """Our storage provider: one server on the node's port."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.store, self.queue = Store(settings.data), Queue(settings.database_url)
        self.asked, self.no_room = float("-inf"), ""
        most = int(settings.limits.upload_mb * 1e6)
        self.rules = Rules(CLASSES | {VERIFICATION}, TRANSFER_SYNTAXES, self.admit, self.take, most)
        self.tls: ssl.SSLContext | None = None
        self.listener: socket.socket | None = None
        self.open: dict[Association, threading.Thread] = {}
        self.changing = threading.Lock()

    def start(self) -> int:
        """Begin to listen; returns the port. Raises ServeError when the port cannot be had."""
        node = self.settings.node
        self.tls = server_context(node)
        try:
            self.listener = _listening(node.host, node.port)
        except OSError as error:
            where = f"{node.host}:{node.port}"
            raise ServeError(where, error.strerror or str(error), "a port that is free") from None
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return int(self.listener.getsockname()[1])

    def stop(self) -> None:
        """Stop listening; associations that are open are ended."""
        if self.listener is not None:
            # wakes the thread that waits for callers
            with suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        with self.changing:
            callers = dict(self.open)
        for association in callers:
            association.end()
        for thread in callers.values():
            thread.join()
        self.queue.close()

    def admit(self, called: str, calling: str) -> int | None:
        """Why a caller is rejected; None when it may come in."""
        node = self.settings.node
        if called != node.ae_title:
            return CALLED_UNKNOWN
        return CALLING_UNKNOWN if node.ae_titles and calling not in node.ae_titles else None

    def take(self, instance: Instance) -> int:
        """Keep one instance; the status tells the sender whether it may forget it."""
        refusal = self.room()
        if refusal:
            log.warning("refused an instance: %s", refusal)
            return OUT_OF_RESOURCES
        try:
            study_uid = study_of(instance)
            self.store.put_instance(study_uid, instance.sop_uid, instance.content, sender=instance.sender)
        except WriteError as error:
            log.error("%s", error)
            return OUT_OF_RESOURCES
        except LesionLabError as error:
            log.warning("%s", error)
            return CANNOT_UNDERSTAND
        return SUCCESS

    def room(self) -> str:
        """Why nothing can be taken now; empty when there is room. Asked anew once a second."""
        now = time.monotonic()
        if now - self.asked > ROOM_EVERY_S:
            self.asked, self.no_room = now, no_room(self.settings, self.store, self.queue)
        return self.no_room

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                # closed by `stop`; anything else would come again at once
                if listener.fileno() < 0:
                    return
                time.sleep(0.1)
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """Serve one caller; a failure here, of whatever kind, ends this caller's connection alone."""
        try:
            connection.settimeout(REQUEST_S)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
        except OSError as error:
            log.warning("no TLS with a caller: %s", error)
            connection.close()
            return
        association = Association(connection, self.rules)
        with self.changing:
            full = len(self.open) >= MOST_ASSOCIATIONS
            if not full:
                self.open[association] = threading.current_thread()
        if full:
            log.warning("rejected a caller: %d associations are open", MOST_ASSOCIATIONS)
            with suppress(OSError), connection:
                connection.recv(1)
                connection.sendall(TOO_MANY)
            return
        try:
            association.run()
        except Exception:
            log.exception("an association ended")
        finally:
            with self.changing:
                self.open.pop(association, None)


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket whose port others may share: the system gives each its part of the callers."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(WAITING_CALLERS)
    except OSError:
        listener.close()
        raise
    return listener


def study_of(instance: Instance) -> str:
    """The study UID of an instance; ServeError naming it when it has none."""
    content = instance.content
    values = data_values(content, instance.syntax, (STUDY_UID,), start=instance.start)
    if values is None:
        values = _decoded(instance)
    if not values.get(STUDY_UID):
        subject = f"instance {instance.sop_uid[:64]}"
        raise ServeError(subject, "none that can be read", "a data set with StudyInstanceUID")
    return values[STUDY_UID]


def _decoded(instance: Instance) -> dict[int, str]:
    try:
        return file_values(bytes(instance.content), (STUDY_UID,))
    except ValueError:
        return {}


def main(arguments: list[str]) -> int:
    """Receive for the settings in a JSON file until SIGTERM, or until the service is gone."""
    file, name = arguments
    settings = ServeSettings.model_validate_json(Path(file).read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(message)s")
    receiver, parent, stopped = Receiver(settings), os.getppid(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    receiver.start()
    while not stopped.wait(0.5) and os.getppid() == parent:
        pass
    receiver.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
