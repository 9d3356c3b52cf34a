"""How an external file begins: with its prompt, with the prompt transposed, with nearly the prompt, or without it.

Mostly pitches are compared, as the other system may have changed tempo, velocities and the grid. On a coarser grid, notes that
were apart begin together: in the file's order, by pitch, they are no longer in the prompt's, and equal ones are merged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.music.notes import Notes
from bench.runner.contract import ONSET_TOLERANCE, TELLING, begins_again

#: ``prompt``: the prompt's pitches in order, or moved to a grid. ``transposed``: the same, shifted by one interval. ``near``:
#: nearly the prompt's pitches, in another order, or a part of its notes up to its end. ``other``: none of these.
Start = Literal["prompt", "transposed", "near", "other"]

#: What the user states about the files. ``auto``: nothing, each is checked. ``included``: all begin with their
#: prompt. ``absent``: none does.
PromptRule = Literal["auto", "included", "absent"]

#: Least share of the prompt's pitches, in any order, at which a file that doesn't begin with the prompt is called near it.
NEARLY = 0.9
#: Longest time between notes of the prompt that begin together in a file, seconds: an eighth of a beat at 30 beats a minute.
GRID = 0.25
#: Longest time between an onset and the prompt's, in seconds, where a part of the prompt is looked for.
NEAR = 0.1
#: Number of MIDI pitches.
KEYS = 128
#: Notes that begin together, at most, where a prompt on another grid is looked for: a hostile file may have millions.
MOST_TOGETHER = 4 * KEYS
#: Notes of a prompt, at most, of which a part is looked for, or which is looked for among others: that costs their square.
MOST_SOUGHT = 1024
#: Notes that are looked at, at most, to find the ways in which a prompt fits a file on another grid: of one note again and again
#: every part fits everywhere.
MOST_WAYS = 10_000_000
#: Longest time between a prompt's last onset and a file without the prompt that is taken to be on the prompt's clock, seconds.
PAUSE = 5.0


@dataclass(frozen=True)
class Opening:
    """Comparison of the first notes of a file with its prompt.

    Parameters
    ----------
    start : Start
    rest : Notes or None
        The notes after the prompt, on its clock, if the file begins with it in any transposition; else None.
    remark : str
        Why it is suspicious; empty for ``other``, and for ``prompt`` unless the user says that there is none.
    part : int
        Of ``other``, notes at its beginning that are a part of the prompt up to its end; behind a prompt that was cut off, notes
        that are the prompt again. Music may repeat its last bar, or all of it: only where most files of a system do, it is the
        prompt, cut to the system's context, say.
    """

    start: Start
    rest: Notes | None = None
    remark: str = ""
    part: int = 0
    #: Of ``other``, notes that begin while the prompt plays, as where a system writes both from time 0.
    mixed: int = 0


def opening(notes: Notes, prompt: Notes) -> Opening:
    """Compare the beginning of `notes` with the prompt.

    Lower notes of the continuation on the onset of the prompt's last chord sort before those of the chord.

    Parameters
    ----------
    notes, prompt : Notes
        As read from a file, sorted by (onset, pitch).
    """
    size = len(prompt)
    if size == 0 or not len(notes):
        return Opening("other")
    if (rest := _after(notes, prompt)) is not None:
        return Opening("prompt", rest)
    # Of fewer notes any melody may be a transposition or a reordering of any other.
    first = notes.pitch[notes.onset == notes.onset[0]] if size >= TELLING else notes.pitch[:0]
    for shift in sorted({pitch - int(prompt.pitch[0]) for pitch in np.unique(first).tolist()} - {0}, key=abs):
        if (moved := _transposed(prompt, shift)) is not None and (rest := _after(notes, moved)) is not None:
            way = "up" if shift > 0 else "down"
            semitones = "semitone" if abs(shift) == 1 else "semitones"
            return Opening("transposed", rest, f"its first {size} notes are the prompt's, {abs(shift)} {semitones} {way}")
    same = 0 if size < TELLING else sum((Counter(notes.pitch[:size].tolist()) & Counter(prompt.pitch.tolist())).values())
    if same < NEARLY * size:
        part = _part(notes, prompt)
        return Opening("other", part=part, mixed=0 if part else _among(notes, prompt))
    return Opening("near", None, f"its first {size} notes are nearly the prompt's ({same} pitches), but not in its order")


def continuation(notes: Notes, prompt: Notes, rule: PromptRule) -> tuple[Notes, Opening, bool]:
    """Return the notes that count, on the prompt's clock, how the file begins, and whether a prompt was cut off.

    Where the file has the prompt at another time, the continuation is as far from the prompt's last onset as it is in the file.
    What begins within :data:`PAUSE` seconds after that onset without the prompt stays there; any other begins where the prompt's
    last note ends. No tempo is changed.

    Parameters
    ----------
    notes, prompt : Notes
        As for :func:`opening`.
    rule : PromptRule
        ``auto`` cuts off the prompt if the file begins with its pitches, in order and untransposed; where it begins with nearly
        the prompt, the opening has a remark, and what counts is in doubt. ``included`` also cuts off a transposed prompt, and as
        many notes as the prompt has where it isn't recognised. ``absent`` cuts nothing, but what begins with the prompt has a
        remark, unless the prompt is short enough to begin a file by chance.
    """
    begin = opening(notes, prompt)
    if rule == "absent":
        found = begin.remark or ("it begins with the prompt" if begin.start == "prompt" and len(prompt) >= TELLING else "")
        return _behind(notes, prompt), replace(begin, remark=found and f"{found}: counted nevertheless"), False
    if begin.rest is not None and (rule == "included" or begin.start == "prompt"):
        remark = f"{begin.remark}: cut off" if begin.remark else ""
        again = len(prompt) if len(begin.rest) >= len(prompt) and begins_again(begin.rest, prompt) else 0
        return begin.rest, Opening(begin.start, begin.rest, remark, part=again), True
    if rule == "included" and begin.part:
        rest = _moved(notes[begin.part :], float(notes.onset[begin.part - 1]), prompt)
        return rest, Opening("near", None, f"{part_text(begin.part)}: cut off"), True
    if rule == "included" and (size := len(prompt)):
        remark = f"its first {size} notes are not the prompt's: cut off nevertheless"
        return _moved(notes[size:], float(notes.onset[:size][-1]), prompt), replace(begin, rest=None, remark=remark), True
    return _behind(notes, prompt), begin, False


def part_text(notes: int) -> str:
    """Say that a file begins with a part of its prompt."""
    return f"its first {notes} notes are a part of the prompt, up to its end"


def mixed_text(others: int) -> str:
    """Say that the prompt is among other notes."""
    return f"the prompt's notes are among {others} others, at their times"


def _part(notes: Notes, prompt: Notes) -> int:
    """Count the notes at the beginning that are a part of the prompt, at its times and up to its end; 0 below TELLING.

    As where a system was given the end of a prompt that is longer than its context, or the melody of one alone. Nothing is said
    of another key or tempo.
    """
    if not TELLING <= len(prompt) <= MOST_SOUGHT:
        return 0
    onsets = [prompt.onset[prompt.pitch == pitch] for pitch in range(KEYS)]
    for at in np.flatnonzero(prompt.pitch == notes.pitch[0]).tolist():
        moved = float(prompt.onset[at] - notes.onset[0])
        size = int(np.searchsorted(notes.onset, prompt.onset[-1] - moved + ONSET_TOLERANCE, side="right"))
        if not TELLING <= size <= 2 * len(prompt):
            continue
        found = sum(
            bool(len(at_pitch := onsets[pitch])) and float(np.abs(at_pitch - onset - moved).min()) <= NEAR
            for pitch, onset in zip(notes.pitch[:size].tolist(), notes.onset[:size].tolist(), strict=True)
        )
        if found >= NEARLY * size:
            return size
    return 0


def _among(notes: Notes, prompt: Notes) -> int:
    """Count the other notes up to the prompt's end if the prompt is among them, as where it plays on while they continue it."""
    until = int(np.searchsorted(notes.onset, notes.onset[0] + np.ptp(prompt.onset) + ONSET_TOLERANCE, side="right"))
    if not TELLING <= len(prompt) <= MOST_SOUGHT or not len(prompt) < until <= MOST_TOGETHER * len(prompt):
        return 0
    for moved in {0.0, float(notes.onset[0] - prompt.onset[0])}:
        found = sum(
            bool(len(times := notes.onset[:until][notes.pitch[:until] == pitch]))
            and float(np.abs(times - at - moved).min()) <= NEAR
            for pitch, at in zip(prompt.pitch.tolist(), prompt.onset.tolist(), strict=True)
        )
        if found >= NEARLY * len(prompt):
            return until - found
    return 0


def whose(notes: Notes, prompts: Sequence[Notes]) -> int | None:
    """Find the first prompt of at least TELLING notes that the notes begin with; None if there is none."""
    return next((i for i, p in enumerate(prompts) if len(p) >= TELLING and _after(notes, p) is not None), None)


def _moved(rest: Notes, at: float, prompt: Notes) -> Notes:
    """Move the notes after a file's prompt, whose last onset is `at`, to where they follow the prompt."""
    end = _end(prompt)
    # The sum may be rounded to below the prompt's end.
    return Notes.from_columns(np.maximum(rest.onset + (end - at), end), rest.duration, rest.pitch, rest.velocity)


def _behind(notes: Notes, prompt: Notes) -> Notes:
    """Put notes that were written without the prompt behind it, unless they are there."""
    first = float(notes.onset[0]) if len(notes) else 0.0
    if not len(notes) or -ONSET_TOLERANCE <= first - _end(prompt) <= PAUSE:
        return notes
    return _moved(notes, first - min(float(prompt.duration[-1]), PAUSE) if len(prompt) else first, prompt)


def _end(prompt: Notes) -> float:
    return float(prompt.onset[-1]) if len(prompt) else 0.0


def _transposed(prompt: Notes, by: int) -> Notes | None:
    """Transpose the prompt up by `by` semitones; None if a pitch leaves the MIDI range."""
    pitch = prompt.pitch.astype(np.int64) + by
    if pitch.min() < 0 or pitch.max() >= KEYS:
        return None
    return Notes.from_columns(prompt.onset, prompt.duration, pitch, prompt.velocity)


def _after(notes: Notes, prompt: Notes) -> Notes | None:
    """Return the notes after the prompt, with others on its last onset, on its clock; None if the notes don't begin with it."""
    rest = _after_in_order(notes, prompt) if len(notes) >= len(prompt) else None
    return _after_on_grid(notes, prompt) if rest is None else rest


def _after_on_grid(notes: Notes, prompt: Notes) -> Notes | None:
    """Do the same where the file's grid has moved notes of the prompt to one onset, and merged equal ones.

    A grid keeps the order of onsets, so each onset of the file holds the pitches of a run of the prompt. Where a pitch is
    repeated, several runs may fit, and all are followed. Of several ends the one nearest in time to the prompt's own is taken.
    """
    ends = list[tuple[float, int, set[int]]]()
    reached, end = {0}, 0
    left = MOST_WAYS
    tail = prompt.pitch[prompt.onset >= prompt.onset[-1] - GRID]  # what may begin together with its last note
    while reached and left > 0 and end < len(notes):  # no further than the prompt may go: a file may have millions of notes
        begin, end = end, int(np.searchsorted(notes.onset, notes.onset[end], side="right"))
        if end - begin > MOST_TOGETHER:
            return None
        together = set(notes.pitch[begin:end].tolist())
        late = abs(float(notes.onset[begin] - notes.onset[0] - prompt.onset[-1] + prompt.onset[0]))
        others = np.flatnonzero(~np.isin(tail, list(together)))
        behind = len(prompt) - len(tail) + (int(others[-1]) + 1 if len(others) else 0)
        if (start := min((start for start in reached if start >= behind), default=None)) is not None:
            ends.append((late, begin, set(prompt.pitch[start:].tolist())))
        left -= len(tail) + sum(min(len(prompt) - start, KEYS) for start in reached)
        reached = {stop for start in reached for stop in _runs(prompt, start, together)}
    if not ends:
        return None
    _, begin, last = min(ends, key=lambda end: end[:2])
    # What else begins with the prompt's last notes is continuation.
    keep = np.arange(len(notes)) >= begin
    keep &= (notes.onset > notes.onset[begin]) | ~np.isin(notes.pitch, list(last))
    return _moved(_kept(notes, keep), float(notes.onset[begin]), prompt)


def _runs(prompt: Notes, start: int, pitches: set[int]) -> Iterator[int]:
    """Yield the ends of the runs of the prompt from `start` that have exactly these pitches and fit into one step of a grid."""
    run = set[int]()
    for stop in range(start, min(len(prompt) - 1, start + KEYS)):
        pitch = int(prompt.pitch[stop])
        if pitch not in pitches or prompt.onset[stop] - prompt.onset[start] > GRID:
            return
        run.add(pitch)
        if run == pitches:
            yield stop + 1


def _after_in_order(notes: Notes, prompt: Notes) -> Notes | None:
    """Do the same where the notes have the prompt's pitches in its order, all but those of its last chord."""
    size = len(prompt)
    if np.array_equal(notes.pitch[:size], prompt.pitch):
        return _moved(notes[size:], float(notes.onset[size - 1]), prompt)
    before = int(np.searchsorted(prompt.onset, prompt.onset[-1]))
    if not np.array_equal(notes.pitch[:before], prompt.pitch[:before]):
        return None
    end = int(np.searchsorted(notes.onset, notes.onset[before], side="right"))
    keep = np.arange(len(notes)) >= before
    for pitch in prompt.pitch[before:]:
        matches = np.flatnonzero(keep[:end] & (notes.pitch[:end] == pitch))
        if not len(matches):
            return None
        keep[matches[0]] = False
    return _moved(_kept(notes, keep), float(notes.onset[before]), prompt)


def _kept(notes: Notes, keep: NDArray[np.bool_]) -> Notes:
    return Notes(notes.onset[keep], notes.duration[keep], notes.pitch[keep], notes.velocity[keep])
