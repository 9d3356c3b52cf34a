"""Music for a benchmark: pieces, their split, and the base class of dataset plug-ins."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError, PluginError
from bench.formatting import clean, clean_fields
from bench.music.notes import FIELDS, Notes


@dataclass(frozen=True)
class Piece:
    """One piece of music and its origin. The texts come from files and web pages: cleaned here, and still to be escaped.

    Pieces of one `group` are the same music (another take, another key): folds hold them out together. Where it is empty, pieces
    of one composer and title are.
    """

    notes: Notes
    id: str
    title: str = ""
    composer: str = ""
    source: str = ""
    sha256: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.notes, Notes):
            raise DataError(f"Piece.notes is a {type(self.notes).__name__}, expected Notes.")
        clean_fields(self, "id", "title", "composer", "source", "group")


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and the reason."""

    source: str
    reason: str

    def __post_init__(self) -> None:
        clean_fields(self, "source", "reason")


@dataclass(frozen=True)
class Splits:
    """A dataset split by composition, never by performance.

    Raises
    ------
    DataError
        If a part isn't a sequence of what it is of; if `entropy` isn't a number, finite and at least 0, for each field and for
        "total"; or `noise` not one for some fields.
    """

    train: tuple[Piece, ...]
    validation: tuple[Piece, ...]
    test: tuple[Piece, ...]
    skipped: tuple[Skipped, ...] = ()
    #: Facts for the report, such as "velocities are rendered, not played".
    remarks: tuple[str, ...] = ()
    #: For music drawn from a source of known probabilities: the source's entropy, bits per note of the test pieces, by field of
    #: FIELDS and as "total". No model can expect to need fewer bits. None for all other music.
    entropy: Mapping[str, float] | None = None
    #: For music that the dataset itself renders: the entropy of what it draws at random for each note, bits per note of the test
    #: pieces, by field of FIELDS. No model can expect to need fewer bits for that field. None where nothing is known.
    noise: Mapping[str, float] | None = None
    #: Music that a published system wrote after learning from this music, for the reference row `published-sample`.
    samples: tuple[Piece, ...] = ()

    def __post_init__(self) -> None:
        for kind, names in {Piece: ("train", "validation", "test", "samples"), Skipped: ("skipped",), str: ("remarks",)}.items():
            for name in names:
                object.__setattr__(self, name, _all_of(kind, f"Splits.{name}", getattr(self, name)))
        object.__setattr__(self, "remarks", tuple(map(clean, self.remarks)))
        if self.entropy is not None and set(self.entropy) != {*FIELDS, "total"}:
            raise DataError(f"Splits.entropy has {sorted(self.entropy)}, expected {', '.join(FIELDS)} and total.")
        if self.noise is not None and not set(self.noise) <= set(FIELDS):
            raise DataError(f"Splits.noise has {sorted(self.noise)}, expected only {', '.join(FIELDS)}.")
        for attribute, mapping in (("entropy", self.entropy), ("noise", self.noise)):
            for name, bits in (mapping or {}).items():
                if not 0 <= bits < math.inf:
                    raise DataError(f"Splits.{attribute}[{name!r}] is {bits}, must be finite and at least 0 bits.")


def _all_of(kind: type, name: str, given: object) -> tuple[object, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise DataError(f"{name} is a {type(given).__name__}, expected a tuple of {kind.__name__}.")
    if odd := {type(part).__name__ for part in given if not isinstance(part, kind)}:
        raise DataError(f"{name} has a {min(odd)}, expected a tuple of {kind.__name__}.")
    return tuple(given)


#: Called with (done, total, description) while data is downloaded or read; a total of 0 means unknown.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Verified:
    """Result of a dataset's `verify`.

    Parameters
    ----------
    differences : tuple of str
        A line for each file that is missing or differs.
    compared : int
        Number of files compared with a checksum.
    there : int
        Number of files that exist and have no known checksum.
    remark : str
        What was examined where no checksum is known.

    Raises
    ------
    DataError
        If a number is below 0.
    """

    differences: tuple[str, ...] = ()
    compared: int = 0
    there: int = 0
    remark: str = ""

    def __post_init__(self) -> None:
        for name in ("compared", "there"):
            if not getattr(self, name) >= 0:
                raise DataError(f"Verified.{name} is {getattr(self, name)}, must be a number of files.")
        object.__setattr__(self, "differences", tuple(map(clean, self.differences)))
        clean_fields(self, "remark")


class Dataset(ABC):
    """Base class of a dataset plug-in. Its options (composer, year, ...) are keyword arguments of ``__init__``, literals in YAML.

    A plug-in defines :meth:`load` and :meth:`fingerprint`; :meth:`find` if its header's NEEDS isn't ``"nothing"``; :meth:`fetch`
    and :meth:`verify` if it is ``"download"``.
    """

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Search `roots` in their order for the folder that holds this dataset; None if there is none."""
        return None

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download into `folder` and verify. Called only where ``NEEDS = "download"``."""
        raise PluginError(
            f"{type(self).__module__}: NEEDS is 'download', but there is no fetch().", "Define it, or change NEEDS."
        )

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare the files in `folder` with their known or locked checksums; by default none is known."""
        return Verified()

    @abstractmethod
    def fingerprint(self, source: Path | None) -> str:
        """Identity of what `load` would return, without parsing: part of the key of the corpus cache and of every trial."""

    @abstractmethod
    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Parse the files in `source`, which is what `find` returned. Unusable files are skipped and listed, never a crash."""
