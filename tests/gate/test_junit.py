"""The XML that CI services read."""

from dataclasses import replace
from xml.etree import ElementTree

from bench.gate.junit import junit
from bench.gate.text import sentence
from bench.gate.verdicts import Judgement, RowChange, judge

from .handmade import JUDGED, WORSE, flat, run, system

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
        assert checked(junit(broken)).find("testcase/error").text == "gan: failed (seed 0: \ufffd\ufffd[31m <&> \ufffd)"

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
