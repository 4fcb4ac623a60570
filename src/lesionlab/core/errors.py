"""What can go wrong, in one line each.

Every error that a user's input can cause is a `LesionLabError`: it names the file or case, what was
found and what was needed. Programming errors stay ordinary Python exceptions.
"""

from __future__ import annotations


class LesionLabError(Exception):
    """An input that LesionLab cannot use, told in one line: subject, found, needed."""

    def __init__(self, subject: object, found: str, needed: str) -> None:
        self.subject = str(subject)
        self.found = found
        self.needed = needed
        super().__init__(f"{self.subject}: found {found}; needed {needed}".replace("\n", " "))

    def __reduce__(self) -> tuple[type[LesionLabError], tuple[str, str, str]]:
        return type(self), (self.subject, self.found, self.needed)


class ReadError(LesionLabError):
    """A file or folder that holds no usable scan."""


class GeometryError(LesionLabError):
    """Spacing, direction or grid that cannot be, or two grids that should be one."""


class SuvError(LesionLabError):
    """A PET header from which no SUV can be computed; names the DICOM attribute."""


class RecipeError(LesionLabError):
    """A recipe with an unknown key or an impossible value."""


class BundleError(LesionLabError):
    """A model folder that is incomplete or does not fit the case."""


class DatasetError(LesionLabError):
    """A set of cases that cannot be planned, split or trained on."""


class TrainingError(LesionLabError):
    """Training that cannot start or go on."""


class MemoryNeedError(LesionLabError):
    """Work that needs more memory than is free."""


class WriteError(LesionLabError):
    """A result that could not be written."""


class ServeError(LesionLabError):
    """A service that cannot start, take a study or deliver a result."""


def reason(error: Exception) -> str:
    """Why a file could not be read or written, as it fits after `found`: without errno and the path again."""
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
