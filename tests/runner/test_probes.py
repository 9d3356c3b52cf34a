"""Probes of a likelihood: what each ordinary mistake of a model's author gives, by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.api import FIELDS, Budget, NoteCodec, Piece, Run
from bench.errors import TrialError
from bench.music.notes import Notes
from bench.plugins.discovery import get_plugin
from bench.runner.probes import (
    FOLLOWING,
    Alternatives,
    alternatives,
    beginning,
    check_all_predicted,
    check_followed,
    check_noise,
    ending,
    followed_otherwise,
)
from bench.runner.weights import make_model

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
        each.check([likelihood(piece.notes) for piece in each.asked])
    followed = followed_otherwise(PIECES, "note")
    assert followed is not None
    check_followed([likelihood(piece.notes) for piece in followed.pieces], followed, "note")


def test_uniform_probabilities_pass() -> None:
    check(uniform)
    fields = [(each.what, len(each.pieces)) for each in alternatives(PIECES, "note", CODEC)]
    assert [field for field, _ in fields] == [*FIELDS, "pitch"]
    assert all(number > 2 for _, number in fields)
    assert fields[-1][1] == 4


def of_events(at_place: Sequence[float], rounding: float = 0.0, past: float = 0.6) -> tuple[Alternatives, list[np.ndarray]]:
    """Alternatives of 20 events in common, with these probabilities of the next, and five more of probability 0.001."""
    rng, piece = np.random.default_rng(0), PIECES[0]
    parts = [np.log([*(past * (1 + rounding * rng.uniform(-1, 1, 20))), p, *[0.001] * 5]) for p in at_place]
    return Alternatives("pitch", (piece,) * len(parts), piece, 4), [*parts, np.log(np.full(22, past))]


def test_a_model_that_hears_the_event_that_it_predicts() -> None:
    """Those that follow are so improbable that their product hid it: the sum was 4e-6, and it is 22 at the first place."""
    heard, parts = of_events(np.linspace(0.5, 0.9, 30).tolist())
    assert heard.total(parts) < 1e-10
    assert heard.at_first(parts) == pytest.approx(0.7 * 30)
    with pytest.raises(TrialError, match="30 alternatives for the pitch of one note the probability 21 in all"):
        heard.check(parts)


def test_the_place_where_all_are_improbable_is_the_first() -> None:
    """As of a frame with a new chord, by keys that mostly stay: behind it each goes on with a past of its own."""
    honest, parts = of_events([1e-6 * (i + 1) for i in range(30)])
    for i, part in enumerate(parts[:-1]):
        part[21] = np.log(0.9 - 0.01 * i)
    assert honest.at_first(parts) == pytest.approx(1e-6 * 465)


def test_events_of_one_probability_may_be_different_pasts() -> None:
    """As 30 pitches that were never heard, each with what follows it."""
    # Or as improbable as how the past alone ends, as of eleven octaves that were never heard; or two of a half each.
    for p, past, n in ((0.02, 0.5, 30), (0.02, 0.02, 30), (1 / 11, 1 / 11, 11), (1 / 7, 1 / 7, 7), (0.5, 0.5, 2)):
        honest, parts = of_events([p] * n, past=past)
        parts[-1] = parts[-1][:21]
        for i, part in enumerate(parts[:-1]):
            part[21] = np.log(0.9 - 0.01 * i)
        assert honest.at_first(parts) == pytest.approx(sum(0.9 - 0.01 * i for i in range(n)) / n)
        rounded = [part.astype(np.float32).astype(np.float64) for part in parts]
        assert honest.at_first(rounded) == pytest.approx(honest.at_first(parts)), "of float32 too"
    likely, parts = of_events([0.6] * 30)
    for i, part in enumerate(parts[:-1]):
        part[21] = np.log(0.9 - 0.01 * i)
    assert likely.at_first(parts) == pytest.approx(sum(0.9 - 0.01 * i for i in range(30))), "of one event"


def test_events_of_one_probability_count_once() -> None:
    """As of a vocabulary with several events a note: alternatives may begin with the same one."""
    same, parts = of_events([0.5] * 20 + [0.3] * 20 + [0.2])
    assert same.at_first(parts) == pytest.approx(1.0)
    rounded, parts = of_events([0.5 + 1e-4 * i for i in range(9)] + [0.2], rounding=2e-3)
    assert rounded.at_first(parts) == pytest.approx(0.7, abs=0.01), "as far apart as those of the past"
    noisy, parts = of_events([0.6, 0.9], rounding=0.1)
    assert noisy.at_first(parts) == 0.0, "nothing is known"
    none, parts = of_events([0.5, 0.5])
    assert none.at_first(parts) == 0.0
    with np.errstate(divide="ignore"):
        impossible, parts = of_events([0.6, 0.3, 0.0])
    assert impossible.at_first(parts) == pytest.approx(0.9)


@pytest.mark.parametrize(("context", "refused"), [(60, False), (64, False), (100, True), (149, True), (151, False), (300, False)])
def test_a_piece_that_is_cut_to_a_context(context: int, refused: bool) -> None:
    """Of 1,500 events 60 were predicted, and its bits per note were an eleventh of what they are."""
    piece = music(100)
    head = beginning(piece)
    assert head is not None
    assert len(head.notes) == 75
    assert (head.notes.onset + head.notes.duration).max() <= piece.notes.onset[75]
    tail = ending(piece)
    assert tail is not None
    assert len(tail.notes) == 75
    predicted = -np.random.default_rng(0).random(200)  # two events a note
    for which, one in (("first", predicted[:150]), ("last", predicted[50:])):
        whole, part = (events[:context] if which == "first" else events[-context:] for events in (predicted, one))
        if refused:
            message = f"predicts {context} events of a piece of 100 notes, and the same of its {which} three quarters"
            with pytest.raises(TrialError, match=message):
                check_all_predicted(part, which, piece, whole, "event")
        else:
            check_all_predicted(part, which, piece, whole, "event")
        for alike in (0.0, 1.9 * FOLLOWING / np.ptp(whole)):  # nothing is known
            check_all_predicted(alike * part, which, piece, alike * whole, "event")


def test_whole_windows_of_which_the_last_is_padded_are_all_of_a_piece() -> None:
    """As many predictions, and other ones: of frames in which the notes that are left out don't sound."""
    whole = np.where(np.arange(256) % 2, -1.0, -1.5)
    check_all_predicted(np.where(np.arange(256) < 190, whole, -0.2), "first", music(100), whole, "frame")


def test_few_notes_or_a_short_end_say_nothing_of_a_context() -> None:
    assert beginning(music(80)) is None
    assert ending(music(80)) is None
    first = music(100).notes
    onset = np.where(np.arange(100) < 75, first.onset, first.onset[75] + 0.01 * np.arange(100))
    dense = Notes.from_columns(onset, np.full(100, 0.01), first.pitch, first.velocity)
    assert beginning(Piece(dense, "dense")) is None
    onset = np.where(np.arange(100) < 25, 0.01 * np.arange(100), 0.25 + first.onset - first.onset[25])
    dense = Notes.from_columns(onset, np.full(100, 0.01), first.pitch, first.velocity)
    assert ending(Piece(dense, "dense")) is None


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
        nats[:-1, 0] -= 0.5 * notes.pitch[1:]
        return nats

    with pytest.raises(TrialError, match=r"other log probabilities of notes .* where other notes follow"):
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
    assert followed_otherwise([chord], "note") is None
    pitch, *_ = alternatives([chord, two], "note", CODEC)
    assert [piece.notes.pitch.tolist() for piece in pitch.pieces] == [[60, 64, other] for other in (60, 64, 67, 70)]
    assert len({piece.id for piece in pitch.pieces}) == 4


def test_only_the_end_differs() -> None:
    followed = followed_otherwise(PIECES, "note")
    assert followed is not None
    one, again, other = (piece.notes for piece in followed.pieces)
    assert 0.75 * len(one) <= followed.same < len(one) == len(other)
    for name in ("onset", "duration", "pitch", "velocity"):
        values, repeated, changed = (getattr(notes, name) for notes in (one, again, other))
        assert values.tolist() == repeated.tolist()
        assert values[: followed.same].tolist() == changed[: followed.same].tolist(), name
        assert (values[followed.same :] != changed[followed.same :]).any(), name
    assert one.onset[followed.same - 1] < one.onset[followed.same]
    assert len({piece.id for piece in followed.pieces}) == 3


@pytest.mark.parametrize("name", ["onset", "duration", "velocity"])
def test_a_feature_of_the_next_note(name: str) -> None:
    """As the time to the next onset, which many encodings have as a note's own."""

    def looks_ahead(notes: Notes) -> np.ndarray:
        nats = uniform(notes)
        nats[:-1, 3] -= 3 * getattr(notes, name)[1:]
        return nats

    with pytest.raises(TrialError, match="where other notes follow"):
        check(looks_ahead)


def test_the_rest_of_a_long_piece() -> None:
    """What is left after whole windows of 64 notes was given probability 1."""

    def whole_windows(notes: Notes) -> np.ndarray:
        nats = uniform(notes)
        nats[len(notes) // 64 * 64 :] *= len(notes) < 64
        return nats

    with pytest.raises(TrialError, match="gives 4 alternatives for the pitch of one note the probability 4 in all"):
        check(whole_windows)


def frames(notes: Notes, step: float = 0.25) -> np.ndarray:
    """Keys that sound, (frames, 128)."""
    roll = np.zeros((int(np.ceil((notes.onset + notes.duration).max() / step)) + 1, 128), bool)
    for onset, duration, pitch in zip(notes.onset, notes.duration, notes.pitch, strict=True):
        roll[int(onset / step) : max(int(onset / step) + 1, int((onset + duration) / step)), pitch] = True
    return roll


def of_frames(notes: Notes, sees: bool = False, cost: float = 0.2) -> np.ndarray:
    """Each key has the chance of 9 to 1 to be as it was a frame before; or, seen by mistake, as it is."""
    roll = frames(notes)
    before = np.concatenate([np.zeros((1, 128), bool), roll[:-1]])
    same = (roll == before).sum(1)
    return np.full(len(roll), -cost) if sees else same * np.log(0.9) + (128 - same) * np.log(0.1)


@pytest.mark.parametrize("held", [0.25, 5.0, 30.0])
def test_a_model_of_frames_and_a_long_last_note(held: float) -> None:
    """A final chord that is held is no reason for a frame before it to be another one."""
    notes = PIECES[0].notes
    piece = Piece(Notes(notes.onset, np.where(np.arange(80) < 79, notes.duration, held), notes.pitch, notes.velocity), "held")
    (each,) = alternatives([piece], "frame", None)
    each.check([of_frames(one.notes) for one in each.asked])
    with pytest.raises(TrialError, match=r"8\d alternatives for the pitch of one note"):
        each.check([of_frames(one.notes, sees=True) for one in each.asked])
    followed = followed_otherwise([piece], "frame")
    assert followed is not None
    check_followed([of_frames(one.notes) for one in followed.asked], followed, "frame")
    with pytest.raises(TrialError, match="other log probabilities of frames"):
        check_followed([of_frames(one.notes) * (1 + 50 * frames(one.notes).mean()) for one in followed.asked], followed, "frame")


def test_models_of_frames_and_events_where_notes_are_held_or_pause(tmp_path: Path) -> None:
    """Shipped ones were refused: held notes end behind what changes, a pause is a few frames, a first frame holds all notes."""
    rng = np.random.default_rng(0)
    pause = np.concatenate([np.arange(90) * 0.1, 109 + np.arange(30) * 1.0])
    chords = np.repeat(np.arange(15) * 0.25, 4)
    close = np.arange(3) * 0.03
    for onset, duration in ((pause, np.full(120, 0.4)), (chords, 4.0 - chords), (close, np.full(3, 1.0))):
        length = len(onset)
        piece = Piece(Notes.from_columns(onset, duration, rng.choice(np.arange(30, 90), length), np.full(length, 64)), "piece")
        for name, unit in (("frame-counts", "frame"), ("event-counts", "event")):
            model = make_model(get_plugin("model", name), {})
            model.fit(PIECES, PIECES, Run(0, Budget(1), tmp_path))
            for each in alternatives([piece], unit, None):
                each.check(model.log_likelihood(each.asked))
            followed = followed_otherwise([piece], unit)
            assert (followed is None) == (length == 3)
            if followed:
                parts = [model.log_likelihood([one])[0] for one in followed.asked]
                check_followed(parts, followed, unit)
                assert len(parts[3]) > followed.slack + 2
                assert unit == "event" or len({len(part) for part in parts[:3]}) == 1
                with pytest.raises(TrialError, match=f"other log probabilities of {unit}s"):
                    check_followed([*parts[:2], parts[2] - 0.2, parts[3]], followed, unit)


def test_notes_of_one_step_are_not_told_apart() -> None:
    """A vocabulary of events sorts them by pitch, so that a changed one may come before those that are the same."""
    onset = np.repeat(np.arange(8) * 0.5, 4) + np.tile(np.arange(4) * 0.01, 8)
    rolled = Piece(Notes.from_columns(onset, np.full(32, 0.4), np.tile([60, 64, 67, 50], 8), np.full(32, 64)), "rolled")
    followed = followed_otherwise([rolled], "event")
    assert followed is not None
    assert followed.same % 4 == 0
    dense = Piece(Notes.from_columns(np.arange(32) * 0.01, np.full(32, 0.4), np.arange(32) + 40, np.full(32, 64)), "dense")
    assert followed_otherwise([dense], "event") is None
    assert followed_otherwise([dense], "note") is not None


def test_onsets_that_are_one_rounding_apart() -> None:
    late = 7.3134
    while np.nextafter(late, 0) + 0.7 != late + 0.7:
        late = np.nextafter(late, 8)
    onset = [*np.arange(8.0), np.nextafter(late, 0), late]
    piece = Piece(Notes.from_columns(onset, [0.5] * 10, [*range(60, 68), 80, 50], [64] * 10), "voices")
    followed = followed_otherwise([piece], "note")
    assert followed is not None
    assert followed.pieces[2].notes.pitch[followed.same :].tolist() == [50, 67]


def test_what_is_too_short_for_a_model_of_segments() -> None:
    (each,) = alternatives(PIECES, "event", None)
    each.check([np.zeros(0) for _ in each.asked])


def test_bits_below_what_is_drawn_at_random() -> None:
    rng = np.random.default_rng(0)
    parts: Sequence[np.ndarray] = [np.log(2) * -rng.normal([4.0, 2.6, 1.0, 1.0], 1.0, (400, 4))]
    check_noise(parts, {"velocity": 2.66})
    check_noise(parts, None)
    with pytest.raises(TrialError, match=r"needs 2\.\d+ bits for a note's velocity; 3\.10 of it are drawn at random"):
        check_noise(parts, {"velocity": 3.1})


def test_a_bound_is_not_below_what_the_music_needs() -> None:
    """An upper bound of 0.87 bits had rank 1 where 2.66 are drawn at random; its fields are no bounds themselves."""
    rng = np.random.default_rng(0)
    parts: Sequence[np.ndarray] = [np.log(2) * -rng.normal([4.0, 0.1, 0.5, 0.5], 1.0, (400, 4))]
    check_noise(parts, {"velocity": 2.66}, None, "bound")
    check_noise(parts, None, {"total": 5.0}, "exact", NoteCodec())
    for codec in (NoteCodec(4, 4), None):  # of fewer classes, or nobody knows of how many
        check_noise(parts, {"time": 5.9}, {"total": 5.9}, "exact", codec)
    for noise, entropy, kind in (
        ({"velocity": 5.9}, None, "bound"),
        (None, {"total": 5.9}, "exact"),
        ({}, {"total": 5.9}, "bound"),
    ):
        with pytest.raises(TrialError, match=r"needs 5\.\d+ bits for a note's four fields; 5\.90 of it are drawn at random"):
            check_noise(parts, noise, entropy, kind, NoteCodec())


def test_a_sum_counts_what_has_a_probability() -> None:
    Alternatives("pitch", tuple(PIECES)).check([np.full((5, 4), -np.inf), np.full((5, 4), -0.1)])
