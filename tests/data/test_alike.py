"""Pieces that are the same music are found by their notes, and held out together."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api import DataError, Notes, Piece, Splits
from bench.music.midi import midi_bytes
from bench.runner.folds import composition, deal
from bench.runner.held_out import hold_out
from bench.specs.schema import DatasetChoice, Protocol, Spec
from bench.system.paths import Places

from .conftest import dataset_class, dataset_module

module = dataset_module("folder", "_alike")
patterns = module.patterns
files = dataset_module("folder", "_files")
Folder = dataset_class("folder")
Quiet = Callable[[int, int, str], None]


def alike_or_medley(pieces: Sequence[Notes]) -> tuple[list[list[int]], list[int]]:
    groups, medleys = module.alike(pieces)
    return groups, list(medleys)


def alike(pieces: Sequence[Notes]) -> list[list[int]]:
    groups, medleys = alike_or_medley(pieces)
    assert medleys == []
    return groups


def melody(seed: int, n: int = 200) -> Notes:
    """A walk of chords of one to three notes."""
    rng = np.random.default_rng(seed)
    onset = np.repeat(np.cumsum(rng.uniform(0.1, 0.5, n)), rng.integers(1, 4, n))[:n]
    pitch = 30 + np.abs(np.cumsum(rng.integers(-4, 5, n)) % 120 - 60)
    return Notes.from_columns(onset, np.full(n, 0.2), pitch, np.full(n, 80))


def taken(notes: Notes, seed: int, wrong: float) -> Notes:
    """Another take: slower, chords not struck at once, some notes wrong, some left out."""
    rng = np.random.default_rng([seed, 1])
    kept = rng.random(len(notes)) >= wrong / 2
    onset = notes.onset[kept] * 1.3 + rng.uniform(0, 0.02, kept.sum())
    pitch = notes.pitch[kept] + np.where(rng.random(kept.sum()) < wrong / 2, rng.integers(-2, 3, kept.sum()), 0)
    return Notes.from_columns(onset, notes.duration[kept], pitch, notes.velocity[kept])


@given(st.integers(0, 2**32), st.integers(-12, 12), st.floats(0.5, 2.0), st.integers(0, 120))
def test_key_tempo_and_an_excerpt_change_nothing(seed: int, by: int, factor: float, first: int) -> None:
    one = melody(seed)
    other = Notes.from_columns(one.onset * factor, one.duration, one.pitch.astype(int) + by, 127 - one.velocity)[first:]
    # Chords are told by the clock: at another tempo a short step could become one.
    if np.diff(one.onset)[np.diff(one.onset) > 0].min() * min(factor, 1) > 0.04:
        assert alike([one, melody(seed + 1), other]) == [[0, 2]]


@pytest.mark.parametrize("wrong", [0.0, 0.05, 0.1])
def test_another_take_is_found(wrong: float) -> None:
    assert alike([melody(1), melody(2), taken(melody(1), 0, wrong), taken(melody(2), 0, wrong)]) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(("takes", "wrong", "others"), [(60, 0.1, 0), (60, 0.12, 0), (60, 0.1, 400), (200, 0.1, 300)])
def test_one_work_in_many_takes_is_no_stock_figure(takes: int, wrong: float, others: int) -> None:
    """Each of its patterns is in more pieces than a stock figure is."""
    work = melody(1, 400)
    pieces = [*(taken(work, seed, wrong) for seed in range(takes)), *(melody(seed, 300) for seed in range(10, 10 + others))]
    assert alike(pieces) == [list(range(takes))]


def test_a_track_that_is_there_twice_changes_nothing() -> None:
    assert alike([melody(1), melody(2), Notes.concatenate([melody(2), melody(2)])]) == [[1, 2]]


def test_links_join_groups_and_short_pieces_have_none() -> None:
    long = melody(1, 400)
    assert alike([long[:220], melody(5)[:7], melody(5)[:7], long[180:], long]) == [[0, 3, 4]]
    assert alike([]) == alike([melody(1)]) == alike([melody(1)[:0], melody(1)[:0]]) == []


def copy(notes: Notes, seed: int, dropped: float = 0.0) -> Notes:
    """The same music in another key and tempo, without a part of its notes."""
    rng = np.random.default_rng([seed, 2])
    kept = np.sort(rng.permutation(len(notes))[round(dropped * len(notes)) :])
    pitch = notes.pitch[kept].astype(int) + rng.integers(-12, 13)
    return Notes.from_columns(notes.onset[kept] * rng.uniform(0.5, 2), notes.duration[kept], pitch, notes.velocity[kept])


def in_splits(splits: Splits) -> dict[str, str]:
    return {piece.id: name for name in ("train", "validation", "test") for piece in getattr(splits, name)}


def test_a_beginning_of_all_pieces_makes_none_alike() -> None:
    beginning = melody(0, 60)
    parts = [Notes.concatenate([beginning, melody(seed, 200).shifted(40)]) for seed in range(1, 41)]
    assert alike(parts) == []
    assert alike(parts[:2]) == [[0, 1]]  # of two pieces, nothing says that it is a stock figure


def test_many_copies_of_one_piece_are_no_stock_figures() -> None:
    assert alike([*(copy(melody(1), seed) for seed in range(40)), *map(melody, range(2, 12))]) == [list(range(40))]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=9), st.randoms(use_true_random=False))
def test_copies_without_a_fifth_of_their_notes_never_straddle_splits_or_folds(music: list[int], random: Random) -> None:
    works = {work: melody(work, 400) for work in music}
    copies = [works[work] if music.index(work) == at else copy(works[work], at, 0.2) for at, work in enumerate(music)]
    pieces = [Piece(notes, f"{at}", sha256=f"{at}") for at, notes in enumerate(copies)]
    work_of = {piece.id: work for piece, work in zip(pieces, music, strict=True)}
    splits: list[list[Piece]] = [[], [], []]
    for piece in pieces:
        random.choice(splits).append(piece)
    gathered = files.gather(Splits(*map(tuple, splits)), lambda piece: piece.id)
    assert len({(work_of[at], name) for at, name in in_splits(gathered).items()}) == len(works)
    for one in splits:
        random.shuffle(one)
    again = files.gather(Splits(*map(tuple, splits)), lambda piece: piece.id)
    assert in_splits(again) == in_splits(gathered)
    if len(works) >= 3:
        pool = [*gathered.train, *gathered.validation, *gathered.test]
        for fold in deal(pool, range(len(pool)), Protocol(prompt=1, notes=3, folds="leave-one-out")):
            parts = [fold.test, fold.validation, set(range(len(pool))) - {*fold.test, *fold.validation}]
            assert sum(len({work_of[pool[at].id] for at in part}) for part in parts) == len(works)


def test_many_pieces_take_seconds() -> None:
    pieces = [melody(seed, 300) for seed in range(2_000)]
    pieces += [taken(piece, 3, 0.05) for piece in pieces[::20]]
    before = time.process_time()
    found = alike(pieces)
    assert time.process_time() - before < 20  # of two; every piece with every other: minutes
    assert found == [[20 * number, 2_000 + number] for number in range(100)]


def test_a_group_is_in_one_split_and_leads_to_the_same_split_among_other_music() -> None:
    def splits(n: int) -> Splits:
        pieces = [Piece(taken(melody(seed), take, 0.05), f"{seed}-{take}") for seed in range(n) for take in range(3)]
        return Splits(tuple(pieces[::3]), tuple(pieces[1::3]), tuple(pieces[2::3]))

    few, many = (files.gather(splits(n), lambda piece: piece.id) for n in (12, 24))
    assert all(len({in_splits(few)[f"{seed}-{take}"] for take in range(3)}) == 1 for seed in range(12))
    assert {p: s for p, s in in_splits(many).items() if p in in_splits(few)} == in_splits(few)
    assert few.remarks[-1].startswith("36 of 36 pieces are the same music as another one")
    assert few.remarks[-1].endswith("Groups: 12, each in one split and one fold. Pieces that changed their split for it: 24.")
    assert len({p.group for p in (*few.train, *few.validation, *few.test)}) == 12
    own = files.gather(splits(6), lambda piece: piece.id, move=False)
    assert in_splits(own) == in_splits(splits(6))
    assert own.remarks[-1].endswith(
        "Groups: 6. The dataset's own split, which stays, separates 6 of them, with 6 test pieces whose music is for training or "
        "validation too; folds separate none."
    )
    whole = files.gather(few, lambda piece: piece.id, move=False)
    assert whole.remarks[-1].endswith(
        "Groups: 12. The dataset's own split, which stays, separates 0 of them; folds separate none."
    )


def test_large_groups_are_in_the_test_split_as_often_as_single_pieces() -> None:
    pieces: dict[str, list[Piece]] = {"train": [], "validation": [], "test": []}
    works = [melody(work, 60) for work in range(200)]
    for at in range(1_600):
        pieces[files.by_hash(f"{at}", 0.1, 0.15)].append(Piece(works[at % 200], f"{at}", sha256=f"{at}"))
    gathered = files.gather(Splits(*map(tuple, pieces.values())), lambda piece: piece.sha256)
    groups = [len({piece.group for piece in part}) for part in (gathered.train, gathered.validation, gathered.test)]
    assert sum(groups) == 200
    assert np.abs(np.array(groups) / 200 - [0.75, 0.1, 0.15]).max() < 0.08


def write(path: Path, notes: Notes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(midi_bytes(notes))


def test_a_folder_with_its_score_is_one_work(tmp_path: Path, quiet: Quiet) -> None:
    for work in range(8):
        folder = tmp_path / "Bach" / f"Fugue_{work}"
        write(folder / "midi_score.mid", melody(work))
        for player in range(3):  # so free that the notes tell nothing
            write(folder / f"Player{player}.mid", melody(1000 + 10 * work + player))
    for name in range(6):  # not one work, although a score lies beside them
        write(tmp_path / ("midi_score.mid" if name == 0 else f"{name}.mid"), melody(500 + name))
    splits = Folder().load(tmp_path, quiet)
    pieces = [(piece, name) for name in ("train", "validation", "test") for piece in getattr(splits, name)]
    for work in range(8):
        inside = [(composition(piece), name) for piece, name in pieces if f"Fugue_{work}/" in piece.id]
        assert (len(inside), len(set(inside))) == (4, 1)
    assert len({composition(piece) for piece, _ in pieces}) == 8 + 6
    assert splits.remarks[-1].startswith("32 of 38 pieces")


def test_names_make_no_works(tmp_path: Path, quiet: Quiet) -> None:
    names = ["01.mid", "track1.mid", "take (1).mid", "take (2).mid", "[live].mid", "1/11.mid", "11/1.mid"]
    for at, name in enumerate(names):
        write(tmp_path / "a" / name, melody(at))
        write(tmp_path / "b" / name, melody(100 + at))
    splits = Folder().load(tmp_path, quiet)
    pieces = [*splits.train, *splits.validation, *splits.test]
    assert len({composition(piece) for piece in pieces}) == len(pieces) == 14
    assert len(splits.remarks) == 1  # none is grouped


def album(pieces: Sequence[Notes], n: int) -> Notes:
    """The first notes of each piece, one after the other."""
    parts, end = [], 0.0
    for piece in pieces:
        parts.append(piece[:n].shifted(end - piece.onset[0]))
        end = float(parts[-1].onset[-1]) + 1
    return Notes.concatenate(parts)


@pytest.mark.parametrize("n", [40, 200])
def test_an_album_costs_itself(tmp_path: Path, quiet: Quiet, n: int) -> None:
    for at in range(24):
        write(tmp_path / f"{at:02}.mid", melody(at))
    whole = in_splits(Folder().load(tmp_path, quiet))
    write(tmp_path / "album.mid", album([melody(at) for at in range(24)], n))
    write(tmp_path / "best of.mid", album([melody(at) for at in range(0, 24, 2)], n))
    splits = Folder().load(tmp_path, quiet)
    assert [s.source for s in splits.skipped] == ["album.mid", "best of.mid"]
    assert in_splits(splits) == whole


@pytest.mark.parametrize("n", [40, 200])
def test_an_album_in_a_split_that_stays_is_held_out_with_what_it_quotes(quiet: Quiet, n: int) -> None:
    works = [Piece(melody(at), f"work {at}") for at in range(24)]
    whole = Piece(album([piece.notes for piece in works[:6]], n), "Complete Etudes")
    own = files.gather(
        Splits((*works[:4], *works[6:20], whole), works[20:], works[4:6]), lambda piece: piece.id, quiet, move=False
    )
    assert [piece.id for piece in own.test] == ["work 4", "work 5"]
    assert not own.skipped
    assert own.remarks[1] == "Holds parts of several other pieces, with which it is in one fold: Complete Etudes (train)."
    groups = {piece.id: composition(piece) for piece in (*own.train, *own.validation, *own.test)}
    assert {name for name, group in groups.items() if group == groups["Complete Etudes"]} == {
        "Complete Etudes",
        *(f"work {at}" for at in range(6)),
    }
    assert len(set(groups.values())) == 24 - 6 + 1


def test_an_album_leaves_the_order_of_all_else(tmp_path: Path, quiet: Quiet) -> None:
    for at in range(24):
        write(tmp_path / f"{at:02}.mid", melody(at))
        write(tmp_path / f"{at * 7 % 24:02} again.mid", taken(melody(at), at, 0.05))
    before = Folder().load(tmp_path, quiet)
    write(tmp_path / "album.mid", album([melody(at) for at in range(24)], 200))
    after = Folder().load(tmp_path, quiet)
    assert [s.source for s in after.skipped] == ["album.mid"]
    for name in ("train", "validation", "test"):
        assert [p.id for p in getattr(after, name)] == [p.id for p in getattr(before, name)]


def test_an_album_of_two_halves_costs_itself() -> None:
    pieces = [melody(at) for at in range(22)]
    both = Notes.concatenate([album(pieces, 22), album([piece[100:] for piece in pieces], 22).shifted(3_000)])
    assert alike_or_medley([*pieces, both]) == ([], [22])


def test_a_collage_that_takes_turns_between_its_quotes_costs_itself() -> None:
    """Each pattern of one piece stands between patterns of two others, which are so near half of that piece's."""
    pieces = [scattered(at, 120) for at in range(15)]
    quotes = []
    for one, *others in (pieces[:5], pieces[5:10], pieces[10:]):
        for turn in range(16):
            first, second = (others[(2 * turn + at) % 4] for at in (0, 1))
            quotes += [piece[7 * turn :][:8] for piece in (first, one, second)]
        quotes += [other[95:] for other in others]
    assert alike_or_medley([*pieces, album(quotes, 25)]) == ([], [15])


def test_a_longer_piece_around_an_album_costs_itself() -> None:
    """The pieces are in it as excerpts of a work are: whole, and less than half of it."""
    pieces = [scattered(at, 200) for at in range(24)]
    around = Notes.concatenate([album(pieces, 200), scattered(100, 6_000).shifted(2_000)])
    assert alike_or_medley([*pieces, around]) == ([], [24])


def test_several_albums_of_the_same_pieces_cost_themselves() -> None:
    pieces = [melody(at) for at in range(24)]
    albums = [album([piece[first:] for piece in pieces], 34) for first in (0, 34, 68, 102)]
    assert alike_or_medley([*pieces, *albums]) == ([], [24, 25, 26, 27])


def test_an_album_of_pieces_with_a_figure_in_common_costs_itself() -> None:
    scale = np.cumsum([0, *[2, 2, 1, 2, 2, 2, 1] * 3])
    figure = Notes.from_columns(np.arange(22) * 0.2, np.full(22, 0.1), 40 + scale, np.full(22, 80))
    pieces = [Notes.concatenate([scattered(seed, 100), figure.shifted(30)]) for seed in range(24)]
    assert alike_or_medley(pieces) == ([], [])
    quotes = Notes.concatenate([album(pieces, 24), figure.shifted(500)])
    assert alike_or_medley([*pieces, quotes]) == ([], [24])


@pytest.mark.parametrize("quoting", [2, 4])
def test_a_few_long_files_that_quote_many_pieces_cost_themselves(quoting: int) -> None:
    """Each piece consists of more parts of them for its length: they go on with other notes."""
    works = [scattered(seed, 200) for seed in range(24)]
    n = 200 // quoting
    long = [
        Notes.concatenate([album([work[n * at :] for work in works], n - 2), scattered(100 + at, 10_000).shifted(3_000)])
        for at in range(quoting)
    ]
    assert alike_or_medley([*works, *long]) == ([], [24 + at for at in range(quoting)])


def test_many_files_that_quote_a_few_pieces_each_cost_themselves() -> None:
    """Each piece holds parts of more of them than they of pieces."""
    rng = np.random.default_rng(0)
    works = [melody(seed) for seed in range(24)]
    quoting = []
    for _ in range(60):
        quoted = [(works[at], int(first)) for at, first in zip(rng.permutation(24)[:3], rng.integers(0, 170, 3), strict=True)]
        quoting.append(album([work[first : first + 30] for work, first in quoted], 30))
    _, medleys = alike_or_medley([*works, *quoting])
    assert not set(medleys) & set(range(24))
    assert len(medleys) > 20


@pytest.mark.parametrize(("copies", "n"), [(1, 60), (4, 60), (16, 60), (8, 200), (40, 200)])
def test_albums_do_not_hide_that_two_takes_are_one_work(copies: int, n: int) -> None:
    works = [melody(seed) for seed in range(24)]
    takes = [*works, *(taken(work, seed, 0.15) for seed, work in enumerate(works))]
    albums = [Notes.concatenate([album(works, n), melody(100 + at).shifted(4_000)]) for at in range(copies)]
    assert alike_or_medley([*takes, *albums]) == ([[at, 24 + at] for at in range(24)], list(range(48, 48 + copies)))


def test_every_chorale_that_is_alike_is_found(quiet: Quiet) -> None:
    splits = dataset_class("chorales")().load(None, quiet)
    pieces = [piece.notes for piece in (*splits.train, *splits.validation, *splits.test)]
    hashes = [patterns(notes) for notes in pieces]
    inside: dict[int, list[int]] = defaultdict(list)
    for at, one in enumerate(hashes):
        for pattern in one.tolist():
            inside[pattern].append(at)
    common = Counter(pair for pieces in inside.values() for pair in combinations(pieces, 2))
    comparison = module._Comparison(pieces, hashes, module.FEWEST)
    near = comparison.neighbours()
    found = {(one, other) for one in near for other in near[one] if one < other}
    enough = [pair for pair, number in common.items() if number >= module.FEWEST]
    assert found == {pair for pair in enough if comparison.are_alike(*pair)}


def test_copies_of_parts_do_not_make_a_medley_of_the_whole() -> None:
    works = [melody(1, 400), *(copy(melody(1, 400), seed, 0.2) for seed in range(12))]
    assert alike_or_medley(works) == ([list(range(13))], [])


def test_a_stray_score_beside_all_music_makes_no_work_of_it(tmp_path: Path, quiet: Quiet) -> None:
    for at in range(24):
        write(tmp_path / "all" / f"{at:02}.mid", melody(at))
    write(tmp_path / "all" / "midi_score.mid", melody(30))
    write(tmp_path / "one.mid", melody(31))
    splits = Folder().load(tmp_path, quiet)
    assert len({piece.group for piece in (*splits.train, *splits.validation, *splits.test)}) == 26


@pytest.mark.parametrize(
    "content",
    [b"", b"no music", midi_bytes(melody(30)[:0]), midi_bytes(melody(30)[:4])],
    ids=["empty", "no MIDI", "no notes", "four notes"],
)
def test_a_score_without_music_makes_no_work_of_its_folder(tmp_path: Path, quiet: Quiet, content: bytes) -> None:
    for at in range(24):
        write(tmp_path / ("a" if at < 12 else "b") / f"{at:02}.mid", melody(at))
    (tmp_path / "a" / "midi_score.mid").write_bytes(content)
    splits = Folder().load(tmp_path, quiet)
    assert [left_out.source for left_out in splits.skipped] == ["a/midi_score.mid"]
    assert len({piece.group for piece in (*splits.train, *splits.validation, *splits.test)}) == 24


def test_a_score_with_the_notes_of_another_file_makes_a_work_of_its_folder(tmp_path: Path, quiet: Quiet) -> None:
    for at in range(24):
        write(tmp_path / "abc"[at // 8] / f"{at:02}.mid", melody(at))
    write(tmp_path / "a" / "midi_score.mid", melody(0))
    splits = Folder().load(tmp_path, quiet)
    assert [left_out.source for left_out in splits.skipped] == ["a/midi_score.mid"]
    assert len({piece.group for piece in (*splits.train, *splits.validation, *splits.test)}) == 24 - 8 + 1


def scattered(seed: int, n: int) -> Notes:
    pitch = np.random.default_rng([seed, 3]).integers(30, 100, n)
    return Notes.from_columns(np.arange(n) * 0.2, np.full(n, 0.1), pitch, np.full(n, 80))


def test_a_work_beside_its_themes_is_no_medley() -> None:
    work = melody(1, 400)
    themes = [work[at : at + 40] for at in (0, 90, 200, 330)]
    assert alike([work, *themes, melody(2)]) == [[0, 1, 2, 3, 4]]


def test_excerpts_of_one_piece_cost_little() -> None:
    """Each overlaps its neighbours; the whole holds parts of them all."""
    whole = scattered(1, 5_000)
    first = np.random.default_rng(0).integers(0, 4_900, 600)
    before = time.process_time()
    _, medleys = alike_or_medley([whole, *(whole[at : at + 60] for at in first.tolist())])
    assert medleys == [0]
    assert time.process_time() - before < 15  # every excerpt weighed against every other: 40 s


def test_a_loop_is_the_same_music_in_another_key() -> None:
    """It has as many patterns as notes, however often it is repeated."""

    def loop(seed: int, by: int, times: int) -> Notes:
        pitch = np.tile(np.random.default_rng([seed, 4]).integers(40, 80, 10), times) + by
        n = len(pitch)
        return Notes.from_columns(np.arange(n) * 0.2, np.full(n, 0.1), pitch, np.full(n, 80))

    assert alike([loop(1, 0, 20), loop(2, 0, 20), loop(1, 5, 30), loop(3, 0, 20), melody(1)]) == [[0, 2]]


@pytest.mark.parametrize("cell", [4, 5, 6, 7, 8, 12])
def test_a_loop_with_a_fill_an_intro_or_another_loop_is_the_same_music(cell: int) -> None:
    """A loop has as many patterns as notes, so few in common; most notes of both lie in them."""

    def played(*parts: list[int]) -> Notes:
        pitch = np.concatenate(parts)
        n = len(pitch)
        return Notes.from_columns(np.arange(n) * 0.2, np.full(n, 0.1), pitch, np.full(n, 80))

    rng = np.random.default_rng(5)
    loops = rng.integers(40, 80, (6, cell)).tolist()
    fill, intro = rng.integers(40, 80, cell).tolist(), rng.integers(40, 80, cell // 2).tolist()
    variants = [piece for loop in loops for piece in (played(loop * 16), played(loop * 15, fill), played(intro, loop * 16))]
    assert alike([*variants, melody(1)]) == [[3 * at, 3 * at + 1, 3 * at + 2] for at in range(6)]
    both = played(loops[0] * 7, loops[1] * 9)
    assert alike([both, played(loops[0] * 16), played(loops[2] * 16)]) == []  # less than half of it


@pytest.mark.parametrize("times", [4, 6, 8])
@pytest.mark.parametrize("cell", [4, 5, 6, 7, 8, 12, 16])
def test_a_short_loop_and_its_fills_are_the_same_music(cell: int, times: int) -> None:
    """Packs' loops are four or eight bars: the fill is a large part of them."""
    rng = np.random.default_rng([cell, times])
    pieces = []
    for _ in range(12):
        loop, *fills = rng.integers(45, 80, (3, cell)).tolist()
        pieces += [even(loop * times), *(even([*loop * (times - 1), *fill]) for fill in fills)]
    assert alike([*pieces, melody(1)]) == [[3 * at, 3 * at + 1, 3 * at + 2] for at in range(12)]
    assert alike(pieces[1:3]) == [[0, 1]]  # without the plain loop that links them


def test_a_figure_that_short_pieces_have_in_common_makes_none_alike() -> None:
    """Neither one that comes once, nor a struck note or a trill, which fills half of each."""
    figures = [[60, 64, 67, 71, 74, 70, 65, 61, 63, 68, 72], [60] * 24, [60, 62] * 12, [60, 64, 67] * 8]
    rng = np.random.default_rng(7)
    for figure in figures:
        own = rng.integers(30, 100, (20, len(figure) - 1)).tolist()
        assert alike([even([*figure, 80 + at, *rest]) for at, rest in enumerate(own)]) == []


def even(pitch: Sequence[int]) -> Notes:
    n = len(pitch)
    return Notes.from_columns(np.arange(n) * 0.2, np.full(n, 0.1), pitch, np.full(n, 80))


def test_one_long_piece_costs_little_beside_many() -> None:
    """It shares enough patterns with each to be compared, and too few to be alike."""
    pieces = [scattered(seed, 300) for seed in range(500)]
    before = time.process_time()
    alike(pieces)
    alone = time.process_time() - before
    long = Notes.concatenate([album(pieces, 28), scattered(9_999, 200_000).shifted(20_000)])
    before = time.process_time()
    assert alike([*pieces, long]) == []
    assert time.process_time() - before < 3 * alone + 2  # every piece sorted with it: 10 s


def test_patterns_of_many_notes_take_little_time() -> None:
    n = 2_000_000
    long = Notes.from_columns(
        np.arange(n) * 0.04, np.full(n, 0.04), np.random.default_rng(1).integers(30, 100, n), np.full(n, 80)
    )
    before = time.process_time()
    hashed = patterns(long)
    assert time.process_time() - before < 1.2  # put into a hash table: 3 s
    assert (hashed[1:] > hashed[:-1]).all()


def test_a_folder_of_one_work_says_so(tmp_path: Path) -> None:
    for at in range(12):
        write(tmp_path / "music" / f"{at}.mid", copy(melody(1), at))
    spec = Spec(
        title="x", dataset=DatasetChoice(name="folder"), protocol=Protocol(prompt=4, notes=16), references=("median",), models={}
    )
    with pytest.raises(DataError) as refused:
        hold_out(spec, Places.find(out=tmp_path, data=[tmp_path / "music"]))
    assert "12 of 12 pieces are the same music as another one" in str(refused.value.hint)


def test_pieces_are_hashed_together_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pieces = [
        Notes.from_columns(
            np.round(rng.uniform(0, 20, n), int(rng.integers(0, 3))), np.ones(n), rng.integers(0, 128, n), np.full(n, 64)
        )
        for n in (*range(12), 100, 0, 3000, 0, 0)
    ]
    expected = [_slowly(notes) for notes in pieces]
    for size in (1, 50, 1 << 15):
        monkeypatch.setattr(module, "AT_ONCE", size)
        batches = list(module._batches(pieces))
        assert [notes for batch in batches for notes in batch] == pieces
        hashed = [module._distinct(hashes) for batch in batches for hashes in module._in_order(batch)]
        assert [hashes.tolist() for hashes in hashed] == expected


def test_patterns_are_sorted_in_ranges_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    pieces = [patterns(_random(rng, 200)) for _ in range(30)]
    pieces += [np.unique(np.concatenate([pieces[i][::2], pieces[i + 1][::3], pieces[0][:40]])) for i in range(29)]
    stock, pairs = module._compare(pieces)
    assert len(stock) >= 30
    assert len(pairs) >= 29
    for size in (7, 100, 5000):
        monkeypatch.setattr(module, "SORTED", size)
        stock_of_ranges, pairs_of_ranges = module._compare(pieces)
        assert stock_of_ranges.tolist() == stock.tolist()
        assert pairs_of_ranges == pairs


def _random(rng: np.random.Generator, n: int) -> Notes:
    return Notes.from_columns(np.arange(float(n)), np.ones(n), rng.integers(0, 128, n), np.full(n, 64))


def _slowly(notes: Notes) -> list[int]:
    """The hashes of one piece, note by note."""
    chord, keys = 0, []
    for i, (onset, pitch) in enumerate(zip(notes.onset, notes.pitch, strict=True)):
        chord += i > 0 and onset - notes.onset[i - 1] > module.CHORD
        keys.append((chord, int(pitch)))
    pitches = [pitch for _, pitch in sorted(set(keys))]
    hashes = set()
    for at in range(len(pitches) - module.LENGTH + 1):
        hashed = 0
        for one, other in pairwise(pitches[at : at + module.LENGTH]):
            hashed = (hashed + other - one + 1) * 0x9E3779B97F4A7C15 % 2**64
            hashed ^= hashed >> 29
        hashes.add(hashed)
    return sorted(hashes)
