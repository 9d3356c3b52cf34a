"""What a report says, as plain text and tables; :mod:`bench.report.markdown` only sets it.

Everything comes from the run's folder: run.json, targets.h5 and the scored table. Nothing is escaped here; titles, file names
and error messages may hold anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.codec import NoteCodec
from bench.metrics import METRICS
from bench.report.flags import FLAGS, Flag, flags
from bench.report.numbers import DASH, cell_text, interval_text, number_text, p_text
from bench.report.published import PUBLISHED, Published
from bench.report.standings import Standing, rank_text
from bench.score import Row, Table
from bench.store import RunFolder, Target, read_targets

#: Rows of this name are what the report's sentences compare with.
REAL, MARKOV = "real", "markov"

HEADLINE = ("pitch_distance", "velocity_distance")
BEYOND = ("pitch_sd_ratio", "unique_pitches", "top_pitch_share", "pitch_w1", "velocity_w1", "bits_per_note")
COST = (
    "training_seconds",
    "epochs",
    "training_notes_per_second",
    "seconds_to_target",
    "generation_notes_per_second",
    "peak_memory",
    "peak_gpu_memory",
    "parameters",
)

#: Skipped files and pieces that are listed by name.
LISTED = 20

#: Longest text from outside, such as an error message, characters.
LONGEST = 300


_NUMBER = re.compile(r"\d[\d.,]*(?<=\d)")


@dataclass(frozen=True)
class Grid:
    """A table of plain texts.

    Parameters
    ----------
    headers : sequence of str
    rows : sequence of sequence of str
    text_columns : frozenset of int
        Columns that hold words: set to the left, the others to the right.
    strong : frozenset of (int, int)
        Row and column of the cells that stand out.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: frozenset[int] = frozenset({0})
    strong: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Parameters
    ----------
    folder : Path
        The run's folder.
    run : mapping
        run.json.
    table : Table
    targets : sequence of Target
    """

    folder: Path
    run: Mapping[str, Any]
    table: Table
    targets: Sequence[Target]

    @property
    def spec(self) -> Mapping[str, Any]:
        """The resolved spec."""
        found: Mapping[str, Any] = self.run["spec"]
        return found

    @property
    def dataset(self) -> Mapping[str, Any]:
        """What preparing the dataset found: title, licence, counts, skipped files, remarks."""
        found: Mapping[str, Any] = self.run["dataset"]
        return found

    @property
    def title(self) -> str:
        """The spec's heading."""
        return str(self.spec["title"])

    @cached_property
    def published(self) -> Published | None:
        """The published table beside ours, if the spec names one and it has a row of ours."""
        found = PUBLISHED.get(self.spec.get("published") or "")
        if found is None:
            return None
        ours = {name for row in self.table.rows if row.kind == "model" for name in (row.system, row.model)}
        return found if ours & found.values.keys() else None

    def published_value(self, row: Row, metric: str) -> float | None:
        """The published value of a trained row, by the row's name, else by its plug-in's if only one row has it."""
        if self.published is None or row.kind != "model":
            return None
        same = [r for r in self.table.rows if r.kind == "model" and r.model == row.model]
        name = row.system if row.system in self.published.values or len(same) > 1 else row.model
        return self.published.values.get(name, {}).get(metric)

    def header(self, row: Row) -> Mapping[str, Any]:
        """What the row's plug-in declares at its top."""
        found: Mapping[str, Any] = self.run.get("headers", {}).get(row.model, {})
        return found

    def features(self, row: Row) -> str:
        """Table 2's last column."""
        header = self.header(row)
        of_kind = header.get("KINDS", {}).get(row.params.get("kind"), "")
        return str(of_kind or header.get("FEATURES", "")) + (", before its first step" if row.kind == "untrained" else "")

    def likelihood_kind(self, row: Row) -> str:
        """``exact``, ``bound``, or empty."""
        kinds = {(t.outcome or {}).get("likelihood", {}).get("kind", "") for t in row.done if (t.outcome or {}).get("likelihood")}
        return "bound" if "bound" in kinds else "".join(kinds)

    def bits_below_markov(self, row: Row) -> float | None:
        """How many percent fewer bits per note than the markov row needs; None where they can't be compared."""
        markov = self.table.find(MARKOV)
        if markov is None or markov.kind != "reference" or _classes(row) != _classes(markov):
            return None
        ours, theirs = row.cells["bits_per_note"].value, markov.cells["bits_per_note"].value
        return None if ours is None or not theirs else 100 * (1 - ours / theirs)

    @cached_property
    def standings(self) -> Mapping[str, Standing]:
        """The headline columns and bits per note, tested."""
        return {metric: Standing(metric, self.table.rows) for metric in (*HEADLINE, "bits_per_note")}

    @cached_property
    def flags(self) -> Mapping[str, Sequence[Flag]]:
        """The flags of each row."""
        return {row.system: flags(row, self.table) for row in self.table.rows}

    @cached_property
    def raised(self) -> Sequence[Flag]:
        """The flags that any row has."""
        return [flag for flag in FLAGS if any(flag in row for row in self.flags.values())]

    @cached_property
    def table2(self) -> Grid:
        """The paper's columns with intervals, ranks and flags, the published values beside ours."""
        headers, strong = ["Model"], set()
        rows = [[_name(row)] for row in self.table.rows]
        for metric in HEADLINE:
            standing = self.standings[metric]
            headers += [f"{METRICS[metric].title} ({METRICS[metric].unit})", "Rank"]
            for line, row in zip(rows, self.table.rows, strict=True):
                if row.system == standing.best:
                    strong.add((rows.index(line), len(line)))
                ranked = rank_text(standing.ranks.get(row.system), DASH)
                line += [cell_text(metric, row.cells[metric], interval=True), ranked]
            if self.published:
                headers.append(self.published.short)
                for line, row in zip(rows, self.table.rows, strict=True):
                    value = self.published_value(row, metric)
                    line.append(DASH if value is None else f"{value:.2f}")
        headers += ["Training time", "Flags", "Features"]
        for line, row in zip(rows, self.table.rows, strict=True):
            raised = ", ".join(flag.name for flag in self.flags[row.system])
            line += [cell_text("training_seconds", row.cells["training_seconds"]), raised, self.features(row)]
        return Grid(headers, rows, frozenset({0, len(headers) - 2, len(headers) - 1}), frozenset(strong))

    @cached_property
    def differences(self) -> Grid:
        """Every pair of models in every tested column."""
        rows = []
        for metric, standing in self.standings.items():
            for c in standing.between_models:
                winner = standing.winner(c)
                verdict = f"{winner} is better" if winner else "not told apart"
                if winner and not standing.outlasts_seeds(c):
                    verdict += " here; other seeds may turn it"
                difference = number_text(metric, c.difference)
                limits = DASH if c.interval is None else interval_text(metric, c.interval)
                rows.append([METRICS[metric].title, f"{c.one} − {c.other}", difference, limits, p_text(c.p), verdict])
        return Grid(["Column", "Models", "Difference", "95 % interval", "p (Holm)", "Verdict"], rows, frozenset({0, 1, 5}))

    @cached_property
    def beyond(self) -> Grid:
        """What the distance does not show."""
        headers = ["Model", *(_heading(m) for m in BEYOND), "Fewer bits than markov (%)"]
        rows = []
        for row in self.table.rows:
            cells = [cell_text(m, row.cells[m]) for m in BEYOND]
            if self.likelihood_kind(row) == "bound":
                cells[-1] = f"≤ {cells[-1]}"
            saved = self.bits_below_markov(row)
            rows.append([_name(row), *cells, DASH if saved is None or row.system == MARKOV else _signed(saved)])
        return Grid(headers, rows)

    @cached_property
    def cost(self) -> Grid:
        """What each system cost."""
        headers = ["Model", *(METRICS[m].title for m in COST), "Seeds", "Pieces"]
        return Grid(
            headers,
            [
                [
                    _name(row),
                    *(cell_text(m, row.cells[m]) for m in COST),
                    f"{len(row.done)} of {len(row.trials)}" if len(row.done) < len(row.trials) else str(len(row.done)),
                    str(row.pieces),
                ]
                for row in self.table.rows
            ],
        )

    @cached_property
    def settings(self) -> Grid:
        """The hyperparameters and the budget of each model, as the spec sets them."""
        rows = []
        for row in self.table.rows:
            if row.kind != "model":
                continue
            trial = row.trials[0].trial
            params = ", ".join(f"{name} {value}" for name, value in trial["params"].items()) or "the plug-in's defaults"
            budget = trial["budget"]
            limits = [f"{budget['epochs']} epochs"]
            if budget["patience"] is not None:
                limits.append(f"patience {budget['patience']}")
            if budget["max_seconds"] is not None:
                limits.append(f"{budget['max_seconds']:g} s")
            plugin = row.model if row.model == row.system else f"{row.system} ({row.model})"
            rows.append([plugin, params, ", ".join(limits)])
        return Grid(["Model", "Hyperparameters", "At most"], rows, frozenset({0, 1, 2}))

    @cached_property
    def listen(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """MIDI files of the first pieces, prompt included: the piece, then what is played and where it lies in the run's folder.

        One file a system, of its first seed; the written notes only where a system takes no prompt.
        """
        found = []
        for piece, target in enumerate(self.targets):
            files = [("real", f"midi/target-{piece:03}.mid")]
            for row in self.table.rows:
                files += [(row.system, f"trials/{t.key}/midi/piece-{piece:03}.mid") for t in row.done[:1]]
            there = [(name, path) for name, path in files if (self.folder / path).is_file()]
            if len(there) < 2:
                break
            found.append((_piece_name(target), [("the piece itself", there[0][1]), *there[1:]]))
        return found

    @cached_property
    def failures(self) -> Grid:
        """Trials that failed or did not run: why, and where their log lies."""
        rows = [
            [row.system, str(t.trial["seed"]), brief(t.error) or "it has not run to its end", f"trials/{t.key}/stderr.log"]
            for row in self.table.rows
            for t in row.trials
            if t.status != "done"
        ]
        return Grid(["Model", "Seed", "Why", "Log"], rows, frozenset({0, 2, 3}))

    @cached_property
    def skipped(self) -> list[tuple[str, int]]:
        """Reasons for which files were left out and how many, the most frequent first. A number doesn't make another reason."""
        counts = Counter(_NUMBER.sub("…", str(s["reason"])) for s in self.dataset.get("skipped", ()))
        return sorted(((brief(reason), n) for reason, n in counts.items()), key=lambda item: (-item[1], item[0]))

    @cached_property
    def skipped_files(self) -> list[str]:
        """The first of the files that were left out."""
        return [f"{brief(s['source'])}: {brief(s['reason'])}" for s in self.dataset.get("skipped", ())[:LISTED]]

    @cached_property
    def pieces(self) -> list[str]:
        """The first of the pieces that were compared."""
        return [_piece_name(target) for target in self.targets[:LISTED]]

    @cached_property
    def definitions(self) -> list[tuple[str, str, str]]:
        """Title, definition and source of every metric shown."""
        return [(METRICS[m].title, METRICS[m].definition, METRICS[m].source) for m in (*HEADLINE, *BEYOND, *COST)]


def build_report(folder: Path, table: Table) -> Report:
    """The report of the run in `folder`."""
    run = RunFolder(folder)
    return Report(folder, run.read(), table, read_targets(run.targets))


def brief(text: object, longest: int = LONGEST) -> str:
    """A text from outside in one line of at most `longest` characters; an ellipsis shows that it was cut."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def _name(row: Row) -> str:
    """The row's name, with what its numbers lack."""
    if row.status == "done":
        return row.system
    if row.status == "partly failed":
        return f"{row.system} ({len(row.done)} of {len(row.trials)} seeds; the others failed)"
    if row.status == "partly done":
        return f"{row.system} ({len(row.done)} of {len(row.trials)} seeds)"
    return f"{row.system} ({row.status})"


def _piece_name(target: Target) -> str:
    return brief(": ".join(filter(None, (target.piece.composer, target.piece.title or target.piece.id))), 100)


def _signed(percent: float) -> str:
    return f"{percent:.1f}".replace("-", "−")


def _heading(metric: str) -> str:
    known = METRICS[metric]
    return f"{known.title} ({known.unit})" if known.unit and known.unit not in ("pitches", "bits") else known.title


def _classes(row: Row) -> tuple[int, int]:
    """Time and duration classes that a row's likelihood is over."""
    codec = NoteCodec()
    return row.params.get("time_classes", codec.time_classes), row.params.get("duration_classes", codec.duration_classes)
