"""The command line: one command, `lesionlab`, whose verbs are the stages.

Verbs import what they need when they run, so that `lesionlab --help` answers at once. What a verb does is in
`pipeline/` and the stages; here are only arguments, printing and exit codes.
"""

from __future__ import annotations

import typer

from lesionlab.cli import about, masks, models, scans
from lesionlab.cli.terminal import Verbs, start_logging

app = typer.Typer(
    name="lesionlab",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
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


SCANS, MODELS, MASKS = "From scans", "Train your own model", "From masks, and other"

app.command("examine", rich_help_panel=SCANS)(scans.examine)
app.command("convert", rich_help_panel=SCANS)(scans.convert)
app.command("predict", rich_help_panel=SCANS)(scans.predict)
app.command("plan", rich_help_panel=MODELS)(models.plan)
app.command("train", rich_help_panel=MODELS)(models.train)
app.command("refine", rich_help_panel=MASKS)(masks.refine)
app.command("measure", rich_help_panel=MASKS)(masks.measure)
app.command("evaluate", rich_help_panel=MASKS)(masks.evaluate)
app.command("report", rich_help_panel=MASKS)(masks.report)
app.command("info", rich_help_panel=MASKS)(about.info)
app.command("demo", rich_help_panel=SCANS)(about.demo)


def main() -> None:
    """Entry point of the `lesionlab` command."""
    app()
