"""Plain text for people: numbers with their units, lists, plurals, and tables in GitHub's Markdown.

Nothing here depends on what a number measures; :mod:`bench.report.numbers` formats the values of metrics. Text from outside
(titles, file names, error messages) may hold anything, such as bytes that are no UTF-8 or escape sequences of a terminal. It all
passes :func:`clean`: names where a dataset's files or a run's folder are read (:class:`bench.api.Piece` and its like), and every
text once more where it is written (:func:`bench.storage.files.write_text`, the console of :mod:`bench.cli.output`).
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

#: An undefined value.
DASH = "–"

#: Longest text from outside, such as an error message, in characters.
LONGEST = 300

#: Longest name or title of a piece, in characters: that of a path.
LONGEST_FIELD = 4096

#: Characters of a name that tables repeat in each of their lines: of a longer one a few kilobytes would be gigabytes.
LONGEST_NAME = 1000

#: Longest text of a table's cell, in characters.
LONGEST_CELL = 5000

#: A number that is a word of its own, and no part of a file's name, which may have spaces.
_COUNT = re.compile(r"(?<![\w./:+-])\d[\d.,]*(?<=\d)(?![\w/:+-]|\.\w)(?!.*\.[A-Za-z][A-Za-z0-9]{1,4}\b)")

#: Stands for a character that can't be shown.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

#: Zero-width characters that the spelling of some languages, and some emoji, need.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
#: All but the characters of most texts, which are known to be safe.
_DOUBTFUL = re.compile(r"[^\n\t -~]")

#: What could start a mark anywhere in a line, or a link that GitHub makes of a bare address.
_MARKS = re.compile(r"[\\`*_{}\[\]<>|~$!#@&]|(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE)
#: What makes a list or a heading at the start of a line.
_LEADING = re.compile(r"^([-+=])(?=[-=\s]|$)|^(\d+)([.)])(?=\s|$)")


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Count of things, its noun in the right number.

    >>> plural(1, "seed"), plural(1200, "seed"), plural(2, "entry", "entries")
    ('1 seed', '1,200 seeds', '2 entries')
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def tally(texts: Iterable[str]) -> list[tuple[str, int]]:
    """Count texts, the most frequent first; those that differ only in their counts are one, names with numbers are not.

    >>> tally(["it has 3 notes", "MIDI format 2", "it has 12 notes"])
    [('it has … notes', 2), ('MIDI format 2', 1)]
    >>> tally(["the same notes as song 1.mid", "the same notes as song 2.mid"])
    [('the same notes as song 1.mid', 1), ('the same notes as song 2.mid', 1)]
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        alike[_COUNT.sub("…", text)].append(text)
    counts = [(text if len(set(several)) > 1 else several[0], len(several)) for text, several in alike.items()]
    return sorted(counts, key=lambda item: (-item[1], item[0]))


def listed(items: Sequence[str], limit: int = 20) -> str:
    """Join the items; name at most `limit` of them.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], limit=2)
    ('a, b and c', 'a, b and 1 more')
    """
    if len(items) > limit:
        return ", ".join(items[:limit]) + f" and {len(items) - limit} more"
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def duration(seconds: float, spread: float | None = None) -> str:
    """Time to three significant digits or so, with its standard deviation if there is one.

    >>> duration(0.417), duration(42.13, 0.31), duration(185, 12), duration(7500)
    ('0.42 s', '42.1 ± 0.3 s', '3 min 05 s ± 12 s', '2 h 05 min')
    """
    if round(seconds, 1) < 100:
        digits = 2 if seconds < 10 else 1
        return f"{seconds:.{digits}f}{'' if spread is None else f' ± {spread:.{digits}f}'} s"
    minutes, whole = round(seconds / 60), round(seconds)
    long = minutes >= 120
    text = f"{minutes // 60} h {minutes % 60:02} min" if long else f"{whole // 60} min {whole % 60:02} s"
    if spread is None:
        return text
    return f"{text} ± {f'{spread / 60:.0f} min' if long else f'{spread:.0f} s'}"


def count(value: float) -> str:
    """Format a number to three significant digits, with separators of thousands.

    >>> count(0.8125), count(812), count(12345)
    ('0.812', '812', '12,300')
    """
    if value < 1000:
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    digits = int(math.log10(value)) - 2
    return f"{round(value, -digits):,.0f}"


def mebibytes(value: float) -> str:
    """Size that is given in MiB.

    >>> mebibytes(512), mebibytes(1945.6)
    ('512 MiB', '1.9 GiB')
    """
    return f"{value / 1024:.1f} GiB" if value >= 1000 else f"{value:.0f} MiB"


def p_text(p: float) -> str:
    """Format a p-value.

    >>> p_text(0.0324), p_text(0.0002)
    ('0.032', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def clean(text: object) -> str:
    r"""Text that every output can hold and show: line breaks, tabs and visible characters.

    Control characters, lone surrogates (bytes of a file name that are no UTF-8), and characters that are invisible or reverse the
    direction of writing become :data:`REPLACEMENT`. Cleaning twice changes nothing.

    >>> clean("\x1b[31mred"), clean("pr\udce9lude")
    ('�[31mred', 'pr�lude')
    """
    return _DOUBTFUL.sub(_shown, str(text).replace("\r\n", "\n").replace("\r", "\n"))


def end_of(text: str, limit: int = LONGEST) -> str:
    """End of a text, which of a path says most: a hundred thousand names with their paths would be too much for a record.

    >>> end_of("a/long/path/song.mid", 10)
    '…/song.mid'
    """
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def shortened(text: str, limit: int = LONGEST_NAME) -> str:
    """Shorten a text that is too long, such that two different ones stay different: no finished run is refused for one.

    >>> shortened("a" * 30, 20), shortened("a" * 20, 20)
    ('aaa…3a54fc0cbc0b0ef4', 'aaaaaaaaaaaaaaaaaaaa')
    """
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[: limit - 17]}…{digest}"


def clean_fields(value: object, *names: str) -> None:
    """Clean text fields of a frozen dataclass as it is made, and cut what no path or title has; None is an empty text."""
    for name in names:
        text = getattr(value, name)
        object.__setattr__(value, name, "" if text is None else clean(end_of(text, LONGEST_FIELD)))


def _shown(match: re.Match[str]) -> str:
    # Categories C (control, format, surrogate, private use, unassigned), Zl and Zp (separators of lines and paragraphs).
    category = unicodedata.category(match[0])
    return REPLACEMENT if (category[0] == "C" and match[0] not in _JOINERS) or category in ("Zl", "Zp") else match[0]


def visible(text: object) -> str:
    r"""Clean text in one line.

    >>> visible("a\n b\u202ec")
    'a b�c'
    """
    return " ".join(clean(text).split())


def brief(text: object, longest: int = LONGEST) -> str:
    """Clean text in one line of at most `longest` characters; an ellipsis shows where it was cut.

    >>> brief("out of  memory", longest=8)
    'out of…'
    """
    line = visible(text)
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


class Markdown(str):
    """Text that is Markdown already, and is not escaped again."""

    __slots__ = ()


def escape(text: object) -> str:
    r"""Plain text as Markdown that shows exactly it: no markup, HTML, link, line break or control character.

    >>> print(escape("*a* <b> www.example.org"))
    \*a\* \<b\> www\.example.org
    """
    if isinstance(text, Markdown):
        return text
    marked = _MARKS.sub(lambda m: f"\\{m[0]}", visible(text))
    return _LEADING.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", marked)


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Parameters
    ----------
    text : str
    value : float or None
        What a reader sorts the column by; None sorts last.
    small : str
        What follows the text in smaller type, such as an interval.
    note : str
        What follows that, on a line of its own where there are lines.

    Examples
    --------
    >>> str(Cell("9.53", 9.531, "[9.39, 9.67]", "rerun 9.41–9.65"))
    '9.53 [9.39, 9.67]; rerun 9.41–9.65'
    """

    text: str
    value: float | None = None
    small: str = ""
    note: str = ""

    def __str__(self) -> str:
        return "; ".join(filter(None, (" ".join(filter(None, (self.text, self.small))), self.note)))


@dataclass(frozen=True)
class Grid:
    """Table of plain texts.

    Parameters
    ----------
    headers : sequence of str
    rows : sequence of sequence of (str or Cell)
        A plain text has no value to sort by.
    text_columns : frozenset of int
        Columns that hold words: aligned to the left, the others to the right.
    strong : frozenset of (int, int)
        Row and column of the cells in bold.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    text_columns: frozenset[int] = frozenset({0})
    strong: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        """Shorten what is too long: a column is as wide in each line as in its widest."""
        object.__setattr__(self, "headers", [shortened(text, LONGEST_CELL) for text in self.headers])
        object.__setattr__(self, "rows", [[_shortened_cell(cell) for cell in line] for line in self.rows])

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, each text as a :class:`Cell`."""
        return [[x if isinstance(x, Cell) else Cell(x) for x in line] for line in self.rows]


def _shortened_cell(cell: str | Cell) -> str | Cell:
    if isinstance(cell, Cell):
        return cell if len(cell.text) <= LONGEST_CELL else replace(cell, text=shortened(cell.text, LONGEST_CELL))
    return shortened(cell, LONGEST_CELL)


def table(grid: Grid) -> Markdown:
    """Markdown table of a grid, its columns padded so that the source is legible too.

    >>> print(table(Grid(["Model", "Seeds"], [["lstm", "5"]])))
    | Model   |   Seeds |
    |:--------|--------:|
    | lstm    |       5 |
    """
    headers = [escape(cell) for cell in grid.headers]
    rows = [[_bold(escape(x), (i, j) in grid.strong) for j, x in enumerate(line)] for i, line in enumerate(grid.rows)]
    return Markdown(_tabulated(grid, [headers, *rows], "pipe"))


def plain_table(grid: Grid, longest: int = 48) -> str:
    """Table of a grid for a terminal, each cell in one line of at most `longest` characters.

    >>> print(plain_table(Grid(["Model", "Seeds"], [["lstm", "5"]])))
    Model      Seeds
    -------  -------
    lstm           5
    """
    return _tabulated(grid, [[brief(cell, longest) for cell in line] for line in (grid.headers, *grid.rows)], "simple")


def html_table(grid: Grid) -> str:
    """HTML table of a grid, as a notebook shows it.

    >>> "<td>lstm" in html_table(Grid(["Model"], [["lstm"]])), "<b>" in html_table(Grid(["Model"], [["<b>"]]))
    (True, False)
    """
    return str(_tabulated(grid, [list(map(str, cells)) for cells in (grid.headers, *grid.rows)], "html"))


def _tabulated(grid: Grid, lines: Sequence[Sequence[str]], style: str) -> str:
    """Table of texts, the headers first."""
    from tabulate import tabulate  # the command line imports this module, and mostly writes no table

    headers, *rows = lines
    sides = ["left" if i in grid.text_columns else "right" for i in range(len(headers))]
    return tabulate(rows, headers, tablefmt=style, colalign=sides if rows else None, disable_numparse=True)


def _bold(text: str, strong: bool) -> str:
    return f"**{text}**" if strong else text
