"""folder and mon2025."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import DataError
from bench.music.midi import midi_bytes, read_midi
from bench.runner.prepare import make_cache
from bench.storage.corpus import load_corpus, save_corpus

from .conftest import dataset_class, dataset_module
from .servers import HTML, Server, music

Folder = dataset_class("folder")
Mon = dataset_class("mon2025")
Quiet = Callable[[int, int, str], None]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "music"
    for i in range(30):
        path = root / f"sub {i % 3}" / f"{i}{'.MID' if i % 2 else '.midi'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(midi_bytes(music(i)))
    (root / "copy.mid").write_bytes(midi_bytes(music(0)))
    (root / "page.mid").write_bytes(HTML)
    (root / "notes.txt").write_text("no music")
    return root


def where(splits: object) -> dict[str, str]:
    return {p.sha256: s for s in ("train", "validation", "test") for p in getattr(splits, s)}


def test_folder(files: Path, quiet: Quiet) -> None:
    splits = Folder().load(files, quiet)
    assert len(where(splits)) == 30
    reasons = {s.source: s.reason for s in splits.skipped}
    assert set(reasons) == {"sub 0/0.midi", "page.mid"}
    assert reasons["sub 0/0.midi"] == "the same file as copy.mid"
    assert min(len(splits.train), len(splits.validation), len(splits.test)) >= 1
    assert len(splits.train) > 15


def test_the_split_follows_content_not_names(files: Path, quiet: Quiet) -> None:
    before = where(Folder().load(files, quiet))
    (files / "sub 1/1.MID").rename(files / "renamed.mid")
    (files / "sub 2/2.midi").unlink()
    (files / "new.mid").write_bytes(midi_bytes(music(500)))
    after = where(Folder().load(files, quiet))
    assert {k: after[k] for k in after if k in before} == {k: before[k] for k in after if k in before}
    assert len(after) == 30


def test_small_folder_fills_every_split(tmp_path: Path, quiet: Quiet) -> None:
    for i in range(3):
        (tmp_path / f"{i}.mid").write_bytes(midi_bytes(music(i)))
    splits = Folder(validation=0.0001, test=0.0001).load(tmp_path, quiet)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1, 1, 1)


def test_folders_that_are_named_as_splits_are_no_splits_and_it_is_said(tmp_path: Path, quiet: Quiet) -> None:
    """What another system learned from, in train/, was compared, without a word."""
    for i in range(6):
        (tmp_path / "all" / ("train", "Test", "other")[i % 3]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / ("train", "Test", "other")[i % 3] / f"{i}.mid").write_bytes(midi_bytes(music(i)))
    said = "The folders Test, train are not taken for splits: each file's split is by a hash of its content."
    assert said in Folder().load(tmp_path, quiet).remarks
    assert said not in Folder().load(tmp_path / "all" / "train", quiet).remarks


def test_folder_find(files: Path, tmp_path: Path) -> None:
    assert Folder().find([tmp_path / "none", files]) == files
    assert Folder(path=str(files)).find([]) == files
    assert Folder(path=str(tmp_path / "none")).find([files]) is None


def test_folder_fingerprint(files: Path) -> None:
    before = Folder().fingerprint(files)
    assert Folder().fingerprint(files) == before
    assert Folder(minimum_notes=10).fingerprint(files) != before
    (files / "copy.mid").unlink()
    assert Folder().fingerprint(files) != before


def test_folder_does_not_learn_from_what_the_suite_writes(files: Path, quiet: Quiet) -> None:
    """Three runs below the folder of music, as with `--data .`: the same corpus each time."""
    before, prints = where(Folder().load(files, quiet)), Folder().fingerprint(files)
    for i in range(3):
        run = files / "reports" / "runs" / f"table2-{i}"
        for place in (run / "midi", run / "trials" / "x" / "midi", files / "cache" / "downloads", files / "reports" / ".cache"):
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.mid").write_bytes(midi_bytes(music(900 + i)))
        (run / "run.json").write_text("{}")
        make_cache(files / "cache")
        assert where(Folder().load(files, quiet)) == before
        assert Folder().fingerprint(files) == prints
    # A folder that is named itself is read, whatever it is.
    assert len(where(Folder().load(files / "cache" / "downloads", quiet))) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(files: Path, quiet: Quiet) -> None:
    (files / "page.mid").chmod(0)
    assert any("can't be read" in s.reason for s in Folder().load(files, quiet).skipped)


def test_folder_mistakes(tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(DataError, match="no MIDI file"):
        Folder().load(tmp_path, quiet)
    with pytest.raises(DataError, match="no folder was given"):
        Folder().load(None, quiet)
    with pytest.raises(DataError, match="leave nothing to train on"):
        Folder(validation=0.5, test=0.5)


@pytest.fixture
def ten(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Ten files in the place of the paper's, which can't be committed; their checksums replace the known ones."""
    module = dataset_module("mon2025")
    bodies = {name: midi_bytes(music(i)) for i, name in enumerate(module.CHECKSUMS)}
    monkeypatch.setattr(module, "CHECKSUMS", {n: hashlib.sha256(b).hexdigest() for n, b in bodies.items()})
    monkeypatch.setattr(module, "SAMPLE_CHECKSUM", hashlib.sha256(midi_bytes(music(77))).hexdigest())
    return bodies


def test_mon2025(ten: dict[str, bytes], server: Server, tmp_path: Path, quiet: Quiet) -> None:
    for name, body in ten.items():
        server.put(f"music_midi/{name}", body)
    server.put("generated_music.mid", midi_bytes(music(77)))
    dataset = Mon(url=server.url + "music_midi/")
    assert dataset.find([tmp_path]) is None
    dataset.fetch(tmp_path / "mon2025" / "music_midi", quiet)
    source = dataset.find([tmp_path])
    assert source == tmp_path / "mon2025" / "music_midi"
    splits = dataset.load(source, quiet)
    assert [p.title for p in splits.test] == ["The Day We Find Love", "Youre Beautiful"]
    assert [p.title for p in splits.validation] == ["Spark"]
    assert len(splits.train) == 7
    assert [len(piece.notes) for piece in splits.samples] == [len(music(77))]
    asked = len(server.asked)
    (source / "Spark.mid").unlink()
    (source / "Beautiful.mid").write_bytes(b"other")
    assert len(dataset.verify(source, quiet).differences) == 2
    dataset.fetch(source, quiet)
    assert server.paths()[asked:] == ["music_midi/Beautiful.mid", "music_midi/Spark.mid"]


def test_mon2025_without_a_split_is_for_folds(ten: dict[str, bytes], tmp_path: Path, quiet: Quiet) -> None:
    for name, body in ten.items():
        (tmp_path / name).write_bytes(body)
    splits = Mon(holdout=0).load(tmp_path, quiet)
    assert (len(splits.train), splits.validation, splits.test, splits.remarks) == (10, (), (), ())
    assert Mon(holdout=0).fingerprint(tmp_path) != Mon().fingerprint(tmp_path)


def test_mon2025_takes_the_authors_sample_from_the_folder_above_and_no_other(
    ten: dict[str, bytes], tmp_path: Path, quiet: Quiet
) -> None:
    folder, sample = tmp_path / "music_midi", tmp_path / "generated_music.mid"
    folder.mkdir()
    for name, body in ten.items():
        (folder / name).write_bytes(body)
    without = Mon().fingerprint(folder)
    assert Mon().load(folder, quiet).samples == ()
    sample.write_bytes(midi_bytes(music(78)))
    assert Mon().load(folder, quiet).samples == ()
    sample.write_bytes(midi_bytes(music(77)))
    assert [piece.id for piece in Mon().load(folder, quiet).samples] == ["generated_music.mid"]
    assert Mon().fingerprint(folder) != without


def test_mon2025_hashes_no_sparse_file_in_place_of_the_sample(ten: dict[str, bytes], tmp_path: Path, quiet: Quiet) -> None:
    for name, content in ten.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "generated_music.mid").open("wb") as file:
        file.truncate(1 << 41)
    assert Mon().load(tmp_path, quiet).samples == ()


def test_mon2025_refuses_other_files(ten: dict[str, bytes], tmp_path: Path, quiet: Quiet) -> None:
    for name, body in ten.items():
        (tmp_path / name).write_bytes(body)
    (tmp_path / "Spark.mid").write_bytes(midi_bytes(music(99)))
    with pytest.raises(DataError, match=r"Spark\.mid: sha256 expected .*, got "):
        Mon().load(tmp_path, quiet)
    for wrong in (9, -1):
        with pytest.raises(DataError, match=f"holdout is {wrong}"):
            Mon(holdout=wrong)


def test_mon2025_real_files(quiet: Quiet) -> None:
    roots = [Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p]
    source = Mon().find(roots)
    if source is None:
        pytest.skip("needs the paper's files in $BENCH_DATA")
    splits = Mon(holdout=3).load(source, quiet)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 1, 3)
    assert splits.skipped == ()


@pytest.mark.parametrize("size", [5, 6, 7, 8, 0xFFFFFFFF])
def test_what_is_verified_can_be_read(tmp_path: Path, size: int) -> None:
    """A header of more than six bytes was verified, and then left out."""
    raw = midi_bytes(music(0))
    more = b"\0" * (size - 6) if 6 < size < 100 else b""
    path = tmp_path / "a.mid"
    path.write_bytes(raw[:4] + size.to_bytes(4, "big") + raw[8:14] + more + raw[14:])
    problem = dataset_module("folder", "_files").midi_file_problem(path)
    assert problem == ("" if size == 6 else "not a MIDI file")
    with pytest.raises(DataError) if problem else contextlib.nullcontext():
        read_midi(path)


def test_one_file_with_a_note_of_a_hundred_years_costs_itself(files: Path, tmp_path: Path, quiet: Quiet) -> None:
    endless = Path(__file__).parents[1] / "fuzz" / "corpus" / "midi" / "01-length-4.5e9-s"
    (files / "long.mid").write_bytes(endless.read_bytes())
    splits = Folder(minimum_notes=1).load(files, quiet)
    assert {s.source: s.reason for s in splits.skipped}["long.mid"].startswith("it has a note that begins after, or lasts")
    save_corpus(tmp_path / "c.npy", splits, "x")
    assert len(load_corpus(tmp_path / "c.npy").train) == len(splits.train)


def test_a_cache_is_tagged_and_no_file_of_the_user_becomes_a_tag(tmp_path: Path) -> None:
    make_cache(tmp_path / "cache")
    tag = tmp_path / "cache" / "CACHEDIR.TAG"
    whole = tag.read_bytes()
    for half in (b"", whole[:20]):  # as a kill leaves it
        tag.write_bytes(half)
        make_cache(tmp_path / "cache")
        assert tag.read_bytes() == whole
    tag.write_bytes(b"of the user")
    make_cache(tmp_path / "cache")
    assert tag.read_bytes() == b"of the user"
    (tmp_path / "mine").write_bytes(b"")
    tag.unlink()
    tag.symlink_to(tmp_path / "mine")
    make_cache(tmp_path / "cache")
    assert (tmp_path / "mine").read_bytes() == b""
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["CACHEDIR.TAG"]


def test_exported_prompts_are_no_music(files: Path, quiet: Quiet) -> None:
    before = where(Folder().load(files, quiet))
    (files / "prompts" / "targets").mkdir(parents=True)
    (files / "prompts" / "prompts.json").write_text("{}")
    for place in (files / "prompts", files / "prompts" / "targets"):
        (place / "prompt-000.mid").write_bytes(midi_bytes(music(950)))
    assert where(Folder().load(files, quiet)) == before
