"""Verdict of a report: which models are better than which in each tested column, as far as the tests say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, starmap

from bench.formatting import listed
from bench.metrics import HEADLINE, METRICS
from bench.metrics.prediction import BY_UNIT
from bench.report.contents import NGRAM, Report
from bench.report.flags import BEST_EARLY, BITS_FALLING, CLASSES, DIVERGED, GAIN, NOT_HELD, PRETRAINED, SCORE_FALLING, TARGET
from bench.report.harmony import unconstrained_bits
from bench.report.numbers import number_text
from bench.report.pairs import ordered
from bench.report.spent import common_budget
from bench.scoring.ranking import Standing
from bench.scoring.table import MEDIAN, Row

#: What makes a difference significant, as a sentence.
RULE = (
    "Significant: p < 0.05 after Holm's correction over all pairs of models and reference rows in a column, pieces taken as "
    "independent."
)

#: Bits of a note's pitch, tested like a column of Table 2 but not ranked in it.
PITCH_BITS = "bits_pitch"

UNIGRAM = "unigram"

#: Most groups of models with the same worse ones that a sentence can hold.
MOST_GROUPS = 4

_ENDS = {
    PRETRAINED: "Trained elsewhere, perhaps on the test pieces, so that no model trained here is ranked with it",
    CLASSES: "Bits over other classes, which fewer classes alone make lower, so that they are compared with none",
    TARGET: "Given the true continuation, so that it is compared with none",
    NOT_HELD: "Not held to the budget, so that the verdict leaves it out",
    BITS_FALLING: f"Validation bits fell by over {GAIN} in the last evaluation, so that another budget may give another order",
    SCORE_FALLING: "Validation score (not bits) still falling when training stopped",
    BEST_EARLY: "Best in the first half of the budget, at least one training",
    DIVERGED: "Diverged, at least one training",
}


def verdict(report: Report) -> str:
    """Significant differences between models in the columns that at least two have; where there is no such column, the reason."""
    clauses: dict[str, list[str]] = {}
    compared = [(metric, standing) for metric, standing in report.standings.items() if standing.between_models]
    for metric, standing in compared:
        if clause := _clause(standing):
            clauses.setdefault(clause, []).append(METRICS[metric].title.lower())
    text = "; ".join(f"in {listed(titles)} {clause}" for clause, titles in clauses.items())
    if not text:
        return alone(report)
    tested = any(standing.tested for _, standing in compared)
    bits = unconstrained_bits(report) if any(metric == "bits_per_note" for metric, _ in compared) else ()
    said = [f"{text[:1].upper()}{text[1:]}.", *bits, RULE if tested else "", _once(report) if tested else ""]
    return " ".join(filter(None, said))


def _once(report: Report) -> str:
    """Say which models were trained with one seed: what is said of their differences ignores how trainings vary.

    So are the files of another system, whatever else is not known of it.
    """
    models = [row for row in report.table.rows if row.kind == "model" and row.done]
    received = [row.system for row in models if row.external]
    trained = [row for row in models if row.cells["training_seconds"].value and not row.external]
    once = [row.system for row in trained if len({trial.trial.seed for trial in row.done}) == 1]
    said = []
    if once:
        who = "Every model was" if len(once) == len(models) > 1 else f"{listed(once)} {'was' if len(once) == 1 else 'were'}"
        one = len(once) == 1 and report.spec["protocol"].get("folds") is None
        these = "this training" if one else "these trainings"
        said.append(f"{who} trained with one seed: this holds for {these}, not for others.")
    if received:
        each = " each" if len(received) > 1 else ""
        said.append(f"The files of {listed(received)} are of one training{each}: of others this says nothing.")
    return " ".join(said)


def against_references(report: Report) -> list[str]:
    """Sentences on what models and reference rows say of each other: whether a column measures quality at all.

    Of a distance, whether one note repeated beats every model, and which models beat notes drawn from training frequencies; of
    bits, which models beat counts of short contexts in pitch alone, as far as bits are no upper bounds.
    """
    clauses: dict[str, list[str]] = {}
    for metric in HEADLINE:
        standing = report.standings[metric]
        if not standing.hopeless and (clause := _distance_clause(standing)):
            clauses.setdefault(clause, []).append(METRICS[metric].title.lower())
    said = [f"in {listed(titles)} {clause}" for clause, titles in clauses.items()]
    sentences = [f"Against reference rows: {'; '.join(said)}."] if said else []
    pitch = Standing(PITCH_BITS, report.table.rows)
    models = [name for name in ordered(pitch) if name not in pitch.bounds and pitch.comparable(name, NGRAM)]
    if models:
        better = [name for name in models if pitch.better(name, NGRAM)]
        sentences.append(
            f"In bits of pitch alone {listed(better) or 'no model'} {'are' if len(better) > 1 else 'is'} significantly better "
            f"than counts of short contexts ({NGRAM})."
        )
    return sentences


def _distance_clause(standing: Standing) -> str:
    models = [name for name, row in standing.known.items() if row.kind == "model" and name not in standing.elsewhere]
    here = " trained here" if standing.elsewhere else ""
    parts = []
    if models and MEDIAN in standing.known and all(standing.better(MEDIAN, name) for name in models):
        parts.append(f"one note repeated ({MEDIAN}) is significantly better than every model{here}")
    if tested := [name for name in models if standing.comparable(name, UNIGRAM)]:
        better = [name for name in tested if standing.better(name, UNIGRAM)]
        some = " that shares enough pieces with it" if len(tested) < len(models) else ""
        who = f"{listed(better)} {'is' if len(better) == 1 else 'are'}" if better else f"no model{here}{some} is"
        parts.append(f"{who} significantly better than notes drawn from training frequencies ({UNIGRAM})")
    return " and ".join(parts)


def caveats(report: Report) -> list[str]:
    """Sentences without which the verdict says too much: on reference rows, unlike budgets or searches, and bad trainings."""
    models = [row for row in report.table.rows if row.kind == "model"]
    rows = {name: [row.system for row in models if has_flag(report, row, name)] for name in _ENDS}
    ends = [f"{text}: {listed(systems)}." for name, text in _ENDS.items() if (systems := rows[name])]
    return [*_anchored(report), *against_references(report), *_budgets(report), *_searches(report), *ends]


def _anchored(report: Report) -> list[str]:
    """Sentence on published values of predictions, or why they don't stand here."""
    table = report.published
    if table is None or not table.scales:
        return []
    if report.off_anchor:
        return [f"Not the anchor's numbers: {report.off_anchor}. {table.short} isn't shown beside them."]
    said = []
    for metric in BY_UNIT.values():
        rows = [(row, row.cells[metric].value, report.published_value(row, metric)) for row in report.table.rows]
        pairs = [f"{row.system} {number_text(metric, ours)} ({theirs:.2f})" for row, ours, theirs in rows if ours and theirs]
        said += [f"{METRICS[metric].title} (in brackets {table.short}): {listed(pairs)}."] if pairs else []
    return said


def _budgets(report: Report) -> list[str]:
    """Warning that differences between models may be differences between budgets."""
    trained = [row for row in report.table.rows if row.kind == "model" and row.done and not (row.pretrained or row.external)]
    if len(trained) < 2:
        return []
    shared = common_budget(report)
    if not shared:
        return ["The models have no common budget (budget.compute), so a difference between them may be one between budgets."]
    return [f"Another budget than the others, or stopped before its end: {listed(rows)}." for _, _, rows in shared if rows]


def _searches(report: Report) -> list[str]:
    """Warnings that hyperparameters were chosen on pieces that are held out here, or by more trainings for some rows."""
    models = [row.system for row in report.table.rows if row.kind == "model"]
    tuned = {row: entry for row, entry in (report.spec.get("tuned") or {}).items() if row in models}
    music = report.spec["dataset"]["name"]
    said = []
    seen = [row for row, entry in tuned.items() if entry["dataset"] == music]
    if seen and report.spec["protocol"].get("folds") is not None:
        said.append(
            f"Hyperparameters that were chosen on pieces of the dataset {music}, all of which are held out here in turn, so that "
            f"the scores may be too good: {listed(seen)}."
        )
    trials = {row: int(entry["trials"]) for row, entry in tuned.items() if not entry.get("former")}
    if len(set(trials.values())) > 1:
        said.append(
            "Hyperparameters were searched with unequal numbers of trainings, so that a difference may be one between searches: "
            f"{listed([f'{row} {number}' for row, number in trials.items()])}."
        )
    return said


def has_flag(report: Report, row: Row, name: str) -> bool:
    """Whether a row has the flag of that name."""
    return any(flag.name == name for flag in report.flags[row.system])


def alone(report: Report) -> str:
    """Reason why no models are compared."""
    models = [row.system for row in report.table.rows if row.kind == "model" and row.done]
    if not models:
        return "No trained model has finished, so there is no difference to test."
    if len(models) == 1:
        return f"{models[0]} is the only model that has finished: there is no other to compare it with."
    given = [row.system for row in report.table.rows if row.system in models and row.is_target]
    apart = [name for name in models if name in given or any(name in s.apart for s in report.standings.values())]
    if len(models) - len(apart) < 2:
        if given:
            return f"No two models can be compared: see the flags of {listed(apart)}."
        return f"No two models were trained alike, so there is no difference to test: see the flags of {listed(apart)}."
    return "No column has values of two models on the same pieces, so there is no difference to test."


def _clause(standing: Standing) -> str:
    if standing.hopeless:
        return "there are too few pieces to test any difference"
    alike = [name for name in ordered(standing) if name not in standing.apart]
    if len(alike) < 2:
        return ""
    untested = [name for name in alike if name in standing.untested]
    models = [name for name in alike if name not in untested]
    few = _few(untested, [pair for pair in combinations(models, 2) if not standing.comparable(*pair)])
    if len(models) < 2:
        return few
    missing = _missing(standing)
    placed = [name for name in models if name not in standing.unplaced]
    beaten = {one: [other for other in models if standing.better(one, other)] for one in models}
    if standing.best is not None and len(models) > 2 and not (missing or untested or standing.incomparable):
        return f"{standing.best} is significantly better than every other model"
    if not any(beaten.values()):
        tested = any(starmap(standing.comparable, combinations(placed, 2)))
        who = "no two models" if len(placed) > 2 else f"{listed(placed)} do not"
        none = f"{who} differ significantly{_lowest(standing)}" if tested else ""
        return ", while ".join(filter(None, (none, _unplaced(standing.unplaced, missing), few)))
    text = _better(beaten)
    if not any(set(placed) - {name} <= set(others) for name, others in beaten.items()):
        text += f", but no model is better than every other{_lowest(standing)}"
    return ", while ".join(filter(None, (text, _unplaced(standing.unplaced, missing), few)))


def _few(untested: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    """Models that could be tested with no other, and pairs of the others that could not be.

    >>> _few(["vae"], [("lstm", "gan")])
    'vae shares too few pieces to be tested, as do lstm and gan with each other'
    """
    who = f"{len(pairs)} pairs of models" if len(pairs) > 1 else listed([name for pair in pairs for name in pair])
    if not untested:
        return f"{who} share too few pieces to be tested" if pairs else ""
    also = f", as do {who}{' with each other' if len(pairs) == 1 else ''}" if pairs else ""
    return f"{listed(untested)} {'shares' if len(untested) == 1 else 'share'} too few pieces to be tested{also}"


def _better(beaten: Mapping[str, Sequence[str]]) -> str:
    """Models by the models that they are better than: ``a and b are significantly better than c and d, c than d``.

    >>> _better({"a": ["c", "d"], "b": ["c", "d"], "c": ["d"], "d": []})
    'a and b are significantly better than c and d, c than d'
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for one, others in beaten.items():
        if others:
            groups.setdefault(tuple(others), []).append(one)
    if len(groups) > MOST_GROUPS:
        pairs, models = sum(map(len, beaten.values())), len(beaten)
        return f"{pairs} of {models * (models - 1) // 2} pairs of models differ significantly"
    (losers, winners), *rest = groups.items()
    first = f"{listed(winners)} {'is' if len(winners) == 1 else 'are'} significantly better than {listed(losers)}"
    return ", ".join([first, *(f"{listed(winners)} than {listed(losers)}" for losers, winners in rest)])


def _lowest(standing: Standing) -> str:
    """Complete models with the best mean as printed, in brackets; nothing if all have it, or an incomplete one is better."""
    metric = standing.metric
    printed = {
        name: number_text(metric, standing.known[name].cells[metric].value or 0.0)
        for name in ordered(standing)
        if name not in standing.partial
    }
    best = next(iter(printed.values()), "")
    first = [name for name, text in printed.items() if text == best]
    if any(standing.better(one, name) for one in standing.partial for name in first):
        return ""
    end = "highest" if METRICS[metric].better == "higher" else "lowest"
    return f" ({end} mean: {listed(first)}, {best})" if len(first) < len(printed) else ""


def _missing(standing: Standing) -> list[str]:
    """Models that have finished and have no value in this column; of one that can't be compared, a caveat says so."""
    known = {*standing.known, *standing.incomparable}
    models = [row for row in standing.rows if row.kind == "model" and row.done and not row.is_target]
    return [row.system for row in models if row.system not in known]


def _unplaced(bounds: Sequence[str], missing: Sequence[str]) -> str:
    """Reason why the place of models among the others is not known.

    >>> _unplaced(["vae"], ["gan"])
    "vae's bits are an upper bound and gan has none, so their places are open"
    """
    plural = f"the bits of {listed(bounds)} are upper bounds"
    reasons = [plural if len(bounds) > 1 else f"{bounds[0]}'s bits are an upper bound"] if bounds else []
    reasons += [f"{listed(missing)} {'has' if len(missing) == 1 else 'have'} none"] if missing else []
    open_places = "its place is" if len(bounds) + len(missing) == 1 else "their places are"
    return f"{' and '.join(reasons)}, so {open_places} open" if reasons else ""
