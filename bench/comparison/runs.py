"""The runs of a comparison: their scores, their music and their machines."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.errors import UsageError
from bench.gate.baseline import Baseline, take
from bench.scoring.score import score_run
from bench.scoring.table import Machine, Row, Table
from bench.storage.records import RunRecord
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Target, notes_digest

#: Names of the runs in tables, in their order. A folder's name may be long, and two may have the same.
LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class Run:
    """One run of a comparison.

    Parameters
    ----------
    letter : str
        Its name in tables.
    folder : Path
    record : RunRecord
    table : Table
        Scored by this version of bench, whichever made the run.
    baseline : Baseline
        Its values as the gate compares them.
    pieces : tuple of str
        Identities of the held-out pieces by content, in the run's order; a piece that occurs twice has two.
    """

    letter: str
    folder: Path
    record: RunRecord
    table: Table
    baseline: Baseline
    pieces: tuple[str, ...]

    @cached_property
    def rows(self) -> dict[str, Row]:
        """Rows by system."""
        return {row.system: row for row in self.table.rows}

    def machines(self, row: Row) -> frozenset[Machine]:
        """Kinds of machine that a row's trials ran on; where a trial doesn't say, its processor is that of the run."""
        return frozenset(
            one._replace(processor=one.processor or self.record.provenance.machine.cpu or "") for one in row.machines
        )

    def shares_gpu(self, row: Row) -> bool:
        """Whether other trials used the GPU of one of a row's trials."""
        return any(trial.result.provenance.get("shares_gpu") for trial in row.done)


def read_runs(folders: Sequence[Path]) -> tuple[Run, ...]:
    """Read and score the runs of a comparison.

    Raises
    ------
    UsageError
        If these are fewer than two runs or too many, or one of them occurs twice.
    DataError
        If a run is damaged or of another format.
    """
    if not 2 <= len(folders) <= len(LETTERS):
        raise UsageError(f"Expected 2 to {len(LETTERS)} runs, got {len(folders)}.", "Name each run to compare.")
    records = [RunFolder(folder).read() for folder in folders]
    for i, folder in enumerate(folders):
        for other, record in zip(folders[:i], records[:i], strict=True):
            if folder.samefile(other):
                raise UsageError(f"{folder} is given twice.", "Name each run once.")
            if record == records[i]:
                raise UsageError(f"{folder} is a copy of {other}: their run.json is the same.", "Name each run once.")
    return tuple(_read(letter, folder, record) for letter, folder, record in zip(LETTERS, folders, records, strict=False))


def _read(letter: str, folder: Path, record: RunRecord) -> Run:
    table = score_run(folder)
    return Run(letter, folder, record, table, take(folder, table), piece_identities(RunFolder(folder).read_targets().targets))


def piece_identities(targets: Sequence[Target]) -> tuple[str, ...]:
    """Identify each piece by the notes of its prompt and target, and by how often these occurred before."""
    seen: Counter[str] = Counter()
    identities = []
    for target in targets:
        digest = notes_digest([target.prompt, target.target])
        identities.append(f"{digest}-{seen[digest]}")
        seen[digest] += 1
    return tuple(identities)
