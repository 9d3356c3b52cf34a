"""Specs: YAML to a frozen :class:`Spec`, and a Spec to its trials.

A spec is validated in full before anything starts: its keys and types, at every scale it has overrides for, and every dataset,
model, reference and hyperparameter against what the plug-ins declare. A mistake is one message with file, line and key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from bench.errors import SpecError, did_you_mean
from bench.metrics.thresholds import parse
from bench.plugins.discovery import find_plugins
from bench.specs.check import REFERENCES, UNTRAINED, check_names, explained
from bench.specs.check import Known as Known
from bench.specs.document import Address, Document, Mark, merge, read_yaml
from bench.specs.grid import cell_name, combinations, row_of
from bench.specs.trials import BudgetChoice, DatasetChoice, Device, Frozen, Harmony, Protocol, Scale, Trial, listed

SPECS = Path(__file__).resolve().parent
SCALES: tuple[Scale, ...] = get_args(Scale)

#: What an override for one scale can't change: it names the spec, not what is run.
_FIXED = ("name", "extends", "suits", "scales")


#: A name that is also a folder's: no path leads out of it.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$"

#: As many as a number may ask for.
_MOST_SEEDS = 10_000


def _threshold(value: Any) -> Any:
    """A number, ``5%`` or ``off``, see :mod:`bench.metrics.thresholds`."""
    try:
        parse(value)
    except ValueError:
        raise PydanticCustomError("threshold", "not a threshold") from None
    return value


def _counted(value: Any) -> Any:
    """``3`` means seeds 0, 1 and 2."""
    if type(value) is int and value > _MOST_SEEDS:
        raise PydanticCustomError("too_many_seeds", "too many seeds")
    if isinstance(value, str) or (type(value) is int and value < 1):
        raise PydanticCustomError("seeds", "not seeds")
    return tuple(range(value)) if type(value) is int else listed(value)


class BudgetChange(BudgetChoice):
    """A budget of which only what is given counts; the rest comes from the spec's own budget."""

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}

    def over(self, budget: BudgetChoice) -> BudgetChoice:
        """`budget` with these changes."""
        return budget.model_copy(update={key: getattr(self, key) for key in self.model_fields_set})


class ModelChoice(Frozen):
    """One row: a model plug-in and its hyperparameters."""

    plugin: str | None = Field(default=None, description="The model plug-in, if the row has another name.")
    params: dict[str, Any] = Field(default_factory=dict, description="Its hyperparameters; see `bench list models`.")
    budget: BudgetChange = Field(default_factory=BudgetChange, description="What differs from the spec's budget.")
    harmony: Harmony | None = Field(default=None, description="Generate under a harmonic constraint; see `harmonic`.")


class Spec(Frozen):
    """A benchmark: which systems learn from and continue which music, and for how long."""

    name: str = Field(default="", pattern=f"^$|{_NAME}", description="Name in run folders; the file's name by default.")
    title: str = Field(description="Heading of the report.")
    description: str = Field(default="", description="What it is for, in a sentence or two.")
    extends: str | None = Field(default=None, description="A shipped spec or a relative path; this file's keys are laid on it.")
    suits: Annotated[tuple[Scale, ...], BeforeValidator(listed, json_schema_input_type=list[Scale])] = Field(
        default=(), description="Scales at which `bench all` runs it."
    )
    dataset: DatasetChoice
    protocol: Protocol = Field(default_factory=Protocol)
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_counted, json_schema_input_type=int | list[int])
    ] = Field(default=(0, 1, 2), min_length=1, description="Training seeds: a list, or how many (3 means 0, 1, 2).")
    budget: BudgetChoice = Field(default_factory=BudgetChoice)
    target: float | None = Field(default=None, gt=0, description="Validation bits per note for the column `seconds to target`.")
    models: Annotated[
        dict[str, ModelChoice], BeforeValidator(lambda v: _defaults(v), json_schema_input_type=dict[str, ModelChoice | None])
    ] = Field(default_factory=dict, description="The rows; an empty one takes the plug-in's defaults.")
    grid: dict[
        str, Annotated[tuple[Any, ...], BeforeValidator(listed, json_schema_input_type=list[Any]), Field(min_length=1)]
    ] = Field(
        default_factory=dict,
        description="Grid search: `row.hyperparameter` to its values. Every combination is trained; validation chooses.",
    )
    references: Annotated[tuple[str, ...], BeforeValidator(listed, json_schema_input_type=list[str])] = Field(
        default=("real", "shuffle", "median", "unigram", "markov", "uniform", UNTRAINED), description="Reference rows."
    )
    published: Literal["mon2025"] | None = Field(default=None, description="The published table that stands beside the results.")
    gate: dict[str, Annotated[float | str, BeforeValidator(_threshold, json_schema_input_type=float | str)]] = Field(
        default_factory=dict,
        description="How much worse a metric may get in `bench check`: metric or pattern to a number, a percentage, or off.",
    )
    scales: dict[Scale, dict[str, Any]] = Field(default_factory=dict, description="What differs at a scale.")

    def at(self, scale: Scale) -> Spec:
        """The spec with the overrides of one scale laid on, and no others."""
        changes = self.scales.get(scale, {})
        data = self.model_dump(mode="json", exclude_unset=True, exclude={"scales"})
        return Spec.model_validate(_laid(data, changes)) if changes else self.model_copy(update={"scales": {}})

    def unfold(self, scale: Scale, device: Device = "cpu") -> list[Trial]:
        """All trials, in an order that gives a useful table early: references, then the first seed of every model, and so on.

        `untrained` gives a row for each model, at the first seed only: what it shows differs little between seeds.

        Parameters
        ----------
        scale : {"smoke", "cpu", "gpu"}
            Whose overrides count.
        device : {"cpu", "cuda"}
            Where the models run; references always run on the CPU.
        """
        spec = self.at(scale)
        make = partial(Trial, dataset=spec.dataset, protocol=spec.protocol)
        clock = BudgetChoice(timeout=spec.budget.timeout)
        trials = [
            make(system=kind, kind="reference", model=REFERENCES, params={"kind": kind}, budget=clock, seed=seed)
            for seed in spec.seeds
            for kind in spec.references
            if kind != UNTRAINED
        ]
        # A reference row with a constraint of its own stays the same without training: it has none.
        trained = {row: choice for row, choice in spec.models.items() if (choice.plugin or row) != REFERENCES}
        for row, choice in trained.items() if UNTRAINED in spec.references else ():
            budget = BudgetChoice(epochs=0, timeout=choice.budget.over(spec.budget).timeout)
            system = f"{UNTRAINED} {row}"
            trials.append(spec._row(make, row, system=system, kind=UNTRAINED, budget=budget, seed=spec.seeds[0], device=device))
        for seed in spec.seeds:
            for row, choice in spec.models.items():
                own = partial(make, kind="model", budget=choice.budget.over(spec.budget), seed=seed, device=device)
                cells = combinations(row, spec.grid)
                trials += [spec._row(own, row, cell, system=cell_name(row, cell), cell_of=row) for cell in cells]
                trials += [] if cells else [spec._row(own, row, system=row)]
        return trials

    def _row(self, make: Callable[..., Trial], row: str, changed: Mapping[str, Any] | None = None, **values: Any) -> Trial:
        choice = self.models[row]
        params = {**choice.params, **(changed or {})}
        return make(model=choice.plugin or row, params=params, harmony=choice.harmony, **values)


def shipped_specs() -> dict[str, Path]:
    """The specs that come with the package, by name."""
    return {path.stem: path for path in sorted(SPECS.glob("*.yaml"), key=lambda path: path.stem)}


def load_spec(
    spec: str | Path,
    plugins: Sequence[Path] = (),
    *,
    models: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    dataset: str | None = None,
    seeds: int | Sequence[int] | None = None,
    known: Known | None = None,
) -> Spec:
    """Read and check a spec, with what the command line changes in it.

    Parameters
    ----------
    spec : str or Path
        Name of a shipped spec, or a YAML file.
    plugins : sequence of Path
        A user's plug-in folders, beside the shipped ones.
    models : sequence of str, optional
        Only these rows; a model plug-in that the spec lacks joins with its defaults.
    references : sequence of str, optional
        Only these reference rows.
    dataset : str, optional
        Another dataset, with its defaults.
    seeds : int or sequence of int, optional
        Training seeds, or how many.
    known : Known, optional
        What `plugins` holds, if it was read before.

    Raises
    ------
    SpecError
        At the first mistake: file, line, key, what is expected and the nearest valid name.
    """
    known = known or Known(find_plugins("model", plugins), find_plugins("dataset", plugins))
    path = _locate(spec)
    document = _read(path, ())
    checked(document, known)
    changed = _overridden(document, known, models, references, dataset, seeds)
    result = checked(changed, known)
    if not result.name and not re.fullmatch(_NAME, path.stem):
        raise SpecError(
            f"{path}: a file of this name can't name a run's folder: at most 100 letters, digits and _ . + -.",
            "Rename it, or give the spec a name of its own, such as `name: mine`.",
        )
    return result.model_copy(update={"name": result.name or path.stem})


def checked(document: Document, known: Known) -> Spec:
    """Validate a document as it stands and at each scale that it has overrides for."""
    spec = _validated(document)
    scales = document.data.get("scales") or {}
    base = document.without("scales")
    check_names(_validated(base), base, known)
    for scale, changes in scales.items():
        for key in changes:
            if key in _FIXED:
                raise document.error(("scales", scale, key), f"{key!r} can't differ between scales.", f"Put {key!r} at the top.")
        whole = _at_scale(base, document.within("scales", scale))
        check_names(_validated(whole), whole, known)
    return spec


def schema() -> dict[str, Any]:
    """JSON schema of a spec file, for editors. Nothing is required in it, as `extends` may bring it."""
    result = Spec.model_json_schema(mode="validation")
    definitions: dict[str, Any] = result["$defs"]
    for part in (result, *definitions.values()):
        part.pop("required", None)
    properties = {key: value for key, value in result["properties"].items() if key not in _FIXED}
    definitions["Changes"] = {
        "type": "object",
        "description": "Keys that replace the spec's own at one scale.",
        "properties": properties,
        "additionalProperties": False,
    }
    result["properties"]["scales"] = {
        "type": "object",
        "description": "What differs at a scale.",
        "properties": {scale: {"$ref": "#/$defs/Changes"} for scale in SCALES},
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result, "title": "bench spec"}


def schema_text() -> str:
    """The schema as it is shipped, in ``bench/specs/schema.json``."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _defaults(value: Any) -> Any:
    """``lstm:`` with nothing after it takes the defaults."""
    return {key: {} if item is None else item for key, item in value.items()} if isinstance(value, dict) else value


def _locate(spec: str | Path) -> Path:
    shipped = shipped_specs()
    if str(spec) in shipped:
        return shipped[str(spec)]
    path = Path(spec)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise SpecError(f"There is no spec file {path}.", did_you_mean(path.stem, shipped))
    raise SpecError(f"There is no spec named {str(spec)!r}.", f"{did_you_mean(str(spec), shipped)} Or give a YAML file.")


def _read(path: Path, above: tuple[Path, ...]) -> Document:
    """A spec file with what it extends below it. `above` are the files that extend this one."""
    if path.resolve() in [p.resolve() for p in above]:
        raise SpecError(f"{above[-1]}: extends goes in a circle: {' -> '.join(str(p) for p in (*above, path))}.")
    document = read_yaml(path, _display(path))
    parent = document.data.get("extends")
    if parent is None:
        return document.without("extends")
    if not isinstance(parent, str):
        raise document.error(("extends",), f"expected a text, got {parent!r}.")
    shipped = shipped_specs()
    below = shipped.get(parent, path.parent / parent)
    if not below.is_file():
        raise document.error(("extends",), f"there is no spec {parent!r}.", f"{did_you_mean(parent, shipped)} Or give a path.")
    return _extended(_read(below, (*above, path)), document.without("extends"))


def _display(path: Path) -> str:
    """A shipped spec by a short name, any other as the user wrote it."""
    return f"bench/specs/{path.name}" if path.parent == SPECS else str(path)


def _extended(parent: Document, child: Document) -> Document:
    """`child` laid on `parent`. What it says at its top also counts where the parent differs at a scale."""
    own = {key: value for key, value in child.data.items() if key != "scales"}
    data = dict(parent.data)
    if isinstance(scales := data.get("scales"), dict):
        data["scales"] = {s: _yielding(_forgetting(block, data, own), own) for s, block in scales.items()}
    return Document(_laid(data, child.data), parent.merged(child).marks)


def _at_scale(base: Document, changes: Document) -> Document:
    return Document(_laid(base.data, changes.data), base.merged(changes).marks)


def _laid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    return merge(_forgetting(base, base, over), over)


def _yielding(block: Any, over: Any) -> Any:
    """`block` without the keys that `over` sets."""
    if not isinstance(block, dict) or not isinstance(over, dict):
        return block
    kept = {}
    for key, value in block.items():
        if key not in over:
            kept[key] = value
        elif isinstance(value, dict) and (isinstance(over[key], dict) or over[key] is None):
            kept[key] = _yielding(value, over[key])
    return kept


def _forgetting(data: Any, before: Mapping[str, Any], over: Mapping[str, Any]) -> Any:
    """`data` without the options and hyperparameters that were chosen for a plug-in which `over` replaces by another.

    `data` is `before`, or its overrides for a scale.
    """
    if not isinstance(data, dict):
        return data
    result = dict(data)
    name = _part(over, "dataset").get("name")
    if name is not None and name != _part(data, "dataset").get("name", _part(before, "dataset").get("name")):
        result.pop("dataset", None)
    rows = dict(_part(data, "models"))
    for row, choice in _part(over, "models").items():
        plugin = choice.get("plugin") if isinstance(choice, dict) else None
        if plugin is None or not isinstance(rows.get(row), dict):
            continue
        if plugin != (rows[row].get("plugin") or _part(_part(before, "models"), row).get("plugin") or row):
            rows[row] = {key: value for key, value in rows[row].items() if key != "params"}
    return result | {"models": rows} if rows else result


def _part(data: Any, key: str) -> dict[str, Any]:
    """The mapping at `key`, empty where there is none: a document is looked into before it is validated."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _validated(document: Document) -> Spec:
    try:
        return Spec.model_validate(document.data, strict=True)
    except ValidationError as error:
        raise explained(error, document, Spec) from None


def _overridden(
    document: Document,
    known: Known,
    models: Sequence[str] | None,
    references: Sequence[str] | None,
    dataset: str | None,
    seeds: int | Sequence[int] | None,
) -> Document:
    """The document as extended by the command line's choices."""
    choices: dict[str, Any] = {}
    if references is not None:
        choices["references"] = list(references)
    if dataset is not None:
        choices["dataset"] = {"name": dataset}
    if seeds is not None:
        choices["seeds"] = seeds if isinstance(seeds, int) else list(seeds)
    marks: dict[Address, Mark] = {(key,): Mark(f"--{key}", 0) for key in choices}
    if dataset is not None:
        marks["dataset", "name"] = marks["dataset",]
    over = Document(choices, marks)
    return _extended(_with_models(document, models, known) if models is not None else document, over)


def _with_models(document: Document, chosen: Sequence[str], known: Known) -> Document:
    """Only the chosen rows; a model plug-in that the spec lacks joins with its defaults."""
    rows = document.data.get("models") or {}
    for name in chosen:
        if name in known.references:
            raise SpecError(f"--models: {name!r} is a reference, not a model.", "The spec's references run whatever the models.")
        if name not in rows and name not in known.models:
            raise SpecError(f"--models: unknown model {name!r}.", did_you_mean(name, {*rows, *known.models}))
    scales = {}
    for scale, block in (document.data.get("scales") or {}).items():
        # A row that only this scale has must not come back.
        scales[scale] = dict(block)
        if block.get("models"):
            scales[scale]["models"] = {name: row for name, row in block["models"].items() if name in chosen}
        if isinstance(block.get("grid"), dict):
            scales[scale]["grid"] = {key: v for key, v in block["grid"].items() if row_of(str(key)) in chosen}
    kept: dict[str, Any] = {"models": {name: rows.get(name) for name in chosen}, "scales": scales}
    if isinstance(grid := document.data.get("grid"), dict):
        kept["grid"] = {key: values for key, values in grid.items() if row_of(str(key)) in chosen}
    return Document(document.data | kept, document.marks)


if __name__ == "__main__":  # python -m bench.specs.load: the schema is made anew
    (SPECS / "schema.json").write_text(schema_text())
