"""MAESTRO: piano performances with real velocities (v1, v2, v3; its own split by composition)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import bench.api
from bench.api import DataError, Progress, Skipped, Splits, Verified, fetch_command

from ._download import checked_manifest, fetch_zip
from ._files import (
    SPLITS,
    Entry,
    composition,
    contents,
    extends,
    gather,
    identity,
    locate,
    midi_file_problem,
    positive,
    read_entries,
    read_list,
)
from ._splits import unit_hash

TITLE = "MAESTRO"
LICENSE = "CC BY-NC-SA 4.0 (Hawthorne et al. 2019)"
NEEDS = "download"

VERSIONS = ("1.0.0", "2.0.0", "3.0.0")

#: sha256 of `maestro-v<version>-midi.zip`.
CHECKSUMS = {
    "1.0.0": "f620f9e1eceaab8beea10617599add2e9c83234199b550382a2f603098ae7135",
    "2.0.0": "ec2cc9d94886c6b376db1eaa2b8ad1ce62ff9f0a28b3744782b13163295dadf3",
    "3.0.0": "70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
}

URL = "https://storage.googleapis.com/magentadata/datasets/maestro/v{version}/maestro-v{version}-midi.zip"

OUTSIDE = "its name points outside the dataset's folder"

#: Rows of the table; the published one has 1,276.
MOST_ROWS = 100_000

COLUMNS = ("canonical_composer", "canonical_title", "split", "year", "midi_filename")


class Dataset(bench.api.Dataset):
    """Performances listed in a MAESTRO CSV, with its official split.

    Parameters
    ----------
    version : {"1.0.0", "2.0.0", "3.0.0"}
        ``3`` and ``v3`` mean 3.0.0.
    composer : str or list of str, optional
        Keep composers whose name contains one of these, ignoring case.
    years : int or list of int, optional
        Keep performances of these years of the competition.
    limit : int, optional
        Performances in each split, at most; always the same ones.
    minimum_notes : int
        Performances with fewer notes are left out.
    pedal : {"ignore", "extend"}
        Whether notes last while the sustain pedal holds them, as in published tables over events.
    url, sha256 : str, optional
        Address of the zip on a mirror, and its checksum.
    """

    def __init__(
        self,
        version: Literal["1.0.0", "2.0.0", "3.0.0", "v1", "v2", "v3", 1, 2, 3] = "3.0.0",
        composer: str | list[str] | None = None,
        years: int | list[int] | None = None,
        limit: int | None = None,
        minimum_notes: int = 32,
        pedal: Literal["ignore", "extend"] = "ignore",
        url: str | None = None,
        sha256: str | None = None,
    ) -> None:
        self.version = _version(version)
        self.composers = [composer] if isinstance(composer, str) else list(composer or [])
        self.years = [years] if isinstance(years, int) else list(years or [])
        self.limit, self.minimum_notes = limit, minimum_notes
        self.url = url or URL.format(version=self.version)
        self.sha256 = sha256 or CHECKSUMS[self.version]
        self.pedal = extends("maestro", pedal)
        positive("maestro", limit=limit, minimum_notes=minimum_notes)

    @property
    def name(self) -> str:
        """Name of the dataset's folder."""
        return f"maestro-v{self.version}"

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Find the folder with this version's CSV: a root, or a folder one or two levels below."""
        return locate(roots, lambda folder: (folder / f"{self.name}.csv").is_file())

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the zip of MIDI files (47 to 59 MB), verify it, unpack it to `folder`."""
        if (folder / self.name).is_dir():
            verified = self.verify(folder / self.name, progress)
            if verified.compared and not verified.differences:
                return
        fetch_zip(self.url, self.sha256, self.name, folder, progress)

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare with the checksums written at unpacking. Without them, examine each file that the CSV lists."""
        source = self.find([folder])
        if source is None:
            return Verified((f"{self.name}.csv: not found in {folder}",))
        if (verified := checked_manifest(source, progress)) is not None:
            return verified
        rows, skipped = self._rows(source)
        names = [row["midi_filename"] for row in rows]
        problems = ((name, OUTSIDE if _leads_out(name) else midi_file_problem(source / name)) for name in names)
        lines = [f"{name}: {problem}" for name, problem in problems if problem]
        remark = f"Each file that {self.name}.csv lists was examined; the table itself has no known checksum."
        left_out = [f"{each.source}: {each.reason}" for each in skipped]
        return Verified((*left_out, *lines), there=len(names) - len(lines), remark=remark)

    def fingerprint(self, source: Path | None) -> str:
        """Identity of the selection: options, the CSV's rows, also those left out, and the content of each selected file."""
        source = self._required(source)
        entries, skipped = self._entries(source)
        rows = [(e.name, e.split, e.title, e.composer) for e in entries]
        options = (self.version, self.minimum_notes, *(["pedal"] if self.pedal else []), *((s.source, s.reason) for s in skipped))
        return identity("maestro", 1, *options, rows, contents(source, (e.path for e in entries)))

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read the selected performances."""
        source = self._required(source)
        entries, skipped = self._entries(source)
        splits = read_entries(entries, progress, minimum_notes=self.minimum_notes, pedal=self.pedal, skipped=skipped)
        return gather(splits, lambda piece: f"{composition(piece.composer)}\x1f{composition(piece.title)}", progress, move=False)

    @property
    def _fetch_command(self) -> str:
        return fetch_command("maestro", {} if self.version == VERSIONS[-1] else {"version": self.version})

    def _required(self, source: Path | None) -> Path:
        if source is None:
            raise DataError(f"maestro: {self.name} was not found.", f"Use --data DIR, or `{self._fetch_command}`.")
        return source

    def _entries(self, source: Path) -> tuple[list[Entry], list[Skipped]]:
        rows, skipped = self._rows(source)
        chosen = [r for r in rows if self._wanted(r)]
        if not chosen:
            composers = sorted({r["canonical_composer"] for r in rows})
            raise DataError(
                f"maestro: nothing in {source} matches composer {self.composers or 'any'}, years {self.years or 'any'}.",
                f"Its composers: {', '.join(composers)}. Years: {', '.join(sorted({r['year'] for r in rows}))}.",
            )
        entries: list[Entry] = []
        for split in SPLITS:
            in_split = sorted((r for r in chosen if r["split"] == split), key=lambda r: unit_hash(r["midi_filename"]))
            for row in sorted(in_split[: self.limit], key=lambda r: r["midi_filename"]):
                name = row["midi_filename"]
                if _leads_out(name):
                    skipped.append(Skipped(name, OUTSIDE))
                    continue
                entries.append(Entry(source / name, name, split, row["canonical_title"], row["canonical_composer"]))
        skipped += [Skipped(r["midi_filename"], f"unknown split {r['split']!r}") for r in chosen if r["split"] not in SPLITS]
        return entries, skipped

    def _rows(self, source: Path) -> tuple[list[dict[str, str]], list[Skipped]]:
        """Read the table; a row that lacks columns, or has too many, is left out by its line."""
        path = source / f"{self.name}.csv"
        rows: list[dict[str, str]] = []
        skipped: list[Skipped] = []
        line = 1
        try:
            raw = read_list(path)
            # Without `strict` a stray quotation mark swallows the rows after it.
            table = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
            header = table.fieldnames or []
            if lacking := [column for column in COLUMNS if column not in header]:
                raise self._unusable(path, f"line 1 names no {', '.join(lacking)}; expected columns between commas")
            line = table.line_num + 1
            for row in table:
                if problem := _misshapen(row):
                    skipped.append(Skipped(f"{path.name}, line {line}", problem))
                else:
                    rows.append(row)
                line = table.line_num + 1
                if len(rows) + len(skipped) > MOST_ROWS:
                    raise self._unusable(path, f"it has more than {MOST_ROWS:,} rows")
        except UnicodeDecodeError as error:
            line += raw.count(b"\n", 0, error.start)
            raise self._unusable(path, f"line {line} isn't UTF-8 text") from error
        except csv.Error as error:
            raise self._unusable(path, f"line {line} can't be read ({error}), as where a quotation mark is missing") from error
        except (OSError, ValueError) as error:
            raise self._unusable(path, f"it can't be read ({error})") from error
        if not rows:
            raise self._unusable(path, f"{skipped[0].source}: {skipped[0].reason}" if skipped else "it has no rows")
        return rows, skipped

    def _unusable(self, path: Path, problem: str) -> DataError:
        return DataError(
            f"{path} is not MAESTRO's table: {problem}.",
            f"Correct the table if it is your own; otherwise move it away and run `{self._fetch_command}`.",
        )

    def _wanted(self, row: dict[str, str]) -> bool:
        composer = row["canonical_composer"].casefold()
        named = not self.composers or any(c.casefold() in composer for c in self.composers)
        return named and (not self.years or row["year"] in map(str, self.years))


def _misshapen(row: dict[str, str]) -> str:
    """Problem of a row that lacks columns or has more than the table; empty if there is none."""
    if lacking := [column for column in COLUMNS if row[column] is None]:
        return f"the row lacks {', '.join(lacking)}"
    more = [value for column, value in row.items() if column is None]  # as a list, under no name
    return "the row has more columns than the table" if any(map(any, more)) else ""


def _leads_out(name: str) -> bool:
    """Whether a name in the table is absolute or has ``..``. Links are followed: caches keep the files elsewhere."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def _version(option: str | int) -> str:
    text = str(option).lower().removeprefix("v")
    matches = [v for v in VERSIONS if v == text or v.split(".")[0] == text or v.removesuffix(".0") == text]
    if not matches:
        raise DataError(f"maestro: version is {option!r}.", f"Expected one of {', '.join(VERSIONS)}.")
    return matches[0]
