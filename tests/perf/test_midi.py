"""Speed of reading: MIDI files against bare symusic and pretty_midi, and a parsed corpus again. `tox -e perf`."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.api import Piece, Splits
from bench.music.midi import read_midi
from bench.music.notes import COLUMNS, Notes
from bench.storage.corpus import load_corpus, save_corpus

from .aims import performances, reach, yardstick_seconds

pytestmark = pytest.mark.perf

ROUNDS = 9


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return performances(10)[:102]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_reading_against_bare_symusic(files: list[Path], benchmark: Callable[..., object]) -> None:
    """The aim is 0.8 times its speed. Rounds alternate, so that a busy machine slows both."""
    from symusic import Score

    def bare() -> None:
        for f in files:
            Score(f, ttype="Second")

    def ours() -> None:
        for f in files:
            read_midi(f)

    bare(), ours()
    pairs = [(seconds(bare), seconds(ours)) for _ in range(ROUNDS)]
    benchmark.pedantic(ours, rounds=3)  # type: ignore[attr-defined]
    ratio = statistics.median(b / o for b, o in pairs)
    benchmark.extra_info.update(times_symusic=ratio, files=len(files))  # type: ignore[attr-defined]
    print(f"\n{len(files)} files: {ratio:.2f} times bare symusic; {len(files) / min(o for _, o in pairs):.0f} files/s")
    reach(ratio, 0.8, floor=0.6, short="every file is checked for what bare symusic crashes on or reads wrongly")


def test_reading_against_pretty_midi(files: list[Path], benchmark: Callable[..., object]) -> None:
    """At least 150 times its speed, on every fourth file: all of them take pretty_midi half a minute."""
    import pretty_midi

    some = files[::4]

    def ours() -> None:
        for f in some:
            read_midi(f)

    ours()
    pairs = [
        (seconds(lambda: [pretty_midi.PrettyMIDI(str(f)) for f in some]), min(seconds(ours) for _ in range(5))) for _ in range(3)
    ]
    benchmark.pedantic(ours, rounds=3)  # type: ignore[attr-defined]
    ratio = statistics.median(p / o for p, o in pairs)
    benchmark.extra_info.update(times_pretty_midi=ratio, files=len(some))  # type: ignore[attr-defined]
    print(f"\n{len(some)} files: {ratio:.0f} times pretty_midi")
    assert ratio >= 150


def test_second_load_of_maestro_size(tmp_path: Path, benchmark: Callable[..., object]) -> None:
    """1276 pieces, 7 million notes: under a yardstick-second, and no notes are held."""
    rng = np.random.default_rng(0)
    pieces = []
    n = 5500
    for i in range(1276):
        onset = np.round(np.cumsum(rng.exponential(0.1, n)) * 960) / 960
        notes = Notes.from_columns(onset, rng.integers(10, 2000, n) / 960, rng.integers(21, 109, n), rng.integers(1, 128, n))
        pieces.append(Piece(notes, f"piece {i}", "title", "composer"))
    path = tmp_path / "big.npy"
    save_corpus(path, Splits(tuple(pieces[:900]), tuple(pieces[900:1000]), tuple(pieces[1000:])), "x")
    best = min(seconds(lambda: load_corpus(path)) for _ in range(3))
    benchmark.pedantic(load_corpus, args=(path,), rounds=2)  # type: ignore[attr-defined]
    tracemalloc.start()
    corpus = load_corpus(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = sum(getattr(p.notes, c).nbytes for p in (*corpus.train, *corpus.validation, *corpus.test) for c in COLUMNS)
    print(f"\n7 M notes in {best:.2f} s, peak {peak / held:.2f} times the columns")
    assert held == 1276 * n * 18
    assert yardstick_seconds(best) < 1.0
    assert peak < 0.2 * held
