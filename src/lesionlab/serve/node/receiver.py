"""C-STORE and C-ECHO: instances are taken in as they come, undecoded, and acknowledged when on disk.

A receiver is a process of its own (several may share a port), so that a busy page or worker never slows
it down. It decides nothing about a study; it only refuses what the service has no room for.

    python -m lesionlab.serve.node.receiver SETTINGS.json NAME
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from io import BytesIO
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer

from lesionlab.core.errors import LesionLabError, ServeError, WriteError
from lesionlab.serve.jobs import Queue
from lesionlab.serve.node.tls import server_context
from lesionlab.serve.room import no_room
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
"""Status codes of the C-STORE response, PS3.4 table B.2-1."""
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
ROOM_EVERY_S = 1.0
MOST_ASSOCIATIONS = 32

log = logging.getLogger(__name__)


class Receiver:
    """Our storage provider: one server on the node's port."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.store, self.queue = Store(settings.data), Queue(settings.database_url)
        self.asked, self.no_room = float("-inf"), ""
        self.server: ThreadedAssociationServer | None = None

    def start(self) -> int:
        """Begin to listen; returns the port. Raises ServeError when the port cannot be had."""
        node = self.settings.node
        ae = AE(ae_title=node.ae_title)
        ae.maximum_associations = MOST_ASSOCIATIONS
        ae.require_called_aet = True
        ae.require_calling_aet = list(node.ae_titles)
        # the default of 16 KiB costs one turn of the event loop for each such piece
        ae.maximum_pdu_size = 0
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, TRANSFER_SYNTAXES)
        ae.add_supported_context(VERIFICATION)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self.handle_store),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_REQUESTED, self.handle_requested),
        ]
        try:
            self.server = ae.make_server(
                (node.host, node.port),
                ssl_context=server_context(node),
                evt_handlers=handlers,
                server_class=_SharedPort,
            )
        except OSError as error:
            where = f"{node.host}:{node.port}"
            raise ServeError(where, error.strerror or str(error), "a port that is free") from None
        threading.Thread(target=self.server.serve_forever, args=(0.2,), daemon=True).start()
        return int(self.server.server_address[1])

    def stop(self) -> None:
        """Stop listening; associations that are open are ended."""
        if self.server is not None:
            self.server.shutdown()
            for association in self.server.active_associations:
                association.abort()
        self.queue.close()

    def handle_requested(self, event: Any) -> None:
        """Note who calls; the allow-list itself is kept by the association's negotiation."""
        primitive = event.assoc.requestor.primitive
        caller = "" if primitive is None else str(primitive.calling_ae_title).strip()
        log.info("association requested by %s", caller or "nobody")

    def handle_store(self, event: Any) -> int:
        """Keep one instance; the status tells the sender whether it may forget it."""
        refusal = self.room()
        if refusal:
            log.warning("refused an instance: %s", refusal)
            return OUT_OF_RESOURCES
        content = event.encoded_dataset()
        sop_uid = str(event.request.AffectedSOPInstanceUID)
        try:
            study_uid = study_of(content, sop_uid)
            caller = str(event.assoc.requestor.ae_title)
            self.store.put_instance(study_uid, sop_uid, content, sender=caller)
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


def study_of(content: bytes, subject: str) -> str:
    """The study UID of an encoded DICOM file; ServeError naming `subject` when it has none."""
    try:
        header = pydicom.dcmread(
            BytesIO(content), specific_tags=["StudyInstanceUID"], stop_before_pixels=True
        )
        return str(header.StudyInstanceUID)
    except (InvalidDicomError, AttributeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ServeError(
            f"instance {subject[:64]}", type(error).__name__, "a data set with StudyInstanceUID"
        ) from None


class _SharedPort(ThreadedAssociationServer):
    """A server that lets others share its port: the system gives each its part of the callers."""

    allow_reuse_port = True
    request_queue_size = 128

    def shutdown(self) -> None:
        """Stop serving and let go of the port (the library's own looks itself up in its entity first)."""
        TCPServer.shutdown(self)
        self.server_close()


def main(arguments: list[str]) -> int:
    """Receive for the settings in a JSON file until SIGTERM, or until the service is gone."""
    file, name = arguments
    settings = ServeSettings.model_validate_json(Path(file).read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(message)s")
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    receiver, parent, stopped = Receiver(settings), os.getppid(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    receiver.start()
    while not stopped.wait(0.5) and os.getppid() == parent:
        pass
    receiver.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
