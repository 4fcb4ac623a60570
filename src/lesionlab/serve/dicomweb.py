"""DICOMweb (PS3.18) as a client: STOW-RS to bring results to a server.

Fetching studies is `fetch.py`'s business; the DICOM network's is in `node/`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from lesionlab.core.errors import ServeError
from lesionlab.serve.settings import Destination

TIMEOUT_S = 60.0
FAILED_SEQUENCE = "00081198"
"""FailedSOPSequence of the answer, PS3.18 table I.1-1."""


def stow(files: Sequence[Path], destination: Destination) -> None:
    """Store every file at a DICOMweb server. Sending the same files again does no harm.

    Raises ServeError, naming the server, when it does not answer or refuses an instance.
    """
    boundary = uuid.uuid4().hex
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    headers = {**destination.headers, "Content-Type": content_type, "Accept": "application/dicom+json"}
    try:
        answer = httpx.post(
            f"{destination.url.rstrip('/')}/studies",
            content=_parts(files, boundary),
            headers=headers,
            timeout=TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        raise ServeError(destination.url, str(error) or type(error).__name__, "an answer") from None
    refused = _refused(answer)
    if answer.status_code not in (200, 202) or refused:
        found = f"HTTP status {answer.status_code}" + (f", {refused} instances refused" if refused else "")
        raise ServeError(destination.url, found, "all instances stored")


def _parts(files: Sequence[Path], boundary: str) -> Iterator[bytes]:
    for file in files:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield file.read_bytes()
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _refused(answer: httpx.Response) -> int:
    try:
        content = answer.json()
    except ValueError:
        return 0
    failed = content.get(FAILED_SEQUENCE, {}) if isinstance(content, dict) else {}
    return len(failed.get("Value", []))
