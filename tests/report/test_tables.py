"""Tables: columns, published values, names of incomplete rows."""

from __future__ import annotations

from pathlib import Path

from .stored_run import Stored, example, many_pieces, moved, rows, written


def table2(text: str) -> list[list[str]]:
    """Cells of the first table, heading first."""
    lines = text.split("## Table 2\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("|:--")]


def test_table2_has_the_papers_columns_and_values(tmp_path: Path) -> None:
    heading, *lines = table2(written(example(tmp_path / "run"))["report.md"])
    assert heading == [
        "Model",
        "Average Pitch Distance (semitones)",
        "Rank",
        "Mon 2025",
        "Velocity Average Distance (MIDI velocity)",
        "Rank",
        "Mon 2025",
        "Bits per note",
        "Rank",
        "Bits: pitch",
        "Training time",
        "Flags",
        "Features",
    ]
    velocity = ["0.00; rerun 0.00", "–", "44.71"]
    # A rerun's mean is within t(1) SD sqrt(2 / 2) = 12.706 x 1.414 of this one, the true mean within t(1) SD / sqrt(2).
    bits = ["15.50 \\[9.15, 21.85\\]; rerun 6.52 to 24.48", "–", "3.88"]
    assert lines[0][1:11] == ["9.00; rerun −8.97 to 26.97", "–", "15.92", *velocity, *bits, "60.5 ± 0.7 s"]
    assert lines[1][3] == "16.81"
    assert {line[3] for line in lines[2:]} == {"–"}, "nothing was published of the reference rows"
    assert lines[3][11] == "regresses to the median, velocity not modelled, repeats itself"


def test_untrained_rows_stand_apart(tmp_path: Path) -> None:
    text = written(example(tmp_path / "run"))["report.md"]
    assert [line[0].split(" (")[0] for line in table2(text)[1:]] == ["lstm", "gan", "real", "median", "ngram"]
    below = text.split("The networks before training:\n\n")[1].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in below]
    assert cells[0][0] == "Model"
    assert cells[2] == ["untrained lstm", "30.00", "0.00", "25.00", "6.25"]


def test_intervals_stand_in_brackets(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 9)
    assert table2(written(stored.close())["report.md"])[1][1] == "9.00 \\[9.00, 9.00\\]"


def test_without_published_values_there_is_no_column_for_them(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run", published=None)
    stored.add("lstm", 0, moved(1))
    text = written(stored.close())
    assert "Mon 2025" not in text["report.md"].split("## What the columns mean")[0]
    assert rows(text["report.csv"])[0]["published_pitch_distance"] == ""


def test_published_values_go_by_plugin_when_one_row_has_it(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.trials[0]["trial"] |= {"system": "my-lstm"}
    (row,) = rows(written(stored.close())["report.csv"])
    assert (row["system"], row["published_pitch_distance"]) == ("my-lstm", "15.92")


def test_a_row_whose_other_seed_has_not_run_is_partly_done(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("lstm", 1, None)
    text = written(stored.close())
    assert table2(text["report.md"])[1][0] == "lstm (1 of 2 seeds)"
    assert rows(text["report.csv"])[0]["status"] == "partly done"
