"""Training curves."""

from __future__ import annotations

import re

from bench.report import budget
from bench.report.figures import training

from ..stored_run import Stored, built, done, moved


def test_a_single_epoch_is_the_only_tick(stored: Stored) -> None:
    history = [{"epoch": 1, "seconds": 1.0, "loss": 9.0, "notes": 10, "validation_bits": 12.0}]
    stored.add("lstm", 0, moved(1), training={**done(0, None)["training"], "history": history})
    (figure,) = training.gallery(built(stored.close())).drawings
    texts = re.findall(r"<text[^>]*>([^<]*)", figure.svg)
    assert "1" in texts
    assert not [text for text in texts if text.startswith(("0.9", "1.0"))]


def test_a_training_curve_says_where_it_ended(stored: Stored) -> None:
    history = [
        {"epoch": e, "seconds": 1.0 * e, "loss": loss, "notes": 10, "validation_bits": bits, "learning_rate": 0.1 / e}
        for e, loss, bits in ((1, 9.0, 14.0), (2, 8.0, 11.0), (3, 7.0, 12.0))
    ]
    stored.add(
        "lstm", 0, moved(1), training={**done(0, None)["training"], "history": history, "best_epoch": 2, "stopped": "early"}
    )
    (found,) = training.gallery(built(stored.close())).drawings
    assert found.label == (
        "Line chart. Training of lstm. seed 0: 3 epochs, training bits per note from 13 to 10.1, validation bits per note "
        "from 14 to 12, best at epoch 2."
    )
    assert found.caption == "lstm. Best epoch: 2. Stopped early: seed 0."
    assert {"training", "validation", "best", "Epoch"} <= set(re.findall(r"<text[^>]*>([^<]*)", found.svg))


def test_a_family_without_bits_has_its_own_validation(stored: Stored) -> None:
    history = [{"epoch": e, "seconds": 1.0, "loss": 1.0, "notes": 1, "validation_distance": 0.5 - e / 10} for e in (1, 2)]
    stored.add("gan", 0, moved(1), training={**done(0, None)["training"], "history": history, "best_epoch": None})
    (found,) = training.gallery(built(stored.close())).drawings
    assert "validation distance from 0.4 to 0.3, best at epoch 2" in found.label


def test_folds_are_trainings_of_their_own(stored: Stored) -> None:
    history = [
        {"fold": f, "epoch": e, "seconds": 1.0 * e, "loss": 9.0 - e, "notes": 10, "validation_bits": 12.0 + f - e}
        for f in (1, 2)
        for e in (1, 2)
    ]
    folds = [{"fold": f, "best_epoch": f, "stopped": "early", "epochs": 2} for f in (1, 2)]
    stored.add("lstm", 0, moved(1), bits=12.0, training=done(0, 12.0)["training"] | {"history": history, "folds": folds})
    report = built(stored.close())
    (row,) = report.table.rows
    courses = training.courses(row)
    assert [(c.name, c.best, c.line("validation_bits")) for c in courses] == [
        ("seed 0, fold 1", 1, ([1, 2], [12.0, 11.0])),
        ("seed 0, fold 2", 2, ([1, 2], [13.0, 12.0])),
    ]
    line = budget.training_lines(report, "seconds")["lstm"]
    assert line == budget.Line((1.0, 2.0), (12.5, 11.5), (12.0, 11.0), (13.0, 12.0), 2)
