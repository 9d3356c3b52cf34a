"""Reference row: each field drawn from its training frequencies."""

from __future__ import annotations

from ._references import ChainRow

ROLE = "reference"
FEATURES = "each field drawn from its training frequencies"
LIKELIHOOD = "exact"
CONSTRAINT = True


class Model(ChainRow):
    """Four independent frequencies."""
