"""How often the gate is right, by simulation from a stored run: see :mod:`simulation`. Two processes, as it takes a while."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("simulation.py")


def start(what: str, pairs: int, seed: int) -> subprocess.Popen:
    # Small products: the linear algebra library's threads would only wait for each other.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), what, str(pairs), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=SCRIPT.parents[2])


def measure(what: str, pairs: int) -> dict:
    """Both halves together."""
    halves = [json.loads(process.communicate()[0]) for process in [start(what, pairs // 2, seed) for seed in (1, 2)]]
    names = halves[0]["found"]
    return {
        "pairs": sum(h["pairs"] for h in halves),
        "alarms": sum(h["alarms"] for h in halves),
        "found": {name: [sum(h["found"][name][i] for h in halves) for i in (0, 1)] for name in names},
    }


@pytest.fixture(scope="module")
def generations() -> dict:
    return measure("generation", 1000)


def test_of_1000_equal_runs_at_most_5_percent_are_called_worse(generations):
    """A run counts if anything in it is called worse: any of 5 rows, 60 comparisons."""
    assert generations["pairs"] == 1000
    assert generations["alarms"] <= 50


def test_of_1000_true_worsenings_of_twice_the_threshold_at_least_90_percent_are_found(generations):
    made, found = (sum(count[i] for count in generations["found"].values()) for i in (0, 1))
    assert made == 1000
    assert found >= 900


def test_no_metric_hides_behind_the_others(generations):
    assert min(found / made for made, found in generations["found"].values()) >= 0.8


def test_runs_that_were_also_trained_anew_are_seldom_called_worse():
    """What protects here is the threshold: the test over pieces knows nothing of other trainings."""
    other = measure("training", 200)
    assert other["alarms"] <= 0.08 * other["pairs"]
