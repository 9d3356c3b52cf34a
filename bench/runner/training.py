"""A trial's training in the worker: its number of resumptions, and its summary for the outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

from bench.api import Budget, Run
from bench.api.training import without_last
from bench.errors import DataError, TrialError
from bench.specs.schema import BudgetChoice
from bench.storage.outcome import Stage, Training
from bench.storage.run_folder import samples_file
from bench.storage.samples import read_samples
from bench.system.disk import MOST_RECORD, read_sealed, write_sealed
from bench.system.speed import STANDARD

#: Seconds, and share of a training, that its end may take after the last evaluation, such as to load the best weights.
_ENDING, _ENDING_SHARE = 5.0, 0.1


def rate(notes: int, seconds: float) -> float | None:
    """Compute notes per second; None if nothing was timed.

    Examples
    --------
    >>> rate(100, 4.0)
    25.0
    """
    return notes / seconds if notes and seconds > 0 else None


def limits(choice: BudgetChoice, device: str, yardstick: float | None) -> Budget:
    """Translate a spec's budget to that of a training.

    Parameters
    ----------
    choice : BudgetChoice
    device : {"cpu", "cuda"}
    yardstick : float or None
        Seconds of processor time of the yardstick on this machine, for a budget in yardstick-seconds that no number of updates
        stands for.

    Examples
    --------
    >>> from bench.specs.schema import Compute
    >>> choice = BudgetChoice(compute=Compute(seconds=20))
    >>> limits(choice, "cpu", yardstick=0.05).seconds, limits(choice.model_copy(update={"updates": 600}), "cpu", 0.05).updates
    (10.0, 600)
    """
    if choice.compute is None:
        return Budget(choice.epochs, choice.patience, choice.max_seconds)
    updates, notes, seconds = choice.compute.updates, choice.compute.notes, choice.compute.seconds
    if seconds is not None and choice.updates is not None:
        updates, seconds = choice.updates, None
    if seconds is not None and device == "cpu" and yardstick is not None:
        seconds *= yardstick / STANDARD
    shared = (updates, notes, seconds, choice.evaluations, choice.stages)
    return Budget(choice.epochs, choice.patience, choice.max_seconds, *shared)


class TrainingRun(Run):
    """A Run that counts how often this training resumed from a checkpoint; the count is kept on disk.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from bench.api import Budget
    >>> run = TrainingRun(seed=0, budget=Budget(epochs=1), folder=Path(mkdtemp()))
    >>> run.begin()
    >>> run.log(1, loss=2.0, notes=100, validation_bits=9.5)
    >>> summary = run.summary(wall=0.0)
    >>> summary.epochs, summary.stopped, summary.best_validation_bits
    (1, 'budget', 9.5)
    """

    #: Notes of one pass over the training pieces; 0 if unknown.
    training_notes = 0
    #: Number of evaluations that this process has logged.
    epochs_logged = 0
    #: Seconds of `fit` before :meth:`begin`, which no budget counts; None without.
    seconds_before: float | None = None

    def __post_init__(self, emit: Callable[[dict[str, Any]], None] | None, take: Callable[[float], None] | None) -> None:
        super().__post_init__(emit, take)
        self._made = time.perf_counter()

    def log(self, epoch: int, *, loss: float, notes: int, **values: float) -> None:
        """Record an epoch; see :meth:`bench.api.Run.log`."""
        super().log(epoch, loss=loss, notes=notes, **values)
        self.epochs_logged += 1

    def begin(self, epochs_done: int = 0) -> None:
        """Start the training clock; see :meth:`bench.api.Run.begin`."""
        if self.seconds_before is None:
            self.seconds_before = time.perf_counter() - self._made
        super().begin(epochs_done)
        self._check_stages()
        if epochs_done > 0:
            write_sealed(self.folder / "resumed", f"{self.resumed + 1}\n".encode())

    def _check_stages(self) -> None:
        """Refuse to resume behind a stage whose result is missing or damaged: only a training from the start takes it again."""
        for share in self.taken:
            try:
                read_samples(samples_file(self.folder.parent, share))
            except DataError as error:
                raise TrialError(f"The result at {share:.4g} of the budget is lost: {error.message}") from error

    @property
    def resumed(self) -> int:
        """Number of times that it resumed from a checkpoint."""
        try:
            return int(read_sealed(self.folder / "resumed", MOST_RECORD))
        except (OSError, ValueError):
            return 0

    def summary(self, wall: float, joules: float | None = None) -> Training:
        """Summarize the training for the outcome.

        Parameters
        ----------
        wall : float
            Seconds that `fit` took, which is the training time of a model that logs no epoch.
        joules : float, optional
            Energy of the GPU during `fit`. Of a training that resumed nobody counted that of its beginning.
        """
        history, (after, core_after) = self.history, self._after_the_last()
        seconds = float(history[-1]["seconds"]) + after if history else wall
        notes = sum(int(e["notes"]) for e in history)
        scores = [(e["validation_bits"], e["epoch"]) for e in history if math.isfinite(e.get("validation_bits", math.nan))]
        best_bits, best_epoch = min(scores, default=(None, None))
        updates = history[-1].get("updates") if history else None
        return Training(
            seconds=seconds,
            epochs=self._passes(notes),
            notes=notes,
            updates=None if updates is None else int(updates),
            notes_per_second=rate(notes, seconds),
            core_seconds=history[-1]["core_seconds"] + core_after if history and "core_seconds" in history[-1] else None,
            joules=None if self.resumed else joules,
            best_epoch=best_epoch,
            best_validation_bits=best_bits,
            stopped=self._stopped(),
            resumed=self.resumed,
            share=self._used(),
            history=tuple(history),
        )

    def _passes(self, notes: int) -> float:
        """Count passes over the training pieces: as logged, else by the notes; of a model that knows epochs only, its epochs."""
        last = self.history[-1] if self.history else {"passes": 0}
        if "passes" in last:
            return float(last["passes"])
        in_epochs = self.budget.in_epochs or "share" not in last
        return len(self.history) if in_epochs or not self.training_notes else notes / self.training_notes

    def _after_the_last(self) -> tuple[float, float]:
        """Training and processor seconds since the last evaluation, if that is more than what ends a training, else 0."""
        if not self.history:
            return 0.0, 0.0
        last = self.history[-1]
        after, core_after = self.seconds - last["seconds"], self.core_seconds - last.get("core_seconds", 0.0)
        spent = after if self.device == "cuda" else core_after
        if spent <= max(_ENDING, _ENDING_SHARE * last["seconds"]):
            return 0.0, 0.0
        return after, core_after

    def stages(self) -> tuple[Stage, ...]:
        """Results at shares of the budget that were taken, by this process or before a kill: one is taken where it was logged."""
        stages = []
        for share in sorted(self.taken):
            place = next(i for i, entry in enumerate(self.history) if entry["epoch"] == self.taken[share])
            notes, last = sum(int(e["notes"]) for e in self.history[: place + 1]), self.history[place]
            stages.append(Stage(share=share, updates=int(last["updates"]), notes=notes, seconds=last["seconds"]))
        return tuple(stages)

    def _used(self) -> float | None:
        """Share of the budget that training used, without the update and evaluation that ended it; None if none was logged.

        Of a budget in seconds, what came after the last evaluation is a part of it.
        """
        last, budget = self.history[-1] if self.history else {}, self.budget
        if budget.in_epochs or "share" not in last:
            return None
        share, updates = float(last["share"]), last.get("updates")
        if budget.updates is not None:
            return float(max(share, (updates or 0) / budget.updates))
        if budget.notes is not None:
            if updates is None and len(self.history) == 1:  # such as of a row that counts: one pass, whatever the budget
                return share
            earlier = sum(entry["notes"] for entry in self.history[:-1]) / budget.notes
            share = max(share, earlier + last["notes"] / budget.notes)
            made = self.history[-2].get("updates") if self.history[:-1] else 0
            number = None if updates is None or made is None else int(updates - made)
            return float(max(min(share, 1.0), without_last(earlier, share, number)))
        used = float(max(min(share, 1.0), last["over"])) if "over" in last else share
        after, core_after = self._after_the_last()
        return used + (after if self.device == "cuda" else core_after) / (budget.seconds or math.inf)

    def _stopped(self) -> Literal["budget", "early", "clock", "untrained"]:
        last = self.history[-1]["epoch"] if self.history else 0
        if self.budget.untrained:
            return "untrained"
        if not self.history or last >= len(self.budget.shares) or self.history[-1].get("share", 0.0) >= 1 - 1e-9:
            return "budget"
        spent = self.history[-1]["seconds"]
        return "clock" if self.budget.max_seconds is not None and spent >= self.budget.max_seconds else "early"
