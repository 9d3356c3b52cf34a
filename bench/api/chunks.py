"""Generation by models that produce notes in chunks of unknown length, such as those of tokens."""

from __future__ import annotations

from collections.abc import Callable

from bench.errors import PluginError, TrialError
from bench.music.notes import Notes

#: Seconds by which a chunk may begin before the notes that it continues: rounding, as of ticks.
ROUNDING = 1e-3


def in_chunks(prompt: Notes, n_notes: int, more: Callable[[Notes], Notes], attempts: int = 8) -> Notes:
    """Continue a prompt until there are `n_notes` notes.

    Parameters
    ----------
    prompt : Notes
    n_notes : int
    more : callable
        Takes the prompt and all notes so far, and returns further notes of the same piece, any number: what is too much is left
        out. It may return none, as where a model ends the piece, and is then called again.
    attempts : int
        Calls without a note, one after the other, after which it gives up.

    Returns
    -------
    Notes
        Exactly `n_notes`, without the prompt.

    Raises
    ------
    TrialError
        If `more` returned no note so many times.
    PluginError
        If notes of a chunk begin before the last note that it continues.

    Examples
    --------
    >>> def two_more(notes):
    ...     start = notes.onset[-1] + 0.5 if len(notes) else 0.0
    ...     return Notes.from_columns([start, start + 0.5], [0.5, 0.5], [60, 64], [80, 80])
    >>> in_chunks(Notes.from_columns([0.0], [0.5], [62], [80]), 3, two_more).onset.tolist()
    [0.5, 1.0, 1.5]
    """
    made, failed = Notes.concatenate([]), 0
    while (missing := n_notes - len(made)) > 0:
        notes = Notes.concatenate([prompt, made])
        chunk = more(notes)
        if not len(chunk):
            failed += 1
            if failed >= attempts:
                raise TrialError(
                    f"The model generated {len(made)} of {n_notes} notes, then none in {attempts} attempts.",
                    "It may have ended the piece, or not have learned to write notes: train it longer, or forbid it to end.",
                )
            continue
        failed = 0
        if len(notes) and chunk.onset[0] < notes.onset[-1] - ROUNDING:
            raise PluginError(
                f"A chunk begins at {chunk.onset[0]:.3f} s, before the last note that it continues ({notes.onset[-1]:.3f} s).",
                "Its onsets count from the beginning of the piece, as those of the notes that it continues.",
            )
        made = Notes.concatenate([made, chunk[:missing]])
    return made
