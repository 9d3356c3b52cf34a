"""From votes to tables: who is preferred, and which metrics agree, on a stored run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.errors import DataError
from bench.listening.clips import gather
from bench.listening.design import make_forms
from bench.listening.key import FOLDER, Key, write_key
from bench.listening.metrics import agreements
from bench.listening.preference import FIRST, SECOND, TIE, Votes
from bench.listening.results import Result, analyse, markdown, metrics_csv, ranking, write_results
from bench.listening.votes import Ballot
from bench.scoring.crossed import Interval
from bench.storage.run_folder import RunFolder
from bench.storage.samples import PieceName, Samples, write_samples
from tests.listening.sample_run import moved, run_for_listening
from tests.listening.simulated import World, attentive, careless, one_sided
from tests.report.stored_run import Stored

#: The further from the original a system of the sample run is, the less the listeners like it; but they dislike the GAN.
LIKED = {"real": 2.0, "lstm": 1.0, "ngram": 0.0, "vae": -1.0, "gan": -2.0}


def make_tested(folder: Path) -> Key:
    """A test of a run without its sound, which the analysis does not need."""
    material = gather(RunFolder(folder), None, 12, 12.0, 0)
    forms = make_forms(len(material.contestants), material.prompts, 20, 0)
    key = Key(seconds=12.0, contestants=material.contestants, forms=forms, clips={})
    write_key(folder / FOLDER / f"test-{key.test}", key)
    return key


def save(folder: Path, ballots: list[Ballot]) -> Path:
    folder.mkdir(exist_ok=True)
    for ballot in ballots:
        (folder / f"{ballot.listener}.json").write_text(ballot.model_dump_json())
    return folder


def voters(key: Key, number: int = 14, liked: Mapping[str, float] = LIKED) -> list[Ballot]:
    return attentive(key, World([liked[each.name] for each in key.contestants]), number, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_for_listening(tmp_path_factory.mktemp("results") / "table2-cpu")


@pytest.fixture(scope="module")
def key(run: Path) -> Key:
    return make_tested(run)


@pytest.fixture(scope="module")
def result(run: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Result:
    votes = save(tmp_path_factory.mktemp("votes") / "v", [*voters(key), *careless(key, 2, 1), *one_sided(key, 1)])
    (votes / "stray.json").write_text("{}")
    return analyse(run, votes, draws=200)


def test_the_order_of_the_listeners(result: Result) -> None:
    assert [result.names[system] for system in result.preferences.order] == list(LIKED)
    assert len(result.listeners) == 17
    assert len(result.excluded) == 3
    assert len(result.votes) == 14 * 20
    assert result.problems[0].startswith("stray.json: ")


def test_the_metric_that_they_follow_agrees(result: Result) -> None:
    """The pitch distance is what the systems of the sample run differ in, but for the GAN; the pitch class tells little."""
    by_name = {each.metric.name: each for each in result.agreements}
    distance = by_name["pitch_distance"]
    assert distance.share is not None
    assert distance.interval is not None
    assert distance.interval.low > 0.5
    assert distance.tau is not None
    assert distance.tau > 0.5
    assert (distance.systems, distance.votes) == (5, sum(result.votes.outcome != TIE))
    assert "pitch_w1" in by_name
    assert not [each for each in result.agreements if each.metric.better is None and each.metric.ideal is None]


def test_agreement_by_hand(run: Path, key: Key) -> None:
    """Six listeners on six prompts: all prefer ngram (7 semitones off) to lstm (3 off), but for one vote and one tie of each."""
    systems = [each.name for each in key.contestants]
    first, second = sorted((systems.index("lstm"), systems.index("ngram")))
    listener, prompt = (grid.ravel() for grid in np.meshgrid(range(6), range(6), indexing="ij"))
    outcome = np.full(36, SECOND)
    outcome[listener == prompt] = FIRST
    outcome[(listener + 1) % 6 == prompt] = TIE
    assert systems[first] == "lstm"
    votes = Votes(listener, prompt, prompt, np.full(36, first), np.full(36, second), outcome)
    worth = [-1.0 if name == "lstm" else 1.0 if name == "ngram" else 0.0 for name in systems]
    found = {each.metric.name: each for each in agreements(votes, worth, key.contestants, run, draws=200)}
    distance = found["pitch_distance"]
    assert (distance.votes, distance.share) == (30, pytest.approx(6 / 30))
    assert distance.interval is not None
    assert distance.interval.low <= 0.2 <= distance.interval.high < 0.5
    assert "velocity_distance" not in found, "all systems have the same"


def test_metrics_see_the_clips_that_were_heard(tmp_path: Path) -> None:
    """The first sample of each piece, and of held-out pieces those that were continued: every other one of 24 here."""
    stored = Stored(tmp_path / "table2-cpu")
    stored.enlarge(12)
    stored.real = [real.shifted(1.0) for real in stored.real]
    stored.pieces = [PieceName(2 * i + 1, f"piece {i}") for i in range(12)]
    stored.spec["protocol"] = {**stored.spec["protocol"], "samples": 2, "pieces": 12}
    bits = {name: np.random.default_rng([i, 7]).uniform(8, 16, 24) for i, name in enumerate(("ngram", "lstm"))}
    offsets = {"real": (7, 7), "ngram": (5, 5), "lstm": (1, 12)}  # the LSTM's second sample, unheard, is worse
    for name, by in offsets.items():
        music = {(i, k): moved(real, by[k]) for i, real in enumerate(stored.real) for k in range(2)}
        more: dict[str, Any] = {}
        if name in bits:
            parts = dict.fromkeys(("pitch", "velocity", "time", "duration"), float(bits[name].mean() / 4))
            more["likelihood"] = {
                "kind": "exact", "pieces": 24, "notes": 2400, "bits_per_note": float(bits[name].mean()), "by_field": parts
            }  # fmt: skip
        stored.add(name, 0, music, kind="model" if name == "lstm" else "reference", **more)
    folder = stored.close()
    run = RunFolder(folder)
    for name, per_note in bits.items():
        nats = np.repeat(-(per_note * 100 * np.log(2))[:, None] / 4, 4, axis=1)
        samples = Samples(run.samples(f"{name}-0").notes, nats, np.full(24, 100, np.int64), np.arange(24))
        write_samples(run.trial_dir(f"{name}-0") / "samples.npz", samples)
    material = gather(run, None, 12, 12.0, 0)
    names = [each.name for each in material.contestants]
    first, second = sorted((names.index("lstm"), names.index("ngram")))
    listener, piece = (grid.ravel() for grid in np.meshgrid(range(6), range(12), indexing="ij"))

    def share(metric: str, chosen: NDArray[np.int64]) -> tuple[float | None, Interval | None]:
        votes = Votes(listener, piece, piece, np.full(72, first), np.full(72, second), chosen)
        found = agreements(votes, [0.0] * 3, material.contestants, folder, draws=50)
        (one,) = (each for each in found if each.metric.name == metric)
        return one.share, one.interval

    near = FIRST if names[first] == "lstm" else SECOND
    value, interval = share("pitch_distance", np.full(72, near))
    assert value == 1.0
    assert interval is not None
    assert interval.low == pytest.approx(0.025 ** (1 / 6)), "no certainty from six unanimous listeners"
    fewer = bits[names[first]][2 * piece + 1] < bits[names[second]][2 * piece + 1]
    assert share("bits_per_note", np.where(fewer, FIRST, SECOND))[0] == 1.0


def test_what_is_written(result: Result) -> None:
    paths = write_results(result)
    assert [path.name for path in paths] == ["results.md", "metrics.csv"]
    text = paths[0].read_text()
    assert text == markdown(result)
    assert "280 votes of 14 listeners on 12 prompts; 3 listeners excluded." in text
    assert "elsewhere" not in text
    assert max(map(len, text.splitlines())) <= 140
    order = [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| ") and " %" in line][:5]
    assert order == list(LIKED)
    assert "| real over gan" in text
    assert "- stray.json: not saved by the page of a listening test" in text
    rows = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    assert rows == list(csv.DictReader(io.StringIO(metrics_csv(result))))
    (row,) = [row for row in rows if row["metric"] == "pitch_distance"]
    assert float(row["share_low"]) < float(row["share"]) < float(row["share_high"])


@pytest.mark.parametrize(
    ("pretrained", "ranks", "line"),
    [
        (["vae"], ["–", "1", "2", "3", "4"], "vae"),
        (["lstm", "vae", "gan"], ["1", "2", "3", "4", "5"], "lstm, vae and gan"),  # with no model trained here, as in the report
    ],
)
def test_who_was_trained_elsewhere(tmp_path: Path, pretrained: list[str], ranks: list[str], line: str) -> None:
    """It has no rank beside models trained here and takes no place among them, however much it is liked; and it is flagged."""
    liked = {"vae": 8.0, "real": 4.0, "lstm": 0.0, "ngram": -4.0, "gan": -8.0}
    folder = run_for_listening(tmp_path / "table2-cpu", pretrained=pretrained)
    result = analyse(folder, save(tmp_path / "votes", voters(make_tested(folder), 20, liked)), draws=200)
    rows = ranking(result).cells
    assert [(name.text, rank.text) for rank, name, *_ in rows] == list(zip(liked, ranks, strict=True))
    assert {name.text for _, name, share, _ in rows if share.note == "may have seen the test pieces"} == set(pretrained)
    assert f"Trained elsewhere, perhaps on the test pieces: {line}." in markdown(result).splitlines()


def test_too_few_listeners(run: Path, key: Key, tmp_path: Path) -> None:
    votes = save(tmp_path / "votes", [*voters(key, 4), *one_sided(key, 1)])
    with pytest.raises(DataError) as refused:
        analyse(run, votes)
    assert refused.value.message == (
        "4 listeners of 5 can be counted, and 5 must be; 1 excluded, the first: chose the original in 1 of 3 catch pairs."
    )
    assert refused.value.hint == "Collect more votes; the same command then reads all of them."
    (written,) = run.glob("listening/*/results.md")
    text = written.read_text()
    assert "No result: 4 listeners of 5 can be counted, and 5 must be; 1 excluded" in text
    assert text.count("chose the original in 1 of 3 catch pairs") == 2, "and in the table of listeners"
    assert not (written.parent / "metrics.csv").exists()
    (votes / "cut.json").write_text("{")
    with pytest.raises(DataError) as refused:
        analyse(run, votes)
    assert refused.value.hint == (
        f"1 file could not be used; {written} says why. Collect more votes; the same command then reads all of them."
    )
    save(votes, voters(key, 5))
    assert analyse(run, votes, draws=50).votes.listeners == 5


def test_metrics_of_other_notes_are_left_out(tmp_path: Path) -> None:
    folder = run_for_listening(tmp_path / "table2-cpu")
    votes = save(tmp_path / "votes", voters(make_tested(folder), 6))
    run = RunFolder(folder)
    changed = {place: notes.shifted(0.5) for place, notes in run.samples("vae-0").notes.items()}
    write_samples(run.trial_dir("vae-0") / "samples.npz", Samples(changed))
    result = analyse(folder, votes, draws=50)
    assert result.changed == ("vae",)
    assert {each.systems for each in result.agreements} == {4}
    assert "no longer those that were heard: vae." in markdown(result)
