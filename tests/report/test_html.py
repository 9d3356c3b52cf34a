"""``report.html`` without a browser: what stands in it, in which order, of every kind of run. tests/browser looks at it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.music.notes import Notes
from bench.report import build_report, write_reports
from bench.report.figures import audit, copying, cost, distances, distributions, over_time, pitch, training
from bench.report.figures.svg import Ink, drawing, panels
from bench.report.html import lines, progress, report_html, spec_yaml
from bench.report.verdict import alone, verdicts
from bench.report.watch import stamps, watch_run
from bench.scoring.score import score_run
from bench.storage.files import write_json
from bench.storage.run_folder import RunFolder

from .stored_run import REAL, Stored, both, done, example, many_pieces, moved, notes


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "table2-cpu")


def built(folder: Path):
    return build_report(folder, score_run(folder))


def page(folder: Path) -> str:
    return report_html(built(folder))


def test_the_sections_are_in_order(tmp_path: Path) -> None:
    html = page(example(tmp_path / "run"))
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", html) == [
        "Table 2",
        "Significant differences",
        "All rows on one axis",
        "Cost against quality",
        "Training",
        "Pitch and velocity over time",
        "Listen",
        "Distributions, generated against real",
        "What the metrics see",
        "Originality",
        "All numbers",
        "The systems",
        "Failed trials",
        "Files left out",
        "The pieces compared",
        "Reproducing it",
        "What the columns mean",
    ]


def test_written_twice_is_the_same_bytes(tmp_path: Path) -> None:
    folder = example(tmp_path / "run")
    write_reports(folder)
    first = (folder / "report.html").read_bytes()
    write_reports(folder)
    assert (folder / "report.html").read_bytes() == first


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    """Nothing hangs on the order of a set, nor on a reader's own settings of matplotlib."""
    folder = example(tmp_path / "run")
    write_reports(folder)
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\n")
    code = f"from bench.report import write_reports; from pathlib import Path; write_reports(Path({str(folder)!r}))"
    before = (folder / "report.html").read_bytes()
    environment = {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert (folder / "report.html").read_bytes() == before


def test_drawing_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, bench.cli.app, bench.report; print([m for m in ('matplotlib', 'PIL') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert found.stdout == "[]\n"


def test_a_real_difference_is_said(stored: Stored) -> None:
    report = built(example(stored.run.path))
    assert verdicts(report) == [
        ("Average Pitch Distance", "too few pieces to test."),
        ("Velocity Average Distance", "too few pieces to test."),
    ]


def many(tmp_path: Path, **by: tuple[int, int]) -> Path:
    """Models that are off by so many semitones on 20 pieces, with two seeds each."""
    from bench.storage.samples import PieceName, Target, Targets, write_targets

    stored = Stored(tmp_path / "many", seeds=[0, 1])
    real = [notes([60 + i % 3, 62, 64, 66]) for i in range(20)]
    for name, offsets in by.items():
        for seed, off in enumerate(offsets):
            made = {(i, 0): Notes.from_columns(r.onset, r.duration, r.pitch + off, r.velocity) for i, r in enumerate(real)}
            stored.add(name, seed, made)
    folder = stored.close()
    targets = tuple(Target(PieceName(i, str(i)), notes([40, 41]), r) for i, r in enumerate(real))
    write_targets(stored.run.targets, Targets(targets, test_pieces=20, usable=20))
    return folder


def test_the_winner_and_whom_it_beats_are_named(tmp_path: Path) -> None:
    report = built(many(tmp_path, lstm=(1, 1), gan=(5, 5), vae=(5, 5)))
    assert verdicts(report)[0] == (
        "Average Pitch Distance",
        "lstm is better than gan and vae; no significant difference between gan and vae.",
    )
    assert verdicts(report)[1][1] == "no significant difference between any two models."


def test_what_other_seeds_could_turn_is_said(tmp_path: Path) -> None:
    report = built(many(tmp_path, lstm=(1, 9), gan=(5, 12)))
    assert verdicts(report)[0][1] == "lstm is better than gan, but not stably across training seeds."


def test_one_model_alone_has_nothing_to_be_compared_with(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("gan", 0, None, error="it crashed")
    assert alone(built(stored.close())) == "lstm is the only model that has finished: there is no other to compare it with."


def test_a_run_under_way_says_so_at_the_top(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("lstm", 1, None)
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**run, "finished": None})
    assert progress(built(folder)) == (1, 2)
    html = page(folder)
    assert "<strong>This run is in progress:</strong> 1 of 2 trials have ended." in html.split("<main>")[0]


def test_a_finished_run_does_not(tmp_path: Path) -> None:
    html = page(example(tmp_path / "run"))
    assert "in progress" not in html.split("<main>")[0]
    assert "<strong>Incomplete:</strong> 1 trial failed" in html.split("<main>")[0]


def test_the_policy_allows_only_the_pages_own_script(tmp_path: Path) -> None:
    import base64
    import hashlib

    html = page(example(tmp_path / "run"))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in html
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", html) == []


def test_nothing_finished_has_a_sentence_for_every_figure(stored: Stored) -> None:
    stored.add("lstm", 0, None)
    stored.add("gan", 0, None, error="it crashed")
    html = page(stored.close())
    for sentence in (
        "No trained model has finished, so there is no difference to test.",
        "No trial has finished yet, so there is no distance to show.",
        "No trained model has finished, so there is no cost to set against quality.",
        "No model has logged an epoch, so there is no training to show.",
        "No system has finished, so there is no music to show.",
        "No system has finished, so there are no notes to compare with the real ones.",
        "No row has a value for what it copied.",
        "No trial has finished yet, so there are no numbers.",
    ):
        assert f"<p>{sentence}</p>" in html
    assert "<figure" not in html
    assert "it crashed" in html


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


def test_a_single_epoch_is_the_only_tick(stored: Stored) -> None:
    history = [{"epoch": 1, "seconds": 1.0, "loss": 9.0, "notes": 10, "validation_bits": 12.0}]
    stored.add("lstm", 0, moved(1), training={**done(0, None)["training"], "history": history})
    (figure,) = training.gallery(built(stored.close())).drawings
    texts = re.findall(r"<text[^>]*>([^<]*)", figure.svg)
    assert "1" in texts
    assert not [text for text in texts if text.startswith(("0.9", "1.0"))]


def test_far_rows_are_left_out_of_the_enlarged_figure(tmp_path: Path) -> None:
    found = distances.gallery(built(example(tmp_path / "run"))).drawings
    pitch = [d for d in found if "Pitch" in d.caption]
    assert [d.caption.split(", ")[1] for d in pitch] == ["the rows near the models", "all rows."]
    assert "untrained" not in pitch[0].label
    assert "untrained lstm 30.00" in pitch[1].label


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


def test_a_course_says_the_samples_own_distance(stored: Stored) -> None:
    stored.add("lstm", 0, moved(3))
    first, second = over_time.courses(built(stored.close())).pieces
    label = first.drawings[0].label
    assert "Mean pitch: generated 66.0, original 63.0, mean distance 3.00 semitones." in label
    assert second.title == "b"


def test_the_line_over_time_is_a_mean_over_seconds() -> None:
    onset = np.array([0.0, 0.0, 1.0, 2.5, 9.0])
    at, mean = over_time.smoothed(onset, np.array([60, 64, 68, 72, 10]))
    assert at.tolist() == [0.0, 1.0, 2.5, 9.0]
    assert mean.tolist() == [64.0, 66.0, 70.0, 10.0]


def test_the_mean_of_trainings_ends_with_the_shortest() -> None:
    assert cost.mean_line([[(1.0, 10.0), (2.0, 8.0), (3.0, 7.0)], [(3.0, 12.0), (6.0, 9.0)]]) == [(2.0, 11.0), (4.0, 8.5)]


def test_the_axes_over_time_hold_every_mean_and_forgive_single_notes() -> None:
    original = notes([60] * 16, (100,) * 16)
    loud = notes([60] * 15 + [127], (20,) * 16)
    frame = over_time.framed([original, loud])
    assert frame.until == original.onset[-1] - original.onset[0]
    assert frame.limits["velocity"] == (20 - 4, 100 + 16)
    low, high = frame.limits["pitch"]
    assert low == 60 - 12
    assert 72 <= high < 127


def test_shares_count_what_lies_outside_in_the_last_bin() -> None:
    velocity = next(q for q in distributions.QUANTITIES if q.name == "velocity")
    edges = np.array([50.0, 70.0, 90.0])
    assert distributions.shares(velocity, edges, [notes([60] * 4, (40, 60, 80, 120))]).tolist() == [50.0, 50.0]
    assert distributions.shares(velocity, edges, []).tolist() == [0.0, 0.0]


def test_pitch_classes_of_the_real_notes_peak_where_they_should(stored: Stored) -> None:
    stored.add("lstm", 0, {(i, 0): r for i, r in enumerate(REAL)})
    found = distributions.gallery(built(stored.close())).drawings[0]
    # 60, 62, 64, 66 and 50, 50, 54, 54: three D, three F sharp.
    assert "The real notes peak in D." in found.label
    assert found.caption == "To be moved: lstm 0 %."


def test_copying_is_drawn_beside_what_real_music_shares(stored: Stored) -> None:
    part = {"longest_training_run": [20, 20], "longest_prompt_run": [None, None], "known_patterns": [None, None]}
    real = {**part, "longest_training_run": [5, 7]}
    stored.add("lstm", 0, moved(1), originality={"samples": part, "targets": real})
    (found,) = copying.gallery(built(stored.close())).drawings
    assert found.label == "Bar chart. Longest copied run: lstm 20.0. Real continuations: 6.0."


def test_real_music_of_the_training_set_is_no_bar_beside_what_was_copied(stored: Stored) -> None:
    def copies(run: int, prompt: int | None) -> dict[str, Any]:
        part = {"longest_training_run": [run, run], "longest_prompt_run": [prompt, prompt], "known_patterns": [None, None]}
        return {"samples": part, "targets": {**part, "longest_training_run": [5, 7]}}

    stored.add("lstm", 0, moved(1), originality=copies(20, 2))
    stored.add("gan", 0, moved(1), originality=copies(10, None))
    stored.add("real", 0, moved(2), originality=copies(300, 3))
    training, prompt = copying.gallery(built(stored.close())).drawings
    assert "real 300" not in training.label
    assert "real 3.0" in prompt.label
    assert prompt.caption.endswith(" No value: gan.")


def test_the_heat_map_is_an_image_with_its_findings_in_words(tmp_path: Path) -> None:
    folder = example(tmp_path / "run")
    (folder / "audit").mkdir()
    (folder / "audit/audit.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    rows = "pitch_distance,stretch,yes,no\npitch_distance,median,no,yes\npitch_w1,shuffle_order,yes,no\n"
    (folder / "audit/audit.csv").write_text(f"metric,corruption,blind,rewards\n{rows}")
    found = audit.heat_map(built(folder))
    assert found is not None
    assert found.label == (
        "Heat map. 2 metrics against 3 corruptions. Average Pitch Distance is blind to stretch. Average Pitch Distance rewards "
        "median. In all 2 pairs are blind and 1 reward the damage."
    )
    html = page(folder)
    assert "alert(1)" not in html
    assert '<img src="data:image/svg+xml;base64,' in html


def test_the_spec_is_yaml_that_says_the_same(tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    folder = example(tmp_path / "run")
    assert YAML(typ="safe").load(spec_yaml(built(folder))) == RunFolder(folder).read().spec


def test_lines_keep_their_indent_and_nothing_unseen() -> None:
    assert lines("a:\n  - <b>\u202e\x07") == "a:\n  - &lt;b&gt;"


def test_a_column_is_sorted_by_exact_values_and_its_intervals_are_smaller(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 9 + (i == 0))
    html = page(stored.close())
    assert '<td data-value="9.083333333333334">9.08 <small>[9.00, 9.33]</small></td>' in html
    assert '<td data-value="60.0">60.0 s</td>' in html


def test_a_figure_follows_the_pages_colours_and_takes_no_text_for_a_formula() -> None:
    def paint(figure) -> None:
        (axes,) = panels(figure)
        axes.plot([0, 1], [0, 1], color=Ink.SERIES[2], label="$x_1$ <script> --> ]]>")
        axes.legend()

    svg = drawing("fig-x", 2.0, paint, 'says "<b>"', "").svg
    assert "$x_1$ &lt;script&gt; --&gt; ]]&gt;" in svg
    assert 'aria-label="says &quot;&lt;b&gt;&quot;"' in svg
    assert "stroke:var(--series-2)" in svg
    assert not re.findall(r"#01010\d", svg)
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert ids
    assert all(i.startswith("fig-x-") for i in ids)


def test_watching_ends_with_the_run(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    assert [p.text for p in watch_run(folder, every=0.01)] == ["1 of 1 trials have ended; the run is finished"]
    assert (folder / "report.html").exists()


def test_watching_writes_again_when_a_trial_ends(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("lstm", 1, None)
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**run, "finished": None})
    looks = watch_run(folder, every=0.05)
    assert next(looks).text == "1 of 2 trials have ended"
    before = stamps(folder)
    failed = {"format": run["format"], "key": "lstm-1", "status": "failed", "error": {"message": "it crashed"}}
    threading.Timer(0.2, write_json, (folder / "trials/lstm-1/outcome.json", failed)).start()
    assert next(looks).text == "2 of 2 trials have ended, 1 failed"
    assert stamps(folder) != before
    assert "it crashed" in (folder / "report.html").read_text()
    write_json(folder / "run.json", run)
    assert next(looks).finished
    assert list(looks) == []


def test_the_loss_in_pitch_of_networks_that_are_told_less_is_compared(stored: Stored) -> None:
    """ln 2 nats are one bit; the mean over two trainings of the least of each."""
    log2 = math.log(2)
    for row, seed, losses in (("pitch-only", 0, [4, 3]), ("pitch-only", 1, [4, 2, 5]), ("all", 0, [1.5])):
        history = [
            {"epoch": i, "seconds": 1.0 * i, "loss": 3.0, "notes": 10, "validation_pitch_loss": loss * log2}
            for i, loss in enumerate(losses, 1)
        ]
        stored.add(row, seed, moved(1), model="lstm-paper", training=done(seed, None)["training"] | {"history": history})
    found = pitch.gallery(built(stored.close()))
    assert found is not None
    assert found.note.endswith("Lowest bits per note, mean over trainings: pitch-only 2.50; all 1.50.")
    assert len(found.drawings) == 1


def test_one_network_alone_has_no_such_figure(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=12.0)
    assert pitch.gallery(built(stored.close())) is None


def test_folds_are_trainings_of_their_own(stored: Stored) -> None:
    history = [
        {"fold": f, "epoch": e, "seconds": 1.0 * e, "loss": 9.0 - e, "notes": 10, "validation_bits": 12.0 + f - e}
        for f in (1, 2)
        for e in (1, 2)
    ]
    folds = [{"fold": f, "best_epoch": f, "stopped": "early", "epochs": 2} for f in (1, 2)]
    stored.add("lstm", 0, moved(1), bits=12.0, training=done(0, 12.0)["training"] | {"history": history, "folds": folds})
    (row,) = built(stored.close()).table.rows
    courses = training.courses(row)
    assert [(c.name, c.best, c.line("validation_bits")) for c in courses] == [
        ("seed 0, fold 1", 1, ([1, 2], [12.0, 11.0])),
        ("seed 0, fold 2", 2, ([1, 2], [13.0, 12.0])),
    ]
    assert list(cost.points(row)) == [[(1.0, 12.0), (2.0, 11.0)], [(1.0, 13.0), (2.0, 12.0)]]
