"""Keys: against music21 on real chorales, and scales by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Notes
from bench.metrics.keys import CLASSES, correlations, find_key, in_scale
from bench.music.harmony.theory import find_key as by_music21
from bench.plugins.discovery import get_plugin, load

from .chords import music, transposed


@pytest.fixture(scope="module")
def chorales() -> Sequence[Notes]:
    splits = load(get_plugin("dataset", "chorales"))().load(None, lambda done, total, what: None)
    return [piece.notes for piece in splits.test]


@pytest.mark.parametrize("notes", [32, 128])
def test_chorales_are_in_music21s_key(chorales: Sequence[Notes], notes: int) -> None:
    from music21 import pitch

    assert len(chorales) > 50
    for piece in chorales:
        tonic, mode = by_music21([piece[:notes]]).split()
        assert find_key(piece[:notes]) == (pitch.Pitch(tonic).pitchClass, mode)


@given(music(), st.integers(-40, 39))
def test_a_transposed_piece_fits_the_transposed_keys(notes: Notes, by: int) -> None:
    before, after = (correlations(n).reshape(2, CLASSES) for n in (notes, transposed(notes, by)))
    assert after.tolist() == pytest.approx(np.roll(before, by, axis=1), abs=1e-9)


def test_correlations_are_pearsons() -> None:
    scale = Notes.from_columns(range(7), [2, 1, 1, 1, 2, 1, 0.5], [60, 62, 64, 65, 67, 69, 71], [80] * 7)
    major = [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88]
    sounding = [2, 0, 1, 0, 1, 1, 0, 2, 0, 1, 0, 0.5]
    assert correlations(scale)[0] == pytest.approx(np.corrcoef(major, sounding)[0, 1])
    assert find_key(scale) == (0, "major")


def test_the_chromatic_scale_fits_no_key() -> None:
    assert correlations(Notes.from_columns(range(12), [1] * 12, range(60, 72), [80] * 12)).tolist() == [0.0] * 24


@pytest.mark.parametrize(
    ("key", "scale"),
    [
        ((0, "major"), {0, 2, 4, 5, 7, 9, 11}),
        ((9, "minor"), {9, 11, 0, 2, 4, 5, 7, 8}),  # a b c d e f g, and g sharp, which leads to a
        ((7, "major"), {7, 9, 11, 0, 2, 4, 6}),
    ],
)
def test_scales(key: tuple[int, str], scale: set[int]) -> None:
    for pitch in range(48, 72):
        assert in_scale(Notes.from_columns([0], [1], [pitch], [80]), key) == (pitch % 12 in scale)
