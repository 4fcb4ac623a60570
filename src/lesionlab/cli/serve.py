"""`lesionlab serve`: the service in the foreground, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from lesionlab.cli.terminal import Debug, say


def serve(
    settings: Annotated[
        Path | None,
        typer.Argument(metavar="SETTINGS.toml", help="Addresses, routes, destinations."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where studies and results are kept.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Take scans from a PACS or a page, examine them, send the answers back.

    Without settings it listens on this machine alone: DICOM on port 11112 as LESIONLAB, the page on
    http://127.0.0.1:8042, and examines PET by the recipe pet-threshold. Stop it with Ctrl-C, or kill it: it
    goes on where it was when it starts again.

    Example: `lesionlab serve hospital.toml`
    """
    from lesionlab.serve.service import Service
    from lesionlab.serve.settings import ServeSettings, load_settings

    chosen = load_settings(settings) if settings is not None else ServeSettings()
    if data is not None:
        chosen = chosen.model_copy(update={"data": data})
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with Service(chosen) as service, ExitStack() as web:
        if chosen.web.enabled:
            # only those who want the page need its libraries
            from lesionlab.serve.web.app import WebServer

            web.enter_context(WebServer(chosen, service.store, service.queue))
            say(
                f"page: http{'s' if chosen.web.tls_certificate else ''}://{chosen.web.host}:{chosen.web.port}"
            )
        if chosen.node.enabled:
            node = chosen.node
            say(f"DICOM: {node.ae_title} on {node.host}:{node.port}")
        say(f"data: {chosen.data.absolute()}; stop with Ctrl-C")
        stopped.wait()
    say("stopped")
