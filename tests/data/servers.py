"""A real HTTP server on this machine that serves MAESTRO's zip and midiworld's pages, and fails as told."""

from __future__ import annotations

import hashlib
import html
import io
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

import numpy as np

from bench.music.midi import midi_bytes
from bench.music.notes import Notes

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass
class Answer:
    """One answer to one address."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Bytes after which the connection is cut, though Content-Length announces all.
    cut: int | None = None
    #: Seconds between pieces of the body, and the bytes of a piece.
    slow: float = 0.0
    piece: int = 1 << 14
    #: Whether Content-Length is sent; without it the body ends with the connection.
    measured: bool = True
    #: Seconds between header lines that never end.
    endless_headers: float | None = None


class Server:
    """Answers by path and query. A list of answers is used up in order; its last one stays."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[float, str]] = []
        self.authorizations: set[str | None] = set()
        self.most_at_once = 0
        #: Whether it answers nothing but 503.
        self.down = False
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        class Httpd(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that was killed is part of the tests; anything else is shown."""
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)  # type: ignore[arg-type]

        self._httpd = Httpd((host, 0), Handler)
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._httpd.server_address[1]}/"

    def put(self, path: str, *answers: Answer | bytes) -> str:
        """Serve these at `path` (with its query); returns the address."""
        self.answers[path] = [a if isinstance(a, Answer) else Answer(a) for a in answers]
        return self.url + path

    def paths(self) -> list[str]:
        return [path for _, path in self.asked]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        path = unquote(parts.path).lstrip("/") + (f"?{parts.query}" if parts.query else "")
        with self._lock:
            self.asked.append((time.monotonic(), path))
            self.authorizations.add(handler.headers.get("Authorization"))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            planned = [Answer(b"", 503)] if self.down else self.answers.get(path, [Answer(HTML, 404)])
            answer = planned.pop(0) if len(planned) > 1 else planned[0]
        try:
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            while answer.endless_headers is not None:
                handler.send_header("X-More", "more")
                handler.flush_headers()
                time.sleep(answer.endless_headers)
            if answer.measured:
                handler.send_header("Content-Length", str(len(answer.body)))
            handler.end_headers()
            body = answer.body if answer.cut is None else answer.body[: answer.cut]
            for i in range(0, len(body), answer.piece):
                handler.wfile.write(body[i : i + answer.piece])
                time.sleep(answer.slow)
            if answer.cut is not None or not answer.measured:
                handler.close_connection = True
        except ConnectionError:
            pass
        finally:
            with self._lock:
                self._at_once -= 1

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[Server]:
    server = Server(host)
    try:
        yield server
    finally:
        server.close()


def music(seed: int, n: int = 80) -> Notes:
    """Random notes, no two on one key at once."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.uniform(0.1, 0.4, n))
    return Notes.from_columns(onset, np.full(n, 0.09), rng.integers(40, 90, n), rng.integers(20, 110, n))


ROWS = (
    ("Johann Sebastian Bach", "Prelude, BWV 846", "train", 2004),
    ("Frédéric Chopin", 'Ballade "No. 1"', "train", 2008),
    ("Frédéric Chopin", "Étude\nop. 10", "validation", 2008),
    ("Franz Liszt", "=cmd|' /C calc'!A0", "test", 2009),
    ("Johann Sebastian Bach", "<script>alert(1)</script>", "test", 2009),
)


def maestro_csv(rows: tuple[tuple[str, str, str, int], ...] = ROWS, *, without: str = "") -> str:
    def cell(value: object) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    columns = ["canonical_composer", "canonical_title", "split", "year", "midi_filename", "audio_filename", "duration"]
    lines = [",".join(c for c in columns if c != without)]
    for i, (composer, title, split, year) in enumerate(rows):
        values = dict(zip(columns, (composer, title, split, year, f"{year}/{i}.midi", f"{year}/{i}.wav", 60.5), strict=True))
        lines.append(",".join(cell(v) for k, v in values.items() if k != without))
    return "\n".join(lines) + "\n"


def maestro_zip(version: str = "3.0.0", extra: Mapping[str, bytes] | None = None) -> tuple[bytes, str]:
    """A zip in MAESTRO's layout and its sha256."""
    name = f"maestro-v{version}"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/LICENSE", "CC BY-NC-SA")
        archive.writestr(f"{name}/{name}.csv", maestro_csv())
        for i, row in enumerate(ROWS):
            archive.writestr(f"{name}/{row[3]}/{i}.midi", midi_bytes(music(i)))
        for path, body in (extra or {}).items():
            archive.writestr(path, body)
    return out.getvalue(), hashlib.sha256(out.getvalue()).hexdigest()


def midiworld_search(server: Server, query: str, pages: list[list[tuple[int, str, str]]]) -> None:
    """Serve search pages as midiworld writes them: (id, title, artist) by page, then an empty one."""
    for number, results in enumerate([*pages, []], start=1):
        items = "".join(
            f"<li>\n{html.escape(title)} - by {html.escape(artist)} (classical) - "
            f'<a href="{server.url}download/{i}" target="_blank">download</a></li>\n'
            for i, title, artist in results
        )
        page = f"<html><body><h2>Search</h2><ul>{items}</ul></body></html>"
        server.put(f"search/{number}/?q={quote(query)}", page.encode())
