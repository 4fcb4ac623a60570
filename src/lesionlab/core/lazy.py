"""Names of a package that load on first use, so that a command imports only the libraries it needs.

Which names a package has, and where they live, is said in its own `__init__`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_first_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` (PEP 562) that imports each name from its home when it is first asked for.

    `homes` maps a public name to the module that defines it. A name must not be that of a module of the
    package: importing that module would hide it. The function raises AttributeError for other names.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
