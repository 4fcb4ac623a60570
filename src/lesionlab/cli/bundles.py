"""Which model a verb runs and how it computes: the options, and the bundle that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lesionlab.cli.terminal import say

if TYPE_CHECKING:
    from lesionlab.predict import Bundle

NO_MODEL = "pet-threshold"
NO_MODEL_NOTE = (
    "note: no model given (-m), so the weight-free recipe pet-threshold is used: everything at or above "
    "SUVbw 4.0, which includes normal uptake (brain, heart, kidneys, bladder)"
)

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="BUNDLE",
        help="A trained bundle, any nnU-Net v2 model folder, or a recipe that needs no weights.",
        show_default=NO_MODEL,
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="What a stock nnU-Net model's inputs are, in order, e.g. suv,ct; bundles know it themselves.",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="fp32, bf16 or auto (bf16 where the processor is faster in it) instead of the recipe's.",
    ),
]
OverBody = Annotated[
    bool,
    typer.Option(
        "--over-body",
        help="Lay tiles over the body (on CT or uptake) alone: whole bodies are several times as fast, "
        "masks differ.",
    ),
]


def open_bundle(
    model: str | None, channels: str | None, precision: str | None = None, over_body: bool = False
) -> Bundle:
    """The bundle named on the command line, or the weight-free default with a note of what that means."""
    from lesionlab.predict import load_bundle

    if model is None:
        say(NO_MODEL_NOTE)
    names = None if channels is None else tuple(name.strip() for name in channels.split(","))
    bundle = load_bundle(model or NO_MODEL, names)
    own = tuple(bundle.recipe.channels)
    if names is not None and names != own:
        raise typer.BadParameter(f"the model's own are {','.join(own)}", param_hint="--channels")
    settings: dict[str, str | bool] = {} if precision is None else {"precision": precision}
    settings |= {"skip_outside_body": True} if over_body else {}
    if settings and bundle.recipe.method != "network":
        hint = "--over-body" if precision is None else "--precision"
        raise typer.BadParameter("the recipe computes no network", param_hint=hint)
    return bundle.predicting(**settings) if settings else bundle
