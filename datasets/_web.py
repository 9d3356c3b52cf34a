"""Requests to servers that aren't trusted: bounded in bytes and time, and never led to another host or a private address."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin, urlsplit

from bench.api import DataError, RefusedError, Watch, watched_session

if TYPE_CHECKING:
    from requests import Response

#: Requests for one address at most, and seconds before the second; doubled for each further one.
ATTEMPTS = 4
BACK_OFF = 0.5

#: Status codes of a temporary problem of the server.
BUSY = (408, 429, 500, 502, 503, 504)

#: Status codes of an address without content.
MISSING = (404, 410)

#: Longest Retry-After that is obeyed, seconds.
LONGEST_WAIT = 300

#: Longest silence of a server, seconds.
SILENCE = 30.0

MOST_REDIRECTS = 5

#: Addresses in a row that may run out of time, before the server is given up.
MOST_LATE = 3
#: Most seconds of pauses that a busy server may ask for in all.
MOST_PAUSES = 1800.0

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Limits:
    """What one address may cost: bytes of its body, and seconds for an attempt from the first byte sent to the last received."""

    bytes: int
    seconds: float


#: midiworld's pages have about 30 kB; a MIDI file of an hour has about 1 MB; MAESTRO's zip has 58 MB.
PAGE = Limits(1_000_000, 60.0)
FILE = Limits(8_000_000, 120.0)
ARCHIVE = Limits(300_000_000, 3600.0)


class GoneError(Exception):
    """An address without content; the text gives the reason."""


class UnreachableError(GoneError):
    """An address that the server or the network failed to deliver now: it may have content."""


class BrokenError(GoneError):
    """An address that the server refuses, or on which its program fails: for ever, or while it is in trouble."""


class Client:
    """Client of one server that makes one request at a time, and retries when the server is busy.

    Addresses and redirects lead to the server of `source` or to one of `hosts`, never from https to http, and never from a public
    address to a private one: what a page or a lock file says can't make this machine ask others of its network.

    Parameters
    ----------
    source : str
        Address that the user or the dataset chose.
    hosts : collection of str
        Further servers of the same dataset, at the usual ports.
    delay : float
        Seconds between the end of one request and the beginning of the next.
    """

    def __init__(self, source: str, hosts: Collection[str] = (), delay: float = 0.0) -> None:
        self.delay = delay
        self._allowed = _allowed(source, hosts)
        self._watch = Watch()
        self._session = watched_session(self._watch)
        self._session.headers["User-Agent"] = "midibench (music research; one request at a time)"
        self._session.headers["Accept-Encoding"] = "identity"  # the bytes that are counted are those that were sent
        self._ready = float("-inf")
        self._late = 0
        self._paused = 0.0

    def get(self, url: str, limits: Limits = FILE) -> bytes:
        """Download the body of `url`; raises as :meth:`save`."""
        body = io.BytesIO()
        self.save(url, body, limits)
        return body.getvalue()

    def save(
        self, url: str, out: BinaryIO, limits: Limits, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Download the body of `url` to a file, from its beginning.

        Parameters
        ----------
        url : str
        out : binary file
            It is emptied before each attempt.
        limits : Limits
        progress : callable
            Called with bytes done, bytes in all (0 if the server doesn't say).

        Raises
        ------
        GoneError
            If it can't be downloaded: missing, too large, elsewhere.
        BrokenError
            If the server answers 500 repeatedly, or refuses the request.
        UnreachableError
            If it is too slow, or the server is busy or away repeatedly.
        DataError
            If the server demands too long a pause, or ran out of time for :data:`MOST_LATE` addresses in a row.
        OSError
            If `out` can't be written.
        """
        problem = ""
        for attempt in range(ATTEMPTS):
            time.sleep(max(0.0, self._ready - time.monotonic()))
            pause = 0.0
            try:
                with self._deadline(url, limits.seconds), self._open(url) as response:
                    if response.status_code == 200:
                        _copy(response, out, limits.bytes, progress)
                        return
                    problem = f"the server answered {response.status_code}"
                    if response.status_code not in BUSY:
                        raise (GoneError if response.status_code in MISSING else BrokenError)(problem)
                    pause = max(BACK_OFF * 2**attempt, retry_after(response.headers.get("Retry-After", "")))
                    self._paused += pause
            except _RetryError as error:
                problem = str(error)
                pause = BACK_OFF * 2**attempt
            finally:
                # Also after the last attempt: the next address is on the same server.
                self._ready = time.monotonic() + max(self.delay, pause)
            if pause > LONGEST_WAIT or self._paused > MOST_PAUSES:
                raise DataError(
                    f"{problem} for {url} and asks to wait {max(pause, self._paused):.0f} seconds in all.",
                    "Try again after that; what was downloaded is kept.",
                )
        raise (BrokenError if problem.endswith(" 500") else UnreachableError)(problem)

    @contextmanager
    def _deadline(self, url: str, seconds: float) -> Iterator[None]:
        """Run one attempt; name what ended it."""
        from requests import RequestException

        try:
            with self._watch.deadline(seconds):
                yield
            self._late = 0
        except TimeoutError as error:
            self._late += 1
            if self._late == MOST_LATE:
                raise DataError(
                    f"The server is too slow: {self._late} files in a row took over {seconds:.0f} seconds, the last {url}.",
                    "Try again later; what was downloaded is kept.",
                ) from error
            raise UnreachableError(f"it took over {seconds:.0f} seconds") from error
        except RefusedError as error:
            raise GoneError(str(error)) from error
        except (TypeError, ValueError) as error:  # of a malformed address or header, or a proxy's address without a host
            raise GoneError(f"its address is malformed ({error})") from error
        except RequestException as error:
            raise _RetryError(unreachable(url, error) or f"{type(error).__name__}: {error}") from error

    def _open(self, url: str) -> Response:
        """Send the request and follow its redirects, each checked before it is followed."""
        for _ in range(MOST_REDIRECTS + 1):
            if _origin(url) not in self._allowed:
                known = ", ".join(sorted({host for _, host, _ in self._allowed}))
                scheme, host, port = _origin(url)
                raise GoneError(f"it is at {scheme}://{host}:{port}, which is not a server of this dataset ({known})")
            response = self._session.get(url, stream=True, timeout=SILENCE, allow_redirects=False)
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(url, response.headers["Location"])
        raise GoneError(f"it redirects more than {MOST_REDIRECTS} times")


class _RetryError(Exception):
    """A connection that failed; the next attempt may succeed."""


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address; a ValueError if it is malformed."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def _allowed(source: str, hosts: Collection[str]) -> frozenset[tuple[str, str, int]]:
    try:
        scheme, host, port = _origin(source)
    except ValueError as error:
        raise DataError(f"{source!r} is not a web address ({error}).", "Expected http:// or https:// and a host.") from error
    if scheme not in PORTS or not host:
        raise DataError(f"{source!r} is not a web address.", "Expected http:// or https:// and a host.")
    if port != PORTS[scheme]:
        return frozenset({(scheme, host, port)})
    return frozenset((s, h, PORTS[s]) for s in {scheme, "https"} for h in {host, *hosts})


def _copy(response: Response, out: BinaryIO, most: int, progress: Callable[[int, int], None]) -> None:
    size = response.headers.get("Content-Length", "")
    total = int(size) if size.isascii() and size.isdecimal() and len(size) < 20 else 0
    out.seek(0)
    out.truncate()
    done = 0
    chunks = response.iter_content(1 << 16) if total <= most else ()
    for chunk in chunks:
        done += len(chunk)
        if done > most:
            break
        out.write(chunk)
        progress(done, total)
    if max(done, total) > most:
        raise GoneError(f"it is larger than {most} bytes")


def retry_after(text: str) -> float:
    """Seconds of a server's Retry-After, which is a number or a date; 0 for anything else."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def unreachable(url: str, error: Exception) -> str:
    """Reason why no connection was made, in words; empty if one was."""
    from requests import ConnectionError, ConnectTimeout

    host = urlsplit(url).hostname or url
    if isinstance(error, ConnectTimeout):
        return f"{host} did not answer"
    cause = getattr(error.args[0], "reason", None) if error.args else None
    # A connection that broke later has no such reason.
    return f"{host} can't be reached (is there a network?)" if isinstance(error, ConnectionError) and cause is not None else ""
