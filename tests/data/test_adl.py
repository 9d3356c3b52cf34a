"""ADL Piano MIDI: selection by genre, subgenre and artist; fetching an archive that only git's id identifies."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.music.midi import midi_bytes
from bench.runner.folds import composition
from tests.cli import in_process

from .conftest import dataset_class, dataset_module
from .servers import HTML, Answer, Server, music

Adl = dataset_class("adl")
adl = dataset_module("adl")
Quiet = Callable[[int, int, str], None]

SONGS = (
    "Classical/Baroque/Johann Sebastian Bach/Prelude No.1",
    "Classical/Baroque/Johann Sebastian Bach/Prelude No.2",
    "Classical/Romantic Era/Frédéric Chopin/Ballade",
    "Jazz/Bebop/Bill Evans/Waltz for Debby",
    "Jazz/Cool Jazz/Bill Evans/Waltz for Debby.1",
    "Pop/Piano Cover/Bill Evans/Waltz For Debby (2)",
    "Pop/Dance Pop/Abba/Dancing Queen",
    "Rock/Album Rock/Queen/=cmd|'C calc'!A0",
    "Rock/Album Rock/Queen/<script>alert(1)<",
    "Rock/Soft Rock/10cc/I'm Not in Love",
)


def files(names: tuple[str, ...] = SONGS) -> dict[str, bytes]:
    return {f"{name}.mid": midi_bytes(music(i, 90)) for i, name in enumerate(names)}


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "adl-piano-midi"
    for name, body in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


def adl_zip() -> bytes:
    """A zip in the dataset's layout, packed on a Mac."""
    members = {f"adl-piano-midi/{name}": body for name, body in files().items()}
    notes = ("adl-piano-midi/.DS_Store", "__MACOSX/adl-piano-midi/._.DS_Store", "__MACOSX/adl-piano-midi/Jazz/Bebop/._x.mid")
    return zipped(members | dict.fromkeys((*notes, "../evil.mid", "adl-piano-midi/../../evil.mid"), b"Mac OS X"))


def pieces(splits: Any) -> list[Any]:
    return [*splits.train, *splits.validation, *splits.test]


def ids(splits: Any) -> set[str]:
    return {piece.id.removesuffix(".mid") for piece in pieces(splits)}


# ---- selection


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, SONGS),
        ({"genre": "jazz"}, SONGS[3:5]),
        ({"genre": ["Jazz", "pop"]}, SONGS[3:7]),
        ({"subgenre": "ALBUM ROCK"}, SONGS[7:9]),
        ({"artist": "chopin"}, SONGS[2:3]),
        ({"artist": ["bach", "10CC"], "genre": ["Classical", "Rock"]}, (*SONGS[:2], SONGS[9])),
        ({"artist": "bill", "genre": "pop", "subgenre": "piano cover"}, SONGS[5:6]),
    ],
)
def test_selection(local: Path, quiet: Quiet, options: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert ids(Adl(**options).load(local, quiet)) == set(expected)


def test_pieces_say_what_they_are(local: Path, quiet: Quiet) -> None:
    by_id = {piece.id: piece for piece in pieces(Adl().load(local, quiet))}
    titles = {name.rpartition("/")[2]: by_id[f"{name}.mid"].title for name in (SONGS[0], SONGS[4], SONGS[5], SONGS[7])}
    assert titles == {
        "Prelude No.1": "Prelude No.1",
        "Waltz for Debby.1": "Waltz for Debby",
        "Waltz For Debby (2)": "Waltz For Debby (2)",
        "=cmd|'C calc'!A0": "=cmd|'C calc'!A0",
    }
    piece = by_id[f"{SONGS[0]}.mid"]
    assert (piece.composer, piece.sha256) == (
        "Johann Sebastian Bach",
        hashlib.sha256((local / f"{SONGS[0]}.mid").read_bytes()).hexdigest(),
    )


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_one_artists_title_is_one_composition_in_every_genre(local: Path, quiet: Quiet, share: float) -> None:
    splits = Adl(validation=share / 2, test=share / 2).load(local, quiet)
    where = {piece.id: name for name in ("train", "validation", "test") for piece in getattr(splits, name)}
    assert len({where[f"{name}.mid"] for name in SONGS[3:6]}) == 1
    assert len({composition(p) for p in pieces(splits) if p.composer == "Bill Evans"}) == 1
    assert len({composition(p) for p in pieces(splits)}) == len(SONGS) - 2


def test_limit_is_for_each_split(local: Path, quiet: Quiet) -> None:
    splits = Adl(limit=1, validation=0.3, test=0.3).load(local, quiet)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1, 1, 1)
    assert splits == Adl(limit=1, validation=0.3, test=0.3).load(local, quiet)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (
            {"genre": "Jaz"},
            "adl: there is no genre 'Jaz' in {}.",
            "Did you mean 'Jazz'? Its genres: Classical, Jazz, Pop, Rock.",
        ),
        (
            {"subgenre": ["Bebop", "Zydeco"]},
            "adl: there is no subgenre 'Zydeco' in {}.",
            "Its subgenres: Album Rock, Baroque, Bebop, Cool Jazz, Dance Pop, Piano Cover, Romantic Era, Soft Rock.",
        ),
        (
            {"artist": "Bil Evans"},
            "adl: there is no artist 'Bil Evans' in {}.",
            "Did you mean 'Bill Evans'? Its artists: 10cc, Abba, Bill Evans, Frédéric Chopin, Johann Sebastian Bach, Queen.",
        ),
        (
            {"genre": ["Jazz", "Pop"], "artist": "chopin"},
            "adl: no file in {} has genre Jazz or Pop, artist chopin.",
            "Each of these has files, but none has all of them: leave one out.",
        ),
    ],
)
def test_a_selection_without_a_file(local: Path, quiet: Quiet, options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(DataError) as error:
        Adl(**options).load(local, quiet)
    assert (error.value.message, error.value.hint) == (message.format(local), hint)


def test_thousands_of_artists_are_counted_not_listed(local: Path, quiet: Quiet) -> None:
    for i in range(50):
        (local / "Jazz/Bebop" / f"Trio {i}").mkdir()
        (local / "Jazz/Bebop" / f"Trio {i}" / "a.mid").write_bytes(midi_bytes(music(i)))
    with pytest.raises(DataError) as error:
        Adl(artist="Quen").load(local, quiet)
    assert error.value.hint == "Did you mean 'Queen'? It has 56 artists."


def test_bad_options() -> None:
    with pytest.raises(DataError, match="limit is 0"):
        Adl(limit=0)
    with pytest.raises(DataError, match=r"adl: validation 0\.5 and test 0\.5 leave nothing to train on"):
        Adl(validation=0.5, test=0.5)


def test_what_cannot_be_used_is_listed(local: Path, quiet: Quiet) -> None:
    (local / f"{SONGS[0]}.mid").write_bytes(HTML)
    (local / f"{SONGS[1]}.mid").write_bytes(midi_bytes(music(1, 10)))
    (local / f"{SONGS[6]}.mid").write_bytes((local / f"{SONGS[2]}.mid").read_bytes())
    (local / "Jazz/stray.mid").write_bytes(midi_bytes(music(50)))
    (local / "Jazz/Bebop/Bill Evans/Live/").mkdir()
    (local / "Jazz/Bebop/Bill Evans/Live/deep.mid").write_bytes(midi_bytes(music(51)))
    (local / "Jazz/Bebop/Bill Evans/._hidden.mid").write_bytes(b"Mac OS X")
    splits = Adl().load(local, quiet)
    misplaced = "not at Genre/Subgenre/Artist/Title.mid"
    reasons = {s.source: s.reason for s in splits.skipped}
    assert reasons.pop(f"{SONGS[0]}.mid").startswith("not a MIDI file")
    assert reasons == {
        "Jazz/stray.mid": misplaced,
        "Jazz/Bebop/Bill Evans/Live/deep.mid": misplaced,
        f"{SONGS[1]}.mid": "it has 10 notes, fewer than 64",
        f"{SONGS[6]}.mid": f"the same file as {SONGS[2]}.mid",
    }
    assert len(pieces(splits)) == len(SONGS) - 3


def test_a_part_of_the_dataset_says_so(local: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "10 of the dataset's 11,086 files are in the folder." in Adl().load(local, quiet).remarks
    verified = Adl().verify(local, quiet)
    assert verified.differences == ("adl-piano-midi: 10 of 11,086 MIDI files are there: it is incomplete",)
    (local / f"{SONGS[2]}.mid").write_bytes(HTML)
    assert Adl().verify(local, quiet).differences[0] == f"{SONGS[2]}.mid: not a MIDI file"
    monkeypatch.setattr(adl, "FILES", 10)
    assert not any("files are in the folder" in remark for remark in Adl().load(local, quiet).remarks)
    verified = Adl().verify(local, quiet)
    assert (len(verified.differences), verified.compared, verified.there) == (1, 0, 9)


def test_found_at_a_root_or_below_under_any_name(local: Path) -> None:
    for root in (local, local.parent, local.parent.parent):
        assert Adl().find([local / "nowhere", root]) == local
    renamed = local.rename(local.with_name("piano"))
    assert Adl().find([renamed.parent]) == renamed
    for genre in ("Classical", "Jazz", "Pop", "Rock"):
        (renamed / genre).rename(renamed / f"My {genre}")
    assert Adl().find([renamed.parent]) is None


def test_fingerprint_follows_content_and_selection(local: Path) -> None:
    before = Adl().fingerprint(local)
    os.utime(local / f"{SONGS[0]}.mid", (1, 1))
    assert Adl().fingerprint(local) == before
    assert len({Adl(**o).fingerprint(local) for o in ({}, {"genre": "Jazz"}, {"limit": 1}, {"test": 0.4})}) == 4
    (local / f"{SONGS[0]}.mid").write_bytes(midi_bytes(music(99)))
    assert Adl().fingerprint(local) != before


# ---- fetching


@pytest.fixture
def mirror(server: Server, quick_retries: None, monkeypatch: pytest.MonkeyPatch) -> tuple[Server, bytes]:
    raw = adl_zip()
    asked = subprocess.run(["git", "hash-object", "--stdin"], input=raw, capture_output=True, check=True)
    monkeypatch.setattr(adl, "BLOB", asked.stdout.decode().strip())
    return server, raw


def test_fetch_verifies_by_gits_id_and_unpacks_only_music(mirror: tuple[Server, bytes], tmp_path: Path, quiet: Quiet) -> None:
    server, raw = mirror
    dataset = Adl(url=server.put("a.zip", raw))
    folder = tmp_path / "in" / "here"
    dataset.fetch(folder, quiet)
    source = dataset.find([folder])
    assert source == folder / "adl-piano-midi"
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == {
        *(f"in/here/adl-piano-midi/{name}.mid" for name in SONGS),
        "in/here/adl-piano-midi/checksums.json",
    }
    assert ids(dataset.load(source, quiet)) == set(SONGS)
    verified = dataset.verify(source, quiet)
    assert (verified.differences, verified.compared) == ((), len(SONGS))
    dataset.fetch(folder, quiet)
    assert server.paths() == ["a.zip"], "a complete and unchanged folder is not fetched again"
    (source / f"{SONGS[3]}.mid").unlink()
    (source / f"{SONGS[4]}.mid").write_bytes(b"x")
    assert [line.partition(".mid:")[0] for line in dataset.verify(source, quiet).differences] == [SONGS[3], SONGS[4]]
    dataset.fetch(folder, quiet)
    assert dataset.verify(source, quiet).differences == ()


def test_another_archive_names_both_ids(mirror: tuple[Server, bytes], tmp_path: Path, quiet: Quiet) -> None:
    server, raw = mirror
    changed = raw + b"x"
    url = server.put("a.zip", changed)
    actual = hashlib.sha1(b"blob %d\0" % len(changed) + changed).hexdigest()
    with pytest.raises(DataError) as error:
        Adl(url=url).fetch(tmp_path, quiet)
    assert error.value.message == (
        f"{url} is not the expected file, so it was not kept.\ngit blob expected {adl.BLOB}\n              got {actual}"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_breaks_off_leaves_nothing(mirror: tuple[Server, bytes], tmp_path: Path, quiet: Quiet) -> None:
    server, raw = mirror
    with pytest.raises(DataError, match="could not be downloaded"):
        Adl(url=server.put("a.zip", Answer(raw, cut=2000))).fetch(tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []
    dataset = Adl(url=server.put("b.zip", Answer(raw, cut=2000), raw))
    dataset.fetch(tmp_path, quiet)
    assert dataset.find([tmp_path]) is not None


def test_a_mirror_has_its_own_checksum(server: Server, quick_retries: None, tmp_path: Path, quiet: Quiet) -> None:
    raw = adl_zip()
    url = server.put("a.zip", raw)
    Adl(url=url, sha256=hashlib.sha256(raw).hexdigest()).fetch(tmp_path / "a", quiet)
    with pytest.raises(DataError, match=r"sha256 expected 0{64}\n            got [0-9a-f]{64}\n"):
        Adl(url=url, sha256="0" * 64).fetch(tmp_path / "b", quiet)


def test_an_archive_without_its_music(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    raw = zipped({"adl-piano-midi/README": b"", "other/Jazz/Bebop/a/b.mid": midi_bytes(music(1))})
    with pytest.raises(DataError, match=r"holds none of the files that are needed below adl-piano-midi/\.\n"):
        Adl(url=server.put("a.zip", raw), sha256=hashlib.sha256(raw).hexdigest()).fetch(tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_the_licence_is_named_before_the_download(server: Server, tmp_path: Path) -> None:
    url = server.put("a.zip", Answer(HTML, 404))
    answer = in_process.bench(tmp_path, "data", "fetch", "adl", "--option", f"url={url}")
    assert answer.returncode == 3
    assert answer.stdout == "Downloading adl. Licence: none stated: the files belong to those who made them\n"
    assert "answered 404" in answer.stderr
