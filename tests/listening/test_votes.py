"""Files of votes, which anyone may have written: each costs itself at most."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError, DataError, MachineError, UsageError
from bench.listening.key import FOLDER, Contestant, Key, damaged_keys, read_keys, write_key
from bench.listening.votes import MOST_BYTES, Ballot, read_ballot, read_ballots
from bench.storage.files import FORMAT, write_json
from tests.listening.simulated import World, attentive, key_of

KEY = key_of(3, prompts=6, questions=10)
GOOD = attentive(KEY, World([1, 0, -1]), 3, 0)


def write(folder: Path, name: str, ballot: Ballot | None = None, **changed: object) -> Path:
    (folder / name).write_text(json.dumps({**(ballot or GOOD[0]).model_dump(), **changed}))
    return folder / name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (folder := tmp_path / "votes").mkdir()
    write(folder, "good.json")
    return folder


def problem(folder: Path, key: Key = KEY) -> str:
    ballots = read_ballots(folder, {key.test: key})
    assert ballots.ballots == (GOOD[0],)
    (text,) = ballots.problems
    return text


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"bench_votes": 2}, "not saved by the page of a listening test: bench_votes: input should be 1"),
        ({"form": True}, "form: input should be a valid integer"),
        ({"form": 999}, "its answers are those of no form of the test"),
        ({"revision": -1}, "revision: input should be greater than or equal to 0"),
        ({"form": -1}, "form: input should be greater than or equal to 0"),
        ({"answers": ["left"]}, "its answers are those of no form of the test"),
        ({"answers": ["up"] * 17}, "answers.0: input should be 'left', 'tie' or 'right'"),
        ({"answers": ["left"] * 1001}, "answers: tuple should have at most 1000 items"),
        ({"listener": "../../etc/passwd"}, "listener: string should match pattern"),
        ({"test": "0" * 12}, "of a test that this run has not, 000000000000"),
    ],
)
def test_a_file_that_is_none(folder: Path, changed: dict[str, object], expected: str) -> None:
    write(folder, "bad.json", GOOD[1], **changed)
    assert problem(folder).startswith("bad.json: ")
    assert expected in problem(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 50_000,
        b'{"form": NaN}',
        b'{"form": 1' + b"0" * 5000 + b"}",
        b" " * (MOST_BYTES + 1),
    ],
    ids=["empty", "cut", "list", "null", "bytes", "deep", "nan", "digits", "large"],
)
def test_a_file_that_is_no_json(folder: Path, content: bytes) -> None:
    (folder / "bad.json").write_bytes(content)
    assert problem(folder).startswith("bad.json: ")


def test_links_pipes_and_folders(folder: Path, tmp_path: Path) -> None:
    """None is followed, waited for or listed. A socket can't be opened, which passed for the machine's fault."""
    (folder / "link.json").symlink_to(write(tmp_path, "elsewhere.json", GOOD[1]))
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as listening:  # an address may have 107 bytes
        listening.bind("socket.json")
    (folder / "notes.txt").write_text("x")
    ballots = read_ballots(folder, {KEY.test: KEY})
    assert ballots.ballots == (GOOD[0],)
    assert [problem.split(":")[0] for problem in ballots.problems] == ["folder.json", "link.json", "pipe.json", "socket.json"]


@pytest.mark.parametrize(
    ("number", "refused"), [(errno.EACCES, DataError), (errno.EMFILE, MachineError), (errno.EIO, MachineError)]
)
def test_what_the_system_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, refused: type[BenchError]) -> None:
    """A file of another user costs itself; with too many open files none can be read, and the analysis can be tried again."""

    def refuse(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("bench.listening.votes.read_file", refuse)
    with pytest.raises(refused):
        read_ballot(folder / "GOOD")


def test_a_listener_counts_once(folder: Path) -> None:
    """With the file that was saved last, whatever its name."""
    half = [*GOOD[0].answers[:5], *[None] * (len(GOOD[0].answers) - 5)]
    write(folder, "again.json", answers=half)
    assert problem(folder) == "again.json: of the same listener as good.json, which has more answers"
    (folder / "again.json").unlink()
    write(folder, "zz.json")
    assert problem(folder) == "zz.json: of the same listener as good.json"
    other = ["tie"] * len(half)
    for number, name in enumerate(["zz.json", "b.json", "good (1).json", "a.json"]):
        write(folder, name, answers=half if number == 2 else other, revision=number + 1)
    ballots = read_ballots(folder, {KEY.test: KEY})
    assert ballots.ballots == (GOOD[0].model_copy(update={"answers": tuple(other), "revision": 4}),)
    assert len(ballots.problems) == 4
    assert all(text.endswith(" of the same listener as a.json, which was saved later") for text in ballots.problems)
    (folder / "a.json").unlink()
    assert read_ballots(folder, {KEY.test: KEY}).ballots[0].answers == tuple(half), "later, though with fewer answers"


def test_files_that_a_mail_program_or_an_editor_changed_count(folder: Path) -> None:
    write(folder, "UP.JSON", GOOD[1])
    write(folder, "mailed.json.txt", GOOD[2])
    (folder / "notes.txt").write_text("no votes")
    (folder / "good.json").write_bytes(b"\xef\xbb\xbf" + (folder / "good.json").read_bytes())
    ballots = read_ballots(folder, {KEY.test: KEY})
    assert (len(ballots.ballots), ballots.problems) == (3, ())


def test_a_stray_file_of_another_test(folder: Path) -> None:
    other = key_of(3, prompts=6, questions=10, seed=1)
    write(folder, "another.json", attentive(other, World([1, 0, -1]), 1, 0)[0])
    write(folder, "second.json", GOOD[1])
    ballots = read_ballots(folder, {KEY.test: KEY, other.test: other})
    assert (ballots.test, len(ballots.ballots)) == (KEY.test, 2)
    assert ballots.problems == (f"another.json: of another test of this run, {other.test}; analyse it from a folder of its own",)


@pytest.mark.parametrize("content", [None, b'{"format": 1'], ids=["missing", "cut"])
def test_a_damaged_key_is_named(tmp_path: Path, folder: Path, content: bytes | None) -> None:
    other = key_of(3, prompts=6, questions=10, seed=1)
    for key in (KEY, other):
        write_key(tmp_path / FOLDER / f"test-{key.test}", key)
    assert damaged_keys(tmp_path) == {}
    damaged = tmp_path / FOLDER / f"test-{KEY.test}" / "key.json"
    damaged.unlink() if content is None else damaged.write_bytes(content)
    keys = {name: key for name, (_, key) in read_keys(tmp_path).items()}
    assert list(keys) == [other.test]
    with pytest.raises(DataError, match=f"are of a test whose key can't be read: .*{re.escape(str(damaged))}") as refused:
        read_ballots(folder, keys, damaged_keys(tmp_path))
    assert (refused.value.exit_code, "keep the votes" in str(refused.value.hint)) == (3, True)
    write(folder, "other.json", attentive(other, World([1, 0, -1]), 1, 0)[0])
    ballots = read_ballots(folder, keys, damaged_keys(tmp_path))
    assert (ballots.test, len(ballots.ballots)) == (other.test, 1)
    (text,) = ballots.problems
    assert text.startswith("good.json: of a test whose key can't be read: ")


def test_no_votes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no votes .* It expects the files \(\*\.json\) that listeners saved"):
        read_ballots(tmp_path, {KEY.test: KEY})
    with pytest.raises(UsageError, match="nothing, which is no folder"):
        read_ballots(tmp_path / "nothing", {KEY.test: KEY})
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UsageError, match=r"The first: a\.json: not saved by the page"):
        read_ballots(tmp_path, {KEY.test: KEY})


def test_a_key_is_read_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no listening test yet") as refused:
        read_keys(tmp_path)
    assert refused.value.hint == "Make one first: bench listen-test RUN."
    folder = tmp_path / FOLDER / f"test-{KEY.test}"
    write_key(folder, KEY)
    assert read_keys(tmp_path) == {KEY.test: (folder, KEY)}
    (bad := tmp_path / FOLDER / "test-bad").mkdir()
    (bad / "key.json").write_text("{}")
    assert list(read_keys(tmp_path)) == [KEY.test]
    (folder / "key.json").unlink()
    with pytest.raises(DataError, match=r"test-bad/key\.json"):
        read_keys(tmp_path)


@pytest.mark.parametrize(
    ("place", "changed", "expected"),
    [
        (0, {"left": 9}, "a question names no pair of clips"),
        (0, {"left": -1}, "a question names no pair of clips"),
        (0, {"of": 0}, "a repeat must name its question"),
        (-1, {"of": 40}, "a repeat names no question before it"),
    ],
)
def test_a_key_that_contradicts_itself(place: int, changed: dict[str, int], expected: str) -> None:
    value = KEY.model_dump()
    form = list(value["forms"][0])
    pairs = [i for i, q in enumerate(form) if q["kind"] == ("repeat" if place else "pair")]
    form[pairs[place]] = {**form[pairs[place]], **changed}
    with pytest.raises(ValueError, match=expected):
        Key.model_validate({**value, "forms": [form]})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: value["contestants"][1].update(name="other"), "the row 'ngram', which every test has, is missing"),
        (lambda value: value["contestants"][0].update(name="other"), "the row 'real', which every test has, is missing"),
        (lambda value: value["contestants"][0].update(seed=-1), "contestants.0.seed: input should be greater"),
        (lambda value: value.update(contestants=[{"name": f"s{i}", "seed": 0, "digest": ""} for i in range(51)]), "at most 50"),
        (lambda value: value["forms"][0][0].update(prompt=10**30), "forms.0.0.prompt: input should be less than 65536"),
        (lambda value: value["forms"][0][0].update(prompt=-1), "forms.0.0.prompt: input should be greater"),
        (lambda value: value.update(seconds=-5), "seconds: input should be greater than 0"),
        (lambda value: value.update(clips={"a": {"system": 3, "prompt": 0}}), "a clip is of no contestant"),
        (lambda value: value.update(clips={"a": {"system": 0, "prompt": 10**30}}), "clips.a.prompt: input should be less"),
    ],
)
def test_a_key_that_no_test_has(tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: str) -> None:
    """Its checksum is right, and it is refused in words: anyone may have written a run that was received."""
    change(value := KEY.model_dump(mode="json"))
    write_json(tmp_path / FOLDER / "test-x" / "key.json", {"format": FORMAT, **value})
    with pytest.raises(DataError, match=re.escape(expected)):
        read_keys(tmp_path)


def test_a_name_that_each_pair_of_a_test_repeats_is_shortened() -> None:
    """40 kB of it in the key of another's test made results of 101 MB."""
    assert len(Contestant(name="x" * 5000, seed=0, digest="d").name) == 1000
