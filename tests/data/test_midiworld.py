"""midiworld: pages, politeness, and the lock file, against a real server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.music.midi import midi_bytes

from .conftest import dataset_class, dataset_module, in_small_files
from .servers import HTML, Answer, Server, midiworld_search, music, serving

Midiworld = dataset_class("midiworld")
midiworld = dataset_module("midiworld")
pages = dataset_module("midiworld", "_midiworld")
web = dataset_module("midiworld", "_web")
Quiet = Callable[[int, int, str], None]

HOSTILE = (
    "Nocturne - by night - op. 9",
    "<script>alert('x')</script>",
    '"quoted" & (bracketed (twice))',
    "../../../etc/passwd\t",
    "夜想曲 Für Élise",
    "=HYPERLINK(1)",
)

CLASSIC = b'<html><a href="bach.htm">Bach</a><a href="chopin.htm">Chopin</a><a href="http://elsewhere/x.txt">x</a></html>'


@pytest.fixture
def site(server: Server, quick_retries: None) -> Server:
    """Two result pages of hostile titles, all with good files."""
    results = [(i, title, f"Artist {i}") for i, title in enumerate(HOSTILE)]
    midiworld_search(server, "piano", [results[:4], results[4:]])
    for i in range(len(HOSTILE)):
        server.put(f"download/{i}", midi_bytes(music(i, 90)))
    return server


def make(server: Server, **options: Any) -> Any:
    return Midiworld(base_url=server.url, **{"delay": 0.0, **options})


def all_pieces(splits: Any) -> list[Any]:
    return [*splits.train, *splits.validation, *splits.test]


def test_fetch_load_and_hostile_titles(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    dataset = make(site)
    assert dataset.find([tmp_path]) is None
    dataset.fetch(tmp_path, quiet)
    source = dataset.find([tmp_path.parent])
    assert source == tmp_path
    splits = dataset.load(source, quiet)
    pieces = all_pieces(splits)
    assert sorted(p.title for p in pieces) == sorted(" ".join(t.split()) for t in HOSTILE)
    assert {p.composer for p in pieces} == {f"Artist {i}" for i in range(len(HOSTILE))}
    assert min(len(splits.train), len(splits.validation), len(splits.test)) >= 1
    assert site.paths()[:3] == ["search/1/?q=piano", "search/2/?q=piano", "search/3/?q=piano"]
    assert all(p.resolve().is_relative_to(tmp_path) for p in tmp_path.rglob("*"))
    assert dataset.verify(tmp_path, quiet).differences == ()


def test_a_password_is_taken_from_netrc(site: Server, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login bob password s3cr3t\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    make(site).fetch(tmp_path / "music", quiet)
    assert site.authorizations == {"Basic Ym9iOnMzY3IzdA=="}


def test_lock_file(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    make(site).fetch(tmp_path, quiet)
    lock = json.loads((tmp_path / "midiworld.lock.json").read_text())
    entry = lock["files"][site.url + "download/0"]
    raw = (tmp_path / entry["file"]).read_bytes()
    assert entry == {
        "file": entry["file"],
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": len(raw),
        "title": HOSTILE[0],
        "composer": "Artist 0",
    }


def test_second_fetch_asks_only_for_what_is_missing(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    dataset = make(site)
    dataset.fetch(tmp_path, quiet)
    first, prints = len(site.asked), dataset.fingerprint(tmp_path)
    dataset.fetch(tmp_path, quiet)
    assert len(site.asked) == first
    lock = json.loads((tmp_path / "midiworld.lock.json").read_text())
    (tmp_path / lock["files"][site.url + "download/2"]["file"]).unlink()
    (tmp_path / lock["files"][site.url + "download/3"]["file"]).write_bytes(b"damaged")
    assert len(dataset.verify(tmp_path, quiet).differences) == 2
    dataset.fetch(tmp_path, quiet)
    assert site.paths()[first:] == ["download/2", "download/3"]
    assert dataset.verify(tmp_path, quiet).differences == ()
    assert dataset.fingerprint(tmp_path) == prints


@pytest.mark.parametrize("lock_kept", [True, False])
def test_a_file_damaged_here_is_fetched_again(site: Server, tmp_path: Path, quiet: Quiet, lock_kept: bool) -> None:
    """By another selection too; the site isn't blamed, and what lies here is no file of the site without a lock that knows it."""
    make(site, limit=2).fetch(tmp_path, quiet)
    lock, asked = tmp_path / "midiworld.lock.json", len(site.asked)
    before = json.loads(lock.read_text())["files"]
    damaged = tmp_path / before[site.url + "download/1"]["file"]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    if not lock_kept:
        lock.unlink()
    make(site, limit=4).fetch(tmp_path, quiet)
    numbers = [path.removeprefix("download/") for path in site.paths()[asked:] if path.startswith("download/")]
    assert numbers == (["1", "2", "3"] if lock_kept else ["0", "1", "2", "3"])
    assert before.items() <= json.loads(lock.read_text())["files"].items()
    assert make(site, limit=4).verify(tmp_path, quiet).differences == ()


def test_a_locked_file_that_was_damaged_here_and_changed_there(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    make(site, limit=2).fetch(tmp_path, quiet)
    before = (tmp_path / "midiworld.lock.json").read_bytes()
    path = tmp_path / json.loads(before)["files"][site.url + "download/1"]["file"]
    path.write_bytes(b"damaged")
    for answer, said in ((midi_bytes(music(77, 90)), "sha256 expected"), (Answer(b"", 404), "the server answered 404")):
        site.put("download/1", answer)
        with pytest.raises(DataError, match=rf"files differ from the locked ones(?s:.*)download/1 \(.*\): {said}"):
            make(site, limit=4).fetch(tmp_path, quiet)
        assert path.read_bytes() == b"damaged"
        assert make(site, limit=4).find([tmp_path]) is None


def test_an_interrupted_fetch_asks_only_for_the_rest(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    def until(done: int, total: int, what: str) -> None:
        if what == "downloading files" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(site).fetch(tmp_path, until)
    make(site).fetch(tmp_path, quiet)
    assert [site.paths().count(f"download/{i}") for i in range(len(HOSTILE))] == [1] * len(HOSTILE)
    assert len(all_pieces(make(site).load(tmp_path, quiet))) == len(HOSTILE)


def test_temporary_files_that_killed_downloads_left_go(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    dataset = make(site)
    dataset.fetch(tmp_path, quiet)
    old = [tmp_path / ".midiworld.lock.json.0f3a.tmp", tmp_path / "files" / ".a.mid.7.tmp"]
    another = tmp_path / "files" / ".b.mid.8.tmp"
    for file in (*old, another):
        file.touch()
    for file in old:
        os.utime(file, (0, 0))
    dataset.fetch(tmp_path, quiet)
    assert not any(file.exists() for file in old)
    assert another.exists(), "another download may be writing it"


def test_a_lock_taken_elsewhere_gives_the_same_files(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    dataset = make(site)
    dataset.fetch(tmp_path / "here", quiet)
    (tmp_path / "there").mkdir()
    shutil.copy(tmp_path / "here/midiworld.lock.json", tmp_path / "there")
    dataset.fetch(tmp_path / "there", quiet)
    assert dataset.load(tmp_path / "there", quiet) == dataset.load(tmp_path / "here", quiet)


def test_a_changed_file_is_refused_and_named(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    dataset = make(site)
    dataset.fetch(tmp_path, quiet)
    lock = json.loads((tmp_path / "midiworld.lock.json").read_text())["files"][site.url + "download/1"]
    (tmp_path / lock["file"]).unlink()
    other = midi_bytes(music(77, 90))
    site.put("download/1", other)
    with pytest.raises(DataError) as error:
        dataset.fetch(tmp_path, quiet)
    for text in ("download/1", HOSTILE[1], lock["sha256"], hashlib.sha256(other).hexdigest()):
        assert text in error.value.message
    assert not (tmp_path / lock["file"]).exists()
    with pytest.raises(DataError, match="missing"):
        dataset.load(tmp_path, quiet)


def test_what_is_not_midi_is_counted(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    site.put("download/0", HTML)
    site.put("download/1", Answer(b"", 404))
    site.put("download/2", b"RIFFxxxx")
    site.put("download/3", b"MThd but damaged")
    site.put("download/4", midi_bytes(music(4, 10)))
    dataset = make(site)
    dataset.fetch(tmp_path, quiet)
    splits = dataset.load(tmp_path, quiet)
    reasons = {s.source: s.reason for s in splits.skipped}
    assert [p.title for p in all_pieces(splits)] == [HOSTILE[5]]
    assert len(reasons) == 5
    assert reasons[site.url + "download/0"] == "HTML instead of MIDI"
    assert "404" in reasons[site.url + "download/1"]
    assert reasons[site.url + "download/2"] == "not a MIDI file"
    assert any("parsed" in r for r in reasons.values())
    assert any("10 notes" in r for r in reasons.values())


def test_500_then_200_and_a_cut_body(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    good = midi_bytes(music(0, 90))
    site.put("download/0", Answer(b"", 500), Answer(b"", 502), good)
    site.put("download/1", Answer(good + bytes(40_000), cut=100), midi_bytes(music(1, 90)))
    site.put("search/1/?q=piano", Answer(b"", 503), *site.answers["search/1/?q=piano"])
    dataset = make(site)
    dataset.fetch(tmp_path, quiet)
    assert len(all_pieces(dataset.load(tmp_path, quiet))) == len(HOSTILE)
    assert site.paths().count("download/0") == 3
    assert site.paths().count("download/1") == 2


def test_retry_after_is_obeyed(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    site.put("download/0", Answer(b"", 429, {"Retry-After": "1"}), midi_bytes(music(0, 90)))
    make(site).fetch(tmp_path, quiet)
    first, second = (at for at, path in site.asked if path == "download/0")
    assert second - first >= 1.0


def gaps(server: Server) -> list[float]:
    return [b - a for (a, _), (b, _) in pairwise(server.asked)]


def test_retries_wait_like_all_requests(server: Server, quick_retries: None) -> None:
    """Busy answers, a cut body, a failed address and the one after it: never two requests within the delay."""
    server.put("a", Answer(b"", 503), Answer(b"", 429), Answer(bytes(40_000), cut=100), b"fine")
    server.put("b", Answer(b"", 500))
    server.put("c", b"also fine")
    visitor = web.Client(server.url, delay=0.2)
    assert visitor.get(server.url + "a") == b"fine"
    with pytest.raises(web.GoneError, match="answered 500"):
        visitor.get(server.url + "b")
    assert visitor.get(server.url + "c") == b"also fine"
    assert server.paths() == ["a"] * 4 + ["b"] * 4 + ["c"]
    assert min(gaps(server)) >= 0.2


def test_retries_back_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BACK_OFF", 0.1)
    server.put("a", Answer(b"", 500))
    with pytest.raises(web.GoneError):
        web.Client(server.url).get(server.url + "a")
    assert [gap >= least for gap, least in zip(gaps(server), (0.1, 0.2, 0.4), strict=True)] == [True] * 3


def test_a_connection_that_fails_is_tried_again_no_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BACK_OFF", 0.02)
    began = time.monotonic()
    with pytest.raises(web.GoneError, match=r"127\.0\.0\.1 can't be reached"):
        web.Client("http://127.0.0.1:9/", delay=0.1).get("http://127.0.0.1:9/x")
    assert 0.3 <= time.monotonic() - began < 60


def test_a_server_that_asks_for_a_long_time_is_left_alone(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    site.put("download/1", Answer(b"", 429, {"Retry-After": "4000"}))
    with pytest.raises(DataError, match="asks to wait 4000 seconds"):
        make(site).fetch(tmp_path, quiet)
    assert site.paths()[-1] == "download/1"
    site.put("download/1", midi_bytes(music(1, 90)))
    make(site).fetch(tmp_path, quiet)
    assert site.paths().count("download/0") == 1, "what was fetched is kept"


def test_retry_after_as_number_and_date() -> None:
    now = datetime.now(UTC)
    assert web.retry_after(" 7") == 7
    assert 55 < web.retry_after(format_datetime(now + timedelta(seconds=60), usegmt=True)) <= 60
    assert web.retry_after(format_datetime(now - timedelta(seconds=60), usegmt=True)) == 0
    assert [web.retry_after(text) for text in ("", "soon", "-5", "nan", "Mon, 99 Foo 2024")] == [0] * 5


def test_hints_name_the_selection(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(DataError) as error:
        Midiworld(query=["a", "b c"], limit=7).load(tmp_path, quiet)
    assert error.value.hint == """Run `bench data fetch midiworld --option 'query=["a", "b c"]' --option limit=7`."""
    with pytest.raises(DataError) as error:
        Midiworld(composers="bach").load(None, quiet)
    assert "`bench data fetch midiworld --option composers=bach`" in error.value.hint


def test_one_request_at_a_time_with_a_delay(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    make(site, delay=0.1).fetch(tmp_path, quiet)
    assert site.most_at_once == 1
    assert min(b - a for (a, _), (b, _) in pairwise(site.asked)) >= 0.1


def test_a_server_that_is_down(server: Server, quick_retries: None, tmp_path: Path, quiet: Quiet) -> None:
    server.put("search/1/?q=piano", Answer(b"", 500))
    with pytest.raises(DataError, match=r"search/1.*could not be read"):
        make(server).fetch(tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_nothing_found(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    midiworld_search(server, "piano", [])
    with pytest.raises(DataError, match="the pages list no file"):
        make(server).fetch(tmp_path, quiet)


def test_limit_and_selections_in_one_lock(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    few, more = make(site, limit=2), make(site, limit=4)
    few.fetch(tmp_path, quiet)
    assert more.find([tmp_path]) is None
    more.fetch(tmp_path, quiet)
    assert (len(all_pieces(few.load(tmp_path, quiet))), len(all_pieces(more.load(tmp_path, quiet)))) == (2, 4)
    assert site.paths().count("download/0") == 1
    assert few.fingerprint(tmp_path) != more.fingerprint(tmp_path)


def test_composer_page(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    links = "".join(f'<li><a href="midis/other/bach/{n}.mid">Fugue {n}</a></li>' for n in ("bwv1", "bwv2", "b%20w"))
    elsewhere = '<a href="http://evil.example/x.mid">Evil</a><a href="chopin.htm">Chopin</a>'
    server.put("bach.htm", f"<html>{links}{elsewhere}</html>".encode())
    for i, name in enumerate(("bwv1", "bwv2", "b w")):
        server.put(f"midis/other/bach/{name}.mid", midi_bytes(music(i, 90)))
    dataset = make(server, composers="Bach")
    dataset.fetch(tmp_path, quiet)
    pieces = all_pieces(dataset.load(tmp_path, quiet))
    assert sorted(p.title for p in pieces) == ["Fugue b%20w", "Fugue bwv1", "Fugue bwv2"]
    assert len(server.asked) == 4


def test_unknown_composer_names_the_known(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    server.put("classic.htm", CLASSIC)
    with pytest.raises(DataError, match="no page for the composer 'nobody'") as error:
        make(server, composers=["nobody"]).fetch(tmp_path, quiet)
    assert "bach, chopin" in error.value.hint


def test_programs(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    from symusic import Score

    midiworld_search(server, "piano", [[(0, "Violin piece", "A")]])
    score = Score.from_midi(midi_bytes(music(0, 90)))
    score.tracks[0].program = 40
    server.put("download/0", score.dumps_midi())
    make(server).fetch(tmp_path, quiet)
    assert [s.reason for s in make(server).load(tmp_path, quiet).skipped] == ["it has no piano notes"]
    assert len(all_pieces(make(server, programs="all").load(tmp_path, quiet))) == 1
    with pytest.raises(DataError, match="programs is 'violin'"):
        make(server, programs="violin")


def test_versions_of_a_title_share_a_split(server: Server, tmp_path: Path, quiet: Quiet) -> None:
    titles = [f"Piece No. {i} ({version})" for i in range(20) for version in ("fast", "slow")]
    midiworld_search(server, "piano", [[(i, t, "A") for i, t in enumerate(titles)]])
    for i in range(len(titles)):
        server.put(f"download/{i}", midi_bytes(music(i, 90)))
    dataset = make(server)
    dataset.fetch(tmp_path, quiet)
    splits = dataset.load(tmp_path, quiet)
    names = [{p.title.split(" (")[0] for p in getattr(splits, s)} for s in ("train", "validation", "test")]
    assert sum(map(len, names)) == 20
    assert all(names)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda lock: "{", "damaged"),
        (lambda lock: "[]", "damaged"),
        (lambda lock: json.dumps(lock | {"format": 9}), "format 9"),
        (lambda lock: json.dumps(lock | {"files": {}}), "does not list"),
        (lambda lock: json.dumps(lock).replace("files/", "../files/"), "outside"),
        (lambda lock: json.dumps(lock).replace("files/", "/files/"), "outside"),
        (lambda lock: re.sub(r'"file": "[^"]*"', '"file": 7', json.dumps(lock)), "describes wrongly"),
        (lambda lock: re.sub(r'"title": "[^"]*"', '"title": null', json.dumps(lock), count=1), "describes wrongly"),
        (lambda lock: '{"files": ' + "[" * 100_000, "damaged"),
    ],
)
def test_damaged_lock(site: Server, tmp_path: Path, quiet: Quiet, change: Callable[[Any], str], match: str) -> None:
    make(site).fetch(tmp_path, quiet)
    path = tmp_path / "midiworld.lock.json"
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(DataError, match=match) as error:
        make(site).load(tmp_path, quiet)
    assert "midiworld.lock.json" in str(error.value)


def test_a_result_that_never_ends(server: Server, quick_retries: None) -> None:
    """The same page again and again, and a file without end."""
    midiworld_search(server, "x", [[(0, "A", "B")]] * 2)
    page = server.answers["search/1/?q=x"][0]
    for number in range(1, 10):
        server.put(f"search/{number}/?q=x", page)
    assert len(pages.search(web.Client(server.url), server.url, "x", 100)) == 1
    assert len(server.asked) == 2
    for answer in (Answer(bytes(5000)), Answer(bytes(5000), measured=False)):
        with pytest.raises(web.GoneError, match="larger than 1000 bytes"):
            web.Client(server.url).get(server.put("big", answer), web.Limits(1000, 60))


@pytest.mark.parametrize(
    "hostile",
    [
        "<li>A - by B" + " " * 800 + "(<a href='/download/2'>",
        "<a " * 20_000,
        "<!--" * 20_000,
        '<a href="' * 20_000,
        "<?" * 200_000,
    ],
    ids=lambda page: page[:5],
)
def test_a_hostile_page_costs_little_time(hostile: str) -> None:
    """By a regular expression of the fourth power, or by html.parser and what is built on it, each took minutes or hours."""
    began = time.monotonic()
    page = f"<li>A - by B - <a href='/download/1'>download</a>{hostile}".encode()
    links = pages.parse_search(page, "http://h/search/1/")
    assert time.monotonic() - began < 3
    assert links[0] == pages.Link("http://h/download/1", "A", "B")


@pytest.mark.parametrize(
    "href", ["http://[", "http://[::1/download/1", "http://h:x/download/1", "ftp://h/download/1", "//h/download/1"]
)
def test_a_malformed_address_costs_only_itself(site: Server, tmp_path: Path, quiet: Quiet, href: str) -> None:
    page = site.answers["search/1/?q=piano"][0].body.replace(
        b"<ul>", f'<ul><li>Bad - by X - <a href="{href}">x</a></li>'.encode()
    )
    site.put("search/1/?q=piano", page)
    make(site).fetch(tmp_path, quiet)
    assert len(all_pieces(make(site).load(tmp_path, quiet))) == len(HOSTILE)


def test_comments_scripts_and_odd_tags() -> None:
    page = b"""<!-- <li>A - by B - <a href="/download/1">x</a> --><script>"<li>A - by B <a href='/download/2'>x</a>"</script>
    <ul><LI>T &amp; <b>bold</b> - by C (G) - <A TARGET=_blank HREF = /download/3 >download</A>
    <li><a href="/download/4">no title</a></li><a href="/download/5">outside</a><li>Caf\xe9 - by D - <a href='/download/6'>x"""
    links = pages.parse_search(page, "http://h/search/1/")
    expected = [("3", "T & bold", "C"), ("4", "", ""), ("6", "Café", "D")]
    assert [(link.url, link.title, link.composer) for link in links] == [(f"http://h/download/{n}", t, c) for n, t, c in expected]


def test_a_character_of_thousands_of_digits_costs_its_text_alone() -> None:
    """Python refuses to make a number of them."""
    digits = "&#" + "1" * 5000 + ";"
    items = (f"<li>Tune {n} - by B - <a href='/download/{n}'>{digits if n == 1 else 'x'}</a></li>" for n in range(3))
    page = f"<ul><li>{digits} - by B - <a href='/download/9'>x</a></li>{''.join(items)}</ul>"
    assert [link.url for link in pages.parse_search(page.encode(), "http://h/search/1/")] == [
        f"http://h/download/{n}" for n in (9, 0, 1, 2)
    ]


def test_names_of_composers_pages_are_names() -> None:
    page = b'<a href="bach.htm">B</a><a href="&#27;[2J.htm">x</a><a href="classic.htm">c</a><a href="/old/de_falla.htm">F</a>'
    assert pages.composers(page) == ["bach", "de_falla"]


def test_a_lock_cannot_name_another_server(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    """A lock may come from someone else; this machine asks no one else because of it."""
    make(site).fetch(tmp_path / "here", quiet)
    lock = (tmp_path / "here/midiworld.lock.json").read_text()
    with serving() as inner:
        (tmp_path / "there").mkdir()
        (tmp_path / "there/midiworld.lock.json").write_text(lock.replace(site.url + "download/1", inner.url + "download/1"))
        with pytest.raises(DataError, match="not a server of this dataset"):
            make(site).fetch(tmp_path / "there", quiet)
        assert inner.asked == []


def test_a_file_that_is_redirected_elsewhere_is_left_out(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    with serving() as inner:
        site.put("download/1", Answer(status=302, headers={"Location": inner.put("secret", midi_bytes(music(9)))}))
        site.put("download/2", Answer(status=301, headers={"Location": "/moved/2"}))
        site.put("moved/2", midi_bytes(music(2, 90)))
        make(site).fetch(tmp_path, quiet)
        assert inner.asked == []
    splits = make(site).load(tmp_path, quiet)
    assert len(all_pieces(splits)) == len(HOSTILE) - 1
    assert ["not a server of this dataset" in s.reason for s in splits.skipped] == [True]


def test_a_full_disk_is_said(site: Server, tmp_path: Path) -> None:
    done = in_small_files("midiworld", tmp_path, base_url=site.url, delay=0.0)
    assert done == f"DataError: {tmp_path} can't be written (File too large)."
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("locked", [False, True])
def test_what_a_server_that_is_down_does_not_deliver_is_fetched_later(
    site: Server, tmp_path: Path, quiet: Quiet, locked: bool
) -> None:
    def until(done: int, total: int, what: str) -> None:
        site.down = what in ("downloading files", "verifying files") and done >= 2

    if locked:
        make(site).fetch(tmp_path, quiet)
        before = (tmp_path / "midiworld.lock.json").read_bytes()
        for file in (tmp_path / "files").iterdir():
            file.unlink()
    with pytest.raises(
        DataError, match=r"of 6 files can't be downloaded now; http\S+: the server answered 503\.\nTry again later"
    ):
        make(site).fetch(tmp_path, until)
    assert make(site).find([tmp_path]) is None
    site.down = False
    make(site).fetch(tmp_path, quiet)
    assert len(all_pieces(make(site).load(tmp_path, quiet))) == len(HOSTILE)
    assert not locked or (tmp_path / "midiworld.lock.json").read_bytes() == before


def test_what_a_busy_server_does_not_deliver_is_fetched_later(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    """Its front page and its lists answer, and while it was asked for files it delivered two."""
    site.put("", b"<html>")
    for i in range(len(HOSTILE)):
        site.put(f"download/{i}", *([midi_bytes(music(i, 90))] if i < 2 else []), Answer(b"", 503))
    with pytest.raises(DataError, match=r"4 of 6 files can't be downloaded now; http\S+: the server answered 503"):
        make(site).fetch(tmp_path, quiet)
    for i in range(len(HOSTILE)):
        site.put(f"download/{i}", midi_bytes(music(i, 90)))
    make(site).fetch(tmp_path, quiet)
    assert len(all_pieces(make(site).load(tmp_path, quiet))) == len(HOSTILE)


def test_a_locked_file_that_breaks_off_is_fetched_later(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    """Another selection of the same lock has it."""
    make(site).fetch(tmp_path, quiet)
    lock = json.loads((tmp_path / "midiworld.lock.json").read_text())
    (tmp_path / lock["files"][site.url + "download/4"]["file"]).unlink()
    site.put("download/4", Answer(b"", 503))
    with pytest.raises(DataError, match=r"1 of 6 files can't be downloaded now; http\S+4: the server answered 503"):
        make(site, limit=6).fetch(tmp_path, quiet)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Answer(b"", 503, {"Retry-After": "0"}), "the server answered 503"),
        (Answer(bytes(40_000), cut=100), "ChunkedEncodingError"),
        (Answer(b"zz\r\nxx\r\n", headers={"Transfer-Encoding": "chunked"}, measured=False), "ChunkedEncodingError"),
    ],
)
def test_addresses_that_always_break_off_cost_themselves(
    site: Server, tmp_path: Path, quiet: Quiet, trouble: Answer, said: str
) -> None:
    site.put("", b"<html>")
    for i in (1, 2, 4, 5):
        site.put(f"download/{i}", trouble)
    make(site).fetch(tmp_path, quiet)
    splits = make(site).load(tmp_path, quiet)
    assert [skipped.source for skipped in splits.skipped] == [f"{site.url}download/{i}" for i in (1, 2, 4, 5)]
    assert all(said in skipped.reason for skipped in splits.skipped)
    assert len(all_pieces(splits)) == 2


def test_a_file_that_a_server_never_delivers_costs_itself(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    site.put("download/2", Answer(b"", 500))
    make(site).fetch(tmp_path, quiet)
    splits = make(site).load(tmp_path, quiet)
    assert [skipped.reason for skipped in splits.skipped] == ["the server answered 500"]
    assert len(all_pieces(splits)) == len(HOSTILE) - 1


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Answer(b"", 500), "the server answered 500"),
        (Answer(HTML), "HTML instead of MIDI"),
        (Answer(b"<br />Too many connections"), "not a MIDI file"),
        *((Answer(b"no", status), f"the server answered {status}") for status in (402, 403, 404, 410, 509)),
        (Answer(midi_bytes(music(0, 90))[:400], measured=False), r"not a MIDI file that can be parsed \(it ends too early\)"),
    ],
)
def test_files_that_a_server_in_trouble_does_not_deliver_are_fetched_later(
    site: Server, tmp_path: Path, quiet: Quiet, trouble: Answer, said: str
) -> None:
    """Its program fails on every file from one moment on, or a page says that it is back soon."""
    good = {i: midi_bytes(music(i, 90)) for i in range(len(HOSTILE))}
    site.put("download/0", good[0], trouble)
    for i in range(1, len(HOSTILE)):
        site.put(f"download/{i}", trouble)
    with pytest.raises(DataError, match=rf"5 of 6 files can't be downloaded now; http\S+: {said}"):
        make(site).fetch(tmp_path, quiet)
    for i, body in good.items():
        site.put(f"download/{i}", body)
    make(site).fetch(tmp_path, quiet)
    assert len(all_pieces(make(site).load(tmp_path, quiet))) == len(HOSTILE)


def test_locked_files_that_a_server_refuses_are_fetched_later(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    make(site).fetch(tmp_path, quiet)
    for i, file in enumerate(sorted((tmp_path / "files").iterdir())):
        site.put(f"download/{i}", Answer(b"", 403))
        file.unlink()
    with pytest.raises(DataError, match=r"6 of 6 files can't be downloaded now; http\S+: the server answered 403"):
        make(site).fetch(tmp_path, quiet)


@pytest.mark.parametrize("end", [13, 14, 21, -1])
def test_the_beginning_of_a_file_is_no_file(end: int) -> None:
    body = midi_bytes(music(0, 90))
    assert [midiworld._not_midi(part) for part in (body, body + b"more", body[:end])] == [
        "",
        "",
        "not a MIDI file that can be parsed (it ends too early)",
    ]


def test_a_damaged_lock_beside_the_right_folder_costs_itself(site: Server, tmp_path: Path, quiet: Quiet) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "midiworld.lock.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        make(site).find([tmp_path])
    make(site).fetch(tmp_path / "b", quiet)
    assert make(site).find([tmp_path]) == tmp_path / "b"
