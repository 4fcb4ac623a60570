"""The page in a real browser: upload, wait, look, correct, accept, compare; keyboard, contrast, log-in."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lesionlab.core.volume import Volume
from lesionlab.read import load_mask
from lesionlab.serve.jobs import Order, Queue
from lesionlab.serve.settings import LimitSettings, ServeSettings, WebSettings
from lesionlab.serve.store import Store
from page_phantoms import CONTRASTS, LESIONS, NAMELESS, browser, served, write_petct
from serve_phantoms import submit_study, until

WAIT_MS = 60_000
READY = "body[data-ready]"
LAPTOP, TABLET = {"width": 1280, "height": 800}, {"width": 820, "height": 1180}


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def petct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_petct(tmp_path_factory.mktemp("petct") / "study")


@dataclass(frozen=True)
class Service:
    """A service that runs for all tests of this module, and an examination that it did."""

    settings: ServeSettings
    queue: Queue
    address: str
    job: str

    def result(self, name: str, job: str = "") -> Path:
        return Store(self.settings.data).result_file(job or self.job, name)

    def record(self, job: str = "") -> dict[str, Any]:
        return dict(json.loads(self.result("viewer/lesions.json", job).read_text(encoding="utf-8")))

    def mask(self, job: str = "", name: str = "mask.nii.gz") -> Volume:
        return load_mask(self.result(name, job))


@pytest.fixture(scope="module")
def service(chromium, petct: Path, tmp_path_factory: pytest.TempPathFactory):
    settings = ServeSettings(
        data=tmp_path_factory.mktemp("service") / "data",
        device="cpu",
        limits=LimitSettings(free_disk_gb=0.0),
        web=WebSettings(port=0),
    )
    settings.data.mkdir()
    queue = Queue(settings.database_url)
    job = submit_study(settings, queue, petct)
    with served(settings, queue) as address:
        until(lambda: state(queue, job.id) == "done")
        yield Service(settings, queue, address, job.id)
    queue.close()


def state(queue: Queue, job: str) -> str:
    found = queue.job(job)
    return "" if found is None else found.state


@pytest.fixture
def page(chromium, service: Service):
    """A page to which every error, of ours or of the browser, and every foreign request is a failure."""
    context = chromium.new_context(viewport=LAPTOP, base_url=service.address)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    # a refusal that the page tells about is noted by the browser too
    opened.on(
        "console", lambda said: said.type == "error" and "422" not in said.text and wrong.append(said.text)
    )
    opened.on("request", lambda asked: foreign(asked.url, service.address) and wrong.append(asked.url))
    opened.set_default_timeout(WAIT_MS)
    yield opened
    context.close()
    assert wrong == []


def foreign(url: str, address: str) -> bool:
    return not url.startswith((f"{address}/", "data:", "blob:"))


def opened(page, job: str) -> None:
    """Open a finished job and wait for its images."""
    page.goto(f"/jobs/{job}")
    page.wait_for_selector(READY)


def job_of(page) -> str:
    return str(page.url.rsplit("/", 1)[1])


def place(page) -> tuple[list[float], str]:
    text = page.inner_text("#where")
    return [float(v) for v in re.findall(r"-?[\d.]+", text)[:3]], text


def test_from_files_to_an_accepted_result(page, service: Service, petct: Path) -> None:
    page.goto("/")
    page.set_input_files("#folder", petct)
    assert page.inner_text("#said a") == "study.zip"
    page.click("#said a")
    page.wait_for_selector(READY)
    job = job_of(page)
    lesions = service.record(job)["lesions"]
    assert len(lesions) == 2
    page.click('#lesions tr[data-lesion="2"] td')
    at, words = place(page)
    assert np.allclose(at, lesions[1]["at_lps_mm"], atol=0.06)
    assert "lesion 2" in words and "suv 9.00 g/ml" in words and "ct -800 HU" in words
    page.focus('#lesions tr[data-lesion="1"] button')
    page.keyboard.press("Enter")
    assert "lesion 1" in place(page)[1]
    assert page.get_attribute('#lesions tr[data-lesion="1"]', "aria-selected") == "true"
    page.focus("#slices")
    before = place(page)[0]
    for key, change in (("ArrowLeft", (5, 0, 0)), ("ArrowUp", (5, -5, 0)), ("PageUp", (5, -5, 5))):
        page.keyboard.press(key)
        moved = np.subtract(place(page)[0], before)
        # what is left in the picture is the patient's right
        assert np.allclose(moved, np.multiply(change, (-1, 1, 1)), atol=0.2), key
    with page.expect_download() as download:
        page.click("text=Segmentation")
    assert download.value.path().read_bytes() == service.result("dicom/seg.dcm", job).read_bytes()
    page.fill("#review-note", "agreed")
    page.click("text=Accept")
    page.wait_for_selector("#reviews b.accepted")
    assert [entry.what for entry in service.queue.audit(1)] == ["accepted"]
    assert json.loads(service.result("reviews.json", job).read_text())[0]["note"] == "agreed"


def test_slices_projection_and_layers_show_what_they_should(page, service: Service) -> None:
    opened(page, service.job)
    both = picture(page, "#slices")
    page.evaluate("document.getElementById('mix').value = 0")
    page.dispatch_event("#mix", "input")
    page.evaluate("document.getElementById('masked').value = 0")
    page.dispatch_event("#masked", "input")
    anatomy = picture(page, "#slices")
    assert np.abs(both - anatomy).mean() > 1
    # CT alone is grey but for the cross
    coloured = np.ptp(anatomy[..., :3], axis=-1) > 60
    assert coloured.mean() < 0.02
    page.select_option("#below", "suv")
    page.select_option("#planes", "coronal")
    until(lambda: page.evaluate("document.getElementById('below').value === 'suv'"))
    assert page.input_value("#above") == ""
    first = picture(page, "#projection")
    page.click("#play")
    until(lambda: page.evaluate("Number(document.getElementById('angle').value) > 2"))
    page.click("#play")
    assert np.abs(first - picture(page, "#projection")).max() > 50
    page.evaluate("document.getElementById('angle').value = 0")
    page.dispatch_event("#angle", "input")
    box = page.locator("#projection").bounding_box()
    assert box is not None
    # the ball of the second lesion: on the patient's left, on the right of the picture, towards the head
    found = np.argwhere(np.ptp(picture(page, "#projection")[..., :3], axis=-1) > 60)
    columns = found[:, 1]
    right = found[columns > (columns.min() + columns.max()) / 2].mean(axis=0)
    page.mouse.click(box["x"] + right[1], box["y"] + right[0])
    assert "lesion 2" in place(page)[1]


def picture(page, canvas: str) -> np.ndarray:
    """A canvas as it is seen, (y, x, rgb)."""
    page.wait_for_timeout(200)
    return np.asarray(Image.open(io.BytesIO(page.locator(canvas).screenshot())).convert("RGB"), float)


def test_a_corrected_mask_is_measured_again_and_both_are_kept(page, service: Service) -> None:
    job = service.job
    lesions, before = service.record()["lesions"], service.mask()
    numbers = service.mask(name="lesions.nii.gz")
    opened(page, job)
    page.click('#lesions tr[data-lesion="2"] td')
    page.click("#edit")
    page.check('[name="pen"][value="erase"]')
    page.fill("#size", "1")
    page.click("#here")
    page.click("#undo")
    page.click("#here")
    page.select_option("#victim", "1")
    page.click("#delete")
    page.fill("#why", "uptake of the bladder")
    page.click("#save")
    page.wait_for_url(lambda url: not url.endswith(job))
    page.wait_for_selector(READY)
    corrected = job_of(page)
    expected = np.where(numbers.array == 1, 0, before.array)
    index = np.rint(before.geometry.to_index(lesions[1]["at_lps_mm"])).astype(int)
    expected[tuple(index)] = 0
    assert np.array_equal(service.mask(corrected).array, expected)
    assert len(service.record(corrected)["lesions"]) == 1
    assert np.array_equal(service.mask().array, before.array)
    said = json.loads(service.result("correction.json", corrected).read_text())
    assert (said["corrects"], said["note"]) == (job, "uptake of the bladder")
    assert "an earlier result" in page.inner_text(".head")
    page.goto(f"/jobs/{job}")
    assert page.get_attribute(".head .note a", "href") == f"/jobs/{corrected}"
    page.select_option("#earlier", corrected)
    page.click("#compare button")
    page.wait_for_selector(READY)
    assert page.locator("#changes tr.pick").count() == 2
    page.click("#changes tr.pick:has-text('matched')")
    assert "lesion" in page.inner_text("#baseline-where") and "lesion" in page.inner_text("#followup-where")


def test_both_crosses_stay_at_one_place_of_the_body(page, service: Service, tmp_path: Path) -> None:
    shift = (12.0, -8.0, 15.0)
    later = write_petct(tmp_path / "later", lesions=LESIONS[:1], shift=shift)
    for series in ("pet", "ct"):
        for file in sorted((later / series).iterdir())[-4:]:
            file.unlink()  # the later scan ends 20 mm lower
    followup = submit_study(service.settings, service.queue, later, "moved").id
    until(lambda: state(service.queue, followup) == "done")
    two = {"baseline": service.job, "followup": followup}
    made = page.request.post("/api/comparisons", data=two).json()["id"]
    opened(page, made)
    record = json.loads(service.result("response.json", made).read_text())
    motion = record["motion"]
    rotation = np.reshape(motion["rotation"], (3, 3))
    # the alignment itself is right to a fraction of a voxel, so that what follows means something
    assert np.allclose(rotation @ shift + motion["translation_lps_mm"], 0, atol=2.5)
    for side, other in (("baseline", "followup"), ("followup", "baseline")):
        page.focus(f"#{side}")
        for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "PageUp"):
            page.keyboard.press(key)
        here, there = cross(page, side), cross(page, other)
        place = here if side == "followup" else there
        seen = rotation @ place + motion["translation_lps_mm"]
        assert np.allclose(seen, there if side == "followup" else here, atol=0.15), side
    page.uncheck("#linked")
    before = cross(page, "followup")
    page.focus("#baseline")
    page.keyboard.press("PageDown")
    assert np.array_equal(cross(page, "followup"), before)
    page.check("#linked")
    # a lesion that is no more: where it was
    page.click("#changes tr.pick:has-text('vanished')")
    lesion = service.record()["lesions"][1]["at_lps_mm"]
    assert np.allclose(cross(page, "baseline"), lesion, atol=0.06)
    assert np.allclose(cross(page, "followup"), np.add(lesion, shift), atol=2.5)
    page.click("#changes tr.pick:has-text('matched')")
    assert all("lesion 1" in page.inner_text(f"#{side}-where") for side in two)
    page.focus("#baseline")
    for _ in range(24):
        page.keyboard.press("PageUp")
    assert "outside the follow-up scan" in page.inner_text("#followup-where")
    readable(page)


def cross(page, side: str) -> np.ndarray:
    """Where the cross of one side of a comparison is, LPS in mm."""
    return np.array([float(v) for v in re.findall(r"-?[\d.]+", page.inner_text(f"#{side}-where"))[:3]])


def test_the_brush_paints_where_the_pointer_goes(page, service: Service) -> None:
    job, before = service.job, service.mask()
    opened(page, job)
    page.select_option("#planes", "axial")
    page.click("#edit")
    page.check('[name="pen"][value="brush"]')
    box = page.locator("#slices").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y, steps=4)
    page.mouse.up()
    page.click("#save")
    page.wait_for_url(lambda url: not url.endswith(job))
    page.wait_for_selector(READY)
    after = service.mask(job_of(page))
    added = np.argwhere(after.array > before.array)
    assert len(added) > 3
    assert not (after.array < before.array).any()
    # all in the slice of the cross, around the middle of the picture
    z = np.rint(before.geometry.to_index(service.record()["lesions"][0]["at_lps_mm"]))[0]
    assert set(added[:, 0]) == {z}
    assert np.abs(added[:, 1:].mean(axis=0) - (15, 16)).max() < 6


@pytest.mark.parametrize("size", [LAPTOP, TABLET], ids=["laptop", "tablet"])
def test_pages_can_be_read_and_named(page, service: Service, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    page.goto("/")
    page.wait_for_selector(".state.done")
    readable(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    opened(page, service.job)
    readable(page)
    page.click("#edit")
    page.wait_for_selector("#pens:not([hidden])")
    readable(page)


def readable(page) -> None:
    """Every text has enough contrast, every control a name, and nothing has to be scrolled sideways."""
    low = [found for found in page.evaluate(CONTRASTS) if found[0] < 4.5]
    assert low == []
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_attribute("html", "lang") == "en"
    assert page.locator("h1").count() == 1


def test_a_failed_job_tells_why_and_is_tried_again(page, service: Service) -> None:
    job = service.queue.submit(
        Order("examine", "a", {"source": "uploads/missing", "bundle": "pet-threshold"})
    )
    page.goto("/")
    page.wait_for_selector(".state.failed")
    assert "needed" in page.inner_text("#jobs .why")
    page.goto(f"/jobs/{job.id}")
    assert "needed" in page.inner_text("#problem")
    page.click("#retry")
    until(lambda: "retried" in [entry.what for entry in service.queue.audit(5)])
    until(lambda: state(service.queue, job.id) == "failed")


def test_what_is_no_scan_is_refused_with_the_reason_however_it_comes(page, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    refused = "#said:has-text('neither an image nor a ZIP')"
    page.goto("/")
    page.set_input_files("#files", tmp_path / "a.txt")
    page.wait_for_selector(refused)
    page.reload()
    dropped = page.evaluate_handle(
        "() => { const all = new DataTransfer(); all.items.add(new File(['hello'], 'b.txt')); return all; }"
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    page.wait_for_selector(refused)
    assert "b.txt" in page.inner_text("#said")


def test_who_has_a_token_logs_in_and_out(chromium, settings: ServeSettings, queue: Queue) -> None:
    tokens = {"anna": hashlib.sha256(b"secret").hexdigest()}
    guarded = settings.model_copy(update={"web": WebSettings(port=0, tokens=tokens)})
    with served(guarded, queue) as address:
        context = chromium.new_context(viewport=LAPTOP, base_url=address)
        page = context.new_page()
        page.goto("/")
        assert page.url.startswith(f"{address}/login")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        readable(page)
        page.fill("#token", "secret")
        page.click("button.main")
        page.wait_for_selector("#drop")
        [cookie] = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert queue.audit(1)[0].who == "anna"
        page.click("text=Log out")
        page.wait_for_selector("#token")
        assert context.cookies() == []
        context.close()
