"""Fetching a study by its accession number, over REST."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.core.errors import ServeError
from lesionlab.serve.fetching import fetch_order
from lesionlab.serve.room import no_room
from lesionlab.serve.web.api import REFUSED, Here, JobView, Problem, Who, view

UNPROCESSABLE: dict[int | str, dict[str, Any]] = {422: {"model": Problem}}
fetching = APIRouter(prefix="/api", responses=REFUSED)


class FetchRequest(BaseModel):
    """Which study is wanted, and from which of the settings' sources. No wildcards.

    Blanks alone are none, either: they do not count in DICOM, and an empty key matches every study.
    """

    model_config = ConfigDict(extra="forbid")
    source: Annotated[str, Field(max_length=100)]
    accession: Annotated[str, Field(pattern=r"^ *[^*?\\\x00-\x20\x7f][^*?\\\x00-\x1f\x7f]*$", max_length=64)]


@fetching.post("/fetch", status_code=202, responses=UNPROCESSABLE)
def fetch(who: Who, here: Here, request: FetchRequest) -> JobView:
    """Fetch the studies of an accession number; they are examined when they are here."""
    reason = no_room(here.settings, here.store, here.queue)
    if reason:
        raise HTTPException(503, reason, headers={"Retry-After": "60"})
    try:
        order = fetch_order(request.source, request.accession, here.settings)
    except ServeError as error:
        raise HTTPException(422, str(error)) from None
    return view(here.queue.submit(order, who=who), here.store)
