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

#: Least probability of all pitches of a note together, of which some may be that of an end of the piece or of an unknown note.
LEAST_IN_ALL = 0.75

#: Notes of a piece of which the last are changed, no multiple of a window.
FOLLOWED = 1021

#: By how many nats log probabilities may change the second time, and where other notes follow, as those of quantised weights do.
REPEATED, FOLLOWING = 0.02, 0.1

#: By how much the last notes are later there, in seconds: more than the codec's classes of time shifts below 6 s are wide.
_LATER = 0.7

#: Predictions of the same past that show how much equal ones differ.
FEWEST_KNOWN = 4

#: Probability that no two events of one past both are above.
LIKELY = 0.5

#: Least difference of two log probabilities that tells two events apart, and one that stands for no probability.
EXACT, IMPOSSIBLE = 1e-4, -1e6

#: Notes, and predictions, of which three quarters are fewer in any vocabulary and on any grid.
MANY = 64

#: How long what is before the change sounds after its last onset, in seconds.
_MOMENT = 0.05

#: Pitches of which a long beginning is asked for, as each costs as many notes.
MOST_LONG = 4

#: Longest step of time of a vocabulary of events, in seconds: within one, notes are in an order of its own.
_STEP = 0.2

#: Least length of a note that a frame holds, in seconds.
_FRAME = 0.5

#: Pitches that every unit has, and for how long a pitch must not have sounded, in seconds.
_PIANO, _LONG = range(21, 109), 2.0

#: Standard errors, and bits, by which a mean may be below what music needs at least.
_ERRORS, _LEAST_BITS = 5, 0.1


@dataclass(frozen=True)
class Alternatives:
    """A piece again and again, its last note another one each time.

    Parameters
    ----------
    what : str
        What differs, a field of :data:`bench.api.FIELDS`.
    pieces : tuple of Piece
    past : Piece, optional
        Of units other than notes, what is the same in all pieces, without what sounds on into the last note.
    slack : int
        Most predictions by which that ends otherwise, such as of events that end what sounds on.
    """

    what: str
    pieces: tuple[Piece, ...]
    past: Piece | None = None
    slack: int = 0

    @property
    def asked(self) -> list[Piece]:
        """Pieces to ask for."""
        return [*self.pieces, *([self.past] if self.past else [])]

    def check(self, parts: Sequence[NDArray[np.float64]]) -> None:
        """Refuse a likelihood that gives the alternatives more than 1 together.

        As one in base-10 logarithms does, or over fewer classes than it is said to be over, or one that sees what it predicts.

        Parameters
        ----------
        parts : sequence of ndarray
            What ``log_likelihood`` gave for each piece of :attr:`asked`.

        Raises
        ------
        TrialError
            Names the sum.
        """
        if (total := max(self.total(parts), self.at_first(parts))) > 1 + SUM_TOLERANCE:
            raise TrialError(
                f"log_likelihood() gives {len(self.pieces)} alternatives for the {self.what} of one note the probability "
                f"{total:.3g} in all; it is 1 at most.",
                "Are they natural logarithms, over the classes of the NoteCodec self.codec, and does the model see nothing of "
                "what it predicts?",
            )

    def total(self, parts: Sequence[NDArray[np.float64]]) -> float:
        """Sum the probabilities of the alternatives; 0 where nothing tells them apart."""
        if self.past is None:
            nats = np.array([part[-1, FIELDS.index(self.what)] for part in parts])
        else:
            *parts, past = parts
            if not len(past):  # what nothing predicts, such as a first frame, may hold the last note too
                return 0.0
            # What more of the past is counted makes the sum less. Of a short piece a model of whole segments predicts nothing.
            common = max(0, len(past) - self.slack)
            nats = np.array([part[common:].sum() for part in parts if len(part) > len(past)])
        return float(np.exp(nats[np.isfinite(nats)]).sum())

    def at_first(self, parts: Sequence[NDArray[np.float64]]) -> float:
        """Sum the probabilities of the different frames or events at the first place where the alternatives have any; 0 of notes.

        All have one past there, so that a model that hears what it predicts is found although it is no good at the predictions
        that follow, whose product :meth:`total` takes. Equal ones may be of one event and count once. Equal are those that
        differ by no more than those of the past do, which are of the same events.
        """
        if self.past is None:
            return 0.0
        *parts, past = parts
        known = max(0, len(past) - self.slack)
        parts = [part for part in parts if len(part) > len(past)]
        if known < FEWEST_KNOWN or len(parts) < 2:
            return 0.0
        # Of logarithms: behind a place where all are improbable, and their probabilities as good as equal, their pasts differ.
        table = np.maximum(np.stack([part[: min(map(len, parts))] for part in parts]), IMPOSSIBLE)
        spread = np.ptp(table, axis=0)
        if (noise := max(4 * float(spread[:known].max()), EXACT)) > REPEATED:
            return 0.0
        places = known + np.flatnonzero(spread[known:] > noise)
        if not places.size:
            return 0.0
        # Before it, behind the past, different ones may have had one probability, such as all that were never heard. Of a
        # probability p there are 1 / p at most; each is a past of its own, with a sum of 1 at most at the place.
        skipped, common = table[:, known : places[0]], np.full(places[0] - known, np.nan)
        common[: len(past) - known] = past[known : places[0]]
        heard = np.cumprod(np.abs(skipped - common).max(0, initial=0.0) <= noise).astype(bool)
        if heard.any() and skipped.min(0)[last := int(heard.sum()) - 1] <= np.log(LIKELY) + noise:
            heard[last] = False  # the past alone may end otherwise, with another event of that probability
        most = np.exp(np.minimum(noise - skipped.min(0), np.log(len(table))))
        ways = np.where(heard, 1.0, np.floor(most + 1e-9))
        nats = np.sort(table[:, places[0]])
        return float(np.exp(nats[np.diff(nats, prepend=-np.inf) > noise]).sum() / min(float(ways.prod()), len(table)))


def alternatives(pieces: Sequence[Piece], unit: str, codec: NoteCodec | None) -> list[Alternatives]:
    """Begin a piece and end it otherwise, for each field in each class that occurs in the pieces.

    Nothing if no piece has two notes one after another. Of a long beginning, whose end is in no first window, a few pitches.

    Parameters
    ----------
    pieces : sequence of Piece
    unit : {"note", "frame", "event"}
        Of others than notes the last note is another pitch.
    codec : NoteCodec or None
        Whose classes time and duration are over; they are left out where nobody knows.
    """
    if unit != "note":
        slack = 3 if unit == "frame" else PROBED + 3
        return next((_pitches(piece, head, slack) for piece in pieces if (head := _beginning(piece, PROBED)) is not None), [])
    own = codec or NoteCodec()
    known = FIELDS if codec else FIELDS[:2]
    occurring = np.concatenate([np.empty((0, len(FIELDS)), np.int64), *(own.encode(one.notes) for one in pieces)])
    found = []
    longest = max(pieces, key=lambda one: len(one.notes), default=None)
    first = next((piece for piece in pieces if _beginning(piece, PROBED) is not None), None)
    for piece, length, fields, most in ((first, PROBED, known, None), (longest, FOLLOWED, FIELDS[:1], MOST_LONG)):
        if piece is None or (head := _beginning(piece, length)) is None or (most and len(head) <= PROBED):
            continue
        codes = own.encode(head)
        for field in fields:
            column, made = FIELDS.index(field), []
            for value in np.unique(occurring[:, column]).tolist()[:most]:
                other = codes.copy()
                other[-1, column] = value
                notes = own.decode(other)
                if np.array_equal(own.encode(notes), other):  # not where the last note would be another's
                    # Each with an identity of its own: a model may keep what it made of a piece.
                    made.append(replace(piece, id=f"{piece.id}, {length} notes, {field} {value}", notes=notes))
            found.append(Alternatives(field, tuple(made)))
    return found


def other_pitches(others: Sequence[Alternatives]) -> Alternatives | None:
    """Give the last note of the first alternatives every pitch that none of them has; None of units other than notes."""
    if not others or others[0].past or others[0].what != "pitch" or not others[0].pieces:
        return None
    one, known = others[0].pieces[0], {int(piece.notes.pitch[-1]) for piece in others[0].pieces}
    made = []
    for value in sorted(set(range(128)) - known):
        pitch = one.notes.pitch.copy()
        pitch[-1] = value
        notes = Notes(one.notes.onset, one.notes.duration, pitch, one.notes.velocity)
        made.append(replace(one, id=f"{one.id}, or {value}", notes=notes))
    return Alternatives("pitch", tuple(made))


def _beginning(piece: Piece, length: int) -> Notes | None:
    """At most so many notes of a piece, the last with an onset of its own; None if no note has one."""
    head = piece.notes[:length]
    later = np.flatnonzero(np.diff(head.onset) > 0)
    return head[: int(later[-1]) + 2] if later.size else None


def _pitches(piece: Piece, head: Notes, slack: int) -> list[Alternatives]:
    """End a piece with a note of each pitch that doesn't sound before, and is as long as most are: no unit takes two for one."""
    last, long = head.onset[-1], max(_FRAME, float(np.quantile(piece.notes.duration, 0.9)))
    sounding = set(head.pitch[:-1][(head.onset + head.duration)[:-1] > last - _LONG].tolist())
    made = []
    for pitch in sorted({*_PIANO} - sounding):
        pitches, durations = head.pitch.copy(), head.duration.copy()
        pitches[-1], durations[-1] = pitch, long
        notes = Notes.from_columns(head.onset, durations, pitches, head.velocity)
        made.append(replace(piece, id=f"{piece.id}, pitch {pitch}", notes=notes))
    past = replace(piece, id=f"{piece.id}, past", notes=_ended(head[:-1], last))
    return [Alternatives("pitch", tuple(made), past, slack)]


@dataclass(frozen=True)
class Followed:
    """The beginning of a piece twice, and once with other notes at its end.

    Parameters
    ----------
    pieces : (Piece, Piece, Piece)
        Of as many notes.
    same : int
        Number of notes before the first that is another one.
    past : Piece, optional
        Of units other than notes, those notes alone; none sounds long after the last of them begins.
    slack : int
        Most predictions by which that ends otherwise, such as of events that end what sounds on.
    """

    pieces: tuple[Piece, Piece, Piece]
    same: int
    past: Piece | None = None
    slack: int = 0

    @property
    def asked(self) -> list[Piece]:
        """Pieces to ask for."""
        return [*self.pieces, *([self.past] if self.past else [])]


def followed_otherwise(pieces: Sequence[Piece], unit: str) -> Followed | None:
    """Change all of the notes in about the last quarter of the longest piece's beginning: pitch, velocity, onset and duration.

    Of units other than notes not the onset, nor when the last note ends, so that a piece has as many frames.
    None if behind three quarters of its notes none has an onset of its own; of units other than notes, in a step of its own.

    Parameters
    ----------
    pieces : sequence of Piece
    unit : {"note", "frame", "event"}
    """
    piece = max(pieces, key=lambda one: len(one.notes), default=None)
    if piece is None or len(head := piece.notes[:FOLLOWED]) < 2:
        return None
    gaps = np.diff(head.onset)
    least = 0.0 if unit == "note" else _STEP
    places = 1 + np.flatnonzero(gaps > least)
    if not (places := places[places >= 0.75 * len(head)]).size:
        return None
    same = int(places[0])
    onset, duration = head.onset.copy(), head.duration.copy()
    if unit == "note":
        onset[same:] += _LATER
        duration[same:] *= 0.5
    else:  # of as many frames: windows may be counted from the last
        duration[same:] = np.where(
            np.arange(same, len(head)) == np.argmax(onset + duration), duration[same:], 0.5 * duration[same:]
        )
    lower = [
        _lower(values, [getattr(one.notes, name) for one in pieces])
        for name, values in (("pitch", head.pitch), ("velocity", head.velocity))
    ]
    pitch, velocity = (
        np.concatenate([values[:same], other[same:]]) for values, other in zip((head.pitch, head.velocity), lower, strict=True)
    )
    # Sorted again: the shift makes a chord of onsets that are one rounding apart.
    made = (head, head, Notes.from_columns(onset, duration, pitch, velocity))
    one, again, changed = (replace(piece, id=f"{piece.id}, probe {i}", notes=notes) for i, notes in enumerate(made))
    if unit == "note":
        return Followed((one, again, changed), same)
    before, last = head[:same], head.onset[same - 1]
    sounding = int(np.count_nonzero(before.onset + before.duration > last))
    past = replace(piece, id=f"{piece.id}, past", notes=_ended(before, min(last + _MOMENT, head.onset[same])))
    return Followed((one, again, changed), same, past, 3 if unit == "frame" else sounding + 3)


def _ended(notes: Notes, end: float) -> Notes:
    """Let no note sound after `end`, which is behind all onsets."""
    return Notes(notes.onset, np.minimum(notes.duration, end - notes.onset), notes.pitch, notes.velocity)


def _lower(values: NDArray[np.uint8], among: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Replace each value by the next lower one that occurs; the lowest stays, so that the order of a chord's notes does too."""
    occurring = np.unique(np.concatenate([*among, values]))
    lower: NDArray[np.uint8] = np.concatenate([occurring[:1], occurring[:-1]])[np.searchsorted(occurring, values)]
    return lower


def check_followed(parts: Sequence[NDArray[np.float64]], followed: Followed, unit: str) -> None:
    """Refuse an exact likelihood that isn't the same the second time, or that depends on what follows.

    As that of a network that lacks its mask or reads both ways; of one that learns from what it is asked, and so from the
    held-out pieces at each stage; or with its dropout on.

    Parameters
    ----------
    parts : sequence of ndarray
        Log probabilities of :attr:`Followed.asked`, each asked for by itself: in another batch they may be rounded otherwise.
    followed : Followed
    unit : {"note", "frame", "event"}

    Raises
    ------
    TrialError
        Gives the largest difference.
    """
    one, again, changed, *past = parts
    least = followed.same if not past else max(0, len(past[0]) - followed.slack)
    one, again, changed = (part[:least] for part in (one, again, changed))
    with np.errstate(invalid="ignore"):  # where both have no probability
        repeated, follows = (float(np.abs(np.subtract(other, one)).max(initial=0.0)) for other in (again, changed))
    if repeated > REPEATED:
        raise TrialError(
            f"log_likelihood() gives one piece other log probabilities (by up to {repeated:.3g} nats) the second time.",
            "Does the model keep something of the pieces that it is asked about, or is its dropout on?",
        )
    if follows > FOLLOWING:
        raise TrialError(
            f"log_likelihood() gives other log probabilities of {unit}s (by up to {follows:.3g} nats) where other notes follow.",
            "What is before alone is to predict each. Does the network lack a causal mask, or read both ways?",
        )


def shortest(pieces: Sequence[Piece]) -> int | None:
    """Choose a piece to ask for by itself, the shortest of two notes or more that isn't the first; None if there is none."""
    places = [i for i, piece in enumerate(pieces) if i and len(piece.notes) > 1]
    return min(places, key=lambda i: len(pieces[i].notes), default=None)


def check_alone(alone: NDArray[np.float64], given: NDArray[np.float64], unit: str) -> None:
    """Refuse other log probabilities of a piece among others than by itself.

    As where they are normalised over the pieces, padding counts, or something is carried from piece to piece.

    Parameters
    ----------
    alone, given : ndarray
        Of a piece by itself, and among the held-out ones.
    unit : {"note", "frame", "event"}

    Raises
    ------
    TrialError
        Gives the largest difference.
    """
    if alone.shape == given.shape:
        differs = float(np.abs(alone - given).max(initial=0.0))
        if differs <= FOLLOWING:
            return
        by = f" (by up to {differs:.3g} nats)"
    else:
        by = f" ({len(given)} {unit}s, {len(alone)} alone)"
    raise TrialError(
        f"log_likelihood() gives a piece among others other log probabilities{by} than by itself.",
        "Is a softmax or a normalisation over the pieces of a batch, or is padding not masked?",
    )


def beginning(piece: Piece) -> Piece | None:
    """Make a piece of the first three quarters of another's notes, none of which sounds on; None where that is nearly all."""
    first = 3 * len(piece.notes) // 4
    if first < MANY:
        return None
    notes, end = piece.notes[:first], float(piece.notes.onset[first])
    begin, last = float(notes.onset[0]), float((piece.notes.onset + piece.notes.duration).max())
    if end <= notes.onset[-1] or end - begin > 0.9 * (last - begin):
        return None
    return replace(piece, id=f"{piece.id}, beginning", notes=_ended(notes, end))


def ending(piece: Piece) -> Piece | None:
    """Make a piece of the last three quarters of another's notes, at their times; None where that is nearly all."""
    notes = piece.notes[len(piece.notes) // 4 :]
    if len(notes) < MANY:
        return None
    begin, last = float(piece.notes.onset[0]), float((piece.notes.onset + piece.notes.duration).max())
    if notes.onset[0] - begin < 0.1 * (last - begin):
        return None
    return replace(piece, id=f"{piece.id}, ending", notes=notes)


def check_all_predicted(part: NDArray[np.float64], which: str, piece: Piece, given: NDArray[np.float64], unit: str) -> None:
    """Refuse the same predictions of a part of a piece as of the whole: the rest is not predicted.

    As where a piece is cut to the model's context, at its end or its beginning: its bits per note are those of a part over the
    notes of the whole. Nothing is known where all predictions are as good, as those of a model that learned nothing may be.

    Parameters
    ----------
    part : ndarray
        Log probabilities of :func:`beginning`, or of :func:`ending`.
    which : {"first", "last"}
    piece : Piece
        The whole.
    given : ndarray
        Its log probabilities.
    unit : {"frame", "event"}

    Raises
    ------
    TrialError
    """
    if len(given) <= MANY or len(part) != len(given) or np.ptp(given) <= 2 * FOLLOWING:
        return
    if np.abs(part - given).max() <= FOLLOWING:
        raise TrialError(
            f"log_likelihood() predicts {len(given):,} {unit}s of a piece of {len(piece.notes):,} notes, and the same of its "
            f"{which} three quarters.",
            "Is it cut to the model's context? Predict all of it, in parts if need be.",
        )


def check_noise(
    parts: Sequence[NDArray[np.float64]],
    noise: Mapping[str, float] | None,
    entropy: Mapping[str, float] | None = None,
    kind: str = "exact",
    codec: NoteCodec | None = None,
) -> None:
    """Refuse fewer bits than the music needs: of a field that it draws at random, or in all.

    Parameters
    ----------
    parts : sequence of ndarray, each shape (notes, 4)
        Log probabilities of the held-out pieces.
    noise, entropy : dict of str to float, optional
        See :class:`bench.api.Splits`.
    kind : {"exact", "bound"}
        Of a bound the fields are parts, no bounds themselves: only their sum is judged.
    codec : NoteCodec or None
        Whose classes the bits are over. Over fewer than the default's, or over unknown ones, time and duration need fewer.

    Raises
    ------
    TrialError
        Names the field.
    """
    if not parts or not (noise or entropy):
        return
    bits = -np.concatenate(parts) / np.log(2)
    if codec is None or any(own < default for own, default in zip(codec.sizes, NoteCodec().sizes, strict=True)):
        noise, entropy = {field: least for field, least in (noise or {}).items() if field in FIELDS[:2]}, None
    floors = {field: (least, bits[:, FIELDS.index(field)]) for field, least in (noise or {}).items() if kind == "exact"}
    # A model may predict the fields in another order than the source draws them in, so that their entropies are other ones.
    floors["four fields"] = (max(sum((noise or {}).values()), (entropy or {}).get("total", 0.0)), bits.sum(1))
    for what, (least, own) in floors.items():
        if own.mean() < least - _LEAST_BITS - _ERRORS * own.std() / np.sqrt(len(own)):
            raise TrialError(
                f"log_likelihood() needs {own.mean():.2f} bits for a note's {what}; {least:.2f} of it are drawn at random.",
                "No model can do with less: does it see what it predicts, and are they natural logarithms?",
            )
