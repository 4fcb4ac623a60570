"""The command line: one command, `lesionlab`, whose verbs are the stages.

Verbs import what they need when they run, so that `lesionlab --help` answers at once. What a verb does is in
`pipeline/` and the stages; here are only arguments, printing and exit codes.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

import typer

from lesionlab.cli import (
    about,
    agree,
    compare,
    evaluate,
    masks,
    models,
    quality,
    response,
    robustness,
    scans,
    serve,
    study,
    suv,
)
from lesionlab.cli.leave import run_and_leave
from lesionlab.cli.terminal import Verbs, start_logging

app = typer.Typer(
    name="lesionlab",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: half the time to answer, and nothing that a log would garble
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from lesionlab import __version__

        typer.echo(f"lesionlab {__version__}")
        raise typer.Exit


@app.callback()
def lesionlab(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """From a scan to lesions, biomarkers and a report: where the tumour is, how big, how active.

    Start with `lesionlab examine FOLDER -o OUT`. Research software, not a medical device.
    """
    start_logging()


for verb, summary in (
    (scans.examine, "Find and measure lesions, and write a report."),
    (scans.convert, "Turn scans into NIfTI: PET in SUVbw, one grid."),
    (suv.suv, "Compute SUV from PET headers, and say how."),
    (models.plan, "Prepare training on patients with contours."),
    (models.train, "Train, cross-validate, and write a bundle."),
    (scans.predict, "Write the mask that a method draws, no more."),
    (masks.refine, "Clean up a mask."),
    (masks.measure, "Measure lesions that are already drawn."),
    (response.response, "Compare two timepoints of one patient."),
    (robustness.robustness, "Tell which features are stable."),
    (evaluate.evaluate, "Compare masks with the truth."),
    (compare.compare, "Test several models against each other."),
    (quality.quality, "Tell which masks to look at, without truth."),
    (agree.agree, "Tell how far two measurements agree."),
    (agree.observers, "Compare readers, and a model with them."),
    (masks.report, "Report again on a corrected mask, or on any."),
    (serve.serve, "Take scans from a PACS or a page, and answer."),
    (about.info, "Tell what is installed, or what a thing holds."),
    (about.demo, "Show the whole road on synthetic patients."),
):
    app.command(verb.__name__, short_help=summary)(verb)
app.add_typer(study.study, name="study", short_help="Compare many recipes on one data set.")


def main() -> None:
    """Entry point of `lesionlab`; what the encoding of a terminal lacks is printed as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    run_and_leave(app)
