"""What the operator of a service chooses: addresses, limits, routes and destinations, read from TOML, strict.

How lesions are found is the recipe's or bundle's business; a route only names which one.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from lesionlab.core.devices import DEVICES, require_device
from lesionlab.core.errors import ServeError, TrainingError
from lesionlab.core.settings import Count, NonNegative, Positive, Settings, needed_words

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e]+$")]
"""DICOM AE title: up to 16 printable characters without backslash (PS3.5, VR AE); no spaces, to be safe."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Port = Annotated[int, Field(ge=0, le=65535)]
"""0 = any free port, for tests."""
Object = Literal["seg", "sr", "rtstruct", "sc"]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServiceSettings(Settings):
    """Base of all sections here: every number is finite, for JSON takes them to workers and receivers."""

    model_config = ConfigDict(allow_inf_nan=False)


class NodeSettings(ServiceSettings):
    """The DICOM node; `ae_titles` empty = any caller, which is allowed on loopback only."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 11112
    ae_title: AeTitle = "LESIONLAB"
    ae_titles: tuple[AeTitle, ...] = ()
    quiet_s: Positive = 10.0
    """A study is complete when nothing of it has come for so long ..."""
    instances: Count | None = None
    """... or when it holds this many instances."""
    processes: Count = 1
    """Processes that receive, sharing the port."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_authority: Path | None = None
    """Certificates accepted from callers; None = callers are not asked for one."""


class WebSettings(ServiceSettings):
    """The page and the REST interface. Beyond loopback `tokens` is required."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8042
    tokens: dict[Name, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)
    """User name -> SHA-256 of the user's token, in hexadecimal."""
    people: dict[Name, str] = Field(default_factory=dict)
    """User name -> the person's name in results, as DICOM writes it (`Family^Given`)."""
    organisation: str = ""
    """Whose reviewers they are; by default the InstitutionName of the scan."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None


class LimitSettings(ServiceSettings):
    """What one service takes on; beyond it, it refuses and says so."""

    workers: Count = 1
    worker_gb: Positive = 8.0
    """A worker that holds more memory is stopped, and its job fails with that reason."""
    job_minutes: Positive = 60.0
    waiting_jobs: Count = 200
    upload_mb: Positive = 2048.0
    unpacked_mb: Positive = 8192.0
    unpacked_files: Count = 20000
    free_disk_gb: NonNegative = 2.0
    """Nothing is received while less of the disk is free."""
    keep_days: NonNegative = 0.0
    """Studies and results that ended longer ago are deleted; 0 = kept for ever."""
    attempts: Count = 3
    """A job whose worker dies is tried again, so often in all."""


class Peer(ServiceSettings):
    """Another system: a DICOM node, or a DICOMweb server."""

    kind: Literal["dicom", "dicomweb"]
    host: str = "127.0.0.1"
    port: Port = 104
    ae_title: AeTitle = "ANY-SCP"
    tls: bool = False
    url: str = ""
    """Of the DICOMweb service, e.g. http://127.0.0.1:8042/dicom-web."""
    headers: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "dicomweb" and not re.match(r"https?://", self.url):
            raise ValueError("kind 'dicomweb' needs url = 'http...'")
        others = ["url", "headers"] if self.kind == "dicom" else ["host", "port", "ae_title", "tls"]
        usual = type(self).model_fields
        idle = [k for k in others if getattr(self, k) != usual[k].get_default(call_default_factory=True)]
        if idle:
            raise ValueError(f"kind {self.kind!r} makes no use of {', '.join(idle)}")
        return self


class Destination(Peer):
    """Where results are sent: by C-STORE, or by STOW-RS."""

    retry_minutes: NonNegative = 1440.0
    """How long delivery is tried again while the destination does not answer."""


class Source(Peer):
    """Where studies are fetched from: by C-FIND and C-MOVE to our node, or by QIDO-RS and WADO-RS."""


class Route(ServiceSettings):
    """Which studies go to which bundle; the first route whose conditions all hold is taken.

    Conditions: `modalities` all present in the study, `calling_ae` the sender's AE title, `description` a
    regular expression found in some series description (case ignored).
    """

    name: Name
    bundle: str
    modalities: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2,}$")], ...] = ()
    calling_ae: AeTitle | None = None
    description: str | None = None
    send_to: tuple[Name, ...] = ()
    objects: Annotated[tuple[Object, ...], Field(min_length=1)] = ("seg", "sr")
    send: Literal["at once", "when accepted"] = "at once"
    """When results go to `send_to`. A corrected result always waits until somebody accepts it."""

    @field_validator("description")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"description is no regular expression: {error}") from None
        return value


class ServeSettings(ServiceSettings):
    """Everything about a service. `data` holds studies, results and, by default, the database."""

    data: Path = Path("lesionlab-data")
    database: str = ""
    """URL of the database, as SQLAlchemy writes it; empty = SQLite within `data`."""
    device: str = "auto"
    node: NodeSettings = NodeSettings()
    web: WebSettings = WebSettings()
    limits: LimitSettings = LimitSettings()
    destinations: dict[Name, Destination] = Field(default_factory=dict)
    sources: dict[Name, Source] = Field(default_factory=dict)
    routes: tuple[Route, ...] = (Route(name="pet", bundle="pet-threshold", modalities=("PT",)),)

    @field_validator("device")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            require_device(value)
        except TrainingError:
            raise ValueError(f"{value!r} is none of {', '.join(DEVICES)}") from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ServeSettings:
        names = [route.name for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError(f"routes need names that differ, found {names}")
        for route in self.routes:
            unknown = set(route.send_to) - set(self.destinations)
            if unknown:
                raise ValueError(f"route {route.name!r} sends to unknown {sorted(unknown)}")
            if route.send == "when accepted" and not self.web.enabled:
                raise ValueError(f"route {route.name!r} sends when accepted and needs web.enabled")
        self._require_keys_that_count()
        strangers = set(self.web.people) - set(self.web.tokens)
        if strangers:
            raise ValueError(f"web.people names {sorted(strangers)}, who have no web.tokens")
        if self.web.enabled and self.web.host not in LOOPBACK and not self.web.tokens:
            raise ValueError(f"web.host {self.web.host!r} is beyond loopback and needs web.tokens")
        if self.node.enabled and self.node.host not in LOOPBACK and not self.node.ae_titles:
            raise ValueError(f"node.host {self.node.host!r} is beyond loopback and needs node.ae_titles")
        return self

    def _require_keys_that_count(self) -> None:
        """ValueError for keys that would be passed over: an open connection, a user taken for another."""
        for name, part in (("node", self.node), ("web", self.web)):
            if part.tls_key is not None and part.tls_certificate is None:
                raise ValueError(f"{name}.tls_key without {name}.tls_certificate would encrypt nothing")
        peers = (*self.destinations.values(), *self.sources.values())
        open_node = self.node.tls_certificate is None and self.node.tls_authority is not None
        if open_node and not any(peer.tls for peer in peers):
            raise ValueError("node.tls_authority without node.tls_certificate would keep out nobody")
        if len(set(self.web.tokens.values())) < len(self.web.tokens):
            raise ValueError("web.tokens gives two users the same token")

    @property
    def database_url(self) -> str:
        """The database's URL with the default filled in."""
        return self.database or f"sqlite:///{(self.data / 'service.sqlite').absolute()}"


def load_settings(path: Path) -> ServeSettings:
    """Read a service's TOML; ServeError when it is missing, not TOML, or has a bad or unknown key."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ServeError(path, str(error.strerror or error), "a readable settings file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ServeError(path, str(error), "a TOML file") from None
    return parse_settings(data, str(path))


def parse_settings(data: dict[str, Any], subject: str) -> ServeSettings:
    """Build settings from plain data; ServeError names each bad key."""
    try:
        return ServeSettings.model_validate(data)
    except ValidationError as error:
        found = [_explain(dict(item)) for item in error.errors()]
        raise ServeError(subject, "; ".join(f for f, _ in found), "; ".join(n for _, n in found)) from None


def _explain(item: dict[str, Any]) -> tuple[str, str]:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {where!r}", "only the keys of docs/reference/service.md"
    if item["type"] == "value_error":
        told = str(item["msg"]).removeprefix("Value error, ")
        return f"{where}: {told}" if where else told, "settings that agree (docs/reference/service.md)"
    return f"{where} = {str(item.get('input'))[:60]!r}", needed_words(item["msg"])
