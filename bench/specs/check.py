"""What can be wrong in a spec, and how it is said: the place, what was given, what is expected, the nearest valid name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from bench.errors import SpecError, did_you_mean
from bench.metrics.thresholds import unknown
from bench.plugins.discovery import Parameter, Plugin
from bench.specs.document import Address, Document
from bench.specs.grid import combinations

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from bench.specs.load import ModelChoice, Spec

#: The plug-in of the reference rows, and the row that is each network before its first step.
REFERENCES = "references"
UNTRAINED = "untrained"

#: Cells of one row's grid: above this it is a slip.
MOST_CELLS = 256

#: Of the shared codec. Bits over fewer classes are fewer whatever was learned: validation would always choose the coarsest.
_CLASSES = ("time_classes", "duration_classes")

_ROW = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "string_pattern_mismatch": "at most 100 letters, digits and _ . + -",
    "threshold": "a number of at least 0, a percentage such as 5%, or off",
    "too_many_seeds": "at most 10000 seeds",
    "seeds": "how many seeds (at least 1), or a list of them",
    "folds": "a whole number of at least 2, or leave-one-out",
    "roman_numeral": "a roman numeral such as V, vi or V7",
    "musical_key": "auto or a key such as C major or F# minor",
    "sections": "sections such as AABA",
}
_LIMITS = {
    "greater_than": ("a number above", "gt"),
    "greater_than_equal": ("a number of at least", "ge"),
    "less_than": ("a number below", "lt"),
    "less_than_equal": ("a number of at most", "le"),
}

#: Types of YAML's values that fit an annotation.
_PLAIN: dict[str, tuple[type[Any], ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "tuple": (list,),
    "Sequence": (list,),
    "dict": (dict,),
    "Mapping": (dict,),
}


_WORDS = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}


class Known:
    """The names that a spec may use.

    Parameters
    ----------
    models, datasets : mapping of str to Plugin
        As :func:`bench.plugins.discovery.find_plugins` returns them.
    """

    def __init__(self, models: Mapping[str, Plugin], datasets: Mapping[str, Plugin]) -> None:
        kinds = models[REFERENCES].header["KINDS"] if REFERENCES in models else ()
        self.references: tuple[str, ...] = (*kinds, UNTRAINED)
        self.models = {name: plugin for name, plugin in models.items() if name != REFERENCES}
        #: What a row may name as its plug-in: with a harmonic constraint the references too.
        self.constrained = dict(models)
        self.datasets = dict(datasets)


def explained(error: ValidationError, document: Document, model: type[BaseModel]) -> SpecError:
    """Pydantic's complaints in our words, in the order of their lines. `model` is what the document was validated as."""
    found: dict[Address, SpecError] = {}
    for complaint in error.errors(include_url=False):
        at = tuple(part for part in complaint["loc"] if part != "[key]")
        found.setdefault(at, _explained(complaint, at, document, model))
    # What is said of a whole follows from what is wrong with its part.
    apart = [at for at in found if not any(other[: len(at)] == at for other in found if len(other) > len(at))]
    first, *others = (found[at] for at in sorted(apart, key=document.mark))
    return SpecError("\n".join(map(str, (first, *others)))) if others else first


def _explained(complaint: ErrorDetails, at: Address, document: Document, model: type[BaseModel]) -> SpecError:
    given, context, kind = complaint["input"], complaint.get("ctx", {}), complaint["type"]
    if kind == "extra_forbidden":
        return document.error(at, f"unknown key {at[-1]!r}.", did_you_mean(str(at[-1]), _keys(model, at[:-1])))
    if kind == "missing":
        return document.error(at[:-1], f"the key {at[-1]!r} is missing.")
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        return document.error(at, f"unknown value {given!r}.", did_you_mean(str(given), valid))
    if kind == "too_short":
        return document.error(at, "expected at least one.")
    if kind in _LIMITS:
        words, bound = _LIMITS[kind]
        return document.error(at, f"expected {words} {context[bound]:g}, got {given!r}.")
    if kind == "no_folds":
        return document.error((*at, "validation"), "it has no meaning without folds.", "Add `folds`, or leave it to the dataset.")
    expected = _EXPECTED.get(kind)
    if expected is None:
        return document.error(at, f"{complaint['msg']}: {_shown(given)}.")
    return document.error(at, f"expected {expected}, got {_shown(given)}.")


def check_names(spec: Spec, document: Document, known: Known) -> None:
    """Check what only the plug-ins know: datasets, models, references, and the parameters of each.

    Raises
    ------
    SpecError
        At the first that is unknown or of the wrong type.
    """
    dataset = spec.dataset
    if dataset.name not in known.datasets:
        raise document.error(
            ("dataset", "name"), f"unknown dataset {dataset.name!r}.", did_you_mean(dataset.name, known.datasets)
        )
    _check_parameters(dataset.options, known.datasets[dataset.name], document, ("dataset", "options"))
    for row, choice in spec.models.items():
        if not _ROW.fullmatch(row) or row in known.references:
            reason = "is the name of a reference" if row in known.references else "may hold only letters, digits and _ . + -"
            raise document.error(("models", row), f"a model's row can't be named {row!r}: it {reason}.")
        at: Address = ("models", row, "plugin") if choice.plugin else ("models", row)
        name = choice.plugin or row
        plugins = known.constrained if choice.harmony else known.models
        if name not in plugins:
            raise document.error(at, f"unknown model {name!r}.", did_you_mean(name, known.models))
        _check_parameters(choice.params, plugins[name], document, ("models", row, "params"))
        if choice.harmony:
            if spec.protocol.folds is not None:
                raise document.error(
                    ("models", row, "harmony"),
                    "a harmonic constraint and protocol.folds can't be combined yet.",
                    "Leave one out.",
                )
            kinds = spec.grid.get(f"{row}.kind", (choice.params.get("kind"),))
            _check_harmony(choice, plugins[name], kinds, spec.protocol.notes, document, ("models", row, "harmony"))
    for index, name in enumerate(spec.references):
        if name not in known.references:
            raise document.error(("references", index), f"unknown reference {name!r}.", did_you_mean(name, known.references))
    _check_grid(spec, document, known)
    _check_gate(spec.gate, document)
    for key, values in (("seeds", spec.seeds), ("references", spec.references)):
        if len(set(values)) < len(values):
            raise document.error((key,), "the same is listed twice.")


def _check_grid(spec: Spec, document: Document, known: Known) -> None:
    if spec.grid and spec.protocol.folds is not None:
        # One fold's validation pieces are another's test pieces: a choice by the mean over folds would see what it is tested on.
        raise document.error(("grid",), "a grid search and protocol.folds can't be combined yet.", "Leave one out.")
    for key, values in spec.grid.items():
        row, _, parameter = key.partition(".")
        if not parameter:
            raise document.error(("grid", key), f"expected row.hyperparameter, such as lstm.dropout, got {key!r}.")
        if row not in spec.models:
            raise document.error(("grid", key), f"the spec has no row {row!r}.", did_you_mean(row, spec.models))
        plugin = known.constrained[spec.models[row].plugin or row]  # the row was found right: references too have a constraint
        for value in values:
            _check_parameter(parameter, value, plugin, document, ("grid", key))
        if parameter in _CLASSES and len(values) > 1:
            raise document.error(
                ("grid", key),
                f"validation can't choose {parameter}: bits over other classes don't compare.",
                "Give each number of classes a row of its own.",
            )
        if any(value in values[:i] for i, value in enumerate(values)):  # 0 and 0.0 are one value
            raise document.error(("grid", key), "the same value is listed twice.")
    for row in spec.models:
        if (cells := len(combinations(row, spec.grid))) > MOST_CELLS:
            raise document.error(("grid",), f"{cells} combinations for the row {row!r}; at most {MOST_CELLS} can be searched.")


def _check_gate(gate: Mapping[str, Any], document: Document) -> None:
    if not gate:
        return
    from bench.metrics import METRICS  # not needed by a spec without thresholds

    pattern = unknown(gate, METRICS)
    if pattern is not None:
        raise document.error(
            ("gate", pattern),
            f"no metric {'fits' if '*' in pattern else 'is named'} {pattern!r}.",
            did_you_mean(pattern.strip("*"), METRICS),
        )


def _check_harmony(
    choice: ModelChoice, plugin: Plugin, kinds: Sequence[Any], notes: int, document: Document, at: Address
) -> None:
    """Only what draws each pitch from a distribution can be constrained, and a form must hold the notes compared.

    `kinds` are those of the row, several where a grid searches them.
    """
    can = plugin.header["CONSTRAINT"]
    if can is False:
        raise document.error(
            at,
            f"the model {plugin.name!r} can't be constrained: it has no distribution of each note's pitch given the notes "
            "before (its header doesn't say CONSTRAINT = True).",
            "Leave harmony out of this row.",
        )
    unable = [kind for kind in kinds if can is not True and kind not in can]
    if unable:
        raise document.error(
            at,
            f"{plugin.name!r} of kind {unable[0]!r} draws no pitch, so nothing can constrain it.",
            did_you_mean(str(unable[0]), can),
        )
    form = choice.harmony.form if choice.harmony else None
    if form is not None and notes > form.length:
        raise document.error(
            (*at, "form"),
            f"{form.sections} has {form.length} notes, but protocol.notes compares {notes}.",
            "Make its sections longer, or compare fewer notes.",
        )


def _check_parameters(given: Mapping[str, Any], plugin: Plugin, document: Document, at: Address) -> None:
    for name, value in given.items():
        _check_parameter(name, value, plugin, document, (*at, name))


def _check_parameter(name: str, value: Any, plugin: Plugin, document: Document, at: Address) -> None:
    word = "hyperparameter" if plugin.kind == "model" else "option"
    if name not in plugin.parameters:
        known = did_you_mean(name, plugin.parameters) or f"It has no {word}s."
        raise document.error(at, f"the {plugin.kind} {plugin.name!r} has no {word} {name!r}.", known)
    parameter = plugin.parameters[name]
    if not accepts(parameter, value):
        raise document.error(at, f"expected {in_words(parameter)}, got {_shown(value)}.")


def accepts(parameter: Parameter, value: Any) -> bool:
    """Whether a value from YAML fits a parameter's annotation. An annotation that isn't understood accepts everything."""
    try:
        annotation = ast.parse(parameter.annotation, mode="eval").body
    except SyntaxError:
        return True
    return _fits(value, annotation)


def in_words(parameter: Parameter) -> str:
    """What a parameter takes: ``Literal["a", "b"] | None`` as ``one of 'a', 'b' or null``."""
    try:
        annotation = ast.parse(parameter.annotation, mode="eval").body
    except SyntaxError:
        return parameter.annotation
    return _described(annotation)


def _described(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return f"{_described(annotation.left)} or {_described(annotation.right)}"
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return "null"
    if isinstance(annotation, ast.Subscript):
        name, inner = _last_name(annotation.value), annotation.slice
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if name == "Literal":
            return "one of " + ", ".join(repr(p.value) for p in parts if isinstance(p, ast.Constant))
        if name in ("list", "Sequence", "tuple"):
            return f"a list of {_described(parts[0])}"
    return _WORDS.get(_last_name(annotation), ast.unparse(annotation))


def _fits(value: Any, annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _fits(value, annotation.left) or _fits(value, annotation.right)
    if isinstance(annotation, ast.Constant):
        return value is None if annotation.value is None else True
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice
        arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        return _fits_generic(value, _last_name(annotation.value), arguments)
    kinds = _PLAIN.get(_last_name(annotation))
    # `isinstance(True, int)`, yet `layers: true` is a slip.
    return kinds is None or type(value) in kinds


def _fits_generic(value: Any, name: str, arguments: Sequence[ast.expr]) -> bool:
    if name == "Optional":
        return value is None or _fits(value, arguments[0])
    if name == "Union":
        return any(_fits(value, argument) for argument in arguments)
    if name == "Literal":
        choices = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
        return any(value == choice and type(value) is type(choice) for choice in choices)
    if name in ("list", "List", "Sequence", "Iterable"):
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if name in ("tuple", "Tuple"):
        if not isinstance(value, list):
            return False
        if len(arguments) == 2 and isinstance(arguments[1], ast.Constant) and arguments[1].value is ...:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return isinstance(value, dict) if name in ("dict", "Dict", "Mapping") else True


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys(model: type[BaseModel], at: Address) -> Iterable[str]:
    """Keys that a spec may have at `at`."""
    for part in at:
        field = model.model_fields.get(str(part))
        if field is None:  # a row's name: the next step is into the same mapping's values
            continue
        found = _model_in(field.annotation)
        if found is None:
            return ()
        model = found
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model in ``X``, ``X | None`` or ``dict[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)
