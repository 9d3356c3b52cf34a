"""Predictions beside published values: difference, interval, and whether a further training may give what was published."""

from __future__ import annotations

from typing import Any

import pytest

from bench.specs.load import load_spec

from .stored_run import Stored, built, moved, rows, written

#: Options of the music that Hawthorne et al. measured on.
MAESTRO = {"version": "1.0.0", "pedal": "extend"}


def predicted(nats: float, **changes: Any) -> dict[str, Any]:
    """What a worker stores of a model that needs so many nats for each of 100 frames."""
    return {"unit": "frame", "pieces": 2, "predictions": 100, "nats": 100 * nats, "notes": 400, "seconds": 50.0, **changes}


def anchored(text: str) -> list[dict[str, str]]:
    """Rows of the table, by its headings."""
    lines = text.split("## Against published values\n\n")[1].split("\n\n")[1].splitlines()
    heading, *cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("|:--")]
    return [dict(zip(heading, line, strict=True)) for line in cells]


@pytest.fixture
def text(stored: Stored) -> dict[str, str]:
    stored.spec |= {"published": "bai2018", "seeds": [0, 1, 2], "dataset": {"name": "jsb"}}
    for seed in range(3):
        stored.add("real", seed, moved(12), kind="reference")
        stored.add("lstm", seed, moved(8), prediction=predicted(8.40 + 0.04 * seed))
        stored.add("tcn", seed, moved(8), prediction=predicted(8.50 + 0.01 * seed))
    stored.add("gru", 0, moved(8), prediction=predicted(8.30))
    stored.add("mine", 0, moved(8), prediction=predicted(9.0))
    return written(stored.close())


def test_a_published_value_is_inside_if_a_further_training_may_give_it(text: dict[str, str]) -> None:
    lstm, tcn, gru, mine = anchored(text["report.md"])
    # t(2) = 4.303 times SD sqrt(1 / 3) and SD sqrt(1 / 3 + 1), SD .04 and .01.
    assert lstm["Nats per frame (nats)"].startswith("8.440")
    assert lstm["95 % interval over trainings"] == "\\[8.341, 8.539\\]"
    assert lstm["A further training"] == "\\[8.241, 8.639\\]"
    assert [lstm[name] for name in ("Bai 2018", "Difference", "Inside")] == ["8.45", "−0.01", "yes"]
    assert tcn["A further training"] == "\\[8.460, 8.560\\]"
    assert [tcn[name] for name in ("Bai 2018", "Difference", "Inside")] == ["8.10", "+0.41", "no"]
    assert [gru[name] for name in ("Bai 2018", "Difference", "Inside")] == ["8.43", "−0.13", "–"], "one training has no range"
    assert [mine[name] for name in ("Bai 2018", "Difference", "Inside")] == ["–", "–", "–"], "nothing was published of it"


def test_means_over_other_numbers_of_frames_are_told(stored: Stored, text: dict[str, str]) -> None:
    """Of one model with half frames, and with one number for each key, 9.14, 4.57 and 0.10 stood side by side."""
    assert "other numbers of frames" not in text["report.md"]
    stored.add("half", 0, moved(8), prediction=predicted(8.0, predictions=200))
    said = "nor all of them with a published value: 100 of lstm, tcn, gru and mine; 200 of half."
    assert said in written(stored.close())["report.md"]


def test_draws_of_a_pretrained_model_are_no_trainings(stored: Stored) -> None:
    stored.spec |= {"published": "bai2018", "seeds": [0, 1, 2], "dataset": {"name": "jsb"}}
    for seed in range(3):
        stored.add("lstm", seed, moved(8), prediction=predicted(8.40), pretrained=True)
    text = written(stored.close())["report.md"]
    (lstm,) = anchored(text)
    assert [lstm[name] for name in ("95 % interval over trainings", "A further training", "Inside")] == ["–", "–", "–"]
    assert lstm["Difference"] == "−0.05"
    assert "No model of this run was trained here." in text
    assert "The models have no common budget" not in text


def test_upper_bounds_are_marked_and_inside_nothing(stored: Stored) -> None:
    stored.spec |= {"published": "bai2018", "seeds": [0, 1], "dataset": {"name": "jsb"}}
    for seed, nats in enumerate((8.40, 8.44)):
        stored.add("frame-lstm", seed, moved(8), prediction=predicted(nats, kind="bound"))
        stored.add("lstm", seed, moved(8), prediction=predicted(nats))
    files = written(stored.close())
    bound, exact = anchored(files["report.md"])
    name = next(name for name in bound if name.startswith("Nats per frame"))
    assert (bound[name], bound["Inside"]) == (f"≤ {exact[name]}", "–")
    table = rows(files["report.csv"])
    assert [row["likelihood"] for row in table if row["kind"] == "model"] == ["bound", "exact"]


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_a_smaller_scale_says_that_its_numbers_are_not_the_anchors(stored: Stored, scale: str) -> None:
    stored.spec |= {"published": "hawthorne2019", "dataset": {"name": "maestro", "options": MAESTRO}}
    stored.scale = scale
    stored.add("event-transformer", 0, moved(8), prediction=predicted(2.5, unit="event"))
    text = written(stored.close())["report.md"]
    assert ("Not the anchor's numbers: at scale cpu" in text) == (scale == "cpu")
    assert ("Nats per event (in brackets Hawthorne 2019): event-transformer 2.500 (1.84)." in text) == (scale == "gpu")
    assert anchored(text)[0].get("Hawthorne 2019") == (None if scale == "cpu" else "1.84")


def test_an_anchor_stands_beside_its_own_music_alone(stored: Stored) -> None:
    stored.spec |= {"published": "bai2018"}
    stored.add("lstm", 0, moved(8), prediction=predicted(8.40))
    text = written(stored.close())["report.md"]
    assert "Not the anchor's numbers: the music isn't that of jsb." in text
    assert "Bai 2018" not in anchored(text)[0]


def test_an_anchor_does_not_stand_beside_folds(stored: Stored) -> None:
    stored.spec |= {"published": "bai2018", "dataset": {"name": "jsb"}}
    stored.spec["protocol"]["folds"] = 2
    for seed in range(2):
        stored.add("lstm", seed, moved(8), prediction=predicted(8.40 + seed))
    text = written(stored.close())["report.md"]
    assert "Not the anchor's numbers: every piece is held out in turn, so the held-out pieces are others" in text
    assert not {"Bai 2018", "Difference", "Inside"} & anchored(text)[0].keys()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (MAESTRO | {"limit": 9}, "limit"),
        (MAESTRO | {"composer": ["Bach", "Liszt"], "pedal": "ignore"}, "composer and pedal"),
        ({"pedal": "extend"}, "version"),
        ({}, "pedal and version"),
        (MAESTRO | {"url": "https://example.org/maestro.zip", "limit": None}, ""),
    ],
)
def test_an_anchor_stands_beside_its_own_selection_alone(stored: Stored, options: dict[str, Any], named: str) -> None:
    stored.spec |= {"published": "hawthorne2019", "dataset": {"name": "maestro", "options": options}}
    stored.scale = "gpu"
    stored.add("event-transformer", 0, moved(8), prediction=predicted(2.5, unit="event"))
    text = written(stored.close())["report.md"]
    assert (f"other options of the dataset select other music ({named})." in text) == bool(named)
    assert anchored(text)[0].get("Hawthorne 2019") == (None if named else "1.84")


@pytest.mark.parametrize("name", ["anchor-jsb", "anchor-maestro"])
def test_the_shipped_anchors_stand_beside_their_published_values(stored: Stored, name: str) -> None:
    spec = load_spec(name, scale="gpu")
    stored.scale = "gpu"
    stored.spec |= {"published": spec.published, "dataset": spec.dataset.model_dump(mode="json")}
    stored.add("lstm" if name == "anchor-jsb" else "event-transformer", 0, moved(8), prediction=predicted(8.4))
    assert built(stored.close()).off_anchor == ""


def test_the_csv_has_both_values(text: dict[str, str]) -> None:
    lstm = next(row for row in rows(text["report.csv"]) if row["system"] == "lstm")
    assert lstm["nats_per_frame"] == "8.44"
    assert lstm["published_nats_per_frame"] == "8.45"


def test_without_predictions_there_is_no_such_table(stored: Stored) -> None:
    stored.add("lstm", 0, moved(8), bits=15.0)
    assert "Against published values" not in written(stored.close())["report.md"]
