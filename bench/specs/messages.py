"""Messages for pydantic's errors: file, line and key, what was given, what was expected, the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from bench.errors import SpecError, did_you_mean
from bench.specs.document import Address, Document

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
    "compute": "one of seconds, updates and notes",
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


def spec_error(error: ValidationError, document: Document, model: type[BaseModel]) -> SpecError:
    """Translate the errors of validating `document` as `model`, sorted by line."""
    errors: dict[Address, SpecError] = {}
    for complaint in error.errors(include_url=False):
        at = tuple(part for part in complaint["loc"] if part != "[key]")
        errors.setdefault(at, _error(complaint, at, document, model))
    # An error of a mapping or list follows from those within it.
    innermost = [at for at in errors if not any(other[: len(at)] == at for other in errors if len(other) > len(at))]
    first, *others = (errors[at] for at in sorted(innermost, key=document.mark))
    return SpecError("\n".join(map(str, (first, *others)))) if others else first


def _error(complaint: ErrorDetails, at: Address, document: Document, model: type[BaseModel]) -> SpecError:
    value, context, kind = complaint["input"], complaint.get("ctx", {}), complaint["type"]
    if kind == "extra_forbidden":
        return document.error(at, f"unknown key {at[-1]!r}.", did_you_mean(str(at[-1]), _keys(model, at[:-1])))
    if kind == "missing":
        return document.error(at[:-1], f"the key {at[-1]!r} is missing.")
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        return document.error(at, f"unknown value {value!r}.", did_you_mean(str(value), valid))
    if kind == "too_short":
        return document.error(at, "expected at least one.")
    if kind in _LIMITS:
        words, bound = _LIMITS[kind]
        return document.error(at, f"expected {words} {context[bound]:g}, got {value!r}.")
    if kind == "no_folds":
        return document.error((*at, "validation"), "it has no meaning without folds.", "Add `folds`, or leave it to the dataset.")
    if kind == "epochs_and_compute":
        return document.error(
            (*at, "epochs"), "epochs have no effect beside `compute`.", "Remove one of them, or set compute: null."
        )
    if kind == "no_compute":
        return no_effect(document, at, context["key"])
    expected = _EXPECTED.get(kind)
    if expected is None:
        return document.error(at, f"{complaint['msg']}: {short_repr(value)}.")
    return document.error(at, f"expected {expected}, got {short_repr(value)}.")


def no_effect(document: Document, budget: Address, key: str) -> SpecError:
    """Refuse a budget's key that has no effect; `budget` is the budget's address."""
    needs = "`compute: {seconds: ...}`" if key == "updates" else "`compute`"
    return document.error((*budget, key), f"it has no effect without {needs}.", "Remove it, or state such a budget.")


def short_repr(value: Any) -> str:
    """Shorten a `repr` to at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys(model: type[BaseModel], at: Address) -> Iterable[str]:
    """Look up the valid keys at an address in a spec."""
    for part in at:
        field = model.model_fields.get(str(part))
        if field is None:  # a row's name: the next key is looked up in the mapping's values
            continue
        inner = _model_in(field.annotation)
        if inner is None:
            return ()
        model = inner
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the pydantic model in ``X``, ``X | None`` or ``dict[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
