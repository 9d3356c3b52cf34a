"""What every model plug-in must do. `-k lstm` selects one; one that requires what isn't installed is skipped.

A plug-in that is found with ``$BENCH_PLUGINS`` is tested as well: newcomers get this suite for nothing.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api import FIELDS, Budget, NoteCodec, Notes, Piece, Run
from bench.plugins.discovery import find_plugins
from bench.plugins.header import Plugin
from bench.runner.probes import alternatives, check_followed, followed_otherwise
from bench.runner.weights import make_model
from bench.system import frameworks
from bench.system.paths import Places, user_folders

#: Plug-ins whose own tests train and generate compiled by XLA; here it would take most of the time.
UNCOMPILED = ("lstm", "lstm-paper")
#: Where they are trained: ``cuda`` in tests/gpu.
DEVICE = os.environ.get("BENCH_CONTRACT_DEVICE", "cpu")

PLUGINS = find_plugins("model", user_folders())
EPOCHS = 2
#: Above the longest time shift that the codec decodes to, below the second prompt's beginning. Seconds.
LONGEST_SHIFT = 9.5
PROMPT, NOTES = 8, 24


class Case:
    """A plug-in, at the sizes that its TINY states."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.name = plugin.name
        self.params: dict[str, Any] = plugin.header["TINY"]
        self.takes_prompt = bool(plugin.header["PROMPT"])
        self.unit: str = plugin.header["UNIT"]
        self._folders: list[tempfile.TemporaryDirectory[str]] = []

    def __repr__(self) -> str:
        return self.name

    def make(self) -> Any:
        model: Any = make_model(self.plugin, self.params)
        if self.plugin.header["NEEDS"] != "nothing":
            model.weights = model.find(Places.find().weights)
            if model.weights is None:
                pytest.skip(f"the weights of {self.name} aren't here; BENCH_WEIGHTS can name the folder that holds them")
        return model

    def fit(self, folder: Path, seed: int = 0, budget: Budget | None = None, **more: Any) -> Any:
        model = self.make()
        if self.plugin.header["SEES_SAMPLES"]:
            model.samples = (music(400, 200),)
        folder.mkdir(parents=True, exist_ok=True)
        with without_xla(self.plugin.name), every_checkpoint(model):
            model.fit(TRAIN, VALID, Run(seed, budget or Budget(EPOCHS), folder, device=DEVICE, threads=1, **more))
        return model

    @functools.cached_property
    def trained(self) -> Any:
        """Trained once for all tests that only use it."""
        return self.fit(self._folder())

    @functools.cached_property
    def again(self) -> tuple[Any, Path, list[dict[str, Any]]]:
        """Trained once more in the same way: the model, its folder, its events."""
        folder, events = self._folder(), list[dict[str, Any]]()
        return self.fit(folder, emit=events.append), folder, events

    def _folder(self) -> Path:
        """Make a folder that is removed when the tests end."""
        self._folders.append(tempfile.TemporaryDirectory(prefix="contract-"))
        return Path(self._folders[-1].name)

    def generate(self, model: Any, prompts: list[Notes], seed: int = 1, notes: int = NOTES) -> list[Notes]:
        if self.plugin.header["SEES_TARGET"]:
            model.reveal([after(p, notes) for p in prompts])
        made: list[Notes] = model.generate(prompts, notes, seed)
        return made


@contextmanager
def without_xla(name: str) -> Iterator[None]:
    """Make the graphs of an UNCOMPILED plug-in without XLA."""
    tensorflow = sys.modules.get("tensorflow")
    with pytest.MonkeyPatch.context() as patch:
        if tensorflow and name in UNCOMPILED:
            function = tensorflow.function
            patch.setattr(tensorflow, "function", lambda *args, jit_compile=None, **options: function(*args, **options))
        yield


@contextmanager
def every_checkpoint(model: Any) -> Iterator[None]:
    """Let the models here write a checkpoint at each evaluation on a GPU too, where they are half a minute apart."""
    training = sys.modules.get(f"{type(model).__module__.rpartition('.')[0]}._training")
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(training, "CHECKPOINT_SECONDS"):
            patch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
        yield


def music(seed: int, n: int = 90) -> Piece:
    """A random walk in the middle of the keyboard, every third note in a chord with the one before."""
    rng = np.random.default_rng(seed)
    shift = np.where(np.arange(n) % 3 == 2, 0.0, rng.choice([0.25, 0.5], n))
    pitch = np.clip(60 + np.cumsum(rng.choice([-3, -2, -1, 1, 2, 3], n)), 40, 90)
    velocity = 70 + 10 * (np.arange(n) % 4)
    return Piece(Notes.from_columns(np.cumsum(shift), np.full(n, 0.4), pitch, velocity), id=str(seed))


def after(prompt: Notes, notes: int) -> Notes:
    """What may follow a prompt, in its clock."""
    start = float(prompt.onset[-1]) if len(prompt) else 0.0
    return music(500, notes).notes.shifted(start)


#: Rows that leave nothing to chance.
FIXED = {"median", "codec", "published-sample"}

TRAIN = [music(i) for i in range(6)]
VALID = [music(100), music(101)]
PROMPTS = [music(200 + i).notes[:PROMPT].shifted(10.0 * i) for i in range(3)]


def cases() -> Iterator[Any]:
    for plugin in PLUGINS.values():
        missing = frameworks.lacking(tuple(plugin.header["REQUIRES"]), sys.executable)
        skip = pytest.mark.skipif(bool(missing), reason=f"{plugin.name} needs {', '.join(missing)}, which isn't installed")
        yield pytest.param(Case(plugin), id=plugin.name, marks=[skip, pytest.mark.training])


@pytest.fixture(params=cases())
def case(request: pytest.FixtureRequest) -> Case:
    given: Case = request.param
    return given


def test_header_says_what_it_is(case: Case) -> None:
    header = case.plugin.header
    assert case.plugin.summary.endswith("."), "the first docstring line is shown by `bench list`"
    assert header["FEATURES"].strip()
    assert header["LIKELIHOOD"] in ("exact", "bound", None)
    assert case.params.keys() <= case.plugin.parameters.keys()
    assert all(parameter.annotation for parameter in case.plugin.parameters.values())


def test_exact_number_of_notes_for_each_prompt(case: Case) -> None:
    made = case.generate(case.trained, PROMPTS)
    assert [type(notes) for notes in made] == [Notes] * len(PROMPTS)
    assert [len(notes) for notes in made] == [NOTES] * len(PROMPTS)


def test_one_note_and_more_notes_than_the_window(case: Case) -> None:
    for notes in (1, 70):
        assert [len(made) for made in case.generate(case.trained, PROMPTS[:1], notes=notes)] == [notes]


def test_a_prompt_longer_than_the_window(case: Case) -> None:
    prompts = [music(200 + i, 40).notes for i in range(2)]
    for prompt, notes in zip(prompts, case.generate(case.trained, prompts), strict=True):
        assert len(notes) == NOTES
        assert not case.takes_prompt or notes.onset[0] >= prompt.onset[-1] - 1e-3


def test_no_prompt(case: Case) -> None:
    nothing = Notes.from_columns([], [], [], [])
    made = case.generate(case.trained, [nothing, nothing])
    assert [len(notes) for notes in made] == [NOTES, NOTES]
    assert all(0 <= notes.onset[0] < LONGEST_SHIFT for notes in made), "a piece of its own begins near 0 s"


def test_continues_in_the_prompts_clock(case: Case) -> None:
    for prompt, notes in zip(PROMPTS, case.generate(case.trained, PROMPTS), strict=True):
        if case.takes_prompt:
            assert notes.onset[0] >= prompt.onset[-1] - 1e-3
        else:
            assert notes.onset[0] < LONGEST_SHIFT, "a family without a prompt has a clock of its own"


def test_the_same_seed_gives_the_same_notes(case: Case) -> None:
    assert case.generate(case.trained, PROMPTS, seed=7) == case.generate(case.trained, PROMPTS, seed=7)


def test_another_generation_seed_gives_other_notes(case: Case) -> None:
    if case.name in FIXED:
        pytest.skip("this row draws nothing")
    assert case.generate(case.trained, PROMPTS, seed=7) != case.generate(case.trained, PROMPTS, seed=8)


def test_samples_of_one_prompt_are_not_copies(case: Case) -> None:
    if case.name in FIXED:
        pytest.skip("this row draws nothing")
    one, other = case.generate(case.trained, [PROMPTS[0], PROMPTS[0]])
    assert one != other


def test_the_same_training_seed_gives_the_same_model(case: Case) -> None:
    again, _, _ = case.again
    assert case.generate(again, PROMPTS) == case.generate(case.trained, PROMPTS)


def counts(case: Case) -> bool:
    """Whether it learns by counting, in one pass and from no random weights, as models of NumPy alone do."""
    return not case.plugin.header["REQUIRES"]


def learns(case: Case) -> None:
    """Skip a test of what training changes for a model that came trained."""
    if case.plugin.header["PRETRAINED"]:
        pytest.skip("it is pretrained: nothing is trained here")


def test_a_pretrained_model_learns_nothing(case: Case) -> None:
    if not case.plugin.header["PRETRAINED"]:
        pytest.skip("it is trained here")
    _, folder, events = case.again
    assert not events
    assert not (folder / "history.jsonl").exists()
    assert case.generate(case.make(), PROMPTS) == case.generate(case.trained, PROMPTS), "as it is before fit"


def test_another_training_seed_gives_another_model(case: Case, tmp_path: Path) -> None:
    learns(case)
    if counts(case):
        pytest.skip("it counts: there are no weights to draw")
    other = case.fit(tmp_path, seed=1)
    assert case.generate(other, PROMPTS) != case.generate(case.trained, PROMPTS)


def test_zero_epochs_leave_the_first_weights(case: Case, tmp_path: Path) -> None:
    learns(case)
    model = case.fit(tmp_path, budget=Budget(0))
    assert [len(notes) for notes in case.generate(model, PROMPTS)] == [NOTES] * len(PROMPTS)
    if case.plugin.header["ROLE"] != "reference":
        assert not (tmp_path / "history.jsonl").exists() or not (tmp_path / "history.jsonl").read_text()
        assert case.generate(model, PROMPTS) != case.generate(case.trained, PROMPTS)


def test_every_epoch_is_logged(case: Case) -> None:
    learns(case)
    _, folder, events = case.again
    history = folder / "history.jsonl"
    logged = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    assert [e["epoch"] for e in logged] == [e["epoch"] for e in events]
    assert [e["epoch"] for e in logged] == list(range(1, len(logged) + 1))
    assert all(math.isfinite(e["loss"]) and e["notes"] > 0 for e in logged)
    assert len(logged) == EPOCHS or (counts(case) and len(logged) <= EPOCHS)


def test_resumes_from_its_checkpoint_as_if_never_stopped(case: Case, tmp_path: Path) -> None:
    learns(case)

    class StopError(Exception):
        """The kill: after the second epoch was logged, before its checkpoint."""

    def stop(event: dict[str, Any]) -> None:
        if event["epoch"] == 2:
            raise StopError

    try:
        case.fit(tmp_path, emit=stop)
    except StopError:
        pass
    else:
        pytest.skip("it doesn't train in epochs")
    epochs: list[int] = []
    resumed = case.fit(tmp_path, emit=lambda event: epochs.append(event["epoch"]))
    assert epochs == [2], "the first epoch's checkpoint was there to resume from"
    assert case.generate(resumed, PROMPTS) == case.generate(case.trained, PROMPTS)


#: Evaluations after 4, 7, 11 and 14 updates; no pass over TRAIN is a multiple of them.
COMPUTE = Budget(updates=14, evaluations=4, stages=(0.5,))


def test_a_budget_in_updates_ends_there_and_resumes_within_an_epoch(case: Case, tmp_path: Path) -> None:
    learns(case)
    if counts(case):
        pytest.skip("it counts: it makes no updates")
    logged: list[dict[str, Any]] = []
    straight = case.fit(tmp_path / "straight", budget=COMPUTE, emit=logged.append)
    if "updates" not in logged[0] and not case.plugin.header["TINY"]:
        pytest.skip("it knows epochs only")
    assert [entry["updates"] for entry in logged] == [4, 7, 11, 14]
    assert [entry["share"] for entry in logged] == pytest.approx([4 / 14, 0.5, 11 / 14, 1.0])
    passes = logged[2].get("passes", math.nan)
    if logged[0].get("passes", 0) < 4:  # else a batch holds the whole corpus, and each update ends an epoch
        assert not passes.is_integer(), f"11 updates should end within an epoch, not after {passes} passes"

    class StopError(Exception):
        """The kill: after the last evaluation was logged, before its checkpoint."""

    def stop(event: dict[str, Any]) -> None:
        if event["epoch"] == 4:
            raise StopError

    with pytest.raises(StopError):
        case.fit(tmp_path / "killed", budget=COMPUTE, emit=stop)
    again: list[dict[str, Any]] = []
    resumed = case.fit(tmp_path / "killed", budget=COMPUTE, emit=again.append)
    untimed = [{k: v for k, v in entry.items() if "seconds" not in k} for entry in (logged[-1], *again)]
    assert untimed[1:] == untimed[:1]
    assert case.generate(resumed, PROMPTS) == case.generate(straight, PROMPTS)


def test_a_stage_is_what_a_training_of_that_budget_gives(case: Case, tmp_path: Path) -> None:
    learns(case)
    taken: dict[float, Any] = {}

    def take(share: float) -> None:
        taken[share] = case.generate(model, PROMPTS), model.likelihood and model.log_likelihood(VALID)

    model = case.make()
    with without_xla(case.plugin.name):
        model.fit(TRAIN, VALID, Run(0, COMPUTE, tmp_path / "whole", device=DEVICE, threads=1, take=take))
    if not taken:
        pytest.skip("its weights are a result at the budget's end alone")
    half = case.fit(tmp_path / "half", budget=Budget(updates=7, evaluations=2))
    notes, nats = taken.pop(0.5)
    assert not taken
    assert notes == case.generate(half, PROMPTS)
    if nats:
        assert all(np.array_equal(*both) for both in zip(nats, half.log_likelihood(VALID), strict=True))


def test_likelihood_is_a_log_probability_of_every_note_and_field(case: Case) -> None:
    if case.trained.likelihood is None:
        pytest.skip("no likelihood is claimed")
    pieces = [*VALID, music(300, 1), music(301, 7)]
    nats = case.trained.log_likelihood(pieces)
    if case.unit == "note":
        assert [part.shape for part in nats] == [(len(p.notes), len(FIELDS)) for p in pieces]
    assert all(part.ndim == 1 and len(part) for part in nats[: len(VALID)]) or case.unit == "note"
    assert all(np.isfinite(part).all() and part.max(initial=-1.0) <= 1e-4 for part in nats)


def test_likelihood_of_a_piece_does_not_depend_on_the_others(case: Case) -> None:
    if case.trained.likelihood is None:
        pytest.skip("no likelihood is claimed")
    (alone,) = case.trained.log_likelihood([VALID[1]])
    together = case.trained.log_likelihood([TRAIN[0], VALID[1], music(300, 3)])
    np.testing.assert_allclose(together[1], alone, atol=1e-4)


def test_likelihood_looks_only_back(case: Case) -> None:
    if case.trained.likelihood != "exact":
        pytest.skip("no exact likelihood is claimed")
    whole, first = case.trained.log_likelihood([VALID[0], Piece(VALID[0].notes[:20], "head")])
    # Frames and events of a beginning end otherwise than those of the whole: with chords cut short, or with keys that go up.
    known = len(first) - {"note": 0, "frame": 2, "event": 8}[case.unit]
    assert known > 2
    np.testing.assert_allclose(whole[:known], first[:known], atol=1e-4)


def test_likelihood_stands_the_probes_of_a_trial(case: Case) -> None:
    if case.trained.likelihood != "exact":
        pytest.skip("no exact likelihood is claimed")
    own = getattr(case.trained, "codec", None)
    classes = None if hasattr(case.trained, "time_classes") else NoteCodec()
    for each in alternatives(VALID, case.unit, own if isinstance(own, NoteCodec) else classes):
        each.check(case.trained.log_likelihood(each.asked))
    followed = followed_otherwise(VALID, case.unit)
    assert followed is not None
    check_followed([case.trained.log_likelihood([piece])[0] for piece in followed.asked], followed, case.unit)


@pytest.mark.parametrize("history", [0, 1, 5])
def test_pitch_probabilities_sum_to_one(case: Case, history: int) -> None:
    if case.trained.likelihood != "exact" or case.unit != "note":
        pytest.skip("no exact likelihood of notes is claimed")
    onset = np.arange(history + 1) * 0.5
    base = np.full(history, 60)
    pieces = [
        Piece(Notes.from_columns(onset, np.full(history + 1, 0.4), [*base, pitch], np.full(history + 1, 80)), str(pitch))
        for pitch in range(128)
    ]
    nats = np.array([part[-1, 0] for part in case.trained.log_likelihood(pieces)])
    assert np.exp(nats).sum() == pytest.approx(1.0, abs=1e-4)


def test_a_constraint_that_it_claims_to_follow_is_followed(case: Case) -> None:
    if not case.plugin.header["CONSTRAINT"]:
        pytest.skip("no constraint is claimed")
    allowed = 40 + np.arange(NOTES)
    constraint = np.full((NOTES, 128), -1e4)
    constraint[np.arange(NOTES), allowed] = 0
    for notes in case.trained.generate(PROMPTS, NOTES, 1, constraint):
        assert sorted(notes.pitch) == allowed.tolist()


def test_what_the_engine_sets_is_left_to_it(case: Case) -> None:
    """An attribute of its own by one of these names would be replaced, or taken for what the contract says it is."""
    assert case.trained.header == case.plugin.header
    if case.plugin.header["NEEDS"] == "nothing":
        assert case.trained.weights is None
    if not case.plugin.header["SEES_SAMPLES"]:
        assert case.trained.samples == ()


def test_facts_are_plain_json(case: Case) -> None:
    facts = dict(case.trained.facts())
    assert json.loads(json.dumps(facts, allow_nan=False)).keys() == facts.keys()
    assert facts.get("parameters", 1) > 0
