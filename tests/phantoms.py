"""Small volumes with known answers, made on the fly."""

from __future__ import annotations
