"""Numbers for people, and texts from outside that must not become markup."""

from __future__ import annotations

import re
import unicodedata

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bench.formatting import LONGEST_CELL, Cell, Grid, clean, count, duration, escape, html_table, listed, mebibytes, table, tally
from tests.markup import HOSTILE, MARKDOWN, Seen


def visible(text: str) -> str:
    kept = (c if c.isprintable() or c in "\t\n\r\u200c\u200d" or unicodedata.category(c) == "Zs" else "\ufffd" for c in text)
    return " ".join("".join(kept).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_shows_as_it_is(text: str) -> None:
    seen = Seen(MARKDOWN.render(f"- {escape(text)}"))
    assert seen.tags == {"ul", "li"}
    assert " ".join(seen.text.split()) == visible(text)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60))
def test_any_text_shows_as_it_is_in_a_table(text: str) -> None:
    html = MARKDOWN.render(f"| a | b |\n| - | - |\n| {escape(text)} | z |")
    first, second = re.findall(r"<td>(.*?)</td>", html, re.DOTALL)
    assert Seen(first).tags == set()
    assert " ".join(Seen(first).text.split()) == visible(text)
    assert second == "z"


@given(st.text(st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Zs", "L")), max_size=60))
def test_clean_text_can_be_written_and_shown(text: str) -> None:
    shown = clean(text)
    assert clean(shown) == shown
    assert clean(shown.encode().decode()) == shown
    assert all(c.isprintable() or c in "\n\t\u200c\u200d" or unicodedata.category(c) == "Zs" for c in shown)
    assert len(shown) == len(text.replace("\r\n", "\n"))


def test_bare_addresses_do_not_become_links() -> None:
    """GitHub links these unless the marks that it looks for are broken."""
    escaped = escape("see http://evil.example, www.evil.example and a@evil.example")
    assert escaped == r"see http\://evil.example, www\.evil.example and a\@evil.example"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (duration(0.004), "0.00 s"),
        (duration(9.994), "9.99 s"),
        (duration(42.13, 1.26), "42.1 ± 1.3 s"),
        (duration(99.96), "1 min 40 s"),
        (duration(185, 12.4), "3 min 05 s ± 12 s"),
        (duration(7500, 200), "2 h 05 min ± 3 min"),
        (count(8.125), "8.12"),
        (count(812.4), "812"),
        (count(12345), "12,300"),
        (mebibytes(512.2), "512 MiB"),
        (mebibytes(1945.6), "1.9 GiB"),
        (listed([]), ""),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(["a", "b", "c"], limit=2), "a, b and 1 more"),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it has 3 notes", "it has 1,012 notes"),
        ("ended after 1.5 s", "ended after 12.25 s"),
        ("too large (20 MiB; at most 16)", "too large (4,096 MiB; at most 16)"),
    ],
)
def test_reasons_that_differ_in_a_count_are_one(one, other):
    assert [n for _, n in tally([one, other])] == [2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the same notes as song-1-v2.mid", "the same notes as song-2-v2.mid"),
        ("the same notes as Op. 9 No. 2.midi", "the same notes as Op. 10 No. 2.midi"),
        ("the same notes as 2004/01/3.mid", "the same notes as 2004/02/3.mid"),
        ("an event begins with 0xF1", "an event begins with 0xF2"),
        ("another of http://host:80/1", "another of http://host:80/2"),
        ("unknown split 'part1'", "unknown split 'part2'"),
    ],
)
def test_reasons_that_differ_in_a_name_are_two(one, other):
    assert sorted(tally([one, other])) == sorted([(one, 1), (other, 1)])


def test_a_column_is_no_wider_than_a_cell_may_be() -> None:
    """Each line is padded to the widest: one of 20 MB in a table of 50 lines took a gigabyte."""
    long = ["a" * 10**6, "a" * (10**6 - 1) + "b"]
    grid = Grid(["Model", "h" * 10**6], [["lstm", long[0]], ["gan", Cell(long[1], 1.0)], ["median", "-"]])
    for text in (table(grid), html_table(grid)):
        assert len(text) < 6 * LONGEST_CELL
    (_, first), (_, second), _ = grid.rows
    assert (str(first)[:4000], isinstance(second, Cell) and second.value) == ("a" * 4000, 1.0)
    assert str(first) != str(second), "what differs is not shown as equal"
