"""Scores of a trial's samples, which the trial's process stores beside them, so that no report has to wait for them.

They are a function of the samples, the run's targets and the code that reads and measures notes: a file that is missing, damaged,
or of other notes or code is ignored, and what it should hold is computed again, with the same result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy
from pydantic import Field, ValidationError

import bench
from bench.errors import BenchError
from bench.metrics import ON_SAMPLES, ON_SETS, alignment, evaluate_samples, evaluate_set, hearing, table2
from bench.metrics.metric import Undefined, Value, finite, mean
from bench.storage.files import FORMAT, read_json, write_json
from bench.storage.records import Finite
from bench.storage.samples import Samples, Target, read_samples, read_targets
from bench.storage.stored import Stored
from bench.system.disk import file_digest

#: Name of the file in a trial's folder.
FILE = "scores.json"

#: A number, or the reason why there is none.
_Value = Finite | Annotated[str, Field(max_length=1000)]

#: Packages that the scores depend on.
_PACKAGES = ("api", "metrics", "music", "storage")

_BY_PIECE = {metric.name for module in (table2, hearing, alignment, *ON_SAMPLES) for metric in module.METRICS}
_OF_SET = {metric.name for module in ON_SETS for metric in module.METRICS}


@dataclass(frozen=True)
class SampleScores:
    """What the metrics of notes give for a trial's samples.

    Parameters
    ----------
    by_piece : mapping of str to mapping of int to Value
        By metric, then by index of the piece: mean over the piece's samples.
    of_set : mapping of str to Value
        By metric: of all samples and all targets.
    """

    by_piece: Mapping[str, Mapping[int, Value]]
    of_set: Mapping[str, Value]


@dataclass(frozen=True)
class Comparison:
    """What a trial's samples are compared with, and how.

    Parameters
    ----------
    file : Path
        The run's targets.npz.
    targets : mapping of int to Target
        Of the pieces that the trial continued, by index into the file.
    samples : int
        Number of samples of each piece.
    seconds : float or None
        See :func:`bench.metrics.evaluate_samples`.
    """

    file: Path
    targets: Mapping[int, Target]
    samples: int
    seconds: float | None

    def measure(self, samples: Samples) -> SampleScores:
        """Score the samples of a trial, which has all of them."""
        keys = [(piece, sample) for piece in self.targets for sample in range(self.samples)]
        music = [self.targets[piece] for piece, _ in keys]
        generated, prompts = [samples.notes[key] for key in keys], [m.prompt for m in music]
        by_piece: dict[int, list[dict[str, Value]]] = {piece: [] for piece in self.targets}
        for (piece, _), values in zip(
            keys, evaluate_samples(generated, [m.target for m in music], self.seconds, prompts), strict=True
        ):
            by_piece[piece].append(finite(values))
        of_set = evaluate_set([samples.notes[key] for key in sorted(samples.notes)], [t.target for t in self.targets.values()])
        return SampleScores(
            {name: {piece: mean(m[name] for m in each) for piece, each in by_piece.items()} for name in by_piece[keys[0][0]][0]},
            finite(of_set),
        )

    def key(self, trial: Path) -> str:
        """Hash of all that the scores in a trial's folder depend on."""
        files = [file_digest(path) for path in (trial / "samples.npz", self.file)]
        return _hash([_code(), *files, list(self.targets), self.samples, self.seconds])

    def read(self, trial: Path) -> SampleScores | None:
        """Read the scores stored in a trial's folder; None if there are none of these samples, targets and metrics."""
        try:
            stored = _StoredScores.model_validate(read_json(trial / FILE))
            intact = stored.key == self.key(trial) and stored.by_piece.keys() == _BY_PIECE and stored.of_set.keys() == _OF_SET
        except (BenchError, OSError, ValidationError):
            return None
        if not intact or {len(values) for values in stored.by_piece.values()} != {len(self.targets)}:
            return None
        by_piece = {name: dict(zip(self.targets, map(_value, values), strict=True)) for name, values in stored.by_piece.items()}
        return SampleScores(by_piece, {name: _value(value) for name, value in stored.of_set.items()})


class _StoredScores(Stored):
    """``scores.json``; the values of a metric are in the order of the pieces."""

    key: str
    by_piece: Mapping[str, Sequence[_Value]]
    of_set: Mapping[str, _Value]


def store_scores(trial: Path, targets: Path, samples: int, seconds: float | None) -> None:
    """Score the samples in the folder of a trial that continued every target, and store the scores beside them.

    Parameters
    ----------
    trial, targets : Path
        The folder, and the run's targets.npz.
    samples, seconds
        See :class:`Comparison`.

    Raises
    ------
    Exception
        Whatever the samples or the machine may raise: then nothing is stored.
    """
    comparison = Comparison(targets, dict(enumerate(read_targets(targets))), samples, seconds)
    key = comparison.key(trial)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        scores = comparison.measure(read_samples(trial / "samples.npz"))
    by_piece = {name: [_plain(value) for value in pieces.values()] for name, pieces in scores.by_piece.items()}
    of_set = {name: _plain(value) for name, value in scores.of_set.items()}
    write_json(trial / FILE, {"format": FORMAT, "key": key, "by_piece": by_piece, "of_set": of_set})


def _plain(value: Value) -> float | str:
    return value.reason if isinstance(value, Undefined) else value


def _value(stored: float | str) -> Value:
    return Undefined(stored) if isinstance(stored, str) else stored


@cache
def _code() -> str:
    """Hash of the code that reads and measures notes, its libraries' versions included."""
    root = Path(bench.__file__).parent
    files = sorted(file for package in _PACKAGES for file in (root / package).rglob("*.py"))
    return _hash([np.__version__, scipy.__version__, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)])


def _hash(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
