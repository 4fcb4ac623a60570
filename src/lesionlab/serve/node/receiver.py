"""C-STORE and C-ECHO: instances are taken in as they come, undecoded, and acknowledged when on disk.

A receiver is a process of its own (several may share a port), so that a busy page or worker never slows
it down. It decides nothing about a study; it only refuses what the service has no room for.

    python -m lesionlab.serve.node.receiver SETTINGS.json NAME SERVICE

SERVICE is the number of the service's process, as for a worker.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context

from lesionlab.core.errors import LesionLabError, ServeError, WriteError
from lesionlab.serve.headers import data_values, file_values
from lesionlab.serve.jobs import Queue
from lesionlab.serve.node import listener
from lesionlab.serve.node.listener import Bounds, Listener
from lesionlab.serve.node.tls import server_context
from lesionlab.serve.room import no_room
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
NOT_OF_THIS_CLASS = 0xA900
"""Status codes of the C-STORE response, PS3.4 table B.2-1."""
LONGEST_UNIT = 1 << 18
"""Size of the data units that we ask callers for."""
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
SWITCH_S = 0.0005
"""How long a thread may keep the interpreter. Two for each caller wait for each other: with Python's own 5 ms
a receiver that shares its processors takes a third fewer instances."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Instance:
    """An instance as it came: `content` is a whole DICOM file, whose data set begins at `start`."""

    sop_uid: str
    syntax: str
    sender: str
    content: bytes
    start: int


class Receiver:
    """Our storage provider: one server on the node's port."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.store, self.queue = Store(settings.data), Queue(settings.database_url)
        self.asked, self.no_room = float("-inf"), ""
        self.server: Listener | None = None
        self.thread: threading.Thread | None = None

    def start(self) -> int:
        """Begin to listen; returns the port. Raises ServeError when the port cannot be had."""
        node = self.settings.node
        most = int(self.settings.limits.upload_mb * 1e6)
        bounds = Bounds(server_context(node), most)
        # or it would describe every message, for a log that nobody reads
        _config.LOG_HANDLER_LEVEL = "none"
        ae = self._entity()
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, offer),
            (evt.EVT_ACCEPTED, lambda event: log.info("association with %s", _caller(event))),
            (evt.EVT_REJECTED, lambda event: log.warning("rejected %s", _caller(event))),
            (evt.EVT_ABORTED, lambda event: log.warning("%s ended without a release", _caller(event))),
            (evt.EVT_C_STORE, self._store),
        ]
        try:
            server = ae.make_server(
                (node.host, node.port), evt_handlers=handlers, server_class=Listener, bounds=bounds
            )
        except OSError as error:
            where = f"{node.host}:{node.port}"
            raise ServeError(where, error.strerror or str(error), "a port that is free") from None
        self.server = cast(Listener, server)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(listener.POLL_S,), daemon=True)
        self.thread.start()
        return int(self.server.server_address[1])

    def stop(self) -> None:
        """Stop listening; associations that are open are ended."""
        if self.server is not None:
            self.server.close_all()
        if self.thread is not None:
            self.thread.join()
        self.queue.close()

    def _entity(self) -> AE:
        node, ae = self.settings.node, AE(self.settings.node.ae_title)
        ae.require_called_aet = True
        ae.require_calling_aet = list(node.ae_titles)
        ae.maximum_associations = listener.MOST_ASSOCIATIONS
        ae.maximum_pdu_size = LONGEST_UNIT
        ae.acse_timeout = ae.dimse_timeout = listener.REQUEST_S
        ae.network_timeout = listener.IDLE_S
        # storage classes are added for each caller, those that it asks for: see `offer`
        ae.add_supported_context(VERIFICATION, TRANSFER_SYNTAXES)
        return ae

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE."""
        request, context = cast(C_STORE, event.request), event.context
        if request.AffectedSOPClassUID != context.abstract_syntax:
            return NOT_OF_THIS_CLASS
        content = event.encoded_dataset()
        sender = event.assoc.requestor.ae_title
        start = len(content) - len(event.encoded_dataset(include_meta=False))
        uid, syntax = str(request.AffectedSOPInstanceUID), str(context.transfer_syntax)
        return self.take(Instance(uid, syntax, sender, content, start))

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


def offer(event: evt.Event) -> None:
    """Accept what a caller proposes as far as we know it: all storage classes, each in the caller's own order
    of transfer syntaxes.

    A list of all classes for every caller would cost pynetdicom a tenth of a second each time.
    """
    wanted: dict[str, list[str]] = {}
    request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
    for context in request.presentation_context_definition_list:
        name = str(context.abstract_syntax)
        if name in CLASSES:
            wanted.setdefault(name, []).extend(str(syntax) for syntax in context.transfer_syntax)
    supported = event.assoc.acceptor.supported_contexts
    supported += [_context(name, proposed) for name, proposed in wanted.items()]
    event.assoc.acceptor.supported_contexts = supported


def _context(name: str, proposed: list[str]) -> PresentationContext:
    known = [syntax for syntax in dict.fromkeys(proposed) if syntax in TRANSFER_SYNTAXES]
    # none known: pynetdicom then says that it is for want of a syntax
    return build_context(name, known or TRANSFER_SYNTAXES[:1])


def _caller(event: evt.Event) -> str:
    """Who calls whom; in quotation marks, for the names are the caller's and may hold anything."""
    request = event.assoc.requestor.primitive
    if request is None:
        return "a caller"
    return f"{request.calling_ae_title!r} calling {request.called_ae_title!r}"


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


def quiet(name: str) -> None:
    """Log one line for what a caller does wrong, not the library's whole way there."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(message)s")
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    for part in ("dul", "fsm", "dimse"):
        logging.getLogger(f"pynetdicom.{part}").setLevel(logging.CRITICAL)
    threading.excepthook = lambda told: log.warning("a caller's thread ended: %r", told.exc_value)


def main(arguments: list[str]) -> int:
    """Receive for the settings in a JSON file until SIGTERM, or until the service is gone."""
    file, name, service = arguments
    settings = ServeSettings.model_validate_json(Path(file).read_text(encoding="utf-8"))
    quiet(name)
    sys.setswitchinterval(SWITCH_S)
    receiver, parent, stopped = Receiver(settings), int(service), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() != parent:
        # the service was killed while we came up; another one's port this may be now
        return 0
    try:
        receiver.start()
    except LesionLabError as error:
        log.error("%s", error)
        return 1
    while not stopped.wait(0.5) and os.getppid() == parent:
        pass
    receiver.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
