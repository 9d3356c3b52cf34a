"""The verdict in one sentence, and what its trainings take away from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.music.notes import Notes
from bench.report.findings import constant_wins, tuned
from bench.report.markdown import report_markdown
from bench.report.verdict import RULE, alone, caveats, verdict
from bench.scoring.table import Row
from bench.storage.samples import PieceName, Target, Targets, write_targets

from .stored_run import Stored, built, done, example, many_pieces, moved, notes


def test_too_few_pieces_are_said(stored: Stored) -> None:
    report = built(example(stored.run.path))
    text = "In average pitch distance and velocity average distance there are too few pieces to test any difference."
    assert verdict(report) == text


def many(tmp_path: Path, pretrained: Collection[str] = (), **by: tuple[float, ...]) -> Path:
    """Rows on 20 pieces with two seeds each, at these distances: a half is a semitone more on every other piece."""
    stored = Stored(tmp_path / "many", seeds=[0, 1])
    references = ("median", "unigram")
    real = [notes([60 + i % 3, 62, 64, 66]) for i in range(20)]
    for name, offsets in by.items():
        for seed, off in enumerate(offsets):
            steps = [int(off) + (i % 2 if off % 1 else 0) for i in range(20)]
            made = {(i, 0): Notes.from_columns(r.onset, r.duration, r.pitch + steps[i], r.velocity) for i, r in enumerate(real)}
            kind = "reference" if name in references else "model"
            stored.add(name, seed, made, kind=kind, pretrained=name in pretrained)
    folder = stored.close()
    targets = tuple(Target(PieceName(i, str(i)), notes([40, 41]), r) for i, r in enumerate(real))
    write_targets(stored.run.targets, Targets(targets, test_pieces=20, usable=20))
    return folder


@pytest.mark.parametrize(
    ("by", "pitch"),
    [
        ({"lstm": (1, 1.5), "gan": (5, 5.5)}, "lstm is significantly better than gan"),
        ({"lstm": (1, 1.5), "gan": (5, 5.5), "vae": (9, 9.5)}, "lstm is significantly better than every other model"),
        (
            {"lstm": (40, 40), "gan": (5, 5), "vae": (5, 5)},
            "gan and vae are significantly better than lstm, but no model is better than every other "
            "(lowest mean: gan and vae, 5.00)",
        ),
    ],
)
def test_the_best_is_named(tmp_path: Path, by: Mapping[str, tuple[float, float]], pitch: str) -> None:
    report = built(many(tmp_path, **by))
    same = "no two models" if len(by) > 2 else "lstm and gan do not"
    assert (
        verdict(report) == f"In average pitch distance {pitch}; in velocity average distance {same} differ significantly. {RULE}"
    )


@pytest.mark.parametrize(
    ("by", "once"),
    [
        ({"lstm": (1,), "gan": (5,)}, "Every model was"),
        ({"lstm": (1,), "gan": (5, 5.5)}, "lstm was"),
        ({"lstm": (1,), "gan": (5,), "vae": (9, 9.5)}, "lstm and gan were"),
    ],
)
def test_of_one_training_nothing_is_said_of_others(tmp_path: Path, by: Mapping[str, tuple[float, ...]], once: str) -> None:
    text = verdict(built(many(tmp_path, **by)))
    these = "this training" if once == "lstm was" else "these trainings"
    assert text.endswith(f" {RULE} {once} trained with one seed: this holds for {these}, not for others.")


def test_files_of_another_system_are_of_one_training(tmp_path: Path) -> None:
    """Its interval and tests are over pieces alone; the report said "other training seeds" of it too."""
    stored = Stored(tmp_path / "run", seeds=[0, 1])
    stored.enlarge(12)
    for seed in (0, 1):
        many_pieces(stored, "lstm", lambda piece: 5 + piece % 2, seed=seed)
    many_pieces(stored, "magenta", lambda piece: 1 + piece % 2, model="external")
    report = built(stored.close())
    assert verdict(report).endswith(f" {RULE} The files of magenta are of one training: of others this says nothing.")
    assert "and other training seeds; of magenta, whose files are of one training, for other pieces alone." in " ".join(
        report_markdown(report).split()
    )


def test_reference_rows_say_whether_a_column_measures_quality(tmp_path: Path) -> None:
    first, *_ = caveats(built(many(tmp_path / "a", lstm=(20, 20), gan=(40, 40), unigram=(30, 30), median=(0, 0))))
    assert first.startswith(
        "Against reference rows: in average pitch distance one note repeated (median) is significantly better than every model "
        "and lstm is significantly better than notes drawn from training frequencies (unigram); in velocity"
    )
    report = built(many(tmp_path / "c", ("seen",), lstm=(20, 20), gan=(40, 40), seen=(0.5, 0.5), unigram=(10, 10), median=(1, 1)))
    first, *_ = caveats(report)
    assert first.startswith(
        "Against reference rows: in average pitch distance one note repeated (median) is significantly better than every model "
        "trained here and no model trained here is significantly better than notes drawn from training frequencies (unigram); in"
    ), "whatever a model does that may have seen the pieces"
    assert [(whom, best) for _, _, whom, best, _, _ in constant_wins(report)] == [("every model trained here", "lstm")]
    first, *_ = caveats(built(many(tmp_path / "b", lstm=(40, 40), gan=(50, 50), unigram=(30, 30))))
    assert "no model is significantly better than notes drawn from training frequencies" in first


def test_a_model_that_ignored_the_budget_is_in_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = built(many(tmp_path, lstm=(2, 2), gan=(9, 9), vae=(5, 5)))
    monkeypatch.setattr(Row, "ignores_budget", property(lambda row: row.system == "lstm"))
    assert verdict(report).startswith("In average pitch distance vae is significantly better than gan")


def test_one_statement_for_columns_alike(tmp_path: Path) -> None:
    report = built(many(tmp_path, lstm=(5, 5), gan=(5, 5), vae=(5, 5)))
    assert (
        verdict(report) == f"In average pitch distance and velocity average distance no two models differ significantly. {RULE}"
    )


def test_a_lower_mean_without_significance_is_only_named(tmp_path: Path) -> None:
    report = built(many(tmp_path, lstm=(5, 8), gan=(5, 9), vae=(4, 9)))
    text = "In average pitch distance no two models differ significantly (lowest mean: lstm and vae, 6.50); in velocity"
    assert verdict(report).startswith(text)


def test_one_model_alone_has_nothing_to_be_compared_with(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("gan", 0, None, error="it crashed")
    report = built(stored.close())
    assert alone(report) == verdict(report)
    assert verdict(report) == "lstm is the only model that has finished: there is no other to compare it with."


def trained(*bits: float) -> dict[str, Any]:
    history = [{"epoch": i + 1, "seconds": i + 1.0, "loss": 1.0, "validation_bits": b} for i, b in enumerate(bits)]
    return {**done(0, None)["training"], "history": history}


def test_trainings_that_ended_early_or_badly_stand_beside_the_verdict(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), training=trained(9.0, 8.0))
    stored.add("vae", 0, moved(1), training=trained(9.0, 8.0, 8.0))
    stored.add("gan", 0, moved(1), training=trained(8.0, 9.5))
    assert caveats(built(stored.close())) == [
        "The models have no common budget (budget.compute), so a difference between them may be one between budgets.",
        "Validation bits fell by over 0.05 in the last evaluation, so that another budget may give another order: lstm.",
        "Diverged, at least one training: gan.",
    ]


@pytest.mark.parametrize(
    ("folds", "music", "trials", "expected"),
    [
        (2, "four", 12, ["lstm and gan."]),
        ("leave-one-out", "four", 12, ["lstm and gan."]),
        (2, "maestro", 12, []),
        (None, "four", 12, []),
        (None, "four", 3, ["lstm 12 and gan 3."]),
        (2, "four", 3, ["lstm and gan.", "lstm 12 and gan 3."]),
    ],
)
def test_searches_that_saw_the_held_out_pieces_or_were_unequal_are_told(
    stored: Stored, folds: int | str | None, music: str, trials: int, expected: list[str]
) -> None:
    stored.spec["protocol"]["folds"] = folds
    entry = {"dataset": music, "score": "validation bits per note", "best": 9.0, "median": 9.5}
    stored.spec["tuned"] = {"lstm": {**entry, "trials": 12}, "gan": {**entry, "trials": trials}, "gone": {**entry, "trials": 1}}
    for name in ("lstm", "gan", "vae"):
        stored.add(name, 0, moved(1))
    said = [text for text in caveats(built(stored.close())) if text.startswith("Hyperparameters")]
    assert [text.rpartition(": ")[2] for text in said] == expected
    assert all("held out here in turn" in text or "unequal numbers" in text for text in said)


def test_a_search_for_another_budget_chose_on_its_pieces_all_the_same(stored: Stored) -> None:
    stored.spec["protocol"]["folds"] = 2
    entry = {"dataset": "four", "score": "validation bits per note", "best": 9.0, "median": 9.5}
    stored.spec["tuned"] = {"lstm": {**entry, "trials": 12}, "gan": {**entry, "trials": 3, "former": True}}
    for name in ("lstm", "gan"):
        stored.add(name, 0, moved(1))
    report = built(stored.close())
    said = [text for text in caveats(report) if text.startswith("Hyperparameters")]
    assert [text.rpartition(": ")[2] for text in said] == ["lstm and gan."], "nor are unequal trials said of what is former"
    assert [rows for _, _, rows, _, _ in tuned(report)] == ["lstm"]
    assert "- Hyperparameters of gan were searched before this spec changed others" in report_markdown(report)
