"""Requests to servers that aren't trusted: deadlines, redirects and private addresses, against real servers."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from bench.errors import DataError
from bench.system import connections
from bench.system.connections import Watch, is_public

from .conftest import dataset_module
from .servers import Answer, Server, serving

web = dataset_module("midiworld", "_web")

DRIPS = (
    Answer(b"x" * 1000, slow=0.05, piece=1),
    Answer(b"x" * 1000, slow=0.05, piece=1, measured=False),
    Answer(endless_headers=0.05),
)


@pytest.fixture
def other() -> Iterator[Server]:
    with serving("127.0.0.2") as running:
        yield running


@pytest.mark.parametrize("drip", DRIPS)
def test_a_server_that_drips_is_cut(server: Server, drip: Answer) -> None:
    url = server.put("drip", drip)
    began = time.monotonic()
    with pytest.raises(web.GoneError, match="took over 1 seconds"):
        web.Client(server.url).get(url, web.Limits(10_000, 1.0))
    assert time.monotonic() - began < 30, "dripping all of it takes 50 s"
    assert server.paths() == ["drip"], "it isn't asked again"


def test_a_server_that_is_slow_for_every_file_is_given_up(server: Server) -> None:
    server.put("drip", DRIPS[0])
    server.put("fine", b"fine")
    client = web.Client(server.url)
    for path in ("drip", "drip", "fine", "drip", "drip"):
        if path == "fine":
            assert client.get(server.url + path, web.Limits(10_000, 60.0)) == b"fine"
            continue
        with pytest.raises(web.GoneError):
            client.get(server.url + path, web.Limits(10_000, 0.2))
    with pytest.raises(DataError, match=r"too slow: 3 files in a row.*/drip"):
        client.get(server.url + "drip", web.Limits(10_000, 0.2))


def test_a_deadline_that_is_kept_has_no_effect_later(server: Server) -> None:
    url = server.put("a", b"fine")
    client = web.Client(server.url)
    assert client.get(url, web.Limits(10, 60.0)) == b"fine"
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert client.get(url, web.Limits(10, 60.0)) == b"fine"


def test_a_deadline_that_passes_as_its_block_ends_cuts_nothing_later() -> None:
    watch, passed = Watch(), threading.Event()
    cut = watch._cut

    def slow_cut() -> None:
        passed.set()
        time.sleep(0.3)
        cut()

    watch._cut = slow_cut
    with pytest.raises(TimeoutError), watch.deadline(0.01):
        assert passed.wait(60)
    one, other = socket.socketpair()
    with one, other, watch.deadline(60):
        watch._sockets = [one]
        time.sleep(0.5)
        other.sendall(b"x")
        assert one.recv(1) == b"x"


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("{other}secret", "not a server of this dataset"),
        ("//127.0.0.2/secret", "not a server of this dataset"),
        ("http://127.0.0.1:9/secret", "not a server of this dataset"),
        ("https://127.0.0.1/", "not a server of this dataset"),
        ("file:///etc/passwd", "not a server of this dataset"),
        ("http://[", "malformed"),
        ("http://127.0.0.1:x/", "malformed"),
        ("/start", "redirects more than 5 times"),
    ],
)
def test_redirects_that_are_not_followed(server: Server, other: Server, location: str, match: str) -> None:
    other.put("secret", b"secret")
    url = server.put("start", Answer(status=302, headers={"Location": location.format(other=other.url)}))
    with pytest.raises(web.GoneError, match=match):
        web.Client(server.url).get(url)
    assert other.asked == []


def test_a_redirect_on_the_same_server_is_followed(server: Server) -> None:
    url = server.put("start", Answer(status=302, headers={"Location": "/end"}))
    server.put("end", b"end")
    assert web.Client(server.url).get(url) == b"end"


def test_the_body_of_a_redirect_is_not_read(server: Server) -> None:
    """Of 1 MB in gzip it was a gigabyte, and of an endless one all memory: requests reads it, whatever is asked for."""
    zeros = gzip.compress(bytes(64 << 20))
    answer = Answer(zeros, status=302, headers={"Location": "/end", "Content-Encoding": "gzip"})
    url = server.put("start", answer)
    server.put("end", b"end")
    tracemalloc.start()
    assert web.Client(server.url).get(url) == b"end"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_servers_of_a_dataset() -> None:
    """The usual ports of its hosts; never back from https to http."""
    allowed = web._allowed("https://www.midiworld.com/", ("midiworld.com",))
    assert allowed == {("https", "www.midiworld.com", 443), ("https", "midiworld.com", 443)}
    assert web._allowed("http://h/", ()) == {("http", "h", 80), ("https", "h", 443)}
    assert web._allowed("http://h:8000/", ("other",)) == {("http", "h", 8000)}
    for source in ("ftp://h/", "h", "http://[", "http:///x"):
        with pytest.raises(DataError, match="not a web address"):
            web._allowed(source, ())


def test_no_connection_from_a_public_address_to_a_private_one(
    server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a name server answers with an address inside. 127.0.0.1 stands for a public one."""
    monkeypatch.setattr(connections, "is_public", lambda address: address == "127.0.0.1")
    session = connections.watched_session(Watch())
    assert session.get(server.put("a", b"fine")).content == b"fine"
    with pytest.raises(connections.RefusedError, match=r"127\.0\.0\.2, a private address"):
        session.get(other.put("secret", b"secret"))
    assert other.asked == []
    assert connections.watched_session(Watch()).get(other.url + "secret").content == b"secret", "a user's own mirror"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("64:ff9b::101:101", True),  # behind NAT64, 1.1.1.1
        ("64:ff9b::a00:1", False),  # 10.0.0.1
        ("64:ff9b:1::101:101", False),
        ("2002:101:101::", True),  # 6to4
        ("2002:a00:1::", False),
        ("2001:0:a00:1::1", False),  # Teredo
        ("::10.0.0.1", False),
        ("::1.1.1.1", False),
        ("224.0.0.1", False),
        ("239.1.2.3", False),
        ("ff0e::1", False),
        ("::ffff:239.1.2.3", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public
