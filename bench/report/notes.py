"""Notes of a report: its sentences as plain text, section by section, from ``notes.j2``."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.formatting import listed, plural, visible
from bench.metrics import METRICS
from bench.report import alignment, budget, findings, harmony, spent
from bench.report.contents import Report
from bench.scoring.crossed import FEWEST
from bench.scoring.grid_search import SCORES
from bench.specs.schema import IN_FULL


def notes(report: Report, section: str, **arguments: Any) -> list[str]:
    """Render the notes of a section; one that is not true of this run is left out.

    Parameters
    ----------
    report : Report
    section : str
        A macro of ``notes.j2``.
    **arguments : object
        What else the macro takes.
    """
    text = str(getattr(_sections(), section)(report, **arguments))
    return [" ".join(note.split()) for note in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


@cache
def _sections() -> Any:
    environment = Environment(
        loader=PackageLoader("bench.report", ""),
        finalize=visible,  # a value in one line can't begin a note
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plural": plural, "listed": listed, "capital": _capital, "sentence": _sentence}
    environment.globals |= {
        "alignment": alignment,
        "curves": budget,
        "findings": findings,
        "harmony": harmony,
        "spent": spent,
        "METRICS": METRICS,
        "SCORES": SCORES,
        "FEWEST": FEWEST,
        "IN_FULL": IN_FULL,
    }
    return environment.get_template("notes.j2").module


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: object) -> str:
    """With a capital at its start and a full stop at its end."""
    words = str(text).strip()
    return _capital(words) + ("" if words.endswith((".", "!", "?")) else ".")
