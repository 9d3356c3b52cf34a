"""The optional Frechet Music Distance: what is said where the package or its weights are missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.api import Notes
from bench.errors import DataError, UsageError
from bench.metrics.music_frechet import PACKAGE, frechet_music_distance


def piece(seed: int) -> Notes:
    rng = np.random.default_rng(seed)
    return Notes.from_columns(np.cumsum(rng.exponential(0.2, 20)), np.full(20, 0.3), rng.integers(50, 70, 20), np.full(20, 64))


PIECES = [piece(seed) for seed in range(3)]


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is not None, reason="the package is installed")
def test_without_the_package_the_error_says_what_to_install() -> None:
    with pytest.raises(UsageError, match="needs the package frechet-music-distance, which is not installed") as caught:
        frechet_music_distance(PIECES, PIECES)
    assert "pip install 'midibench[fmd]'" in caught.value.hint


def package(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package of that name before every other."""
    (folder / f"{PACKAGE}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)


def test_weights_that_cannot_be_fetched_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable = """
class FrechetMusicDistance:
    def __init__(self, verbose):
        print("Error downloading the file")
        raise OSError("We couldn't connect to 'https://huggingface.co'\\nand more")
"""
    package(tmp_path, unreachable, monkeypatch)
    with pytest.raises(DataError, match=r"can't be loaded: We couldn't connect to 'https://huggingface.co'\n") as caught:
        frechet_music_distance(PIECES, PIECES)
    assert "sander-wood/clamp2 and FacebookAI/xlm-roberta-base" in caught.value.hint


def test_a_broken_installation_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "import a_package_that_is_not_there", monkeypatch)
    with pytest.raises(UsageError, match="can't be imported: No module named 'a_package_that_is_not_there'"):
        frechet_music_distance(PIECES, PIECES)


def test_the_package_is_given_both_sets_as_midi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    counting = """
class FrechetMusicDistance:
    def __init__(self, verbose):
        assert not verbose
    def score(self, reference_path, test_path):
        print("a progress bar")
        real, generated = (sorted(p.glob("*.mid")) for p in (reference_path, test_path))
        assert all(p.read_bytes().startswith(b"MThd") for p in (*real, *generated))
        return 100 * len(real) + len(generated)
"""
    package(tmp_path, counting, monkeypatch)
    assert frechet_music_distance(PIECES[:2], PIECES) == 302.0
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("generated", [[], PIECES[:1], [PIECES[0], PIECES[0][:0]]])
def test_too_little_music_is_refused(generated: list[Notes]) -> None:
    with pytest.raises(DataError, match="needs two samples or more, none of them empty"):
        frechet_music_distance(generated, PIECES)
