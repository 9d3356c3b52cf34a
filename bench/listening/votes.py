"""Votes as files from listeners. Anyone may have written them: a file that can't be used costs itself."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from bench.errors import BenchError, DataError, UsageError, refusal
from bench.formatting import brief
from bench.listening.key import RESTORE, Key
from bench.storage.stored import Stored, first_problem
from bench.system.disk import is_folder, read_file

#: Ends of their names in lower case: mail programs add one of text.
NAMES = (".json", ".json.txt")

#: Largest file of votes, bytes, and most files in a folder.
MOST_BYTES, MOST_FILES = 64 << 10, 5_000

Answer = Literal["left", "tie", "right"]


class Ballot(Stored):
    """One listener's answers, as the page saves them.

    Parameters
    ----------
    bench_votes : int
        Version of the file.
    test : str
        Name of the test.
    form : int
        Which of its forms the listener had.
    listener : str
        Drawn at random by the browser.
    revision : int
        Grows with every change of the answers; of two files of one listener the higher one was saved later.
    answers : tuple of {"left", "tie", "right"} or None
        By question of the form; None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    bench_votes: Literal[1]
    test: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]
    form: Annotated[int, Field(ge=0)]
    listener: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    revision: Annotated[int, Field(ge=0)] = 0
    answers: Annotated[tuple[Answer | None, ...], Field(max_length=1000)]

    @property
    def answered(self) -> int:
        """Number of questions with an answer."""
        return sum(answer is not None for answer in self.answers)


@dataclass(frozen=True)
class Ballots:
    """Ballots of one test.

    Parameters
    ----------
    test : str
        Name of the test that most files are of.
    ballots : tuple of Ballot
        One a listener, in the order of the listeners' names.
    problems : tuple of str
        Why other files don't count, each with the file's name.
    """

    test: str
    ballots: tuple[Ballot, ...]
    problems: tuple[str, ...]


def read_ballot(path: Path) -> Ballot:
    """Read one file of votes.

    Raises
    ------
    DataError
        If it is none, or too large.
    MachineError
        If the machine is short of something, such as files that may be open.
    """
    try:
        return Ballot.model_validate_json(read_file(path, MOST_BYTES).removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise DataError(f"not saved by the page of a listening test: {first_problem(error)}") from error
    except OSError as error:
        raise refusal(error, DataError(f"can't be read: {error}")) from error


def read_ballots(folder: Path, keys: Mapping[str, Key], damage: Mapping[str, str] | None = None) -> Ballots:
    """Read every ``*.json`` in a folder, whatever the case; those that became ``*.json.txt``, too.

    Parameters
    ----------
    folder : Path
    keys : mapping of str to Key
        The run's tests by name.
    damage : mapping of str to str, optional
        Why the keys of its other tests can't be read, by name.

    Raises
    ------
    UsageError
        If the folder can't be read, has too many files, or no file is of a test of this run.
    DataError
        If all that are of one are of tests whose keys are damaged.
    """
    damage = damage or {}
    unread: list[str] = []
    files = _files(folder)
    found: list[tuple[str, Ballot]] = []
    problems = []
    for file in files:
        try:
            ballot = read_ballot(file)
            if ballot.test in damage:
                unread.append(damage[ballot.test])
                raise DataError(f"of a test whose key can't be read: {damage[ballot.test]}")
            _check(ballot, keys)
            found.append((file.name, ballot))
        except DataError as error:
            problems.append(f"{file.name}: {error.message}")
    if not found and unread:
        raise DataError(f"The votes in {folder} are of a test whose key can't be read: {unread[0]}", RESTORE)
    if not found:
        reason = f" The first: {brief(problems[0])}." if problems else " It expects the files (*.json) that listeners saved."
        raise UsageError(f"{folder} holds no votes of a listening test of this run.{reason}")
    test, _ = Counter(ballot.test for _, ballot in found).most_common(1)[0]
    kept: dict[str, tuple[str, Ballot]] = {}
    for name, ballot in found:
        if ballot.test != test:
            problems.append(f"{name}: of another test of this run, {ballot.test}; analyse it from a folder of its own")
        elif ballot.listener not in kept:
            kept[ballot.listener] = (name, ballot)
        else:
            twice = [kept[ballot.listener], (name, ballot)]
            counts = max(twice, key=lambda each: (each[1].revision, each[1].answered))
            other = twice[counts is twice[0]]
            why = "was saved later" if counts[1].revision > other[1].revision else "has more answers"
            why = f", which {why}" if counts[1] != other[1] else ""
            problems.append(f"{other[0]}: of the same listener as {counts[0]}{why}")
            kept[ballot.listener] = counts
    return Ballots(test, tuple(kept[listener][1] for listener in sorted(kept)), tuple(brief(problem) for problem in problems))


def _files(folder: Path) -> list[Path]:
    try:
        if not is_folder(folder):
            raise UsageError(f"--votes is {folder}, which is no folder.", "Give the folder with the files that listeners saved.")
        files = sorted(path for path in folder.iterdir() if path.name.lower().endswith(NAMES))
    except OSError as error:
        place: BenchError = UsageError(f"{folder} can't be read: {error.strerror}.")
        raise refusal(error, place) from error
    if len(files) > MOST_FILES:
        raise UsageError(f"{folder} holds {len(files):,} files; {MOST_FILES:,} are the most.")
    return files


def _check(ballot: Ballot, keys: Mapping[str, Key]) -> None:
    """Refuse a ballot that doesn't fit its test."""
    key = keys.get(ballot.test)
    if key is None:
        raise DataError(f"of a test that this run has not, {ballot.test}")
    if ballot.form >= len(key.forms) or len(ballot.answers) != len(key.forms[ballot.form]):
        raise DataError("its answers are those of no form of the test")
