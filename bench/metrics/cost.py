"""Cost: time, speed, memory and size of a system, from what its trials stored.

Only trials that ended count: the cost of half a training is not that of a training. Times are wall-clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.metrics.metric import Metric, Undefined, Value
from bench.storage.outcome import Done, Epoch
from bench.system.gpu import BF16_PEAKS
from bench.system.speed import STANDARD

MIB = 2**20

SOURCE = "this suite"

METRICS = (
    Metric(
        "training_seconds",
        "Training time",
        "s",
        "lower",
        "Wall-clock from the first to the last training step, validation included, imports and data loading not.",
        "Mon 2025, Table 2",
        1,
        group="cost",
        tolerance="35%",
        format="duration",
        clocked=True,
    ),
    Metric(
        "training_yardsticks",
        "Compute",
        "yardstick-s",
        "lower",
        "Processor time of the training, as on a machine that needs 0.1 s of it for a fixed workload.",
        SOURCE,
        1,
        group="cost",
        tolerance="off",
        machine_bound=True,
    ),
    Metric(
        "updates",
        "Updates",
        "updates",
        None,
        "Updates of the weights until training stopped.",
        SOURCE,
        0,
        group="cost",
        tolerance="off",
        format="short",
        seed_sd=False,
    ),
    Metric(
        "epochs",
        "Epochs",
        "epochs",
        None,
        "Passes over the training pieces until training stopped; the suite's networks draw windows that cover each piece and "
        "fill the last batch, so a pass may hold more notes than the pieces.",
        SOURCE,
        1,
        group="cost",
        tolerance="off",
        format="short",
        seed_sd=False,
    ),
    Metric(
        "training_notes_per_second",
        "Training speed",
        "notes/s",
        "higher",
        "Notes trained on a second of training; padding doesn't count, a note drawn again does.",
        SOURCE,
        0,
        group="cost",
        tolerance="25%",
        format="count",
        seed_sd=False,
        clocked=True,
    ),
    Metric(
        "mfu",
        "MFU",
        "%",
        "higher",
        "Share of the GPU's peak rate of products in bfloat16 that training used: the operations that the model needs for the "
        "notes trained on (6 a weight and note, and attention within reach), over the training time, validation included.",
        "Chowdhery et al. 2022 (PaLM), appendix B",
        1,
        group="cost",
        tolerance="off",
        seed_sd=False,
        machine_bound=True,
    ),
    Metric(
        "seconds_to_target",
        "Time to target",
        "s",
        "lower",
        "Training seconds until the first evaluation with validation bits per note at or below the spec's target.",
        "after MLPerf's time to quality (Mattson et al. 2020)",
        1,
        group="cost",
        tolerance="75%",
        format="duration",
        clocked=True,
        every_seed=True,
    ),
    Metric(
        "generation_notes_per_second",
        "Generation speed",
        "notes/s",
        "higher",
        "Notes generated a second, all prompts of a trial as one batch.",
        SOURCE,
        0,
        group="cost",
        tolerance="25%",
        format="count",
        seed_sd=False,
        clocked=True,
    ),
    Metric(
        "peak_memory",
        "Peak memory",
        "MiB",
        "lower",
        "Largest resident memory of the trial's process.",
        SOURCE,
        0,
        group="cost",
        tolerance="25%",
        format="memory",
        seed_sd=False,
    ),
    Metric(
        "peak_gpu_memory",
        "Peak GPU memory",
        "MiB",
        "lower",
        "Most GPU memory of tensors in a training's updates, not in validation, scoring and generation; if untrained, of the "
        "network's weights.",
        SOURCE,
        0,
        group="cost",
        tolerance="25%",
        format="memory",
        seed_sd=False,
    ),
    Metric(
        "gpu_energy",
        "GPU energy",
        "J",
        "lower",
        "Energy that the GPU used from the start of a training to its end, by its own counter, with compilation, validation and "
        "results at stages; only where the trial had the GPU to itself and was not resumed.",
        SOURCE,
        0,
        group="cost",
        tolerance="off",
        format="count",
        seed_sd=False,
        machine_bound=True,
    ),
    Metric(
        "parameters",
        "Parameters",
        "",
        None,
        "Trained numbers; of a count table, its free probabilities.",
        SOURCE,
        0,
        group="cost",
        tolerance="off",
        format="integer",
        seed_sd=False,
    ),
)


def seconds_to_target(history: Sequence[Epoch], target: float | None) -> Value:
    """Training seconds at the first evaluation whose ``validation_bits`` is at or below `target`.

    With folds the mean over them; undefined where one never reached it, or the mean would be over the quick ones alone.

    >>> seconds_to_target([{"seconds": 10.0, "validation_bits": 19.0}, {"seconds": 20.0, "validation_bits": 18.0}], target=18.5)
    20.0
    """
    if target is None:
        return Undefined("the spec sets no target")
    logged: dict[int, list[tuple[float, float]]] = {}
    for entry in history:
        if entry.get("validation_bits") is not None:
            logged.setdefault(entry.get("fold", 0), []).append((entry["seconds"], entry["validation_bits"]))
    if not logged:
        return Undefined("no validation bits were logged")
    firsts = [next((float(seconds) for seconds, bits in points if bits <= target), None) for points in logged.values()]
    reached = [seconds for seconds in firsts if seconds is not None]
    if len(reached) < len(firsts):
        return Undefined(
            "the target was not reached" + (f" in {len(firsts) - len(reached)} of {len(firsts)} folds" if len(firsts) > 1 else "")
        )
    return math.fsum(reached) / len(reached)


def evaluate(outcome: Done, target: float | None = None, *, trains: bool = True) -> dict[str, Value]:
    """Compute every metric of this module from the outcome of a trial that ended well.

    Parameters
    ----------
    outcome : Done
    target : float, optional
        Validation bits per note that counts as reached.
    trains : bool
        False for a reference row, an untrained network and a pretrained model: none has a training.
    """
    training, memory = outcome.training, outcome.memory
    elsewhere = Undefined("it was trained elsewhere")
    trained: dict[str, Value] = {
        "training_seconds": elsewhere if training.seconds is None else float(training.seconds),
        "training_yardsticks": elsewhere if training.seconds is None else _yardsticks(outcome),
        "updates": elsewhere if training.seconds is None else _measured(training.updates, "the model doesn't count them"),
        "epochs": elsewhere if training.epochs is None else float(training.epochs),
        "training_notes_per_second": _measured(training.notes_per_second, "it was not trained"),
        "mfu": utilization(outcome),
        "seconds_to_target": seconds_to_target(training.history, target),
        "gpu_energy": _measured(training.joules, "it was not measured"),
    }
    return {
        **(trained if trains else dict.fromkeys(trained, Undefined("it is not trained"))),
        "generation_notes_per_second": _measured(outcome.generation.notes_per_second, "it was not measured"),
        "peak_memory": _measured(memory.peak_bytes, "it was not measured", MIB),
        "peak_gpu_memory": _measured(memory.peak_gpu_bytes, "no GPU was used", MIB),
        "parameters": _measured(outcome.facts.get("parameters"), "the model states none"),
    }


def utilization(outcome: Done) -> Value:
    """Percent of its GPU's peak rate that a training used: model FLOPs utilization.

    Examples
    --------
    >>> from bench.storage.outcome import Generation, Memory, Training
    >>> outcome = Done(
    ...     status="done", key="k", trial={"device": "cuda"}, provenance={"device": "NVIDIA H100 80GB HBM3"},
    ...     training=Training(notes_per_second=1e6), generation=Generation(), likelihood=None, memory=Memory(),
    ...     facts={"flops_per_note": 98.9e6},
    ... )
    >>> utilization(outcome)
    10.0
    """
    if outcome.trial.get("device") != "cuda":
        return Undefined("no GPU was used")
    if outcome.provenance.get("shares_gpu"):
        return Undefined("other trials used the GPU at the same time")
    needed, speed = outcome.facts.get("flops_per_note"), outcome.training.notes_per_second
    peak = BF16_PEAKS.get(str(outcome.provenance.get("device")))
    if not needed or not speed:
        return Undefined("the model doesn't state its operations")
    return Undefined("the peak rate of this GPU is not known") if peak is None else 100 * needed * speed / peak


def yardsticks_per_second(outcome: Done) -> Value:
    """Yardstick-seconds in a second of processor time on the trial's machine."""
    if outcome.trial.get("device") == "cuda":
        return Undefined("the yardstick measures a CPU, it was trained on a GPU")
    speed = outcome.yardstick
    return Undefined("no yardstick was timed beside it") if speed is None or speed.core is None else STANDARD / speed.core


def _yardsticks(outcome: Done) -> Value:
    scale, spent = yardsticks_per_second(outcome), outcome.training.core_seconds
    if isinstance(scale, Undefined):
        return scale
    return Undefined("no processor time was measured") if spent is None else spent * scale


def _measured(value: float | None, reason: str, unit: int = 1) -> Value:
    return value / unit if value else Undefined(reason)
