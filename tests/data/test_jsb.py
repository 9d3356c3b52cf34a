"""jsb: the file of published tables, and a small one made here in its place."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from bench.errors import DataError

from .conftest import dataset_class, dataset_module
from .servers import HTML, Server

Jsb = dataset_class("jsb")
Quiet = Callable[[int, int, str], None]
NAME = "JSB_Chorales.mat"


def cells(*pieces: list[list[int]]) -> np.ndarray:
    """A cell array of pieces, each a list of frames, each the keys that sound."""
    array = np.empty((1, len(pieces)), object)
    for i, frames in enumerate(pieces):
        array[0, i] = np.zeros((len(frames), 88), np.uint8)
        for t, keys in enumerate(frames):
            array[0, i][t, keys] = 1
    return array


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file of four pieces; its checksum stands for that of the published one."""
    file = io.BytesIO()
    pieces = [[39, 43, 46], [39], [], [87]], [[0]], [[51], [51]], [[1, 2], [3]]
    train, more, valid, test = pieces
    savemat(file, {"traindata": cells(train, more), "validdata": cells(valid), "testdata": cells(test)}, do_compression=True)
    monkeypatch.setattr(dataset_module("jsb"), "SHA256", hashlib.sha256(file.getvalue()).hexdigest())
    return file.getvalue()


def test_fetch_find_verify_and_load(small: bytes, server: Server, tmp_path: Path, quiet: Quiet) -> None:
    dataset = Jsb(url=server.put(f"raw/{NAME}", small))
    assert dataset.find([tmp_path]) is None
    dataset.fetch(tmp_path / "downloads" / "jsb", quiet)
    source = dataset.find([tmp_path])
    assert source == tmp_path / "downloads" / "jsb" == dataset.find([source])
    assert dataset.verify(source, quiet).compared == 1
    assert not dataset.verify(source, quiet).differences
    splits = dataset.load(source, quiet)
    assert [piece.id for piece in splits.train] == ["train-000", "train-001"]
    assert (len(splits.validation), len(splits.test)) == (1, 1)
    dataset.fetch(source, quiet)
    assert len(server.asked) == 1, "what is there isn't downloaded again"


def test_a_note_for_each_key_and_frame(small: bytes, tmp_path: Path, quiet: Quiet) -> None:
    (tmp_path / NAME).write_bytes(small)
    notes = Jsb().load(tmp_path, quiet).train[0].notes
    assert notes.pitch.tolist() == [60, 64, 67, 60, 108]
    assert notes.onset.tolist() == [0, 0, 0, 0.5, 1.5], "the third frame is silent"
    assert set(notes.duration) == {0.5}
    assert set(notes.velocity) == {64}


def test_another_file_is_refused_before_it_is_parsed(
    small: bytes, server: Server, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scipy.io.loadmat", lambda *args, **options: pytest.fail("it was parsed"))
    with pytest.raises(DataError, match="is not the expected file"):
        Jsb(url=server.put(NAME, HTML)).fetch(tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []
    for other in (HTML, b"", small + b"\0", small[:-1]):
        (tmp_path / NAME).write_bytes(other)
        assert "sha256 expected" in Jsb().verify(tmp_path, quiet).differences[0]
        for use in (Jsb().fingerprint, lambda source: Jsb().load(source, quiet)):
            with pytest.raises(DataError, match="is not the published file"):
                use(tmp_path)
    server.put(NAME, small)
    Jsb(url=server.url + NAME).fetch(tmp_path, quiet)
    assert (tmp_path / NAME).read_bytes() == small


def test_without_the_file(tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(DataError, match="was not found"):
        Jsb().load(None, quiet)
    with pytest.raises(DataError, match="can't be read"):
        Jsb().load(tmp_path, quiet)
    assert Jsb().verify(tmp_path, quiet).differences == (f"{NAME}: missing",)


def test_the_published_file(quiet: Quiet) -> None:
    source = Jsb().find([Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p])
    if source is None:
        pytest.skip("needs the published file in $BENCH_DATA")
    splits = Jsb().load(source, quiet)
    pieces = splits.train, splits.validation, splits.test
    assert [len(part) for part in pieces] == [229, 76, 77]
    # Frames from the first onset to the last end: no piece begins or ends in silence, so that notes hold all frames.
    frames = [[(p.notes.onset[-1] + 0.5 - p.notes.onset[0]) / 0.5 for p in part] for part in pieces]
    assert [sum(part) for part in frames] == [13807, 4602, 4725]
    assert sum(count - 1 for count in frames[2]) == 4648, "predictions, as in the published table"
    assert {float(p.notes.onset[0]) for part in pieces for p in part} == {0.0}
    pitch = np.concatenate([p.notes.pitch for part in pieces for p in part])
    assert (pitch.min(), pitch.max()) == (43, 96)
    assert splits.test[0].notes.pitch[:8].tolist() == [72, 76, 79, 84, 72, 76, 79, 84], "a chord of C, where 21 is the lowest key"
