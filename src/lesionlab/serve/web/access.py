"""Who may use the service: a token in the Authorization header or, for the page, in a cookie.

Without tokens in the settings everybody on this machine may; the settings refuse that beyond loopback.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from lesionlab.serve.settings import LOOPBACK

COOKIE = "lesionlab_token"
NOBODY = "local"
"""What the audit log calls a user where no tokens are set."""


def user_of(request: Request, tokens: Mapping[str, str]) -> str:
    """The user's name; HTTPException 401 when the token is missing or wrong, 403 for other sites' pages.

    `tokens` maps names to the SHA-256 of each token. A cookie counts only for reading, or when the page that
    asks is our own: other sites' pages carry the cookie too.
    """
    if not tokens:
        this_machine(request)
        same_origin(request)
        return NOBODY
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.cookies.get(COOKIE, "")
        same_origin(request)
    name = named(token, tokens)
    if name is None:
        raise HTTPException(401, "a token is needed", headers={"WWW-Authenticate": "Bearer"})
    return name


def named(token: str, tokens: Mapping[str, str]) -> str | None:
    """Whose token it is, compared in constant time; None for nobody's."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    found = None
    for name, known in tokens.items():
        if hmac.compare_digest(digest, known):
            found = name
    return found


def this_machine(request: Request) -> None:
    """Refuse a request under another name than this machine's own.

    A page from elsewhere can let its own name mean 127.0.0.1 (DNS rebinding); its browser then takes us for
    that page's site and lets it read everything.
    """
    try:
        host = urlsplit("//" + request.headers.get("host", "")).hostname
    except ValueError:
        host = None
    if host not in LOOPBACK:
        raise HTTPException(403, f"without tokens only requests to {', '.join(LOOPBACK)} are answered")


def same_origin(request: Request) -> None:
    """Refuse a changing request that another site's page makes in the user's name."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    origin = request.headers.get("origin")
    if origin is not None and origin.split("://")[-1] != request.headers.get("host", ""):
        raise HTTPException(403, "the request comes from another site")
