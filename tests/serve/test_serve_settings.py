"""Settings of a service: strict, and closed towards the network unless somebody opened it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lesionlab.core.errors import ServeError
from lesionlab.serve.settings import ServeSettings, load_settings, parse_settings

FULL = """
data = "/var/lib/lesionlab"

[node]
host = "192.0.2.1"
ae_titles = ["ORTHANC"]

[web]
port = 9000

[destinations.pacs]
kind = "dicom"
host = "pacs"
ae_title = "ORTHANC"

[destinations.web]
kind = "dicomweb"
url = "http://pacs:8042/dicom-web"

[[routes]]
name = "pet"
bundle = "pet-threshold"
modalities = ["PT"]
description = "WB|whole body"
send_to = ["pacs", "web"]
"""


def test_defaults_listen_on_loopback_only(tmp_path: Path) -> None:
    settings = ServeSettings()
    assert settings.node.host == settings.web.host == "127.0.0.1"
    assert settings.database_url.startswith("sqlite:////")
    assert settings.database_url.endswith("lesionlab-data/service.sqlite")


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(FULL)
    settings = load_settings(file)
    assert settings.routes[0].send_to == ("pacs", "web")
    assert settings.destinations["web"].url.endswith("dicom-web")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"node": {"prot": 1}}, "unknown key 'node.prot'"),
        (
            {"web": {"people": {"anna": "Muster^Anna"}}},
            r"web.people names \['anna'\], who have no web.tokens",
        ),
        (
            {
                "web": {"enabled": False},
                "routes": [{"name": "a", "bundle": "pet-threshold", "send": "when accepted"}],
            },
            "route 'a' sends when accepted and needs web.enabled",
        ),
        ({"routes": [{"name": "a", "bundle": "pet-threshold", "send": "later"}]}, "routes.0.send = 'later'"),
        ({"web": {"host": "192.0.2.1"}}, "beyond loopback and needs web.tokens"),
        ({"web": {"tokens": {"anna": "0" * 64, "bert": "0" * 64}}}, "two users the same token"),
        ({"web": {"tls_key": "key.pem"}}, "web.tls_key without web.tls_certificate"),
        ({"node": {"tls_key": "key.pem"}}, "node.tls_key without node.tls_certificate"),
        ({"node": {"tls_authority": "ca.pem"}}, "node.tls_authority without node.tls_certificate"),
        ({"node": {"host": "192.0.2.1"}}, "beyond loopback and needs node.ae_titles"),
        ({"web": {"tokens": {"anna": "secret"}}}, "web.tokens.anna"),
        ({"node": {"ae_title": "SEVENTEEN_LETTERS"}}, "node.ae_title"),
        (
            {"routes": [{"name": "a", "bundle": "b", "send_to": ["x"]}]},
            r"found route 'a' sends to unknown \['x'\]",
        ),
        ({"routes": [{"name": "a", "bundle": "b"}] * 2}, "routes need names that differ"),
        ({"routes": [{"name": "a", "bundle": "b", "description": "("}]}, "no regular expression"),
        ({"destinations": {"w": {"kind": "dicomweb"}}}, "needs url"),
        ({"destinations": {"w": {"kind": "dicom", "url": "http://a/b"}}}, "'dicom' makes no use of url"),
        (
            {"sources": {"w": {"kind": "dicomweb", "url": "http://a/b", "port": 4242, "tls": True}}},
            "'dicomweb' makes no use of port, tls",
        ),
        ({"device": "gpu"}, "device: 'gpu' is none of auto, cpu"),
        ({"limits": {"job_minutes": float("inf")}}, "limits.job_minutes = 'inf'; needed a finite number"),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ServeError, match=words):
        parse_settings(data, "serve.toml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="needed a readable settings file"):
        load_settings(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(ServeError, match="needed a TOML file"):
        load_settings(tmp_path / "bad.toml")


def test_the_settings_for_containers_are_settings() -> None:
    file = Path(__file__).resolve().parents[2] / "deploy" / "lesionlab.toml"
    assert load_settings(file).routes[0].send_to == ("pacs",)
