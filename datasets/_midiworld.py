"""midiworld.com: parsing of its pages, and considerate requests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urljoin, urlsplit

from bench.api import DataError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

BASE_URL = "https://www.midiworld.com/"

#: Search pages requested at most, in case the results never end.
MOST_PAGES = 200

#: Bytes of a page or file at most; a MIDI file of an hour has far fewer.
MOST_BYTES = 8_000_000

#: Requests for one address at most, and seconds before the second; doubled for each further one.
ATTEMPTS = 4
BACK_OFF = 0.5

#: Status codes of a temporary problem of the server.
BUSY = (408, 429, 500, 502, 503, 504)

#: Longest Retry-After that is obeyed, seconds.
LONGEST_WAIT = 300

#: ``Title - by Artist (Genre) -`` before a search result's link. Titles may hold any character, also " - by ".
_RESULT = re.compile(r"^\s*(?P<title>.*)\s+-\s+by\s+(?P<artist>.*?)\s*(?:\([^()]*\))?\s*-?\s*$", re.DOTALL)


@dataclass(frozen=True)
class Link:
    """A file that a page offers."""

    url: str
    title: str
    composer: str


class GoneError(Exception):
    """An address without content; the text gives the reason."""


class Visitor:
    """Client that makes one request at a time, with a pause between requests, and retries when the server is busy.

    Parameters
    ----------
    delay : float
        Seconds between the end of one request and the beginning of the next.
    """

    def __init__(self, delay: float) -> None:
        import requests

        self.delay = delay
        self._session = requests.Session()  # without retries of its own: each request waits in `_wait`
        self._session.headers["User-Agent"] = "midibench (music research; one request at a time)"
        self._ready = float("-inf")

    def get(self, url: str) -> bytes:
        """Download the body of `url`.

        Raises
        ------
        GoneError
            If it can't be downloaded: missing, too large, or the server fails repeatedly.
        DataError
            If the server demands too long a pause.
        """
        from requests import RequestException

        problem = ""
        for attempt in range(ATTEMPTS):
            self._wait()
            pause = 0.0
            try:
                with self._session.get(url, stream=True, timeout=30) as response:
                    if response.status_code == 200:
                        return self._body(response.iter_content(1 << 16))
                    problem = f"the server answered {response.status_code}"
                    if response.status_code not in BUSY:
                        raise GoneError(problem)
                    pause = max(BACK_OFF * 2**attempt, retry_after(response.headers.get("Retry-After", "")))
            except RequestException as error:
                problem = f"{type(error).__name__}: {error}"
                pause = BACK_OFF * 2**attempt
            finally:
                # Also after the last attempt: the next address is on the same server.
                self._ready = time.monotonic() + max(self.delay, pause)
            if pause > LONGEST_WAIT:
                raise DataError(
                    f"midiworld: {problem} for {url} and asks to wait {pause:.0f} seconds.",
                    "Try again after that; what was downloaded is kept.",
                )
        raise GoneError(problem)

    def _body(self, chunks: Iterator[bytes]) -> bytes:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > MOST_BYTES:
                raise GoneError(f"it is larger than {MOST_BYTES} bytes")
        return bytes(body)

    def _wait(self) -> None:
        time.sleep(max(0.0, self._ready - time.monotonic()))


def retry_after(text: str) -> float:
    """Seconds of a server's Retry-After, which is a number or a date; 0 for anything else."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def search(visitor: Visitor, base_url: str, query: str, most: int) -> list[Link]:
    """Search for `query`, page after page until one has no new file; at most `most` files."""
    links: dict[str, Link] = {}
    for page in range(1, MOST_PAGES + 1):
        url = urljoin(base_url, f"search/{page}/?{urlencode({'q': query})}")
        new = [link for link in parse_search(_page(visitor, url), url) if link.url not in links]
        if not new:
            break
        links |= {link.url: link for link in new}
        if len(links) >= most:
            break
    return list(links.values())[:most]


def composer_page(visitor: Visitor, base_url: str, composer: str) -> list[Link]:
    """List the files on a composer's page, such as ``bach.htm``."""
    slug = composer.strip().lower().replace(" ", "_")
    url = urljoin(base_url, f"{quote(slug)}.htm")
    try:
        page = visitor.get(url)
    except GoneError as error:
        if "404" not in str(error):
            raise DataError(f"midiworld: {url} could not be read ({error}).", "Try again later.") from error
        names = composers(_page(visitor, urljoin(base_url, "classic.htm")))
        raise DataError(f"midiworld has no page for the composer {composer!r}.", f"Known: {', '.join(names)}.") from error
    return parse_composer(page, url, composer)


def _page(visitor: Visitor, url: str) -> bytes:
    try:
        return visitor.get(url)
    except GoneError as error:
        raise DataError(f"midiworld: {url} could not be read ({error}).", "Try again later.") from error


def parse_search(page: bytes, url: str) -> list[Link]:
    """Parse the links of a search page, each with the title and artist in front of it."""
    links = []
    for anchor in _soup(page).select('li a[href*="/download/"]'):
        item = anchor.find_parent("li")
        text = "".join(str(s) for s in item.find_all(string=True) if anchor not in s.parents) if item else ""
        match = _RESULT.match(text)
        title, artist = (match["title"], match["artist"]) if match else (text.strip(" -\r\n\t"), "")
        links.append(Link(urljoin(url, str(anchor["href"])), _clean(title), _clean(artist)))
    return _same_site(links, url)


def parse_composer(page: bytes, url: str, composer: str) -> list[Link]:
    """Parse the links of a composer's page; a link's text is the title."""
    anchors = _soup(page).select('a[href$=".mid"], a[href$=".MID"], a[href$=".midi"]')
    links = [
        Link(urljoin(url, str(a["href"])), _clean(a.get_text()) or str(a["href"]).rsplit("/", 1)[-1], composer) for a in anchors
    ]
    return _same_site(links, url)


def composers(page: bytes) -> list[str]:
    """Parse the names of the composers' pages that ``classic.htm`` links."""
    pages = (str(a["href"]) for a in _soup(page).select('a[href$=".htm"]'))
    return sorted({p.rsplit("/", 1)[-1].removesuffix(".htm") for p in pages} - {"classic", "index"})


def _soup(page: bytes) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    return BeautifulSoup(page, "html.parser")


def _same_site(links: list[Link], url: str) -> list[Link]:
    """Remove links to other servers and repeated addresses."""
    here = urlsplit(url).netloc
    return list({link.url: link for link in links if urlsplit(link.url).netloc == here}.values())


def _clean(text: str) -> str:
    return " ".join(text.split())
