"""From instances on disk to queued jobs: when a study is complete, and which route takes it.

The folders are looked at, nothing is remembered that a kill could lose: a study is queued under a key made of
its instances, so that looking twice queues once, and instances that come later make a new job. One that still
waits without them is cancelled. Routes that were renamed or changed hold for what comes from then on: what a
route took is not examined and sent again.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lesionlab.core.errors import LesionLabError
from lesionlab.serve.headers import head_values
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import Route, ServeSettings
from lesionlab.serve.store import Received, Store

LOOK_S = 0.5
MODALITY, DESCRIPTION = 0x00080060, 0x0008103E

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyFacts:
    """What routes ask about: modalities, series descriptions, and who sent the study."""

    modalities: frozenset[str]
    descriptions: tuple[str, ...]
    sender: str


class Arrivals:
    """Watches the store and queues every study that is complete."""

    def __init__(
        self,
        settings: ServeSettings,
        store: Store,
        queue: Queue,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.store, self.queue = settings, store, queue
        self.clock, self.steady = clock, steady
        self.queued: dict[str, float] = {}
        self.ahead: dict[str, tuple[float, float]] = {}
        """Of studies that are younger than now: their last change, and since when it is seen."""
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="arrivals", daemon=True)

    def start(self) -> None:
        """Watch in a thread until `stop`."""
        self.thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self.stopped.set()
        self.thread.join()

    def look(self) -> list[Job]:
        """Queue what is complete now; returns its jobs, those that were queued before included."""
        jobs = []
        for folder in self.store.studies.iterdir():
            try:
                changed = folder.stat().st_mtime
                if self.queued.get(folder.name) == changed:
                    continue
                study = self.store.study(folder.name)
                if study is None or not self._complete(study):
                    continue
                jobs.append(self._queued(study))
            except (LesionLabError, FileNotFoundError) as error:
                # no UID, or a queue that is full for now: look again
                log.debug("%s", error)
                continue
            self.queued[folder.name] = changed
        return jobs

    def _queued(self, study: Received) -> Job:
        """The job of a complete study: the one that it has, or a new one."""
        job = self.queue.examined(_key(study))
        if job is None:
            job = self.queue.submit(order_of(study, self.settings.routes))
        self.queue.supersede(job, study.study_uid)
        return job

    def _complete(self, study: Received) -> bool:
        node = self.settings.node
        enough = node.instances is not None and len(study.files) >= node.instances
        return enough or self._quiet(study) >= node.quiet_s

    def _quiet(self, study: Received) -> float:
        """Seconds since a study's last change; since we saw it where the clock was set back behind it."""
        since = self.clock() - study.last
        if since >= 0:
            self.ahead.pop(study.study_uid, None)
            return since
        seen, began = self.ahead.get(study.study_uid, (None, 0.0))
        if seen != study.last:
            began = self.steady()
            self.ahead[study.study_uid] = (study.last, began)
        return self.steady() - began

    def _watch(self) -> None:
        while not self.stopped.wait(LOOK_S):
            try:
                self.look()
            except Exception:
                # the disk or the database may be away for a while
                log.exception("could not look for new studies")


def order_of(study: Received, routes: Sequence[Route]) -> Order:
    """The job for a complete study: the first route that fits, or a refusal that says why none does."""
    facts = facts_of(study)
    route = next((route for route in routes if fits(route, facts)), None)
    key = _key(study)
    source = {"source": f"studies/{study.study_uid}", "instances": len(study.files)}
    if route is None:
        seen = ", ".join(sorted(facts.modalities)) or "no readable instance"
        names = ", ".join(route.name for route in routes) or "none"
        found = f"{seen} from {facts.sender or 'nobody'}"
        refused = [f"study {study.study_uid}", found, f"a route that takes it (routes: {names})"]
        return Order("examine", f"{key}:", {**source, "refused": refused})
    chosen = {"route": route.name, "bundle": route.bundle, "objects": list(route.objects)}
    sending = {"send_to": list(route.send_to), "send": route.send}
    return Order("examine", f"{key}:{route.name}", {**source, **chosen, **sending})


def _key(study: Received) -> str:
    return f"{study.study_uid}:{study.digest}"


def facts_of(study: Received) -> StudyFacts:
    """Read what routes ask about from the headers of a study; unreadable files are passed over."""
    modalities: set[str] = set()
    descriptions: dict[str, None] = {}
    for file in study.files:
        try:
            with file.open("rb") as content:
                values = head_values(content, (MODALITY, DESCRIPTION))
        except (OSError, ValueError) as error:
            log.debug("%s: %s", file.name, error)
            continue
        modalities.add(values.get(MODALITY, ""))
        descriptions[values.get(DESCRIPTION, "")] = None
    return StudyFacts(frozenset(modalities - {""}), tuple(descriptions), study.sender)


def fits(route: Route, facts: StudyFacts) -> bool:
    """True when every condition of the route holds."""
    if not set(route.modalities) <= facts.modalities:
        return False
    if route.calling_ae is not None and route.calling_ae != facts.sender:
        return False
    wanted = route.description
    return wanted is None or any(re.search(wanted, text, re.IGNORECASE) for text in facts.descriptions)
