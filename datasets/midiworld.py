"""midiworld.com, the paper's source: files of mixed quality, locked by checksum once downloaded."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import bench.api
from bench.api import DataError, Piece, Progress, Skipped, Splits, Verified, fetch_command, write_file

from ._download import clear_temporaries, compare, unwritable
from ._files import (
    Entry,
    by_hash,
    composition,
    contents,
    extends,
    file_sha256,
    gather,
    identity,
    locate,
    positive,
    program_range,
    read_entries,
    read_list,
)
from ._midiworld import BASE_URL, HOSTS, Link, composer_page, search
from ._web import BrokenError, Client, GoneError, UnreachableError

TITLE = "midiworld"
LICENSE = "none given: the files belong to those who made them"
NEEDS = "download"

LOCK = "midiworld.lock.json"
LOCK_FORMAT = 1

#: Addresses that fail before the server is asked whether it answers at all.
MOST_MISSED = 3

REMARKS = (
    "Files of midiworld.com are of mixed quality; many were entered by hand, with velocities that nobody played.",
    "Split by a hash of the title without case, accents and punctuation: versions of one title are in one split. "
    "Free arrangements under another title aren't recognised.",
)


class Dataset(bench.api.Dataset):
    """Files listed by midiworld's search and composer pages.

    The first download records each file's address, size and sha256 in a lock file. Later downloads, also elsewhere with a copy of
    that lock, get the same files or report which one changed.

    Parameters
    ----------
    query : str or list of str, optional
        Search words; a list makes several searches. Without a query and composers: ``piano``.
    composers : str or list of str, optional
        Composers' pages, as in their addresses: ``bach``, ``chopin``.
    limit : int
        Files, at most.
    programs : {"piano", "all"}
        Keep the piano family only, or every pitched track.
    minimum_notes : int
        Pieces with fewer are left out.
    validation, test : float
        Shares of these splits.
    delay : float
        Seconds between requests.
    base_url : str
        Address of the site, or of a mirror.
    pedal : {"ignore", "extend"}
        Whether notes last while the sustain pedal holds them.
    """

    def __init__(
        self,
        query: str | list[str] | None = None,
        composers: str | list[str] | None = None,
        limit: int = 300,
        programs: Literal["piano", "all"] = "piano",
        minimum_notes: int = 64,
        validation: float = 0.1,
        test: float = 0.2,
        delay: float = 1.0,
        base_url: str = BASE_URL,
        pedal: Literal["ignore", "extend"] = "ignore",
    ) -> None:
        self.composers = [composers] if isinstance(composers, str) else list(composers or [])
        self.queries = [query] if isinstance(query, str) else list(query or ([] if self.composers else ["piano"]))
        options = {"query": query, "composers": composers, "limit": limit, "base_url": base_url}
        defaults = {"query": None, "composers": None, "limit": 300, "base_url": BASE_URL}
        self.fetch_command = fetch_command("midiworld", {k: v for k, v in options.items() if v != defaults[k]})
        self.limit, self.minimum_notes, self.delay = limit, minimum_notes, delay
        self.programs = program_range("midiworld", programs)
        self.validation, self.test = validation, test
        self.base_url = base_url if base_url.endswith("/") else base_url + "/"
        self.pedal = extends("midiworld", pedal)
        positive("midiworld", limit=limit, minimum_notes=minimum_notes)
        if delay < 0 or validation < 0 or test < 0 or validation + test >= 1:
            raise DataError(f"midiworld: delay {delay}, validation {validation} or test {test} is out of range.")

    @property
    def selection(self) -> str:
        """Key of this selection in the lock file."""
        return json.dumps({"query": self.queries, "composers": self.composers, "limit": self.limit}, sort_keys=True)

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Find the folder whose lock file has this selection, with all its files."""
        return locate(roots, self._complete)

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the files that the lock file names, or else those that the site lists now, and lock them."""
        try:
            self._fetch(folder, progress)
        except OSError as error:
            raise unwritable(folder, error) from error

    def _fetch(self, folder: Path, progress: Progress) -> None:
        clear_temporaries(folder, folder / "files")
        lock = _read_lock(folder)
        client = Client(self.base_url, HOSTS if self.base_url == BASE_URL else (), self.delay)
        if self.selection in lock["selections"]:
            self._fetch_locked(folder, lock, client, progress)
            return
        files, left_out = self._fetch_listed(folder, lock, client, progress)
        if not files:
            reasons = "; ".join(sorted({reason for _, reason in left_out})) or "the pages list no file"
            raise DataError(f"midiworld: no MIDI file for {self.selection} ({reasons}).", "Try another query or composer.")
        lock["selections"][self.selection] = {"files": list(files), "left_out": left_out}
        _write_lock(folder, lock)

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare the files of this selection with the lock."""
        return compare(folder, {f["file"]: f["sha256"] for f in self._locked(folder)}, progress)

    def fingerprint(self, source: Path | None) -> str:
        """Identity of the options and the files of the selection."""
        source = self._required(source)
        entries = self._entries(source)
        options = (
            self.selection,
            self.programs,
            self.minimum_notes,
            self.validation,
            self.test,
            *(["pedal"] if self.pedal else []),
        )
        titles = [(e.name, e.title, e.composer) for e in entries]
        return identity("midiworld", 1, *options, titles, contents(source, (e.path for e in entries)))

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read the files of the selection."""
        source = self._required(source)
        if wrong := self.verify(source, progress).differences:
            raise DataError(
                f"{source} does not hold what {LOCK} names:\n" + "\n".join(wrong),
                f"Delete those files and run `{self.fetch_command}`.",
            )
        left_out = _read_lock(source)["selections"][self.selection]["left_out"]
        splits = read_entries(
            self._entries(source),
            progress,
            minimum_notes=self.minimum_notes,
            programs=self.programs,
            pedal=self.pedal,
            skipped=[Skipped(url, reason) for url, reason in left_out],
            remarks=REMARKS,
        )
        return gather(splits, _group, progress)

    def _required(self, source: Path | None) -> Path:
        if source is None:
            raise DataError("midiworld: this selection is not downloaded yet.", f"Run `{self.fetch_command}`.")
        return source

    def _entries(self, source: Path) -> list[Entry]:
        return [
            Entry(
                source / f["file"],
                f["file"],
                by_hash(composition(f["title"]), self.validation, self.test),
                f["title"],
                f["composer"],
            )
            for f in self._locked(source)
        ]

    def _locked(self, folder: Path) -> list[dict[str, Any]]:
        lock = _read_lock(folder)
        if self.selection not in lock["selections"]:
            raise DataError(f"{folder / LOCK} does not have the selection {self.selection}.", f"Run `{self.fetch_command}`.")
        return [lock["files"][url] for url in lock["selections"][self.selection]["files"]]

    def _complete(self, folder: Path) -> bool:
        if not (folder / LOCK).is_file() or self.selection not in _read_lock(folder)["selections"]:
            return False
        return all((folder / f["file"]).is_file() for f in self._locked(folder))

    def _links(self, client: Client) -> list[Link]:
        links: dict[str, Link] = {}
        for composer in self.composers:
            links |= {link.url: link for link in composer_page(client, self.base_url, composer)}
        for query in self.queries:
            links |= {link.url: link for link in search(client, self.base_url, query, self.limit)}
        return list(links.values())[: self.limit]

    def _fetch_listed(
        self, folder: Path, lock: dict[str, Any], client: Client, progress: Progress
    ) -> tuple[dict[str, dict[str, Any]], list[list[str]]]:
        """Download a new selection: return its files by address, and with the reason the addresses that deliver no MIDI file.

        Each file is locked as it comes: of a download that is interrupted, those with the locked checksum need not come again.
        """
        progress(0, 0, "reading midiworld's lists")
        links = self._links(client)
        locked: dict[str, dict[str, Any]] = lock["files"]
        unreached: dict[str, str] = {}
        broken: dict[str, str] = {}
        # Those that fail are asked for once more at the end: then the server may answer again.
        for i, link in enumerate(itertools.chain(links, (link for link in links if link.url in unreached or link.url in broken))):
            progress(min(i, len(links)), len(links), "downloading files")
            if link.url in locked and _is_there(folder, locked[link.url]):
                continue
            try:
                body = client.get(link.url)
            except UnreachableError as error:
                unreached[link.url] = str(error)
                if len(unreached) % MOST_MISSED == 0 and not self._answers(client):
                    raise _unreachable(unreached, len(links)) from error
                continue
            except GoneError as error:  # of an address without content, or of all while the site is suspended
                unreached.pop(link.url, None)
                broken[link.url] = str(error)
                continue
            unreached.pop(link.url, None)
            if problem := _not_midi(body):  # of an address without a file, or "back soon" and "too many connections" on each
                broken[link.url] = problem
                continue
            broken.pop(link.url, None)
            name, digest = _file_name(link.url), hashlib.sha256(body).hexdigest()
            facts = {"file": name, "sha256": digest, "bytes": len(body), "title": link.title, "composer": link.composer}
            known = locked.setdefault(link.url, facts)
            if known["sha256"] != digest:
                raise _changed([f"{link.url} ({known['title']}): sha256 expected {known['sha256']}, got {digest}"])
            write_file(folder / known["file"], body)
            _write_lock(folder, lock)
        files = {link.url: locked[link.url] for link in links if link.url in locked}
        failed = broken | unreached
        # Where the server delivers others, it is the address's own fault that it failed twice. A locked file has to come.
        needed = unreached if not files else unreached.keys() & locked.keys()
        if needed or (failed and files and not self._delivers(client, *next(iter(files.items())))):
            raise _unreachable(failed, len(links))
        if gone := [f"{url} ({locked[url]['title']}): {reason}" for url, reason in broken.items() if url in locked]:
            raise _changed(gone)
        left_out = [[link.url, failed[link.url]] for link in links if link.url in failed]
        return files, left_out

    def _answers(self, client: Client) -> bool:
        """Whether the server answers at all."""
        try:
            client.get(self.base_url)
        except UnreachableError:
            return False
        except GoneError:
            pass
        return True

    def _delivers(self, client: Client, url: str, facts: Mapping[str, Any]) -> bool:
        """Whether the server still delivers a file that it has: if not, what failed on others says nothing of them."""
        try:
            return bool(hashlib.sha256(client.get(url)).hexdigest() == facts["sha256"])
        except GoneError:
            return False

    def _fetch_locked(self, folder: Path, lock: dict[str, Any], client: Client, progress: Progress) -> None:
        """Download locked files that are missing or damaged; refuse any that differs from the lock."""
        urls = lock["selections"][self.selection]["files"]
        wrong = []
        unreached: dict[str, str] = {}
        for i, url in enumerate(urls):
            progress(i, len(urls), "verifying files")
            locked = lock["files"][url]
            if _is_there(folder, locked):
                continue
            try:
                body = client.get(url)
            except (UnreachableError, BrokenError) as error:
                unreached[url] = str(error)
                continue
            except GoneError as error:
                wrong.append(f"{url} ({locked['title']}): {error}")
                continue
            digest = hashlib.sha256(body).hexdigest()
            if digest != locked["sha256"]:
                wrong.append(f"{url} ({locked['title']}): sha256 expected {locked['sha256']}, got {digest}")
                continue
            write_file(folder / locked["file"], body)
        if wrong:
            raise _changed(wrong)
        if unreached:
            raise _unreachable(unreached, len(urls))


def _is_there(folder: Path, locked: Mapping[str, Any]) -> bool:
    """Whether a file is there with the locked checksum: any other was damaged here, which says nothing of the site's."""
    path = folder / locked["file"]
    return path.is_file() and bool(file_sha256(path) == locked["sha256"])


def _group(piece: Piece) -> str:
    return composition(piece.title)


def _unreachable(reasons: Mapping[str, str], number: int) -> DataError:
    first = next(iter(reasons.items()))
    return DataError(
        f"midiworld: {len(reasons)} of {number} files can't be downloaded now; {first[0]}: {first[1]}.",
        "Try again later; what was downloaded is kept.",
    )


def _changed(lines: Sequence[str]) -> DataError:
    return DataError(
        "midiworld: the site's files differ from the locked ones; they were not kept.\n" + "\n".join(lines),
        f"To use the new files, delete {LOCK} and fetch again. Results before and after can't be compared.",
    )


def _not_midi(body: bytes) -> str:
    """Problem of a body that isn't MIDI, or only the beginning of a file; empty if there is none."""
    if body.startswith(b"MThd"):
        at, missing = 14, int.from_bytes(body[10:12], "big")
        while at + 8 <= len(body) and missing > 0:
            missing -= body[at : at + 4] == b"MTrk"
            at += 8 + int.from_bytes(body[at + 4 : at + 8], "big")
        return "not a MIDI file that can be parsed (it ends too early)" if missing > 0 or at > len(body) else ""
    head = body[:512].lstrip().lower()
    return "HTML instead of MIDI" if head.startswith((b"<!doctype", b"<html", b"<head")) else "not a MIDI file"


def _file_name(url: str) -> str:
    """Make a safe file name from any address: a readable stem, and a hash that distinguishes addresses."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".mid"))[:40].strip("-")
    return f"files/{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}.mid"


def _read_lock(folder: Path) -> dict[str, Any]:
    path = folder / LOCK
    if not path.is_file():
        return {"format": LOCK_FORMAT, "selections": {}, "files": {}}
    hint = f"Put the right {LOCK} back, or delete it and fetch again."
    try:
        lock = json.loads(read_list(path))
        complete = all(url in lock["files"] for s in lock["selections"].values() for url in s["files"])
        typed = all(_is_locked_file(f) for f in lock["files"].values()) and all(
            isinstance(part, str) for s in lock["selections"].values() for url, reason in s["left_out"] for part in (url, reason)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}).", hint) from error
    if lock.get("format") != LOCK_FORMAT:
        raise DataError(f"{path} has format {lock.get('format')!r}, this version reads {LOCK_FORMAT}.", hint)
    if not complete or not typed:
        raise DataError(f"{path} names files that it does not list, that lie outside files/, or that it describes wrongly.", hint)
    return dict(lock)


def _is_locked_file(entry: dict[str, Any]) -> bool:
    """Whether an entry of a lock, which may come from someone else, is one that `fetch` could have written."""
    texts = [entry[key] for key in ("file", "sha256", "title", "composer")]
    if not all(isinstance(text, str) for text in texts):
        return False
    return bool(re.fullmatch(r"files/[A-Za-z0-9-]+\.mid", texts[0]) and re.fullmatch(r"[0-9a-f]{64}", texts[1]))


def _write_lock(folder: Path, lock: dict[str, Any]) -> None:
    write_file(folder / LOCK, (json.dumps(lock, indent=1, sort_keys=True) + "\n").encode())
