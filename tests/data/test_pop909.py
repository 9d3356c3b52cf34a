"""POP909: songs, tracks and versions; an archive that is packed anew each time, verified by what it holds."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.music.midi import read_midi, refused_reads, tracks_bytes
from bench.runner.folds import composition

from .conftest import dataset_class, dataset_module
from .servers import HTML, Answer, Server, music

Pop909 = dataset_class("pop909")
pop909 = dataset_module("pop909")
Quiet = Callable[[int, int, str], None]

NUMBERS = ("001", "002", "017", "400", "909")


def song(seed: int, bridge: str = "BRIDGE") -> bytes:
    return tracks_bytes({"MELODY": music(seed, 70), bridge: music(seed + 100, 66), "PIANO": music(seed + 200, 90)})


def files() -> dict[str, bytes]:
    """Five songs; the first has two earlier versions, one of them the same music, and the second one with other names."""
    songs = {f"{number}/{number}.mid": song(i) for i, number in enumerate(NUMBERS)}
    versions = {
        "001/versions/001-v1.mid": song(50, "CAU"),
        "001/versions/001-v2.mid": song(0),
        "002/versions/002-v1.mid": tracks_bytes({" melody ": music(60, 70), "Grandeur 1": music(61, 80)}),
    }
    return songs | versions


def write(folder: Path, members: dict[str, bytes]) -> Path:
    for name, body in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return write(tmp_path / "data" / "POP909-Dataset" / "POP909", files())


def archive(members: dict[str, bytes] | None = None, comment: bytes = b"") -> bytes:
    """The repository as GitHub packs it, with files that aren't needed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.comment = comment
        for name in ("README.md", "POP909.zip", "POP909/index.xlsx", "POP909/001/beat_midi.txt", "other/POP909/001/001.mid"):
            opened.writestr(f"{pop909.UNPACKED}/{name}", b"not needed")
        opened.writestr(f"{pop909.UNPACKED}/LICENSE", "MIT")
        for name, body in (files() if members is None else members).items():
            opened.writestr(f"{pop909.UNPACKED}/POP909/{name}", body)
    return out.getvalue()


def pieces(splits: Any) -> list[Any]:
    return [*splits.train, *splits.validation, *splits.test]


# ---- selection


def test_songs_without_versions(local: Path, quiet: Quiet) -> None:
    splits = Pop909().load(local, quiet)
    assert sorted(p.id for p in pieces(splits)) == [f"{number}/{number}.mid" for number in NUMBERS]
    assert {p.title for p in pieces(splits)} == {f"Song {number}" for number in NUMBERS}
    assert {len(p.notes) for p in pieces(splits)} == {70 + 66 + 90}
    assert splits.skipped == ()
    assert splits.remarks[-1] == "5 of the dataset's 909 songs are in the folder."


@pytest.mark.parametrize(
    ("tracks", "notes"), [("MELODY", 70), ("bridge", 66), (["PIANO"], 90), (["melody", "PIANO"], 160), (None, 226)]
)
def test_tracks(local: Path, quiet: Quiet, tracks: Any, notes: int) -> None:
    assert {len(p.notes) for p in pieces(Pop909(tracks=tracks).load(local, quiet))} == {notes}


def test_the_bridge_of_earlier_versions_has_another_name(local: Path, quiet: Quiet) -> None:
    splits = Pop909(tracks="BRIDGE", versions=True).load(local, quiet)
    assert "001/versions/001-v1.mid" in {p.id for p in pieces(splits)}
    reasons = {s.source: s.reason for s in splits.skipped}
    assert reasons["002/versions/002-v1.mid"] == "it has no notes in the selected tracks"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_versions_stay_with_their_song(local: Path, quiet: Quiet, share: float) -> None:
    splits = Pop909(versions=True, validation=share / 2, test=share / 2).load(local, quiet)
    where: dict[str, set[str]] = {}
    for name in ("train", "validation", "test"):
        for piece in getattr(splits, name):
            where.setdefault(piece.id[:3], set()).add(name)
    assert {number: len(names) for number, names in where.items()} == dict.fromkeys(NUMBERS, 1)
    assert len(pieces(splits)) == len(NUMBERS) + 2
    assert len({composition(p) for p in pieces(splits)}) == len(NUMBERS)
    assert [(s.source, s.reason) for s in splits.skipped] == [("001/versions/001-v2.mid", "the same file as 001/001.mid")]


def test_limit_counts_songs_in_each_split(local: Path, quiet: Quiet) -> None:
    options = {"limit": 1, "validation": 0.3, "test": 0.3}
    splits, alone = Pop909(versions=True, **options).load(local, quiet), Pop909(**options).load(local, quiet)
    assert len({p.title for p in splits.train}) == 1
    assert {p.title for p in pieces(splits)} == {p.title for p in pieces(alone)}
    assert alone == Pop909(**options).load(local, quiet)


@pytest.mark.parametrize("tracks", ["DRUMS", ["MELODY", "CAU"], []])
def test_unknown_tracks(tracks: Any) -> None:
    with pytest.raises(DataError) as error:
        Pop909(tracks=tracks)
    assert error.value.message == f"pop909: tracks is {tracks!r}."
    assert error.value.hint == "Expected one or several of MELODY, BRIDGE, PIANO."


def test_what_cannot_be_used_is_listed(local: Path, quiet: Quiet) -> None:
    (local / "017/017.mid").unlink()
    (local / "400/400.mid").write_bytes(HTML)
    (local / "909/909.mid").write_bytes(tracks_bytes({"MELODY": music(1, 20)}))
    splits = Pop909().load(local, quiet)
    reasons = {s.source: s.reason for s in splits.skipped}
    assert reasons.pop("400/400.mid").startswith("not a MIDI file")
    assert reasons == {
        "017/017.mid": "listed, but the file does not exist",
        "909/909.mid": "it has 20 notes, fewer than 64",
    }


def test_a_linked_song_is_left_out_and_named(local: Path, tmp_path: Path, quiet: Quiet) -> None:
    (local / "001").rename(tmp_path / "elsewhere")
    (local / "001").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    splits = Pop909(versions=True).load(local, quiet)
    assert {p.id[:3] for p in pieces(splits)} == {"002", "017", "400", "909"}
    why = "can't be entered (a link to a folder, which isn't followed)"
    assert [(s.source, s.reason) for s in splits.skipped if "link" in s.reason] == [("001", why)]


def test_found_at_a_root_or_below(local: Path) -> None:
    for root in (local, local.parent, local.parent.parent):
        assert Pop909().find([local / "nowhere", root]) == local
    for number in NUMBERS:
        (local / number / f"{number}.mid").rename(local / number / "000.mid")
    assert Pop909().find([local]) is None


def test_fingerprint_follows_content_and_selection(local: Path) -> None:
    before = Pop909().fingerprint(local)
    os.utime(local / "001/001.mid", (1, 1))
    assert Pop909().fingerprint(local) == before
    options: list[dict[str, Any]] = [{}, {"tracks": "PIANO"}, {"versions": True}, {"limit": 1, "test": 0.3}, {"minimum_notes": 1}]
    assert len({Pop909(**o).fingerprint(local) for o in options}) == len(options)
    (local / "001/001.mid").write_bytes(song(99))
    assert Pop909().fingerprint(local) != before


# ---- fetching


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These songs are the dataset: their digest, computed without the plug-in's code."""
    lines = [f"{name}\x1e{hashlib.sha256(body).hexdigest()}" for name, body in files().items()]
    digest = hashlib.sha256("\x1f".join(sorted(lines, key=lambda line: line.split("\x1e")[0].split("/"))).encode()).hexdigest()
    monkeypatch.setattr(pop909, "DIGEST", digest)
    monkeypatch.setattr(pop909, "FILES", len(files()))


@pytest.mark.usefixtures("known", "quick_retries")
def test_fetch(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    dataset = Pop909(url=server.put("zip", archive(comment=b"packed on Monday"), archive(comment=b"packed on Tuesday")))
    dataset.fetch(tmp_path, quiet)
    source = dataset.find([tmp_path])
    assert source == tmp_path / pop909.UNPACKED / "POP909"
    assert {p.relative_to(source.parent).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == {
        *(f"POP909/{name}" for name in files()),
        "LICENSE",
        "checksums.json",
    }
    assert read_midi(source / "001/001.mid") == read_midi(files()["001/001.mid"])
    assert dataset.verify(source, quiet).compared == len(files()) + 1
    dataset.fetch(tmp_path, quiet)
    assert server.paths() == ["zip"], "a complete and unchanged folder is not fetched again"
    (source / "400/400.mid").unlink()
    assert dataset.verify(source, quiet).differences == ("POP909/400/400.mid: missing",)
    dataset.fetch(tmp_path, quiet)
    assert dataset.verify(source, quiet).differences == ()


@pytest.mark.usefixtures("known", "quick_retries")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"400/400.mid": None}, "7 of 8 MIDI files"),
        ({"400/400.mid": song(77)}, "MIDI files other than those"),
        ({"400/versions/400-v1.mid": song(78)}, "MIDI files other than those"),
    ],
)
def test_an_archive_that_holds_something_else(
    server: Server, tmp_path: Path, quiet: Quiet, changes: dict[str, bytes | None], why: str
) -> None:
    members = {name: body for name, body in (files() | changes).items() if body is not None}
    with pytest.raises(DataError) as error:
        Pop909(url=server.put("zip", archive(members))).fetch(tmp_path, quiet)
    first, second = error.value.message.split("\n")
    assert first == f"pop909: the archive holds {why} of commit d83e6ed, so it was not kept."
    assert f"digest expected {pop909.DIGEST}, got " in second
    assert "It is incomplete or was changed." in error.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("known", "quick_retries")
@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (Answer(archive(), cut=4000), "could not be downloaded"),
        (Answer(archive()[:4000], measured=False), "not a zip file, or a damaged one"),
        (Answer(HTML), "not a zip file, or a damaged one"),
        (Answer(archive({})), r"MIDI files of commit d83e6ed"),
    ],
)
def test_a_fetch_that_fails_leaves_nothing(server: Server, tmp_path: Path, quiet: Quiet, answer: Answer, match: str) -> None:
    with pytest.raises(DataError, match=match):
        Pop909(url=server.put("zip", answer)).fetch(tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("known")
def test_verify_of_a_clone(local: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pop909, "SONGS", 2)
    (local.parent / "checksums.json").write_text('{"of another dataset": "0"}')
    verified = Pop909().verify(local, quiet)
    assert (verified.differences, verified.compared) == ((), len(files()))
    (local / "002/002.mid").unlink()
    missing, digest = Pop909().verify(local, quiet).differences
    assert missing == "002/002.mid: missing"
    assert digest.startswith(f"7 of 8 MIDI files; digest expected {pop909.DIGEST}, got ")


def test_real_pop909(quiet: Quiet) -> None:
    roots = [Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p]
    source = Pop909().find(roots)
    if source is None or len(list(source.glob("[0-9][0-9][0-9]"))) < 909:
        pytest.skip("needs POP909 in $BENCH_DATA")
    assert Pop909().verify(source, quiet).differences == ()
    splits = Pop909().load(source, quiet)
    assert (len(pieces(splits)), sum(len(p.notes) for p in pieces(splits)), splits.skipped) == (909, 1_533_438, ())


def test_versions_that_cannot_be_listed_for_a_moment_are_no_missing_versions(
    local: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = local / "001" / "versions"
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(closed))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with refused_reads() as refused:
        splits = Pop909(versions=True).load(local, quiet)
    assert list(refused) == [str(closed)]
    assert [s.source for s in splits.skipped] == ["001/versions"]
