"""Names of a package that load on first use, so that a command imports only the libraries it needs, when it
needs them.

Which names a package has, and where they live, is said in its own `__init__`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesionlab.core.tasks import Progress


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


def imports_from(progress: Progress, share: float, modules: Sequence[str]) -> Progress:
    """A progress callback that also imports `modules` in a thread, once `share` is reached.

    For what is needed after a stage in which the interpreter mostly waits. A module that cannot be imported
    is left to those who need it. The end of the process does not wait for the thread: an interruption can
    leave it waiting for ever for a module that the main thread was importing.
    """
    begun: list[Thread] = []

    def load() -> None:
        for name in modules:
            with suppress(Exception):
                import_module(name)

    def told(message: str, done: float) -> None:
        if done >= share and not begun:
            begun.append(Thread(target=load, name="imports", daemon=True))
            begun[0].start()
        progress(message, done)

    return told
