"""The calibration source: its entropy by other ways than its own, its music in the codec, and what a first-order chain can do."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from bench.api import FIELDS, Budget, NoteCodec, Notes, Run, Splits
from bench.errors import DataError
from bench.plugins.discovery import find_plugins, load
from bench.storage.corpus import load_corpus, save_corpus

from .conftest import dataset_class, dataset_module

calibration = dataset_module("calibration")
sources = dataset_module("calibration", "_source")
limits = dataset_module("calibration", "_limits")

Law, Source = sources.Law, sources.Source
CODEC = NoteCodec()


def make(**options: Any) -> Splits:
    return dataset_class("calibration")(**options).load(None, lambda done, total, what: None)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def music() -> Any:
    return calibration.music()


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make()


def random_law(rng: np.random.Generator, parents: tuple[tuple[str, int], ...], shape: tuple[int, ...]) -> Any:
    table = rng.random(shape) + 0.05
    return Law(parents, table / table.sum(-1, keepdims=True))


def tiny(seed: int = 1) -> Any:
    """Two symbols a field, looking back two notes in pitch and time, across fields, and at the first note's time shift."""
    rng = np.random.default_rng(seed)
    laws = (
        random_law(rng, (("pitch", 2), ("pitch", 1), ("time", 1)), (2, 2, 2, 2)),
        random_law(rng, (("pitch", 0),), (2, 2)),
        random_law(rng, (("time", 2), ("velocity", 0)), (2, 2, 2)),
        random_law(rng, (("time", 0), ("duration", 1)), (2, 2, 2)),
    )
    return Source(laws, ((0, 1, 0, 1), (1, 0, 1, 0)))


def coin(p: float) -> Any:
    """One fair or biased coin in pitch; velocity, time and duration have a single symbol."""
    one = np.ones((1, 1))
    return Source((Law((), np.array([p, 1 - p])), Law((("pitch", 0),), np.ones((2, 1))), Law((("time", 1),), one),
                   Law((("time", 0),), one)), ((0, 0, 0, 0), (0, 0, 0, 0)))  # fmt: skip


def all_pieces(source: Any, notes: int) -> tuple[np.ndarray, np.ndarray]:
    """Every piece that the source can make, (pieces, notes, 4), and the bits of each, (pieces, notes, 4)."""
    choices = [range(size) for size in source.sizes]
    one = list(itertools.product(*choices))
    silent = [note for note in one if note[2] == source.start[1][2]]
    pieces = np.array(list(itertools.product(silent, *[one] * (notes - 1))))
    return pieces, np.array([source.bits(piece) for piece in pieces])


class TestEntropy:
    def test_a_coin_has_the_entropy_of_a_coin(self) -> None:
        expected = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
        assert limits.rate(coin(0.25)).tolist() == pytest.approx([expected, 0, 0, 0])
        assert limits.expected(coin(0.5), 7).tolist() == pytest.approx([1, 0, 0, 0])

    def test_a_second_order_source_by_hand(self) -> None:
        """The pitch repeats the one two notes ago with probability 0.9: first order sees an even coin, second order does not."""
        repeat = np.empty((2, 2, 2))
        repeat[0, :], repeat[1, :] = (0.9, 0.1), (0.1, 0.9)
        rest = coin(0.5).laws[1:]
        source = Source((Law((("pitch", 2), ("pitch", 1)), repeat), *rest), coin(0.5).start)
        h = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
        assert limits.rate(source)[0] == pytest.approx(h, abs=1e-9)
        assert limits.note_chain(source) == pytest.approx(1.0, abs=1e-9)
        assert limits.separate_chains(source, 20_000)[0] == pytest.approx(1.0, abs=1e-3)

    @pytest.mark.parametrize("notes", [1, 2, 3])
    def test_brute_force_over_every_piece(self, notes: int) -> None:
        source = tiny()
        _, bits = all_pieces(source, notes)
        chance = 2 ** -bits.sum((1, 2))
        assert chance.sum() == pytest.approx(1, abs=1e-12)
        assert limits.expected(source, notes) == pytest.approx((chance[:, None] * bits.mean(1)).sum(0), abs=1e-12)

    def test_first_order_chains_by_brute_force(self) -> None:
        """The best chain of each field by itself, from the exact pair counts of every piece, codec classes and all."""
        source, notes = tiny(), 3
        pieces, bits = all_pieces(source, notes)
        chance = 2 ** -bits.sum((1, 2))
        seen = pieces.copy()
        seen[:, 0, 2] = 2  # the first note's time shift is a class of its own
        for f, best in enumerate(limits.separate_chains(source, notes)):
            one, two = np.zeros(3), np.zeros((3, 3))
            for x, p in zip(seen[..., f], chance, strict=True):
                np.add.at(one, x, p / notes)
                np.add.at(two, (x[:-1], x[1:]), p)
            rows = two / np.maximum(two.sum(1, keepdims=True), 1e-300)
            cost = sum(p * -(np.log2(one[x[0]]) + np.log2(rows[x[:-1], x[1:]]).sum()) for x, p in zip(seen[..., f], chance,
                       strict=True))  # fmt: skip
            assert best == pytest.approx(cost / notes, abs=1e-12)

    def test_rate_by_the_eigenvector_of_the_pairs_of_notes(self) -> None:
        """The tiny source as one big first-order chain over pairs of notes, solved by linear algebra."""
        source = tiny()
        one = list(itertools.product((0, 1), repeat=4))
        number = {pair: i for i, pair in enumerate(itertools.product(one, one))}
        matrix, bits = np.zeros((256, 256)), np.zeros((256, 4))
        for (older, last), i in number.items():
            for this in one:
                cost = one_note(source, older, last, this)
                matrix[i, number[last, this]] = 2 ** -cost.sum()
                bits[i] += 2 ** -cost.sum() * cost
        values, vectors = np.linalg.eig(matrix.T)
        resting = np.real(vectors[:, np.argmax(np.real(values))])
        assert limits.rate(source) == pytest.approx((resting / resting.sum()) @ bits, abs=1e-8)

    def test_melody_by_the_eigenvector_of_the_pairs_of_pitches(self, music: Any) -> None:
        table = music.laws[0].table
        n = len(table)
        matrix = np.zeros((n * n, n * n))
        for a, b in itertools.product(range(n), repeat=2):
            matrix[a * n + b, b * n : b * n + n] = table[a, b]
        values, vectors = np.linalg.eig(matrix.T)
        resting = np.real(vectors[:, np.argmax(np.real(values))])
        rows = -(table * np.log2(table)).sum(-1).ravel()
        assert limits.rate(music)[0] == pytest.approx((resting / resting.sum()) @ rows, abs=1e-8)

    def test_drawn_music_costs_what_was_computed(self, music: Any) -> None:
        """A long run's realised bits are within 4 standard errors, by field: pieces are independent, so their means have one."""
        symbols = music.draw(np.random.default_rng(5).random((600, 128, 4)))
        means = np.array([music.bits(s).mean(0) for s in symbols])
        error = means.std(0, ddof=1) / math.sqrt(len(means))
        assert error.max() < 0.01
        assert (np.abs(means.mean(0) - limits.expected(music, 128)) < 4 * error).all()

    def test_frequencies_of_a_long_run_without_the_tables(self, music: Any) -> None:
        """Shannon's plug-in estimate from counted triples knows nothing of the laws; with many notes it comes near."""
        pitch = music.draw(np.random.default_rng(6).random((1000, 256, 4)))[..., 0]
        triples = np.bincount((pitch[:, :-2] * 225 + pitch[:, 1:-1] * 15 + pitch[:, 2:]).ravel(), minlength=3375).reshape(225, 15)
        shares = triples / triples.sum()
        found = sources.entropy(shares.ravel()) - sources.entropy(shares.sum(1))
        assert found == pytest.approx(limits.rate(music)[0], rel=0.005)

    def test_long_pieces_come_to_the_rate(self, music: Any) -> None:
        short, long = limits.expected(music, 100), limits.expected(music, 10_000)
        rate = limits.rate(music)
        assert np.abs(long - rate).max() < 1e-3
        assert np.abs(long - rate).sum() < np.abs(short - rate).sum()

    def test_known_figures(self, music: Any) -> None:
        """They stand in reports: a change of the source is a change of every figure measured on it."""
        assert limits.rate(music) == pytest.approx([2.176899, 1.372549, 1.289636, 0.837418], abs=1e-6)

    def test_a_source_without_rest_is_said(self) -> None:
        turn = Law((("pitch", 1),), np.array([[0.0, 1.0], [1.0, 0.0]]))
        with pytest.raises(ValueError, match="periodic"):
            limits.rate(Source((turn, *coin(0.5).laws[1:]), coin(0.5).start))


def one_note(source: Any, older: tuple[int, ...], last: tuple[int, ...], this: tuple[int, ...]) -> np.ndarray:
    """Bits of each field of one note in the midst of a piece, read from the tables by hand."""
    notes = {2: older, 1: last, 0: this}
    index = [tuple(notes[back][FIELDS.index(field)] for field, back in law.parents) for law in source.laws]
    return np.array([-np.log2(law.table[(*at, x)]) for law, at, x in zip(source.laws, index, this, strict=True)])


class TestFirstOrder:
    def test_it_falls_short_in_every_field(self, music: Any) -> None:
        gap = limits.separate_chains(music, 256) - limits.expected(music, 256)
        assert gap == pytest.approx([0.40552, 0.52209, 0.45068, 0.56483], abs=1e-4)

    def test_so_does_any_model_of_the_note_before(self, music: Any) -> None:
        rate, one, separate = limits.rate(music).sum(), limits.note_chain(music), limits.separate_chains(music, 256).sum()
        assert one == pytest.approx(6.41698, abs=1e-5)
        assert rate + 0.5 < one < separate

    def test_the_markov_row_comes_to_what_was_computed(self, music: Any, splits: Splits, tmp_path: Path) -> None:
        """Two independent ways to one number: the row counts drawn notes, the limit knows only the tables."""
        model = load(find_plugins("model")["markov"])()
        model.fit(splits.train, splits.validation, Run(seed=0, budget=Budget(), folder=tmp_path))
        bits = -np.concatenate(model.log_likelihood(splits.test)).mean(0) / math.log(2)
        best = limits.separate_chains(music, 256)
        assert bits.sum() == pytest.approx(best.sum(), rel=0.005)
        assert bits == pytest.approx(best, rel=0.01)
        assert splits.entropy is not None
        assert bits.sum() - splits.entropy["total"] == pytest.approx(best.sum() - splits.entropy["total"], rel=0.01)


class TestMusic:
    def test_the_codec_gives_the_symbols_back(self, music: Any) -> None:
        classes = calibration._classes()
        for symbols in music.draw(np.random.default_rng(2).random((20, 2000, 4))):
            codes = CODEC.encode(calibration.to_notes(symbols))
            codes[0, 2] = classes[2][symbols[0, 2]]  # the first note has no time shift
            back = np.stack([np.searchsorted(values, codes[:, f]) for f, values in enumerate(classes)], axis=1)
            assert np.array_equal(back, symbols)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32), st.floats(0, 9e4))
    def test_a_later_start_moves_no_class(self, seed: int, start: float) -> None:
        symbols = calibration.music().draw(np.random.default_rng(seed).random((1, 50, 4)))[0]
        notes = calibration.to_notes(symbols)
        assert np.array_equal(CODEC.encode(notes.shifted(start)), calibration.to_codes(symbols))

    def test_a_clock_of_a_millisecond_moves_no_class(self, music: Any) -> None:
        """As MIDI ticks would: every value is far from its class's edges."""
        symbols = music.draw(np.random.default_rng(3).random((1, 3000, 4)))[0]
        notes = calibration.to_notes(symbols)
        rounded = Notes(np.round(notes.onset, 3), np.round(notes.duration, 3), notes.pitch, notes.velocity)
        assert np.array_equal(CODEC.encode(rounded), calibration.to_codes(symbols))

    def test_no_chord_and_distinct_classes(self, splits: Splits) -> None:
        assert all(len(set(values.tolist())) == len(values) for values in calibration._classes())
        assert all((np.diff(piece.notes.onset) > 0.1).all() for piece in splits.test)

    def test_the_first_note_starts_the_clock(self, splits: Splits) -> None:
        assert {float(piece.notes.onset[0]) for piece in (*splits.train, *splits.test)} == {0.0}

    def test_every_symbol_is_used(self, splits: Splits) -> None:
        codes = np.concatenate([CODEC.encode(piece.notes)[1:] for piece in splits.train])
        assert [len(np.unique(column)) for column in codes.T] == [15, 5, 4, 3]


class TestDraws:
    def test_the_same_again(self, splits: Splits) -> None:
        again = make()
        assert [(p.id, p.notes) for p in again.test] == [(p.id, p.notes) for p in splits.test]
        assert again.entropy == splits.entropy
        assert again.remarks == splits.remarks

    def test_another_seed_is_other_music_of_the_same_source(self) -> None:
        one, other = make(pieces=16, notes=40), make(pieces=16, notes=40, seed=1)
        assert one.test[0].notes != other.test[0].notes
        assert one.entropy == other.entropy

    def test_sizes(self, splits: Splits) -> None:
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (1300, 100, 200)
        assert {len(p.notes) for p in (*splits.train, *splits.validation, *splits.test)} == {256}

    def test_more_pieces_and_longer_ones_begin_the_same(self) -> None:
        few, many = make(pieces=16, notes=10), make(pieces=48, notes=30)
        assert [p.notes for p in few.test] == [p.notes[:10] for p in many.test[: len(few.test)]]

    def test_splits_are_independent(self, music: Any, splits: Splits) -> None:
        """No piece comes twice, and the same places of two splits' pieces agree as often as chance would have it."""
        pieces = [p.notes.pitch for p in (*splits.train, *splits.validation, *splits.test)]
        assert len({p.tobytes() for p in pieces}) == len(pieces)
        train, test = np.stack(pieces[:200]), np.stack(pieces[-200:])
        late = slice(40, None)  # the common start is forgotten
        frequencies = np.bincount(np.concatenate(pieces), minlength=128) / sum(map(len, pieces))
        agreeing = (train[:, late] == test[:, late]).mean()
        assert agreeing == pytest.approx((frequencies**2).sum(), abs=0.01)

    def test_options_out_of_range(self) -> None:
        with pytest.raises(DataError, match="pieces is 15, expected at least 16"):
            make(pieces=15)
        with pytest.raises(DataError, match="notes is 1, expected at least 2"):
            make(notes=1)


class TestLaws:
    def test_a_law_can_not_look_ahead(self) -> None:
        laws = list(tiny().laws)
        laws[0] = Law((("velocity", 0),), np.full((2, 2), 0.5))
        with pytest.raises(ValueError, match="pitch can't depend on velocity, 0 notes back"):
            Source(tuple(laws), tiny().start)

    def test_a_table_must_fit_its_parents(self) -> None:
        laws = list(tiny().laws)
        laws[1] = Law((("pitch", 0),), np.full((3, 2), 0.5))
        with pytest.raises(ValueError, match=r"velocity: a table over \(3,\), but its parents have \(2,\)"):
            Source(tuple(laws), tiny().start)

    def test_rows_add_up(self) -> None:
        laws = list(tiny().laws)
        laws[1] = Law((("pitch", 0),), np.full((2, 2), 0.6))
        with pytest.raises(ValueError, match="velocity: a row of its table doesn't sum to 1"):
            Source(tuple(laws), tiny().start)


class TestOnTheWay:
    """The entropy from a dataset to the corpus file."""

    def test_round_trip(self, tmp_path: Path) -> None:
        splits = make(pieces=16, notes=8)
        save_corpus(tmp_path / "c.npy", splits, "x")
        assert load_corpus(tmp_path / "c.npy").entropy == splits.entropy
        assert splits.entropy is not None
        assert list(splits.entropy) == [*FIELDS, "total"]
        assert splits.entropy["total"] == pytest.approx(sum(splits.entropy[f] for f in FIELDS), abs=1e-12)

    @pytest.mark.parametrize(
        ("entropy", "message"),
        [
            ({"total": 1.0}, "expected pitch, velocity, time, duration and total"),
            ({**dict.fromkeys(FIELDS, 1.0), "total": math.nan}, "must be finite"),
            ({**dict.fromkeys(FIELDS, 1.0), "total": -1.0}, "at least 0 bits"),
        ],
    )
    def test_what_is_no_entropy_is_refused(self, entropy: dict[str, float], message: str) -> None:
        with pytest.raises(DataError, match=message):
            Splits((), (), (), entropy=entropy)

    @pytest.mark.parametrize(
        ("noise", "message"), [({"total": 1.0}, "expected only pitch"), ({"time": math.inf}, "must be finite")]
    )
    def test_what_is_no_noise_is_refused(self, noise: dict[str, float], message: str) -> None:
        with pytest.raises(DataError, match=f"noise.*{message}"):
            Splits((), (), (), noise=noise)
