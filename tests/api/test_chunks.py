"""Generation in chunks: the exact number of notes, whatever the chunks, and its ends in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Notes, PluginError, TrialError, in_chunks

NOTHING = Notes.concatenate([])
PROMPT = Notes.from_columns([0.0, 1.0], [0.5, 0.5], [60, 64], [80, 80])


def run(start: float, n: int, pitch: int = 70) -> Notes:
    """Notes 0.25 s apart, the first 0.25 s after the start."""
    return Notes.from_columns(start + 0.25 * np.arange(1, n + 1), np.full(n, 0.2), np.full(n, pitch), np.full(n, 64))


@given(st.lists(st.integers(0, 7), min_size=1).filter(any), st.integers(0, 40), st.booleans())
def test_there_are_exactly_so_many_notes_in_order(sizes: list[int], n_notes: int, prompted: bool) -> None:
    calls: list[int] = []

    def more(notes: Notes) -> Notes:
        calls.append(len(notes))
        return run(float(notes.onset[-1]) if len(notes) else 0.0, sizes[(len(calls) - 1) % len(sizes)])

    prompt = PROMPT if prompted else NOTHING
    made = in_chunks(prompt, n_notes, more, attempts=len(sizes) + 1)
    assert made == run(1.0 if prompted else 0.0, n_notes)
    assert calls == sorted(calls)
    assert calls[:1] == [len(prompt)][: len(calls)]


def test_a_note_beside_the_prompts_last_is_no_note_of_the_prompt() -> None:
    below = Notes.from_columns([1.0], [0.5], [50], [80])
    assert in_chunks(PROMPT, 1, lambda notes: below) == below


def test_a_model_that_writes_nothing_more_is_given_up() -> None:
    answers = [run(1.0, 2), *[NOTHING] * 3, run(2.0, 1), *[NOTHING] * 4]
    with pytest.raises(TrialError, match="generated 3 of 9 notes, then none in 4 attempts") as caught:
        in_chunks(PROMPT, 9, lambda notes: answers.pop(0), attempts=4)
    assert "forbid it to end" in caught.value.hint
    assert answers == []


def test_notes_before_those_that_they_continue_are_refused() -> None:
    with pytest.raises(PluginError, match=r"A chunk begins at 0\.250 s, before the last note that it continues \(1\.000 s\)"):
        in_chunks(PROMPT, 4, lambda notes: run(0.0, 2))
    early = run(0.7495, 1)
    assert in_chunks(PROMPT, 1, lambda notes: early) == early, "by no more than rounding"
