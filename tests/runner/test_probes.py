"""Probes of a likelihood: what each ordinary mistake of a model's author gives, by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from bench.api import FIELDS, NoteCodec, Piece
from bench.errors import TrialError
from bench.music.notes import Notes
from bench.runner.probes import Alternatives, alternatives, check_followed, check_noise, followed_otherwise

CODEC = NoteCodec()
NATS = -np.log(CODEC.sizes)

Likelihood = Callable[[Notes], np.ndarray]


def music(length: int, seed: int = 0) -> Piece:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.choice([0.0, 0.25, 0.5], length))
    return Piece(
        Notes.from_columns(onset, rng.uniform(0.1, 1, length), rng.integers(40, 80, length), rng.integers(30, 100, length)),
        f"p{seed}",
    )


PIECES = [music(80), music(90, 1)]


def uniform(notes: Notes) -> np.ndarray:
    return np.tile(NATS, (len(notes), 1))


def check(likelihood: Likelihood, codec: NoteCodec | None = CODEC) -> None:
    for each in alternatives(PIECES, "note", codec):
        each.check([likelihood(piece.notes) for piece in each.pieces])
    followed = followed_otherwise(PIECES)
    assert followed is not None
    check_followed([likelihood(piece.notes) for piece in followed.pieces], followed, "note")


def test_uniform_probabilities_pass() -> None:
    check(uniform)
    fields = [(each.what, len(each.pieces)) for each in alternatives(PIECES, "note", CODEC)]
    assert [field for field, _ in fields] == list(FIELDS)
    assert all(number > 2 for _, number in fields)


@pytest.mark.parametrize("field", range(4))
def test_a_field_that_sees_itself(field: int) -> None:
    def sees(notes: Notes) -> np.ndarray:
        nats = uniform(notes)
        nats[:, field] = -1e-3
        return nats

    with pytest.raises(TrialError, match=f"alternatives for the {FIELDS[field]} of one note"):
        check(sees)


def test_fewer_classes_than_the_codecs() -> None:
    """Eight classes of duration, asked about 64: eight of those share one of these."""
    coarse = -np.log([128.0, 128, 64, 8])
    with pytest.raises(TrialError, match="alternatives for the duration"):
        check(lambda notes: np.tile(coarse, (len(notes), 1)))
    check(lambda notes: np.tile(coarse, (len(notes), 1)), None)  # its classes are its own
    check(lambda notes: np.tile(coarse, (len(notes), 1)), NoteCodec(64, 8))


def test_what_follows() -> None:
    """Without a mask a note is predicted with the next in view."""

    def looks_ahead(notes: Notes) -> np.ndarray:
        nats = uniform(notes)
        nats[:-1, 0] -= 0.1 * notes.pitch[1:]
        return nats

    with pytest.raises(TrialError, match=r"gives a note another log probability .* where other notes follow it"):
        check(looks_ahead)
    check(lambda notes: uniform(notes) + 1e-5 * np.sum(notes.pitch))  # rounding


def test_what_learns_from_the_pieces_that_it_is_asked_about() -> None:
    asked: list[int] = []

    def adapts(notes: Notes) -> np.ndarray:
        asked.append(len(notes))
        return uniform(notes) * (1 + 0.01 * len(asked))

    with pytest.raises(TrialError, match=r"other log probabilities .* the second time"):
        check(adapts)


def test_a_note_that_another_has_no_probability_of() -> None:
    check(lambda notes: np.where(np.tile(notes.pitch < 70, (4, 1)).T, uniform(notes), -np.inf))


def test_chords_alone_are_not_probed() -> None:
    chord = Piece(Notes.from_columns([0, 0, 0], [1, 1, 1], [60, 64, 67], [64] * 3), "chord")
    two = Piece(Notes.from_columns([0, 0, 1, 1], [1] * 4, [60, 64, 67, 70], [64] * 4), "two")
    assert alternatives([chord], "note", CODEC) == []
    assert followed_otherwise([chord]) is None
    pitch, *_ = alternatives([chord, two], "note", CODEC)
    assert [piece.notes.pitch.tolist() for piece in pitch.pieces] == [[60, 64, other] for other in (60, 64, 67, 70)]
    assert len({piece.id for piece in pitch.pieces}) == 4


def test_only_the_end_differs() -> None:
    followed = followed_otherwise(PIECES)
    assert followed is not None
    one, again, other = (piece.notes for piece in followed.pieces)
    assert 48 <= followed.same < 64
    assert one.pitch[: followed.same].tolist() == other.pitch[: followed.same].tolist()
    assert one.onset[followed.same - 1] < one.onset[followed.same]
    assert (one.pitch[followed.same :] > other.pitch[followed.same :]).any()
    assert one.onset.tolist() == other.onset.tolist() == again.onset.tolist()
    assert len({piece.id for piece in followed.pieces}) == 3


def test_units_other_than_notes() -> None:
    """Of frames or events the probabilities of whole pieces are added, whose last note lasts and is in none before."""
    (each,) = alternatives(PIECES, "frame", None)
    assert len(each.pieces) > 40
    each.check([np.full(30, -0.2) for _ in each.pieces])
    each.check([np.zeros(0) for _ in each.pieces])  # as a model of whole segments gives for what is too short
    with pytest.raises(TrialError, match="the pitch and what follows of one note"):
        each.check([np.full(30, -0.001) for _ in each.pieces])
    for piece in each.pieces:
        *before, last = piece.notes.pitch.tolist()
        sounds = piece.notes.onset + piece.notes.duration > piece.notes.onset[-1]
        assert last not in [pitch for pitch, on in zip(before, sounds[:-1].tolist(), strict=True) if on]


def test_bits_below_what_is_drawn_at_random() -> None:
    rng = np.random.default_rng(0)
    parts: Sequence[np.ndarray] = [np.log(2) * -rng.normal([4.0, 2.6, 1.0, 1.0], 1.0, (400, 4))]
    check_noise(parts, {"velocity": 2.66})
    check_noise(parts, None)
    with pytest.raises(TrialError, match=r"needs 2\.\d+ bits for a note's velocity; 3\.10 of it are drawn at random"):
        check_noise(parts, {"velocity": 3.1})


def test_a_sum_counts_what_has_a_probability() -> None:
    Alternatives("pitch", tuple(PIECES)).check([np.full((5, 4), -np.inf), np.full((5, 4), -0.1)])
