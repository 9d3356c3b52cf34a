"""Probes of an exact likelihood: pieces of which something is known if it is one.

Values of one note that exclude one another have probabilities of 1 at most together; a note's is the same whatever follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS, Notes, Piece
from bench.errors import TrialError
from bench.music.codec import NoteCodec

#: Notes that a piece begins with where alternatives are asked for, and tolerance of a sum of probabilities in float32.
PROBED, SUM_TOLERANCE = 16, 0.01

#: Notes of a piece of which the last are changed, and by how many nats the others' log probabilities may change, as bfloat16 may
#: change them in another batch.
FOLLOWED, SAME_TOLERANCE = 64, 0.02

#: Pitches that every unit has, and how long a note lasts that no unit misses, in seconds.
_PIANO, _LONG = range(21, 109), 2.0

#: Standard errors, and bits, by which a mean may be below what music needs at least.
_ERRORS, _LEAST_BITS = 5, 0.1


@dataclass(frozen=True)
class Alternatives:
    """A piece again and again, its last note another one each time.

    Parameters
    ----------
    what : str
        What differs: a field of :data:`bench.api.FIELDS`, or the whole note.
    pieces : tuple of Piece
    """

    what: str
    pieces: tuple[Piece, ...]

    def check(self, parts: Sequence[NDArray[np.float64]]) -> None:
        """Refuse a likelihood that gives the alternatives more than 1 together.

        As one in base-10 logarithms does, or over fewer classes than it is said to be over, or one that sees what it predicts.

        Parameters
        ----------
        parts : sequence of ndarray
            What ``log_likelihood`` gave for each piece.

        Raises
        ------
        TrialError
            Names the sum.
        """
        if self.what in FIELDS:
            nats = np.array([part[-1, FIELDS.index(self.what)] for part in parts])
        else:  # where the note's own predictions begin, nobody knows; of what is too short a model may predict nothing
            nats = np.array([part.sum() for part in parts if len(part)])
        total = float(np.exp(nats[np.isfinite(nats)]).sum())
        if total > 1 + SUM_TOLERANCE:
            raise TrialError(
                f"log_likelihood() gives {len(nats)} alternatives for the {self.what} of one note the probability {total:.3g} in "
                "all; it is 1 at most.",
                "Are they natural logarithms, over the classes of the NoteCodec self.codec, and does the model see nothing of "
                "what it predicts?",
            )


def alternatives(pieces: Sequence[Piece], unit: str, codec: NoteCodec | None) -> list[Alternatives]:
    """Begin a piece and end it otherwise, for each field in each class that occurs in the pieces.

    Nothing if no piece has two notes one after another.

    Parameters
    ----------
    pieces : sequence of Piece
    unit : {"note", "frame", "event"}
        Of others than notes the last note is another pitch.
    codec : NoteCodec or None
        Whose classes time and duration are over; they are left out where nobody knows.
    """
    for piece in pieces:
        head = piece.notes[:PROBED]
        if not (later := np.flatnonzero(np.diff(head.onset) > 0)).size:
            continue
        head = head[: int(later[-1]) + 2]
        if unit != "note":
            return _pitches(piece, head)
        own = codec or NoteCodec()
        codes = own.encode(head)
        occurring = np.concatenate([own.encode(one.notes) for one in pieces])
        found = []
        for column, field in enumerate(FIELDS):
            if codec is None and field in ("time", "duration"):
                continue
            made = []
            for value in np.unique(occurring[:, column]).tolist():
                other = codes.copy()
                other[-1, column] = value
                notes = own.decode(other)
                if np.array_equal(own.encode(notes), other):  # not where the last note would be another's
                    # Each with an identity of its own: a model may keep what it made of a piece.
                    made.append(replace(piece, id=f"{piece.id}, {field} {value}", notes=notes))
            found.append(Alternatives(field, tuple(made)))
        return found
    return []


def _pitches(piece: Piece, head: Notes) -> list[Alternatives]:
    """End a piece with a long note of each pitch that doesn't sound before; whatever the units are, none takes two for one."""
    last = head.onset[-1]
    sounding = set(head.pitch[:-1][(head.onset + head.duration)[:-1] > last - _LONG].tolist())
    made = []
    for pitch in sorted({*_PIANO} - sounding):
        pitches, durations = head.pitch.copy(), head.duration.copy()
        pitches[-1], durations[-1] = pitch, _LONG
        notes = Notes.from_columns(head.onset, durations, pitches, head.velocity)
        made.append(replace(piece, id=f"{piece.id}, pitch {pitch}", notes=notes))
    return [Alternatives("pitch and what follows", tuple(made))]


@dataclass(frozen=True)
class Followed:
    """The beginning of a piece twice, and once with other pitches at its end.

    Parameters
    ----------
    pieces : (Piece, Piece, Piece)
        Of the same times, durations and velocities.
    same : int
        Number of notes before the first that is another one.
    """

    pieces: tuple[Piece, Piece, Piece]
    same: int


def followed_otherwise(pieces: Sequence[Piece]) -> Followed | None:
    """Change the pitches of about the last quarter of a piece's beginning, each to the next lower one that occurs.

    None if no piece has a pitch that can be changed behind the first half of its notes, and of its time.
    """
    occurring = np.unique(np.concatenate([np.empty(0, np.int64), *(piece.notes.pitch for piece in pieces)]))
    lower = np.concatenate([occurring[:1], occurring[:-1]])  # the lowest stays: the order of a chord's notes is the same
    for piece in pieces:
        head = piece.notes[:FOLLOWED]
        if len(head) < 2:
            continue
        begin, end = head.onset[[0, -1]]
        late = (np.diff(head.onset) > 0) & (head.onset[1:] >= begin + 0.75 * (end - begin))
        places = 1 + np.flatnonzero(late)
        if not (places := places[places >= 0.75 * len(head)]).size:
            continue
        same = int(places[0])
        pitch = head.pitch.copy()
        pitch[same:] = lower[np.searchsorted(occurring, pitch[same:])]
        if (pitch != head.pitch).any():
            other = Notes(head.onset, head.duration, pitch, head.velocity)
            made = (head, head, other)
            one, again, changed = (replace(piece, id=f"{piece.id}, probe {i}", notes=notes) for i, notes in enumerate(made))
            return Followed((one, again, changed), same)
    return None


def check_followed(parts: Sequence[NDArray[np.float64]], followed: Followed, unit: str) -> None:
    """Refuse an exact likelihood that isn't the same the second time, or that depends on what follows.

    As that of a network that lacks its mask or reads both ways; of one that learns from what it is asked, and so from the
    held-out pieces at each stage; or with its dropout on.

    Parameters
    ----------
    parts : sequence of ndarray
        Log probabilities of :attr:`Followed.pieces`.
    followed : Followed
    unit : {"note", "frame", "event"}
        Of others than notes the first half is compared, which ends before the change.

    Raises
    ------
    TrialError
        Gives the largest difference.
    """
    least = followed.same if unit == "note" else min(map(len, parts)) // 2
    one, again, changed = (part[:least] for part in parts)
    with np.errstate(invalid="ignore"):  # where both have no probability
        repeated, follows = (float(np.abs(np.subtract(other, one)).max(initial=0.0)) for other in (again, changed))
    if repeated > SAME_TOLERANCE:
        raise TrialError(
            f"log_likelihood() gives one piece other log probabilities (by up to {repeated:.3g} nats) the second time.",
            "Does the model keep something of the pieces that it is asked about, or is its dropout on?",
        )
    if follows > SAME_TOLERANCE:
        raise TrialError(
            f"log_likelihood() gives a {unit} another log probability (by up to {follows:.3g} nats) where other notes follow it.",
            f"A {unit} is to be predicted from what is before it alone. Does the network lack a causal mask, or read both ways?",
        )


def check_noise(parts: Sequence[NDArray[np.float64]], noise: Mapping[str, float] | None) -> None:
    """Refuse bits of a field below what the music draws at random in it.

    Parameters
    ----------
    parts : sequence of ndarray, each shape (notes, 4)
        Log probabilities of the held-out pieces.
    noise : dict of str to float, optional
        See :attr:`bench.api.Splits.noise`.

    Raises
    ------
    TrialError
        Names the field.
    """
    if not parts or not noise:
        return
    bits = -np.concatenate(parts) / np.log(2)
    for field, least in noise.items():
        own = bits[:, FIELDS.index(field)]
        if own.mean() < least - _LEAST_BITS - _ERRORS * own.std() / np.sqrt(len(own)):
            raise TrialError(
                f"log_likelihood() needs {own.mean():.2f} bits for a note's {field}; {least:.2f} of it are drawn at random.",
                f"No model can do with less: does it see the {field} that it predicts?",
            )
