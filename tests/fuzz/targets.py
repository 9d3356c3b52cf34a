"""The readers, and what each owes for any input: a value that holds its contract, or an error of this project.

An input is what an attacker or an accident can choose. What a checksum would hide is sealed here: the reader meets the input with
the right checksum, and as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from bench import tuning
from bench.api import Budget, Run, read_midi
from bench.api.training import chained
from bench.cli.display import Plain
from bench.cli.output import CleanConsole
from bench.errors import BenchError, DataError
from bench.external.folder import midi_files, read_external
from bench.gate import baseline_file
from bench.history import file as past_file
from bench.history import formats
from bench.history.changes import trends
from bench.listening.key import FOLDER, read_keys, write_key
from bench.listening.screening import screen
from bench.listening.votes import Ballot, read_ballots
from bench.music.notes import COLUMNS, Notes
from bench.plugins import discovery
from bench.report.figures.audit import heat_map
from bench.runner.events import LAST_TURNS, EventReader
from bench.specs.check import ValidNames
from bench.specs.load import load_spec
from bench.storage import arrays, columns, corpus, files
from bench.storage.run_folder import RunFolder
from bench.storage.samples import PieceName, Samples, Target, read_samples, read_target_file
from bench.system.disk import read_sealed, write_sealed
from tests.fuzz import inputs, received, templates
from tests.fuzz.inputs import Make
from tests.fuzz.sealing import array, sealed_json


@dataclass(frozen=True)
class Reader:
    """One kind of input.

    Parameters
    ----------
    read : callable
        Reads an input, with an empty folder for it; its errors other than `refusals` are faults.
    make : callable
        Draws an input.
    example : bytes
        An input that is read without an error.
    refusals : tuple of exception types
        How it may refuse.
    seconds : float
        Limit of processor time for one input.
    damage : bool
        Whether inputs are damaged too.
    """

    read: Callable[[bytes, Path], object]
    make: Make
    example: bytes
    refusals: tuple[type[Exception], ...] = (BenchError,)
    seconds: float = 2.0
    damage: bool = True

    def run(self, data: bytes, folder: Path) -> bool:
        """Give it one input; whether it was read, not refused."""
        try:
            self.read(data, folder)
        except self.refusals as refusal:
            if not str(refusal):
                raise AssertionError("it refuses without a word") from refusal
            return False
        return True


def _progress(done: int, total: int, what: str) -> None:
    pass


@cache
def _dataset(name: str, sibling: str | None = None) -> ModuleType:
    """A dataset's module, or one of the files beside it."""
    module = discovery.load(discovery.get_plugin("dataset", name)).__module__
    return sys.modules[module if sibling is None else f"{module.rpartition('.')[0]}.{sibling}"]


def _hold(notes: Notes) -> None:
    """Check the contract of notes again: readers build them unchecked."""
    try:
        Notes(*(getattr(notes, name) for name in COLUMNS))
    except DataError as error:
        raise AssertionError(f"notes that are none: {error.message}") from error


def _midi(data: bytes, folder: Path) -> None:
    _hold(read_midi(data))
    (folder / "a.mid").write_bytes(data)
    _hold(read_midi(folder / "a.mid", range(8)))


def _musicxml(data: bytes, folder: Path) -> None:
    name = "a.mxl" if data.startswith(b"PK") else "a.xml"
    (folder / name).write_bytes(data)
    for part in _dataset("chorales", "_musicxml").read_musicxml(folder / name):
        assert all(n.onset >= 0 and n.duration > 0 and 0 <= n.pitch <= 127 for n in part.notes), "a note outside its range"
        assert all(bar.start >= 0 and bar.length > 0 and bar.beat > 0 for bar in part.bars), "a bar without a length"


@cache
def _names() -> ValidNames:
    return ValidNames(discovery.find_plugins("model"), discovery.find_plugins("dataset"))


def _spec(data: bytes, folder: Path) -> None:
    (folder / "spec.yaml").write_bytes(data)
    spec = load_spec(folder / "spec.yaml", scale="cpu", names=_names())
    json.dumps(spec.model_dump(mode="json"), allow_nan=False).encode()


def _baseline(data: bytes, folder: Path) -> None:
    path = folder / "baseline.json"
    content = data.removeprefix(b"{")
    head = b'{"bench_baseline":%d,"sha256":"%s",\n' % (baseline_file.FORMAT, hashlib.sha256(content).hexdigest().encode())
    _both(path, head + content, data, baseline_file.read)
    path.write_bytes(head + content)
    baseline_file.dump(baseline_file.read(path)).encode()


def _past(data: bytes, folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_bytes(data)
    entries, _ = past_file.read(path)
    past_file.dump(entries).encode()
    if entries:
        formats.as_text(trends(entries)).encode()


def _both(path: Path, sealed: bytes, raw: bytes, read: Callable[[Path], object]) -> None:
    """Read an input as it is, which may be refused, and sealed, which must not fail in another way."""
    path.write_bytes(raw)
    with contextlib.suppress(BenchError):
        read(path)
    path.write_bytes(sealed)
    read(path)


def _run(data: bytes, folder: Path) -> None:
    run = RunFolder(folder)
    _both(run.run_file, sealed_json(data), data, lambda _: run.read())
    run.write(run.read())


def _outcome(data: bytes, folder: Path) -> None:
    run = RunFolder(folder)
    path = run.trial_dir("k") / "outcome.json"
    path.parent.mkdir(parents=True)
    _both(path, sealed_json(data), data, lambda _: run.outcome("k"))
    if (outcome := run.outcome("k")) is not None:
        files.write_json(path, {"format": files.FORMAT, **outcome.model_dump()})


def _history(data: bytes, folder: Path) -> None:
    lines = itertools.accumulate(
        data.decode(errors="replace").splitlines(), lambda before, line: chained(line, before), initial=""
    )
    sealed = "\n".join([*lines][1:])
    _both(folder / "history.jsonl", sealed.encode(errors="replace"), data, lambda path: _resume(path.parent))


def _resume(folder: Path) -> None:
    training = Run(seed=0, budget=Budget(epochs=9), folder=folder)
    training.begin(1)
    for entry in training.history:
        assert type(entry["epoch"]) is int
        assert math.isfinite(entry["seconds"])
        assert isinstance(entry["loss"] / 2, float)
        assert entry["notes"] >= 0


def _write_columns(path: Path, values: dict[str, Any], limit: int) -> None:
    columns.write_columns(path, {name: columns.Column.of(np.atleast_1d(value)) for name, value in values.items()}, limit)


def _arrays(read: Callable[[Path], object], write: Callable[..., None] = arrays.write_arrays) -> Callable[[bytes, Path], None]:
    """Reader of arrays: the input is JSON, its values by name, and bytes to overwrite by position."""

    def run(data: bytes, folder: Path) -> None:
        path = folder / "file.npz"
        try:
            layout = json.loads(data)
            write(path, {name: array(name, value) for name, value in layout["values"].items()}, 1 << 24)
            content = bytearray(read_sealed(path))
            for at, byte in layout["bytes"]:
                content[at % len(content)] = byte % 256
        except (ValueError, TypeError, KeyError, OSError, OverflowError, RecursionError, AttributeError, DataError):
            return  # no such file can be made
        sealed = bytes(content)
        write_sealed(path, sealed)
        whole = path.read_bytes()
        _both(path, whole, sealed, read)

    return run


def _samples(path: Path) -> None:
    samples: Samples = read_samples(path)
    for (piece, sample), notes in samples.notes.items():
        assert piece >= 0
        assert sample >= 0
        _hold(notes)


def _targets(path: Path) -> None:
    for target in read_target_file(path).targets:
        assert isinstance(target.piece.index, int)
        assert isinstance(target.piece.id, str)
        _hold(target.prompt)
        _hold(target.target)


def _corpus(path: Path) -> None:
    loaded = corpus.load_corpus(path)
    for piece in (*loaded.train, *loaded.validation, *loaded.test, *loaded.samples):
        assert isinstance(piece.id, str)
        _hold(piece.notes)
    for skipped in loaded.skipped:
        assert isinstance(skipped.source, str)
        assert isinstance(skipped.reason, str)


def _maestro(data: bytes, folder: Path) -> None:
    dataset = _dataset("maestro").Dataset()
    source = folder / dataset.name
    source.mkdir()
    (source / f"{dataset.name}.csv").write_bytes(data)
    dataset.verify(source, _progress)
    dataset.fingerprint(source)
    dataset.load(source, _progress)


def _audit_csv(data: bytes, folder: Path) -> None:
    (folder / "audit").mkdir()
    (folder / "audit" / "audit.svg").write_bytes(b"<svg/>")
    (folder / "audit" / "audit.csv").write_bytes(data)
    heat_map(SimpleNamespace(folder=folder))  # type: ignore[arg-type]


def _tuning_csv(data: bytes, folder: Path) -> None:
    (folder / "trials.csv").write_bytes(data)
    tuning.write_trials(folder / "trials.csv", [])


def _archive(data: bytes, folder: Path) -> None:
    (folder / "a.zip").write_bytes(data)
    before = set(folder.iterdir())
    try:
        # A part is taken also of an archive that is refused as a whole.
        with contextlib.suppress(DataError):
            _dataset("maestro", "_download").unzip(
                folder / "a.zip", "in", folder / "to", _progress, keep=lambda path: len(path) > 3
            )
        _dataset("maestro", "_download").unzip(folder / "a.zip", "in", folder / "to", _progress)
    finally:
        assert set(folder.iterdir()) - before <= {folder / "to"}, "unpacked elsewhere"
        made = {p.name for p in (folder / "to").iterdir()} if (folder / "to").exists() else set()
        assert made <= {"in"}, f"left {made}"
        assert not any(p.is_symlink() for p in folder.rglob("*")), "unpacked a link"
    _dataset("maestro", "_download").checked_manifest(folder / "to" / "in", _progress)


def _manifest(data: bytes, folder: Path) -> None:
    (folder / "checksums.json").write_bytes(data)
    _dataset("maestro", "_download").checked_manifest(folder, _progress)


def _page(data: bytes, folder: Path) -> None:
    pages = _dataset("midiworld", "_midiworld")
    for links in (pages.parse_search(data, templates.PAGE), pages.parse_composer(data, templates.PAGE, "bach")):
        for link in links:
            assert link.url.startswith("https://www.midiworld.com/"), "a link to another server"
            link.title.encode()
    for name in pages.composers(data):
        assert isinstance(name, str)


def _lock(data: bytes, folder: Path) -> None:
    (folder / "midiworld.lock.json").write_bytes(data)
    (folder / "files").mkdir(exist_ok=True)
    (folder / "files" / "a.mid").write_bytes(templates.MIDI)
    dataset = _dataset("midiworld").Dataset(minimum_notes=1)
    if (source := dataset.find([folder])) is not None:
        dataset.verify(source, _progress)
        dataset.fingerprint(source)
        dataset.load(source, _progress)


def _notes(*pitch: int, start: float = 0.0) -> Notes:
    n = len(pitch)
    return Notes.from_columns(start + np.arange(n) * 0.5, np.full(n, 0.25), pitch, np.full(n, 80))


_TARGETS = tuple(Target(PieceName(i, str(i)), _notes(70 + i, 71), _notes(60, 60, start=10)) for i in range(3))


def _external(data: bytes, folder: Path) -> None:
    try:
        contents = json.loads(data)
        for name, content in contents.items():
            with (folder / name).open("xb") as file:
                file.write(content.encode("latin-1"))
    except (ValueError, OSError, AttributeError, RecursionError):
        return  # no such folder can be made
    external = read_external(folder, _TARGETS, 2)
    assert set(external.bad) | {file.name for file in external.files} == {path.name for path in midi_files(folder)}, (
        "a file without an answer"
    )
    for notes in external.notes.values():
        assert len(notes) == 2
        _hold(notes)


def _votes(data: bytes, folder: Path) -> None:
    (folder / "a.json").write_bytes(data)
    key = templates.KEY
    for ballot in read_ballots(folder, {key.test: key}).ballots:
        assert type(ballot.form) is int
        assert set(ballot.answers) <= {"left", "tie", "right", None}
        screen([ballot], key)


def _key(data: bytes, folder: Path) -> None:
    path = folder / FOLDER / "test-a" / "key.json"
    path.parent.mkdir(parents=True)
    _both(path, sealed_json(data), data, lambda _: read_keys(folder))
    for where, key in read_keys(folder).values():
        for number, form in enumerate(key.forms):
            answers = ("left",) * len(form)
            screen([Ballot(bench_votes=1, test=key.test, form=number, listener="0" * 32, answers=answers)], key)
        write_key(where, key)


#: What the runner adds to a worker's event.
_ABOUT = {"key": "k", "trial": 1, "total": 1, "system": "lstm", "seed": 0, "label": "lstm"}


def _events(data: bytes, folder: Path) -> None:
    end, start = os.pipe()
    os.write(start, data[: 1 << 15])
    os.close(start)
    display = Plain(CleanConsole(file=io.StringIO(), width=80), now=itertools.count(step=10).__next__)
    try:
        for event in EventReader(end, most=1 << 20, longest=1 << 16).events(LAST_TURNS):
            display({**event, **_ABOUT})
    finally:
        os.close(end)


def _score(rng: Random) -> bytes:
    """Draw MusicXML, half of it well-formed and with numbers that may be read; now and then compressed."""
    wild = rng.random() < 0.5
    score = templates.score(
        inputs.text(rng, templates.XML_TOKENS) if wild else inputs.text(rng, templates.XML_SENSIBLE, strange=0)
    )
    if rng.random() < 0.9:
        return score
    packed = bytearray(templates.zipped(rng.choice(("a.xml", "META-INF/a.xml", "a.txt")), score))
    packed[packed.rindex(b"PK\x01\x02") + 10] = rng.choice((0, 0, 0, 8, 12, 14, 93))  # how it says it is compressed
    return bytes(packed)


def _several(*makes: Make) -> Make:
    return lambda rng: rng.choice(makes)(rng)


def _lines(make: Make) -> Make:
    return lambda rng: b"".join(make(rng) + b"\n" for _ in range(rng.choice((1, 1, 2, 5))))


def _layout(template: dict[str, Any]) -> Make:
    """Descriptions of a file of arrays: other values, a few bytes overwritten, or both."""

    def make(rng: Random) -> bytes:
        values = inputs.changed(rng, template) if rng.random() < 0.7 else template
        edits = [
            [rng.randrange(1 << 16), rng.choice((0, 1, 0xFF, rng.randrange(256)))] for _ in range(rng.choice((0, 0, 0, 0, 1, 10)))
        ]
        return json.dumps({"values": values, "bytes": edits}).encode()

    return make


def _json(template: Any) -> bytes:
    return json.dumps(template).encode()


def _after(first: Any, make: Make) -> Make:
    """Lines of which the first is always the same."""
    return lambda rng: _json(first) + b"\n" + make(rng)


def _stored(read: Callable[[Path], object], template: dict[str, Any], write: Callable[..., None] = arrays.write_arrays) -> Reader:
    return Reader(_arrays(read, write), _layout(template), _json({"values": template, "bytes": []}))


def _misbehave(data: bytes, folder: Path) -> None:
    """Do what no reader may: each of these the sandbox must survive and report."""
    match data:
        case b"hang":
            while True:
                pass
        case b"hang natively":
            re.match(r"(a|aa)*b", "a" * 60)
        case b"memory":
            bytearray(1 << 30)
        case b"file":
            with (folder / "a").open("wb") as file:
                file.truncate(1 << 30)
        case b"native":
            ctypes.string_at(0)
        case b"exit":
            os._exit(7)
        case b"raise":
            raise KeyError(1)


MISBEHAVIOUR = Reader(_misbehave, inputs.midi, b"")

_YAML = inputs.words(*templates.YAML_TOKENS)

TARGETS: dict[str, Reader] = {
    "midi": Reader(_midi, inputs.midi, templates.MIDI),
    "musicxml": Reader(_musicxml, _score, templates.MUSICXML, (ValueError,)),
    "spec": Reader(_spec, _several(_YAML, *[inputs.record(templates.SPEC)] * 3), _json(templates.SPEC)),
    "baseline": Reader(_baseline, inputs.record(templates.BASELINE), _json(templates.BASELINE)),
    "past": Reader(_past, _after(templates.PAST[0], inputs.record(templates.PAST[1])), _json(templates.PAST[0]) + b"\n"),
    "run": Reader(_run, inputs.record(templates.RUN), _json(templates.RUN)),
    "outcome": Reader(_outcome, inputs.record(templates.DONE, templates.FAILED), _json(templates.DONE)),
    "history": Reader(_history, _lines(inputs.record(templates.EPOCH)), _json(templates.EPOCH) + b"\n"),
    "samples": _stored(_samples, templates.SAMPLES),
    "targets": _stored(_targets, templates.TARGETS),
    "corpus": _stored(_corpus, templates.CORPUS, _write_columns),
    "maestro": Reader(
        _maestro, inputs.table(templates.MAESTRO_HEADER, templates.MAESTRO_ROW, *templates.MAESTRO_CELLS), templates.MAESTRO
    ),
    "audit": Reader(
        _audit_csv,
        inputs.table("metric,corruption,blind,rewards", ("pitch_distance", "shuffle", "yes", "no"), "x"),
        templates.AUDIT,
    ),
    "tuning": Reader(_tuning_csv, inputs.table("row,number,score", ("lstm", "1", "0.5")), b"row,number,score\nlstm,1,0.5\n"),
    "archive": Reader(_archive, inputs.archive, templates.ARCHIVE),
    "manifest": Reader(_manifest, inputs.record({"a.mid": "0" * 64, "b/c.mid": "1"}), b'{"a.mid": "00"}'),
    "page": Reader(_page, inputs.words(*templates.HTML_TOKENS, most=30), templates.HTML),
    "lock": Reader(_lock, inputs.record(templates.LOCK), _json(templates.LOCK)),
    "external": Reader(
        _external, inputs.folder(templates.FILE_NAMES, inputs.midi, {"prompt-000.mid": templates.MIDI}), templates.FOLDER
    ),
    "votes": Reader(_votes, inputs.record(templates.VOTES), _json(templates.VOTES)),
    "key": Reader(_key, inputs.record(templates.STORED_KEY), _json(templates.STORED_KEY)),
    "received": Reader(received.read, received.make, received.EXAMPLE, seconds=20.0, damage=False),
    "events": Reader(_events, _lines(inputs.record(*templates.EVENTS)), _json(templates.EPOCH) + b"\n"),
}
