"""YAML that is small and costs much, or means nothing here: refused at once, with line and key, before anything is built."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.errors import SpecError
from bench.specs.bounds import MOST_BYTES, MOST_LEVELS, MOST_VALUES
from bench.specs.document import parse_yaml, read_yaml
from bench.specs.load import shipped_specs

BOMB = "".join(f"{k}: &{k} [{','.join([f'*{b}' if b else 'x'] * 9)}]\n" for b, k in zip(["", *"abcde"], "abcdef", strict=True))
MERGES = "a: &a {x: 1}\n" + "".join(f"b{i}: &b{i} {{<<: [{', '.join([f'*b{i - 1}' if i else '*a'] * 9)}]}}\n" for i in range(9))

REFUSED = [
    (BOMB + f"g: [{','.join(['*f'] * 9)}]\n", "mine.yaml:5: e[1]: more than 20,000"),
    (MERGES, "mine.yaml:5: b3.<<[7]: more than 20,000 values"),
    ("a: &a x\nb: {c: &c [*c]}\n", "mine.yaml:2: b.c[0]: the alias *c refers to a value that contains it."),
    ("title: T\nreferences: !keep [real, median]\n", "mine.yaml:2: references: the tag !keep means nothing here"),
    ("a:\n- b: !!set {x, y}\n", "mine.yaml:2: a[0].b: the tag !!set means nothing here"),
    ("a:\n  b: !x 1\n", "mine.yaml:2: a.b: the tag !x means nothing here"),
    (f"a: x\nseeds: [{'9' * 100_000}]\n", "mine.yaml:2: seeds[0]: a number of 100,000 characters; expected at most 40."),
    (f"a: 0x{'f' * 100_000}\n", "mine.yaml:1: a: a number of 100,002 characters"),
    (f"a: {'[' * 100_000}\n", f"mine.yaml:1: a[0][0][0]: nested too deeply: more than {MOST_LEVELS} mappings or lists"),
    ("- " * 2000 + "x\n", "mine.yaml:1: [0][0][0][0]: nested too deeply"),
    (f"a: [{'x,' * MOST_VALUES}]\n", "mine.yaml:1: a[19997]: more than 20,000 values"),
    ("a: x\nb: 2020-13-45\n", "mine.yaml:2: b: 2020-13-45 is a date, which means nothing here.\nPut it in quotes"),
    ('a: x\nb: "\\U00110000"\n', "mine.yaml:2: b: not valid YAML: chr() arg not in range(0x110000)."),
    ('a: x\nb: "\\ud800"\n', "mine.yaml:2: b: an escaped surrogate, which is half of a character."),
    ("a: x\nb: \a\n", "mine.yaml:2: not valid YAML: the character 0x07 is not allowed."),
    ("#" * (MOST_BYTES + 1), "mine.yaml is larger than 256 KiB, which no spec is."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_costs_much_or_means_nothing(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(SpecError) as refused:
        read_yaml(tmp_path / "mine.yaml", "mine.yaml")
    assert time.process_time() - began < 5  # of a second or less; without bounds minutes
    assert str(refused.value).startswith(message)


def test_what_specs_may_use() -> None:
    text = (
        "a: &a {x: 1, y: [1e3, -.5]}\nb: {<<: *a, x: 2}\nc: *a\nd: '2020-01-02'\ne: " + "9" * 40 + "\nf: |\n  " + "7" * 99 + "\n"
    )
    a = {"x": 1, "y": [1000.0, -0.5]}
    assert parse_yaml(text, "mine.yaml") == {
        "a": a, "b": a | {"x": 2}, "c": a, "d": "2020-01-02", "e": int("9" * 40), "f": "7" * 99 + "\n"
    }  # fmt: skip


def test_the_shipped_specs_are_far_from_the_bounds() -> None:
    assert max(path.stat().st_size for path in shipped_specs().values()) < MOST_BYTES / 20


@example("[1,2]: 3")
@example("? [a]\n: {<<: 1}")
@example("%YAML 1.1\n---\na: 1:60")
@given(st.one_of(st.text("ab:-?[]{},&*!|>'\"%@#\n\t .0123e_xo<=~\\u", max_size=40), st.text(max_size=20)))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse_yaml(text, "mine.yaml")


@pytest.mark.parametrize("text", [BOMB, "title: T\nreferences: !keep [real]\n", f"title: T\nseeds: {'9' * 100_000}\n"])
def test_the_command_exits_with_2(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "mine.yaml", "--out", "out"], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: mine.yaml:")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.yaml"]


@pytest.mark.parametrize("value", ["9" * 100_000, "[" * 2000, "!x [1]", "[a"])
def test_an_option_of_the_command_line_has_the_same_bounds(tmp_path: Path, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "data", "verify", "midiworld", "--option", f"limit={value}"], cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --option limit: ")
    assert "is not a YAML value (" in done.stderr
    assert len(done.stderr) < 400
