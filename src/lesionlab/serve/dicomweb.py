"""DICOMweb (PS3.18) as a client: STOW-RS to bring results, QIDO-RS and WADO-RS to fetch studies.

The DICOM network is in `node/`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx

from lesionlab.core.errors import ServeError
from lesionlab.serve.headers import file_values
from lesionlab.serve.settings import Destination, Source
from lesionlab.serve.store import UID, Store

TIMEOUT_S = 60.0
STUDY_UID, SOP_UID = 0x0020000D, 0x00080018
FAILED_SEQUENCE = "00081198"
"""FailedSOPSequence of the answer, PS3.18 table I.1-1."""


def stow(files: Sequence[Path], destination: Destination) -> None:
    """Store every file at a DICOMweb server. Sending the same files again does no harm.

    Raises ServeError, naming the server, when it does not answer or refuses an instance.
    """
    boundary, place = uuid.uuid4().hex, shown(destination.url)
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
        raise ServeError(place, str(error) or type(error).__name__, "an answer") from None
    refused = _refused(answer)
    if answer.status_code not in (200, 202) or refused:
        found = f"HTTP status {answer.status_code}" + (f", {refused} instances refused" if refused else "")
        raise ServeError(place, found, "all instances stored")


def fetch_dicomweb(accession: str, source: Source, store: Store, most_bytes: int) -> list[str]:
    """Fetch every study of an accession number into the store; returns their UIDs.

    Raises ServeError, naming the server, when it does not answer, has no such study, or sends what is no
    DICOM or an instance of more than `most_bytes`.
    """
    root = source.url.rstrip("/")
    try:
        with httpx.Client(timeout=TIMEOUT_S, headers=source.headers) as client:
            studies = _studies(client, root, accession)
            for study in studies:
                _fetch_study(client, f"{root}/studies/{study}", store, most_bytes)
    except httpx.HTTPError as error:
        raise ServeError(shown(source.url), str(error) or type(error).__name__, "an answer") from None
    return studies


def shown(url: str) -> str:
    """A URL without the user and password that it may hold: it stands in reasons that everybody reads."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _studies(client: httpx.Client, root: str, accession: str) -> list[str]:
    headers = {"Accept": "application/dicom+json"}
    # some servers do not decode what a query may hold as it is (RFC 3986 section 3.4)
    wanted = quote(accession, safe="/:@!$'(),;")
    answer = client.get(f"{root}/studies?AccessionNumber={wanted}", headers=headers)
    if answer.status_code not in (200, 204):
        raise ServeError(shown(root), f"HTTP status {answer.status_code} of a query", "an answer")
    try:
        found = answer.json() if answer.status_code == 200 else []
        studies = [str(item["0020000D"]["Value"][0]) for item in found]
    except (ValueError, KeyError, IndexError, TypeError):
        raise ServeError(shown(root), "an answer that cannot be read", "studies as DICOM JSON") from None
    if not studies:
        raise ServeError(shown(root), "no study of this accession number", "one that it holds")
    if not all(UID.fullmatch(study) for study in studies):
        raise ServeError(shown(root), "studies without UIDs", "UIDs of digits and dots")
    return studies


def _fetch_study(client: httpx.Client, place: str, store: Store, most_bytes: int) -> None:
    headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    with client.stream("GET", place, headers=headers) as answer:
        boundary = re.search(r'boundary="?([^";,]+)', answer.headers.get("content-type", ""))
        if answer.status_code != 200 or boundary is None:
            raise ServeError(shown(place), f"HTTP status {answer.status_code}", "the study's instances")
        count, sender = 0, urlsplit(shown(place)).netloc
        for part in multipart(answer.iter_bytes(), boundary[1].encode(), most_bytes):
            try:
                values = file_values(part, (STUDY_UID, SOP_UID))
                store.put_instance(values[STUDY_UID], values[SOP_UID], part, sender=sender)
            except (ValueError, KeyError) as error:
                raise ServeError(
                    shown(place), f"a part that is no instance ({error})", "DICOM files"
                ) from None
            count += 1
    if not count:
        raise ServeError(shown(place), "no instances", "the study's instances")


def multipart(chunks: Iterable[bytes], boundary: bytes, most_bytes: int) -> Iterator[bytes]:
    """The contents of a multipart message's parts, one after another (RFC 2046).

    Raises ServeError for a part of more than `most_bytes`, and for a message that ends within one.
    """
    mark, content = b"\r\n--" + boundary, bytearray(b"\r\n")
    # where the mark cannot begin any more: nothing is searched twice
    begun, seen = False, 0
    for chunk in chunks:
        content += chunk
        while (end := content.find(mark, seen)) >= 0:
            if begun:
                yield bytes(content[:end]).partition(b"\r\n\r\n")[2]
            rest = end + len(mark)
            if content[rest : rest + 2] == b"--":
                return
            if len(content) < rest + 2:
                # the end of the message or of a part: the next bytes tell
                content, begun, seen = content[end:], False, 0
                break
            content, begun, seen = content[rest:], True, 0
        else:
            seen = max(0, len(content) - len(mark))
        if len(content) > most_bytes:
            raise ServeError("answer", f"a part of more than {most_bytes} bytes", "a smaller one")
    raise ServeError("answer", "a message that ends within a part", "a whole one")


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
