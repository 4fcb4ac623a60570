"""Many studies pushed into the service at once, beside Orthanc's rate on the same machine in the same run.

    python benchmarks/service_load.py -o benchmarks/results            50 studies of 270 slices
    python benchmarks/service_load.py --studies 4 --slices 60          a short look

The same senders (processes on plain sockets, so that what is measured is the receiver) push the same studies,
an association each, first to Orthanc alone, then to `lesionlab serve` that only receives, then to one whose
worker examines with the recipe pet-threshold what is complete meanwhile. An instance counts when it is
acknowledged; at the end every one must be there once, and every study queued once. Needs Debian's orthanc
and orthanc-dicomweb, and about 2 GB of disk in the folder for temporary files; after --minutes what is not
examined yet is left and told.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError

import httpx
import numpy as np
import pydicom

from lesionlab.core.files import write_text
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_series import StudyFacts, write_pet_series
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import load_settings
from lesionlab.serve.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from orthanc import missing, orthanc

PET = b"1.2.840.10008.5.1.4.1.1.128"
EXPLICIT = b"1.2.840.10008.1.2.1"
LONGEST = 65536
PATIENCE_S = 120.0
AIM, AIM_MS = 0.5, 200.0
SETTINGS = """
data = "{data}"
device = "cpu"
node = {{ port = {node}, processes = {processes}, {complete} }}
web = {{ port = {web} }}
"""
SPARE = 3e9
"""Bytes of disk beyond the studies: the service refuses work below 2 GB, and its results need room."""


PAGE = """# The service under load

{w.studies} studies of {w.slices} PET slices ({w.pixels} x {w.pixels}, {total} instances in all) pushed by
{w.senders} senders at once over loopback, an association for each study. `benchmarks/service_load.py`,
{where}, load {load:.1f} at the end.

| receiver | instances per second | ratio to Orthanc | seconds | acknowledged | refused |
|---|---|---|---|---|---|
{rows}

- Aim: more than {aim}. {w.processes} receiving process(es). LesionLab acknowledges an instance when
  its content and its name are synchronised with the disk.
- Lost: none; doubled: none. Every acknowledged instance was found once, every study queued once.
- Page (`GET /api/jobs`) while receiving and examining: median {median}, 95 % under {most:.0f} ms, {errors}
  errors; over the whole run: median {whole:.0f} ms.
- Examined: {examined} of {w.studies} studies in {seconds:.0f} s from the first instance on, by one worker.
"""


@dataclass(frozen=True)
class Target:
    """Where studies are pushed."""

    port: int
    title: str


@dataclass(frozen=True)
class Push:
    """How fast: instances acknowledged, refused, and seconds from the first to the last sender."""

    acknowledged: int
    refused: int
    seconds: float

    @property
    def rate(self) -> float:
        """Acknowledged instances per second."""
        return self.acknowledged / self.seconds


@dataclass(frozen=True)
class Sent:
    """What one sender has to tell: instances acknowledged, refused, and when it ended; or what stopped it."""

    acknowledged: int = 0
    refused: int = 0
    end: float = 0.0
    error: str = ""


@dataclass
class Page:
    """How long the page took to answer, asked all the time."""

    where: str
    milliseconds: list[float] = field(default_factory=list)
    errors: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Ask for the jobs until `over`."""
        with httpx.Client(timeout=30) as client:
            while not self.over.wait(0.05):
                start = time.perf_counter()
                try:
                    client.get(f"{self.where}/api/jobs").raise_for_status()
                except httpx.HTTPError:
                    self.errors += 1
                self.milliseconds.append(1000 * (time.perf_counter() - start))


def series(folder: Path, slices: int, pixels: int) -> list[Path]:
    """A PET series with one hot ball."""
    grid = Geometry((slices, pixels, pixels), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    z, y, x = np.ogrid[:slices, :pixels, :pixels]
    distance = np.sqrt(
        (3.0 * (z - slices / 2)) ** 2 + (4.0 * (y - pixels / 2)) ** 2 + (4.0 * (x - pixels / 2)) ** 2
    )
    return write_pet_series(folder, Volume(np.where(distance < 25.0, 9.0, 0.6), grid, SUVBW), StudyFacts())


def data_sets(files: Sequence[Path], number: int) -> list[tuple[bytes, bytes]]:
    """SOP instance UID and encoded data set of every file, as those of another study."""
    made = []
    for file in files:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        content = file.read_bytes()
        content = content[144 + struct.unpack_from("<I", content, 140)[0] :]
        uid = ""
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
            old = str(dataset[name].value)
            # same length, so that nothing else in the file changes
            kept = old[-4:] if name == "SOPInstanceUID" else ""
            uid = f"{old[: -4 - len(kept)]}{9000 - number:04d}{kept}"
            content = content.replace(old.encode(), uid.encode())
        made.append((uid.encode(), content))
    return made


def send(
    target: Target, files: Sequence[Path], studies: Sequence[int], start: Barrier, results: SimpleQueue[Sent]
) -> None:
    """One sender: prepares its studies, waits for the others, pushes; puts what came of it, or its error."""
    try:
        prepared = [data_sets(files, number) for number in studies]
        start.wait(PATIENCE_S)
        counts = [send_study(target, study) for study in prepared]
        results.put(Sent(sum(a for a, _ in counts), sum(r for _, r in counts), time.time()))
    except Exception as error:
        # whatever it is: the one who waits for us must hear of it
        results.put(Sent(error=f"{type(error).__name__}: {error}"))


def send_study(target: Target, study: Sequence[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Push one study; how many of its instances were acknowledged and refused."""
    acknowledged = 0
    with closing(socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        longest = associate(wire, target.title)
        for message, (uid, content) in enumerate(study, start=1):
            wire.sendall(store_request(uid, content, message, longest))
            acknowledged += status(wire) == 0
        wire.sendall(struct.pack(">BxI4x", 5, 4))
        received(wire, 6)
    return acknowledged, len(study) - acknowledged


def associate(wire: socket.socket, title: str) -> int:
    """Ask for an association for PET images; returns the longest data unit that the other side takes."""

    def item(kind: int, value: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(value)) + value

    body = struct.pack(">HH16s16s32x", 1, 0, title.encode().ljust(16), b"LOAD".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    body += item(0x20, bytes((1, 0, 0, 0)) + item(0x30, PET) + item(0x40, EXPLICIT))
    body += item(0x50, item(0x51, struct.pack(">I", LONGEST)) + item(0x52, b"1.2.3.4"))
    wire.sendall(struct.pack(">BxI", 1, len(body)) + body)
    kind, length = struct.unpack(">BxI", received(wire, 6))
    answer = received(wire, length)
    if kind != 2:
        raise RuntimeError(f"{title} takes no association (type {kind})")
    at = answer.index(b"\x51\0\0\4")
    return min(LONGEST, struct.unpack_from(">I", answer, at + 4)[0] or LONGEST)


def store_request(uid: bytes, content: bytes, message: int, longest: int) -> bytes:
    """A C-STORE request with its data set, in data units."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    fields = element(0x0002, PET) + element(0x0100, b"\1\0") + element(0x0110, struct.pack("<H", message))
    fields += element(0x0700, b"\0\0") + element(0x0800, b"\0\0") + element(0x1000, uid)
    command = element(0x0000, struct.pack("<I", len(fields))) + fields
    units = [struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, 1, 3) + command]
    step = longest - 6
    for at in range(0, len(content), step):
        part = content[at : at + step]
        last = 2 if at + step >= len(content) else 0
        units.append(struct.pack(">BxIIBB", 4, len(part) + 6, len(part) + 2, 1, last) + part)
    return b"".join(units)


def status(wire: socket.socket) -> int:
    """Status of the next response."""
    kind, length = struct.unpack(">BxI", received(wire, 6))
    body = received(wire, length)
    if kind != 4:
        raise RuntimeError(f"the association ended (type {kind})")
    at = body.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
    return int(struct.unpack_from("<H", body, at)[0])


def received(wire: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    content = b""
    # a receiver that answers in two small packets would otherwise wait for our delayed acknowledgement
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    while len(content) < size:
        part = wire.recv(size - len(content))
        if not part:
            raise RuntimeError("the connection ended")
        content += part
    return content


def push(target: Target, files: Sequence[Path], studies: int, senders: int) -> Push:
    """Push all studies, shared among the senders."""
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(senders + 1), context.SimpleQueue()
    shares = [range(number, studies, senders) for number in range(senders)]
    processes = [
        context.Process(target=send, args=(target, files, share, start, results)) for share in shares
    ]
    for process in processes:
        process.start()
    with suppress(BrokenBarrierError):
        # a sender that could not prepare itself says so below
        start.wait(PATIENCE_S)
    began = time.time()
    sent: list[Sent] = [results.get() for _ in processes]
    for process in processes:
        process.join()
    for errors in filter(None, (part.error for part in sent)):
        raise RuntimeError(f"a sender to {target.title} stopped: {errors}")
    seconds = max(part.end for part in sent) - began
    return Push(sum(part.acknowledged for part in sent), sum(part.refused for part in sent), seconds)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def into_orthanc(folder: Path, files: Sequence[Path], wanted: argparse.Namespace) -> Push:
    """Push to Orthanc alone; RuntimeError when it does not hold everything in the end."""
    with orthanc(folder, free_port(), forward=False) as pacs:
        pushed = push(Target(pacs.dicom_port, "ORTHANC"), files, wanted.studies, wanted.senders)
        held = int(pacs.ask("statistics")["CountInstances"])  # type: ignore[index]
        if held != wanted.studies * len(files):
            raise RuntimeError(f"Orthanc holds {held} instances; needed {wanted.studies * len(files)}")
    return pushed


@dataclass(frozen=True)
class Served:
    """What the service did: receiving, the page meanwhile, and how many studies it examined in what time."""

    push: Push
    page_push: list[float]
    page_all: list[float]
    errors: int
    examined: int
    all_s: float


def into_lesionlab(
    folder: Path, files: Sequence[Path], wanted: argparse.Namespace, *, examine: bool
) -> Served:
    """Push to the service and wait for its work; RuntimeError when something is lost, doubled or failed.

    With `examine` a study is queued as soon as it is complete, so that work begins while others are still
    coming; without, none ever is.
    """
    node, web, file = free_port(), free_port(), folder / "serve.toml"
    folder.mkdir()
    complete = f"instances = {len(files)}" if examine else "quiet_s = 1e9"
    names = {"data": folder / "data", "node": node, "web": web, "processes": wanted.processes}
    file.write_text(SETTINGS.format(**names, complete=complete))
    page = Page(f"http://127.0.0.1:{web}")
    with serving(file, page):
        watcher = threading.Thread(target=page.watch)
        watcher.start()
        began = time.time()
        try:
            pushed = push(Target(node, "LESIONLAB"), files, wanted.studies, wanted.senders)
            during = len(page.milliseconds)
            require_held(file, wanted.studies if examine else 0, pushed.acknowledged)
            examined = awaited(file, wanted.studies if examine else 0, began + 60 * wanted.minutes)
        finally:
            page.over.set()
            watcher.join()
        seconds = time.time() - began
    return Served(pushed, page.milliseconds[:during], page.milliseconds, page.errors, examined, seconds)


@contextmanager
def serving(file: Path, page: Page) -> Iterator[None]:
    """`lesionlab serve` with these settings; RuntimeError with its log when it does not start."""
    with (file.parent / "log").open("w") as log:
        command = [sys.executable, "-m", "lesionlab", "serve", str(file)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while not ready(page.where):
                if process.poll() is not None:
                    raise RuntimeError((file.parent / "log").read_text()[-2000:])
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(60)


def ready(where: str) -> bool:
    """True when the service answers."""
    try:
        return bool(httpx.get(f"{where}/api/health", timeout=2).json()["ready"])
    except httpx.HTTPError:
        return False


def require_held(file: Path, studies: int, acknowledged: int) -> None:
    """RuntimeError unless every acknowledged instance is there once, and so many studies are queued once."""
    settings = load_settings(file)
    held = sum(len(study.files) for study in Store(settings.data).all_studies())
    queue, end = Queue(settings.database_url), time.time() + 30
    # a study is seen to be complete a moment after its last instance
    while len(jobs := queue.jobs(most=10_000)) < studies and time.time() < end:
        time.sleep(0.5)
    queue.close()
    if held != acknowledged or len(jobs) != studies:
        found = f"{held} instances and {len(jobs)} jobs"
        raise RuntimeError(f"{found}; needed {acknowledged} acknowledged, and {studies} jobs")


def awaited(file: Path, studies: int, end: float) -> int:
    """Wait until so many studies are examined, or until a time; how many are. RuntimeError when one fails."""
    queue = Queue(load_settings(file).database_url)
    while (done := len(queue.jobs(state="done", most=10_000))) < studies and time.time() < end:
        failed = queue.jobs(state="failed")
        if failed:
            raise RuntimeError(failed[0].error)
        time.sleep(1)
    queue.close()
    return done


def table(orthanc_push: Push, idle: Served, served: Served, wanted: argparse.Namespace) -> str:
    """The page of results."""
    ordered = sorted(served.page_push)
    names = ("Orthanc alone", "LesionLab, receiving only", "LesionLab, examining meanwhile")
    pushes = (orthanc_push, idle.push, served.push)
    rows = [row(name, push, push.rate / orthanc_push.rate) for name, push in zip(names, pushes, strict=True)]
    return PAGE.format(
        w=wanted,
        total=wanted.studies * wanted.slices,
        where=f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores",
        load=os.getloadavg()[0],
        rows="\n".join(rows),
        aim=AIM,
        median=f"{statistics.median(ordered):.0f} ms (aim: under {AIM_MS:.0f})",
        most=ordered[int(0.95 * len(ordered))],
        errors=served.errors,
        whole=statistics.median(served.page_all),
        examined=served.examined,
        seconds=served.all_s,
    )


def row(name: str, push: Push, ratio: float) -> str:
    """A line of the table."""
    rate, seconds = f"{push.rate:.0f}", f"{push.seconds:.1f}"
    return f"| {name} | {rate} | {ratio:.2f} | {seconds} | {push.acknowledged} | {push.refused} |"


def too_full(wanted: argparse.Namespace) -> str:
    """Why there is no room for it; empty when there is. Each receiver's studies are deleted in time."""
    needed = 2.0 * wanted.studies * wanted.slices * (2 * wanted.pixels**2 + 4096) + SPARE
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free >= needed:
        return ""
    return f"{tempfile.gettempdir()} has {free / 1e9:.1f} GB free; needed {needed / 1e9:.1f}"


def main() -> None:
    """Push to both, print the page, write it with -o."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--slices", type=int, default=270)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2, help="receiving processes of LesionLab")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="for examining, from the first instance on"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    wanted = parser.parse_args()
    if missing() or too_full(wanted):
        parser.error(missing() or too_full(wanted))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = series(folder / "series", wanted.slices, wanted.pixels)
        alone = into_orthanc(folder / "orthanc", files, wanted)
        shutil.rmtree(folder / "orthanc")
        idle = into_lesionlab(folder / "idle", files, wanted, examine=False)
        shutil.rmtree(folder / "idle")
        served = into_lesionlab(folder / "lesionlab", files, wanted, examine=True)
    page = table(alone, idle, served, wanted)
    print(page)
    if wanted.output is not None:
        write_text(wanted.output / "service_load.md", page)


if __name__ == "__main__":
    main()
