"""Models whose units aren't notes: what a trial stores of their predictions, and a piece of which nothing is predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError, DataError, TrialError
from bench.runner.contract import check_likelihood
from bench.runner.datasets import fetch_dataset

from .conftest import Bench

CHORDS = '''
"""Chords of a frame each; one piece is a single chord."""
import numpy as np
import bench.api
from bench.api import Notes, Piece, Splits

TITLE = "Chords"
LICENSE = "CC0"
NEEDS = "nothing"


def piece(name, frames, voices=3):
    onset = np.repeat(0.5 * np.arange(frames), voices)
    n = len(onset)
    pitch = 60 + (np.arange(n) * 5) % 24
    return Piece(Notes.from_columns(onset, np.full(n, 0.5), pitch, np.full(n, 64)), name)


class Dataset(bench.api.Dataset):
    def fingerprint(self, source):
        return "chords"

    def load(self, source, progress):
        train = tuple(piece(f"train {i}", 20 + i) for i in range(3))
        test = piece("long", 14), piece("one", 1, 40), piece("short", 2), piece("third", 3)
        return Splits(train, (piece("valid", 15),), test)
'''


def test_frames_are_stored_and_a_piece_without_predictions_costs_itself(toy: Bench, tmp_path: Path) -> None:
    plugins = tmp_path / "plugins" / "datasets"
    plugins.mkdir(parents=True)
    (plugins / "chords.py").write_text(CHORDS)
    models = {"markov-keys": {"plugin": "frame-counts"}}
    toy.write(models, dataset={"name": "chords"}, protocol={"prompt": 6, "notes": 12, "pieces": 3})
    result = toy.run(plugins=[tmp_path / "plugins"])
    assert not result.failed
    outcome = toy.outcome("markov-keys")
    stored = outcome["prediction"]
    assert (stored["unit"], stored["pieces"], stored["predictions"]) == ("frame", 3, 13 + 1 + 2)
    assert stored["kind"] == "exact"
    assert outcome["likelihood"] is None
    # Of the pieces of which something is predicted: not of the chord of 40 notes.
    assert (stored["notes"], stored["seconds"]) == (3 * (14 + 2 + 3), pytest.approx((14 + 2 + 3) / 2))
    # (13 + 1 + 2)^2 / (169 + 1 + 4)
    (said,) = outcome["remarks"]
    assert said.endswith("frames of 3 held-out pieces, and as good as one over 1.5: the longest has 81% of them.")
    samples = toy.notes("markov-keys")
    assert samples.likelihood_notes is not None
    assert samples.likelihood_notes.tolist() == [13, 1, 2]
    row = next(row for row in result.table if row["system"] == "markov-keys")
    assert row["nats_per_frame"] == pytest.approx(stored["nats"] / 16)
    assert row["bits_per_note"] is None
    assert row["velocity_distance"] is None, "frames have no velocity"
    history = [
        json.loads(line) for line in (toy.trials()["markov-keys", 0] / "checkpoint/history.jsonl").read_text().splitlines()
    ]
    assert "validation_loss" in history[0]


SKIPPING = '''
"""Predicts what it likes."""
import numpy as np
import bench.api
from bench.api import Notes

FEATURES = "frames"
UNIT = "frame"
LIKELIHOOD = "exact"
PRETRAINED = True


class Model(bench.api.Model):
    def log_likelihood(self, pieces):
        return [np.full(9, -1.0) if len(piece.notes) > 20 else np.zeros(0) for piece in pieces]

    def generate(self, prompts, n, seed, constraint=None):
        onset = np.arange(n) * 0.1
        return [Notes.from_columns(p.onset[-1] + onset, np.ones(n), np.full(n, 60), np.full(n, 64)) for p in prompts]
'''


def test_pieces_of_which_nothing_is_predicted_are_counted(toy: Bench, tmp_path: Path) -> None:
    """A mean over the pieces that a vocabulary likes stood beside means over all. One chord is nothing to predict."""
    for name, text in (("datasets/chords.py", CHORDS), ("models/skipping.py", SKIPPING)):
        (tmp_path / "plugins" / name).parent.mkdir(parents=True)
        (tmp_path / "plugins" / name).write_text(text)
    toy.write({"skipping": {}}, dataset={"name": "chords"}, protocol={"prompt": 6, "notes": 12, "pieces": 3})
    assert not toy.run(plugins=[tmp_path / "plugins"]).failed
    assert "predicts nothing of 2 of 4 held-out pieces: its frames are those of others." in toy.outcome("skipping")["remarks"]


def test_a_held_out_note_without_a_probability_costs_the_likelihood_alone(toy: Bench, tmp_path: Path) -> None:
    plugins = tmp_path / "plugins" / "datasets"
    plugins.mkdir(parents=True)
    low = CHORDS.replace(
        "pitch = 60 + (np.arange(n) * 5) % 24", 'pitch = (5 if name == "third" else 60) + (np.arange(n) * 5) % 24'
    )
    (plugins / "chords.py").write_text(low)
    toy.write(
        {"events": {"plugin": "event-counts", "params": {"keys": 88}}, "all": {"plugin": "event-counts"}},
        dataset={"name": "chords"},
        protocol={"prompt": 6, "notes": 12, "pieces": 3},
    )
    result = toy.run(plugins=[tmp_path / "plugins"])
    assert not result.failed
    (said,) = [text for text in toy.outcome("events")["remarks"] if "no likelihood" in text]
    assert said.startswith("has no likelihood: The piece 'third' has ")
    assert toy.outcome("events")["prediction"] is None
    by = {row["system"]: row for row in result.table}
    assert by["events"]["event_bits_per_note"] is None
    assert by["events"]["pitch_distance"] is not None
    assert by["all"]["event_bits_per_note"] > 0


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("return Splits(train, (", "return (train, (", "load() returned a tuple; it must be bench.api.Splits"),
        ('return "chords"', "return str(np.random.default_rng().random())", "fingerprint() of the plug-in isn't the same"),
        ('return "chords"', "str(source)", "fingerprint() returned a NoneType; it must be a text"),
        ('return "chords"', "return ''", "fingerprint() returned an empty text"),
        ('(piece("valid", 15),), test)', "None, test)", "Splits.validation is a NoneType, expected a tuple of Piece."),
        ('(piece("valid", 15),), test)', "(), [p.notes for p in test])", "Splits.test has a Notes, expected a tuple of Piece."),
        (", test)", ", test, ['a.mid'])", "Splits.skipped has a str, expected a tuple of Skipped."),
        (", test)", ", test, remarks='rendered')", "Splits.remarks is a str, expected a tuple of str."),
        ("return Piece(Notes.from_columns(", "return Piece((", "Piece.notes is a tuple, expected Notes."),
    ],
)
def test_what_a_dataset_returns_is_checked(toy: Bench, tmp_path: Path, was: str, now: str, said: str) -> None:
    plugin = tmp_path / "plugins" / "datasets" / "chords.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(CHORDS.replace(was, now))
    toy.write({}, dataset={"name": "chords"}, references=["real"])
    with pytest.raises(BenchError) as caught:
        toy.run(plugins=[tmp_path / "plugins"])
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_download_that_brings_nothing_is_no_dataset(toy: Bench, tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "datasets" / "chords.py"
    plugin.parent.mkdir(parents=True)
    fetching = "    def fetch(self, target, progress):\n        pass\n\n    def find(self, roots):\n        return None\n\n"
    source = CHORDS.replace('NEEDS = "nothing"', 'NEEDS = "download"')
    plugin.write_text(source.replace("    def fingerprint", f"{fetching}    def fingerprint"))
    with pytest.raises(DataError, match=r"was downloaded into .*, but was not found there"):
        fetch_dataset("chords", plugins=[tmp_path / "plugins"])
    toy.write({}, dataset={"name": "chords"}, references=["real"])
    with pytest.raises(DataError, match=r"was downloaded into .*, but was not found there"):
        toy.run(plugins=[tmp_path / "plugins"])


def test_bits_of_a_source_may_be_numpys(toy: Bench, tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "datasets" / "chords.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(CHORDS.replace("15),), test)", '15),), test, noise={"velocity": np.float32(0.5)})'))
    toy.write({}, dataset={"name": "chords"}, references=["real"], protocol={"prompt": 6, "notes": 12, "pieces": 3})
    assert not toy.run(plugins=[tmp_path / "plugins"]).failed


def test_predictions_are_checked() -> None:
    from bench.api import Notes, Piece

    piece = Piece(Notes.from_columns([0.0], [1.0], [60], [64]), "x")
    check_likelihood([np.array([0.0, -1, 0]), np.zeros(0)], [piece, piece], "frame")
    with pytest.raises(TrialError, match="predicts no frame of any held-out piece"):
        check_likelihood([np.zeros(0)], [piece], "frame")
    with pytest.raises(TrialError, match=r"shape \(3, 4\) for piece 'x'; expected one number for each event"):
        check_likelihood([np.zeros((3, 4))], [piece], "event")
    with pytest.raises(TrialError, match="runs from 1 to 1 nats"):
        check_likelihood([np.ones(3)], [piece], "event")
