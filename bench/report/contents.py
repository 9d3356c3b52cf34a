"""Contents of a report: what its tables, figures and notes are computed from.

Everything comes from the run's folder: run.json, targets.npz and the scored table. Nothing is escaped here; titles, file names
and error messages may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.formatting import brief, listed, shortened, tally
from bench.metrics import HEADLINE
from bench.report.flags import FLAGS, Flag, flags
from bench.report.published import PUBLISHED, Published
from bench.scoring.grid_search import Search, searches, without_losers
from bench.scoring.ranking import Standing
from bench.scoring.table import Row, Table
from bench.storage.records import Prepared, RunRecord
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Target

#: Reference row that bits per note are compared with.
NGRAM = "ngram"

#: Most skipped files and pieces that are listed by name.
LISTED = 20


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Parameters
    ----------
    folder : Path
        The run's folder.
    run : RunRecord
        run.json.
    table : Table
        Without the cells of a grid search that validation did not choose.
    targets : sequence of Target
    searches : sequence of Search
        The grid searches, with all their cells.
    """

    folder: Path
    run: RunRecord
    table: Table
    targets: Sequence[Target]
    searches: Sequence[Search] = ()

    @property
    def spec(self) -> Mapping[str, Any]:
        """Resolved spec."""
        return self.run.spec

    @property
    def dataset(self) -> Prepared:
        """Title, licence, counts, skipped files and remarks of the prepared dataset."""
        return self.run.dataset

    @property
    def title(self) -> str:
        """Title of the spec."""
        return str(self.spec["title"])

    @cached_property
    def published(self) -> Published | None:
        """Published table beside ours, if the spec names one and it has a row of ours."""
        table = PUBLISHED.get(self.spec.get("published") or "")
        if table is None:
            return None
        ours = {name for row in self.table.rows if row.kind == "model" for name in (row.system, row.model)}
        return table if ours & table.values.keys() else None

    def published_value(self, row: Row, metric: str) -> float | None:
        """Look up the published value of a trained row, by the row's name, else by its plug-in's if only one row has it.

        A run at another scale than an anchor's, or on other held-out pieces, has none to stand beside it.
        """
        if self.published is None or row.kind != "model" or self.off_anchor:
            return None
        same = [r for r in self.table.rows if r.kind == "model" and r.model == row.model]
        name = row.system if row.system in self.published.values or len(same) > 1 else row.model
        return self.published.values.get(name, {}).get(metric)

    @property
    def off_anchor(self) -> str:
        """Why the values of an anchor don't stand beside this run's; empty if they do, or the table is no anchor."""
        table = self.published
        if table is None or not table.scales:
            return ""
        if self.run.scale not in table.scales:
            return f"at scale {self.run.scale} networks, music or training are smaller (use --scale {' or '.join(table.scales)})"
        dataset = self.spec["dataset"]
        if dataset["name"] != table.dataset:
            return f"the music isn't that of {table.dataset}"
        if self.spec["protocol"].get("folds"):
            return "every piece is held out in turn, so the held-out pieces are others (leave out protocol.folds)"
        # Where the music comes from selects none of it: its checksum does.
        options = {name: value for name, value in (dataset.get("options") or {}).items() if value is not None and name != "url"}
        wrong = [name for name in sorted({*options, *table.options}) if options.get(name) != table.options.get(name)]
        return f"other options of the dataset select other music ({listed(wrong)})" if wrong else ""

    def header(self, row: Row) -> Mapping[str, Any]:
        """Header that the row's plug-in declares."""
        return self.run.headers.get(row.model, {})

    def features(self, row: Row) -> str:
        """Last column of Table 2."""
        if row.kind == "untrained":
            return "before its first step"  # of what, its model's own row says
        external = next((trial.result.features for trial in row.done if trial.result.features), "")
        return shortened(external or str(self.header(row).get("FEATURES", "")))

    def bits_below_ngram(self, row: Row) -> float | None:
        """Percent by which bits per note are below those of the row ngram; None where they are not comparable."""
        ngram = self.table.find(NGRAM)
        if ngram is None or ngram.kind != "reference" or row.other_classes or ngram.other_classes:
            return None
        ours, theirs = row.cells["bits_per_note"].value, ngram.cells["bits_per_note"].value
        return None if ours is None or not theirs else 100 * (1 - ours / theirs)

    @cached_property
    def standings(self) -> Mapping[str, Standing]:
        """Tests of the headline columns and of bits per note."""
        return {metric: Standing(metric, self.table.rows) for metric in (*HEADLINE, "bits_per_note")}

    @cached_property
    def all_rows(self) -> Sequence[Row]:
        """Rows of the table, then the cells of a grid search that were not chosen."""
        shown = {row.system for row in self.table.rows}
        return (*self.table.rows, *(cell for s in self.searches for cell in s.cells if cell.system not in shown))

    @cached_property
    def flags(self) -> Mapping[str, Sequence[Flag]]:
        """Flags of each row."""
        return {row.system: flags(row) for row in self.all_rows}

    @cached_property
    def raised(self) -> Sequence[Flag]:
        """Flags that any row has."""
        raised = {flag.name: flag for row in self.table.rows for flag in self.flags[row.system]}
        order = [flag.name for flag in FLAGS]
        return sorted(raised.values(), key=lambda flag: order.index(flag.name) if flag.name in order else len(order))

    @cached_property
    def listen(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """MIDI files of the first pieces, prompt included: the piece, then each system and its path in the run's folder.

        One file per system, of its first seed; only the generated notes where a system takes no prompt.
        """
        pieces = []
        for piece, target in enumerate(self.targets):
            files = [("real", f"midi/target-{piece:03}.mid")]
            for row in self.table.rows:
                files += [(row.system, f"trials/{key}/midi/piece-{piece:03}.mid") for t in row.done[:1] for key in t.keys]
            stored = [(name, path) for name, path in files if (self.folder / path).is_file()]
            if len(stored) < 2:
                break
            pieces.append((piece_name(target), [("the piece itself", stored[0][1]), *stored[1:]]))
        return pieces

    @cached_property
    def skipped(self) -> list[tuple[str, int]]:
        """Reasons why files were left out and how many, the most frequent first; reasons that differ in a number are one."""
        return [(brief(reason), n) for reason, n in tally(str(s["reason"]) for s in self.dataset.skipped)]

    @cached_property
    def skipped_files(self) -> list[str]:
        """First of the files that were left out."""
        return [f"{brief(s['source'])}: {brief(s['reason'])}" for s in self.dataset.skipped[:LISTED]]

    @cached_property
    def pieces(self) -> list[str]:
        """First of the pieces that were compared."""
        return [piece_name(target) for target in self.targets[:LISTED]]


def build_report(folder: Path, table: Table) -> Report:
    """Build the report of the run in `folder`."""
    run = RunFolder(folder)
    return Report(folder, run.read(), without_losers(table), run.read_targets().targets, searches(table))


def piece_name(target: Target) -> str:
    """Composer and title of a piece, or its id, in one line."""
    return brief(": ".join(filter(None, (target.piece.composer, target.piece.title or target.piece.id))), 100)
