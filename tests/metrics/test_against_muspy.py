"""Our descriptors against MuSpy 0.5.0 on real music, and each intended difference by hand for both.

MuSpy gets the notes of the same grid. Where our definition differs, it gets the notes that make its own rule say the same, so
that our rule too is compared on every file; without that change the two differ on some files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api import Notes
from bench.metrics import Undefined, Value
from bench.metrics import muspy as ours
from bench.metrics.spread import evaluate as pitch_columns
from bench.music.midi import read_midi
from bench.plugins.discovery import get_plugin, load

theirs = pytest.importorskip("muspy", reason="needs MuSpy, which is in midibench[test]")

#: MuSpy as it stands, on the same notes.
SAME: dict[str, Callable[[Any], float]] = {
    "pitch_range": theirs.pitch_range,
    "unique_pitch_classes": theirs.n_pitch_classes_used,
    "pitch_entropy": theirs.pitch_entropy,
    "pitch_class_entropy": theirs.pitch_class_entropy,
    "scale_consistency": theirs.scale_consistency,
    "polyphony": theirs.polyphony,
    "muspy_polyphony_rate": theirs.polyphony_rate,
    "muspy_empty_beat_rate": theirs.empty_beat_rate,
    "muspy_empty_measure_rate": lambda music: theirs.empty_measure_rate(music, ours.BAR),
    "muspy_groove_consistency": lambda music: theirs.groove_consistency(music, ours.BAR),
}

#: Ours to MuSpy's on the same onsets and these ends: the last step of a note instead of the one after it, or its onset.
ADJUSTED: dict[str, Callable[[Notes], float]] = {
    "polyphony_rate": lambda notes: theirs.polyphony_rate(music(notes), threshold=1),
    "empty_beat_rate": lambda notes: theirs.empty_beat_rate(music(notes, "last step")),
    "empty_measure_rate": lambda notes: theirs.empty_measure_rate(music(notes, "last step"), ours.BAR),
    "groove_consistency": lambda notes: theirs.groove_consistency(music(notes, "onset"), ours.BAR),
}


def music(notes: Notes, ends: str = "end") -> Any:
    """A MuSpy object of the notes as our grid has them."""
    onset, end = ours.quantised(notes)
    end = {"end": end, "last step": end - 1, "onset": onset}[ends]
    columns = zip(onset.tolist(), notes.pitch.tolist(), (end - onset).tolist(), notes.velocity.tolist(), strict=True)
    track = theirs.Track(notes=[theirs.Note(time=t, pitch=p, duration=d, velocity=v) for t, p, d, v in columns])
    return theirs.Music(resolution=ours.BEAT, tracks=[track])


def agree(found: Value, expected: float) -> bool:
    """To 1e-9; what is undefined here is NaN there."""
    return math.isnan(expected) if isinstance(found, Undefined) else abs(found - expected) <= 1e-9


def maestro() -> list[Path]:
    roots = [Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p]
    return sorted(f for root in roots for f in root.rglob("*.midi"))


@pytest.fixture(scope="module")
def files() -> Sequence[Notes]:
    """Chorales whole; of MAESTRO, if it is here, the length of a sample from the beginning of a file."""
    splits = load(get_plugin("dataset", "chorales"))(limit=60).load(None, lambda done, total, what: None)
    performed = [read_midi(f)[:300] for f in maestro()[:25]]
    return [p.notes for p in (*splits.train, *splits.validation, *splits.test)] + performed


def test_equal_where_we_mean_the_same(files: Sequence[Notes]) -> None:
    assert len(files) >= 50
    for notes in files:
        found, expected = ours.evaluate(notes, notes), music(notes)
        assert [name for name, function in SAME.items() if not agree(found[name], function(expected))] == []
        assert pitch_columns(notes, notes)["unique_pitches"] == theirs.n_pitches_used(expected)


def test_our_own_rules_are_theirs_on_adjusted_notes(files: Sequence[Notes]) -> None:
    for notes in files:
        found = ours.evaluate(notes, notes)
        assert [name for name, function in ADJUSTED.items() if not agree(found[name], function(notes))] == []


def test_the_odd_rules_change_real_numbers(files: Sequence[Notes]) -> None:
    """Otherwise there would be no reason for a second column. No bar of a chorale is empty: that rule is tested by hand only."""
    found = [ours.evaluate(notes, notes) for notes in files]
    differ = {name for name in ADJUSTED if any(f[name] != f[f"muspy_{name}"] for f in found)}
    assert differ >= {"polyphony_rate", "empty_beat_rate", "groove_consistency"}


def test_every_column_is_compared() -> None:
    assert {m.name for m in ours.METRICS} == SAME.keys() | ADJUSTED.keys()


# ---- intended differences: notes in beats of 0.5 s, our value, MuSpy's


def beats(*rows: tuple[float, float, int]) -> Notes:
    onset, duration, pitch = (np.array(c) for c in zip(*rows, strict=True))
    return Notes.from_columns(onset / 2, duration / 2, pitch, [80] * len(rows))


@pytest.mark.parametrize(
    ("name", "notes", "our_value", "muspy_value"),
    [
        # Two pitches together are no polyphony to MuSpy, three are.
        ("polyphony_rate", beats((0, 1, 60), (0, 1, 64)), 1.0, 0.0),
        ("polyphony_rate", beats((0, 2, 60), (0, 2, 64), (1, 1, 67)), 1.0, 0.5),
        # Beats 0 and 2 of three sound. MuSpy: the first note reaches into beat 1, the second into a beat 3.
        ("empty_beat_rate", beats((0, 1, 60), (2, 1, 60)), 1 / 3, 0.0),
        # Beats 0 and 4 of five. MuSpy: 0, 1, 4 and 5 of six.
        ("empty_beat_rate", beats((0, 1, 60), (4, 1, 60)), 3 / 5, 2 / 6),
        # Bars 0 and 3 of four. MuSpy: 0, 1, 3 and 4 of five.
        ("empty_measure_rate", beats((0, 4, 60), (12, 4, 60)), 2 / 4, 1 / 5),
        # Two equal bars; the last note ends with the second, and MuSpy has a third that is empty: 2 steps of 192 differ.
        ("groove_consistency", beats((0, 1, 60), (2, 1, 60), (4, 1, 60), (6, 2, 60)), 1.0, 1 - 2 / 192),
        # A last note held over two more bars, which MuSpy compares too: 1 step of 3 * 96 differs.
        ("groove_consistency", beats((0, 1, 60), (4, 11, 60)), 1.0, 1 - 1 / 288),
        # One bar is no pair.
        ("groove_consistency", beats((0, 4, 60)), Undefined("less than two bars of 2 s"), 1 - 1 / 96),
    ],
)
def test_intended_differences(name: str, notes: Notes, our_value: Value, muspy_value: float) -> None:
    found = ours.evaluate(notes, notes)
    assert found[name] == (our_value if isinstance(our_value, Undefined) else pytest.approx(our_value, abs=1e-12))
    assert found[f"muspy_{name}"] == pytest.approx(muspy_value, abs=1e-12)
    assert SAME[f"muspy_{name}"](music(notes)) == pytest.approx(muspy_value, abs=1e-12)


def test_empty_music() -> None:
    """MuSpy raises without tracks, gives NaN for most of an empty track and 0 for its range; ours is undefined, with a reason."""
    nothing = Notes.from_columns([], [], [], [])
    assert set(ours.evaluate(nothing, nothing).values()) == {Undefined("no notes")}
    with pytest.raises(ValueError, match="empty"):
        theirs.polyphony(theirs.Music())
    silent = theirs.Music(resolution=ours.BEAT, tracks=[theirs.Track()])
    given = {name: function(silent) for name, function in SAME.items()}
    assert {name for name, value in given.items() if math.isnan(value)} == SAME.keys() - {"pitch_range", "unique_pitch_classes"}
    assert given["pitch_range"] == given["unique_pitch_classes"] == 0
