"""Originality: how much of a sample is copied, verbatim, from the training pieces or from its own prompt.

Only the order of exact pitches counts: notes sorted by (onset, pitch), one byte a pitch. A copy in another key or with other
chords between passes as new, and a chord whose notes are played in another order breaks a run; rhythm and velocity are ignored.

People borrow and repeat themselves too, so each column has a second one with the same figure of the held-out piece's own target:
far above it is copying, far below it is music like none that was learned from. The reference row `real` is an excerpt of a
training piece: it shows what a full copy looks like.

The worker, which has the training pieces, measures all this and stores it in the trial's outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes, Piece
from bench.errors import DataError
from bench.metrics.metric import Metric, Undefined, Value
from bench.storage.outcome import Copying, Originality

if TYPE_CHECKING:  # the readers of files come with it, which a list of metrics doesn't need
    from bench.storage.samples import Target

#: Notes of a pattern: as many pitches as a 64-bit number holds.
PATTERN = 8

#: Notes of the training pieces that are converted at once.
AT_ONCE = 1 << 20

SOURCE = "this suite"

METRICS = (
    Metric(
        "copied_run",
        "Longest copied run",
        "notes",
        None,
        "Most consecutive notes of a sample whose pitches stand consecutively in one training piece.",
        SOURCE,
        1,
        group="originality",
        tolerance=4,
        floor=1.0,
        counterpart="copied_run_real",
    ),
    Metric(
        "copied_run_real",
        "Longest copied run, real",
        "notes",
        None,
        "The longest copied run of what really follows the prompt: what held-out music shares with the training pieces.",
        SOURCE,
        1,
        group="originality",
        tolerance="off",
        floor=1.0,
    ),
    Metric(
        "known_patterns",
        "Known patterns",
        "%",
        None,
        f"Share of a sample's windows of {PATTERN} consecutive pitches that stand in a training piece.",
        SOURCE,
        1,
        group="originality",
        tolerance=5,
        floor=1.0,
        counterpart="known_patterns_real",
    ),
    Metric(
        "known_patterns_real",
        "Known patterns, real",
        "%",
        None,
        "The known patterns of what really follows the prompt.",
        SOURCE,
        1,
        group="originality",
        tolerance="off",
        floor=1.0,
    ),
    Metric(
        "copied_from_prompt",
        "Longest run from the prompt",
        "notes",
        None,
        "Most consecutive notes of a sample whose pitches stand consecutively in its prompt.",
        SOURCE,
        1,
        group="originality",
        tolerance=4,
        floor=1.0,
        counterpart="copied_from_prompt_real",
    ),
    Metric(
        "copied_from_prompt_real",
        "Longest run from the prompt, real",
        "notes",
        None,
        "The longest run from the prompt of what really follows it: how real music repeats itself.",
        SOURCE,
        1,
        group="originality",
        tolerance="off",
        floor=1.0,
    ),
)

_NOT_MEASURED = Undefined("originality was not measured: the trial was run by an older version")
_NO_PROMPT = Undefined("there is no prompt that it could copy")
_TOO_SHORT = Undefined(f"fewer than {PATTERN} notes")

#: No pitches: they end a training piece and a sample, so that nothing matches beyond its end.
_END_OF_PIECE, _END_OF_SAMPLE = b"\xff", b"\xfe"

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Copied:
    """How much of one sample is copied.

    Parameters
    ----------
    longest_training_run : int
        Most consecutive notes of the sample whose pitches stand consecutively in one training piece.
    longest_prompt_run : int or None
        The same for its prompt; None where it has none.
    known_patterns : float or None
        Share of its windows of 8 notes whose pitches stand consecutively in a training piece, 0 to 1, repeated windows counted
        each time; None for a sample of fewer than 8 notes.
    """

    longest_training_run: int
    longest_prompt_run: int | None
    known_patterns: float | None


class TrainingIndex:
    """Pitches of the training pieces, ready to be searched: 9 bytes a note.

    Parameters
    ----------
    train : iterable of Notes

    Examples
    --------
    >>> scale = Notes.from_columns(range(9), [1] * 9, range(60, 69), [80] * 9)
    >>> TrainingIndex([scale]).measure(scale[2:], prompt=scale[:4])
    Copied(longest_training_run=7, longest_prompt_run=2, known_patterns=None)
    """

    def __init__(self, train: Iterable[Notes]) -> None:
        self._music = _END_OF_PIECE.join([b"", *(notes.pitch.tobytes() for notes in train), b""])
        self._sorted = np.empty(len(self._music), np.uint64)
        for at in range(0, len(self._music), AT_ONCE):  # at once, and sorted as a copy, they would take three times the memory
            part = _keys(self._music[at : at + AT_ONCE + PATTERN - 1], _END_OF_PIECE)
            self._sorted[at : at + AT_ONCE] = part[:AT_ONCE]
        self._sorted.sort()

    def measure(self, sample: Notes, prompt: Notes) -> Copied:
        """Measure how much of a sample is copied.

        Parameters
        ----------
        sample : Notes
        prompt : Notes
            Empty where its system took none.
        """
        pitches = sample.pitch.tobytes()
        matches = self._matches(pitches)
        windows = max(0, len(sample) - PATTERN + 1)
        return Copied(
            longest_training_run=self._longest_run(pitches, matches),
            longest_prompt_run=longest_run(pitches, prompt.pitch.tobytes()) if len(prompt) else None,
            known_patterns=int(np.count_nonzero(matches == PATTERN)) / windows if windows else None,
        )

    def _matches(self, pitches: bytes) -> NDArray[np.int64]:
        """Count the notes from each one on, at most 8, that stand consecutively in a training piece; shape (notes,)."""
        keys = _keys(pitches, _END_OF_SAMPLE)
        # Of all training windows, one next to it in their order has the most leading pitches in common.
        after = np.searchsorted(self._sorted, keys)
        nearest = self._sorted[np.clip([after - 1, after], 0, len(self._sorted) - 1)]  # (2, notes)
        differ = (nearest ^ keys)[..., None] >> np.arange(0, 8 * PATTERN, 8, dtype=np.uint64)
        matches: NDArray[np.int64] = np.count_nonzero(differ == 0, axis=-1).max(0)
        return matches

    def _longest_run(self, pitches: bytes, matches: NDArray[np.int64]) -> int:
        longest = int(matches.max(initial=0))
        known = np.flatnonzero(matches == PATTERN)
        # A longer run lies within neighbouring windows that are all known.
        for stretch in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if len(known) else ():
            longest = longest_run(pitches[stretch[0] : stretch[-1] + PATTERN], self._music, longest)
        return longest


def longest_run(pitches: bytes, music: bytes, longest: int = 0) -> int:
    """Most consecutive pitches that stand consecutively in other music, or `longest` if that is more.

    >>> longest_run(bytes([60, 62, 64, 65]), bytes([59, 62, 64, 59, 60]))
    2
    """
    for start in range(len(pitches)):
        at = 0  # a longer run starts nowhere before the first place of a shorter one
        while start + longest < len(pitches) and (at := music.find(pitches[start : start + longest + 1], at)) >= 0:
            longest += 1
    return longest


def patterns(notes: Notes) -> Keys:
    """Pitches of all windows of 8 notes, as numbers that are equal where the pitches are; shape (windows,).

    >>> patterns(Notes.from_columns(range(9), [1] * 9, [0] * 8 + [3], [80] * 9)).tolist()
    [0, 3]
    """
    return _keys(notes.pitch.tobytes(), _END_OF_SAMPLE)[: max(0, len(notes) - PATTERN + 1)]


def _keys(pitches: bytes, end: bytes) -> Keys:
    """Each pitch and the seven after it as one number, the first in the highest byte; shape (pitches,)."""
    padded = np.frombuffer(pitches + (PATTERN - 1) * end, np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(padded, PATTERN) if pitches else np.empty((0, PATTERN), np.uint8)
    return np.ascontiguousarray(windows).view(">u8")[:, 0].astype(np.uint64)


def measure_samples(
    train: Sequence[Piece], samples: Mapping[tuple[int, int], Notes], targets: Sequence[Target], takes_prompt: bool = True
) -> Originality:
    """Measure what a trial's outcome stores: the samples' figures, and real held-out music's own to read them by.

    Parameters
    ----------
    train : sequence of Piece
    samples : mapping of (int, int) to Notes
        By (piece, sample).
    targets : sequence of Target
        All held-out pieces of the run.
    takes_prompt : bool
        Whether the system saw the prompts.

    Returns
    -------
    Originality
        Of the samples in the order of their keys, and of the targets.
    """
    index = TrainingIndex(piece.notes for piece in train)
    prompts = {piece: targets[piece].prompt[: None if takes_prompt else 0] for piece, _ in samples}
    measured = [index.measure(samples[piece, sample], prompts[piece]) for piece, sample in sorted(samples)]
    real = [index.measure(target.target, target.prompt) for target in targets]
    return Originality(samples=Copying.of_rows(map(astuple, measured)), targets=Copying.of_rows(map(astuple, real)))


def evaluate(stored: Originality | None, sample: int, piece: int) -> dict[str, Value]:
    """Compute every metric of this module from what a trial's outcome stored as ``originality``.

    Parameters
    ----------
    stored : Originality or None
        From :func:`measure_samples`; None for an outcome that has none.
    sample : int
        Index among all samples in the order of (piece, sample).
    piece : int
        Index of the held-out piece.

    Raises
    ------
    DataError
        If it lacks that sample or piece.
    """
    if stored is None:
        return {metric.name: _NOT_MEASURED for metric in METRICS}
    try:
        copied, real = _values(stored.samples, sample), _values(stored.targets, piece)
    except IndexError as error:
        raise DataError(f"the outcome's originality says nothing of sample {sample} and piece {piece}") from error
    return copied | {f"{name}_real": value for name, value in real.items()}


def _values(stored: Copying, index: int) -> dict[str, Value]:
    prompt, known = stored.longest_prompt_run[index], stored.known_patterns[index]
    return {
        "copied_run": float(stored.longest_training_run[index]),
        "copied_from_prompt": _NO_PROMPT if prompt is None else float(prompt),
        "known_patterns": _TOO_SHORT if known is None else 100 * float(known),
    }
