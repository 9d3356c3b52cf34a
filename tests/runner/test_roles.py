"""Rows that are not trained here: a pretrained model, and a user's own reference row."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from bench.errors import SpecError
from bench.report.flags import PRETRAINED, flags
from bench.scoring.crossed import Values
from bench.scoring.ranking import Standing
from bench.scoring.score import score_run

from .conftest import PLUGINS, Bench

#: Five of nine test pieces are long enough: as many as a test takes.
FIVE: dict[str, Any] = {
    "dataset": {"name": "toy", "options": {"test": 9}},
    "protocol": {"prompt": 10, "notes": 20, "pieces": 5},
}

MIDDLE = '''\
"""Always middle C, as a reference."""
import numpy as np
import bench.api
from bench.api import Notes
ROLE = "reference"
FEATURES = "middle C"
class Model(bench.api.Model):
    def generate(self, prompts, n_notes, seed, constraint=None):
        start = [p.onset[-1] if len(p) else 0.0 for p in prompts]
        onset = np.arange(n_notes) * 0.1
        return [Notes.from_columns(s + onset, np.full(n_notes, 0.1), np.full(n_notes, 60), np.full(n_notes, 64)) for s in start]
'''


def test_a_pretrained_model_is_used_as_it_comes(toy: Bench) -> None:
    toy.write({"steady": {}, "ready": {}}, references=["real", "untrained"], budget={"compute": {"updates": 4}, "timeout": 60})
    result = toy.run()
    assert result.failed == 0
    assert {row["system"] for row in result.table} == {"steady", "untrained steady", "ready", "real"}
    assert toy.outcome("ready")["trial"]["pretrained"] is True
    assert "compute" not in toy.outcome("ready")["trial"]["budget"], "no budget of the spec's is spent on it"
    table = score_run(toy.run_folder)
    for metric in ("training_seconds", "updates", "epochs", "training_notes_per_second"):
        assert table["ready"].cells[metric].value is None
        assert table["ready"].cells[metric].reason == "it is not trained"
    assert flags(table["ready"])[0].name == PRETRAINED == "may have seen the test pieces"
    assert PRETRAINED not in [flag.name for row in ("steady", "real") for flag in flags(table[row])]
    with (toy.run_folder / "report.csv").open(newline="") as file:
        flagged = {row["system"]: row["flags"] for row in csv.DictReader(file)}
    assert {system for system, names in flagged.items() if PRETRAINED in names} == {"ready"}
    assert f"{PRETRAINED.capitalize()} (ready): It was trained elsewhere" in (toy.run_folder / "report.md").read_text()


def test_a_pretrained_model_has_a_timeout_of_its_own_and_no_other_budget(toy: Bench) -> None:
    toy.write({"ready": {"budget": {"timeout": 50}}, "steady": {}})
    assert toy.run().failed == 0
    assert toy.outcome("ready")["trial"]["budget"]["timeout"] == 50
    toy.write({"ready": {"budget": {"epochs": 3}}})
    with pytest.raises(SpecError, match=r"models\.ready\.budget\.epochs: it has no effect: the model 'ready' is pre") as caught:
        toy.run()
    assert caught.value.hint == "Remove it. Only a timeout counts."


def test_seeds_of_a_pretrained_model_draw_and_train_nothing(toy: Bench) -> None:
    toy.write({"steady": {}, "ready": {}}, references=["real"], seeds=2, **FIVE)
    assert toy.run().failed == 0
    table = score_run(toy.run_folder)
    cell = table["ready"].cells["pitch_distance"]
    assert cell.over == "pieces"
    assert cell.interval == Values({0: cell.by_piece}).interval()[0], "Student's interval over the pieces' means"
    crossed = Values(cell.by_seed).interval()[0]
    assert crossed is not None
    assert cell.interval is not None
    assert crossed.high - crossed.low > cell.interval.high - cell.interval.low, "as of two trainings"
    assert table["steady"].cells["pitch_distance"].over == "seeds and pieces"
    standing = Standing("pitch_distance", table.rows)
    assert standing.ranks.keys() == {"steady", "real"}
    assert {c.one for c in standing.between_models} == {"steady"}, "it is tested all the same"
    report = (toy.run_folder / "report.md").read_text()
    assert "No two models were trained alike, so there is no difference to test: see the flags of ready." in report
    assert "Trained elsewhere, perhaps on the test pieces, so that no model trained here is ranked with it: ready." in report
    assert "A seed of it draws other samples and trains nothing" in report
    assert "Another budget than the others" not in report


def test_pretrained_models_alone_are_ranked_among_themselves(toy: Bench) -> None:
    toy.write({"one": {"plugin": "ready"}, "two": {"plugin": "ready"}}, references=["real"], seeds=2, **FIVE)
    assert toy.run().failed == 0
    assert Standing("pitch_distance", score_run(toy.run_folder).rows).ranks.keys() == {"one", "two", "real"}
    report = (toy.run_folder / "report.md").read_text()
    assert "no common budget" not in report
    assert "one and two do not differ significantly" in report


def test_columns_of_velocity_are_undefined_for_a_model_that_gives_none(toy: Bench) -> None:
    plugin = toy.folder / "mute.py"
    plugin.write_text((PLUGINS / "models" / "ready.py").read_text().replace("PRE", "GIVES_VELOCITY = False\nPRE", 1))
    toy.write({"mute": {}, "ready": {}}, references=["median", "real"], seeds=2)
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    table = score_run(toy.run_folder)
    velocity = ("velocity_distance", "velocity_skill", "velocity_sd_ratio", "velocity_w1", "descriptor_frechet")
    assert {name for name, cell in table["mute"].cells.items() if cell.reason == "the model has no velocity"} == {*velocity}
    assert all(table["ready"].cells[name].value is not None for name in velocity)
    assert "velocity not modelled" in [flag.name for flag in flags(table["ready"])]
    assert [flag.name for flag in flags(table["mute"])] == [PRETRAINED]
    assert "mute" not in Standing("velocity_distance", table.rows).known
    report = (toy.run_folder / "report.md").read_text()
    assert "- mute has no velocity, so that what is measured of velocities is undefined.\n" in report


def test_a_users_reference_row(toy: Bench) -> None:
    (toy.folder / "middle.py").write_text(MIDDLE)
    toy.write({}, references=["real", "middle"])
    result = toy.run(plugins=[PLUGINS, toy.folder / "middle.py"])
    assert result.failed == 0
    table = score_run(toy.run_folder)
    assert (table["middle"].kind, table["middle"].model) == ("reference", "middle")
    assert "middle C" in (toy.run_folder / "report.md").read_text()
