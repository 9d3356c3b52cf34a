"""Run folders that someone else may have made: stored runs whose records are well-formed, sealed, and hold odd values.

An input names a run, whether its page is written too (it takes a second), and the edits: a file, a place in it and a value, or no
value for a folder in the file's place. The run is reported, verified, and compared with the same run without the edits.
"""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from bench.comparison.changes import compare
from bench.comparison.formats import FORMATS
from bench.comparison.runs import read_runs
from bench.errors import BenchError
from bench.metrics.sample_scores import store_scores
from bench.report import REPORTS, build_report, write_reports
from bench.runner.prepare import write_midi
from bench.scoring.score import score_run
from bench.sound.clips import sources
from bench.storage.arrays import read_arrays, write_arrays
from bench.storage.files import make_way, write_text
from bench.storage.samples import Samples, write_samples
from bench.verification import verify_run
from tests.fuzz import inputs
from tests.fuzz.sealing import array, sealed_json
from tests.report.stored_run import NOTES, Stored, both, done, example, moved, notes

_LIKELIHOOD: dict[str, Any] = {
    "likelihood_sum": np.full((2, 4), -5.0), "likelihood_notes": np.array([6, 4]), "likelihood_piece": np.array([0, 3]),
}  # fmt: skip
_STAGE = {"share": 0.25, "updates": 20, "notes": 500, "seconds": 15.0}
_COPYING = {"longest_training_run": [1, 2], "longest_prompt_run": [None, 1], "known_patterns": [0.5, None]}
_PLANS = {
    "key_from": "given",
    "plans": [{"key": "C major", "scale": [0, 2, 4, 5, 7, 9, 11], "chords": [[0, 4, 7], [7, 11, 2]], "notes_per_chord": 2}],
    "plan_of_piece": [0, 0],
}


def _rich(folder: Path) -> Path:
    """Every optional part of a record: one budget of compute with stages, overlaps, likelihoods by piece, chord plans, a grid."""
    stored = Stored(folder, budget={"compute": {"updates": 100}}, target=None)
    stored.dataset["entropy"] = {"total": 10.0}
    stored.add("real", 0, moved(12), kind="reference")
    stored.add("median", 0, both(57, 70), kind="reference")
    for seed in (0, 1):
        whole = done(seed, 15.0)
        history = [{**e, "share": e["epoch"] / 2, "updates": 50 * e["epoch"]} for e in whole["training"]["history"]]
        training = {**whole["training"], "updates": 100, "core_seconds": 50.0, "history": history}
        more = {
            "training": training,
            "stages": [_STAGE],
            "originality": {"samples": _COPYING, "targets": _COPYING},
            "yardstick": {"before": 0.1, "after": 0.1, "core": 0.1},
        }
        _add(stored, "lstm", seed, **more)
        _add(stored, "harmonic lstm", seed, model="lstm", harmony=_PLANS, **more)
        stored.trials[-1]["trial"]["harmony"] = {"key": "C major", "progression": ["I", "V"], "notes_per_chord": 2}
        for units in (8, 16):
            _add(stored, f"gan units={units}", seed, model="gan", cell_of="gan", params={"units": units}, **more)
    stored.add("other", 0, {(0, 0): moved(1)[0, 0]}, absent=[1], prompt={"odd": 1}, features="external")
    folder = stored.close()
    for trial in folder.glob("trials/lstm-*"):
        store_scores(trial, stored.run.targets, 1, None)
    return folder


def _add(stored: Stored, system: str, seed: int, **more: Any) -> None:
    key = f"{system}-{seed}".replace(" ", "-").replace("=", "-")
    trial = stored.run.trial_dir(stored.add(system, seed, moved(8 + seed), bits=15.0, key=key, **more))
    write_samples(trial / "samples.npz", Samples(moved(8 + seed), **_LIKELIHOOD))
    write_samples(trial / "stages" / "0.25.npz", Samples(moved(3), **_LIKELIHOOD))


def _folds(folder: Path) -> Path:
    """Cross-validation in two folds."""
    stored = Stored(folder, seeds=[0])
    stored.spec["protocol"]["folds"] = 2
    folds = [{"number": n, "test": [n - 1], "validation": [2]} for n in (1, 2)]
    stored.dataset["folds"] = {"asked": 2, "too_short": 0, "folds": folds}
    for system, kind, by in (("median", "reference", 12), ("lstm", "model", 8), ("gan", "model", 7)):
        for fold in (1, 2):
            piece = fold - 1
            generated = {(piece, 0): moved(by)[piece, 0]}
            key = stored.add(system, 0, generated, kind=kind, key=f"{system}-{fold}", pieces=[piece], bits=9)
            stored.trials[-1]["trial"]["fold"] = fold
            own = {name: column[:1] + (piece * (name == "likelihood_piece")) for name, column in _LIKELIHOOD.items()}
            write_samples(stored.run.trial_dir(key) / "samples.npz", Samples(generated, **own))
    return stored.close()


@cache
def _runs() -> tuple[Mapping[str, Any], ...]:
    """Contents of the runs' files: by path, then as JSON has them, or bytes."""
    with tempfile.TemporaryDirectory() as temporary:
        runs = []
        for number, make in enumerate((example, _rich, _folds)):
            folder = make(Path(temporary) / str(number))
            for piece in (0, 1):
                write_midi(folder / f"midi/target-{piece:03}.mid", notes([40, 41]), notes([60] * NOTES))
                for trial in (folder / "trials").iterdir():
                    write_midi(trial / f"midi/piece-{piece:03}.mid", notes([62] * NOTES))
            runs.append(
                {path.relative_to(folder).as_posix(): _content(path) for path in sorted(folder.rglob("*")) if path.is_file()}
            )
    return tuple(runs)


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return {key: value for key, value in json.loads(path.read_bytes()).items() if key != "sha256"}
    if path.suffix == ".npz":
        found = read_arrays(path, 1 << 24)
        return {name: {"json": json.loads(a.tobytes())} if name == "facts" else a.tolist() for name, a in found.items()}
    return path.read_bytes()


# Reading


def read(data: bytes, folder: Path) -> None:
    """Score, report and verify one run; a warning counts as a fault."""
    try:
        case = json.loads(data)
        run = _write(folder / "run", int(case["run"]), list(case["edits"]))
    except (ValueError, TypeError, KeyError, IndexError, OSError, OverflowError, RecursionError, AttributeError):
        return  # no such folder can be made
    refusals = []
    with warnings.catch_warnings(record=True, action="always") as seen:
        uses = (
            lambda: _report(run, bool(case.get("page"))),
            lambda: list(verify_run(run)),
            lambda: sources(run),
            lambda: _compare(run, int(case["run"]), first=len(data) % 2 == 0),
        )
        for use in uses:
            try:
                use()
            except BenchError as error:
                refusals.append(error)
    for warning in seen:  # each place is a fault of its own
        raise type(f"{warning.category.__name__} {Path(warning.filename).name}:{warning.lineno}", (Exception,), {})(
            warning.message
        )
    if refusals:
        raise refusals[0]


def _report(run: Path, page: bool) -> None:
    table = score_run(run)
    for trial in (trial for row in table.rows for trial in row.trials):
        assert trial.status != "failed" or trial.error.strip(), "a trial failed without a reason"
    if page:
        write_reports(run)
        return
    report = build_report(run, table)
    make_way(run, *REPORTS)
    for name, text in REPORTS.items():
        if name != "report.html":
            write_text(run / name, text(report))


def _compare(run: Path, number: int, *, first: bool) -> None:
    """Compare it with the run as it was, in every format."""
    usual = _write(run.with_name("usual"), number, [["run.json", ["started"], "earlier"]])
    comparison = compare(read_runs([run, usual] if first else [usual, run]))
    for text in FORMATS.values():
        text(comparison)


def _write(run: Path, number: int, edits: list[Any]) -> Path:
    contents = copy.deepcopy(dict(_runs()[number]))
    for path, *edit in edits:
        if not edit:
            contents[path] = None
            continue
        place, value = edit
        around = contents
        for key in (path, *place[:-1]):
            around = around[key]
        around[place[-1]] = value
    for name, content in contents.items():
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif path.suffix == ".npz":
            write_arrays(path, {key: array(key, value) for key, value in content.items()}, 1 << 24)
        else:
            path.write_bytes(sealed_json(json.dumps(content).encode()))
    return run


# Drawing

_NUMBERS = (
    *(0, 1, -1, 2, 3, 127, 128, 10**6, 10**9, 10**15, 10**16, 2**31, 2**53, 2**63, -(2**63), 10**30),
    *(0.5, -0.0, 1e-300, 5e-324, 1e15, 1e200, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
)
_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "\0",
    "a" * 300,
    "b" * 5000,
    "|",
    "<b>",
    "\x1b[31m",
    "\ud800",
    "lstm",
    "real",
    "median",
    "1e999",
    "a\nb",
)


def odd(rng: Random, usual: Any) -> Any:
    """Draw a strange value, most often of the type of the usual one."""
    if rng.random() < 0.1:
        return inputs.value(rng)
    match usual:
        case bool() | None:
            return rng.choice((None, True, False, 0, 1.0, "x", []))
        case int() | float():
            return rng.choice(_NUMBERS)
        case str():
            return rng.choice(_TEXTS)
        case list():
            return rng.choice(([], usual * 2, usual[::-1], usual[:1], usual[1:], [None] * len(usual), usual * 200))
        case _:
            left = dict(usual)
            left.pop(rng.choice(list(left) or [None]), None)
            return rng.choice(({}, left))


def make(rng: Random) -> bytes:
    """Draw a run with one to three odd values."""
    number = rng.choice((0, 1, 1, 2))
    contents = _runs()[number]
    edits: list[list[Any]] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        path = rng.choice(sorted(contents))
        path = rng.choice((path, path, "run.json", "targets.npz"))
        if isinstance(contents[path], bytes) or rng.random() < 0.02:
            edits.append([rng.choice((path, "report.md", "report.html", "report.csv", "sound"))])
            continue
        place = rng.choice(inputs.places(contents[path]))
        usual = contents[path]
        for key in place:
            usual = usual[key]
        edits.append([path, list(place), odd(rng, usual)])
    return json.dumps({"run": number, "page": rng.random() < 0.05, "edits": edits}).encode()


EXAMPLE = json.dumps({"run": 1, "page": True, "edits": []}).encode()
