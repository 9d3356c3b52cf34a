"""Dot plots of the distances."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.figures import cost, distances, over_time

from ..stored_run import Stored, both, built, done, example, many_pieces, moved


def test_without_a_model_the_references_are_drawn(stored: Stored) -> None:
    stored.add("median", 0, both(57, 70), kind="reference")
    report = built(stored.close())
    assert [d.label for d in distances.gallery(report).drawings] == [
        "Dot plot. Average Pitch Distance in semitones, closest first: median 5.50.",
        "Dot plot. Velocity Average Distance in MIDI velocity, closest first: median 12.50.",
    ]
    pieces = over_time.courses(report).pieces
    assert [(p.title, len(p.drawings)) for p in pieces] == [("Bach: Minuet", 1), ("b", 1)]


def test_intervals_are_explained_only_where_they_are_drawn(tmp_path: Path) -> None:
    few = built(example(tmp_path / "few"))
    assert "95 % interval" not in distances.gallery(few).note
    assert "arms are the SD between seeds" in cost.gallery(few).drawings[-1].caption
    stored = Stored(tmp_path / "many")
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 9)
    many = built(stored.close())
    assert "The line through each dot is its 95 % interval." in distances.gallery(many).note
    assert cost.gallery(many).drawings[-1].caption.endswith("; the arms are the 95 % interval.")


@pytest.mark.parametrize(
    ("compute", "frozen", "said"),
    [
        ({"seconds": 18.0}, None, "one budget, 18 yardstick-seconds: so the points lie in a narrow range across."),
        ({"seconds": 18.0}, 500, "one budget, 18 yardstick-seconds."),
        ({"updates": 120}, None, "one budget, 120 updates."),
    ],
)
def test_times_are_alike_only_where_the_clock_ends_the_budget(
    stored: Stored, compute: dict[str, float], frozen: int | None, said: str
) -> None:
    stored.spec["budget"] = {"compute": compute}
    training = done(0, None)["training"]
    stored.add("lstm", 0, moved(1), training=training | {"history": [{"epoch": 1, "notes": 9, "share": 1.0}]})
    stored.trials[-1]["trial"]["budget"]["updates"] = frozen
    assert cost.gallery(built(stored.close())).note.endswith(f"Every model had {said}")


def test_each_distance_has_one_figure_of_all_rows(tmp_path: Path) -> None:
    found = distances.gallery(built(example(tmp_path / "run"))).drawings
    pitch = [d for d in found if "Pitch" in d.caption]
    assert [d.caption.split(", ")[1] for d in pitch] == ["all rows."]
    assert "untrained lstm 30.00" in pitch[0].label
