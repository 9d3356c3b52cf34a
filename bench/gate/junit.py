"""A check as JUnit XML, which CI services show: one test case for each metric of each row.

The elements are those that the schemas of Jenkins and Ant have in common. Worse is a failure; vanished, failed and lost are
errors, and so are runs that can't be compared; what was not judged is skipped.
"""

from __future__ import annotations

from xml.etree import ElementTree

from bench.formatting import clean
from bench.gate.compare import Verdict
from bench.gate.text import blindness, row_sentence, sentence, summary
from bench.gate.verdicts import Judgement

#: Element inside a test case, by status; the others pass.
_ELEMENTS = {"worse": "failure", "lost": "error", "untested": "skipped", "not compared": "skipped", "new": "skipped"}


def junit(judgement: Judgement, only_regressions: bool = False) -> str:
    """Write the document; with `only_regressions` only failures and errors."""
    suite = ElementTree.Element("testsuite", {"name": f"bench check {clean(judgement.now)}"})
    for reason in judgement.obstacles:
        _case(suite, "run", "comparable", "error", "not comparable", reason)
    for row in judgement.rows:
        if row.status != "new":
            _case(suite, row.system, "row", "error" if row.missing else "skipped", row.status, row_sentence(row))
    for verdict in judgement.verdicts:
        _verdict(suite, verdict, only_regressions)
    for name in ("failure", "error", "skipped"):
        plural = {"failure": "failures", "error": "errors", "skipped": "skipped"}[name]
        suite.set(plural, str(len(suite.findall(f"testcase/{name}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("time", "0")
    lines = [*judgement.warnings, *(sentence(v) for v in judgement.of("better", "unclear")), blindness(judgement)]
    notes = [*filter(None, lines), summary(judgement)]
    ElementTree.SubElement(suite, "system-out").text = clean("\n".join(notes))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _verdict(suite: ElementTree.Element, verdict: Verdict, only_regressions: bool) -> None:
    element = _ELEMENTS.get(verdict.status)
    if element in ("failure", "error") or not only_regressions:
        _case(suite, verdict.system, verdict.metric.name, element, verdict.status, sentence(verdict))


def _case(suite: ElementTree.Element, system: str, name: str, element: str | None, status: str, message: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": clean(system), "name": name, "time": "0"})
    if element is None:
        return
    kind = {} if element == "skipped" else {"type": status}
    child = ElementTree.SubElement(case, element, {"message": clean(message), **kind})
    if element != "skipped":
        child.text = clean(message)
