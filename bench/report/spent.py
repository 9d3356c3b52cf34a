"""Training budgets as the trials had them: which rows share one, what they really spent, and what the trials remark on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from bench.formatting import listed, plural
from bench.report.budget import share_text, shares, spent
from bench.report.contents import Report
from bench.report.findings import amounts
from bench.report.histories import histories
from bench.report.numbers import number_text
from bench.scoring.grid_search import SCORES
from bench.scoring.table import Row

YARDSTICKS = "training_yardsticks"


def common_budget(report: Report) -> list[tuple[str, str, list[str]]]:
    """Budget that most models trained on: the amount, those models, and the exceptions with their reasons; empty without one.

    Read from the trials that ran. Equal numbers of epochs are no common budget: an epoch costs each model something else.
    """
    rows = _models(report)
    at: dict[str, list[str]] = {}
    for row in rows:
        if (amount := _amount(row)) and not row.ignores_budget:
            at.setdefault(amount, []).append(row.system)
    amount, systems = max(at.items(), key=lambda item: len(item[1]), default=("", []))
    if not systems or (len(systems) == 1 and len(rows) > 1):
        return []
    others = [f"{row.system} ({_budget(row)})" for row in rows if row.system not in systems]
    short = [f"{row.system} ({text})" for row in rows if row.system in systems and (text := _stopped_before(row))]
    return [(amount, "every model" if len(systems) == len(rows) else listed(systems), others + short)]


def compute(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Compute really spent, yardstick-seconds: least and most of a row's mean, with the row, and of a single training."""
    cells = {row.system: row.cells[YARDSTICKS] for row in _models(report) if not row.ignores_budget}
    means = {system: cell.value for system, cell in cells.items() if cell.value is not None}
    if len(means) > 1:
        single = [value for system in means for value in cells[system].seed_means.values()]
        ends = (pick(means, key=means.__getitem__) for pick in (min, max))
        least, most = (f"{number_text(YARDSTICKS, means[name])} ({name})" for name in ends)
        yield least, most, number_text(YARDSTICKS, min(single)), number_text(YARDSTICKS, max(single))


def frozen(report: Report) -> str:
    """Models whose trainings had a number of updates, measured beforehand, that stands for the budget."""
    rows = _models(report)
    names = [row.system for row in rows if row.trials[0].trial.budget.updates is not None]
    return "each model" if len(names) == len(rows) else listed(names)


def first_stage(report: Report) -> Iterator[tuple[str, str, str]]:
    """First share with results: the share, the updates until it, and the models whose learning rate was still rising there."""
    for share in shares(report)[:1]:
        means = [fmean(values) for row in _models(report) if (values := spent(row, share, "updates"))]
        low, high = (f"{pick(means):,.0f}" for pick in (min, max))
        rising = [row.system for row in _models(report) if _rising(row, share)]
        yield share_text(share), low if low == high else f"{low} to {high}", listed(rising)


def kept_weights(report: Report) -> list[str]:
    """Score that says which evaluation of a model's training was the best: ``validation distance (gan)``."""
    by: dict[str, list[str]] = {}
    for row in _models(report):
        names = {name for trial in row.done for h in histories(trial) for entry in h.entries for name in entry}
        if score := next((title for name, title in SCORES.items() if name in names), None):
            by.setdefault(score, []).append(row.system)
    return [listed([f"{score} ({', '.join(rows)})" for score, rows in by.items()])] if by else []


def remarks(report: Report) -> Iterator[str]:
    """Remarks of trials, each once, with its row and the number of its trials."""
    for row in report.table.rows:
        texts = Counter(text for trial in row.done for text in trial.result.remarks)
        for text, number in texts.items():
            yield f"{row.system}, {number} of {plural(len(row.done), 'trial')}: {text}"


def _amount(row: Row) -> str:
    compute = row.trials[0].trial.budget.compute
    return "" if compute is None else amounts(compute.model_dump())[0]


def _budget(row: Row) -> str:
    if row.ignores_budget:
        return "not held to it"
    return _amount(row) or plural(row.trials[0].trial.budget.epochs, "epoch")


def _stopped_before(row: Row) -> str:
    """Trainings of a row that ended before their budget was used, in words; empty if there are none."""
    parts = [part for trial in row.done for part in trial.result.training.folds or (trial.result.training,)]
    stops = {"early": "stopped early", "clock": "stopped by the time limit"}
    number = {words: sum(part.stopped == why for part in parts) for why, words in stops.items()}
    return ", ".join(f"{n} of {plural(len(parts), 'training')} {words}" for words, n in number.items() if n)


def _rising(row: Row, share: float) -> bool:
    """Whether a training's logged learning rate rose after that share of the budget."""
    for trial in row.done:
        ends = [stage.updates for stage in trial.stages if stage.share == share]
        for history in histories(trial):
            rates = [(e.get("updates") or 0, e["learning_rate"]) for e in history.entries if e.get("learning_rate") is not None]
            here = [rate for updates, rate in rates if ends and updates <= ends[0]]
            if here and any(rate > here[-1] for updates, rate in rates if updates > ends[0]):
                return True
    return False


def _models(report: Report) -> Sequence[Row]:
    """Models that were trained here."""
    return [row for row in report.table.rows if row.kind == "model" and row.done and not (row.pretrained or row.external)]
