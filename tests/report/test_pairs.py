"""Matrices of pairs, and their long form for scripts."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from bench.report.figures import ties
from bench.report.figures.styles import BOUND
from bench.report.pairs import matrices, ordered, records
from bench.report.verdict import verdict
from bench.storage.files import write_json
from bench.storage.samples import Samples, read_samples, write_samples

from .stored_run import Stored, built, done, many_pieces, rows, written


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


def test_no_star_where_one_was_trained_elsewhere(stored: Stored) -> None:
    """Its row has no rank; the difference and its interval stay."""
    stored.enlarge(12)
    many_pieces(stored, "seen", lambda i: 1, pretrained=True)
    many_pieces(stored, "lstm", lambda i: 5)
    many_pieces(stored, "gan", lambda i: 10)
    report = built(stored.close())
    pitch, _ = matrices(report)
    assert [[cell.text for cell in line] for line in pitch.grid.cells] == [["seen", "−4.00", "−9.00"], ["lstm", "", "−5.00*"]]
    assert pitch.grid.strong == {(1, 2)}
    assert "not where one of both has no rank because it was trained otherwise" in written(stored.run.path)["report.md"]


def test_a_single_training_is_not_compared_with_one(three: Stored) -> None:
    pitch, _ = matrices(built(three.close()))
    assert {cell.note for line in pitch.grid.cells for cell in line} == {""}
    assert "pairs of one training of each" not in written(three.run.path)["report.md"]


def test_pairs_of_trainings_are_counted(three: Stored) -> None:
    """Means of the seeds: lstm 4 and 4.5, gan 2.5 and 2.5, vae 2 and 3.5."""
    for name, by in (("lstm", 4), ("gan", 2), ("vae", 3)):
        many_pieces(three, name, lambda i, by=by: by + i % 2, seed=1)  # type: ignore[misc]
    text = written(three.close())["report.md"]
    assert "of the pairs of one training of each, how many the row's training wins, by its mean over these pieces" in text
    pitch, _ = matrices(built(three.run.path))
    assert pitch.grid.headers == ["Row − column", "vae", "lstm"]
    assert [cell.note for line in pitch.grid.cells for cell in line[1:]] == ["2 of 4", "4 of 4", "", "4 of 4"]


def test_the_long_form_has_every_pair_of_rows(three: Stored) -> None:
    lines = rows(written(three.close())["differences.csv"])
    pitch = {(r["one"], r["other"]): r for r in lines if r["column"] == "pitch_distance"}
    assert {frozenset(pair) for pair in pitch} == {
        frozenset(pair)
        for pair in (("lstm", "gan"), ("lstm", "vae"), ("gan", "vae"), ("lstm", "real"), ("gan", "real"), ("vae", "real"))
    }
    assert pitch["lstm", "vae"]["difference"] == "2"
    assert pitch["lstm", "vae"]["pieces"] == "12"
    one = pitch["lstm", "vae"]
    assert (one["better"], one["wins_of_one"], one["training_pairs"], one["bounds"]) == ("vae", "", "", "")


def predicting(stored: Stored, system: str, bits: float, likelihood: str = "exact", **row: Any) -> None:
    """Twelve pieces of 100 notes predicted with about so many bits a note."""
    per_piece = bits + 0.01 * np.arange(12)[:, None] + np.zeros((12, 4))
    sums = -per_piece / 4 * 100 * np.log(2)
    whole = {**done(0, bits)["likelihood"], "kind": likelihood}
    many_pieces(stored, system, lambda i: 4, **row)
    key = f"{system}-0"
    folder = stored.run.trial_dir(key)
    samples = read_samples(folder / "samples.npz")
    write_samples(folder / "samples.npz", Samples(samples.notes, sums, np.full(12, 100), np.arange(12)))
    write_json(folder / "outcome.json", {**json.loads((folder / "outcome.json").read_text()), "likelihood": whole})


def test_differences_from_a_bound_are_marked_and_never_starred_against_it(stored: Stored) -> None:
    stored.enlarge(12)
    predicting(stored, "lstm", 6.0)
    predicting(stored, "vae", 7.0, "bound")
    predicting(stored, "gan", 8.0)
    report = built(stored.close())
    bits = matrices(report)[-1]
    assert bits.grid.headers == ["Row − column", "vae", "gan"]
    (_, against, exact), (_, _, below) = bits.grid.cells
    assert (against.text, against.small) == ("≥ −1.00", "")
    assert exact.text == "−2.00*"
    assert exact.small.startswith("[")
    assert (below.text, below.small) == ("≤ −1.00*", "")
    assert bits.grid.strong == {(0, 2), (1, 2)}
    pairs = {
        r["one"] + " " + r["other"]: r
        for r in rows(written(stored.run.path)["differences.csv"])
        if r["column"] == "bits_per_note"
    }
    assert [pairs["lstm vae"][name] for name in ("p_holm", "bounds", "better")] == ["", "vae", ""]
    assert [pairs["vae gan"][name] for name in ("bounds", "better")] == ["vae", "vae"]
    assert pairs["vae gan"]["p_holm"] != ""
    (figure,) = (drawing for drawing in ties.gallery(report).drawings if "Bits" in drawing.label)
    assert "vae at most 7.05" in figure.label
    assert ties.gallery(report).note.endswith(BOUND)
    text = written(stored.run.path)["report.md"]
    assert "in bits per note about " in text.split("detect with 80 % power")[1].splitlines()[0]
    assert verdict(report).startswith(
        "In average pitch distance and velocity average distance no two models differ significantly; in bits per note lstm and "
        "vae are significantly better than gan, while vae's bits are an upper bound, so its place is open."
    )


def test_bits_over_other_classes_are_shown_with_a_mark_and_compared_with_none(stored: Stored) -> None:
    stored.enlarge(12)
    predicting(stored, "lstm", 6.0)
    predicting(stored, "gan", 8.0)
    predicting(stored, "coarse", 4.0, params={"time_classes": 4, "duration_classes": 4})
    predicting(stored, "ngram", 7.0, kind="reference")
    report = built(stored.close())
    files = written(stored.run.path)
    assert matrices(report)[-1].grid.headers == ["Row − column", "gan"]
    pairs = [(r["one"], r["other"]) for r in rows(files["differences.csv"]) if r["column"] == "bits_per_note"]
    assert sorted(pairs) == [("gan", "ngram"), ("lstm", "gan"), ("lstm", "ngram")]
    (coarse,) = (r for r in rows(files["report.csv"]) if r["system"] == "coarse")
    assert [coarse[f"rank_bits_per_note_{end}"] for end in ("first", "last")] == ["", ""]
    assert coarse["bits_below_ngram_percent"] == ""
    assert "bits over other classes" in coarse["flags"].split("; ")
    assert coarse["bits_per_note"].startswith("4.0")
    text = files["report.md"]
    assert re.search(r"\| +† 4\.0", text)
    assert "in bits per note lstm is significantly better than gan" in text
    assert "Bits over other classes, which fewer classes alone make lower, so that they are compared with none: coarse." in text
    assert "In bits of pitch alone lstm is significantly better" in text


def test_models_without_a_value_are_in_no_matrix(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4)
    stored.add("gan", 0, None, error="it crashed")
    report = built(stored.close())
    assert matrices(report) == []
    assert ordered(report.standings["pitch_distance"]) == ["lstm"]
    assert records(report.standings) == []
