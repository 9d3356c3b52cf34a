"""What every dataset plug-in must do. `-k chorales` selects one; one whose files aren't here is skipped.

``$BENCH_DATA`` names the folders that may hold them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api import Notes, Piece, Splits, midi_bytes
from bench.plugins.discovery import find_plugins, load
from bench.plugins.header import Plugin
from bench.system.paths import user_folders

#: Selections at which a test takes seconds.
TINY: dict[str, dict[str, Any]] = {
    "adl": {"limit": 6},
    "chorales": {"limit": 24},
    "maestro": {"limit": 6},
    "pop909": {"limit": 6},
}

PLUGINS = find_plugins("dataset", user_folders())


def nothing(done: int, total: int, what: str) -> None:
    """Progress that nobody watches."""


class Case:
    """A dataset plug-in and where its files are."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.params = TINY.get(plugin.name, {})

    def make(self) -> Any:
        return load(self.plugin)(**self.params)

    def source(self, roots: list[Path]) -> Path | None:
        if self.plugin.header["NEEDS"] == "nothing":
            return None
        found: Path | None = self.make().find(roots)
        if found is None:
            pytest.skip(f"the files of {self.plugin.name} aren't here; BENCH_DATA can name the folder that holds them")
        return found

    @functools.cache  # noqa: B019
    def splits(self, source: Path | None) -> Splits:
        loaded: Splits = self.make().load(source, nothing)
        return loaded


@pytest.fixture(params=[pytest.param(Case(p), id=name) for name, p in PLUGINS.items()])
def case(request: pytest.FixtureRequest) -> Case:
    given: Case = request.param
    return given


@pytest.fixture(scope="session")
def midi_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve files for a dataset that takes any folder."""
    folder = tmp_path_factory.mktemp("midi")
    for i in range(12):
        rng = np.random.default_rng(i)
        notes = Notes.from_columns(np.arange(80) * 0.25, np.full(80, 0.2), rng.integers(40, 90, 80), rng.integers(30, 100, 80))
        (folder / f"{i:02}.mid").write_bytes(midi_bytes(notes))
    return folder


@pytest.fixture
def source(case: Case, midi_folder: Path) -> Path | None:
    named = [Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p]
    return case.source([midi_folder] if case.plugin.header["NEEDS"] == "folder" else named)


def pieces(splits: Splits) -> Iterator[Piece]:
    yield from (*splits.train, *splits.validation, *splits.test)


def test_header_says_what_it_is(case: Case) -> None:
    header = case.plugin.header
    assert case.plugin.summary.endswith("."), "the first docstring line is shown by `bench list`"
    assert header["TITLE"].strip()
    assert header["LICENSE"].strip()
    assert header["NEEDS"] in ("nothing", "download", "folder")
    made = load(case.plugin)
    assert header["NEEDS"] == "nothing" or callable(made.find)
    assert header["NEEDS"] != "download" or (callable(made.fetch) and callable(made.verify))


def test_fingerprint_is_stable(case: Case, source: Path | None) -> None:
    first = case.make().fingerprint(source)
    assert first
    assert case.make().fingerprint(source) == first


def test_fingerprint_knows_the_selection(case: Case, source: Path | None) -> None:
    if "limit" not in case.plugin.parameters:
        pytest.skip("it has no selection by number")
    more = load(case.plugin)(**case.params | {"limit": 9}).fingerprint(source)
    assert more != case.make().fingerprint(source)


def test_splits_are_disjoint_and_none_is_empty(case: Case, source: Path | None) -> None:
    splits = case.splits(source)
    ids = [piece.id for piece in pieces(splits)]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert splits.train
    assert splits.test


def test_pieces_hold_music(case: Case, source: Path | None) -> None:
    for piece in pieces(case.splits(source)):
        assert isinstance(piece.notes, Notes)  # whose columns are checked when it is made
        assert len(piece.notes) > 0, piece.id
        assert piece.notes.duration.max() < 600, "seconds, not ticks"


def test_loading_again_gives_the_same_music(case: Case, source: Path | None) -> None:
    first, again = case.splits(source), case.make().load(source, nothing)
    assert [p.id for p in pieces(first)] == [p.id for p in pieces(again)]
    assert all(a.notes == b.notes for a, b in zip(pieces(first), pieces(again), strict=True))


def test_what_was_left_out_has_a_reason(case: Case, source: Path | None) -> None:
    assert all(skipped.source and skipped.reason for skipped in case.splits(source).skipped)


def test_remarks_are_sentences_for_the_report(case: Case, source: Path | None) -> None:
    assert all(isinstance(remark, str) and remark.strip() for remark in case.splits(source).remarks)
