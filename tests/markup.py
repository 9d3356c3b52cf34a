"""Texts from outside that look like markup, and what a Markdown reader makes of them."""

from __future__ import annotations

from html.parser import HTMLParser

from markdown_it import MarkdownIt

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


HOSTILE = [
    "a | b | c",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "**bold** _it_ `code` ~~gone~~ $x$ #12 @someone",
    "&lt;b&gt; &amp; &#60;",
    "line\nbreak\r\n\n# heading\n\n- item",
    "http://evil.example www.evil.example a@evil.example <http://evil.example>",
    "back\\slash \\| \\<b>",
    "\u202egnp.exe\u0000\u0007\x1b[31m",
    "# heading",
    "- item",
    "1. item",
    "---",
    "```",
    "| a |",
    "    code",
]


class Seen(HTMLParser):
    """Tags and text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
