"""Building the network that a plan names.

A plan comes with a model folder and may come from anywhere, so only networks of nnU-Net's library and of our
own table are ever imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lesionlab.core.errors import BundleError
from lesionlab.networks.blocks import make_careful
from lesionlab.networks.registry import NETWORKS

LIBRARY = "dynamic_network_architectures"
"""nnU-Net's networks."""
MOVED = f"{LIBRARY}.architectures.unet"
"""Where older plans' classes are found that have moved since."""
LAYERS = ("torch.nn", LIBRARY)
"""Packages whose layers a plan may name in its arguments (`conv_op`, `norm_op`, `nonlin`, ...)."""


def build_network(
    architecture: Mapping[str, Any],
    channels: int,
    classes: int,
    *,
    deep_supervision: bool,
    subject: object,
    initialise: bool = False,
) -> nn.Module:
    """The network of a plan's `architecture` (network_class_name, arch_kwargs, _kw_requires_import).

    `initialise` sets its first weights as its class wants. Raises BundleError, about `subject`, for a class
    that is not a network of nnU-Net's library or ours, and for arguments it does not take.
    """
    named = str(architecture["network_class_name"])
    arguments = dict(architecture["arch_kwargs"])
    for key in architecture.get("_kw_requires_import", ()):
        if arguments.get(key) is not None:
            arguments[key] = _find(str(arguments[key]), LAYERS, subject)
    arguments["deep_supervision"] = deep_supervision
    try:
        network: nn.Module = _class(named, subject)(channels, num_classes=classes, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise BundleError(subject, f"{named}: {error}", "arguments that this network takes") from None
    make_careful(network)
    if initialise and hasattr(network, "initialize"):
        network.apply(network.initialize)
    return network


def _class(named: str, subject: object) -> Any:
    if named in {entry.path for entry in NETWORKS.values()}:
        module, _, name = named.rpartition(".")
        return getattr(importlib.import_module(module), name)
    try:
        return _find(named, (LIBRARY,), subject)
    except BundleError:
        if not named.startswith(f"{LIBRARY}."):
            raise
        return _find(f"{MOVED}.{named.rpartition('.')[2]}", (LIBRARY,), subject)


def _find(named: str, packages: Sequence[str], subject: object) -> Any:
    """A module class by its dotted path, defined in one of the packages; BundleError otherwise."""
    module, _, name = named.rpartition(".")
    found: Any = None
    if any(module == package or module.startswith(f"{package}.") for package in packages):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None
    # what a module imports is within its reach too, so where the class is from counts, not where it is found
    if (
        isinstance(found, type)
        and issubclass(found, nn.Module)
        and found.__module__.startswith(tuple(packages))
    ):
        return found
    wanted = "one of " + ", ".join(f"{package}'s" for package in packages)
    raise BundleError(subject, f"the class {named!r}", f"{wanted} networks and layers, or one of LesionLab's")
