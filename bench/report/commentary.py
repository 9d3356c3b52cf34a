"""The sentences of a report, each computed from the rows; one that isn't true of this run isn't written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.formatting import listed, mebibytes, plural
from bench.metrics import HEADLINE, METRICS
from bench.report import harmony
from bench.report.contents import Report
from bench.report.numbers import size_text
from bench.report.provenance import done, ran
from bench.report.tables import Theme
from bench.scoring.grid_search import SCORES, Search
from bench.scoring.score import MEDIAN, REAL, Row
from bench.scoring.stats import FEWEST
from bench.storage.records import Prepared

MIB = 2**20

BOUND = "That a bound is lower than another row's bits counts; that it is higher proves nothing."


def about(report: Report) -> list[str]:
    """What was measured on what, a sentence each."""
    purpose = [_sentence(report.spec["description"])] if report.spec.get("description") else []
    return [*purpose, _task(report), *harmony.task(report), _runs(report), *_music(report), _machine(report)]


def caution(report: Report) -> str:
    """What must be known before any number is read; mostly nothing."""
    if report.run.scale == "smoke":
        return "Scale smoke: networks of a few epochs on little music. It shows that everything works, not how good a model is."
    return ""


def table2_notes(report: Report) -> list[str]:
    """What must be known to read Table 2."""
    notes = [
        f"Each number is the mean over {plural(len(report.targets), 'piece')}, each piece's own being the mean over its training "
        f"seeds. {_intervals(report)} ± is the standard deviation between seeds. Lower is closer.",
        _ranks(report),
        *(f"{_capital(flag.name)}: {flag.meaning}" for flag in report.raised),
        *_constant_wins(report),
        *_real_loses(report),
        *_untrained_wins(report),
        *_markov_wins(report),
    ]
    if report.published:
        published = report.published
        elsewhere = f" {published.other_music}" if report.spec["dataset"]["name"] != published.dataset else ""
        notes.append(f"{published.short}: {published.source}.{elsewhere} {published.caveat}")
    return notes


def _ranks(report: Report) -> str:
    if report.standings and all(standing.hopeless for standing in report.standings.values()):
        return "No row has a rank: there are too few pieces for any test to tell one from another."
    return (
        "Ranks count the rows that a test calls better or worse; what no test tells apart shares them. A number is bold if "
        "its model is better than every other by the tests over pieces and over seeds."
    )


def difference_notes(report: Report) -> list[str]:
    """What the tests say, and what they could have said."""
    notes = []
    for metric, standing in report.standings.items():
        like: dict[tuple[str, ...], list[str]] = {}
        for model, references in standing.like_references.items():
            like.setdefault(tuple(references), []).append(model)
        said = [f"{listed(models)} from {listed(list(references))}" for references, models in like.items() if references]
        if said and not standing.hopeless:
            notes.append(f"{METRICS[metric].title}: no test tells {', nor '.join(said)}.")
    notes += _partial(report)
    too_few = [METRICS[m].title for m, s in report.standings.items() if s.hopeless]
    if too_few:
        notes.append(
            f"{listed(too_few)}: there are too few pieces for any difference, however large, to pass these tests of all pairs of "
            "rows. More pieces, where the data has them (protocol.pieces), or fewer rows would change that."
        )
    bounds = [row.system for row in _models(report) if report.likelihood_kind(row) == "bound"]
    if bounds and "bits_per_note" in report.standings:
        notes.append(f"The bits of {listed(bounds)} are upper bounds. {BOUND}")
    found = {m: s.detectable for m, s in report.standings.items() if s.detectable is not None}
    if found:
        sizes = [f"{size_text(m, value)} {METRICS[m].unit} in {METRICS[m].title.lower()}" for m, value in found.items()]
        notes.append(
            f"What this design can see: two models that truly differ by {listed(sizes)} are told apart in four runs of five "
            "(80 % power); of smaller differences this table knows nothing."
        )
    notes.append(
        "Tests: paired permutation over pieces, two-sided, Holm over all pairs of rows in a column; a difference is called real "
        "at p < 0.05 with an interval that excludes 0. They speak of these trained networks on other pieces. Whether training "
        "again could turn a difference is asked of the seeds' means (Welch's t-test): with few seeds it often could."
    )
    if report.dataset.folds:
        notes.append(
            "Folds: two pieces are continued by two networks that learned from nearly the same music, so pieces are not quite "
            "independent. No unbiased estimate of that is known (Bengio and Grandvalet 2004); the intervals may be too narrow."
        )
    return notes


def theme_notes(report: Report, theme: Theme) -> list[str]:
    """What must be known to read a theme's table, besides its question."""
    if "chord_tones" in theme.metrics:
        return harmony.notes(report)
    if "bits_per_note" not in theme.metrics:
        return []
    notes = list(_bits(report))
    bounds = [row.system for row in report.table.rows if report.likelihood_kind(row) == "bound"]
    if bounds:
        notes.append(f"≤ marks an upper bound on the bits ({listed(bounds)}). {BOUND}")
    none = [r.system for r in _models(report) if r.done and r.cells["bits_per_note"].value is None]
    if none:
        notes.append(f"No likelihood: {listed(none)}.")
    return notes


def search_notes(search: Search) -> list[str]:
    """Which cell was chosen, by what, and how clearly."""
    notes = []
    if search.chosen is None:
        lacking = "some of its trials have not ended well" if search.score else "its model logs no validation score"
        if search.mixed:
            lacking = "its cells log different validation scores, so they predict different things, which don't compare"
        notes.append(f"Nothing is chosen yet: {lacking}. Until then every cell is a row of Table 2.")
    else:
        notes.append(
            f"Chosen: {search.chosen.system}, with the least {SCORES[search.score]} of {plural(len(search.cells), 'cell')}, each "
            "the mean over seeds of its best epoch. The held-out pieces had no part in it; their columns stand here for reading."
        )
        order = sorted(range(len(search.cells)), key=lambda i: (search.mean(i) or (0.0, None))[0])
        first, second = (search.mean(i) for i in order[:2]) if len(order) > 1 else (None, None)
        if first and second and first[1] is not None and second[0] - first[0] < first[1]:
            notes.append("The next cell is within one standard deviation between seeds: the choice could have been another.")
    return notes


def cost_notes(report: Report) -> list[str]:
    """What must be known to read the costs."""
    notes = [f"Training time: {METRICS['training_seconds'].definition} Failed trials add nothing to any mean."]
    if report.dataset.folds:
        notes.append(
            "Folds: training time, epochs and time to target are of one training, the mean over the folds, not their sum. Peak "
            "memory is of the process, which trains one fold after another. Prompts are continued a fold at a time, so "
            "generation is slower than in one batch."
        )
    if (target := report.spec.get("target")) is not None:
        notes.append(f"Time to target: the first epoch with at most {target:g} validation bits per note.")
    threads = {row.system: {str(ran(t)["threads"]) for t in row.done if "threads" in ran(t)} for row in _models(report)}
    if len(set().union(*threads.values())) > 1:
        said = listed([f"{system} {listed(sorted(numbers))}" for system, numbers in threads.items() if numbers])
        notes.append(f"The trials had different numbers of threads ({said}): their times can't be compared.")
    return notes


def system_notes(report: Report) -> list[str]:
    """What sets single systems apart, a sentence each."""
    notes = []
    for row in report.table.rows:
        if report.header(row).get("PROMPT") is False and row.kind == "model":
            notes.append(
                f"{row.system} takes no prompt: it writes from nothing, and is compared with music whose beginning it never saw."
            )
    notes += _stops(report)
    for row in _models(report):
        if facts := _facts(row):
            notes.append(f"{row.system}: {facts}.")
    if any(row.kind == "untrained" for row in report.table.rows):
        notes.append("The untrained rows are the same networks at their first weights, with the first seed only.")
    return notes


def _bits(report: Report) -> Iterable[str]:
    """What the bits are over, as the trials themselves counted it."""
    found = [t.result.likelihood for t in done(report)]
    for pieces, notes in sorted({(x.pieces, x.notes) for x in found if x}):
        yield (
            f"Bits per note are over every note of all {plural(pieces, 'held-out piece')} ({plural(notes, 'note')}): "
            "how well a system expects music, whatever it then writes."
        )


def _task(report: Report) -> str:
    protocol, pieces = report.spec["protocol"], len(report.targets)
    notes = protocol["notes"]
    each = f"each of {plural(pieces, 'held-out piece')}"
    given = f"was given the first {plural(protocol['prompt'], 'note')} of {each} and wrote {notes} more"
    if not protocol["prompt"]:
        given = f"wrote {plural(notes, 'note')} for {each}"
    compared = f"these are compared with the {notes} that really follow"
    if seconds := protocol.get("seconds"):
        # A system that writes slowly is compared on few notes.
        compared += f", only as far as both begin within {seconds:g} s: slow writing is judged by fewer notes"
    return f"Each system {given}; note by note, {compared}."


def _runs(report: Report) -> str:
    seeds = [str(s) for s in report.spec["seeds"]]
    samples = plural(report.spec["protocol"]["samples"], "sample")
    each = "a model and fold" if report.dataset.folds else "a model"
    return (
        f"{plural(len(seeds), 'training run')} {each} ({'seeds' if len(seeds) > 1 else 'seed'} {listed(seeds)}), "
        f"{samples} a piece and run."
    )


def _music(report: Report) -> Iterable[str]:
    dataset, options = report.dataset, report.spec["dataset"].get("options") or {}
    chosen = f" ({', '.join(f'{k}: {v}' for k, v in options.items())})" if options else ""
    yield f"Music: {dataset.title}{chosen}. Licence: {_sentence(dataset.license)}"
    if folds := dataset.folds:
        yield from _folds(folds, dataset)
    elif dataset.pieces:
        pieces, notes = dataset.pieces, dataset.notes
        yield (
            f"{pieces['train']:,} pieces ({notes['train']:,} notes) to learn from, {pieces['validation']:,} to choose by, "
            f"{pieces['test']:,} held out."
        )
    yield from (_sentence(remark) for remark in dataset.remarks)


def _folds(folds: Mapping[str, Any], dataset: Prepared) -> Iterable[str]:
    """How the pieces were held out in turn."""
    parts, pieces = folds["folds"], dataset.pieces["test"]
    held, chosen = ([len(fold[name]) for fold in parts] for name in ("test", "validation"))
    taught = [pieces - h - c for h, c in zip(held, chosen, strict=True)]
    way = "leave-one-out" if folds["asked"] == "leave-one-out" else "cross-validation"
    yield (
        f"{pieces:,} pieces ({dataset.notes['test']:,} notes). {sum(held):,} of them are held out in turn, in {len(parts)} "
        f"folds ({way}), a composition always whole: for each fold every system learns anew from {_span(taught)} pieces, "
        f"chooses by {_span(chosen)} others, and continues the {_span(held)} it never saw."
    )


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _machine(report: Report) -> str:
    machine = report.run.provenance.machine
    used = {str(t.result.provenance.get("device")) for row in _models(report) for t in row.done}
    gpus = sorted(used - {str(machine.cpu), "None"})
    device = f"Networks ran on {listed(gpus)}" if gpus else "No GPU was used"
    return (
        f"Scale {report.run.scale}, on {machine.cpu} ({plural(machine.cores or 0, 'core')}, "
        f"{mebibytes((machine.memory_bytes or 0) / MIB)}). {device}."
    )


def _intervals(report: Report) -> str:
    if len(report.targets) < FEWEST:
        return f"There are no intervals: fewer than {FEWEST} pieces don't show how pieces differ."
    return "In brackets the 95 % interval, by bootstrap over pieces."


def _constant_wins(report: Report) -> Iterable[str]:
    """The distances at which the median row is below every model, and whether a test says so of all of them."""
    won: dict[bool, list[str]] = {True: [], False: []}
    for metric in HEADLINE:
        standing = report.standings[metric]
        models = [row for row in _models(report) if row.system in standing.known]
        # A mean over fewer pieces is no best. Whether the constant is below such a row, the pieces that both have say.
        best = _best([row for row in models if row.system not in standing.partial], metric)
        constant = standing.known.get(MEDIAN)
        if constant is None or best is None or (value := constant.cells[metric].value) is None:
            continue
        if not all(standing.difference(MEDIAN, row.system) < 0 for row in models):
            continue
        tested = all(standing.better(MEDIAN, row.system) for row in models)
        won[tested].append(f"{metric.split('_')[0]} ({value:.2f} against {best[1]:.2f} for the best model, {best[0]})")
    moral = 'The distance alone rewards playing the middle; see "What the distance does not show".'
    if won[True]:
        yield f"One note repeated over and over (the row {MEDIAN}) beats every model in {' and in '.join(won[True])}. {moral}"
    if won[False]:
        yield (
            f"No model's mean is below that of one note repeated over and over (the row {MEDIAN}) in "
            f"{' and in '.join(won[False])}, though no test tells it from all of them. {moral}"
        )


def _real_loses(report: Report) -> Iterable[str]:
    """The distances at which a test calls a constant or a model better than real music."""
    lost = []
    for metric, standing in ((m, report.standings[m]) for m in HEADLINE):
        others = [MEDIAN, *(row.system for row in (*_models(report), *_untrained(report)))]
        better = [system for system in others if standing.better(system, REAL)]
        if better:
            lost.append(f"in {metric.split('_')[0]} ({standing.known[REAL].cells[metric].value:.2f}) by {listed(better)}")
    if lost:
        yield (
            f"Real music of another piece (the row {REAL}) is beaten {' and '.join(lost)}: a lower distance is not better music."
        )


def _partial(report: Report) -> Iterable[str]:
    """The rows that lack pieces, and what their tests are over."""
    for row in report.table.rows:
        if row.absent:
            yield (
                f"{row.system} has {row.coverage}. Each test of it is over the pieces that both rows have; it has no rank and is "
                "never bold, as a system may lack just the pieces that it does badly."
            )


def _untrained_wins(report: Report) -> Iterable[str]:
    """The models that training took farther from the real notes, as a test says."""
    trained = {row.system: row for row in _models(report)}
    for row in _untrained(report):
        after = trained.get(row.system.removeprefix("untrained "))
        worse = [
            f"{metric.split('_')[0]} ({after.cells[metric].value:.2f}, untrained {row.cells[metric].value:.2f})"
            for metric in HEADLINE
            if after is not None and report.standings[metric].better(row.system, after.system)
        ]
        if after is not None and worse:
            yield f"Training took {after.system} farther from the real notes in {listed(worse)}."


def _markov_wins(report: Report) -> Iterable[str]:
    """The models with an exact likelihood that expect held-out music no better than a first-order chain."""
    exact = [row for row in _models(report) if report.likelihood_kind(row) != "bound" and row.model != "references"]
    fewer = {row.system: share for row in exact if (share := report.bits_below_markov(row)) is not None}
    behind = [system for system, share in fewer.items() if share <= 0]
    if behind:
        who = (
            "No model needs" if len(behind) == len(fewer) else f"{listed(behind)} {'do' if len(behind) > 1 else 'does'} not need"
        )
        yield f"{who} fewer bits per note than a first-order Markov chain (the row markov) for the held-out music."


def _stops(report: Report) -> Iterable[str]:
    for row in _models(report):
        trials = [t.result.training for t in row.done]
        training = [part for trial in trials for part in trial.folds or (trial,)]
        clock = sum(t.stopped == "clock" for t in training)
        early = sum(t.stopped == "early" for t in training)
        resumed = sum(bool(t.resumed) for t in training)
        if clock:
            yield (
                f"{row.system}: the clock stopped {clock} of {plural(len(training), 'training')}; "
                "on another machine these would end elsewhere."
            )
        if early:
            yield f"{row.system}: {early} of {plural(len(training), 'training')} ended before the last epoch of the budget."
        if resumed:
            yield f"{row.system}: {resumed} of {plural(len(training), 'training')} went on from a checkpoint after a stop."


def _facts(row: Row) -> str:
    """Precision and compilation as the model states them, where all its trials agree."""
    said = []
    for name in ("precision", "compiled"):
        values = {str(v) for t in row.done if (v := t.result.facts.get(name)) not in (None, "")}
        if len(values) == 1:
            said.append(f"{name} {values.pop()}")
    return ", ".join(said)


def _models(report: Report) -> Sequence[Row]:
    return [row for row in report.table.rows if row.kind == "model"]


def _untrained(report: Report) -> Sequence[Row]:
    return [row for row in report.table.rows if row.kind == "untrained"]


def _best(rows: Sequence[Row], metric: str) -> tuple[str, float] | None:
    known = [(row.system, value) for row in rows if (value := row.cells[metric].value) is not None]
    return min(known, key=lambda item: item[1], default=None)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: Any) -> str:
    """With a capital at its start and a full stop at its end."""
    words = str(text).strip()
    return _capital(words) + ("" if words.endswith((".", "!", "?")) else ".")
