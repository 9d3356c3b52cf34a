"""Which piece is held out when: by hand where it can be counted, by properties where it can't."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from bench.api import DataError, Notes, Piece
from bench.errors import SpecError
from bench.metrics.copying import measure_samples
from bench.runner.folds import composition, deal, divide, measure_divisions, pooled, read_folds
from bench.runner.prepare import TESTED, choose
from bench.scoring.crossed import FEWEST
from bench.specs.schema import Protocol
from bench.storage.corpus import Corpus
from bench.storage.records import Fold, Folds
from bench.storage.samples import MOST_NOTES


def notes(pitch: Sequence[int]) -> Notes:
    n = len(pitch)
    return Notes.from_columns(np.arange(n) * 0.5, np.full(n, 0.25), pitch, np.full(n, 64))


def piece(name: str, n: int = 4, title: str = "") -> Piece:
    return Piece(notes([60 + i % 12 for i in range(n)]), name, title=title, composer="A")


def corpus(train: Sequence[Piece], validation: Sequence[Piece] = (), test: Sequence[Piece] = ()) -> Corpus:
    return Corpus(tuple(train), tuple(validation), tuple(test), (), ("a remark",), "f", None)


def protocol(folds: int | str | None = "leave-one-out", **more: object) -> Protocol:
    return Protocol(prompt=1, notes=3, **{"folds": folds, **more})  # type: ignore[arg-type]


class TestComposition:
    @pytest.mark.parametrize("title", ["Étude No. 3", "ÉTUDE no 3", "Étude, No. 3 (Live)", "étude no. 3 [arr. B]"])
    def test_what_does_not_make_another_work(self, title: str) -> None:
        assert composition(piece("x", title=title)) == composition(piece("y", title="Étude No. 3"))

    def test_another_composer_or_title_does(self) -> None:
        one = Piece(notes([60]), "x", "Waltz", "A")
        assert composition(one) != composition(Piece(notes([60]), "x", "Waltz", "B"))
        assert composition(one) != composition(Piece(notes([60]), "x", "Waltz 2", "A"))

    def test_a_title_all_in_brackets_counts(self) -> None:
        assert composition(piece("x", title="(One)")) != composition(piece("x", title="(Two)"))

    def test_without_a_title_it_is_the_file(self) -> None:
        assert composition(piece("x", title="!!")) != composition(piece("y", title="?"))

    def test_a_group_decides_alone(self) -> None:
        one, other, third = (replace(piece(name, title="take"), group=group) for name, group in zip("xyz", "aab", strict=True))
        assert composition(one) == composition(replace(other, title="another"))
        assert composition(one) != composition(third)


class TestDeal:
    def test_leave_one_out(self) -> None:
        pieces = [piece(f"p{i}") for i in range(5)]
        folds = deal(pieces, range(5), protocol())
        assert [fold.test for fold in folds] == [(0,), (1,), (2,), (3,), (4,)]
        assert [fold.number for fold in folds] == [1, 2, 3, 4, 5]
        # 0.2 of the 4 other pieces, rounded up to one.
        assert [len(fold.validation) for fold in folds] == [1] * 5
        assert folds == deal(pieces, range(5), protocol(5))

    def test_two_versions_of_a_work_are_held_out_together(self) -> None:
        pieces = [piece("a", title="Waltz"), piece("b"), piece("c", title="Waltz (Live)"), piece("d"), piece("e")]
        assert [fold.test for fold in deal(pieces, range(5), protocol())] == [(0, 2), (1,), (3,), (4,)]

    def test_what_is_not_compared_is_never_held_out(self) -> None:
        pieces = [piece("a", title="Waltz"), piece("b", title="Waltz"), piece("c"), piece("d"), piece("e")]
        # `b` is too short to be compared, but its other version may not be learned from when it is.
        folds = deal(pieces, [0, 2, 3], protocol())
        assert [fold.test for fold in folds] == [(0, 1), (2,), (3,)]

    def test_ten_pieces_in_three_folds(self) -> None:
        sizes = [len(fold.test) for fold in deal([piece(f"p{i}") for i in range(10)], range(10), protocol(3))]
        assert sorted(sizes) == [3, 3, 4]

    @pytest.mark.parametrize(("share", "chosen"), [(0.01, 1), (0.2, 2), (0.5, 5), (0.99, 9)])
    def test_the_share_for_validation(self, share: float, chosen: int) -> None:
        folds = deal([piece(f"p{i}") for i in range(11)], range(11), protocol(validation=share))
        assert {len(fold.validation) for fold in folds} == {chosen}

    @given(
        works=st.lists(st.integers(0, 7), min_size=4, max_size=24),
        folds=st.one_of(st.integers(2, 6), st.just("leave-one-out")),
        share=st.floats(0.01, 0.99),
        turn=st.randoms(use_true_random=False),
    )
    def test_every_compared_piece_once_and_no_work_on_two_sides(
        self, works: list[int], folds: int | str, share: float, turn: object
    ) -> None:
        pieces = [piece(f"p{i}", title=f"Work {w}") for i, w in enumerate(works)]
        different = len(set(works))
        assume(different >= 3 and (folds == "leave-one-out" or different >= int(folds)))
        try:
            dealt = deal(pieces, range(len(pieces)), protocol(folds, validation=share))
        except DataError:  # one work is so large that all others share a fold
            reject()
        assert sorted(i for fold in dealt for i in fold.test) == list(range(len(pieces)))
        largest = max(works.count(w) for w in works)
        assert max(len(f.test) for f in dealt) - min(len(f.test) for f in dealt) <= largest
        for fold in dealt:
            test, valid = ({works[i] for i in part} for part in (fold.test, fold.validation))
            train = {works[i] for i in range(len(pieces)) if i not in {*fold.test, *fold.validation}}
            assert all((test, valid, train))
            assert len(test) + len(valid) + len(train) == different
        # The order of the files doesn't matter.
        order = list(range(len(pieces)))
        turn.shuffle(order)  # type: ignore[attr-defined]
        again = deal([pieces[i] for i in order], range(len(pieces)), protocol(folds, validation=share))
        named = {frozenset(order[i] for i in f.test): frozenset(order[i] for i in f.validation) for f in again}
        if len(set(map(works.count, works))) == 1:  # a larger work's own place among its equals is its name's
            assert named == {frozenset(f.test): frozenset(f.validation) for f in dealt}

    def test_more_folds_than_pieces(self) -> None:
        with pytest.raises(DataError, match=r"asks for 4 folds, but 3 compositions \(of 3 pieces\) can be held out") as caught:
            deal([piece(f"p{i}") for i in range(3)], range(3), protocol(4))
        assert caught.value.hint.startswith("Ask for at most 3 folds or `folds: leave-one-out`")

    def test_one_composition(self) -> None:
        with pytest.raises(DataError, match=r"at least 2 compositions, but 1 composition \(of 2 pieces\)"):
            deal([piece("a", title="Waltz"), piece("b", title="Waltz")], [0, 1], protocol())

    def test_nothing_left_to_learn_from(self) -> None:
        with pytest.raises(DataError, match="leaves 1 composition to learn from and choose by; 2 are needed"):
            deal([piece("a"), piece("b")], [0, 1], protocol())


class TestChoose:
    def test_the_datasets_own_split_is_set_aside_and_that_is_said(self) -> None:
        given = corpus([piece("a"), piece("b", 3)], [piece("c")], [piece("d")])
        stored = choose(given, protocol(), "key")
        assert [t.piece.id for t in stored.targets] == ["a", "c", "d"]
        assert stored.facts["pieces"] == {"train": 0, "validation": 0, "test": 4}
        assert [fold.test for fold in read_folds(stored.facts)] == [(0,), (2,), (3,)]
        assert stored.facts["remarks"] == [
            "a remark",
            "All pieces of the dataset are assigned to folds: its own split, and its remarks on that split, do not apply",
            "1 of 4 pieces has fewer than 4 notes, too few to be continued: it is not compared",
            "1 of 4 pieces is never held out, only used for training or validation",
            "3 of 3 held-out pieces are among the music that models learn from or choose by too, note for note, in this or "
            "another key",
            "3 test pieces are compared; the protocol asks for up to 50",
            "all held-out notes have velocity 64: columns of velocity say nothing of the music",
        ]

    def test_only_as_many_folds_as_pieces_are_compared(self) -> None:
        stored = choose(corpus([piece(f"p{i}") for i in range(9)]), protocol(pieces=3), "key")
        assert [fold.test for fold in read_folds(stored.facts)] == [(0,), (4,), (8,)]

    @pytest.mark.parametrize("folds", [None, "leave-one-out"])
    def test_what_models_learn_from_too_is_remarked_on(self, folds: str | None) -> None:
        """The split of a plug-in may be anything."""
        other = Piece(notes([50, 52, 53, 55]), "other", composer="A")
        later, slower = other.notes.shifted(2.0), Notes.from_columns(np.arange(4), np.full(4, 0.25), other.notes.pitch, [64] * 4)
        given = corpus(
            [piece("a"), Piece(slower, "slower")], [other], [piece("again"), Piece(later, "later"), piece("longer", 5)]
        )
        stored = choose(given, Protocol(prompt=1, notes=3, folds=folds), "key")
        number, held = (4, 6) if folds else (2, 3)
        said = f"{number} of {held} held-out pieces are among the music that models learn from or choose by too, note for note, "
        assert f"{said}in this or another key" in stored.facts["remarks"]
        given = corpus([piece("a")], [], [Piece(slower, "slower"), other])
        assert not any("note for note" in remark for remark in choose(given, protocol(folds), "key").facts["remarks"])

    def test_too_few_pieces_for_a_test_are_told_before_training(self) -> None:
        given = corpus([piece("t", 5)], [piece("v", 6)], [piece("a"), piece("b", 5)])
        assert TESTED == FEWEST
        said = "2 test pieces are compared; the protocol asks for up to 50, and a test needs 5: protocol.folds holds out every "
        assert f"{said}piece once" in choose(given, Protocol(prompt=1, notes=3), "key").facts["remarks"]

    def test_copies_in_another_key_are_remarked_on(self) -> None:
        """Augmentation before the split: 8 bits of a note were the leak's, and intervals those of six copies of one piece."""
        higher = Piece(notes([52, 54, 55, 57]), "higher")
        given = corpus(
            [piece("t", 5)], [piece("v", 6)], [Piece(notes([50, 52, 53, 55]), "a"), higher, Piece(higher.notes, "again")]
        )
        remarks = choose(given, Protocol(prompt=1, notes=3), "key").facts["remarks"]
        assert any(text.startswith("2 of 3 held-out pieces are copies of another, note for note, in this or") for text in remarks)
        given = corpus([Piece(notes([50, 52, 53, 55]), "a")], [piece("v", 6)], [higher])
        remarks = choose(given, Protocol(prompt=1, notes=3), "key").facts["remarks"]
        assert any(text.startswith("1 of 1 held-out piece is among the music that models learn from") for text in remarks)

    @pytest.mark.parametrize(
        ("scale", "padding", "said"),
        [
            (1.0, 0, []),
            (1000.0, 0, ["half of the notes last 250 s or longer: are their times in seconds?"]),
            (1e-3, 0, ["half of the notes last 0.00025 s or less: are their times in seconds?"]),
            (1.0, 2, ["17% of the notes strike a key that another strikes at that moment: is there padding, or a part twice?"]),
        ],
    )
    @pytest.mark.parametrize("folds", [None, "leave-one-out"])
    def test_notes_in_other_units_and_padding_are_remarked_on(
        self, folds: str | None, scale: float, padding: int, said: list[str]
    ) -> None:
        """Notes in ticks cost 2.7 bits less, as all durations are of one class; padding costs next to none."""

        def given(name: str, first: int) -> Piece:
            some = notes([first, 52, 53, 55, *[57] * padding])
            onset = np.minimum(some.onset, some.onset[: 5 if padding else 4][-1]) * scale
            return Piece(Notes.from_columns(onset, some.duration * scale, some.pitch, some.velocity), name)

        music = corpus([given("t", 40)], [given("v", 41)], [given("a", 42)])
        stored = choose(music, Protocol(prompt=1, notes=3 + padding, folds=folds), "key")
        assert [text for text in stored.facts["remarks"] if "of the notes" in text] == said

    @pytest.mark.parametrize(("velocities", "said"), [([64, 64], 1), ([64, 65], 0)])
    @pytest.mark.parametrize("folds", [None, "leave-one-out"])
    def test_music_of_one_velocity_is_remarked_on(self, folds: str | None, velocities: list[int], said: int) -> None:
        """The columns are then zeros for every row that learned the number, with ranks."""

        def given(pitch: int) -> Piece:
            some = notes([pitch, 52, 53, 55])
            return Piece(
                Notes.from_columns(some.onset, some.duration, some.pitch, [*[velocities[0]] * 3, velocities[1]]), f"{pitch}"
            )

        music = corpus([given(40)], [given(41)], [given(42)])
        stored = choose(music, Protocol(prompt=1, notes=3, folds=folds), "key")
        sentence = "all held-out notes have velocity 64: columns of velocity say nothing of the music"
        assert stored.facts["remarks"].count(sentence) == said

    @pytest.mark.parametrize(("folds", "most"), [(None, 6), (2, 3)])
    def test_samples_that_can_not_be_stored_are_refused_before_anything_is_trained(self, folds: int | None, most: int) -> None:
        """Of the pieces of one trial, which are those of a fold."""
        given = corpus([piece("t", 5)], [piece("v", 6)], [piece(f"p{i}", 7 + i) for i in range(6)])
        limits = Protocol(prompt=1, notes=6, pieces=6, folds=folds, samples=MOST_NOTES // (most * 6))
        assert len(choose(given, limits, "key").targets) == 6
        with pytest.raises(SpecError, match=r"notes a trial; at most [\d,]+ can be stored"):
            choose(given, limits.model_copy(update={"samples": limits.samples + 1}), "key")

    def test_training_pieces_without_a_note(self) -> None:
        with pytest.raises(DataError, match="The dataset has no training note"):
            choose(corpus([piece("a", 0)], [piece("b")], [piece("c")]), Protocol(prompt=1, notes=3), "key")

    def test_without_folds_nothing_is_said_of_them(self) -> None:
        stored = choose(corpus([piece("a")], [piece("b")], [piece("c")]), Protocol(prompt=1, notes=3), "key")
        assert "folds" not in stored.facts
        (only,) = divide(corpus([piece("a")], [piece("b")], [piece("c")]), stored)
        assert (only.fold, only.pieces, only.places) == (None, (0,), (0,))


def test_a_division_never_teaches_what_it_holds_out() -> None:
    given = corpus([piece(f"p{i}") for i in range(6)])
    stored = choose(given, protocol(3), "key")
    divisions = divide(given, stored)
    assert sorted(i for d in divisions for i in d.places) == list(range(6))
    for division in divisions:
        parts = [{p.id for p in getattr(division.corpus, name)} for name in ("train", "validation", "test")]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 6
        assert [p.id for p in division.corpus.test] == [f"p{i}" for i in division.pieces]
        assert [stored.targets[i].piece.index for i in division.places] == list(division.pieces)


def test_originality_is_against_the_folds_own_training_pieces() -> None:
    melodies = [[60 + k, 62 + 2 * k, 50 + k, 80 - k, 70, 40 + 3 * k, 61, 90 - k, 45] for k in range(3)]
    given = corpus([Piece(notes(m), f"p{k}") for k, m in enumerate(melodies)])
    stored = choose(given, Protocol(prompt=0, notes=9, folds="leave-one-out"), "key")
    divisions = divide(given, stored)
    # Each sample is piece 0: where piece 0 is held out, nobody could have copied it.
    samples = {(i, 0): given.train[0].notes for i in range(3)}
    runs = measure_divisions(divisions, samples, stored.targets).samples.longest_training_run
    taught = ["p0" in {p.id for p in d.corpus.train} for d in divisions]
    assert [run == 9 for run in runs] == taught
    assert runs[0] < 9


def test_originality_without_folds_is_as_before() -> None:
    given = corpus([piece("a", 12)], [piece("b", 12)], [piece("c", 14), piece("d", 15)])
    stored = choose(given, Protocol(prompt=2, notes=10), "key")
    samples = {(i, s): notes([60 + (i + s + j) % 7 for j in range(10)]) for i in range(2) for s in range(2)}
    expected = measure_samples(given.train, samples, stored.targets)
    assert measure_divisions(divide(given, stored), samples, stored.targets) == expected


def test_training_music_that_is_mostly_one_piece_is_remarked_on() -> None:
    short, long = [piece(f"p{i}", n=20) for i in range(20)], piece("two hours", n=10_000)
    for folds in (None, 3):
        protocol = Protocol(prompt=2, notes=10, folds=folds)
        even, uneven = (
            choose(corpus(train, short[:1], [piece("t", n=20)]), protocol, "key").facts["remarks"]
            for train in (short, [*short, long])
        )
        assert not any("of one length" in remark for remark in even)
        assert re.fullmatch(
            r"models learn from 2[13] pieces as from 1\.1 of one length: two hours has 96% of their notes",
            next(remark for remark in uneven if "of one length" in remark),
        )


@pytest.mark.parametrize(("others", "long", "told"), [(2, 10_000, True), (30, 10_000, True), (2, 300, False), (0, 10_000, False)])
def test_validation_music_that_is_mostly_one_piece_is_remarked_on(others: int, long: int, told: bool) -> None:
    """One of two hours decides every model's best evaluation."""
    short = [piece(f"p{i}", n=20) for i in range(30)]
    given = corpus(short, [*short[:others], piece("two hours", n=long)], [piece("t", n=20)])
    remarks = choose(given, Protocol(prompt=2, notes=10), "key").facts["remarks"]
    found = [remark for remark in remarks if "of one length" in remark]
    assert len(found) == told
    assert not told or re.fullmatch(
        rf"which weights are kept is decided by {others + 1} validation pieces as by 1\.[01] of one length: two hours has "
        r"(9\d|100)% of their notes",
        found[0],
    )


def test_facts_are_read_back() -> None:
    folds = (Fold(number=1, test=(0, 2), validation=(1,)), Fold(number=2, test=(1,), validation=(0,)))
    assert read_folds({"folds": Folds(asked=2, too_short=0, folds=folds).model_dump()}) == folds
    assert read_folds({}) == ()


def test_pooled_keeps_all() -> None:
    given = corpus([piece("a")], [piece("b")], [piece("c")])
    assert [p.id for p in pooled(given).test] == ["a", "b", "c"]
    assert pooled(given).train == pooled(given).validation == ()
    alone = replace(given, noise={"total": 1.0}, entropy={"total": 7.0})
    assert (pooled(alone).noise, pooled(alone).entropy) == (None, None), "of its test pieces"


@pytest.mark.parametrize("group", [None, "", "  "])
def test_no_group_is_no_common_group(group: str) -> None:
    one, other = (Piece(Notes.from_columns([0.0], [1.0], [60], [64]), name, title=name, group=group) for name in ("a", "b"))
    assert composition(one) != composition(other)
