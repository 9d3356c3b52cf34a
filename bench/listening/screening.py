"""Which listeners count: those who answered enough, heard what everybody hears, and did not press one side throughout.

The rules are fixed and know nothing of the systems. How often a listener gives the same answer again is reported and excludes
nobody: of two equally good clips nobody does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.formatting import plural
from bench.listening.design import ORIGINAL, Form, Question
from bench.listening.key import Key
from bench.listening.votes import Answer, Ballot

#: Least share of the pairs that a listener must have answered.
ENOUGH = 0.5

#: Least number of catch pairs that a listener must have answered: those of a form's first half.
LEAST_CATCHES = 2

#: Pairs with a chosen side from which on always the same side means that nobody compared: by chance once in 128.
SIDED = 8

_OTHER: dict[Answer, Answer] = {"left": "right", "right": "left", "tie": "tie"}


@dataclass(frozen=True)
class Listener:
    """A ballot, judged.

    Parameters
    ----------
    ballot : Ballot
    catches, caught : int
        Catch pairs answered, and those of them in which the original was chosen.
    repeats, repeated : int
        Pairs answered twice, and those answered alike.
    lefts, sided : int
        Pairs in which the left clip was chosen, and those in which one was.
    reason : str
        Why it does not count; empty if it does.
    """

    ballot: Ballot
    catches: int
    caught: int
    repeats: int
    repeated: int
    lefts: int
    sided: int
    reason: str


def screen(ballots: Sequence[Ballot], key: Key) -> list[Listener]:
    """Judge every listener, each by his own answers alone."""
    return [_judged(ballot, key.forms[ballot.form]) for ballot in ballots]


def _judged(ballot: Ballot, form: Form) -> Listener:
    asked = [(question, answer) for question, answer in zip(form, ballot.answers, strict=True) if answer is not None]
    catches = [_is_caught(question, answer) for question, answer in asked if question.kind == "catch"]
    again = [(ballot.answers[q.of], answer) for q, answer in asked if q.of is not None and ballot.answers[q.of] is not None]
    repeated = sum(first is not None and _OTHER[first] == second for first, second in again)
    pairs = [answer for question, answer in asked if question.kind == "pair"]
    lefts, sided = pairs.count("left"), len(pairs) - pairs.count("tie")
    reason = ""
    total = sum(question.kind == "pair" for question in form)
    if len(pairs) < ENOUGH * total:
        reason = f"answered {len(pairs)} of {total} pairs, repeats and catch pairs not counted"
    elif len(catches) < LEAST_CATCHES:
        reason = f"answered {plural(len(catches), 'catch pair')}"
    elif not all(catches):
        reason = f"chose the original in {sum(catches)} of {len(catches)} catch pairs"
    elif sided >= SIDED and lefts in (0, sided):
        reason = f"chose the {'left' if lefts else 'right'} clip {sided} times out of {sided}"
    return Listener(ballot, len(catches), sum(catches), len(again), repeated, lefts, sided, reason)


def _is_caught(question: Question, answer: Answer) -> bool:
    return answer == ("left" if question.left == ORIGINAL else "right")
