"""What people read, word for word; and the XML that CI services read."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench.gate.compare import Verdict
from bench.gate.junit import junit
from bench.gate.text import markdown, sentence, text
from bench.gate.verdicts import Judgement, RowChange, judge
from bench.metrics import METRICS

from .made import flat, run, series, shifted, system

BITS = METRICS["bits_per_note"]
WORSE = Verdict("lstm", BITS, "worse", 7.96, 8.41, 0.45, 0.1, 0.0012, "held-out pieces", 74, True)
SLOWER = Verdict(
    "lstm", METRICS["training_seconds"], "unclear", 74.25, 99.5, 25.25, 18.5625, 0.21, "seeds", 3, True, clocked=True
)
LOST = Verdict("gan", METRICS["pitch_w1"], "lost", 1.9, reason="no notes to compare")
NEW = Verdict("gan", BITS, "new", now=9.0, reason="this family has no likelihood")
NOT = Verdict("gan", METRICS["training_seconds"], "not compared", reason="the baseline has no yardstick beside its times")
FEW = Verdict("gan", METRICS["pitch_w1"], "untested", 1.9, 3.0, 1.1, 0.5, 1.0, "pieces", 4)
BETTER = Verdict("gan", METRICS["pitch_distance"], "better", 9.6, 2.0, -7.6, 0.48, 0.0001, "pieces", 50, True)
SAME = replace(WORSE, status="same", now=7.96, worsening=0.0, p=1.0)

JUDGED = Judgement(
    "smoke-cpu",
    "now",
    warnings=("another environment: cpu is Z80, was Test CPU",),
    rows=(RowChange("uniform", "vanished", "the run has no such row"), RowChange("markov", "new")),
    verdicts=(SAME, WORSE, SLOWER, LOST, NEW, NOT, FEW, BETTER),
    tests=12,
)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (WORSE, "lstm: bits_per_note 7.96 -> 8.41 (+0.45, threshold 0.10; p = 0.001 over 74 held-out pieces): worse"),
        (SLOWER, "lstm: training_seconds 74.250 -> 99.500 (+25.250, threshold 18.562 yardsticks; p = 0.210 over 3 seeds): "
         "unclear"),
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
        "Worse than the baseline: 1 worse, 1 lost, 1 better, 1 unclear, 1 untested, 1 new, 1 not compared, 1 the same. "
        "12 tests together, p adjusted by Holm.\n"
    )


def test_only_regressions():
    assert text(JUDGED, only_regressions=True) == (
        "uniform: vanished (the run has no such row)\n"
        "lstm: bits_per_note 7.96 -> 8.41 (+0.45, threshold 0.10; p = 0.001 over 74 held-out pieces): worse\n"
        "gan: pitch_w1 was 1.90: lost (no notes to compare)\n"
        "Too few to tell a regression from chance, however large: 1 comparison over 4 pieces.\n"
        "Worse than the baseline: 1 worse, 1 lost, 1 better, 1 unclear, 1 untested, 1 new, 1 not compared, 1 the same. "
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
        "Worse than the baseline: 1 worse, 1 better. 12 tests together, p adjusted by Holm.\n"
    )


def test_runs_that_can_not_be_compared():
    judged = Judgement("smoke-cpu", "now", obstacles=("scale is gpu, was cpu",))
    assert text(judged) == "scale is gpu, was cpu\nThe run can't be compared with the baseline.\n"
    assert markdown(judged) == (
        "## The run can't be compared with the baseline\n\nnow against the baseline smoke-cpu.\n\n- scale is gpu, was cpu\n\n"
        "The run can't be compared with the baseline.\n"
    )


#: What the schemas of Jenkins and of Ant's JUnit task agree on: attributes that must and may be there, and what may be inside.
SHAPES = {
    "testsuites": (set(), set(), {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time"}, set(), {"testcase", "system-out"}),
    "testcase": ({"name", "classname", "time"}, set(), {"failure", "error", "skipped"}),
    "failure": ({"message", "type"}, set(), set()),
    "error": ({"message", "type"}, set(), set()),
    "skipped": ({"message"}, set(), set()),
    "system-out": (set(), set(), set()),
}


def checked(document):
    """The suite of a document that has the common form."""
    assert document.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(document)
    assert root.tag == "testsuites"
    for element in root.iter():
        must, may, inside = SHAPES[element.tag]
        assert must <= set(element.keys()) <= must | may
        assert {child.tag for child in element} <= inside
    (suite,) = root
    assert len(suite) == int(suite.get("tests")) + 1
    assert suite[-1].tag == "system-out"
    for name, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert len(suite.findall(f"testcase/{name}")) == int(suite.get(plural))
    return suite


class TestJUnit:
    def test_one_case_a_metric_of_a_row(self):
        suite = checked(junit(JUDGED))
        kinds = {(c.get("classname"), c.get("name"), c[0].tag if len(c) else "passed") for c in suite.findall("testcase")}
        assert kinds == {
            ("uniform", "row", "error"),
            ("lstm", "bits_per_note", "passed"),
            ("lstm", "bits_per_note", "failure"),
            ("lstm", "training_seconds", "passed"),
            ("gan", "pitch_w1", "error"),
            ("gan", "bits_per_note", "skipped"),
            ("gan", "training_seconds", "skipped"),
            ("gan", "pitch_w1", "skipped"),
            ("gan", "pitch_distance", "passed"),
        }

    def test_a_failure_carries_the_sentence(self):
        failure = checked(junit(JUDGED)).find("testcase/failure")
        assert failure.get("message") == failure.text == sentence(WORSE)

    def test_only_regressions(self):
        suite = checked(junit(JUDGED, only_regressions=True))
        assert [(c.get("classname"), c[0].tag) for c in suite.findall("testcase")] == [
            ("uniform", "error"),
            ("lstm", "failure"),
            ("gan", "error"),
        ]

    def test_what_xml_can_not_hold(self):
        broken = Judgement("a", "b", rows=(RowChange("gan", "failed", "seed 0: \x00\x1b[31m <&> \ufffe"),))
        assert checked(junit(broken)).find("testcase/error").text == "gan: failed (seed 0: ??[31m <&> ?)"

    def test_runs_that_can_not_be_compared(self):
        suite = checked(junit(Judgement("a", "b", obstacles=("scale is gpu, was cpu",))))
        assert [(e.get("type"), e.text) for e in suite.findall("testcase/error")] == [("not comparable", "scale is gpu, was cpu")]


def test_every_case_of_a_real_judgement_is_counted_once():
    before = run(
        lstm=system(pitch_distance=flat(10.0), unique_pitches=flat(20.0), polyphony=flat(3.0)),
        gan=system(pitch_distance=flat(9.0), pitch_w1=flat(1.0, 4)),
        real=system("reference", pitch_distance=flat(9.0)),
    )
    now = run(
        lstm=system(pitch_distance=flat(13.0), unique_pitches=flat(20.0, 12)),
        gan=replace(system(pitch_distance=flat(9.0), pitch_w1=flat(7.0, 4), polyphony=flat(3.0)), seeds=(0,)),
    )
    suite = checked(junit(judge(before, now)))
    kinds = [(c.get("classname"), c.get("name"), c[0].tag if len(c) else "passed") for c in suite.findall("testcase")]
    assert kinds == [
        ("real", "row", "error"),
        ("gan", "row", "error"),
        ("lstm", "pitch_distance", "failure"),
        ("lstm", "unique_pitches", "error"),
        ("lstm", "polyphony", "error"),
        ("gan", "pitch_distance", "passed"),
        ("gan", "pitch_w1", "skipped"),
        ("gan", "polyphony", "skipped"),
    ]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["8", "1", "4", "2"]
    short = checked(junit(judge(before, now), only_regressions=True))
    assert [short.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "1", "4", "0"]
    assert "1 untested" in short.findtext("system-out")
    assert "8 of 20 pieces have no value now" in suite.find("testcase[@name='unique_pitches']/error").text


def test_a_real_judgement_can_be_told_in_every_form():
    before = run(lstm=system(pitch_distance=flat(10.0), training_seconds=series([50, 51], "seeds")))
    judged = judge(before, shifted(before, "lstm", "pitch_distance", 1.0))
    assert "lstm: pitch_distance 10.09 -> 11.09 (+1.00, threshold 0.81; p < 0.001 over 20 pieces): worse\n" in text(judged)
    assert "| **worse** |" in markdown(judged)
    assert checked(junit(judged)).get("failures") == "1"
