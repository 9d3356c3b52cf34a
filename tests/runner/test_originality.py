"""From the worker's measurement to the table, in a real run."""

from bench.scoring import score

from .conftest import Bench


def test_a_run_measures_what_was_copied(toy: Bench) -> None:
    toy.write({"steady": {}}, references=["real", "shuffle"], protocol={"prompt": 10, "notes": 20, "pieces": 9, "samples": 2})
    toy.run()
    stored = toy.outcome("real")["originality"]
    assert {name: len(values) for name, values in stored["samples"].items()} == {
        "longest_training_run": 6,
        "longest_prompt_run": 6,
        "known_patterns": 6,
    }
    assert len(stored["targets"]["longest_training_run"]) == 3
    table = score.score_run(toy.run_folder)
    # The row `real` is an excerpt of a training piece; the toy's pieces are random, so that nothing else is shared at length.
    assert table["real"].cells["copied_run"].value == 20
    assert table["real"].cells["known_patterns"].value == 100
    for row in table.rows:
        assert 1 <= (row.cells["copied_run_real"].value or 0) <= 4
        assert row.cells["copied_run"].pieces == 3
    assert 1 <= (table["shuffle"].cells["copied_run"].value or 0) <= 4
