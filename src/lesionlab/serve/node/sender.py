"""C-STORE towards a PACS: files of results, each acknowledged before it counts as sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pynetdicom import AE
from pynetdicom.presentation import build_context

from lesionlab.core.errors import ServeError
from lesionlab.serve.node.tls import client_context
from lesionlab.serve.settings import Destination, NodeSettings

MOST_CONTEXTS = 128
CONNECT_S, ANSWER_S = 10.0, 60.0


def send_dicom(files: Sequence[Path], destination: Destination, node: NodeSettings) -> None:
    """Store every file at a DICOM node. Sending the same files again does no harm.

    Raises ServeError, naming node or file, when it does not answer, takes no association or refuses a file.
    """
    ae = AE(ae_title=node.ae_title)
    ae.connection_timeout, ae.acse_timeout = CONNECT_S, CONNECT_S
    ae.dimse_timeout, ae.network_timeout = ANSWER_S, ANSWER_S
    kinds = {_kind(file) for file in files}
    for sop_class, syntax in sorted(kinds)[:MOST_CONTEXTS]:
        ae.requested_contexts = [*ae.requested_contexts, build_context(sop_class, syntax)]
    subject = f"{destination.ae_title} at {destination.host}:{destination.port}"
    tls = (client_context(node), destination.host) if destination.tls else None
    association = ae.associate(
        destination.host, destination.port, ae_title=destination.ae_title, tls_args=tls
    )
    if not association.is_established:
        found = "the association rejected" if association.is_rejected else "no answer"
        raise ServeError(subject, found, "a DICOM node that accepts us")
    try:
        for file in files:
            status = _store(association, file, subject)
            # B000, B006, B007: stored, with elements coerced or dropped (PS3.4 table B.2-1)
            if status != 0 and not 0xB000 <= status <= 0xBFFF:
                raise ServeError(subject, f"status {status:04X}H for {file.name}", "the file accepted")
    finally:
        association.release()


def _store(association: object, file: Path, subject: str) -> int:
    try:
        answer = association.send_c_store(file)  # type: ignore[attr-defined]
    except (ValueError, RuntimeError, OSError) as error:
        raise ServeError(subject, str(error).splitlines()[0], f"{file.name} accepted") from None
    if "Status" not in answer:
        raise ServeError(subject, f"no answer to {file.name}", "an acknowledgement")
    return int(answer.Status)


def _kind(file: Path) -> tuple[str, str]:
    meta = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
