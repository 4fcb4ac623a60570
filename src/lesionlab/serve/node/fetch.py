"""C-FIND and C-MOVE: a PACS is asked for the studies of an accession number and sends them to our node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE

from lesionlab.core.errors import ServeError
from lesionlab.serve.node.tls import client_context
from lesionlab.serve.settings import NodeSettings, Source

FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
"""Study Root Query / Retrieve, PS3.4 table C.6.2-1."""
CONNECT_S, ANSWER_S = 10.0, 300.0
PENDING = (0xFF00, 0xFF01)
"""Statuses of answers that are followed by more, PS3.4 tables C.4-1 and C.4-2."""


def fetch_dicom(accession: str, source: Source, node: NodeSettings) -> list[str]:
    """Have every study of an accession number sent to our node; returns their UIDs.

    The source must know our AE title and where it listens. Raises ServeError, naming the source, when it does
    not answer, refuses, has no such study or could not send all of it.
    """
    subject = f"{source.ae_title} at {source.host}:{source.port}"
    with _association(source, node, subject) as association:
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.AccessionNumber, query.StudyInstanceUID = accession, ""
        studies = []
        for status, found in association.send_c_find(query, FIND):
            code = _code(status, subject)
            if code in PENDING and found is not None:
                studies.append(str(found.StudyInstanceUID))
            elif code != 0:
                raise ServeError(subject, f"status {code:04X}H of a query", "an answer")
        if not studies:
            raise ServeError(subject, "no study of this accession number", "one that it holds")
        for study in studies:
            _move(association, study, node.ae_title, subject)
    return studies


def _move(association: Any, study: str, title: str, subject: str) -> None:
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study
    code = 0
    for status, _ in association.send_c_move(wanted, title, MOVE):
        code = _code(status, subject)
        failed = int(status.get("NumberOfFailedSuboperations", 0) or 0)
        if code not in PENDING and (code != 0 or failed):
            found = f"status {code:04X}H of a retrieval, {failed} instances not sent"
            raise ServeError(subject, found, f"the whole study sent to {title}, which it must know")
    if code != 0:
        raise ServeError(subject, "a retrieval that did not end", "the whole study")


def _code(status: Dataset, subject: str) -> int:
    if "Status" not in status:
        raise ServeError(subject, "an association that ended", "an answer")
    return int(status.Status)


@contextmanager
def _association(source: Source, node: NodeSettings, subject: str) -> Iterator[Any]:
    ae = AE(ae_title=node.ae_title)
    ae.connection_timeout, ae.acse_timeout = CONNECT_S, CONNECT_S
    ae.dimse_timeout, ae.network_timeout = ANSWER_S, ANSWER_S
    ae.add_requested_context(FIND)
    ae.add_requested_context(MOVE)
    tls = (client_context(node), source.host) if source.tls else None
    association = ae.associate(source.host, source.port, ae_title=source.ae_title, tls_args=tls)
    if not association.is_established:
        found = "the association rejected" if association.is_rejected else "no answer"
        raise ServeError(subject, found, "a DICOM node that accepts us")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
