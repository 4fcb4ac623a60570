"""TLS for DICOM connections (PS3.15 annex B): contexts for both sides."""

from __future__ import annotations

import ssl
from pathlib import Path

from lesionlab.core.errors import ServeError
from lesionlab.serve.settings import NodeSettings


def server_context(node: NodeSettings) -> ssl.SSLContext | None:
    """The context for callers of our node; None where no certificate is set.

    With `tls_authority`, callers must show a certificate that it signed.
    """
    if node.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, node)
    if node.tls_authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def require_certificates(node: NodeSettings) -> None:
    """ServeError when the node's PEM files cannot be used: known now, not when somebody calls."""
    server_context(node)
    client_context(node)


def client_context(node: NodeSettings) -> ssl.SSLContext:
    """The context for calling others: they must be known to `tls_authority`, else to the system."""
    context = ssl.create_default_context()
    if node.tls_certificate is not None or node.tls_authority is not None:
        _load(context, node)
    return context


def _load(context: ssl.SSLContext, node: NodeSettings) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if node.tls_certificate is not None:
            context.load_cert_chain(node.tls_certificate, node.tls_key)
        if node.tls_authority is not None:
            context.load_verify_locations(node.tls_authority)
    except (OSError, ssl.SSLError) as error:
        files: list[Path | None] = [node.tls_certificate, node.tls_key, node.tls_authority]
        named = ", ".join(str(file) for file in files if file is not None)
        raise ServeError(named, str(error), "PEM files of a certificate and its key") from None
