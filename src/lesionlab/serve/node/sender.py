"""C-STORE towards a PACS: files of results, each acknowledged before it counts as sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

    Raises ServeError, naming node or file, when it does not answer, takes no association or refuses a file;
    what it refuses keeps none of the others from being stored.
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
        # one that is refused keeps none of the others from being stored
        refused = [told for file in files if (told := _refusal(association, file, subject))]
    finally:
        association.release()
    if refused:
        raise ServeError(subject, ", ".join(refused), "every file accepted")


def _refusal(association: Any, file: Path, subject: str) -> str:
    """Store one file; why it was refused, empty where it was not. ServeError where nobody answers."""
    try:
        answer = association.send_c_store(file)
    except ValueError as error:
        # no presentation context for its class, say
        return f"{file.name}: {str(error).splitlines()[0]}"
    except (RuntimeError, OSError) as error:
        raise ServeError(subject, str(error).splitlines()[0], f"{file.name} accepted") from None
    if "Status" not in answer:
        raise ServeError(subject, f"no answer to {file.name}", "an acknowledgement")
    status = int(answer.Status)
    # B000, B006, B007: stored, with elements coerced or dropped (PS3.4 table B.2-1)
    return "" if status == 0 or 0xB000 <= status <= 0xBFFF else f"status {status:04X}H for {file.name}"


def _kind(file: Path) -> tuple[str, str]:
    meta = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
