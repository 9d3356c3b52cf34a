"""The audit on hand-made pieces: what each corruption does to the notes, and what a metric must say to it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Piece, Splits
from bench.audit.corruptions import CORRUPTIONS, Context
from bench.audit.heatmap import draw, squeezed
from bench.audit.report import amount, audit_csv, audit_markdown, failures, rewarded, seen
from bench.audit.responses import Cell, audit, badness, da_capo, spearman, unit
from bench.errors import DataError
from bench.metrics import METRICS, evaluate_sample
from bench.music.notes import Notes
from bench.runner.held_out import HeldOut
from bench.specs.schema import DatasetChoice, Protocol, Spec
from bench.storage.corpus import save_corpus
from bench.storage.records import Prepared
from bench.storage.samples import PieceName, Target, Targets

NOTES = 8
MEDIAN = (60, 64)


def test_the_projects_own_page_has_the_metrics_of_today() -> None:
    with (Path(__file__).parents[2] / "reports/example/audit/audit.csv").open(newline="") as file:
        shown = {(row["metric"], int(row["version"])) for row in csv.DictReader(file)}
    assert shown <= {(metric.name, metric.version) for metric in METRICS.values()}, "make it anew: bench audit --spec table2"


def line(pitch: list[int], velocity: list[int] | None = None, start: float = 0.0, step: float = 0.5) -> Notes:
    n = len(pitch)
    return Notes.from_columns(start + np.arange(n) * step, np.full(n, 0.25), pitch, velocity or [80] * n)


def context(notes: Notes | None = None) -> Context:
    notes = line([50, 52, 54, 56, 58, 60, 62, 64], [40, 50, 60, 70, 80, 90, 100, 110]) if notes is None else notes
    following = line(list(range(70, 102, 2)), start=float(notes.onset[-1]) + 0.5 if len(notes) else 0.0)
    return Context(notes, following, line([30, 31, 32, 33, 34, 35, 36, 37], start=7.0), MEDIAN, "a piece")


def corrupted(name: str, strength: float, given: Context | None = None) -> Notes:
    return CORRUPTIONS[name].apply(given or context(), strength)


def value(metric: str, made: Notes) -> float:
    found = evaluate_sample(made, context().notes)[metric]
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("semitones", [1, 2, 3, 4, 6])
def test_transposed_by_k_is_k_semitones_off(semitones: int) -> None:
    made = corrupted("transpose", semitones)
    assert value("pitch_distance", made) == semitones
    assert value("pitch_w1", made) == semitones
    assert value("pitch_sd_ratio", made) == 1
    assert value("velocity_distance", made) == 0


def test_a_note_at_the_top_of_the_range_goes_down() -> None:
    high = context(line([120, 126]))
    assert corrupted("transpose", 2, high).pitch.tolist() == [122, 124]
    assert corrupted("transpose", 1, high).pitch.tolist() == [121, 127]


def test_stretched_twice_as_long_from_its_first_note() -> None:
    made = corrupted("stretch", 2, context(line([60, 62, 64], start=3.0)))
    assert made.onset.tolist() == [3, 4, 5]
    assert made.duration.tolist() == [0.5, 0.5, 0.5]
    assert value("pitch_distance", corrupted("stretch", 2)) == 0


def test_velocity_flattened_to_its_mean() -> None:
    assert corrupted("flatten_velocity", 1).velocity.tolist() == [75] * 8
    # Half-way of 40, 50, ... 110 to 75; halves go to the even number.
    assert corrupted("flatten_velocity", 0.5).velocity.tolist() == [58, 62, 68, 72, 78, 82, 88, 92]
    # |40 - 75| + |50 - 75| + |60 - 75| + |70 - 75|, twice, over 8 notes.
    assert value("velocity_distance", corrupted("flatten_velocity", 1)) == 20


@pytest.mark.parametrize("name", ["shuffle_velocity", "shuffle_order"])
def test_shuffled_keeps_the_velocities(name: str) -> None:
    made = corrupted(name, 1)
    assert sorted(made.velocity) == sorted(context().notes.velocity)
    assert made.onset.tolist() == context().notes.onset.tolist()
    assert value("velocity_w1", made) == 0
    assert value("velocity_distance", made) > 0


def test_shuffled_order_moves_whole_notes() -> None:
    made, real = corrupted("shuffle_order", 1), context().notes
    assert sorted(zip(made.pitch, made.velocity, strict=True)) == sorted(zip(real.pitch, real.velocity, strict=True))
    assert value("pitch_w1", made) == 0
    assert value("pitch_distance", made) > 0


@pytest.mark.parametrize(("share", "dropped"), [(0.25, 2), (0.5, 4), (1.0, 8)])
def test_dropped_notes_are_made_up_by_those_that_follow(share: float, dropped: int) -> None:
    made = corrupted("drop", share)
    assert made.pitch[NOTES - dropped :].tolist() == [70, 72, 74, 76, 78, 80, 82, 84][:dropped]
    assert set(made.pitch[: NOTES - dropped]) <= set(context().notes.pitch)


def test_shifted_by_notes_is_the_music_that_many_notes_later() -> None:
    assert corrupted("shift", 1).pitch.tolist() == [52, 54, 56, 58, 60, 62, 64, 70]
    assert value("pitch_distance", corrupted("shift", 1)) == (7 * 2 + 6) / 8
    assert corrupted("shift", 10).pitch.tolist() == [74, 76, 78, 80, 82, 84, 86, 88]


def test_a_segment_repeated_begins_again_one_interval_after_its_last_note() -> None:
    made = corrupted("repeat", 4)
    assert made.pitch.tolist() == [50, 52] * 4
    assert made.onset.tolist() == (np.arange(8) * 0.5).tolist()
    assert corrupted("repeat", 32).pitch.tolist() == [50] * 8


def test_a_chord_cut_in_two_is_not_piled_up() -> None:
    chord = Notes.from_columns([0.0] * 4, [1.0] * 4, [60, 64, 67, 72], [80] * 4)
    made = corrupted("repeat", 2, context(chord))
    assert made.pitch.tolist() == [60, 64, 60, 64]
    assert made.onset.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_pause_of_hours_stays_within_what_notes_may_have(name: str) -> None:
    notes = Notes.concatenate([line([60]), line([60] * 31, start=24_000.0)])
    for strength in CORRUPTIONS[name].strengths:
        assert corrupted(name, strength, context(notes)).onset.max() < 100_000


def test_replaced_by_a_training_piece_from_the_first_replaced_note_on() -> None:
    made = corrupted("train", 0.25)
    assert made.pitch.tolist() == [50, 52, 54, 56, 58, 60, 30, 31]
    assert made.onset.tolist() == context().notes.onset.tolist()
    assert corrupted("train", 1).pitch.tolist() == list(range(30, 38))


def test_constant_median() -> None:
    made = corrupted("median", 1)
    assert set(made.pitch) == {60}
    assert set(made.velocity) == {64}
    assert value("pitch_sd_ratio", made) == 0
    assert int((corrupted("median", 0.5).velocity == 64).sum()) == 4


@pytest.mark.parametrize("name", list(CORRUPTIONS))
@given(
    pitch=st.lists(st.integers(0, 127), min_size=0, max_size=8),
    step=st.sampled_from([0.0, 0.001, 0.5]),
    at=st.integers(0, 4),
)
def test_every_corruption_keeps_the_number_of_notes_and_repeats(name: str, pitch: list[int], step: float, at: int) -> None:
    given_ = context(line(pitch, step=step))
    strength = CORRUPTIONS[name].strengths[at]
    made = corrupted(name, strength, given_)
    assert len(made) == len(pitch)
    assert made == corrupted(name, strength, given_)


def test_a_weaker_corruption_touches_a_part_of_what_a_stronger_does() -> None:
    touched = [set(np.flatnonzero(corrupted("median", s).velocity == 64)) for s in (0.25, 0.5, 1.0)]
    assert touched[0] < touched[1] < touched[2]


def test_a_short_piece_goes_on_from_its_start() -> None:
    piece = line([60, 62, 64])
    found = da_capo(piece, piece[2:], 5)
    assert found.pitch.tolist() == [64, 60, 62, 64, 60, 62, 64]
    # The piece lasts from 0 to 1.25 s.
    assert found.onset.tolist() == [1.0, 1.25, 1.75, 2.25, 2.5, 3.0, 3.5]


def test_badness_is_above_0_where_a_value_is_worse() -> None:
    own, seen_ = np.array([1.0, 1.0]), np.array([3.0, 0.5])
    assert badness(METRICS["pitch_w1"], seen_, own).tolist() == [2.0, -0.5]
    assert badness(METRICS["pitch_sd_ratio"], seen_, own).tolist() == [2.0, 0.5]
    assert badness(METRICS["training_notes_per_second"], seen_, own).tolist() == [-2.0, 0.5]


def test_the_unit_leaves_out_what_is_undefined() -> None:
    assert unit(np.array([0.0, 0.0, 0.0]), np.array([2.0, np.nan, 4.0])) == 3.0
    assert unit(np.array([1.0]), np.array([1.0])) is None
    assert unit(np.array([1.0]), np.array([np.nan])) is None


def test_spearman() -> None:
    assert spearman([0, 1, 2, 3, 4, 9]) == pytest.approx(1)
    assert spearman([0, -1, -2, -3, -4, -5]) == pytest.approx(-1)
    # One swap of neighbours: 1 - 6 * 2 / (6 * 35).
    assert spearman([0, 1, 3, 2, 4, 5]) == pytest.approx(1 - 12 / 210)
    assert spearman([0, 0, 0]) is None
    assert spearman([0, 1, None]) is None


def cell(responses: list[float | None], change: float | None, p: float | None, rho: float | None = 1.0) -> Cell:
    return Cell((0.0, *responses), tuple(responses), rho, (1.0,), (change,), p)


def test_what_a_cell_says() -> None:
    assert cell([0.04, -0.04], 0.0, 1.0).blind
    assert not cell([0.06, 0.0], 0.0, 1.0).blind
    assert cell([1.0], -0.05, 0.049).rewards
    assert not cell([1.0], -0.05, 0.05).rewards
    assert not cell([1.0], -0.04, 0.001).rewards
    assert cell([1.0], -0.05, None).rewards
    assert not cell([None], None, None).rewards
    assert seen(cell([0.5, 0.97], 0.0, 1.0, rho=0.9)) == "0.97"
    assert seen(cell([0.5, 0.3, 0.97], 0.0, 1.0, rho=0.94)) == "0.97~"
    assert seen(cell([0.5, 0.46, 0.97], 0.0, 1.0, rho=0.94)) == "0.97", "less than nothing"
    assert seen(cell([-0.1, -0.3, -0.97], 0.0, 1.0, rho=-1.0)) == "−0.97~"
    assert seen(cell([0.0, 0.0], 0.0, 1.0, rho=None)) == "0"
    assert rewarded(cell([1.0], -0.284, 0.001)) == "−0.28!"
    assert [amount(v) for v in (None, -0.004, 1.0, 8.37, 46.3)] == ["–", "0", "1.00", "8.4", "46"]


def test_the_colour_scale() -> None:
    assert [squeezed(v) for v in (0.0, 1.0, -1.0, 9.0)] == [0.0, 0.5, -0.5, 0.75]


@pytest.fixture
def two_pieces(tmp_path: Path) -> HeldOut:
    """Held-out pieces all of 60 and all of 70; training pieces whose median pitch is 65. Two notes given, four to write."""

    def piece(name: str, pitch: int) -> Piece:
        return Piece(line([pitch] * 12), name)

    splits = Splits((piece("t", 60), piece("u", 65), piece("v", 70)), (), (piece("a", 60), piece("b", 70)))
    save_corpus(tmp_path / "corpus.npy", splits, "feed")
    spec = Spec(name="two", title="Two", dataset=DatasetChoice(name="two"), protocol=Protocol(prompt=2, notes=4))
    targets = tuple(Target(PieceName(i, p.id), p.notes[:2], p.notes[2:6]) for i, p in enumerate(splits.test))
    prepared = Prepared(title="Toy", license="CC0", corpus=str(tmp_path / "corpus.npy"), corpus_key="feed")
    return HeldOut(spec, Targets(targets, 2, 2), prepared)


def test_two_pieces_ten_semitones_apart(two_pieces: HeldOut) -> None:
    found = audit(two_pieces)
    assert found.units["pitch_distance"] == 10
    transposed = found.cells["pitch_distance", "transpose"]
    assert transposed.values == (0, 1, 2, 3, 4, 6)
    assert transposed.responses == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.6))
    assert transposed.spearman == pytest.approx(1)
    # 70 + 6 is 16 from 60, and 60 + 6 is 4 from 70: on the mean nothing changed.
    assert transposed.other_values == (10, 10, 10, 10, 10, 10)
    assert transposed.change == 0
    assert found.cells["pitch_distance", "stretch"].blind
    constant = found.cells["pitch_distance", "median"]
    assert constant.responses[-1] == 0.5
    assert constant.changes[-1] == -0.5
    # The prompts' keys are C and B flat major; B flat is not in the scale of C, while C is in that of B flat.
    assert found.units["prompt_scale"] == 50
    # Two pieces can never show that it isn't chance: 2 of 4 sign patterns are as extreme.
    assert constant.p == 1
    assert not constant.rewards


def test_what_two_pieces_share_has_no_unit(two_pieces: HeldOut) -> None:
    found = audit(two_pieces)
    assert found.units["velocity_distance"] is None
    assert found.cells["velocity_distance", "flatten_velocity"].responses == (None,) * 5
    assert "two real pieces never differ in it" in audit_markdown(found)


def test_the_failures_are_told_with_their_figures(two_pieces: HeldOut) -> None:
    said = list(failures(audit(two_pieces)))
    assert said[0] == (
        "Average Pitch Distance: a constant median beats real music. So here: 5.00 semitones for one note over and over, "
        "10.00 semitones for another real piece."
    )
    # All notes are equal, so a shifted copy is the same.
    assert said[1].startswith("Average Pitch Distance: a copy shifted by one note looks as bad as a stranger. Not so here: 0.00")


def test_one_piece_has_no_other_to_be_compared_with(two_pieces: HeldOut) -> None:
    alone = replace(two_pieces, targets=replace(two_pieces.targets, targets=two_pieces.targets.targets[:1]))
    with pytest.raises(DataError, match="at least 2 are needed"):
        audit(alone)


def test_the_table_has_a_row_for_every_strength(two_pieces: HeldOut) -> None:
    found = audit(two_pieces)
    rows = list(csv.DictReader(io.StringIO(audit_csv(found))))
    assert len(rows) == len(found.metrics) * len(CORRUPTIONS) * 6
    full = next(r for r in rows if (r["metric"], r["corruption"], r["step"]) == ("pitch_distance", "transpose", "5"))
    assert (full["strength"], full["value"], full["response"], full["spearman"], full["change"]) == ("6", "6", "0.6", "1", "0")


def test_the_figure_is_the_same_twice(two_pieces: HeldOut) -> None:
    found = audit(two_pieces)
    assert draw(found, "svg") == draw(found, "svg")
    assert b"<svg" in draw(found, "svg")
