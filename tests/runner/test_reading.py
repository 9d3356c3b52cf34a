"""bench.runner.reading: many files by several processes, and what was read before."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.api import Splits
from bench.errors import MachineError, UsageError
from bench.music.midi import midi_bytes, refused_reads
from bench.music.notes import Notes
from bench.music.reading import Reading, Selection, midi_digest, read_midi_file
from bench.runner import reading
from bench.runner.reading import PooledReading
from bench.storage import columns as columns_module
from bench.storage import parts as parts_module
from bench.storage.corpus import save_corpus
from bench.storage.parts import Part, Parts, write_part
from tests.data.servers import music
from tests.data.test_untrusted import DYING_PARSER, UNPRIVILEGED, named
from tests.storage.sealed import edited

ALL = Selection()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 4)


def fill(folder: Path, number: int = 10) -> list[Path]:
    folder.mkdir()
    for i in range(number):
        (folder / f"{i:02}.mid").write_bytes(midi_bytes(music(i)))
    return sorted(folder.iterdir())


def shown(readings: Iterator[Reading]) -> list[tuple[object, ...]]:
    """What a program sees of each reading."""
    return [(r.sha256, r.same, r.notes, type(r.error), str(r.error)) for r in readings]


def read(paths: list[Path], folder: Path, few: int = 0, selection: Selection = ALL) -> list[tuple[object, ...]]:
    return shown(PooledReading(folder / "corpora" / "parts" / "toy", 2, few)(paths, selection))


def alone(paths: list[Path], selection: Selection = ALL) -> list[tuple[object, ...]]:
    return shown(read_midi_file(path, selection) for path in paths)


def parts(folder: Path) -> set[Path]:
    return set(folder.glob("corpora/parts/toy/*.npy"))


def test_several_processes_read_what_one_reads(tmp_path: Path) -> None:
    paths = fill(tmp_path / "music")
    (tmp_path / "music" / "empty.mid").touch()
    (tmp_path / "music" / "junk.mid").write_bytes(b"MThd\0\0\0\6 and nothing else")
    (tmp_path / "music" / "copy.mid").write_bytes(paths[3].read_bytes())
    with (tmp_path / "music" / "large.mid").open("wb") as sparse:
        sparse.truncate(20 << 20)
    doubtful = [tmp_path / "music", tmp_path / "missing.mid", Path("nul\0.mid"), *sorted((tmp_path / "music").glob("[a-z]*"))]
    paths = [*paths[:5], *doubtful, *paths[5:]]
    with refused_reads() as expected:
        serial = alone(paths)
    for few in (0, 1):  # the second time from the parts
        with refused_reads() as refused:
            assert read(paths, tmp_path, few) == serial
        assert {path: error.errno for path, error in refused.items()} == {path: error.errno for path, error in expected.items()}
    assert [kind for *_, kind, _ in serial].count(type(None)) == 11


@pytest.mark.parametrize("few", [0, 10])
def test_a_changed_folder_is_read_where_it_changed(tmp_path: Path, few: int) -> None:
    """By other processes, or by this one where there is little to read."""
    paths = fill(tmp_path / "music")
    read(paths, tmp_path)
    before = parts(tmp_path)
    assert len(before) == 3
    paths[2].write_bytes(midi_bytes(music(30)))
    paths[9].rename(tmp_path / "music" / "renamed.mid")
    (tmp_path / "music" / "new.mid").write_bytes(midi_bytes(music(31)))
    paths = sorted((tmp_path / "music").iterdir())
    assert read(paths, tmp_path, few) == alone(paths)
    (fresh,) = parts(tmp_path) - before
    with edited(fresh) as columns:
        assert len(columns["digests"]) == 2 * 32


def test_parts_of_another_selection_are_not_used(tmp_path: Path) -> None:
    paths = fill(tmp_path / "music")
    read(paths, tmp_path)
    drums = Selection(range(40, 41))
    assert read(paths, tmp_path, 0, drums) == alone(paths, drums) != alone(paths)
    assert len(parts(tmp_path)) == 6


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "values"])
def test_a_rotten_part_is_read_again(tmp_path: Path, damage: str) -> None:
    paths = fill(tmp_path / "music")
    read(paths, tmp_path)
    rotten, *intact = sorted(parts(tmp_path))
    if damage == "values":
        with edited(rotten) as columns:
            columns["pitch"][0] = 200
    else:
        content = bytearray(rotten.read_bytes())
        content[700] ^= 4
        rotten.write_bytes({"bit": bytes(content), "cut": bytes(content[:900]), "empty": b""}[damage])
    assert read(paths, tmp_path) == alone(paths)
    assert set(intact) < parts(tmp_path)
    assert not rotten.exists()


@pytest.mark.parametrize("strange", ["socket", "folder", "link"])
def test_what_is_no_part_costs_nothing(tmp_path: Path, strange: str) -> None:
    """A file that can't be opened is left to whoever can, for others may share the cache; a folder can't even be removed."""
    paths = fill(tmp_path / "music")
    read(paths, tmp_path)
    taken, *others = sorted(parts(tmp_path))
    taken.unlink()
    if strange == "folder":
        taken.mkdir()
    elif strange == "link":
        taken.symlink_to("nowhere")
    else:
        with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(taken.parent):
            bound.bind(taken.name)  # a path of a socket has 107 bytes at most
    pooled = PooledReading(tmp_path / "corpora" / "parts" / "toy", 2, 0)
    assert shown(pooled(paths, ALL)) == alone(paths)
    pooled.remove_unused()
    assert taken.exists() == (strange != "link")
    assert set(others) < parts(tmp_path)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_machine_that_is_short_of_something_ends_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    paths = fill(tmp_path / "music")
    read(paths, tmp_path)
    before = parts(tmp_path)
    monkeypatch.setattr(columns_module, "map_sealed", refuse)
    with pytest.raises(MachineError):
        read(paths, tmp_path)
    assert parts(tmp_path) == before


def test_a_cache_that_may_not_be_read_is_read_anew(tmp_path: Path) -> None:
    """As where users share one, in a process that isn't root: a part and a corpus of someone else's."""
    as_user = UNPRIVILEGED if os.geteuid() == 0 else ()
    if as_user and (shutil.which("setpriv") is None or subprocess.run([*as_user, "true"], check=False).returncode):
        pytest.skip("runs as root, and can't do without its privileges")
    paths = fill(tmp_path / "music")
    read(paths, tmp_path)
    closed, *_ = parts(tmp_path)
    save_corpus(corpus := tmp_path / "corpora" / "toy.npy", Splits((), (), ()), "")
    closed.chmod(0)
    corpus.chmod(0)
    code = f"""
from pathlib import Path
from bench.api import Splits
from bench.errors import DataError
from bench.music.reading import Selection
from bench.runner.reading import PooledReading
from bench.storage.corpus import load_corpus, save_corpus
pooled = PooledReading(Path({str(closed.parent)!r}), 1, 8)
print(sum(reading.notes is not None for reading in pooled(sorted(Path({str(tmp_path / "music")!r}).iterdir()), Selection())))
pooled.remove_unused()
corpus = Path({str(corpus)!r})
try:
    load_corpus(corpus)
except DataError as error:
    print(error.message)
save_corpus(corpus, Splits((), (), ()), "mine")
print(load_corpus(corpus).fingerprint)
"""
    done = subprocess.run([*as_user, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["10", f"{corpus} can't be read: Permission denied.", "mine"], done.stderr
    assert closed.exists()


def test_parts_that_nothing_uses_are_removed(tmp_path: Path) -> None:
    paths = fill(tmp_path / "music")
    read(paths, tmp_path)
    (tmp_path / "corpora" / "parts" / "toy" / ".killed.npy.1a2b.tmp").touch()
    pooled = PooledReading(tmp_path / "corpora" / "parts" / "toy", 2, 0)
    assert len(list(pooled(paths[:5], ALL))) == 5
    pooled.remove_unused()
    assert len(list((tmp_path / "corpora" / "parts" / "toy").iterdir())) == 2


@pytest.mark.parametrize("limit", ["BATCH", "BATCH_BYTES"])
def test_a_corpus_of_many_parts_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """As one of ten gigabytes, which has more batches of the usual size than parts that are looked at."""
    paths = fill(tmp_path / "music", 12)
    monkeypatch.setattr(reading, "SMALLEST", 1)
    monkeypatch.setattr(reading, limit, 1)
    monkeypatch.setattr(parts_module, "MOST_PARTS", 8)
    first = read(paths, tmp_path)
    assert 1 < len(parts(tmp_path)) <= 8
    monkeypatch.setattr(reading, "_batches", lambda missing, *_: [] if not missing else pytest.fail(f"{missing} are read again"))
    assert read(paths, tmp_path) == first


def test_a_corpus_with_too_many_parts_is_warm_after_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that a process read which may open more files."""
    paths = fill(tmp_path / "music", 24)
    monkeypatch.setattr(reading, "SMALLEST", 1)
    monkeypatch.setattr(reading, "BATCH", 1)
    first = read(paths, tmp_path)
    assert len(parts(tmp_path)) == 24
    monkeypatch.setattr(parts_module, "MOST_PARTS", 8)
    pooled = PooledReading(tmp_path / "corpora" / "parts" / "toy", 2, 0)
    assert shown(pooled(paths, ALL)) == first
    pooled.remove_unused()
    assert len(parts(tmp_path)) <= 8
    monkeypatch.setattr(reading, "_batches", lambda missing, *_: [] if not missing else pytest.fail(f"{missing} are read again"))
    assert read(paths, tmp_path) == first


@pytest.mark.parametrize(
    ("gigabytes", "cores", "expected"),
    [
        (16, 16, 16),  # batches of 32 MiB: 0.25 GiB each
        (0.5, 16, 1),
        (16, 2, 2),
    ],
)
def test_usual_batches_leave_room(monkeypatch: pytest.MonkeyPatch, gigabytes: float, cores: int, expected: int) -> None:
    monkeypatch.setattr(reading, "memory_bytes", lambda: int(gigabytes * 2**30))
    batches = [reading.Batch(i, (), ALL, 32 << 20) for i in range(20)]
    assert reading._side_by_side(batches, cores) == expected


def test_fewer_read_at_a_time_where_batches_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 42 GB in two million files a batch is 328 MB and needs 2.6 GB: on 16 cores with 64 GB twelve would need half of them."""
    monkeypatch.setattr(reading, "most_parts", lambda: 512)
    monkeypatch.setattr(reading, "_size", lambda path: 20_000)
    monkeypatch.setattr(reading, "BATCH", 4096)
    monkeypatch.setattr(reading, "memory_bytes", lambda: 64 * 10**9)
    batches = reading._batches([Path("x")] * 210_000, ALL, 16)
    assert {batch.size for batch in batches[:-1]} == {max(batch.size for batch in batches)}
    large = [reading.replace(batch, size=10 * batch.size) for batch in batches]  # type: ignore[attr-defined]
    assert reading._side_by_side(large, 16) == 32 * 10**9 // (8 * large[0].size)
    assert 1 < reading._side_by_side(large, 16) < 16


def test_parts_are_no_more_than_the_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed, most in ((256, 128), (1024, 512), (1 << 20, 1024), (resource.RLIM_INFINITY, 1024), (3, 2)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, allowed=allowed: (allowed, allowed))
        assert parts_module.most_parts() == most


def test_small_parts_are_joined_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "MOST_PARTS", 2)
    paths = fill(tmp_path / "music", 12)
    for number in (4, 5, 6, 7):
        pooled = PooledReading(tmp_path / "corpora" / "parts" / "toy", 2, 1)
        assert shown(pooled(paths[:number], ALL)) == alone(paths[:number])
        pooled.remove_unused()
    assert len(parts(tmp_path)) == 2


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = tmp_path / "parser" / "symusic" / "__init__.py"
    parser.parent.mkdir(parents=True)
    parser.write_text(DYING_PARSER)
    monkeypatch.syspath_prepend(parser.parents[1])


@pytest.mark.usefixtures("dying")
def test_a_file_that_the_parser_dies_on_costs_itself(tmp_path: Path) -> None:
    paths = fill(tmp_path / "music")
    for name, text in (("00a", b"DIE"), ("05a", b"HANG"), ("05b", b"DIE again"), ("99", b"GROW")):
        (tmp_path / "music" / f"{name}.mid").write_bytes(named(text, 50))
    every = sorted((tmp_path / "music").iterdir())
    readings = read(every, tmp_path)
    assert [r for path, r in zip(every, readings, strict=True) if path in paths] == alone(paths)
    said = [str(r[-1]) for path, r in zip(every, readings, strict=True) if path not in paths]
    assert [text.split("(")[0].strip() for text in said[:3]] == [
        "the parser dies on it",
        "the parser hangs on it",
        "the parser dies on it",
    ]
    assert "MemoryError" in said[3]


@pytest.mark.usefixtures("dying")
def test_a_file_that_is_read_while_all_is_stopped_costs_nothing(tmp_path: Path) -> None:
    """As by `docker pause`: it was left out as one on which the parser hangs, and the corpus was kept without it."""
    paths = fill(tmp_path / "music")
    for name in ("05a", "99"):
        (tmp_path / "music" / f"{name}.mid").write_bytes(named(b"PAUSE", 50))
    every = sorted((tmp_path / "music").iterdir())
    assert len(every) == len(paths) + 2
    assert [reading[-1] for reading in read(every, tmp_path)] == ["None"] * len(every)


@pytest.mark.usefixtures("dying")
def test_a_machine_without_memory_leaves_no_file_out(tmp_path: Path) -> None:
    fill(tmp_path / "music")
    (tmp_path / "music" / "05a.mid").write_bytes(named(b"CROWD", 50))
    with pytest.raises(MachineError, match="memory"):
        read(sorted((tmp_path / "music").iterdir()), tmp_path)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "corpora").write_text("a file")
    with pytest.raises(UsageError, match=r"can't be written to .*corpora") as caught:
        read(fill(tmp_path / "music"), tmp_path)
    assert "BENCH_CACHE" in caught.value.hint


KILLED = """\
import os, signal, sys, multiprocessing
from pathlib import Path
from bench.music.notes import Notes
from bench.music.reading import Selection
from bench.runner import reading
if __name__ == "__main__":
    reading.BATCH = 4
    readings = reading.PooledReading(Path(sys.argv[1]) / "a" / "b", 2, 0)(sorted(Path(sys.argv[2]).iterdir()), Selection())
    next(readings)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    fill(tmp_path / "music", 40)
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "cache"), str(tmp_path / "music")]
    path = os.pathsep.join([str(Path(reading.__file__).parents[2]), *sys.path])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=60)
    assert done.returncode == -signal.SIGKILL
    children = [int(pid) for pid in done.stdout.split()]
    assert len(children) == 2
    until = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in children):
        assert time.monotonic() < until
        time.sleep(0.05)
    for left in parts(tmp_path):  # what the processes still wrote is complete
        Parts(left.parent, "any")


def test_a_digest_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    (path,) = fill(tmp_path / "music", 1)
    old = time.time() - 100
    first = midi_digest(path)
    os.utime(path, (old, old))
    assert midi_digest(path) == first
    path.write_bytes(midi_bytes(music(7)))
    os.utime(path, (old, old))  # the time of its last change can be set; that of its inode can't
    assert midi_digest(path) == read_midi_file(path, ALL).sha256 != first


def test_memory_of_parts_is_released_as_a_dataset_proceeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 400_000
    notes = Notes.from_columns(np.arange(n) / 100, np.ones(n), np.full(n, 60), np.full(n, 64))
    write_part(tmp_path / "a.npy", [Reading("ab" * 32, notes, bytes(32))])
    part = Part(tmp_path / "a.npy", verify=False)
    (process, (stored,)) = psutil.Process(), [reading.notes for reading in [part.reading(0)] if reading.notes]
    before = process.memory_info().rss
    assert stored.onset.sum() > 0
    held = process.memory_info().rss
    monkeypatch.setattr(reading, "RELEASE_EVERY", -1.0)
    reading.releasing(lambda done, total, what: None)(1, 2, "reading")
    assert held - before > 3_000_000 > process.memory_info().rss - before + 1_000_000
    assert stored == notes
