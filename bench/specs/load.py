"""Specs: YAML to a frozen :class:`Spec`.

A spec is validated in full before anything starts: its keys and types, at every scale it has overrides for, and every dataset,
model, reference and hyperparameter against what the plug-ins declare. A mistake is one message with file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import SpecError, did_you_mean
from bench.plugins.discovery import find_plugins
from bench.specs.check import Known, check_names
from bench.specs.document import Address, Document, Mark, read_yaml
from bench.specs.messages import explained
from bench.specs.schema import FIXED, NAME, Spec, forgetting, laid
from bench.specs.trials import row_of

SPECS = Path(__file__).resolve().parent


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
    if not result.name and not re.fullmatch(NAME, path.stem):
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
            if key in FIXED:
                raise document.error(("scales", scale, key), f"{key!r} can't differ between scales.", f"Put {key!r} at the top.")
        whole = _at_scale(base, document.within("scales", scale))
        check_names(_validated(whole), whole, known)
    return spec


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
        data["scales"] = {s: _yielding(forgetting(block, data, own), own) for s, block in scales.items()}
    return Document(laid(data, child.data), parent.merged(child).marks)


def _at_scale(base: Document, changes: Document) -> Document:
    return Document(laid(base.data, changes.data), base.merged(changes).marks)


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
