"""What people read, word for word."""

from dataclasses import replace

import pytest

from bench.gate.text import markdown, sentence, text
from bench.gate.verdicts import Judgement, judge
from bench.metrics import METRICS

from .handmade import BETTER, FEW, JUDGED, LOST, NEW, NOT, SLOWER, WORSE, flat, run, series, shifted, system


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (WORSE, "lstm: bits_per_note 7.96 -> 8.41 (+0.45, threshold 0.10; p = 0.001 over 74 held-out pieces): worse"),
        (SLOWER, "lstm: training_seconds 74.250 -> 99.500 (+25.250, threshold 18.562 yardsticks; p = 0.210 over 3 seeds): "
         "unclear"),
        (replace(SLOWER, metric=METRICS["training_notes_per_second"], before=3919.0, now=3005.0, limit=980.0),
         "lstm: training_notes_per_second 3919 -> 3005 (-914, threshold 980 notes a yardstick; p = 0.210 over 3 seeds): unclear"),
        (LOST, "gan: pitch_w1 was 1.90: lost (no notes to compare)"),
        (NEW, "gan: bits_per_note is 9.00: new (this family has no likelihood)"),
        (NOT, "gan: training_seconds: not compared (the baseline has no yardstick beside its times)"),
        (FEW, "gan: pitch_w1 1.90 -> 3.00 (+1.10, threshold 0.50; no test over 4 pieces): untested"),
        (BETTER, "gan: pitch_distance 9.60 -> 2.00 (-7.60, threshold 0.48; p < 0.001 over 50 pieces): better"),
        (replace(WORSE, limit=0.004), "lstm: bits_per_note 7.960 -> 8.410 (+0.450, threshold 0.004; "
         "p = 0.001 over 74 held-out pieces): worse"),
    ],
)  # fmt: skip
def test_a_sentence(verdict, said):
    assert sentence(verdict) == said


def test_the_text_for_a_terminal():
    assert text(JUDGED) == (
        "uniform: vanished (the run has no such row)\n"
        "markov: new\n"
        "lstm: bits_per_note 7.96 -> 8.41 (+0.45, threshold 0.10; p = 0.001 over 74 held-out pieces): worse\n"
        "gan: pitch_w1 was 1.90: lost (no notes to compare)\n"
        "gan: pitch_distance 9.60 -> 2.00 (-7.60, threshold 0.48; p < 0.001 over 50 pieces): better\n"
        "lstm: training_seconds 74.250 -> 99.500 (+25.250, threshold 18.562 yardsticks; p = 0.210 over 3 seeds): unclear\n"
        "gan: pitch_w1 1.90 -> 3.00 (+1.10, threshold 0.50; no test over 4 pieces): untested\n"
        "new (this family has no likelihood): gan bits_per_note\n"
        "not compared (the baseline has no yardstick beside its times): gan training_seconds\n"
        "warning: another environment: cpu is Z80, was Test CPU\n"
        "Too few to tell a regression from chance, however large: 1 comparison over 4 pieces.\n"
        "Worse than the baseline, and 1 row missing or incomplete: "
        "1 worse, 1 lost, 1 better, 1 unclear, 1 untested, 1 new, 1 not compared, 1 unchanged. "
        "12 tests together, p adjusted by Holm.\n"
    )


def test_only_regressions():
    assert text(JUDGED, only_regressions=True) == (
        "uniform: vanished (the run has no such row)\n"
        "lstm: bits_per_note 7.96 -> 8.41 (+0.45, threshold 0.10; p = 0.001 over 74 held-out pieces): worse\n"
        "gan: pitch_w1 was 1.90: lost (no notes to compare)\n"
        "Too few to tell a regression from chance, however large: 1 comparison over 4 pieces.\n"
        "Worse than the baseline, and 1 row missing or incomplete: "
        "1 worse, 1 lost, 1 better, 1 unclear, 1 untested, 1 new, 1 not compared, 1 unchanged. "
        "12 tests together, p adjusted by Holm.\n"
    )


def test_markdown_for_a_ci_summary():
    shown = replace(JUDGED, verdicts=(WORSE, BETTER), warnings=("another environment: cpu is <b>|, was *",))
    assert markdown(shown) == (
        "## Worse than the baseline\n\n"
        "now against the baseline smoke-cpu.\n\n"
        "- uniform: vanished (the run has no such row)\n- markov: new\n\n"
        "| Model | Metric | Baseline | Now | Change | Threshold | Evidence | |\n"
        "|:--|:--|--:|--:|--:|--:|:--|:--|\n"
        "| lstm | Bits per note | 7.96 | 8.41 | +0.45 | 0.10 | p = 0.001 over 74 held-out pieces | **worse** |\n"
        "| gan | Average Pitch Distance | 9.60 | 2.00 | -7.60 | 0.48 | p \\< 0.001 over 50 pieces | better |\n\n"
        "- *better*: better by more than its threshold: a mistake or a leak may be behind it\n\n"
        "- warning: another environment: cpu is \\<b\\>\\|, was \\*\n\n"
        "Worse than the baseline, and 1 row missing or incomplete: 1 worse, 1 better. 12 tests together, p adjusted by Holm.\n"
    )


def test_runs_that_can_not_be_compared():
    judged = Judgement("smoke-cpu", "now", obstacles=("scale is gpu, was cpu",))
    assert text(judged) == "scale is gpu, was cpu\nThe run can't be compared with the baseline.\n"
    assert markdown(judged) == (
        "## The run can't be compared with the baseline\n\nnow against the baseline smoke-cpu.\n\n- scale is gpu, was cpu\n\n"
        "The run can't be compared with the baseline.\n"
    )


def test_a_real_judgement():
    before = run(lstm=system(pitch_distance=flat(10.0), training_seconds=series([50, 51], "seeds")))
    judged = judge(before, shifted(before, "lstm", "pitch_distance", 1.0))
    assert "lstm: pitch_distance 10.09 -> 11.09 (+1.00, threshold 0.81; p < 0.001 over 2 seeds and 20 pieces): worse\n" in text(
        judged
    )
    assert "| **worse** |" in markdown(judged)
