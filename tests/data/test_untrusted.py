"""Folders and tables that other people filled: one bad file, name or folder costs only itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.api import Piece
from bench.errors import BenchError, DataError, SpecError
from bench.formatting import clean
from bench.music.midi import midi_bytes, read_midi
from bench.music.notes import Notes
from bench.runner.held_out import hold_out
from bench.runner.prepare import _with_closed
from bench.specs.load import load_spec
from bench.storage.corpus import Corpus
from bench.system.paths import Places, closed_folders
from tests.music.test_midi import midi, off, on, tempo

from .conftest import dataset_class
from .servers import music

Folder, Maestro = dataset_class("folder"), dataset_class("maestro")
Quiet = Callable[[int, int, str], None]

SPEC = "title: T\ndataset: {name: folder}\nprotocol: {prompt: 4, notes: 16, pieces: 4}\nseeds: 1\nreferences: [median]\n"

#: A parser that dies, runs out of memory, hangs in native code or is stopped for 2 s on files with a certain text. Once imported,
#: a file has 1 s.
DYING_PARSER = """\
import os, re, resource, signal, subprocess, sys
import bench.music.isolation
bench.music.isolation.PATIENCE = 1.0
sys.path.remove(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
del sys.modules["symusic"]
import symusic
class Score:
    @staticmethod
    def from_midi(raw, ttype):
        if b"DIE" in raw:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"GROW" in raw:
            raise MemoryError
        if b"CROWD" in raw:
            resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
            raise MemoryError
        if b"HANG" in raw:
            re.fullmatch("(a+)+", "a" * 64 + "b")
        if b"PAUSE" in raw:
            subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {os.getpid()}"])
            os.kill(os.getpid(), signal.SIGSTOP)
        return real.from_midi(raw, ttype=ttype)
real, symusic.Score = symusic.Score, Score
"""

#: Refuses some readings of one file, counted from 1, or changes it before the second.
REFUSING = """\
import errno, os, pathlib
count = 0
def read_bytes(self):
    global count
    if self.name == "05.mid":
        count += 1
        if count in {times}:
            raise OSError(errno.EIO, "Input/output error", str(self))
        if {changed} and count == 2:
            self.write_bytes((self.parent / "06.mid").read_bytes())
    return real(self)
real, pathlib.Path.read_bytes = pathlib.Path.read_bytes, read_bytes

scans = 0
def scandir(path="."):
    global scans
    if str(path).endswith("music/sub"):
        scans += 1
        if scans in {scans}:
            raise OSError(errno.EIO, "Input/output error", str(path))
    return real_scandir(path)
real_scandir, os.scandir = os.scandir, scandir

stats = 0
def stat(self, **options):
    global stats
    if str(self).endswith("music/sub/run.json"):
        stats += 1
        if -stats in {scans}:
            raise OSError(errno.EIO, "Input/output error", str(self))
    return real_stat(self, **options)
real_stat, pathlib.Path.stat = pathlib.Path.stat, stat
"""

#: Runs a program as a user who isn't root: root may enter every folder.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


def fill(folder: Path, pieces: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(pieces):
        (folder / f"{i:02}.mid").write_bytes(midi_bytes(music(i)))
    return folder


def named(text: bytes, seed: int) -> bytes:
    """The file of a piece with a text in it."""
    notes = music(seed)
    body = [event for p in notes.pitch.tolist() for event in ((0, on(p, 64)), (240, off(p)))]
    return midi([(0, b"\xff\x01" + bytes([len(text)]) + text), *body])


def install_dying_parser(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = folder / "parser" / "symusic" / "__init__.py"
    parser.parent.mkdir(parents=True)
    parser.write_text(DYING_PARSER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "parser"), *sys.path]))


def prepare(folder: Path, out: Path, spec: str = SPEC) -> tuple[dict[str, str], list[str]]:
    """Prepare the folder as a run does: the files left out, with the reasons, and the messages."""
    (out / "spec.yaml").write_text(spec)
    messages: list[str] = []
    held = hold_out(
        load_spec(str(out / "spec.yaml"), scale="smoke"),
        Places.find(out=out, data=[folder]),
        display=lambda event: messages.append(event["text"]) if event["event"] == "message" else None,
    )
    return {s["source"]: s["reason"] for s in held.prepared.skipped}, messages


def test_the_parser_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "music")
    for name, text in (("a", b"DIE"), ("b", b"GROW"), ("c", b"DIE again")):
        (folder / f"05{name}.mid").write_bytes(named(text, 50 + ord(name)))
    install_dying_parser(tmp_path, monkeypatch)
    skipped, messages = prepare(folder, tmp_path)
    assert {name: reason.split("(")[1] for name, reason in skipped.items()} == {
        "05a.mid": "SIGSEGV)",
        "05b.mid": "MemoryError)",
        "05c.mid": "SIGSEGV)",
    }
    assert any("killed by SIGSEGV" in message and "file by file" in message for message in messages)


@pytest.mark.parametrize("after", [b"", b"DIE"])
def test_a_machine_without_memory_leaves_no_file_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bytes) -> None:
    folder = fill(tmp_path / "music")
    (folder / "05a.mid").write_bytes(named(b"CROWD", 50))
    if after:
        (folder / "05.mid").write_bytes(named(after, 51))
    install_dying_parser(tmp_path, monkeypatch)
    with pytest.raises(BenchError, match="memory"):
        prepare(folder, tmp_path)


@pytest.mark.parametrize("when", ["load", "both", "changed"])
def test_a_file_that_cannot_be_read_for_a_moment_is_not_left_out_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    folder = fill(tmp_path / "music")
    whole, _ = prepare(folder, tmp_path)
    shutil.rmtree(tmp_path / ".cache" / "corpora")
    library = tmp_path / "refuse" / "sitecustomize.py"
    library.parent.mkdir()
    times = {"load": (2,), "both": (1, 2, 3, 4), "changed": ()}[when]
    library.write_text(REFUSING.format(times=times, changed=when == "changed", scans=()))
    with monkeypatch.context() as disturbed:
        disturbed.setenv("PYTHONPATH", os.pathsep.join([str(library.parent), *sys.path]))
        if when == "both":
            assert prepare(folder, tmp_path)[0] == {"05.mid": "can't be read (Input/output error)"}
        else:
            said = "05.mid: Input/output error, though it could be read" if when == "load" else "was changed while it was read"
            with pytest.raises(BenchError, match=said):
                prepare(folder, tmp_path)
    (folder / "05.mid").write_bytes(midi_bytes(music(5)))
    assert prepare(folder, tmp_path)[0] == whole == {}


def test_a_folder_that_cannot_be_entered_for_a_moment_is_not_left_out_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "music")
    fill(folder / "sub", 16)  # the last four have notes of their own
    whole, _ = prepare(folder, tmp_path)
    library = tmp_path / "refuse" / "sitecustomize.py"
    library.parent.mkdir()
    refused = 0
    for scan in range(1, 7):
        shutil.rmtree(tmp_path / ".cache" / "corpora")
        library.write_text(REFUSING.format(times=(), changed=False, scans=(scan,)))
        with monkeypatch.context() as disturbed:
            disturbed.setenv("PYTHONPATH", os.pathsep.join([str(library.parent), *sys.path]))
            try:
                prepare(folder, tmp_path)
            except BenchError:
                refused += 1
        assert prepare(folder, tmp_path)[0] == whole, f"refused scan {scan} stayed in the cache"
    assert refused


def test_a_run_is_no_music_where_its_record_cannot_be_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "music")
    fill(folder / "sub", 16)
    (folder / "sub" / "run.json").write_text("{}")
    messages = prepare(folder, tmp_path)[1]
    library = tmp_path / "refuse" / "sitecustomize.py"
    library.parent.mkdir()
    refused = 0
    for look in range(1, 5):
        shutil.rmtree(tmp_path / ".cache" / "corpora")
        library.write_text(REFUSING.format(times=(), changed=False, scans=(-look,)))
        with monkeypatch.context() as disturbed:
            disturbed.setenv("PYTHONPATH", os.pathsep.join([str(library.parent), *sys.path]))
            try:
                prepare(folder, tmp_path)
            except BenchError:
                refused += 1
        assert prepare(folder, tmp_path)[1] == messages, f"look {look} stayed in the cache"
    assert refused


def test_the_parser_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "music")
    (folder / "05a.mid").write_bytes(named(b"HANG", 50))
    install_dying_parser(tmp_path, monkeypatch)
    skipped, messages = prepare(folder, tmp_path)
    assert list(skipped) == ["05a.mid"]
    assert skipped["05a.mid"].startswith("the parser hangs on it (ended after")
    assert any("killed by SIGPROF" in message and "file by file" in message for message in messages)


def test_no_file_can_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.mid").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{i:064}\nsize 1234\n")
    (folder / "empty.mid").touch()
    with pytest.raises(DataError, match="no piece that can be used") as error:
        prepare(folder, tmp_path)
    assert "7 files left out" in error.value.hint
    assert "6 files: not a MIDI file" in error.value.hint
    assert "1 file: the file is empty" in error.value.hint


def test_notes_far_apart_in_time(tmp_path: Path) -> None:
    folder = fill(tmp_path / "music")
    body = [event for i in range(64) for event in ((1, on(100 - i % 40, 64)), (1, off(100 - i % 40)))]
    far = [(0, tempo(0xFFFFFF)), *[(16383, b"\xff\x01\0")] * 10_000, (0, tempo(1)), *body]
    (folder / "far.mid").write_bytes(midi(far, division=32767))
    assert prepare(folder, tmp_path)[0] == {"far.mid": "it has a note that begins after, or lasts, 25,000 s or more"}
    # What MIDI can say is read all the same, in another place.
    assert len(read_midi(folder / "far.mid")) == 64


def test_large_and_special_files(tmp_path: Path, quiet: Quiet) -> None:
    folder = fill(tmp_path / "music")
    with (folder / "sparse.mid").open("wb") as file:
        file.truncate(4 << 30)
    os.mkfifo(folder / "pipe.mid")
    (folder / "gone.mid").symlink_to(tmp_path / "nowhere")
    assert Folder().fingerprint(folder) == Folder().fingerprint(folder)
    splits = Folder().load(folder, quiet)
    reasons = {s.source: s.reason for s in splits.skipped}
    assert set(reasons) == {"sparse.mid", "pipe.mid", "gone.mid"}
    assert "too large" in reasons["sparse.mid"]
    assert reasons["pipe.mid"] == "not a file"
    assert "No such file" in reasons["gone.mid"]
    assert len(splits.train + splits.validation + splits.test) == 12


def test_pieces_are_named_by_their_paths(tmp_path: Path, quiet: Quiet) -> None:
    """Eight works, each in a file of the same name: in folds they are eight compositions."""
    for i in range(8):
        path = tmp_path / "music" / f"composer{i}" / "sonata" / "midi_score.mid"
        path.parent.mkdir(parents=True)
        path.write_bytes(midi_bytes(music(i)))
    splits = Folder().load(tmp_path / "music", quiet)
    titles = sorted(p.title for p in (*splits.train, *splits.validation, *splits.test))
    assert titles == [f"composer{i}/sonata/midi_score" for i in range(8)]
    prepare(tmp_path / "music", tmp_path, SPEC.replace("pieces: 4", "pieces: 8, folds: 8"))


def test_files_with_the_same_notes(tmp_path: Path, quiet: Quiet) -> None:
    for i in range(8):
        for version in range(3):
            (tmp_path / f"{i}-v{version}.mid").write_bytes(named(b"version %d" % version, i))
    splits = Folder().load(tmp_path, quiet)
    assert len(splits.train + splits.validation + splits.test) == 8
    assert {s.source: s.reason for s in splits.skipped}["3-v2.mid"] == "the same notes as 3-v0.mid"
    # Nothing claims that every performance of a work is found.
    assert any("misses free arrangements" in remark for remark in splits.remarks)


def maestro_table(root: Path, names: list[str]) -> None:
    lines = ["canonical_composer,canonical_title,split,year,midi_filename"]
    lines += [f"Bach,Piece {i},{('train', 'test')[i % 2]},2004,{name}" for i, name in enumerate(names)]
    root.mkdir(exist_ok=True)
    (root / "maestro-v3.0.0.csv").write_text("\n".join(lines) + "\n")


def test_maestro_over_symbolic_links(tmp_path: Path, quiet: Quiet) -> None:
    """The layout of a cache: every file is a link into another folder."""
    blobs, root = fill(tmp_path / "blobs", 4), tmp_path / "maestro-v3.0.0"
    outside = ["../blobs/00.mid", str(blobs / "01.mid"), "x\0.mid"]
    maestro_table(root, [f"2004/{i}.midi" for i in range(4)] + outside)
    (root / "2004").mkdir()
    for i in range(4):
        (root / "2004" / f"{i}.midi").symlink_to(f"../../blobs/{i:02}.mid")
    splits = Maestro().load(root, quiet)
    assert len(splits.train) == len(splits.test) == 2
    reasons = {s.source: s.reason for s in splits.skipped}
    assert ["outside" in reasons[clean(name)] for name in outside] == [True, True, False]
    verified = Maestro().verify(root, quiet)
    assert verified.there == 4
    assert len(verified.differences) == 3


def test_closed_folders(tmp_path: Path) -> None:
    """`folder` and `maestro` with a subfolder that can't be entered, and one whose files can't, in a process that isn't root."""
    as_user = UNPRIVILEGED if os.geteuid() == 0 else ()
    if as_user and (shutil.which("setpriv") is None or subprocess.run([*as_user, "true"], check=False).returncode):
        pytest.skip("runs as root, and can't do without its privileges")
    data = fill(tmp_path / "data")
    maestro_table(data / "maestro-v3.0.0", ["00.mid", "closed/01.mid", "02.mid"])
    for name in ("00.mid", "02.mid"):
        shutil.copy(data / name, data / "maestro-v3.0.0" / name)
    (data / "maestro-v3.0.0" / "closed").mkdir(mode=0)
    (data / "lost+found").mkdir(mode=0)
    fill(data / "listable", 1).chmod(0o444)

    def bench(*arguments: str) -> str:
        command = [*as_user, sys.executable, "-m", "bench", *arguments, "--data", str(data), "--out", str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "400"}, check=False)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    (tmp_path / "spec.yaml").write_text(SPEC)
    named = f"{data / 'lost+found'} can't be searched (Permission denied)"
    for name in ("folder", "maestro"):
        assert named in bench("data", "verify", name)
    bench("run", str(tmp_path / "spec.yaml"), "--models", "none", "--scale", "smoke", "--no-sound")
    report = next((tmp_path / "out").rglob("report.md")).read_text()
    assert "lost+found: can't be entered (Permission denied)" in report
    assert "listable/00.mid: can't be read (Permission denied)" in report


def test_closed_folders_are_looked_for_as_deep_as_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert closed_folders([tmp_path / "nowhere"])[0][0] == tmp_path / "nowhere"
    assert closed_folders([tmp_path], 1) == []


def test_linked_folders_are_named(tmp_path: Path, quiet: Quiet) -> None:
    root = fill(tmp_path / "music")
    (root / "more").symlink_to(fill(tmp_path / "elsewhere", 3), target_is_directory=True)
    (root / "above").symlink_to(root, target_is_directory=True)
    (root / ".hidden").symlink_to(root, target_is_directory=True)
    splits = Folder().load(root, quiet)
    why = "a link to a folder, which isn't followed"
    assert [(s.source, s.reason) for s in splits.skipped] == [(name, f"can't be entered ({why})") for name in ("above", "more")]
    assert sorted(closed_folders([root])) == [(root / name, why) for name in ("above", "more")]
    assert closed_folders([root], 2) == []  # links are followed where a dataset is looked for


def test_folders_that_are_left_out_are_those_of_now(tmp_path: Path) -> None:
    """The parsed music of a folder, from the cache, told of the links that were in it, or in another of the same music, then."""
    music = fill(tmp_path / "music")
    link, elsewhere = music / "more", fill(tmp_path / "elsewhere", 3)
    said = []
    for step in (lambda: None, lambda: link.symlink_to(elsewhere), link.unlink):
        step()
        said.append(prepare(music, tmp_path)[0])
    assert said == [{}, {"more": "can't be entered (a link to a folder, which isn't followed)"}, {}]


def test_a_link_that_a_dataset_of_ones_own_reads_is_not_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "more").symlink_to(fill(tmp_path / "elsewhere"), target_is_directory=True)
    piece = Piece(music(0), "00", source="more/00.mid")
    assert _with_closed(Corpus((piece,), (), (), (), (), "key"), folder) == ()
    (left_out,) = _with_closed(Corpus((), (), (), (), (), "key"), folder)
    assert left_out.source == "more"


def test_a_piece_leaves_room_for_what_continues_it(tmp_path: Path, quiet: Quiet) -> None:
    fill(tmp_path)
    for name, last in (("early", 24_000.0), ("late", 26_000.0)):
        notes = Notes.concatenate([music(50, 40), music(51, 40).shifted(last)])
        (tmp_path / f"{name}.mid").write_bytes(midi_bytes(notes))
    skipped = {s.source: s.reason for s in Folder().load(tmp_path, quiet).skipped}
    assert skipped == {"late.mid": "it has a note that begins after, or lasts, 25,000 s or more"}


@pytest.mark.parametrize("left", [("targets.npz",), (".lock", "trials/x/midi/piece-000.mid")])
def test_a_run_that_was_stopped_before_its_record_is_no_music(tmp_path: Path, quiet: Quiet, left: tuple[str, ...]) -> None:
    folder = fill(tmp_path / "music")
    run = fill(folder / "reports" / "runs" / "z-cpu" / "midi", 20).parent
    for name in left:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(midi_bytes(music(99)))
    splits = Folder().load(folder, quiet)
    assert len([*splits.train, *splits.validation, *splits.test]) == 12
    reason = "a run, exported prompts or a cache, by the files in it"
    assert [(s.source, s.reason) for s in splits.skipped] == [("reports/runs/z-cpu", reason)]


def test_a_path_of_nobody_is_a_mistake_in_the_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="path is '~nobodyx/music'"):
        prepare(tmp_path, tmp_path, SPEC.replace("name: folder", "name: folder, options: {path: '~nobodyx/music'}"))


def test_a_second_folder_of_music_that_is_not_read_is_named(tmp_path: Path) -> None:
    first, second = fill(tmp_path / "one"), fill(tmp_path / "two", 20)
    (tmp_path / "spec.yaml").write_text(SPEC)
    said: list[str] = []
    places = Places.find(out=tmp_path, data=[first, second])
    hold_out(
        load_spec(str(tmp_path / "spec.yaml"), scale="smoke"), places, display=lambda event: said.append(event.get("text", ""))
    )
    assert f"folder reads {first} alone, of 2 folders of music" in said


def test_folders_below_each_other_cost_themselves(tmp_path: Path, quiet: Quiet) -> None:
    root = fill(tmp_path / "music")
    before = Folder().load(root, quiet)
    here = os.open(root, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("a", dir_fd=here)
        here, outer = os.open("a", os.O_RDONLY, dir_fd=here), here
        os.close(outer)
    os.close(here)
    deep, reason = "/".join("a" * 65), "nested more than 64 folders deep"
    try:
        splits = Folder().load(root, quiet)
        assert closed_folders([root]) == [(root / deep, reason)]
    finally:
        subprocess.run(["rm", "-r", root / "a"], check=True)  # shutil's own can't
    assert splits.train == before.train
    assert [(s.source, s.reason) for s in splits.skipped] == [(deep, f"can't be entered ({reason})")]


def test_files_that_begin_alike_are_not_compared_each_with_each(tmp_path: Path, quiet: Quiet) -> None:
    onset, duration, pitch = np.arange(70) * 0.25, np.full(70, 0.2), np.full(70, 60)
    for at in range(1_500):
        velocity = np.full(70, 64)
        velocity[:2] = 1 + np.array(divmod(at, 100))
        (tmp_path / f"{at}.mid").write_bytes(midi_bytes(Notes.from_columns(onset, duration, pitch, velocity)))
    before = time.process_time()
    splits = Folder().load(tmp_path, quiet)
    assert time.process_time() - before < 20  # each with each: minutes
    assert splits.skipped == ()


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("maestro", "maestro-v3.0.0/maestro-v3.0.0.csv"),
        ("maestro", "maestro-v3.0.0/checksums.json"),
        ("midiworld", "midiworld.lock.json"),
    ],
)
def test_a_list_that_claims_any_size_is_not_read(tmp_path: Path, dataset: str, name: str) -> None:
    """A sparse file of some KB took seven times its size in memory."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (path.parent / "maestro-v3.0.0.csv").write_text("midi_filename\n")
    path.touch()
    os.truncate(path, 1 << 40)
    command = [sys.executable, "-m", "bench", "data", "verify", dataset, "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert "it has 1,099,511,627,776 bytes, and may have" in done.stderr
