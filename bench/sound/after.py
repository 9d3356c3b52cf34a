"""Sound at the end of a run. Nothing that goes wrong here fails the run: the report says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.sound.synthesizer import INSTALL, Missing, find_renderer


def render_after_run(folder: Path, display: Callable[[dict[str, Any]], None]) -> None:
    """Render the models' samples that aren't rendered yet, and say so in one line.

    Parameters
    ----------
    folder : Path
        The run's.
    display : callable
        Takes events.
    """
    # Imported here: a wrong spec is refused without symusic and HDF5.
    from bench.sound.clips import render_run, sources
    from bench.sound.render import Failure

    try:
        if not sources(folder):
            return
        renderer = find_renderer()
        if isinstance(renderer, Missing):
            text = f"no sound: {renderer.what}. {INSTALL} Then: bench listen {folder.name}"
        else:
            made = render_run(folder, renderer)
            failed = [clip.result.reason for clip in made if isinstance(clip.result, Failure)]
            new = sum(clip.result is not None for clip in made) - len(failed)
            text = f"sound: {new} of {len(made)} clips rendered by {renderer.words}" if new else ""
            text += f"{'; ' if text else 'sound: '}{len(failed)} failed: {failed[0]}" if failed else ""
    except (DataError, OSError) as error:
        text = f"no sound: {error}"
    if text:
        display({"event": "message", "text": text})
