"""What a job does: examine a scan, measure a corrected mask again, or compare two timepoints.

Each fills one folder of results. Claiming jobs and surviving kills is `worker.py`'s business.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pydicom

from lesionlab.core.errors import ServeError
from lesionlab.core.files import write_json, writing
from lesionlab.core.tasks import Progress
from lesionlab.read import load_mask
from lesionlab.serve.about import write_about
from lesionlab.serve.jobs import Job
from lesionlab.serve.store import Store

if TYPE_CHECKING:
    from lesionlab.core.results import Findings
    from lesionlab.report.dicom_settings import Correction

DICOM_FOLDER = "dicom"
CORRECTION = "correction.json"
"""Beside the results of a corrected mask: which job it corrects, who drew it, and when."""


def examine_job(store: Store, job: Job, device: str, progress: Progress) -> None:
    """Examine the scan of a job, or measure the mask that its payload names, into its folder of results."""
    from lesionlab.pipeline.exports import Exports, write_exports
    from lesionlab.report import write_findings
    from lesionlab.report.dicom_settings import DicomSettings
    from lesionlab.serve.viewer import write_viewer

    findings = _findings(store, job, device, progress)
    progress("writing", 1.0)
    objects = tuple(job.payload.get("objects", ())) if from_dicom(findings) else ()
    dicom = DicomSettings(kinds=objects, correction=_correction(store, job, findings) if objects else None)
    with writing(store.result_folder(job.id)) as temporary:
        write_findings(findings, temporary)
        write_exports(findings, temporary, Exports(dicom, ("nrrd",)))
        write_viewer(findings, temporary)
        write_about(findings.case, temporary)
        if "correction" in job.payload:
            write_json(temporary / CORRECTION, job.payload["correction"])
        for file in (temporary / DICOM_FOLDER).glob("*.dcm"):
            store.mark_own(str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID))
        store.settle(temporary)


def _correction(store: Store, job: Job, findings: Findings) -> Correction | None:
    """What a corrected mask keeps of the result that it corrects; None for a result that corrects none."""
    from lesionlab.report.dicom_correction import correction_of

    said = job.payload.get("correction")
    if said is None:
        return None
    folder = _examined(store, str(said["corrects"]))
    before = load_mask(folder / "lesions.nii.gz").array
    files = [folder / DICOM_FOLDER / f"{kind}.dcm" for kind in ("seg", "labelmap")]
    segments = next((pydicom.dcmread(f, stop_before_pixels=True) for f in files if f.is_file()), None)
    after = findings.lesions.labels.array
    return correction_of(before, after, segments, str(said.get("person", "")))


def _findings(store: Store, job: Job, device: str, progress: Progress) -> Findings:
    # the pipeline is slow to load, and workers that wait need none of it
    from lesionlab import pipeline

    if "refused" in job.payload:
        raise ServeError(*job.payload["refused"])
    source, bundle = store.root / str(job.payload["source"]), str(job.payload["bundle"])
    if "mask" not in job.payload:
        return pipeline.examine(source, bundle, device=device, progress=progress)
    from lesionlab.predict import load_bundle

    mask = store.root / str(job.payload["mask"])
    return pipeline.findings_of_mask(source, mask, load_bundle(bundle), progress=progress)


def compare_job(store: Store, job: Job, progress: Progress) -> None:
    """Compare the results of two finished examinations of one patient, by the earlier one's recipe."""
    from lesionlab.pipeline.response import Scan, compare
    from lesionlab.predict import load_bundle
    from lesionlab.report.response import write_comparison

    folders = [_examined(store, str(job.payload[side])) for side in ("baseline", "followup")]
    recipe = load_bundle(str(job.payload["bundle"])).recipe
    comparison = compare(Scan(folders[0]), Scan(folders[1]), recipe, progress=progress)
    with writing(store.result_folder(job.id)) as temporary:
        write_comparison(comparison, temporary)
        store.settle(temporary)


def _examined(store: Store, job_id: str) -> Path:
    folder = store.result_folder(job_id)
    if not folder.is_dir():
        raise ServeError(job_id, "no results any more", "two finished examinations")
    return folder


def from_dicom(findings: Findings) -> bool:
    """True when the scan came as DICOM, so that results can be DICOM objects of the same study."""
    facts = findings.case.facts
    channel = None if facts is None else facts.channels.get(findings.case.reference)
    return channel is not None and bool(channel.header.get("SeriesInstanceUID"))
