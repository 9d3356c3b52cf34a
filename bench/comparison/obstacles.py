"""Why a value of a row can't be compared between two runs, in a few words for its cell."""

from __future__ import annotations

from collections.abc import Iterator

from bench.comparison.runs import Run
from bench.gate.baseline import Series
from bench.gate.compare import JUDGED
from bench.metrics import METRICS, Metric
from bench.scoring.table import TO_TARGET, Row, by_classes

#: Groups of metrics of all held-out music, be they of pieces or, as a sum over all events, of complete trainings.
_OF_ALL_HELD_OUT = ("likelihood", "prediction")


def obstacle(metric: Metric, system: str, before: Run, now: Run) -> str:
    """Return the first reason why the values of a row that both runs have can't be compared; empty if they can."""
    return next(_obstacles(metric, system, before, now), "")


def _obstacles(metric: Metric, system: str, before: Run, now: Run) -> Iterator[str]:
    old, new = before.rows[system], now.rows[system]
    if old.kind != new.kind:
        yield f"{new.kind}, was {old.kind}"
    if new.kind not in JUDGED:
        yield f"{new.kind} rows are not tested"
    if metric.clocked and new.kind != "model":
        yield "only times of models are tested"
    sides = [(run, run.baseline.systems[system]) for run in (before, now)]
    beyond = [(run, side) for run, side in sides if side.beyond_budget]
    if len(beyond) == 1:
        ((run, side),) = beyond
        yield f"{side.exceeded:.3g} times the budget in {run.letter}"
    one, other = (side.metrics.get(metric.id) for _, side in sides)
    for run, series in ((before, one), (now, other)):
        if series is None:
            yield f"no value in {run.letter}"
    assert one is not None
    assert other is not None
    if one.over != other.over:
        yield f"over {other.over}, was over {one.over}"
    yield from _of_music(metric, one, other, before, now, old.absent == new.absent)
    # Of the trials, as files of another system may be more or fewer than the spec's.
    samples = [row.trials[0].trial.protocol.samples for row in (old, new)]
    if one.over == "seeds" and metric.name != "parameters" and samples[0] != samples[1]:
        yield "another protocol.samples"
    if metric.clocked or metric.machine_bound:
        yield from _of_machine(old, new, before, now)
    if metric.name == TO_TARGET and before.record.spec.get("target") != now.record.spec.get("target"):
        yield "another target"
    if by_classes(metric.name) and old.classes != new.classes:
        yield "other classes"
    if metric.group == "harmony" and before.baseline.plan_of(system) != now.baseline.plan_of(system):
        yield "another chord plan"
    if _undecided(metric, old, new):
        yield "upper bound"


def _of_music(metric: Metric, one: Series, other: Series, before: Run, now: Run, same_lack: bool) -> Iterator[str]:
    """Reasons in the music and the protocol, by what the values belong to; of a row some pieces may lack."""
    protocols = before.record.spec["protocol"], now.record.spec["protocol"]
    if (one.over == "held-out pieces" or metric.group in _OF_ALL_HELD_OUT) and not same_test_split(before, now):
        yield "other held-out pieces"
    if one.over == "held-out pieces":
        if one.weights != other.weights:
            yield "other counts of notes or predictions"
    elif one.over == "pieces":
        if not set(before.pieces) & set(now.pieces):
            yield "other pieces"
        if protocols[0].get("seconds") != protocols[1].get("seconds"):
            yield "another protocol.seconds"
    elif metric.name != "parameters" and not (
        before.pieces == now.pieces and same_lack
    ):  # even a training's memory is that of its music
        yield "other pieces"


def _of_machine(old: Row, new: Row, before: Run, now: Run) -> Iterator[str]:
    """Reasons in the machines: a time of one kind of machine says nothing of another's."""
    kinds = before.machines(old), now.machines(new)
    for run, row, kind in ((before, old, kinds[0]), (now, new, kinds[1])):
        if len(kind) > 1:
            yield f"several machines in {run.letter}"
        if any(not machine.processor or not machine.threads for machine in kind):
            yield f"machine not recorded in {run.letter}"
        if run.shares_gpu(row):
            yield f"shared GPU in {run.letter}"
    (one,), (other,) = kinds
    for what, was, is_now in zip(("processor", "number of threads", "GPU"), one, other, strict=True):
        if was != is_now:
            yield f"another {what}"


def same_test_split(before: Run, now: Run) -> bool:
    """Whether complete held-out pieces have the same numbers in both runs, as far as is known.

    The pieces that are continued may be a selection, and differ; the likelihood is of all.
    """
    sizes = [(run.record.dataset.pieces.get("test"), run.record.dataset.notes.get("test")) for run in (before, now)]
    folds = [run.record.dataset.folds for run in (before, now)]
    parsed = [run.record.dataset.parsed for run in (before, now)]
    same_music = (parsed[0] == parsed[1] and bool(parsed[0])) or before.pieces == now.pieces
    return same_music and sizes[0] == sizes[1] and folds[0] == folds[1]


def _undecided(metric: Metric, old: Row, new: Row) -> bool:
    """Whether the larger of both values, or each, is an upper bound of the true one: the true order is not known."""
    bounds = old.bounded(metric.name), new.bounded(metric.name)
    was, is_now = old.cells[metric.name].value or 0.0, new.cells[metric.name].value or 0.0
    return METRICS[metric.name].better is not None and (
        all(bounds) or (bounds[0] and was >= is_now) or (bounds[1] and is_now >= was)
    )
