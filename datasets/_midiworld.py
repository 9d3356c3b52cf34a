"""midiworld.com: its addresses, and parsing of its pages."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote, urlencode, urljoin, urlsplit

from bench.api import DataError

from ._web import PAGE, Client, GoneError

BASE_URL = "https://www.midiworld.com/"

#: The site's servers; a mirror's redirects stay on the mirror.
HOSTS = ("www.midiworld.com", "midiworld.com")

#: Search pages requested at most, in case the results never end.
MOST_PAGES = 200

#: Characters of a title or a composer's name that are kept, and of a text of the page.
LONGEST_NAME = 200
LONGEST_TEXT = 2000

#: A short tag, or text. html.parser, and whatever is built on it, takes a minute for 60 kB of ``<a <a <a`` (Python 3.11); given
#: one short tag after the other it takes a time in proportion to the page.
_PIECE = re.compile(r"<(?P<tag>/?(?:a|li)(?:\s[^<>]{0,2000})?)>|<[^<>]*>?|(?P<text>[^<]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A file that a page offers."""

    url: str
    title: str
    composer: str


@dataclass
class Anchor:
    """A link of a page as it is written; `before` is the text in front of it in its list item, None outside of a list."""

    href: str
    before: str | None
    text: str = ""


def search(client: Client, base_url: str, query: str, most: int) -> list[Link]:
    """Search for `query`, page after page until one has no new file; at most `most` files."""
    links: dict[str, Link] = {}
    for page in range(1, MOST_PAGES + 1):
        url = urljoin(base_url, f"search/{page}/?{urlencode({'q': query})}")
        new = [link for link in parse_search(_page(client, url), url) if link.url not in links]
        if not new:
            break
        links |= {link.url: link for link in new}
        if len(links) >= most:
            break
    return list(links.values())[:most]


def composer_page(client: Client, base_url: str, composer: str) -> list[Link]:
    """List the files on a composer's page, such as ``bach.htm``."""
    slug = composer.strip().lower().replace(" ", "_")
    url = urljoin(base_url, f"{quote(slug)}.htm")
    try:
        page = client.get(url, PAGE)
    except GoneError as error:
        if "404" not in str(error):
            raise DataError(f"midiworld: {url} could not be read ({error}).", "Try again later.") from error
        names = composers(_page(client, urljoin(base_url, "classic.htm")))
        raise DataError(f"midiworld has no page for the composer {composer!r}.", f"Known: {', '.join(names)}.") from error
    return parse_composer(page, url, composer)


def _page(client: Client, url: str) -> bytes:
    try:
        return client.get(url, PAGE)
    except GoneError as error:
        raise DataError(f"midiworld: {url} could not be read ({error}).", "Try again later.") from error


def parse_search(page: bytes, url: str) -> list[Link]:
    """Parse the links of a search page, each with ``Title - by Artist (Genre) -`` in front of it; either may hold " - by "."""
    links = []
    for anchor in anchors(page):
        if anchor.before is None or "/download/" not in anchor.href:
            continue
        # A space in front, so that an empty title is one.
        text = " " + _words(anchor.before).removesuffix("-").rstrip()
        title, by, artist = text.rpartition(" - by ")
        if not by:
            title, artist = text.strip(" -"), ""
        elif artist.endswith(")"):
            artist = artist[: artist.rfind("(")]
        links.append((anchor.href, title, artist))
    return _same_site(links, url)


def parse_composer(page: bytes, url: str, composer: str) -> list[Link]:
    """Parse the links of a composer's page; a link's text is the title."""
    found = [a for a in anchors(page) if a.href.lower().endswith((".mid", ".midi"))]
    return _same_site([(a.href, _words(a.text) or a.href.rsplit("/", 1)[-1], composer) for a in found], url)


def composers(page: bytes) -> list[str]:
    """Parse the names of the composers' pages that ``classic.htm`` links."""
    names = (re.fullmatch(r"(?:.*/)?([a-z0-9_-]+)\.htm", a.href) for a in anchors(page))
    return sorted({name[1] for name in names if name} - {"classic", "index"})


def anchors(page: bytes) -> list[Anchor]:
    """Parse the links of a page in their order, comments and scripts left out, in a time in proportion to its length."""
    try:
        text = page.decode("utf-8")
    except UnicodeDecodeError:
        text = page.decode("cp1252", "replace")
    for start, end in (("<!--", "-->"), ("(?i:<script)", "</script>"), ("(?i:<style)", "</style>")):
        first, *rest = re.split(start, text)
        text = first + "".join(re.split(f"(?i:{end})", part, maxsplit=1)[-1] for part in rest)
    reader = _AnchorReader()
    for piece in _PIECE.finditer(text):
        reader.read(piece["tag"], piece["text"])
    return reader.anchors


class _AnchorReader(HTMLParser):
    """Reader of a page's tags ``a`` and ``li`` and its text, one piece after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: list[Anchor] = []
        self._item: str | None = None
        self._inside = False

    def read(self, tag: str | None, text: str | None) -> None:
        """Read a tag without its angle brackets, or a text."""
        if tag:
            self.reset()  # nothing of an earlier tag is left, however odd it was
            self.feed(f"<{tag}>")
        elif text and self._inside:
            self.anchors[-1].text = (self.anchors[-1].text + _unescaped(text))[:LONGEST_TEXT]
        elif text and self._item is not None:
            self._item = (self._item + _unescaped(text))[:LONGEST_TEXT]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a list item, or a link's text."""
        self._inside = False
        href = dict(attrs).get("href")
        if tag == "li":
            self._item = ""
        elif href:
            self.anchors.append(Anchor(href.strip(), self._item))
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        """End a list item, or a link's text."""
        self._inside = False
        if tag == "li":
            self._item = None


def _unescaped(text: str) -> str:
    """Replace a text's character references, of a long one those at its beginning: thousands of digits are an error."""
    return html.unescape(text[:LONGEST_TEXT])


def _same_site(links: list[tuple[str, str, str]], url: str) -> list[Link]:
    """Resolve addresses relative to `url`; leave out malformed ones, those of other servers and repeated ones."""
    here = urlsplit(url)
    found: dict[str, Link] = {}
    for href, title, composer in links:
        try:
            there = urljoin(url, href)
            parts = urlsplit(there)
        except ValueError:
            continue
        if (parts.scheme, parts.netloc) == (here.scheme, here.netloc) and there.isprintable():
            found[there] = Link(there, _words(title)[:LONGEST_NAME], _words(composer)[:LONGEST_NAME])
    return list(found.values())


def _words(text: str) -> str:
    return " ".join(text.split())
