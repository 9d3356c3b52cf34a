"""Sound at the end of a run. Nothing that goes wrong here fails the run: the report says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.errors import DataError


def render_after_run(folder: Path, display: Callable[[dict[str, Any]], None]) -> None:
    """Render the models' samples that have no clip yet, and report it in one line.

    Parameters
    ----------
    folder : Path
        The run's folder.
    display : callable
        Takes events.
    """
    # Imported here: a wrong spec is refused without symusic and HDF5.
    from bench.sound.clips import render_run, sources
    from bench.sound.synthesizer import find_synthesizer

    try:
        if not sources(folder):
            return
        synthesizer = find_synthesizer()
        outcomes = render_run(folder, synthesizer)
    except (DataError, ImportError, OSError) as error:
        display({"event": "message", "text": f"no sound: {' '.join(str(error).split())}"})
        return
    rendered = sum(outcome.rendered for outcome in outcomes)
    errors = [outcome.error for outcome in outcomes if outcome.error]
    parts = [f"{rendered} of {len(outcomes)} clips rendered by {synthesizer.description}"] if rendered else []
    parts += [f"{len(errors)} failed: {errors[0]}"] if errors else []
    if parts:
        display({"event": "message", "text": f"sound: {'; '.join(parts)}"})
