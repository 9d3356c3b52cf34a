"""Matrices of pairs, and their long form for scripts."""

from __future__ import annotations

import pytest

from bench.report.pairs import matrices, ordered, records

from .stored_run import Stored, built, many_pieces, rows, written


@pytest.fixture
def three(stored: Stored) -> Stored:
    """Pitch distances: lstm 4, gan 2 and 3 in turn, vae 2; velocity distances are all 0."""
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4)
    many_pieces(stored, "gan", lambda i: 2 + i % 2)
    many_pieces(stored, "vae", lambda i: 2)
    many_pieces(stored, "real", lambda i: 9, "reference")
    return stored


def test_a_matrix_has_each_pair_of_models_once_the_best_first(three: Stored) -> None:
    pitch, velocity = matrices(built(three.close()))
    assert (pitch.title, velocity.title) == ("Average Pitch Distance (semitones)", "Velocity Average Distance (MIDI velocity)")
    assert pitch.grid.headers == ["Row − column", "gan", "lstm"]
    cells = [[cell.text for cell in line] for line in pitch.grid.cells]
    assert [line[0] for line in cells] == ["vae", "gan"]
    assert [cells[0][1].rstrip("*"), cells[0][2].rstrip("*")] == ["−0.50", "−2.00"]
    assert [cells[1][1], cells[1][2].rstrip("*")] == ["", "−1.50"]
    assert [cell.value for cell in pitch.grid.cells[0]] == [None, -0.5, -2.0]


def test_significance_is_a_star_and_bold(three: Stored) -> None:
    report = built(three.close())
    pitch, velocity = matrices(report)
    standing = report.standings["pitch_distance"]
    starred = {(i, j) for i, line in enumerate(pitch.grid.cells) for j, cell in enumerate(line) if cell.text.endswith("*")}
    assert starred == pitch.grid.strong
    assert len(starred) == sum(standing.winner(c) is not None for c in standing.between_models) > 0
    assert velocity.grid.strong == frozenset()


def test_a_single_training_has_no_probability(three: Stored) -> None:
    pitch, _ = matrices(built(three.close()))
    assert {cell.note for line in pitch.grid.cells for cell in line} == {""}
    assert "P, the estimated probability" not in written(three.run.path)["report.md"]


def test_two_trainings_have_a_probability(three: Stored) -> None:
    for name, by in (("lstm", 4), ("gan", 2), ("vae", 3)):
        many_pieces(three, name, lambda i, by=by: by + i % 2, seed=1)  # type: ignore[misc]
    text = written(three.close())["report.md"]
    assert "P, the estimated probability that a fresh training of the row's model beats one of the column's" in text
    assert "; P " in text.split("## Differences between models")[1]


def test_the_long_form_has_every_pair_of_rows(three: Stored) -> None:
    lines = rows(written(three.close())["differences.csv"])
    pitch = {(r["one"], r["other"]): r for r in lines if r["column"] == "pitch_distance"}
    assert {frozenset(pair) for pair in pitch} == {
        frozenset(pair)
        for pair in (("lstm", "gan"), ("lstm", "vae"), ("gan", "vae"), ("lstm", "real"), ("gan", "real"), ("vae", "real"))
    }
    assert pitch["lstm", "vae"]["difference"] == "2"
    assert pitch["lstm", "vae"]["pieces"] == "12"
    assert (pitch["lstm", "vae"]["better"], pitch["lstm", "vae"]["probability_one_better"]) == ("vae", "")


def test_models_without_a_value_are_in_no_matrix(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4)
    stored.add("gan", 0, None, error="it crashed")
    report = built(stored.close())
    assert matrices(report) == []
    assert ordered(report.standings["pitch_distance"]) == ["lstm"]
    assert records(report.standings) == []
