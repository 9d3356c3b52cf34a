"""Speed of the metrics: MuSpy's descriptors against MuSpy itself, and all that is measured on one sample. `tox -e perf`.

Rounds of the two sides alternate, so that a busy machine slows both; the ratio is that of the medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest

from bench.api import Notes
from bench.metrics import evaluate_samples
from bench.metrics import muspy as ours
from bench.music.midi import read_midi
from bench.plugins.discovery import get_plugin, load

from .aims import performances, reach, yardstick_seconds

pytestmark = pytest.mark.perf

FILES = 100


@cache
def chorales() -> Sequence[Notes]:
    splits = load(get_plugin("dataset", "chorales"))().load(None, lambda done, total, what: None)
    return [piece.notes for piece in (*splits.test, *splits.train)][:FILES]


def maestro() -> Sequence[Notes]:
    return [read_midi(file) for file in performances(FILES)[:FILES]]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(*works: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of each, after a round that doesn't count."""
    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


@pytest.mark.parametrize(("read", "rounds", "floor"), [(chorales, 7, 6), (maestro, 3, 20)], ids=["chorales", "maestro"])
def test_ten_descriptors_against_muspy(
    benchmark: Callable[..., object], read: Callable[[], Sequence[Notes]], rounds: int, floor: float
) -> None:
    """At least 20 times as fast on 100 whole files.

    Theirs is MuSpy's ten functions on its own objects, which are made beforehand. Ours is all 14 columns, from seconds: the
    grid is a part of the time.
    """
    theirs = pytest.importorskip("muspy", reason="needs MuSpy, which is in midibench[perf]")
    files = read()
    assert len(files) == FILES

    def music(notes: Notes) -> Any:
        onset, end = ours.quantised(notes)
        columns = zip(onset.tolist(), notes.pitch.tolist(), (end - onset).tolist(), notes.velocity.tolist(), strict=True)
        track = theirs.Track(notes=[theirs.Note(time=t, pitch=p, duration=d, velocity=v) for t, p, d, v in columns])
        return theirs.Music(resolution=ours.BEAT, tracks=[track])

    ten = (
        theirs.pitch_range,
        theirs.n_pitches_used,
        theirs.n_pitch_classes_used,
        theirs.polyphony,
        theirs.polyphony_rate,
        theirs.scale_consistency,
        theirs.pitch_entropy,
        theirs.pitch_class_entropy,
        theirs.empty_beat_rate,
        lambda piece: theirs.groove_consistency(piece, ours.BAR),
    )
    made = [music(notes) for notes in files]

    def all_of_ours() -> object:
        return [ours.evaluate(notes, notes) for notes in files]

    slow, fast = alternate(lambda: [[f(piece) for f in ten] for piece in made], all_of_ours, rounds=rounds)
    benchmark.pedantic(all_of_ours, rounds=3)  # type: ignore[attr-defined]
    length = statistics.mean(map(len, files))
    benchmark.extra_info.update(times_muspy=slow / fast, files=len(files), notes_a_file=length)  # type: ignore[attr-defined]
    print(
        f"\n{len(files)} files, {length:.0f} notes each: {1000 * fast / len(files):.2f} ms a file, {slow / fast:.1f} times MuSpy"
    )
    reach(slow / fast, 20, floor=floor, short="a file of few notes costs the same calls of NumPy as a long one")


def test_a_sample_costs_little(benchmark: Callable[..., object]) -> None:
    """Every metric of a sample of 200 notes and its target: less than 3 yardstick-ms, as a run scores thousands."""
    files = [notes[:200] for notes in chorales() if len(notes) >= 200]

    def work() -> object:
        return evaluate_samples(files[1:], files[:-1], prompts=files[:-1])

    work()
    took = yardstick_seconds(min(seconds(work) for _ in range(5))) / (len(files) - 1)
    benchmark.pedantic(work, rounds=3)  # type: ignore[attr-defined]
    benchmark.extra_info["ms_a_sample"] = 1000 * took  # type: ignore[attr-defined]
    print(f"\n{1000 * took:.2f} ms a sample")
    assert took < 3e-3
