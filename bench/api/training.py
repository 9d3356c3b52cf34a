"""What the engine provides for a training: its limits, its seed and folder, its clock and its log."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import TrialError
from bench.system.cpu_time import StartedTime
from bench.system.disk import MOST_RECORD, open_log, read_file, write_file


@dataclass(frozen=True)
class Budget:
    """Limits of a training, and the points at which it is evaluated.

    One of `updates`, `notes` and `seconds`, if set, counts instead of `epochs`: a budget that all models of a spec share. All but
    seconds are repeatable.

    Parameters
    ----------
    epochs : int
        Passes over the training notes, at most; 0 leaves the network untrained.
    patience : int, optional
        Stop after this many evaluations without a better validation loss; None never stops early.
    max_seconds : float, optional
        A safeguard: stop after the evaluation that exceeds it; the report notes it.
    updates, notes, seconds : number, optional
        Updates of the weights, notes trained on, seconds of processor time (on a GPU, of the training clock).
    evaluations : int
        With one of these: evaluations on the validation pieces, at equal shares of the budget. With epochs: one after each.
    stages : tuple of float
        Further shares of the budget, between 0 and 1, at which a result is taken; see :meth:`Run.stage`.

    Raises
    ------
    TrialError
        If more than one of `updates`, `notes` and `seconds` is set.

    Examples
    --------
    >>> Budget(epochs=2).shares, Budget(updates=600, evaluations=4, stages=(0.0625, 0.25)).shares
    ((0.5, 1.0), (0.0625, 0.25, 0.5, 0.75, 1.0))
    """

    epochs: int = 1
    patience: int | None = None
    max_seconds: float | None = None
    updates: int | None = None
    notes: int | None = None
    seconds: float | None = None
    evaluations: int = 16
    stages: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if sum(limit is not None for limit in (self.updates, self.notes, self.seconds)) > 1:
            raise TrialError("A budget is in updates, in notes or in seconds, not in two of them.")

    @property
    def in_epochs(self) -> bool:
        """Whether epochs count."""
        return self.updates is None and self.notes is None and self.seconds is None

    @property
    def untrained(self) -> bool:
        """Whether the network keeps its initial weights."""
        return self.in_epochs and self.epochs == 0

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Shares of the budget at which the model is evaluated, ascending; the last is 1."""
        number = self.epochs if self.in_epochs else self.evaluations
        return tuple(sorted({i / number for i in range(1, number + 1)} | set(self.stages)))


@dataclass
class Run:
    """Everything that the engine provides for a training: seed, budget, device, a folder that survives a kill, and a log.

    Parameters
    ----------
    seed : int
        For initial weights, data order, dropout and augmentation.
    budget : Budget
    folder : Path
        For checkpoints. It also holds ``history.jsonl``, one line for each epoch.
    device : {"cpu", "cuda"}
    threads : int
        Threads that this trial may use.
    yardstick : float, optional
        The engine's: processor seconds of :mod:`bench.system.speed`'s workload on this machine. A training that resumes on a
        faster or slower one counts what it used before in seconds of that one.
    emit : callable, optional
        The engine's: called with each event (a dict) for the progress display. A model sends them by :meth:`log` alone.
    take : callable, optional
        The engine's: called by :meth:`stage` with the share of the budget.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> run = Run(seed=0, budget=Budget(epochs=2), folder=Path(mkdtemp()))
    >>> run.begin()
    >>> for epoch in (1, 2):
    ...     run.log(epoch, loss=5 / epoch, notes=100, validation_bits=8 / epoch)
    >>> [entry["validation_bits"] for entry in run.history]
    [8.0, 4.0]
    """

    seed: int
    budget: Budget
    folder: Path
    device: str = "cpu"
    threads: int = 1
    yardstick: float | None = None
    emit: InitVar[Callable[[dict[str, Any]], None] | None] = None
    take: InitVar[Callable[[float], None] | None] = None
    history: list[dict[str, Any]] = field(default_factory=list, init=False)
    #: Shares of the budget at which results were taken, in this training so far, with the numbers of the evaluations before them.
    taken: dict[float, int] = field(default_factory=dict, init=False)
    _chain: str = field(default="", init=False)
    _size: int = field(default=0, init=False)
    #: Of a budget in seconds: updates, if they were given, and share when the clock was last looked at; if by :meth:`share`.
    _looked: tuple[int | None, float] = field(default=(0, 0.0), init=False)
    _asked: bool = field(default=False, init=False)
    #: Most updates that :meth:`share` was told of.
    _told: int = field(default=0, init=False)
    #: Updates when it was first found to be used, the share then without the update that ended it, whether that was logged.
    _over: tuple[int | None, float, bool] | None = field(default=None, init=False)
    _before: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _since: tuple[float, float, float] | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)

    def __post_init__(self, emit: Callable[[dict[str, Any]], None] | None, take: Callable[[float], None] | None) -> None:
        self._emit = emit or (lambda event: None)
        self._take = take or (lambda share: None)

    def begin(self, epochs_done: int = 0) -> None:
        """Start the training clock; call it right before the first step, with the checkpoint's epoch when resuming.

        Epochs that were logged after the checkpoint was written are removed from the log: they are about to be trained again.

        Raises
        ------
        TrialError
            If the log doesn't reach `epochs_done`: it is damaged, and the checkpoint's history is lost. Or if this training has
            logged a later one: its clock and log would begin anew.
        """
        if self._begun and self.history and epochs_done < self.history[-1]["epoch"]:
            raise TrialError(
                f"run.begin() was called again, after evaluation {self.history[-1]['epoch']}.",
                "Call it once, right before the first step: its clock and log would begin anew.",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = [e for e in self._logged() if e["epoch"] <= epochs_done] if epochs_done else []
        self.history = [self._in_seconds_of_this_machine(e) for e in kept if "stage" not in e]
        self.taken = {e["stage"]: e["epoch"] for e in kept if "stage" in e}
        if epochs_done and (not self.history or self.history[-1]["epoch"] < epochs_done):
            raise TrialError(f"{self._file} is damaged: it doesn't hold evaluation {epochs_done}, which the checkpoint follows.")
        self._chain = ""
        content = b"".join(map(self._line, kept))
        self._size = len(content)
        write_file(self._file, content)
        last = self.history[-1] if self.history else {"seconds": 0.0}
        self._before = last["seconds"], last.get("core_seconds", 0.0)
        updates = last.get("updates") if self.history else 0
        self._looked = (None if updates is None else int(updates), self._clock_share())
        self._over = (self._looked[0], last["over"], True) if "over" in last else None
        self._asked, self._told = False, 0
        self._begun, self._since = True, _clocks()

    def log(self, epoch: int, *, loss: float, notes: int, **values: float) -> None:
        """Record an evaluation: an epoch, or a share of a budget in updates, notes or seconds. Call it before its checkpoint.

        Parameters
        ----------
        epoch : int
            Number of the evaluation, counted from 1; each is higher than the one before.
        loss : float
            Training loss; nats per note for a likelihood.
        notes : int
            Notes trained on since the one before.
        **values : float
            Whatever else is worth logging. The report plots ``validation_bits`` (bits per note) and ``learning_rate``, against
            ``updates`` and ``passes`` (over the training notes) so far where they are given.

        Raises
        ------
        TrialError
            If the budget is 0 epochs, or the clock wasn't started by :meth:`begin`; if `epoch` is below 1, or was logged before;
            if `notes`, ``updates`` or ``share`` are no number of them, ``validation_bits`` is below 0, or a value has the
            engine's own name; after 32 MiB, some 200,000 evaluations.
        """
        if self.budget.untrained:
            raise TrialError(
                "run.log() was called, but the budget is 0 epochs: the row is the network with its initial weights.",
                "Return from fit() before any training where run.budget.untrained is true.",
            )
        if not self._begun:
            raise TrialError("run.log() was called before run.begin().", "Call run.begin() right before the first step.")
        if own := sorted(_OWN & values.keys()):
            raise TrialError(f"run.log() was called with {own[0]}, which the engine logs itself.", "Give the value another name.")
        if not 0 <= values.get("updates", 0) <= _MOST:
            raise TrialError(f"run.log() was called with {values['updates']} updates.", "Give the number of updates made so far.")
        # A loop may ask for the share that one more update would be.
        made = max([int(entry.get("updates", 0)) for entry in self.history[-1:]] + [self._told - 1])
        if "updates" in values and values["updates"] < made:
            raise TrialError(
                f"run.log() was called with {values['updates']} updates, after {max(made, self._told)} had been told.",
                "Give the number of updates made so far, not since the last time.",
            )
        if not 0 <= values.get("share", 0.0) <= _MOST:
            raise TrialError(f"run.log() was called with a share of {values['share']}.", "Give run.share(...).")
        if not 0 <= notes <= _MOST:
            raise TrialError(
                f"run.log() was called with {notes} notes.", "Give the number of notes trained on since the last time."
            )
        if values.get("validation_bits", 0.0) < -_ROUNDING:  # a search would choose by it
            raise TrialError(
                f"run.log() was called with validation_bits {values['validation_bits']:.3g}: no note costs fewer than 0 bits.",
                "Give the negative of the mean log2 probability of a note.",
            )
        last = self.history[-1]["epoch"] if self.history else 0
        if not epoch > last:
            raise TrialError(
                f"run.log() was called with epoch {epoch} after epoch {last}.",
                "Epochs count from 1 and rise; begin(epochs_done) tells where a resumed training continues.",
            )
        _started.look()  # what workers had until now
        times = {"seconds": self.seconds, "core_seconds": self.core_seconds}
        entry = {"epoch": int(epoch), **times, "loss": float(loss), "notes": int(notes)}
        entry |= {k: float(v) for k, v in values.items()}
        if self.budget.seconds is not None and (over := self._over_at(entry)) is not None:
            entry["over"] = over
        # A training that diverges may log anything; what no figure can show counts as infinite.
        entry = {k: math.copysign(math.inf, v) if abs(v) > _MOST else v for k, v in entry.items()}
        self._append(entry)
        self.history.append(entry)
        self._emit({**entry, "event": "epoch", "epochs": len(self.budget.shares), "in_epochs": self.budget.in_epochs})

    def share(self, *, updates: int | None = None, notes: int = 0, passes: float = 0.0) -> float:
        """Share of the budget that is used, 1 at its end.

        Parameters
        ----------
        updates, notes : int
        passes : float
            Updates made, notes trained on and passes over the training notes so far; only what the budget is in counts. Of one in
            seconds the updates tell whether more than the last one went beyond its end.
        """
        budget = self.budget
        self._told = max(self._told, updates or 0)
        if budget.updates is not None:
            return (updates or 0) / budget.updates
        if budget.notes is not None:
            return notes / budget.notes
        if budget.seconds is None:
            return passes / max(budget.epochs, 1)
        share, self._asked = self._clock_share(), True
        self._look(share, updates, _difference(updates, self._looked[0]))
        return share

    def _clock_share(self) -> float:
        """Share of a budget in seconds by the clock, 0 with another budget."""
        spent = self.seconds if self.device == "cuda" else self.core_seconds
        return 0.0 if self.budget.seconds is None else spent / self.budget.seconds

    def _look(self, share: float, updates: int | None, since: int | None) -> None:
        """Note how far a training is, `since` so many updates, and what it had used when the budget was first seen to be used."""
        if share >= 1 and self._over is None:
            # The last update, or an evaluation, may end behind the end: how long they take beside the budget is the machine's.
            self._over = updates, without_last(self._looked[1], share, since), False
        self._looked = updates, share

    def _over_at(self, entry: Mapping[str, Any]) -> float | None:
        """Share that was used at an evaluation, without what may end behind the end; None before that."""
        share, updates = self._clock_share(), None if "updates" not in entry else int(entry["updates"])
        since = _difference(updates, self._looked[0])
        # Where nobody tells the updates: an evaluation alone, after the share was asked for; or a row that counts, in one pass.
        counts = not (self.history or self._asked) and entry.get("share", 1.0) <= 1
        if since is None and (counts or (self._asked and self._looked[1] >= _NEARLY)):
            since = 1
        self._asked = False
        self._look(share, updates, since)
        if self._over is None:
            return None
        at, used, logged = self._over
        if logged if updates is None or at is None else updates > at:  # it went on
            used = share
        self._over = at, used, True
        return used

    def stage(self, share: float) -> None:
        """Let the engine take a result at a share of the budget that is among its `stages`: it generates and scores.

        Each is taken once. Call it after :meth:`log` and before the checkpoint, with the weights in place that the training would
        end with, if it ended there: only a model whose learning rate doesn't depend on the budget's end can. The training clock
        stands still.

        Raises
        ------
        TrialError
            If the evaluation was not logged with its number of ``updates``, or was before that share.
        """
        if share not in self.budget.stages or share in self.taken:
            return
        last = self.history[-1] if self.history else {}
        if "updates" not in last:
            raise TrialError(f"run.stage({share}) needs the number of updates.", "Call run.log(..., updates=...) before it.")
        reached = last.get("share", share if self.budget.updates is None else last["updates"] / self.budget.updates)
        if reached < share - 1e-9:
            raise TrialError(f"run.stage({share}) was called at {reached:.4g} of the budget.", "Train on until its share.")
        with self.paused():
            self._take(share)
            self.taken[share] = last["epoch"]
            self._append({"epoch": last["epoch"], "stage": share})

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the training clock for what is no part of a training, such as writing a checkpoint."""
        _started.look()
        running = self._since is not None  # else it stands already, for a block around this one
        self._before, self._since = (self.seconds, self.core_seconds), None
        try:
            yield
        finally:
            self._since = _clocks() if running else None

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = self._line(entry)
        self._size += len(line)
        if self._size > MOST_LOG:
            raise TrialError(
                f"run.log() was called with evaluation {entry['epoch']}, and {MOST_LOG >> 20} MiB are logged already.",
                "Log evaluations, such as those at run.budget.shares, not each update.",
            )
        with open_log(self._file) as out:
            out.write(line)
            # On disk before the checkpoint that follows: a power cut must not leave a checkpoint ahead of its history.
            out.flush()
            os.fsync(out.fileno())

    def _in_seconds_of_this_machine(self, entry: dict[str, Any]) -> dict[str, Any]:
        then = entry.pop(_YARDSTICK, None)
        if then is not None and self.yardstick is not None:
            entry["core_seconds"] *= self.yardstick / then
        return entry

    def _line(self, entry: Mapping[str, Any]) -> bytes:
        """Write the next line of the history: JSON with a checksum of it and of all lines before."""
        if "core_seconds" in entry and self.yardstick is not None:
            entry = {**entry, _YARDSTICK: self.yardstick}
        line = chained(json.dumps(entry), self._chain)
        self._chain = line
        return f"{line}\n".encode()

    @property
    def seconds(self) -> float:
        """Training seconds so far, including those before a kill."""
        return self._before[0] + (0.0 if self._since is None else time.perf_counter() - self._since[0])

    @property
    def core_seconds(self) -> float:
        """Processor time of the training so far, of all its threads and processes: it is the same beside other work."""
        if self._since is None:
            return self._before[1]
        _, own, others = self._since
        return self._before[1] + (time.process_time() - own) + (_started.seconds() - others)

    @property
    def out_of_time(self) -> bool:
        """Whether the budget's time limit is exceeded."""
        return self.budget.max_seconds is not None and self.seconds >= self.budget.max_seconds

    @property
    def _file(self) -> Path:
        return self.folder / "history.jsonl"

    def _logged(self) -> list[dict[str, Any]]:
        """Read evaluations and results taken, up to the first line that is incomplete or not what was written."""
        entries: list[dict[str, Any]] = []
        chain = ""
        for line in read_file(self._file, MOST_RECORD).decode(errors="replace").splitlines() if self._file.exists() else ():
            content, mark, _ = line.rpartition(_CHECK)
            if not mark or chained(content + "}", chain) != line:
                break
            chain = line
            try:
                entry = json.loads(content + "}")
            except (ValueError, RecursionError):
                break
            if not _is_evaluation(entry):
                break
            entries.append(entry)
        return entries


def seed_for(*names: object) -> int:
    """Seed below 2**31 for one axis of randomness, hashed from the names that identify it.

    >>> seed_for("generate", "lstm", 0)
    1083589080
    """
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


#: Bytes of a training's log: it is part of the outcome, and sent as events, which may be twice as much.
MOST_LOG = 1 << 25

#: Share of a budget in seconds at which what follows may be the last update and evaluation, where nobody tells the updates.
_NEARLY = 0.9

#: Greatest value of a log that is kept.
_MOST = 1e15

#: By how much the bits of a model that is certain of every note may be below 0.
_ROUNDING = 1e-3

#: Between an evaluation's values in history.jsonl and its checksum, the last of them.
_CHECK = ', "sha256": "'


def without_last(before: float, now: float, updates: int | None) -> float:
    """Share of a budget that was used before the last of the `updates` between two shares; `now` if nobody knows their number.

    >>> without_last(0.75, 1.25, 1), without_last(0.75, 1.25, 10), without_last(0.75, 1.25, None)
    (0.75, 1.2, 1.25)
    """
    return now if updates is None else now - (now - before) / max(updates, 1)


def _difference(updates: int | None, before: int | None) -> int | None:
    return None if updates is None or before is None else max(0, updates - before)


def _is_evaluation(entry: Any) -> bool:
    """Whether a line's value has what :meth:`Run.log` or :meth:`Run.stage` writes, and counts and times that can be."""
    if not isinstance(entry, dict) or type(entry.get("epoch")) is not int:
        return False
    if "stage" in entry:
        return isinstance(entry["stage"], float)
    numbers = [entry.get("seconds"), entry.get("core_seconds", 0.0), entry.get("notes"), entry.get(_YARDSTICK, 1.0)]
    counts = all(type(n) in (int, float) and 0 <= n < 1e15 for n in numbers)
    return counts and isinstance(entry.get("loss"), float) and numbers[-1] > 0


def chained(text: str, before: str) -> str:
    """Add to a line of JSON a checksum of it and of the line `before`: none can be changed, left out or lost unseen."""
    return f'{text[:-1]}{_CHECK}{hashlib.sha256((before + text).encode()).hexdigest()[:16]}"}}'


#: In history.jsonl alone, beside an evaluation's processor time: the yardstick of the machine that it ran on.
_YARDSTICK = "yardstick"

#: Names in the log that the engine gives.
_OWN = frozenset({"seconds", "core_seconds", "fold", "stage", "over", _YARDSTICK})

_started = StartedTime()


def _clocks() -> tuple[float, float, float]:
    """Wall clock, processor time of this process, and of those that it started, seconds; all as of now."""
    _started.look()
    return time.perf_counter(), time.process_time(), _started.seconds()
