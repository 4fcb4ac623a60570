"""The web application of one service: pages and REST interface, bounds on requests, careful headers."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from lesionlab.core.errors import LesionLabError, ServeError
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.web.access import user_of
from lesionlab.serve.web.api import Parts, api
from lesionlab.serve.web.decisions import decisions
from lesionlab.serve.web.fetching import fetching
from lesionlab.serve.web.pages import STATIC, pages

SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; connect-src 'self' blob: data:; "
    "frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FORM_MB = 1.0
"""What a form may hold beside its file, and all that is read of a caller before it is known who calls."""
ENDING_S = 10
"""How long requests that are under way may take once the service is being stopped."""


def make_app(settings: ServeSettings, store: Store, queue: Queue) -> FastAPI:
    """The application; documents itself at /api/openapi.json and loads nothing from other hosts."""
    from lesionlab import __version__

    app = FastAPI(
        title="LesionLab",
        version=__version__,
        summary="Scans in, lesions and biomarkers out. Research software, not a medical device.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.parts = Parts(settings, store, queue)
    for routes in (api, fetching, decisions, pages):
        app.include_router(routes)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    most = (settings.limits.upload_mb + FORM_MB) * 1e6

    @app.middleware("http")
    async def bounded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "")
        if request.method in ("POST", "PUT", "PATCH") and "transfer-encoding" in request.headers:
            return JSONResponse({"detail": "a body of unknown length"}, status_code=411)
        if length.isdigit() and int(length) > FORM_MB * 1e6:
            refusal = _refused(request, int(length), most)
            if refusal is not None:
                return refusal
        response = await go_on(request)
        if request.url.path.startswith("/static/"):
            # code, not patients: kept by the browser, asked after each time
            response.headers["Cache-Control"] = "no-cache"
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(LesionLabError)
    def told(_: Request, error: LesionLabError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503)

    @app.exception_handler(RequestValidationError)
    def unusable(_: Request, error: RequestValidationError) -> Response:
        # without the input, which may hold what JSON or UTF-8 cannot
        detail = [{key: item[key] for key in ("type", "loc", "msg")} for item in error.errors()]
        return Response(json.dumps({"detail": detail}), status_code=422, media_type="application/json")

    return app


def _refused(request: Request, length: int, most: float) -> Response | None:
    """The answer to a long body that nobody should read: too long, or of a caller without a token."""
    if length > most:
        return JSONResponse({"detail": f"more than {most / 1e6:g} MB"}, status_code=413)
    try:
        user_of(request, request.app.state.parts.settings.web.tokens)
    except HTTPException as error:
        return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)
    return None


class WebServer:
    """Serves the application in a thread, as a context."""

    def __init__(self, settings: ServeSettings, store: Store, queue: Queue) -> None:
        web = settings.web
        config = uvicorn.Config(
            make_app(settings, store, queue),
            host=web.host,
            port=web.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=ENDING_S,
            ssl_certfile=web.tls_certificate,
            ssl_keyfile=web.tls_key,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, name="web", daemon=True)
        self.where = f"{web.host}:{web.port}"

    def __enter__(self) -> WebServer:
        try:
            self.server.config.load()
        except OSError as error:
            # of the certificate or its key: here, for the thread would print a traceback
            found = error.strerror or str(error)
            raise ServeError(self.where, found, "PEM files of a certificate and its key") from None
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.05)
            if not self.thread.is_alive():
                raise ServeError(self.where, "no server starting", "a port that is free, and PEM files")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.should_exit = True
        self.thread.join()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server.servers[0].sockets[0].getsockname()[1])
