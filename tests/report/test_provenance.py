"""Provenance: the command that reproduces a run, and what differs between its trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report import build_report, provenance
from bench.scoring.score import score_run

from .stored_run import Stored, built, example, moved, written


def test_trials_of_different_machines_commits_and_threads_are_told(stored: Stored) -> None:
    here = {"git": "aaa", "cpu": "Test CPU", "torch": "2.0", "threads": 2}
    stored.add("lstm", 0, moved(1), provenance=here | {"torch": "1.0"})
    stored.add("gan", 0, moved(1), provenance=here)
    stored.add("gan", 1, moved(1), provenance=here | {"git": "bbb", "threads": 1})
    text = written(stored.close())["report.md"]
    assert "- not the same for all trials: commit: aaa (2 trials) and bbb (1 trial)\n" in text
    assert "not the same for all trials: processor" not in text
    assert "torch of" not in text, "each framework has its own interpreter"
    assert "- threads: 1 and 2 a trial\n" in text
    assert "different numbers of threads (lstm: 2; gan: 1, 2), so their times are not comparable." in text


def test_the_audit_of_a_runs_music_is_named_by_its_own_options(stored: Stored) -> None:
    """`bench audit --spec mine` failed for a file mine.yaml."""
    report = built(stored.close())
    call = report.run.call.model_copy(update={"spec": "my specs/mine.yaml", "data": ("music",), "plugins": ("a", "b")})
    asked = replace(report, run=report.run.model_copy(update={"call": call}))
    said = f"bench audit --spec 'my specs/mine.yaml' --scale {report.run.scale} --data music --plugins a --plugins b"
    assert provenance.audit_command(asked) == said


def test_trials_of_one_machine_differ_in_nothing(tmp_path: Path) -> None:
    text = written(example(tmp_path / "run"))["report.md"]
    assert "not the same for all" not in text
    assert "different numbers of threads" not in text
    assert "kinds of processor" not in text


def test_times_of_several_kinds_of_processor_are_no_column(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), provenance={"cpu": "Test CPU"})
    stored.add("gan", 0, moved(1), provenance={"cpu": "Test CPU"})
    stored.add("gan", 1, moved(1), provenance={"cpu": "Z80"})
    folder = stored.close()
    text = " ".join(written(folder)["report.md"].split())
    assert "Scale cpu, on Test CPU and Z80." in text
    assert "several kinds of processor (lstm: Test CPU; gan: Test CPU, Z80), so times and speeds are not comparable" in text
    assert "not the same for all trials: processor: Test CPU (2 trials) and Z80 (1 trial)" in text


def test_folds_on_several_kinds_of_processor_are_no_time_of_one(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), provenance={"cpu": "Test CPU; Z80"})  # as folds are united
    text = " ".join(written(stored.close())["report.md"].split())
    assert "several kinds of processor (lstm: Test CPU, Z80), so times and speeds are not comparable" in text


def test_the_last_resume_is_said(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    assert "last resumed" not in written(folder)["report.md"]
    stored.run.write(stored.run.read().change(resumed="2025-01-02T03:10:00Z"))
    assert "- last resumed: 2025-01-02T03:10:00Z\n" in written(folder)["report.md"]


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ({"spec": "table2"}, "bench run table2 --scale cpu"),
        (
            {"spec": "a b.yaml", "models": ["lstm", "gan"], "seeds": 5},
            "bench run 'a b.yaml' --scale cpu --models lstm,gan --seeds 5",
        ),
        ({"spec": "smoke", "models": [], "seeds": [7]}, "bench run smoke --scale cpu --models none --seeds 7,"),
        (
            {"spec": "smoke", "dataset": "maestro", "seeds": [1, 2], "data": ["/d"], "plugins": ["p"]},
            "bench run smoke --scale cpu --dataset maestro --seeds 1,2 --data /d --plugins p",
        ),
        ({"spec": "smoke", "jobs": 2}, "bench run smoke --scale cpu --jobs 2"),
        ({"spec": "smoke", "name": "nightly"}, "bench run smoke --scale cpu --name nightly"),
        ({"spec": None}, "bench.run(...) from Python, with the spec in table2-cpu/run.json"),
    ],
)
def test_the_command_that_repeats_it(stored: Stored, call: dict[str, Any], command: str) -> None:
    stored.call = call
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    assert provenance.command(build_report(folder, score_run(folder))) == command
    assert f"    {command}\n" in written(folder)["report.md"]


def test_of_many_differences_the_first_are_listed(stored: Stored) -> None:
    """Each names its model too: 400,000 names in two outcomes made a report of gigabytes."""
    for seed in (0, 1):
        stored.add("lstm", seed, moved(1), provenance={f"package-{i:04}": str(seed) for i in range(1000)})
    text = written(stored.close())["report.md"]
    assert text.count("not the same for all trials: package-") == provenance.MOST_DIFFERENCES
    assert "- not the same for all trials: more than these 200; see the outcomes of the trials\n" in text
