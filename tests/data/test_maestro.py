"""MAESTRO: selection by CSV, fetching from a real server that fails in every way."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError
from bench.music.midi import read_midi
from bench.music.notes import check_columns

from .conftest import dataset_class, dataset_module, in_small_files
from .servers import HTML, ROWS, Answer, Server, maestro_csv, maestro_zip, midi_bytes, music

Maestro = dataset_class("maestro")
Quiet = Callable[[int, int, str], None]


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A folder as the zip holds it."""
    folder = tmp_path / "data" / "maestro-v3.0.0"
    for i, row in enumerate(ROWS):
        (folder / str(row[3])).mkdir(parents=True, exist_ok=True)
        (folder / str(row[3]) / f"{i}.midi").write_bytes(midi_bytes(music(i)))
    (folder / "maestro-v3.0.0.csv").write_text(maestro_csv())
    return folder


def ids(pieces: object) -> list[str]:
    return [p.id for p in pieces]  # type: ignore[attr-defined]


def test_official_split_and_hostile_titles(local: Path, quiet: Quiet) -> None:
    splits = Maestro().load(local, quiet)
    assert (ids(splits.train), ids(splits.validation)) == (["2004/0.midi", "2008/1.midi"], ["2008/2.midi"])
    assert ids(splits.test) == ["2009/3.midi", "2009/4.midi"]
    assert {p.title for p in (*splits.train, *splits.validation, *splits.test)} == {row[1] for row in ROWS}
    assert splits.train[0].sha256 == hashlib.sha256((local / "2004/0.midi").read_bytes()).hexdigest()


def test_found_at_a_root_or_below(local: Path) -> None:
    for root in (local, local.parent, local.parent.parent):
        assert Maestro().find([local / "nowhere", root]) == local
    assert Maestro(version="2").find([local.parent]) is None
    local.rename(local.with_name(".maestro-v3.0.0-unfinished"))
    assert Maestro().find([local.parent]) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"composer": "CHOPIN"}, ["2008/1.midi", "2008/2.midi"]),
        ({"composer": ["liszt", "bach"], "years": [2009]}, ["2009/3.midi", "2009/4.midi"]),
        ({"years": [2004, 2008]}, ["2004/0.midi", "2008/1.midi", "2008/2.midi"]),
    ],
)
def test_selection(local: Path, quiet: Quiet, options: dict[str, object], expected: list[str]) -> None:
    splits = Maestro(**options).load(local, quiet)
    assert sorted(ids(splits.train + splits.validation + splits.test)) == expected


def test_limit_is_a_split(local: Path, quiet: Quiet) -> None:
    splits = Maestro(limit=1).load(local, quiet)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1, 1, 1)
    assert splits == Maestro(limit=1).load(local, quiet)


def test_empty_selection_names_what_is_there(local: Path, quiet: Quiet) -> None:
    with pytest.raises(DataError, match=r"matches composer.*Brahms") as error:
        Maestro(composer="Brahms").load(local, quiet)
    assert "Franz Liszt" in error.value.hint


@pytest.mark.parametrize("given", ["1", "v1", "1.0.0", 1])
def test_versions(given: str) -> None:
    assert Maestro(version=given).version == "1.0.0"


def test_bad_options() -> None:
    with pytest.raises(DataError, match="version is '4'"):
        Maestro(version="4")
    with pytest.raises(DataError, match="limit is 0"):
        Maestro(limit=0)


def test_what_cannot_be_used_is_listed(local: Path, quiet: Quiet) -> None:
    (local / "2004/0.midi").unlink()
    (local / "2008/1.midi").write_bytes(HTML)
    (local / "2008/2.midi").write_bytes(b"")
    (local / "2009/3.midi").write_bytes(midi_bytes(music(3, 10)))
    splits = Maestro().load(local, quiet)
    assert ids(splits.test) == ["2009/4.midi"]
    assert splits.train == splits.validation == ()
    reasons = {s.source: s.reason for s in splits.skipped}
    assert "does not exist" in reasons["2004/0.midi"]
    assert "not a MIDI file" in reasons["2008/1.midi"]
    assert "empty" in reasons["2008/2.midi"]
    assert "10 notes, fewer than 32" in reasons["2009/3.midi"]


def test_rows_that_lead_elsewhere(local: Path, quiet: Quiet) -> None:
    (local.parent / "secret.midi").write_bytes(midi_bytes(music(9)))
    table = local / "maestro-v3.0.0.csv"
    table.write_text(table.read_text().replace("2004/0.midi", "../secret.midi"))
    splits = Maestro().load(local, quiet)
    assert [(s.source, "outside" in s.reason) for s in splits.skipped] == [("../secret.midi", True)]


def changed(local: Path, line: int, text: str) -> None:
    """Replace a line of the table, counted from 1; that of 4 and 5 is one row."""
    table = local / "maestro-v3.0.0.csv"
    lines = table.read_text().splitlines(keepends=True)
    lines[line - 1] = text + "\n"
    table.write_text("".join(lines))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Franz Liszt,Hungarian", "the row lacks split, year, midi_filename"),
        ("Franz Liszt,test,2009,2009/3.midi", "the row lacks midi_filename"),
        ("Franz Liszt,Sonata, in B,test,2009,2009/3.midi,2009/3.wav,60.5", "the row has more columns than the table"),
    ],
)
def test_a_row_of_other_columns_is_left_out_by_its_line(local: Path, quiet: Quiet, text: str, reason: str) -> None:
    before = Maestro().fingerprint(local)
    changed(local, 6, text)
    splits = Maestro().load(local, quiet)
    assert ids(splits.test) == ["2009/4.midi"]
    assert [(s.source, s.reason) for s in splits.skipped] == [("maestro-v3.0.0.csv, line 6", reason)]
    assert Maestro().verify(local, quiet).differences == (f"maestro-v3.0.0.csv, line 6: {reason}",)
    assert Maestro().fingerprint(local) != before


@pytest.mark.parametrize("end", [",2009/3.wav,60.5,,", ",2009/3.wav", ""])
def test_columns_that_nobody_reads_may_be_more_or_fewer(local: Path, quiet: Quiet, end: str) -> None:
    changed(local, 6, f"Franz Liszt,Sonata,test,2009,2009/3.midi{end}")
    splits = Maestro().load(local, quiet)
    assert (ids(splits.test), splits.skipped) == (["2009/3.midi", "2009/4.midi"], ())


def test_a_table_that_a_spreadsheet_saved(local: Path, quiet: Quiet) -> None:
    """It begins with a byte order mark."""
    before = Maestro().fingerprint(local)
    table = local / "maestro-v3.0.0.csv"
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert len(Maestro().load(local, quiet).test) == 2
    assert Maestro().fingerprint(local) == before


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (6, 'Franz Liszt,"Sonata,test,2009,2009/3.midi,2009/3.wav,60.5', "line 6 can't be read"),
        (7, 'Franz Liszt,"Sonata,test,2009,2009/3.midi,2009/3.wav,60.5', "line 7 can't be read"),
        (6, f"Franz Liszt,{'W' * 200_000},test,2009,2009/3.midi,2009/3.wav,60.5", "line 6 can't be read"),
        (1, "canonical_composer;canonical_title;split;year;midi_filename", "line 1 names no canonical_composer, canonical_title"),
    ],
)
def test_the_line_that_makes_a_table_unreadable_is_named(local: Path, quiet: Quiet, line: int, text: str, said: str) -> None:
    changed(local, line, text)
    with pytest.raises(DataError, match=rf"maestro-v3\.0\.0\.csv is not MAESTRO's table: {said}") as refused:
        Maestro().load(local, quiet)
    assert refused.value.hint == "Correct the table if it is your own; otherwise move it away and run `bench data fetch maestro`."


def test_a_table_of_millions_of_rows_is_none(local: Path, quiet: Quiet) -> None:
    with (local / "maestro-v3.0.0.csv").open("a") as table:
        table.write("a\n" * 200_000)
    with pytest.raises(DataError, match="it has more than 100,000 rows"):
        Maestro().load(local, quiet)


def test_the_line_of_text_in_another_encoding_is_named(local: Path, quiet: Quiet) -> None:
    table = local / "maestro-v3.0.0.csv"
    table.write_bytes(table.read_text().encode("latin-1"))
    with pytest.raises(DataError, match=r"line 3 isn't UTF-8 text"):
        Maestro().load(local, quiet)


def test_a_table_without_a_usable_row_names_the_first(local: Path, quiet: Quiet) -> None:
    (local / "maestro-v3.0.0.csv").write_text(maestro_csv(()) + "\nFranz Liszt\n")
    with pytest.raises(DataError, match=r"csv, line \d: the row lacks canonical_title, split"):
        Maestro().load(local, quiet)


def test_a_corrected_row_is_another_selection(local: Path, quiet: Quiet) -> None:
    """Else the report would still name what was left out before."""
    table = local / "maestro-v3.0.0.csv"
    whole, fingerprints = table.read_text(), set()
    for name in ("2009/3.midi", "../3.midi", "/etc/passwd"):
        table.write_text(whole.replace("2009/3.midi", name))
        fingerprints.add(Maestro().fingerprint(local))
    assert len(fingerprints) == 3
    table.write_text(whole.replace('"test"', '"Test"'))
    before = Maestro().fingerprint(local)
    table.write_text(whole.replace('"test"', '"TEST"'))
    assert Maestro().fingerprint(local) != before


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", maestro_csv(without="split")])
def test_damaged_table(local: Path, quiet: Quiet, table: str) -> None:
    (local / "maestro-v3.0.0.csv").write_text(table)
    with pytest.raises(DataError, match=r"maestro-v3\.0\.0\.csv"):
        Maestro().load(local, quiet)


def test_verify_of_a_folder_without_checksums_compares_nothing(local: Path, quiet: Quiet) -> None:
    found = Maestro().verify(local, quiet)
    assert (found.differences, found.compared, found.there) == ((), 0, len(ROWS))
    assert "no known checksum" in found.remark
    (local / "2004/0.midi").unlink()
    (local / "2008/1.midi").write_bytes(HTML)
    (local / "2008/2.midi").write_bytes(b"MThd")
    found = Maestro().verify(local, quiet)
    expected = ("2004/0.midi: missing", "2008/1.midi: not a MIDI file", "2008/2.midi: not a MIDI file")
    assert (found.differences, found.compared, found.there) == (expected, 0, len(ROWS) - 3)


def test_verify_counts_what_it_compares(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    raw, sha256 = maestro_zip()
    dataset = Maestro(url=server.put("m.zip", raw), sha256=sha256)
    dataset.fetch(tmp_path, quiet)
    found = dataset.verify(tmp_path, quiet)
    files = [p for p in (tmp_path / "maestro-v3.0.0").rglob("*") if p.is_file() and p.name != "checksums.json"]
    assert (found.differences, found.compared, found.there) == ((), len(files), 0)


def test_hints_name_the_version(local: Path, quiet: Quiet) -> None:
    with pytest.raises(DataError) as error:
        Maestro(version="2.0.0").load(None, quiet)
    assert "`bench data fetch maestro --option version=2.0.0`" in error.value.hint


def test_fingerprint_follows_content_and_selection(local: Path) -> None:
    before = Maestro().fingerprint(local)
    assert Maestro().fingerprint(local) == before
    assert Maestro(limit=1).fingerprint(local) != before
    os.utime(local / "2004/0.midi", (1, 1))
    assert Maestro().fingerprint(local) == before
    (local / "2004/0.midi").write_bytes(midi_bytes(music(99)))
    assert Maestro().fingerprint(local) != before


def test_real_files_are_read_as_symusic_reads_them(real_maestro: Path) -> None:
    from symusic import Score

    for path in sorted(real_maestro.rglob("*.midi"))[::20]:
        peer = Score(path, ttype="Second").tracks[0].notes.numpy()
        notes = read_midi(path)
        assert np.array_equal(notes.pitch, peer["pitch"])
        np.testing.assert_allclose(notes.onset, peer["time"], atol=1e-4)
        np.testing.assert_allclose(notes.duration, peer["duration"], atol=1e-4)
        check_columns(notes.onset, notes.duration, notes.pitch, notes.velocity)


def test_real_maestro(real_maestro: Path, quiet: Quiet) -> None:
    splits = Maestro(limit=5).load(real_maestro, quiet)
    assert min(len(splits.train), len(splits.validation), len(splits.test)) == 5
    assert all(len(p.notes) > 300 and p.notes.velocity.std() > 5 for p in splits.test)


# ---- fetching


@pytest.fixture
def mirror(server: Server, quick_retries: None) -> tuple[Server, bytes, str]:
    raw, sha256 = maestro_zip()
    return server, raw, sha256


def test_fetch(mirror: tuple[Server, bytes, str], tmp_path: Path, quiet: Quiet) -> None:
    server, raw, sha256 = mirror
    dataset = Maestro(url=server.put("m.zip", raw), sha256=sha256)
    seen: list[tuple[int, int, str]] = []
    dataset.fetch(tmp_path, lambda *a: seen.append(a))
    source = dataset.find([tmp_path])
    assert source == tmp_path / "maestro-v3.0.0"
    assert len(dataset.load(source, quiet).test) == 2
    assert (len(raw), len(raw), "downloading m.zip") in seen
    assert dataset.verify(source, quiet).differences == ()
    assert [p.name for p in tmp_path.iterdir()] == ["maestro-v3.0.0"]
    dataset.fetch(tmp_path, quiet)
    assert server.paths() == ["m.zip"], "a whole and unchanged folder is not fetched again"


def test_folders_reach_the_disk_before_and_after_they_are_renamed(
    mirror: tuple[Server, bytes, str], tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def flushed(descriptor: int) -> None:
        steps.append(Path(f"/proc/self/fd/{descriptor}").resolve().as_posix())
        fsync(descriptor)

    def renamed(path: Path, place: Path) -> Path:
        steps.append("rename")
        return rename(path, place)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)
    server, raw, sha256 = mirror
    Maestro(url=server.put("m.zip", raw), sha256=sha256).fetch(tmp_path, quiet)
    at = steps.index("rename")
    unpacked = {step.partition("/maestro-v3.0.0")[2] for step in steps[:at] if "/maestro-v3.0.0" in step}
    assert {"", "/2004", "/2004/0.midi"} <= unpacked
    assert str(tmp_path) in steps[at:]


def test_verify_names_what_differs_and_fetch_mends(mirror: tuple[Server, bytes, str], tmp_path: Path, quiet: Quiet) -> None:
    server, raw, sha256 = mirror
    dataset = Maestro(url=server.put("m.zip", raw), sha256=sha256)
    dataset.fetch(tmp_path, quiet)
    source = tmp_path / "maestro-v3.0.0"
    good = (source / "2004/0.midi").read_bytes()
    (source / "2004/0.midi").write_bytes(good + b"x")
    (source / "2008/1.midi").unlink()
    expected = hashlib.sha256(good).hexdigest()
    lines = dataset.verify(source, quiet).differences
    assert [line.split(":")[0] for line in lines] == ["2004/0.midi", "2008/1.midi"]
    assert f"expected {expected}, got {hashlib.sha256(good + b'x').hexdigest()}" in lines[0]
    dataset.fetch(tmp_path, quiet)
    assert dataset.verify(source, quiet).differences == ()
    assert [p.name for p in tmp_path.iterdir()] == ["maestro-v3.0.0"]


@pytest.mark.parametrize(
    "before",
    [
        [Answer(b"busy", 500)],
        [Answer(b"busy", 503), Answer(b"busy", 500)],
        [Answer(bytes(50_000), cut=20_000)],
        [Answer(b"", 429)],
    ],
)
def test_fetch_tries_again(mirror: tuple[Server, bytes, str], tmp_path: Path, quiet: Quiet, before: list[Answer]) -> None:
    server, raw, sha256 = mirror
    dataset = Maestro(url=server.put("m.zip", *before, raw), sha256=sha256)
    dataset.fetch(tmp_path, quiet)
    assert len(server.asked) == len(before) + 1
    assert dataset.verify(tmp_path / "maestro-v3.0.0", quiet).differences == ()


@pytest.mark.parametrize(
    ("answer", "match", "asked"),
    [
        (Answer(HTML, 404), "answered 404", 1),
        (Answer(b"x", 500), "answered 500", 4),
        (Answer(bytes(50_000), cut=20_000), "could not be downloaded", 4),
        (Answer(HTML), "expected [0-9a-f]{64}\n.*got [0-9a-f]{64}", 1),
    ],
)
def test_fetch_that_fails_leaves_nothing(
    mirror: tuple[Server, bytes, str], tmp_path: Path, quiet: Quiet, answer: Answer, match: str, asked: int
) -> None:
    server, _, sha256 = mirror
    url = server.put("m.zip", answer)
    with pytest.raises(DataError, match=match) as error:
        Maestro(url=url, sha256=sha256).fetch(tmp_path, quiet)
    assert url in error.value.message
    assert len(server.asked) == asked
    assert list(tmp_path.iterdir()) == []


def test_wrong_checksum_names_both(mirror: tuple[Server, bytes, str], tmp_path: Path, quiet: Quiet) -> None:
    server, raw, sha256 = mirror
    with pytest.raises(DataError) as error:
        Maestro(url=server.put("m.zip", raw), sha256="0" * 64).fetch(tmp_path, quiet)
    assert "0" * 64 in error.value.message
    assert sha256 in error.value.message


def test_nobody_listens(quick_retries: None, tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(DataError, match="could not be downloaded"):
        Maestro(url="http://127.0.0.1:9/m.zip", sha256="0" * 64).fetch(tmp_path, quiet)


def test_version_1_is_fetched_and_any_other_archive_refused(
    server: Server, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, sha256 = maestro_zip("1.0.0")
    url = server.put("v1.zip", raw)
    with pytest.raises(DataError, match="f620f9e1eceaab8beea10617599add2e9c83234199b550382a2f603098ae7135"):
        Maestro(version="1", url=url).fetch(tmp_path, quiet)
    assert not (tmp_path / "maestro-v1.0.0").exists()
    monkeypatch.setitem(dataset_module("maestro", "maestro").CHECKSUMS, "1.0.0", sha256)
    dataset = Maestro(version="1", url=url)
    dataset.fetch(tmp_path, quiet)
    assert len(dataset.load(dataset.find([tmp_path]), quiet).test) == 2
    assert Maestro(version="1").url.endswith("/v1.0.0/maestro-v1.0.0-midi.zip")


def test_the_pedal_lengthens_notes_where_it_is_asked_for(local: Path, quiet: Quiet) -> None:
    """In music whose pedal is down all the time, each note lasts until its key is struck again."""
    import mido

    path = local / "2009/3.midi"
    file = mido.MidiFile(path)
    file.tracks[-1].insert(0, mido.Message("control_change", control=64, value=127))
    file.save(path)
    plain, held = Maestro(), Maestro(pedal="extend")
    assert plain.fingerprint(local) == Maestro(pedal="ignore").fingerprint(local) != held.fingerprint(local)
    (other, *_), (before, *_) = (d.load(local, quiet).train for d in (held, plain))
    assert other.notes == before.notes, "a file without its events"
    before, after = (d.load(local, quiet).test[0].notes for d in (plain, held))
    assert before.onset.tolist() == after.onset.tolist()
    again = [next((t for t, p in zip(after.onset[i + 1 :], after.pitch[i + 1 :], strict=True) if p == pitch), None)
             for i, pitch in enumerate(after.pitch)]  # fmt: skip
    ends = after.onset + after.duration
    assert all(end == pytest.approx(t) for end, t in zip(ends, again, strict=True) if t is not None)
    folder = dataset_class("folder")(path=local, pedal="extend", minimum_notes=1)
    pieces = folder.load(local, quiet)
    assert any(piece.notes == after for piece in (*pieces.train, *pieces.validation, *pieces.test))
    with pytest.raises(DataError, match="pedal is 'down'"):
        Maestro(pedal="down")


@pytest.mark.parametrize(
    "name", ["../evil.midi", "maestro-v3.0.0/../../evil.midi", "/evil.midi", "maestro-v3.0.0\\..\\evil.midi", "evil.midi"]
)
def test_a_zip_that_leads_elsewhere_is_refused(server: Server, tmp_path: Path, quiet: Quiet, name: str) -> None:
    raw, sha256 = maestro_zip(extra={name: b"evil"})
    folder = tmp_path / "in" / "here"
    with pytest.raises(DataError, match="outside"):
        Maestro(url=server.put("m.zip", raw), sha256=sha256).fetch(folder, quiet)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name != ".maestro-v3.0.0.zip"]


@pytest.mark.parametrize("name", ["x" * 300 + ".midi", "a/" * 70 + "b.midi", f"{'x' * 200}/" * 20 + "b.midi"])
def test_a_name_that_no_file_can_have_is_the_archives_fault(server: Server, tmp_path: Path, quiet: Quiet, name: str) -> None:
    raw, sha256 = maestro_zip(extra={f"maestro-v3.0.0/{name}": b"long"})
    with pytest.raises(DataError, match="a name that no file can have") as refused:
        Maestro(url=server.put("m.zip", raw), sha256=sha256).fetch(tmp_path / "here", quiet)
    assert refused.value.hint == "Nothing was unpacked."


def zipped(*members: tuple[zipfile.ZipInfo, bytes]) -> tuple[bytes, str]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, body in members:
            archive.writestr(info, body, info.compress_type)
    return out.getvalue(), hashlib.sha256(out.getvalue()).hexdigest()


def member(name: str, *, mode: int = 0o100644, packed: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"maestro-v3.0.0/{name}")
    info.external_attr, info.compress_type = mode << 16, packed
    return info


def refused(server: Server, folder: Path, raw: bytes, quiet: Quiet, match: str) -> None:
    sha256 = hashlib.sha256(raw).hexdigest()
    with pytest.raises(DataError, match=match):
        Maestro(url=server.put("m.zip", raw), sha256=sha256).fetch(folder, quiet)
    assert list(folder.iterdir()) == []


def test_a_zip_with_links_or_unusual_packing_is_refused(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    refused(server, tmp_path, zipped((member("a.midi", mode=0o120777), b"/etc/passwd"))[0], quiet, "which is a link")
    refused(server, tmp_path, zipped((member("a.midi", mode=0o010644), b""))[0], quiet, "a link or a device")
    refused(
        server, tmp_path, zipped((member("a.midi", packed=zipfile.ZIP_LZMA), b"x"))[0], quiet, "encrypted or packed by a method"
    )


def test_a_sparse_file_is_not_read_to_its_end(tmp_path: Path, quiet: Quiet) -> None:
    """Terabytes that take no disk, which a received folder's own list may name, were hashed for hours."""
    (tmp_path / "a.mid").touch()
    os.truncate(tmp_path / "a.mid", 2 << 40)
    (line,) = dataset_module("maestro", "_download").compare(tmp_path, {"a.mid": "0" * 64}, quiet).differences
    assert line.startswith("a.mid: 2,199,023,255,552 bytes; at most ")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    server: Server, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(server, tmp_path, zipped((member("a.midi"), bytes(20_000_000)))[0], quiet, "of 20000000 bytes, packed into")
    half = zipped((member("a.midi"), os.urandom(600)), (member("b.midi"), os.urandom(600)))[0]
    limits = dataset_module("maestro", "_download")
    for limit, value, match in (
        ("MOST_FILE_BYTES", 500, "of 600 bytes"),
        ("MOST_BYTES", 1000, "2 files of 1200 bytes in all"),
        ("MOST_FILES", 1, "at most 1 of"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, value)
            refused(server, tmp_path, half, quiet, match)


def test_a_member_longer_than_it_says_is_refused(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    raw = zipped((member("a.midi"), b"x" * 5000))[0]
    refused(server, tmp_path, raw.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")), quiet, "damaged")


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_zip_is_refused_in_words(server: Server, tmp_path: Path, quiet: Quiet, seed: int) -> None:
    raw, rng = bytearray(maestro_zip()[0]), np.random.default_rng(seed)
    for at in rng.integers(len(raw) - 2000, len(raw), 8):
        raw[at] = rng.integers(256)
    dataset = Maestro(url=server.put("m.zip", bytes(raw)), sha256=hashlib.sha256(raw).hexdigest())
    try:
        dataset.fetch(tmp_path, quiet)
    except DataError:
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_folder(mirror: tuple[Server, bytes, str], tmp_path: Path, quiet: Quiet) -> None:
    server, raw, sha256 = mirror
    url = server.put("m.zip", raw)
    assert (
        in_small_files("maestro", tmp_path, url=url, sha256=sha256) == f"DataError: {tmp_path} can't be written (File too large)."
    )
    assert list(tmp_path.iterdir()) == []
    Maestro(url=url, sha256=sha256).fetch(tmp_path, quiet)
    (tmp_path / "maestro-v3.0.0/LICENSE").write_text("changed")
    unzip = dataset_module("maestro", "_download").unzip
    (tmp_path / "new").write_bytes(zipped((member("a.midi"), b"x" * 300), (member("a.midi/b"), b"x"))[0])
    with pytest.raises(DataError, match="can't be written"):
        unzip(tmp_path / "new", "maestro-v3.0.0", tmp_path, quiet)
    assert (tmp_path / "maestro-v3.0.0/LICENSE").read_text() == "changed"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["maestro-v3.0.0", "new"]


def test_an_endless_list_of_files_is_not_read(tmp_path: Path, quiet: Quiet) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(70_000):
            archive.writestr(f"{number:0200}", b"")
    before = time.process_time()
    with pytest.raises(DataError, match=r"ZIP64|has a list of files of [0-9,]+ bytes"):
        dataset_module("maestro", "_download").unzip(tmp_path / "many.zip", "maestro-v3.0.0", tmp_path, quiet)
    assert time.process_time() - before < 0.5


def hide_in_zip64(archive: bytes) -> bytes:
    """Say in an archive's last record that its list is short, and the truth in a record of ZIP64, which `zipfile` believes."""
    at = archive.rfind(b"PK\5\6")
    count, size, start = struct.unpack("<HII", archive[at + 10 : at + 20])
    whole = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, at, 1)
    return archive[:at] + whole + locator + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 46, start, 0)


def hide_in_record(archive: bytes) -> bytes:
    """Let the last record look as if another one began in it."""
    at = archive.rfind(b"PK\5\6")
    return archive[: at + 4] + b"PK\5\6" + archive[at + 8 :]


@pytest.mark.parametrize("hide", [hide_in_zip64, hide_in_record])
def test_an_endless_list_of_files_that_is_hidden_is_not_read_either(
    tmp_path: Path, quiet: Quiet, hide: Callable[[bytes], bytes]
) -> None:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for number in range(60_000):
            archive.writestr(f"{number:0300}", b"")
    (tmp_path / "many.zip").write_bytes(hide(raw.getvalue()))
    with zipfile.ZipFile(tmp_path / "many.zip") as opened:
        assert len(opened.infolist()) == 60_000
    before = time.process_time()
    with pytest.raises(DataError, match=r"ZIP64|has a list of files of [0-9,]+ bytes"):
        dataset_module("maestro", "_download").unzip(tmp_path / "many.zip", "maestro-v3.0.0", tmp_path, quiet)
    assert time.process_time() - before < 0.5


def test_not_a_zip(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    url = server.put("m.zip", HTML)
    with pytest.raises(DataError, match="not a zip file"):
        Maestro(url=url, sha256=hashlib.sha256(HTML).hexdigest()).fetch(tmp_path, quiet)
    assert not (tmp_path / "maestro-v3.0.0").exists()


# A shell that starts pytest in the background has Ctrl-C ignored, and children inherit that.
CHILD = """
import signal, sys
from pathlib import Path
from bench.plugins import discovery
signal.signal(signal.SIGINT, signal.default_int_handler)
url, sha256, folder = sys.argv[1:]
discovery.load(discovery.get_plugin("dataset", "maestro"))(url=url, sha256=sha256).fetch(Path(folder), lambda *a: None)
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_fetch_is_not_taken_for_whole(server: Server, tmp_path: Path, quiet: Quiet, kill: signal.Signals) -> None:
    raw, sha256 = maestro_zip(extra={"maestro-v3.0.0/long": os.urandom(400_000)})
    url = server.put("m.zip", Answer(raw, slow=1.0), Answer(raw))
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, sha256, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (parts := [p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size > 30_000]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(kill)
    child.wait(30)
    assert parts
    dataset = Maestro(url=url, sha256=sha256)
    assert dataset.find([tmp_path]) is None
    dataset.fetch(tmp_path, quiet)
    source = dataset.find([tmp_path])
    assert source is not None
    assert dataset.verify(source, quiet).differences == ()


def test_leftovers_of_killed_fetches_go(tmp_path: Path) -> None:
    scratch = dataset_module("maestro", "_download").scratch_folder
    old, new = tmp_path / ".unfinished-old", tmp_path / ".unfinished-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (1, 1))
    with scratch(tmp_path) as mine:
        assert mine.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == [".unfinished-new"]


@pytest.mark.parametrize("name", ["adl", "folder", "maestro", "midiworld", "mon2025", "pop909"])
def test_every_dataset_of_midi_files_has_the_pedal_as_an_option(name: str) -> None:
    assert dataset_class(name)().pedal is False
    assert dataset_class(name)(pedal="extend").pedal is True
    with pytest.raises(DataError, match="pedal is 'half'"):
        dataset_class(name)(pedal="half")
