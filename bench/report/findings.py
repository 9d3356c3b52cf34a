"""Findings of a report, computed from its rows: what its sentences say beyond its tables. ``notes.j2`` has the sentences.

What may be missing is a list with one text or none, so that a template writes its sentence with one `for`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.api import FIELDS
from bench.formatting import listed, mebibytes, plural
from bench.metrics import HEADLINE, METRICS
from bench.report.contents import NGRAM, Report
from bench.report.melodies import melody_groups
from bench.report.numbers import number_text, size_text
from bench.report.provenance import MIB, done, ran
from bench.scoring.grid_search import Search
from bench.scoring.table import CODEC, MEDIAN, REAL, Row


@dataclass(frozen=True)
class Split:
    """How the pieces are held out in turn: numbers of pieces, each a range where folds differ."""

    pieces: int
    notes: int
    held_out: int
    folds: int
    method: str
    train: str
    validation: str
    test: str


#: Notes of a target that a training piece has in a row by chance, at most.
FEWEST_KNOWN = 24

#: Greatest difference of two pitches, or velocities.
MOST_DIFFERENCE = 127


def folds(report: Report) -> Split:
    """Split of a run with folds."""
    dataset = report.dataset
    stored = dataset.folds
    assert stored is not None, "the run has no folds"
    pieces = dataset.pieces["test"]
    test, validation = [len(fold.test) for fold in stored.folds], [len(fold.validation) for fold in stored.folds]
    train = [pieces - t - v for t, v in zip(test, validation, strict=True)]
    method = "leave-one-out" if stored.asked == "leave-one-out" else "cross-validation"
    spans = (_span(train), _span(validation), _span(test))
    return Split(pieces, dataset.notes["test"], sum(test), len(test), method, *spans)


def machine(report: Report) -> str:
    """Processor, cores and memory; only kinds of processor where trials ran on another machine's."""
    stored = report.run.provenance.machine
    if (processors := {processor for row in report.table.rows for processor in row.processors}) - {stored.cpu}:
        return listed(sorted(processors))
    return f"{stored.cpu} ({plural(stored.cores or 0, 'core')}, {mebibytes((stored.memory_bytes or 0) / MIB)})"


def gpus(report: Report) -> list[str]:
    """Devices that models ran on, other than the processor."""
    return sorted({machine.gpu for row in _models(report) for machine in row.machines if machine.gpu})


def of_one_training(report: Report) -> str:
    """Say of which rows intervals are for other pieces alone, as their files are of one training."""
    received = [row.system for row in report.table.rows if row.external and row.done]
    return f"; of {listed(received)}, whose files are of one training, for other pieces alone" if received else ""


def other_samples(report: Report) -> list[str]:
    """Rows with another number of samples a piece than the protocol's, as of another system's files, each with its number."""
    asked = report.spec["protocol"].get("samples", 1)
    numbers = {row.system: row.trials[0].trial.protocol.samples for row in report.table.rows}
    other = [f"{system} {number}" for system, number in numbers.items() if number != asked]
    return [listed(other)] if other else []


def constant_wins(report: Report) -> Iterator[tuple[str, str, str, str, str, bool]]:
    """Distances at which the row median is below every model: title, its value, the models, the best, its value, significance.

    Models that were trained elsewhere, perhaps on these pieces, don't count beside others.
    """
    for metric in HEADLINE:
        standing = report.standings[metric]
        models = [row for row in _models(report) if row.system in standing.known and row.system not in standing.elsewhere]
        # A mean over fewer pieces is no best. Whether the constant is below such a row, the pieces that both have say.
        ranked = [(_value(row, metric), row.system) for row in models if row.system not in standing.partial]
        if MEDIAN not in standing.known or not ranked:
            continue
        if all(standing.difference(MEDIAN, row.system) < 0 for row in models):
            value, best = min(ranked, key=lambda item: item[0])
            constant = number_text(metric, _value(standing.known[MEDIAN], metric))
            significant = all(standing.better(MEDIAN, row.system) for row in models)
            whom = "every model trained here" if standing.elsewhere else "every model"
            yield METRICS[metric].title, constant, whom, best, number_text(metric, value), significant


def beats_real_music(report: Report) -> Iterator[tuple[str, str, str]]:
    """Distances at which a model is significantly better than real music: title, real music's value, the models."""
    for metric in HEADLINE:
        standing = report.standings[metric]
        if better := [row.system for row in _models(report) if standing.better(row.system, REAL)]:
            yield METRICS[metric].title, number_text(metric, _value(standing.known[REAL], metric)), listed(better)


def worse_after_training(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Models that training made significantly worse: title of the distance, model, its value after and before."""
    trained = {row.system: row for row in _models(report)}
    for before in _of_kind(report, "untrained"):
        after = trained.get(before.system.removeprefix("untrained "))
        for metric in HEADLINE if after is not None else ():
            if after is not None and report.standings[metric].better(before.system, after.system):
                values = (number_text(metric, _value(row, metric)) for row in (after, before))
                yield METRICS[metric].title, after.system, *values


def no_better_than_ngram(report: Report) -> list[str]:
    """Models with an exact likelihood that need no fewer bits than the row ngram, in one text."""
    trained = [row for row in _models(report) if report.header(row).get("ROLE") != "reference"]
    exact = [row for row in trained if not row.bounded("bits_per_note")]
    saved = {row.system: report.bits_below_ngram(row) for row in exact}
    return _one([system for system, percent in saved.items() if percent is not None and percent <= 0])


def like_references(report: Report) -> Iterator[tuple[str, str]]:
    """For each tested column the models without a significant difference from reference rows: ``lstm, gan vs. real``."""
    for metric, standing in report.standings.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for model, references in standing.like_references.items():
            if references:
                alike.setdefault(tuple(references), []).append(model)
        if alike and not standing.hopeless:
            pairs = (f"{', '.join(models)} vs. {', '.join(references)}" for references, models in alike.items())
            yield METRICS[metric].title, "; ".join(pairs)


def hopeless(report: Report) -> list[str]:
    """Titles of the columns with too few pieces for any test."""
    return _one([METRICS[metric].title for metric, standing in report.standings.items() if standing.hopeless])


def detectable(report: Report) -> list[str]:
    """Smallest differences that the tests find with 80 % power, of each tested column: the least and the most of all pairs."""
    texts = []
    for name, standing in report.standings.items():
        unit, where = METRICS[name].unit, METRICS[name].title.lower()
        sizes = [(_possible(name, size), f" ({c.one} and {c.other})") for size, c in standing.detectable]
        if len(sizes) > 1:
            (low, closest), (high, farthest) = sizes[0], sizes[-1]
            texts.append(f"in {where} {low}{closest} to {high.removeprefix('about ')} {unit}{farthest}")
        elif sizes:
            texts.append(f"in {where} {sizes[0][0]} {unit}")
    return ["; ".join(texts)] if texts else []


def _possible(metric: str, size: float) -> str:
    """Size of a difference; of pitches and velocities none is over 127.

    >>> _possible("pitch_distance", 3.76), _possible("pitch_distance", 488.2)
    ('about 3.76', 'none, as it would be over 127')
    """
    return (
        "none, as it would be over 127" if metric in HEADLINE and size > MOST_DIFFERENCE else f"about {size_text(metric, size)}"
    )


def codec(report: Report) -> list[str]:
    """Row of the target through the codec, if the table has it."""
    return [CODEC] if report.table.find(CODEC) else []


def flagged(report: Report, flag: str) -> str:
    """Rows that have a flag, in one text."""
    return ", ".join(row.system for row in report.table.rows if any(f.name == flag for f in report.flags[row.system]))


def apart(report: Report) -> bool:
    """Whether a model has no rank because it was trained otherwise than the others."""
    return any(standing.apart for standing in report.standings.values())


def elsewhere(report: Report) -> bool:
    """Whether a model was trained elsewhere, and others here."""
    return any(standing.elsewhere for standing in report.standings.values())


def has_wins(report: Report) -> bool:
    """Whether the trainings of any pair of models were compared one by one."""
    return any(c.wins is not None for standing in report.standings.values() for c in standing.between_models)


def selection(report: Report) -> list[tuple[int, int]]:
    """Numbers of held-out pieces that are compared, and of those that are long enough, if fewer are compared."""
    compared, short = len(report.targets), report.dataset.too_short
    usable = report.dataset.pieces.get("test", 0) - (short or 0)
    return [(compared, usable)] if short is not None and compared < usable else []


def shared_melodies(report: Report) -> list[tuple[int, int]]:
    """Numbers of compared pieces, and of the melodies that they have, if pieces share one."""
    groups = len(melody_groups(report.targets))
    return [(len(report.targets), groups)] if groups < len(report.targets) else []


def heard_in_training(report: Report) -> list[tuple[int, int]]:
    """Numbers of compared pieces whose target is half or more in a training piece, and of all; none without such a piece.

    As where pieces were cut into windows that overlap before they were split.
    """
    longest: dict[int, float] = defaultdict(float)
    for row in report.table.rows:
        for piece, run in row.cells["copied_run_real"].by_piece.items():
            longest[piece] = max(longest[piece], run)
    known = sum(longest[i] >= max(FEWEST_KNOWN, len(target.target) / 2) for i, target in enumerate(report.targets))
    return [(known, len(report.targets))] if known else []


def bits_saved(report: Report) -> list[str]:
    """By how much the bits per note of each model with an exact likelihood are below those of the row ngram, by field."""
    ngram = report.table.find(NGRAM)
    texts = []
    for row in _models(report):
        if ngram is None or row.bounded("bits_per_note") or report.bits_below_ngram(row) is None:
            continue
        names = ("bits_per_note", *(f"bits_{field}" for field in FIELDS))
        saved = {name: _value(ngram, name) - _value(row, name) for name in names}
        total, *parts = (number_text(name, value) for name, value in saved.items())
        texts.append(f"{row.system} {total} ({listed([f'{f} {p}' for f, p in zip(FIELDS, parts, strict=True)])})")
    return ["; ".join(texts)] if texts else []


def amounts(compute: Mapping[str, float | None]) -> list[str]:
    """Budget of a spec in words.

    >>> amounts({"seconds": 18.0, "updates": None, "notes": None})
    ['18 yardstick-seconds']
    """
    units = {"seconds": "yardstick-seconds", "updates": "updates", "notes": "notes"}
    return [f"{number:,g} {units[unit]}" for unit, number in compute.items() if number is not None]


def bounds(report: Report, models: bool = False) -> list[str]:
    """Rows, or only models, whose bits are upper bounds."""
    rows = _models(report) if models else report.table.rows
    return [row.system for row in rows if row.bounded("bits_per_note")]


def partly_defined(report: Report, metrics: Sequence[str]) -> bool:
    """Whether the table of these metrics has a mean over some of a row's pieces, see :func:`bench.report.numbers.table_cell`."""
    shown = [name for name in metrics if METRICS[name].group != "prediction"]
    return any(0 < row.cells[name].pieces < row.pieces for row in report.table.rows for name in shown)


def other_frames(report: Report) -> list[str]:
    """Rows by the number of frames that their nats per frame are a mean over, if those aren't the same."""
    rows = defaultdict[int, list[str]](list)
    for row in report.table.rows:
        for number in sorted({t.result.prediction.predictions for t in row.done if t.result.prediction}):
            if row.cells["nats_per_frame"].value is not None:
                rows[number].append(row.system)
    return [f"{number:,} of {listed(names)}" for number, names in rows.items()] if len(rows) > 1 else []


def likelihood_sizes(report: Report) -> list[tuple[int, int]]:
    """Pieces and notes that the bits are over, as the trials counted them."""
    likelihoods = [trial.result.likelihood for trial in done(report)]
    return sorted({(x.pieces, x.notes) for x in likelihoods if x})


def noise(report: Report) -> list[tuple[str, str]]:
    """Bits per note that the dataset drew at random when it rendered the music, in all, and their fields; empty if unknown."""
    bits = report.dataset.noise
    return [(number_text("bits_per_note", sum(bits.values())), listed(list(bits)))] if bits else []


def without_likelihood(report: Report) -> list[str]:
    """Models that give no likelihood."""
    return _one([row.system for row in _models(report) if row.done and row.cells["bits_per_note"].value is None])


def close_choice(search: Search) -> bool:
    """Whether the second best cell is within one standard deviation between seeds of the best."""
    means = [mean for i in range(len(search.cells)) if (mean := search.mean(i)) is not None]
    best, *others = sorted(means, key=lambda mean: mean[0])
    return bool(others) and best[1] is not None and others[0][0] - best[0] < best[1]


def unequal_threads(report: Report) -> list[str]:
    """Threads of each model, where trials differ: ``lstm: 2; gan: 1, 2``."""
    threads = {row.system: sorted(row.threads) for row in _models(report)}
    if len({number for numbers in threads.values() for number in numbers}) < 2:
        return []
    return ["; ".join(f"{system}: {', '.join(map(str, numbers))}" for system, numbers in threads.items() if numbers)]


def unequal_processors(report: Report) -> list[str]:
    """Processors of each model, where trials differ: ``lstm: EPYC; gan: EPYC, Xeon``."""
    processors = {row.system: sorted(row.processors) for row in _models(report)}
    if len({name for names in processors.values() for name in names}) < 2:
        return []
    return ["; ".join(f"{system}: {', '.join(names)}" for system, names in processors.items() if names)]


def sharing_a_gpu(report: Report) -> list[str]:
    """Models of which a trial shared its GPU with another trial, as one text; none without any."""
    return _one([row.system for row in _models(report) if any(ran(trial).get("shares_gpu") for trial in row.done)])


def stops(report: Report) -> Iterator[tuple[str, int, int, int, int]]:
    """Of each model: trainings, and how many of them the clock or patience stopped and how many resumed from a checkpoint."""
    for row in _models(report):
        trainings = [part for trial in row.done for part in trial.result.training.folds or (trial.result.training,)]
        clock, early = (sum(t.stopped == why for t in trainings) for why in ("clock", "early"))
        yield row.system, len(trainings), clock, early, sum(bool(t.resumed) for t in trainings)


def tuned(report: Report) -> Iterator[tuple[int, str, str, str, str]]:
    """Rows whose hyperparameters were searched, by number of trainings and dataset; the scores; models that were not searched."""
    searched: dict[tuple[int, str], dict[str, str]] = {}
    models = [row.system for row in _models(report)]
    for row, entry in (report.spec.get("tuned") or {}).items():
        if row in models and not entry.get("former"):
            searched.setdefault((int(entry["trials"]), str(entry["dataset"])), {})[row] = str(entry["score"])
    others = [row for row in models if not any(row in rows for rows in searched.values())]
    for (trials, dataset), scores in searched.items():
        by = {score: [row for row, own in scores.items() if own == score] for score in scores.values()}
        yield (
            trials,
            dataset,
            listed(list(scores)),
            listed([f"{s} ({', '.join(rows)})" for s, rows in by.items()]),
            listed(others),
        )


def former_searches(report: Report) -> list[str]:
    """Rows whose other hyperparameters, music or budget were another's when they were searched."""
    models = [row.system for row in _models(report)]
    changed = [row for row, entry in (report.spec.get("tuned") or {}).items() if row in models and entry.get("former")]
    return [listed(changed)] if changed else []


def searched(report: Report) -> str:
    """Names of the hyperparameters in the spec's search; empty if the spec has none."""
    spaces = ((report.spec.get("search") or {}).get("models") or {}).values()
    names = [name for space in spaces for sizes in space.get("sizes") or () for name in sizes]
    names += [name for space in spaces for name in space.get("ranges") or ()]
    return listed([name.replace("_", " ") for name in dict.fromkeys(names)])


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """Precision and compilation as each model states them, where all its trials agree."""
    for row in _models(report):
        parts = []
        for name in ("precision", "compiled"):
            values = {str(v) for t in row.done if (v := t.result.facts.get(name)) not in (None, "")}
            parts += [f"{name} {value}" for value in values if len(values) == 1]
        if parts:
            yield row.system, ", ".join(parts)


def _of_kind(report: Report, kind: str) -> Sequence[Row]:
    return [row for row in report.table.rows if row.kind == kind]


def _models(report: Report) -> Sequence[Row]:
    return _of_kind(report, "model")


def _value(row: Row, metric: str) -> float:
    """Mean of a row that has one."""
    value = row.cells[metric].value
    assert value is not None, f"{row.system} has no {metric}"
    return value


def _one(names: Sequence[str]) -> list[str]:
    """All names in one text; nothing for none."""
    return [listed(names)] if names else []


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
