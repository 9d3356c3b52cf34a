"""Search for the hyperparameters of a spec's rows: the same number of trainings for each, chosen on the validation pieces.

The points are a scrambled Halton sequence over sizes and ranges: each training of a row is another point of an even cover of its
space, whatever came before, so the search is the same when it resumes. A search is a spec of its own, in which each point is a
row; it runs like any other, a process a training, and every training is kept in its folder. The held-out pieces have no part.

References
----------
Bergstra & Bengio 2012, Random Search for Hyper-Parameter Optimization; Owen 2017, A randomized Halton algorithm in R.
With a dozen trainings a model-based search would still be in its first random ones.
"""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError
from ruamel.yaml import YAML

from bench.errors import BenchError, DataError, SpecError, UsageError
from bench.formatting import plural
from bench.scoring.grid_search import SCORES, best_score, classes_of
from bench.specs.document import parse_yaml
from bench.specs.schema import ModelChoice, Search, Space, Spec, Tuned
from bench.storage.files import write_data
from bench.storage.outcome import Done, Failed
from bench.storage.run_folder import RunFolder
from bench.storage.stored import Stored, first_problem
from bench.system.disk import MOST_RECORD, MOST_RESULT, DamagedFileError, read_file
from bench.system.speed import STANDARD

#: First line of the spec files that a search writes.
WRITTEN = "# Written by bench tune.\n"


class _Changes(Stored):
    """Rows of a scale in the file that a search writes, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: dict[str, Any] | None = None
    models: dict[str, Any] | None = None
    tuned: dict[str, Any] | None = None


class _File(Stored):
    """File that a search writes, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    extends: str
    scales: dict[str, _Changes] = Field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """One training of a search.

    Parameters
    ----------
    row : str
        The spec's row.
    number : int
        From 1.
    params : mapping
        Hyperparameters that were searched.
    score : float or None
        Lowest score on the validation pieces; None without one, and where training went on beyond its budget.
    scored_by : str
        Name of that score, one of :data:`bench.scoring.grid_search.SCORES`.
    updates : int or None
        Updates that the budget pays for, if it is in yardstick-seconds.
    seconds : float or None
        Training time.
    classes : tuple of int
        Classes of time and duration that the score is over; empty for none.
    exceeded : float
        Share of the budget that training took if it went on beyond it; else 0.
    """

    row: str
    number: int
    params: Mapping[str, Any]
    score: float | None = None
    scored_by: str = ""
    updates: int | None = None
    seconds: float | None = None
    classes: tuple[int, ...] = ()
    exceeded: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it has no score, and didn't go on beyond its budget."""
        return self.score is None and not self.exceeded


def points(space: Space, number: int, seed: int) -> list[dict[str, Any]]:
    """Draw points of a row's space.

    Parameters
    ----------
    space : Space
    number, seed : int

    Returns
    -------
    list of dict
        Hyperparameters to values: one of the sizes, and a value of each range with three significant digits.

    Examples
    --------
    >>> from bench.specs.schema import Range
    >>> space = Space(sizes=({"units": 64}, {"units": 128}), ranges={"learning_rate": Range(low=0.001, high=0.1)})
    >>> [point["units"] for point in points(space, 4, seed=0)]
    [64, 128, 64, 128]
    """
    from scipy.stats import qmc

    names = sorted(space.ranges)
    shares = qmc.Halton(1 + len(names), seed=seed).random(number)
    drawn = []
    for size, *rest in shares:
        spans = [space.ranges[name] for name in names]
        values = {n: r.low * (r.high / r.low) ** u for n, r, u in zip(names, spans, rest, strict=True)}
        chosen = space.sizes[min(int(size * len(space.sizes)), len(space.sizes) - 1)]
        drawn.append({**chosen, **{name: float(f"{value:.3g}") for name, value in values.items()}})
    return drawn


def search_spec(spec: Spec, trials: int | None = None) -> tuple[Spec, dict[str, tuple[str, int, dict[str, Any]]]]:
    """Write the search of a spec as a spec: a row for each point, one seed, one piece to continue, no references.

    Returns
    -------
    Spec
    dict
        Name of each of its rows to the spec's row, the number of the point, and the hyperparameters there.

    Raises
    ------
    SpecError
        If the spec says nothing to search, states no budget for all models, or holds out all pieces in turn.
    """
    search = _search(spec)
    rows: dict[str, tuple[str, int, dict[str, Any]]] = {}
    models: dict[str, ModelChoice] = {}
    for row in (row for row in search.models if row in spec.models):
        choice, space = spec.models[row], search.models[row]
        for number, params in enumerate(points(space, trials or search.trials, search.seed), 1):
            name = f"{row}-{number:02}"
            rows[name] = (row, number, params)
            own = choice.budget.model_copy(update={"updates": None, "stages": ()})
            models[name] = choice.model_copy(
                update={"plugin": choice.plugin or row, "params": {**choice.params, **params}, "budget": own}
            )
    protocol = spec.protocol.model_copy(update={"pieces": 1, "samples": 1, "folds": None})
    budget = spec.budget.model_copy(update={"stages": ()})
    changes = {"models": models, "protocol": protocol, "budget": budget, "seeds": (search.seed,), "references": (), "grid": {}}
    dataset = search.dataset or spec.dataset
    return spec.model_copy(
        update={**changes, "dataset": dataset, "search": None, "tuned": {}, "title": f"Search: {spec.title}", "description": ""}
    ), rows


def _search(spec: Spec) -> Search:
    if spec.search is None or not any(row in spec.models for row in spec.search.models):
        raise SpecError(f"{spec.name}: it says nothing to search.", "Add `search:` with a space for each row, see docs/specs.md.")
    if spec.budget.compute is None:
        raise SpecError(f"{spec.name}: a search needs one budget for all models.", "Add `budget: {compute: {seconds: 20}}`.")
    if spec.protocol.folds is not None and spec.search.dataset in (None, spec.dataset):
        raise SpecError(
            f"{spec.name}: all its pieces are held out in turn, so a search would see what it is tested on.",
            "Name other music: `search: {dataset: {name: ...}}`.",
        )
    return spec.search


def collect(folder: RunFolder, rows: Mapping[str, tuple[str, int, dict[str, Any]]], spec: Spec) -> list[Trained]:
    """Read the trainings of a search, in the order of its rows; one that has not run is left out."""
    trained = []
    for entry in folder.read().trials:
        outcome, name = folder.outcome(entry.key), str(entry.trial["system"])
        if outcome is not None and name in rows:
            trained.append(_trained(*rows[name], outcome, spec))
    return trained


def _trained(row: str, number: int, params: Mapping[str, Any], outcome: Done | Failed, spec: Spec) -> Trained:
    if isinstance(outcome, Failed):
        return Trained(row, number, params)
    compute = spec.models[row].budget.over(spec.budget).compute
    exceeded = 0.0 if compute is None else outcome.training.exceeded
    scores = [(score, name) for name in (() if exceeded else SCORES) if (score := best_score(outcome, name)) is not None]
    training, speed, updates = outcome.training, outcome.yardstick, None
    if compute and compute.seconds and training.updates:
        on_gpu = outcome.trial.get("device") == "cuda"
        spent = training.seconds if on_gpu else training.core_seconds
        if not on_gpu and spent and speed is not None and speed.core:
            spent *= STANDARD / speed.core
        updates = round(training.updates * compute.seconds / spent) if spent else None
    score, scored_by = scores[0] if scores else (None, "")
    return Trained(row, number, params, score, scored_by, updates, training.seconds, classes_of(outcome, scored_by), exceeded)


def winners(trained: Sequence[Trained]) -> dict[str, Trained]:
    """Choose the training with the lowest validation score of each row.

    A row has none if no training has a score, as :func:`why_none` says, or if they have scores of different kinds or over
    different classes or events, which don't compare.
    """
    best: dict[str, Trained] = {}
    for row in dict.fromkeys(t.row for t in trained):
        scored = [t for t in trained if t.row == row and t.score is not None]
        if len({(t.scored_by, t.classes) for t in scored}) == 1:
            best[row] = min(scored, key=lambda t: t.score or 0.0)
    return best


def why_none(trained: Sequence[Trained]) -> str:
    """Say why these trainings of a row have no winner."""
    if any(t.score is not None for t in trained):
        return "the scores of its trainings are of different kinds or over different classes or events"
    beyond = beyond_budget(trained)
    return f"no training that kept to the budget has a score, and {beyond}" if beyond else "no training has a score"


def beyond_budget(trained: Sequence[Trained]) -> str:
    """Say how many of these trainings went on beyond the budget; empty if none did."""
    shares = [t.exceeded for t in trained if t.exceeded]
    return f"{len(shares)} of {plural(len(trained), 'training')} took up to {max(shares):.3g} times the budget" if shares else ""


def updates_paid(winner: Trained, trained: Sequence[Trained], space: Space) -> int | None:
    """Return the updates that the budget pays for at the winner's size: the median over all trainings of that size."""
    sizes = [{name: value for name, value in t.params.items() if name not in space.ranges} for t in (winner, *trained)]
    own = [t.updates if t.row == winner.row and size == sizes[0] else None for t, size in zip(trained, sizes[1:], strict=True)]
    alike = [updates for updates in own if updates]
    return round(statistics.median(alike)) if alike else None


def summary(winner: Trained, trained: Sequence[Trained], spec: Spec) -> Tuned:
    """Summarize the search of the winner's row for the spec file."""
    own = [t for t in trained if t.row == winner.row]
    scores = [t.score for t in own if t.score is not None]
    search = _search(spec)
    return Tuned(
        dataset=(search.dataset or spec.dataset).name,
        trials=len(own),
        failed=sum(t.failed for t in own),
        score=SCORES[winner.scored_by],
        best=round(min(scores), 4),
        median=round(statistics.median(scores), 4),
        updates=updates_paid(winner, own, search.models[winner.row]),
    )


def write_tuned(
    path: Path, extends: str, scale: str, trained: Sequence[Trained], spec: Spec, write: Callable[[Path, str], None] = write_data
) -> None:
    """Write a spec file that extends another by the winners at `scale`, and says how they were found.

    What an earlier search of the same spec wrote there stays, but for rows that have a new winner: a search may go row by row,
    and one whose trainings fail takes nothing away. The budget and the other hyperparameters are written too, since the winners
    are those of that budget: rows that were found for another one go.

    Parameters
    ----------
    path : Path
    extends : str
        Name of a shipped spec, or a path.
    scale : str
    trained : sequence of Trained
    spec : Spec
        The spec that was searched.
    write : callable
        Writes the text to the path.

    Raises
    ------
    UsageError
        If the path holds rows that can't be read.
    """
    scales = _written(path, extends)
    length = spec.budget.model_dump(mode="json", include={"epochs", "compute"}, exclude_none=True)
    if scale not in scales or scales[scale]["budget"] != length:
        scales[scale] = {"budget": length, "models": {}, "tuned": {}}
    changes = scales[scale]
    for row, winner in winners(trained).items():
        found = summary(winner, trained, spec)
        own = spec.models[row].budget.model_dump(
            mode="json", include={"epochs", "compute"}, exclude_unset=True, exclude_none=True
        )
        budget = own | ({"updates": found.updates} if found.updates else {})
        # All hyperparameters, as those that weren't searched decide what the budget pays for.
        params = {**spec.models[row].params, **winner.params}
        changes["models"][row] = {"params": params, **({"budget": budget} if budget else {})}
        changes["tuned"][row] = found.model_dump(exclude_none=True, exclude={"former"})
    text = io.StringIO()
    writer = YAML()
    writer.width = 120
    writer.dump({"extends": extends, "scales": scales}, text)
    write(path, f"{WRITTEN}{text.getvalue()}")


def written_rows(path: Path, extends: str, scale: str) -> frozenset[str]:
    """Name the rows that have a winner in a file of :func:`write_tuned`, at one scale."""
    return frozenset(_written(path, extends).get(scale, {}).get("models", ()))


def _written(path: Path, extends: str) -> dict[str, Any]:
    """Read the rows that earlier searches of the same spec wrote, by scale.

    Raises
    ------
    UsageError
        If its rows can't be read, it is of another spec, or the user has added to it: that would be lost.
    """
    hint = "Correct it, move it away, or give --to another name."
    if not path.is_file() or not (text := _text(path, MOST_RECORD, UsageError, hint)).startswith(WRITTEN):
        return {}
    try:
        before = parse_yaml(text, str(path))
    except SpecError as error:
        raise UsageError(error.message, hint) from error
    if before is None:
        return {}
    try:
        stored = _File.model_validate(before)
    except ValidationError as error:
        raise UsageError(f"{path} is not what bench tune writes: {first_problem(error)}.", hint) from error
    if stored.extends != extends:
        raise UsageError(
            f"{path} holds the winners of another spec, {stored.extends}.", "Give --to another name, or move it away."
        )
    return {
        scale: {"budget": changes.budget or {}, "models": changes.models or {}, "tuned": changes.tuned or {}}
        for scale, changes in stored.scales.items()
    }


def _text(path: Path, limit: int, kind: type[BenchError], hint: str, errors: str = "replace", newline: str | None = None) -> str:
    """Read a file in the folder of a search, which may be a stranger's; through a link, as the user may have made it."""
    try:
        return io.TextIOWrapper(io.BytesIO(read_file(Path(os.path.realpath(path)), limit)), "utf-8-sig", errors, newline).read()
    except (DamagedFileError, UnicodeDecodeError) as error:
        raise kind(f"{path} is damaged ({error}).", hint) from error


def check_target(path: Path, extends: str) -> None:
    """Refuse to replace a file that no search wrote, or whose rows can't be read.

    Raises
    ------
    UsageError
        If there is such a file, or a folder.
    """
    hint = "Give --to another name, or move it away."
    if path.exists() and not (path.is_file() and _text(path, MOST_RECORD, UsageError, hint).startswith(WRITTEN)):
        raise UsageError(f"{path} exists and was not written by bench tune.", hint)
    _written(path, extends)


def write_trials(path: Path, trained: Sequence[Trained]) -> None:
    """Write every training of a search as CSV; the trainings of other rows that the file has stay.

    Raises
    ------
    DataError
        If there is such a file that isn't UTF-8 or CSV.
    """
    rows: list[dict[str, Any]] = []
    if path.is_file():
        hint = "Move it away and give the same command again: what was trained is kept."
        before = _text(path, MOST_RESULT, DataError, hint, errors="strict", newline="")
        try:
            rows = [
                row for row in csv.DictReader(io.StringIO(before, newline="")) if row.get("row") not in {t.row for t in trained}
            ]
        except csv.Error as error:
            raise DataError(f"{path} is damaged ({error}).", hint) from error
    for t in trained:
        seconds = None if t.seconds is None else round(t.seconds, 2)
        rows.append({"row": t.row, "number": t.number, "score": t.score, "updates": t.updates, "seconds": seconds, **t.params})
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_data(path, out.getvalue())
