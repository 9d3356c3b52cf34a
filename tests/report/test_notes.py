"""Sentences of the report: each is there exactly when it is true of the run."""

from __future__ import annotations

import numpy as np
import pytest

from bench.music.notes import Notes
from bench.specs.schema import IN_FULL

from .stored_run import Stored, both, done, many_pieces, moved, rows, written

MEDIAN_WINS = "one note repeated over and over"


def test_bits_are_said_to_be_over_every_held_out_note(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=10.0)
    text = written(stored.close())["report.md"]
    assert "over every note of all 5 held-out pieces (500 notes): " in text


def test_rows_of_another_number_of_samples_are_named(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    assert "samples per piece and run: 1. Music:" in written(stored.close())["report.md"]
    asked = stored.spec["protocol"]
    stored.spec["protocol"] = {**asked, "samples": 2}
    stored.add("mine", 0, {(i, k): notes for (i, _), notes in moved(1).items() for k in (0, 1)})
    stored.spec["protocol"] = asked
    text = written(stored.close())["report.md"]
    assert "samples per piece and run: 1, but of mine 2. The more samples, the more patterns they share, and measures" in text


@pytest.mark.parametrize(("run", "said"), [(31, False), (32, True)])
def test_targets_that_are_in_the_training_music_are_told(stored: Stored, run: int, said: bool) -> None:
    """Excerpts that overlap by half, split at random: what is held out is half known, whatever its digest is."""
    stored.spec["protocol"] = {**stored.spec["protocol"], "notes": 64}
    stored.real = [
        Notes.from_columns(np.arange(64) / 2, np.full(64, 0.25), np.arange(64) + 20 + i, np.full(64, 80)) for i in (0, 1)
    ]
    known = {"longest_training_run": [9, run], "longest_prompt_run": [2, 2], "known_patterns": [0.1, 0.5]}
    made = {(i, 0): notes for i, notes in enumerate(stored.real)}
    stored.add("lstm", 0, made, originality={"samples": known, "targets": known})
    text = written(stored.close())["report.md"]
    assert ("the prompt of 1 of 2 pieces is in a training piece, pitch by pitch, for half of its notes or more" in text) == said


def test_the_constant_is_named_only_where_it_wins(stored: Stored) -> None:
    stored.add("lstm", 0, moved(2))
    stored.add("median", 0, both(57, 70), kind="reference")
    assert MEDIAN_WINS.lower() not in written(stored.close())["report.md"].lower()


def test_the_constant_that_wins_is_named_with_its_numbers(stored: Stored) -> None:
    stored.add("lstm", 0, moved(20))
    stored.add("median", 0, both(57, 70), kind="reference")
    text = written(stored.close())["report.md"]
    # Two pieces are too few for a test to call anything better.
    assert (
        f"Average Pitch Distance: {MEDIAN_WINS} (the row median, 5.50) has a lower mean than every model, though the difference "
        "is not significant for all of them (lowest mean: lstm, 20.00)."
    ) in text
    assert f"Velocity Average Distance: {MEDIAN_WINS}" not in text
    assert "real music of another piece (the row real" not in text


def test_beaten_is_what_a_test_says(stored: Stored) -> None:
    """Four rows, six pairs: 12 pieces are enough for Holm. `close` is below `real` on half the pieces only."""
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 20 + i % 3)
    many_pieces(stored, "close", lambda i: 10 + (3 if i % 2 else -4))
    many_pieces(stored, "median", lambda i: 1 + i % 2, "reference")
    many_pieces(stored, "real", lambda i: 10, "reference")
    text = written(stored.close())["report.md"]
    assert f"{MEDIAN_WINS} (the row median, 1.50) is significantly better than every model (lowest mean: close, 9.50)." in text
    assert "real music of another piece (the row real, 10.00)" not in text, "the constant is no model"


def test_models_below_real_music_are_named(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4 + i % 3)
    many_pieces(stored, "close", lambda i: 10 + (3 if i % 2 else -4))
    many_pieces(stored, "real", lambda i: 10, "reference")
    text = written(stored.close())["report.md"]
    lower = "significantly lower than that of real music of another piece (the row real, 10.00): lstm."
    assert f"Average Pitch Distance: {lower}" in text


def test_training_that_a_test_calls_worse_is_said(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 20 + i % 3)
    many_pieces(stored, "untrained lstm", lambda i: 10 + i % 3, "untrained")
    many_pieces(stored, "gan", lambda i: 10 + (3 if i % 2 else -2))
    many_pieces(stored, "untrained gan", lambda i: 10, "untrained")
    text = written(stored.close())["report.md"]
    assert "Average Pitch Distance: lstm is significantly worse after training (21.00) than before it (11.00)." in text
    assert "gan is significantly worse" not in text


@pytest.mark.parametrize(
    ("lstm", "gan", "said"),
    [
        (14.0, None, "No fewer bits per note than counts of short contexts (the row ngram): lstm."),
        (14.0, 13.0, "No fewer bits per note than counts of short contexts (the row ngram): lstm and gan."),
        (14.0, 12.0, "No fewer bits per note than counts of short contexts (the row ngram): lstm."),
        (12.0, None, ""),
    ],
)
def test_models_that_counts_beat_in_bits_are_named(stored: Stored, lstm: float, gan: float | None, said: str) -> None:
    stored.add("lstm", 0, moved(2), bits=lstm)
    stored.add("gan", 0, moved(3), bits=gan)
    stored.add("ngram", 0, moved(4), kind="reference", bits=13.0)
    text = written(stored.close())["report.md"]
    assert said in text
    assert ("(the row ngram)" in text) is bool(said)


def test_the_noise_of_rendered_music_stands_beside_the_bits(stored: Stored) -> None:
    stored.add("lstm", 0, moved(2), bits=14.0)
    assert "random variation" not in written(stored.close())["report.md"]
    stored.dataset["noise"] = {"velocity": 2.0, "time": 0.634}
    said = (
        "At least 2.63 of every row's velocity and time bits are random variation in the rendered performances, which no model "
        "can predict."
    )
    assert said in written(stored.close())["report.md"]


def test_bits_saved_stand_by_field_for_exact_likelihoods(stored: Stored) -> None:
    """A quarter of the bits in each field: 13 - 12 = 1 bit, 0.25 in each."""
    stored.add("lstm", 0, moved(2), bits=12.0)
    stored.add("gan", 0, moved(2), likelihood={**done(0, 11.0)["likelihood"], "kind": "bound"})
    stored.add("ngram", 0, moved(4), kind="reference", bits=13.0)
    text = written(stored.close())["report.md"]
    assert "in which fields they are saved: lstm 1.00 (pitch 0.25, velocity 0.25, time 0.25 and duration 0.25)." in text
    line = next(line for line in text.split("## How well held-out")[1].splitlines() if line.startswith("| gan"))
    assert [cell.strip() for cell in line.split("|")][2:-1] == ["≤ 11.00", *["\\~ 2.75"] * 4, "≥ 15.4"]


def test_the_choice_among_more_pieces_is_said(stored: Stored) -> None:
    stored.add("lstm", 0, moved(2))
    stored.dataset["too_short"] = 2
    text = "Compared: 2 of the 3 held-out pieces that are long enough, evenly spaced in the dataset's own order."
    assert text in written(stored.close())["report.md"]


def test_all_pieces_that_are_long_enough_need_no_choice(stored: Stored) -> None:
    stored.add("lstm", 0, moved(2))
    assert stored.dataset["too_short"] == 3
    assert "evenly spaced" not in written(stored.close())["report.md"]


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("asked for", "Scale smoke: networks trained for a few epochs on little music."),
        (IN_FULL, "Scale smoke changes nothing in this spec, so it runs in full."),
    ],
)
def test_how_much_of_a_spec_the_scale_smoke_ran_is_said(stored: Stored, why: str, said: str) -> None:
    stored.scale = "smoke"
    stored.add("lstm", 0, moved(2))
    folder = stored.close()
    stored.run.write(stored.run.read().change(why=why))
    text = written(folder)["report.md"]
    assert said in text
    assert ("few epochs" in text) is (why == "asked for")


def test_the_codecs_lack_of_a_rank_is_explained_where_it_is_a_row(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4)
    many_pieces(stored, "gan", lambda i: 5)
    many_pieces(stored, "codec", lambda i: 0, "reference")
    assert "The row codec has no rank: it is the target itself" in written(stored.close())["report.md"]


def test_a_failed_median_wins_nothing(stored: Stored) -> None:
    stored.add("lstm", 0, moved(20))
    stored.add("median", 0, None, kind="reference", error="it crashed")
    assert MEDIAN_WINS.lower() not in written(stored.close())["report.md"].lower()


def test_a_bound_is_marked(stored: Stored) -> None:
    likelihood = {**done(0, 18.0)["likelihood"], "kind": "bound"}
    stored.add("lstm", 0, moved(1), likelihood=likelihood)
    text = written(stored.close())
    assert "≤ 18.00" in text["report.md"]
    assert "≤ marks an upper bound on the bits (lstm)." in text["report.md"]
    assert rows(text["report.csv"])[0]["likelihood"] == "bound"


def test_a_training_stopped_by_the_clock_is_said(stored: Stored) -> None:
    training = {**done(0, None)["training"], "stopped": "clock", "resumed": 1}
    stored.add("lstm", 0, moved(1), training=training)
    text = written(stored.close())["report.md"]
    assert "lstm, stopped by the time limit: 1 of 1 training, which another machine would end elsewhere." in text
    assert "lstm, resumed from a checkpoint: 1 of 1 training." in text
