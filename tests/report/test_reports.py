"""Reports: golden texts, sentences that are only there when true, and texts from outside that must not become markup."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from markdown_it import MarkdownIt

from bench.errors import DataError
from bench.formatting import count, duration, escape, listed, mebibytes
from bench.metrics import METRICS
from bench.report import REPORTS, build_report, provenance, write_reports
from bench.report.numbers import size_text
from bench.scoring.score import score_run
from bench.storage.samples import PieceName

from .stored_run import FILES, GOLDEN, Stored, both, done, example, many_pieces, moved

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "table2-cpu")


def written(folder: Path) -> dict[str, str]:
    """The reports but report.html: that is test_html.py's subject, and its figures take a second."""
    report = build_report(folder, score_run(folder))
    return {name: text(report) for name, text in REPORTS.items() if name != "report.html"}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def table2(text: str) -> list[list[str]]:
    """Cells of the first table, heading first."""
    lines = text.split("## Table 2\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("|:--")]


@pytest.mark.parametrize("name", FILES)
def test_golden(name: str, tmp_path: Path) -> None:
    """`python tests/report/stored_run.py` writes the golden files again."""
    assert written(example(tmp_path / "table2-cpu"))[name] == (GOLDEN / name).read_text(encoding="utf-8")


def test_written_twice_is_the_same(tmp_path: Path) -> None:
    folder = example(tmp_path / "table2-cpu")
    assert written(folder) == written(folder)


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
        "Training time",
        "Flags",
        "Features",
    ]
    velocity = ["0.00 ± 0.00", "–", "44.71"]
    assert lines[0][1:8] == ["9.00 ± 1.41", "–", "15.92", *velocity, "60.5 ± 0.7 s"]
    assert lines[1][3] == "16.81"
    assert {line[3] for line in lines[2:]} == {"–"}, "nothing was published of the reference rows"
    assert lines[4][8] == "regresses to the median, velocity not modelled, repeats itself"


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


def test_bits_are_said_to_be_over_every_held_out_note(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=10.0)
    text = written(stored.close())["report.md"]
    assert "over every note of all 5 held-out pieces (500 notes): " in text


def test_trials_of_different_machines_commits_and_threads_are_told(stored: Stored) -> None:
    here = {"git": "aaa", "cpu": "Test CPU", "torch": "2.0", "threads": 2}
    stored.add("lstm", 0, moved(1), provenance=here | {"torch": "1.0"})
    stored.add("gan", 0, moved(1), provenance=here)
    stored.add("gan", 1, moved(1), provenance=here | {"git": "bbb", "threads": 1})
    text = written(stored.close())["report.md"]
    assert "- not the same for all trials: commit: aaa (2 trials) and bbb (1 trial)\n" in text
    assert "not the same for all trials: processor" not in text
    assert "torch of" not in text, "each framework has its own interpreter"
    assert "- threads: 1 and 2 a trial\n" in text
    assert "different numbers of threads (lstm: 2; gan: 1, 2), so their times are not comparable." in text


def test_trials_of_one_machine_differ_in_nothing(tmp_path: Path) -> None:
    text = written(example(tmp_path / "run"))["report.md"]
    assert "not the same for all" not in text
    assert "different numbers of threads" not in text


def test_missing_targets_are_said(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    (folder / "targets.h5").unlink()
    with pytest.raises(DataError, match=r"targets\.h5 is missing"):
        write_reports(folder)


@pytest.mark.parametrize(("scale", "said"), [("smoke", True), ("cpu", False)])
def test_a_run_at_smoke_scale_warns_before_its_numbers(stored: Stored, scale: str, said: bool) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"scale": scale}))
    write_reports(folder)
    for name in ("report.md", "report.html"):
        above = (folder / name).read_text().split("Each number is the mean")[0]
        assert ("not how good a model is" in above) is said


@pytest.mark.parametrize("key", ["spec", "trials", "scale", "call", "dataset", "provenance"])
def test_a_run_file_that_lacks_something_is_said(stored: Stored, key: str) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({name: value for name, value in run.items() if name != key}))
    with pytest.raises(DataError, match=rf"run\.json is damaged: {key}: this is missing"):
        write_reports(folder)


@pytest.mark.parametrize("lost", ["status", "facts", "training"])
def test_an_outcome_that_is_not_whole_counts_as_none(stored: Stored, lost: str) -> None:
    file = stored.run.trial_dir(stored.add("lstm", 0, moved(1))) / "outcome.json"
    folder = stored.close()
    outcome = json.loads(file.read_text())
    del outcome[lost]
    file.write_text(json.dumps(outcome))
    assert score_run(folder)["lstm"].status == "not run"


MEDIAN_WINS = "one note repeated over and over"


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
        "is not significant for all of them (best: lstm, 20.00)."
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
    assert f"{MEDIAN_WINS} (the row median, 1.50) is significantly better than every model (best: close, 9.50)." in text
    lower = "significantly lower than that of real music of another piece (the row real, 10.00): median. A lower distance"
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
        (14.0, None, "No fewer bits per note than a first-order Markov chain (the row markov): lstm."),
        (14.0, 13.0, "No fewer bits per note than a first-order Markov chain (the row markov): lstm and gan."),
        (14.0, 12.0, "No fewer bits per note than a first-order Markov chain (the row markov): lstm."),
        (12.0, None, ""),
    ],
)
def test_models_that_a_markov_chain_beats_in_bits_are_named(stored: Stored, lstm: float, gan: float | None, said: str) -> None:
    stored.add("lstm", 0, moved(2), bits=lstm)
    stored.add("gan", 0, moved(3), bits=gan)
    stored.add("markov", 0, moved(4), kind="reference", bits=13.0)
    text = written(stored.close())["report.md"]
    assert said in text
    assert ("Markov chain (the row markov)" in text) is bool(said)


def test_a_failed_median_wins_nothing(stored: Stored) -> None:
    stored.add("lstm", 0, moved(20))
    stored.add("median", 0, None, kind="reference", error="it crashed")
    assert MEDIAN_WINS.lower() not in written(stored.close())["report.md"].lower()


def test_a_target_that_one_seed_missed_has_no_time(stored: Stored) -> None:
    """The mean over the quick seeds alone would flatter a model that seldom gets there."""
    stored.add("lstm", 0, moved(2), bits=15.0)
    late = [{"epoch": 1, "seconds": 30.0, "loss": 9.0, "notes": 1000, "validation_bits": 13.0}]
    stored.add("lstm", 1, moved(2), bits=15.0, training=done(1, 15.0)["training"] | {"history": late})
    cell = score_run(stored.close())["lstm"].cells["seconds_to_target"]
    assert (cell.value, cell.reason) == (None, "the target was not reached (1 of 2 seeds)")


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_an_outcome_that_holds_no_number_is_a_failed_trial(stored: Stored, value: str) -> None:
    key = stored.add("lstm", 0, moved(2), bits=15.0)
    folder = stored.close()
    path = folder / "trials" / key / "outcome.json"
    outcome = json.loads(path.read_text())
    outcome["training"]["seconds"] = float(value.lower().replace("infinity", "inf"))
    path.write_text(json.dumps(outcome))
    text = written(folder)["report.md"]
    assert "its outcome holds what is no finite number in training\\_seconds" in text
    assert "lstm (failed)" in text


def test_nothing_finished_is_still_a_report(stored: Stored) -> None:
    stored.add("lstm", 0, None)
    stored.add("gan", 0, None, error="it crashed")
    text = written(stored.close())
    assert "**Incomplete: 2 trials failed or did not finish" in text["report.md"]
    assert [(r["system"], r["status"], r["error"]) for r in rows(text["report.csv"])] == [
        ("lstm", "not run", ""),
        ("gan", "failed", "it crashed"),
    ]


def test_bits_with_other_classes_are_not_compared(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), params={"time_classes": 32}, bits=10.0)
    stored.add("markov", 0, moved(1), kind="reference", bits=20.0)
    lstm, markov = rows(written(stored.close())["report.csv"])
    assert lstm["bits_per_note"] == "10"
    assert lstm["bits_below_markov_percent"] == ""
    assert markov["bits_below_markov_percent"] == "0"


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


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ({"spec": "table2"}, "bench run table2 --scale cpu"),
        (
            {"spec": "a b.yaml", "models": ["lstm", "gan"], "seeds": 5},
            "bench run 'a b.yaml' --scale cpu --models lstm,gan --seeds 5",
        ),
        ({"spec": "smoke", "models": [], "seeds": [7]}, "bench run smoke --scale cpu --models none --seeds 7,"),
        (
            {"spec": "smoke", "dataset": "maestro", "seeds": [1, 2], "data": ["/d"], "plugins": ["p"]},
            "bench run smoke --scale cpu --dataset maestro --seeds 1,2 --data /d --plugins p",
        ),
        ({"spec": "smoke", "jobs": 2}, "bench run smoke --scale cpu --jobs 2"),
        ({"spec": None}, "bench.run(...) from Python, with the spec in table2-cpu/run.json"),
    ],
)
def test_the_command_that_repeats_it(stored: Stored, call: dict[str, Any], command: str) -> None:
    stored.call = call
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    assert provenance.command(build_report(folder, score_run(folder))) == command
    assert f"    {command}\n" in written(folder)["report.md"]


def test_csv_columns_are_stable_and_documented(tmp_path: Path) -> None:
    from bench.report import csv as module

    header = next(csv.reader(io.StringIO(written(example(tmp_path / "run"))["report.csv"])))
    measured = {f"{m}{end}" for m in METRICS for end in ("", "_seed_sd", "_low", "_high")}
    assert measured <= set(header)
    assert [c for c in header if c in METRICS] == list(METRICS)
    plain = [c for c in header if c not in measured]
    assert all(c in (module.__doc__ or "") for c in plain if not c.startswith(("published_", "rank_")))


HOSTILE = [
    "a | b | c",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "**bold** _it_ `code` ~~gone~~ $x$ #12 @someone",
    "&lt;b&gt; &amp; &#60;",
    "line\nbreak\r\n\n# heading\n\n- item",
    "http://evil.example www.evil.example a@evil.example <http://evil.example>",
    "back\\slash \\| \\<b>",
    "\u202egnp.exe\u0000\u0007\x1b[31m",
    "# heading",
    "- item",
    "1. item",
    "---",
    "```",
    "| a |",
    "    code",
]


class Seen(HTMLParser):
    """Tags and text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def visible(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_shows_as_it_is(text: str) -> None:
    seen = Seen(MARKDOWN.render(f"- {escape(text)}"))
    assert seen.tags == {"ul", "li"}
    assert " ".join(seen.text.split()) == visible(text)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60))
def test_any_text_shows_as_it_is_in_a_table(text: str) -> None:
    html = MARKDOWN.render(f"| a | b |\n| - | - |\n| {escape(text)} | z |")
    first, second = re.findall(r"<td>(.*?)</td>", html, re.DOTALL)
    assert Seen(first).tags == set()
    assert " ".join(Seen(first).text.split()) == visible(text)
    assert second == "z"


def test_bare_addresses_do_not_become_links() -> None:
    """GitHub links these unless the marks that it looks for are broken."""
    escaped = escape("see http://evil.example, www.evil.example and a@evil.example")
    assert escaped == r"see http\://evil.example, www\.evil.example and a\@evil.example"


def test_a_hostile_run_stays_a_report(stored: Stored) -> None:
    everything = " ".join(HOSTILE)
    stored.spec["title"] = everything
    stored.dataset |= {"title": everything, "license": everything, "remarks": [everything]}
    stored.dataset["skipped"] = [{"source": text, "reason": text} for text in HOSTILE]
    stored.pieces = [PieceName(0, "a", everything, "<b>Bach</b>"), PieceName(1, "b\n# x", "", "")]
    stored.add("lstm", 0, None, error=everything)
    stored.add("gan", 0, moved(1))
    html = MARKDOWN.render(written(stored.close())["report.md"])
    known = {"h1", "h2", "p", "strong", "a", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}
    assert Seen(html).tags <= known
    assert re.findall(r'href="([^"]*)"', html) == ["#failed-trials"]
    assert re.findall(r"<h1>", html) == ["<h1>"]
    assert len(set(re.findall(r"<tr>(.*?)</tr>", html.split("<h2>What")[0], re.DOTALL))) == 3


def test_csv_does_not_start_a_formula(stored: Stored) -> None:
    stored.add("lstm", 0, None, error="=HYPERLINK(1)")
    (row,) = rows(written(stored.close())["report.csv"])
    assert row["error"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (duration(0.004), "0.00 s"),
        (duration(9.994), "9.99 s"),
        (duration(42.13, 1.26), "42.1 ± 1.3 s"),
        (duration(99.96), "1 min 40 s"),
        (duration(185, 12.4), "3 min 05 s ± 12 s"),
        (duration(7500, 200), "2 h 05 min ± 3 min"),
        (size_text("bits_per_note", 0.0043), "0.0043"),
        (size_text("bits_per_note", 0.043), "0.043"),
        (size_text("bits_per_note", 0.43), "0.43"),
        (size_text("pitch_distance", 4.203), "4.20"),
        (count(8.125), "8.12"),
        (count(812.4), "812"),
        (count(12345), "12,300"),
        (mebibytes(512.2), "512 MiB"),
        (mebibytes(1945.6), "1.9 GiB"),
        (listed([]), ""),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(["a", "b", "c"], limit=2), "a, b and 1 more"),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected
