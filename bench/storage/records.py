"""Frozen types of a run's record, ``run.json``, validated when it is read.

`RunRecord` keeps keys that it doesn't name and the other types ignore them, so that a file of the same format from another
version can still be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.config import MOST_NOTES_OF_A_PIECE
from bench.formatting import end_of, shortened
from bench.storage.stored import Name, Stored, first_problem

#: Numbers that reports compute with: a senseless one is refused here, where it is read.
Count = Annotated[int, Field(ge=0, le=10**15)]
Finite = Annotated[float, Field(ge=-1e15, le=1e15)]


#: Most trials of a run: each is read, scored and shown.
MOST_TRIALS = 1 << 16


class Fold(Stored):
    """One fold. Pieces are numbered over the whole dataset: training, validation, then test pieces in its own order.

    Parameters
    ----------
    number : int
        Counted from 1.
    test : tuple of int
        Held-out pieces, ascending.
    validation : tuple of int
        Validation pieces among the others, ascending.
    """

    number: int
    test: tuple[int, ...]
    validation: tuple[int, ...]


class Folds(Stored):
    """All folds of a run.

    Parameters
    ----------
    asked : int or str
        The protocol's `folds`.
    too_short : int
        Number of pieces that are too short to be compared.
    folds : tuple of Fold
    """

    asked: int | str
    too_short: int
    folds: tuple[Fold, ...] = Field(min_length=1)


class Prepared(Stored):
    """Music of a run.

    Parameters
    ----------
    corpus : str
        File of the parsed corpus.
    source : str or None
        Folder that the dataset was found in.
    corpus_key : str
        Identity of the parsed corpus: a hash of the code that read it and of the files.
    parsed : str
        Hash of the notes of all pieces, as that code read them.
    targets : str
        SHA-256 of targets.npz; empty for a run that didn't record it.
    pieces, notes : mapping of str to int
        Counts by split: ``train``, ``validation``, ``test``.
    skipped : tuple of mapping
        Files left out: ``source`` and ``reason``.
    too_short : int
        Number of test pieces with fewer notes than are compared.
    entropy, noise : mapping of str to float, or None
        See :class:`bench.api.Splits`.
    folds : Folds or None
        None for the dataset's own split.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    title: Name
    license: Name
    corpus: str = ""
    source: str | None = None
    corpus_key: str | None = None
    parsed: str = ""
    targets: str = ""
    pieces: Mapping[str, Count] = {}
    notes: Mapping[str, Count] = {}
    skipped: tuple[Mapping[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    #: None for a run that didn't record it.
    too_short: Count | None = None
    entropy: Mapping[str, Finite] | None = None
    noise: Mapping[str, Finite] | None = None
    folds: Folds | None = None

    @model_validator(mode="after")
    def _of_what_folds_hold_out(self) -> Self:
        if self.folds is not None and not ("test" in self.pieces and "test" in self.notes):
            raise ValueError("it has folds, and no numbers of their pieces and notes")
        return self

    @property
    def music(self) -> str:
        """Identity of the music for a trial's key: of its files, and of what was read from them."""
        return f"{self.corpus_key}{self.parsed}"

    @field_validator("skipped")
    @classmethod
    def _named_with_reasons(cls, skipped: tuple[Mapping[str, str], ...]) -> tuple[Mapping[str, str], ...]:
        for file in skipped:
            _with(file, source=str, reason=str)
        return tuple({key: end_of(text) for key, text in file.items()} for file in skipped)

    @field_validator("pieces", "notes")
    @classmethod
    def _by_split(cls, counts: Mapping[str, int]) -> Mapping[str, int]:
        return _with(counts, train=int, validation=int, test=int) if counts else counts

    @field_validator("entropy")
    @classmethod
    def _in_all(cls, entropy: Mapping[str, float] | None) -> Mapping[str, float] | None:
        return entropy if entropy is None else _with(entropy, total=float)


class Machine(Stored):
    """Machine that a run was started on."""

    platform: Name | None = None
    cpu: Name | None = None
    cores: Count | None = None
    memory_bytes: Count | None = None
    gpus: tuple[Any, ...] = ()


class Interpreter(Stored):
    """A framework's Python and its packages, or the `error` raised on asking for them."""

    path: str = ""
    python: str | None = None
    packages: Mapping[str, str] = {}
    error: str | None = None


def package_versions(interpreters: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Give one text for each package of several interpreters; where their versions differ, it says whose is which.

    Examples
    --------
    >>> package_versions({"torch": {"numpy": "2.4", "torch": "2.13"}, "tensorflow": {"numpy": "2.1"}})
    {'numpy': '2.1 (tensorflow), 2.4 (torch)', 'torch': '2.13'}
    """
    versions: dict[str, dict[str, list[str]]] = {}
    for interpreter, packages in sorted(interpreters.items()):
        interpreter = shortened(interpreter)  # it may stand beside each package
        for package, version in packages.items():
            versions.setdefault(package, {}).setdefault(version, []).append(interpreter)
    return {
        package: next(iter(own)) if len(own) == 1 else ", ".join(f"{version} ({', '.join(who)})" for version, who in own.items())
        for package, own in sorted(versions.items())
    }


class Provenance(Stored):
    """Versions and machine that a run was started with."""

    bench: str | None = None
    git: str | None = None
    machine: Machine = Machine()
    interpreters: Mapping[str, Interpreter] = {}

    @property
    def packages(self) -> dict[str, str]:
        """Versions by package, see :func:`package_versions`."""
        return package_versions({name: interpreter.packages for name, interpreter in self.interpreters.items()})


class _Strict(Stored):
    """Base of the parts of a spec that are read before the spec is parsed, or without parsing it: of these types exactly."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Dataset(_Strict):
    name: Name
    options: Mapping[str, Any] | None = None


class _Protocol(_Strict):
    notes: Annotated[int, Field(ge=0, le=MOST_NOTES_OF_A_PIECE)]
    prompt: Annotated[int, Field(ge=0, le=MOST_NOTES_OF_A_PIECE)] = 0
    samples: Count = 1
    seconds: Annotated[float, Field(gt=0, le=1e15)] | None = None


class _Tuned(_Strict):
    trials: Count
    dataset: str
    score: str
    former: bool = False


class _Space(_Strict):
    sizes: Sequence[Sequence[str] | Mapping[str, Any]] | None = None
    ranges: Sequence[str] | Mapping[str, Any] | None = None


class _Search(_Strict):
    models: Mapping[str, _Space] | None = None


class _SpecParts(_Strict):
    """What reports read of a spec."""

    name: str = ""
    title: str
    description: str | None = None
    dataset: _Dataset
    protocol: _Protocol
    seeds: Sequence[int]
    target: Finite | None = None
    published: str | None = None
    tuned: Mapping[str, _Tuned] | None = None
    search: _Search | None = None


class PlannedTrial(Stored):
    """One trial of a run as stored, and its key."""

    #: Also the name of its folder, so it must not lead elsewhere. In the engine of pydantic $ is the end of the text only.
    key: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.=-]{0,127}$")
    trial: Mapping[str, Any]

    @field_validator("trial")
    @classmethod
    def _is_a_trial(cls, trial: Mapping[str, Any]) -> Mapping[str, Any]:
        return _with(trial, system=str, kind=str, seed=int)


class Call(Stored):
    """What a run was asked for, which repeats it.

    Parameters
    ----------
    spec : str or None
        Name or path, as it was given; None for a Spec object.
    file : str or None
        The spec's file, if it isn't a shipped one.
    models, references, dataset, seeds : optional
        Overrides of the spec.
    data, plugins : tuple of str
        Folders of music and of plug-ins.
    jobs : int
    name : str or None
        Name that was asked for the run's folder.
    command : tuple of str or None
        The command, where the others don't make it up.
    scored : str or None
        Where the files of another system really are that are a row of the run.
    """

    spec: str | None = None
    file: str | None = None
    models: tuple[str, ...] | None = None
    references: tuple[str, ...] | None = None
    dataset: str | None = None
    name: str | None = None
    seeds: int | tuple[int, ...] | None = None
    data: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    jobs: int | None = None
    command: tuple[str, ...] | None = None
    scored: str | None = None

    def run_command(self, scale: str) -> list[str]:
        """Compose the `bench run` that asks for the same; empty where only Python can."""
        if self.spec is None or self.references is not None:
            return []
        words = ["bench", "run", self.spec, "--scale", scale]
        if self.models is not None:
            words += ["--models", ",".join(self.models) or "none"]
        if self.dataset is not None:
            words += ["--dataset", self.dataset]
        if (seeds := self.seeds) is not None:
            # One seed alone needs its comma: `5` asks for five.
            words += ["--seeds", str(seeds) if isinstance(seeds, int) else ",".join(map(str, seeds)) + "," * (len(seeds) == 1)]
        words += self.folder_options()
        if self.name is not None:
            words += ["--name", self.name]
        if self.jobs is not None:
            words += ["--jobs", str(self.jobs)]
        return words

    def folder_options(self) -> list[str]:
        """Compose the options that name the folders of music and of plug-ins."""
        named = (("--data", self.data), ("--plugins", self.plugins))
        return [word for option, folders in named for folder in folders for word in (option, folder)]


class RunRecord(Stored):
    """``run.json``.

    Parameters
    ----------
    format : int
    spec : mapping
        The resolved spec, see :class:`bench.specs.schema.Spec`.
    started, finished : str or None
        UTC, ISO 8601; `finished` is None until every trial has ended.
    token : str
        Drawn when it was first started, as runs on several machines may start in one second; of merged runs, a hash of theirs.
    resumed : str or None
        When it was last started again with trials left to run; None if it never was.
    scale, why : str
        The scale and the reason for its choice.
    call : Call
    dataset : Prepared
    plugins : mapping of str to str
        Source digest of each model plug-in.
    headers : mapping of str to mapping
        Header of each model plug-in.
    trials : tuple of PlannedTrial
        In the order of the table's rows.
    provenance : Provenance
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    format: int
    spec: Mapping[str, Any]
    started: str | None = None
    token: str = Field("", max_length=64)
    resumed: str | None = None
    finished: str | None = None
    scale: Name
    why: str = ""
    call: Call
    dataset: Prepared
    plugins: Mapping[str, str] = {}
    headers: Mapping[str, Mapping[str, Any]] = {}
    trials: tuple[PlannedTrial, ...] = Field(max_length=MOST_TRIALS)
    provenance: Provenance

    def identity(self, name: str) -> str:
        """Hash of what stays the same while a run is resumed or moved.

        With another spec, other code or other music the folder holds another run.

        Parameters
        ----------
        name : str
            Of the run's folder.
        """
        keys = sorted(planned.key for planned in self.trials)  # of music, weights, and another system's files too
        parts = [name, self.started, self.scale, self.spec, self.plugins, self.token, keys]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]

    @field_validator("spec")
    @classmethod
    def _is_a_spec(cls, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            _SpecParts.model_validate(spec)
        except ValidationError as error:
            raise ValueError(first_problem(error)) from error
        return spec

    @field_validator("trials")
    @classmethod
    def _each_once(cls, trials: tuple[PlannedTrial, ...]) -> tuple[PlannedTrial, ...]:
        if len({planned.key for planned in trials}) < len(trials):
            raise ValueError("a key occurs twice")
        return trials

    def change(self, **fields: Any) -> RunRecord:
        """Copy the record with other values in some fields."""
        return self.model_copy(update=fields)


def _with(mapping: Mapping[str, Any], **types: Any) -> Mapping[str, Any]:
    """Refuse a mapping without values of these types; the parts of a spec and a trial that are read before they are parsed."""
    for name, kind in types.items():
        if not isinstance(mapping.get(name), kind):
            raise ValueError(f"{name} is missing or not of its type")
    return mapping
