"""Bump chart of the rules of alignment, and the sentences beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.report.alignment import compared, mean_ranks, orders, sentences
from bench.report.figures import alignment

from ..stored_run import REAL, Stored, both, built, example, moved, notes, written


def test_ranks_are_of_all_rows_but_untrained_ones(tmp_path: Path) -> None:
    report = built(example(tmp_path / "run"))
    rows = compared(report)
    # By index 5.5, 7, 9, 9 and 12 semitones: the two of 9 share ranks 3 and 4. No row has a pitch in common with a target's.
    assert [row.system for row in rows] == ["median", "gan", "lstm", "ngram", "real"]
    found = {order.metric: order for order in orders(rows)}
    assert found["pitch_distance"].ranks == [1, 2, 3.5, 3.5, 5]
    assert found["roll_distance"].ranks == [3, 3, 3, 3, 3]
    assert (found["pitch_distance"].agreement, found["roll_distance"].agreement) == (pytest.approx(1), None)
    (figure,) = alignment.gallery(report).drawings
    assert figure.label == (
        "Bump chart. Places by index, onset, piano roll, soprano, warping, 1 is the closest: median 1, 1, 3, 1, 1; "
        "gan 2, 2, 3, 2, 2; lstm 3.5, 3.5, 3, 3.5, 3.5; ngram 3.5, 3.5, 3, 3.5, 3.5; real 5, 5, 3, 5, 5."
    )
    assert "untrained lstm" not in figure.svg


def test_a_rule_that_turns_the_order_round(stored: Stored) -> None:
    # The first two targets, each note one place late. By index 1.5 and 1 semitones off, but by warping the copy is closer.
    late = {(i, 0): notes([int(real.pitch[0]), *real.pitch[:-1].tolist()]) for i, real in enumerate(REAL)}
    stored.add("lstm", 0, late)
    stored.add("gan", 0, moved(1))
    stored.add("real", 0, moved(3), kind="reference")
    rows = compared(built(stored.close()))
    assert [row.system for row in rows] == ["gan", "lstm", "real"]
    found = {order.metric: order for order in orders(rows)}
    assert found["pitch_by_warping"].ranks == [2, 1, 3]
    assert found["pitch_by_warping"].agreement == pytest.approx(0.5)


def test_sentences_are_under_their_table_of_the_report(tmp_path: Path) -> None:
    text = written(example(tmp_path / "run"))["report.md"].split("## Other alignments")[1].split("\n## ")[0]
    assert (
        "- Spearman's correlation of the order of 5 rows with their order by index: onset 1.00, soprano 1.00, warping 1.00."
        in text
    )
    assert "- Place of the mean of other real music (the row real) among these 5, 1 the closest" in text
    assert "significant or not: 5 by index" in text


def test_rows_that_are_extreme_by_any_rule_are_left_out(stored: Stored) -> None:
    stored.add("lstm", 0, moved(2))
    for system, by in (("codec", 0), ("uniform", 30), ("real", 3), ("median", 1)):
        stored.add(system, 0, moved(by), kind="reference")
    assert [row.system for row in compared(built(stored.close()))] == ["median", "lstm", "real"]


def test_two_rows_have_no_order_worth_a_figure(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("median", 0, both(57, 70), kind="reference")
    report = built(stored.close())
    assert sentences(report) == []
    assert alignment.gallery(report).drawings == ()
    assert "Fewer than three rows" in alignment.gallery(report).note


@given(st.lists(st.integers(0, 9).map(float), min_size=1))
def test_mean_ranks_are_scipys(values: list[float]) -> None:
    assert mean_ranks(values) == stats.rankdata(values).tolist()


def test_no_report_loads_scipy_stats() -> None:
    """It would be a tenth of the default run's report."""
    code = "import sys, bench.report, bench.report.watch; print('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
