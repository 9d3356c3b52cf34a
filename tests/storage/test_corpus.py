"""bench.storage.corpus: one file a dataset."""

from __future__ import annotations

import json
import mmap
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.api import Piece, Skipped, Splits
from bench.errors import DataError
from bench.music.notes import COLUMNS, Notes
from bench.storage import corpus as corpus_module
from bench.storage.arrays import json_bytes
from bench.storage.columns import Mapped
from bench.storage.corpus import SPLITS, lengths, load_corpus, parsed_digest, save_corpus
from bench.system.disk import HEADER
from tests.data.servers import music
from tests.storage.sealed import edited

HOSTILE = (
    '"; DROP TABLE',
    "<script>alert(1)</script>",
    "nul \x00 and \ud800",
    "=1+1|x\n\r\t",
    "音楽 é́ 🎹",
    "../../etc/passwd",
    "",
)


def splits() -> Splits:
    pieces = [Piece(music(i, 5 + i), f"id{i}", title, title, title, "ab" * 32, title) for i, title in enumerate(HOSTILE)]
    empty = Piece(Notes.from_columns([], [], [], []), "empty")
    skipped, remarks = (Skipped("a\x00b", "<b>"),), ("one", HOSTILE[2])
    split = (tuple(pieces[:4]), tuple(pieces[4:5]), (*pieces[5:], empty))
    return Splits(*split, skipped, remarks, noise={"velocity": 2.5}, samples=(Piece(music(9, 7), "sample"),))


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    save_corpus(tmp_path / "new" / "corpus.npy", splits(), "finger")
    return tmp_path / "new" / "corpus.npy"


def test_round_trip(corpus_file: Path) -> None:
    before, after = splits(), load_corpus(corpus_file)
    for name in ("train", "validation", "test", "samples"):
        assert tuple(getattr(after, name)) == getattr(before, name)
    for name in ("skipped", "remarks", "entropy", "noise"):
        assert getattr(after, name) == getattr(before, name)
    assert after.parsed == parsed_digest((*before.train, *before.validation, *before.test))
    assert after.fingerprint == "finger"
    assert after.train[0].notes.onset.dtype == np.float64
    assert [p.name for p in corpus_file.parent.iterdir()] == ["corpus.npy"]


def test_nothing_is_written_that_could_not_be_read(corpus_file: Path) -> None:
    """A plug-in can make notes past the checks."""
    before = corpus_file.read_bytes()
    notes = Notes._checked(np.zeros(1), np.full(1, 4.5e9), np.full(1, 60, np.uint8), np.full(1, 80, np.uint8))
    with pytest.raises(DataError, match=r"'long': Notes\.duration must be above 0 s and below 100,000 s"):
        save_corpus(corpus_file, Splits((Piece(music(1, 5), "one"), Piece(notes, "long")), (), ()), "x")
    assert corpus_file.read_bytes() == before


def test_no_pieces(tmp_path: Path) -> None:
    save_corpus(tmp_path / "c.npy", Splits((), (), ()), "x")
    assert load_corpus(tmp_path / "c.npy").train[:] == ()


def test_pieces_are_views_of_the_file(corpus_file: Path) -> None:
    corpus = load_corpus(corpus_file)
    for piece in (corpus.train[0], corpus.test[-2], *corpus.samples):
        for column in (getattr(piece.notes, name) for name in COLUMNS):
            while isinstance(column, np.ndarray):
                assert not column.flags.writeable
                assert column.flags.aligned
                column = column.base
            assert isinstance(column.obj, mmap.mmap)


def test_pieces_are_a_sequence(corpus_file: Path) -> None:
    train = load_corpus(corpus_file).train
    assert [piece.id for piece in train[1:3]] == ["id1", "id2"]
    assert train[-1] == splits().train[-1]
    assert lengths(train) == lengths(splits().train) == [5, 6, 7, 8]
    with pytest.raises(IndexError):
        train[4]


def test_numpy_reads_the_file(corpus_file: Path) -> None:
    """As the module's documentation says."""
    with corpus_file.open("rb") as file:
        file.seek(HEADER)
        arrays = [np.load(file) for _ in range(15)]
        assert file.read() == b""
    names = json.loads(arrays[-1].tobytes())
    assert (
        arrays[names.index("pitch")].tolist()
        == np.concatenate([piece.notes.pitch for name in SPLITS for piece in getattr(splits(), name)]).tolist()
    )


def test_a_part_of_the_columns_is_checked_at_a_time(corpus_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parts of a few notes the file is the same, and each fault is found, also at the border of a part."""
    whole = corpus_file.read_bytes()
    monkeypatch.setattr(corpus_module, "_AT_ONCE", 7)
    save_corpus(corpus_file, splits(), "finger")
    assert corpus_file.read_bytes() == whole
    assert [len(piece.notes) for piece in load_corpus(corpus_file).train] == [5, 6, 7, 8]
    number = sum(lengths([piece for name in SPLITS for piece in getattr(splits(), name)]))
    for at in range(number):
        damage(corpus_file, "velocity", at, 0)
        with pytest.raises(DataError, match="velocity"):
            load_corpus(corpus_file)
        corpus_file.write_bytes(whole)


def test_unknown_format_is_refused_in_words(corpus_file: Path) -> None:
    with edited(corpus_file) as file:
        file["format"][0] = 99
    with pytest.raises(DataError, match=r"corpus.npy.*format 99, this version reads format 7") as error:
        load_corpus(corpus_file)
    assert "Delete" in error.value.hint


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_truncated_file(corpus_file: Path, share: float) -> None:
    raw = corpus_file.read_bytes()
    corpus_file.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(DataError, match=r"corpus\.npy") as error:
        load_corpus(corpus_file)
    assert "Delete" in error.value.hint


def damage(path: Path, name: str, index: int, value: float) -> None:
    with edited(path) as file:
        file[name][index] = value


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("onset", 2, 1e5),
        ("onset", 1, np.nan),
        ("duration", 3, -1.0),
        ("pitch", 0, 200),
        ("velocity", 0, 0),
        ("offsets", -1, 7),
        ("offsets", -1, 10_000),
        ("offsets", 2, 0),
        ("splits", 0, 9),
        ("splits", 1, -1),
    ],
)
def test_damaged_values(corpus_file: Path, name: str, index: int, value: float) -> None:
    damage(corpus_file, name, index, value)
    with pytest.raises(DataError, match=r"corpus\.npy"):
        load_corpus(corpus_file)


def test_missing_part_and_missing_file(corpus_file: Path) -> None:
    with edited(corpus_file) as file:
        del file["pieces"]
    with pytest.raises(DataError, match="damaged"):
        load_corpus(corpus_file)
    with pytest.raises(DataError, match="no corpus"):
        load_corpus(corpus_file.with_name("other.npy"))


def test_a_reader_of_the_old_file_is_not_disturbed(corpus_file: Path) -> None:
    with corpus_file.open("rb") as old:
        before = corpus_file.read_bytes()
        save_corpus(corpus_file, Splits((), (), ()), "new")
        assert old.read() == before
    assert load_corpus(corpus_file).fingerprint == "new"


def test_a_failed_write_leaves_the_old_file(corpus_file: Path) -> None:
    broken = Splits((Piece(music(0), "x", sha256=b"bytes are not JSON"),), (), ())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        save_corpus(corpus_file, broken, "new")
    assert load_corpus(corpus_file).fingerprint == "finger"
    assert [p.name for p in corpus_file.parent.iterdir()] == ["corpus.npy"]


def test_a_folder_of_its_name_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "corpus.npy" / "inside").mkdir(parents=True)
    save_corpus(tmp_path / "corpus.npy", splits(), "finger")
    assert load_corpus(tmp_path / "corpus.npy").fingerprint == "finger"
    assert (tmp_path / "corpus.npy.bad" / "inside").is_dir()


def test_facts_that_could_not_be_read_again_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand files in long paths: such a corpus was written, and refused as damaged at each start."""
    save_corpus(tmp_path / "corpus.npy", splits(), "finger")
    columns = Mapped(tmp_path / "corpus.npy", 1 << 20).arrays
    size = max(len(columns["pieces"]), len(columns["skipped"]))
    monkeypatch.setattr("bench.storage.corpus.json_bytes", partial(json_bytes, limit=size))
    save_corpus(tmp_path / "corpus.npy", splits(), "as large as it may be")
    monkeypatch.setattr("bench.storage.corpus.json_bytes", partial(json_bytes, limit=size - 1))
    with pytest.raises(DataError, match=f"it has {size:,} bytes, and may have {size - 1:,} at most") as refused:
        save_corpus(tmp_path / "corpus.npy", splits(), "too large")
    assert refused.value.hint == "Use fewer files, or shorter paths."
    monkeypatch.undo()
    assert load_corpus(tmp_path / "corpus.npy").fingerprint == "as large as it may be"
