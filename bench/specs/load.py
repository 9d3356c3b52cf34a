"""Load specs: from YAML files and options of the command line to a frozen :class:`Spec`.

A spec is validated in full before anything starts: its keys and types, at every scale it has overrides for, and every dataset,
model, reference and hyperparameter against what the plug-ins declare. One message lists all unknown keys and wrong types, each
with file, line and key; names are then reported one at a time.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import SpecError, did_you_mean
from bench.plugins.discovery import find_plugins
from bench.specs.check import ValidNames, check_names
from bench.specs.document import Address, Document, Mark, read_yaml
from bench.specs.layers import at_scale, fold, fold_at
from bench.specs.messages import spec_error
from bench.specs.schema import FIXED, Scale, Spec
from bench.specs.trials import row_of
from bench.system.paths import NAME

SPECS = Path(__file__).resolve().parent

#: Keys that leave what a spec's description says as it is.
ABOUT = {"extends", "name", "title", "description", "suits", "gate"}

#: Files of a folder that a message names where one is missing.
_MOST_NAMED = 20


def shipped_specs() -> dict[str, Path]:
    """List the specs that come with the package, by name."""
    return {path.stem: path for path in sorted(SPECS.glob("*.yaml"), key=lambda path: path.stem)}


def load_spec(
    spec: str | Path,
    plugins: Sequence[Path] = (),
    *,
    scale: Scale | None,
    models: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    dataset: str | None = None,
    seeds: int | Sequence[int] | None = None,
    names: ValidNames | None = None,
) -> Spec:
    """Read a spec, apply the options of the command line, and check it at every scale.

    Parameters
    ----------
    spec : str or Path
        Name of a shipped spec, or a YAML file.
    plugins : sequence of Path
        A user's plug-in folders, beside the shipped ones.
    scale : {"smoke", "cpu", "gpu"} or None
        Its overrides apply; None applies no overrides.
    models : sequence of str, optional
        Only these rows; a model plug-in that the spec lacks joins with its defaults.
    references : sequence of str, optional
        Only these reference rows.
    dataset : str, optional
        Another dataset, with its defaults.
    seeds : int or sequence of int, optional
        Training seeds, or how many.
    names : ValidNames, optional
        Names of the plug-ins in `plugins`, if they were read before.

    Returns
    -------
    Spec
        At `scale`; its own `scales` are empty.

    Raises
    ------
    SpecError
        For all unknown keys and wrong types at once, else for the first wrong name: file, line, key, what is expected and the
        nearest valid name.
    """
    names = names or ValidNames(find_plugins("model", plugins), find_plugins("dataset", plugins))
    path = _locate(spec)
    layers = _layers(path, ())
    specs = _checked(layers, names)
    if models is not None:
        _check_rows(models, specs[None], names)
    if any(change is not None for change in (models, references, dataset, seeds)):
        layers = layers if models is None and dataset is None else _undescribed(layers)
        layers = [*layers, _command_line(references, dataset, seeds)]
        specs = _checked(layers, names, models)
    result = specs.get(scale, specs[None])
    if not result.name and not re.fullmatch(NAME, path.stem):
        raise SpecError(
            f"{path}: a file of this name can't name a run's folder: at most 100 letters, digits and _ . + -.",
            "Rename it, or give the spec a name of its own, such as `name: mine`.",
        )
    name = result.name or path.stem
    other = _is_titled_for_other_music(at_scale(layers, scale))
    return result.model_copy(
        update={"name": name, **({"title": f"{name} on the dataset {result.dataset.name}"} if other else {})}
    )


def _checked(layers: Sequence[Document], names: ValidNames, rows: Sequence[str] | None = None) -> dict[Scale | None, Spec]:
    """Validate a spec without overrides (None) and at each scale that has some, with only `rows` of its models if given."""
    complete = fold(layers)
    _validated(complete)
    specs: dict[Scale | None, Spec] = {}
    for scale in (None, *(complete.data.get("scales") or ())):
        for key in [key for key in complete.within("scales", scale).data if key in FIXED]:
            raise complete.error(("scales", str(scale), key), f"{key!r} can't differ between scales.", f"Put {key!r} at the top.")
        document = fold_at(layers, scale)
        document = document if rows is None else _only(document, rows)
        specs[scale] = _validated(document)
        check_names(specs[scale], document, names)
    return specs


def _validated(document: Document) -> Spec:
    try:
        return Spec.model_validate(document.data, strict=True)
    except ValidationError as error:
        raise spec_error(error, document, Spec) from None


def _layers(path: Path, above: tuple[Path, ...]) -> list[Document]:
    """Read a spec file and, before it, those that it extends. `above` are the files that extend this one."""
    if path.resolve() in [p.resolve() for p in above]:
        raise SpecError(f"{above[-1]}: extends goes in a circle: {' -> '.join(str(p) for p in (*above, path))}.")
    document = _shipped(path) if path.parent == SPECS else read_yaml(path)
    parent = document.data.get("extends")
    if parent is None:
        return [document.without("extends")]
    if not isinstance(parent, str):
        raise document.error(("extends",), f"expected a text, got {parent!r}.")
    shipped = shipped_specs()
    below = shipped.get(parent, path.parent / parent)
    if not _is_file(below):
        raise document.error(("extends",), f"there is no spec {parent!r}.", f"{did_you_mean(parent, shipped)} Or give a path.")
    layers = _layers(below, (*above, path))
    if document.data.keys() - ABOUT:
        layers = _undescribed(layers)
    return [*layers, document.without("extends")]


def _undescribed(layers: Sequence[Document]) -> list[Document]:
    """Drop the descriptions of layers that another one changes: of music and rows that the spec may no longer have."""
    return [layer.without("description") for layer in layers]


def _is_titled_for_other_music(layers: Sequence[Document]) -> bool:
    """Whether the title comes from below a change of the dataset, which it may name."""
    other, before = False, None
    for layer in layers:
        dataset = layer.within("dataset").data.get("name", before)
        other = "title" not in layer.data and (other or before not in (None, dataset))
        before = dataset
    return other


@cache
def _shipped(path: Path) -> Document:
    """Read a shipped spec under a short name, once: several others extend it."""
    return read_yaml(path, f"bench/specs/{path.name}")


def _locate(spec: str | Path) -> Path:
    shipped = shipped_specs()
    if str(spec) in shipped:
        return shipped[str(spec)]
    path = Path(spec)
    if _is_file(path):
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if path.stem in shipped:
            raise SpecError(f"There is no spec file {path}.", f"The shipped spec is {path.stem!r}, without a suffix.")
        here = [file.name for suffix in ("yaml", "yml") for file in islice(path.parent.glob(f"*.{suffix}"), _MOST_NAMED)]
        hint = did_you_mean(path.name, here) if here else f"There is no YAML file in {path.parent.absolute()}."
        raise SpecError(f"There is no spec file {path}.", hint)
    raise SpecError(f"There is no spec named {str(spec)!r}.", f"{did_you_mean(str(spec), shipped)} Or give a YAML file.")


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a name that none can have names none."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _command_line(references: Sequence[str] | None, dataset: str | None, seeds: int | Sequence[int] | None) -> Document:
    """Build the layer of the command line."""
    choices: dict[str, Any] = {}
    if references is not None:
        choices["references"] = list(references)
    if dataset is not None:
        choices["dataset"] = {"name": dataset}
    if seeds is not None:
        choices["seeds"] = list(seeds) if isinstance(seeds, Sequence) else seeds
    marks: dict[Address, Mark] = {}
    for key, value in choices.items():
        parts = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        marks |= dict.fromkeys([(key,), *((key, part) for part in parts)], Mark(f"--{key}", 0))
    return Document(choices, marks)


def _check_rows(models: Sequence[str], spec: Spec, names: ValidNames) -> None:
    """Check that each of `models` is a row of the spec or a model plug-in."""
    for name in models:
        if name in names.references:
            raise SpecError(f"--models: {name!r} is a reference, not a model.", "The spec's references run whatever the models.")
        if name not in spec.models and name not in names.models:
            raise SpecError(f"--models: unknown model {name!r}.", did_you_mean(name, {*spec.models, *names.models}))


def _only(document: Document, rows: Sequence[str]) -> Document:
    """Keep only these rows and their grids; a row that the spec lacks takes its plug-in's defaults."""
    models, grid = document.data.get("models") or {}, document.data.get("grid") or {}
    kept = {"models": {row: models.get(row) for row in rows}, "grid": {k: v for k, v in grid.items() if row_of(k) in rows}}
    return Document(document.data | kept, document.marks)
