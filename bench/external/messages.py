"""What must be said of a folder of another system's MIDI: at its row, in the report, in the terminal."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

from bench.external.folder import External
from bench.external.prompt_match import Start
from bench.formatting import listed, plural

#: Files and pieces that are named; outcome.json has all.
LISTED = 20


def counts(external: External) -> dict[str, Any]:
    """How the files that count begin, as outcome.json keeps it: how many in each way, how many were cut, how many are odd."""
    found = Counter(file.start for file in external.files)
    return {
        "rule": external.rule,
        "files": len(external.files),
        "cut": sum(file.prompt_cut for file in external.files),
        "odd": sum(bool(file.remark) for file in external.files),
        **{start: found[start] for start in get_args(Start)},
    }


def at_row(external: External, pieces: int) -> str:
    """The row's last column."""
    missing = len(external.missing)
    there = f"{pieces - missing} of {pieces} pieces" if missing else "every piece is there"
    count = counts(external)
    odd = f" ({count['odd']} in doubt)" if count["odd"] else ""
    return f"another system's MIDI files; {there}; prompt cut off {count['cut']} of {count['files']} files{odd}"


def in_report(external: External, system: str, pieces: int) -> list[str]:
    """Sentences for those who only have the report."""
    matched = "by the piece's number in their names" if external.by_name else "in sorted order, as no name has a piece's number"
    said = [
        f"The row {system} is {len(external.files)} MIDI files of another system, {external.samples} a piece, matched {matched}. "
        "Neither its training nor its cost is known",
        f"The row {system}: {begun(external)}. {treated(external)}",
    ]
    if external.missing:
        said.append(
            f"The row {system} lacks {len(external.missing)} of {pieces} pieces: its means are over the others, "
            "those of the other rows over all"
        )
    if external.bad:
        said.append(f"{plural(len(external.bad), 'MIDI file')} of the row {system} could not be used")
    return said


def begun(external: External) -> str:
    """``3 of 5 files begin with their prompt, 1 with it transposed``."""
    count = counts(external)
    ways = {"transposed": "with it transposed", "near": "with nearly its notes in another order", "other": "without it"}
    parts = [f"{count[start]} {how}" for start, how in ways.items() if count[start]]
    return ", ".join([f"{count['prompt']} of {count['files']} files begin with their prompt", *parts])


def treated(external: External) -> str:
    """What of the beginnings counts."""
    count = counts(external)
    asked = {"included": "As asked (--prompt included), the", "absent": "As asked (--prompt absent), nothing was cut off"}
    if external.rule == "absent" or count["cut"] == 0:
        return f"{asked.get(external.rule, 'Nothing was cut off')}: all their notes count as continuation"
    if count["cut"] == count["files"]:
        return f"{asked.get(external.rule, 'The')} prompt was cut off all of them"
    return f"The prompt was cut off {count['cut']} of them; of the other {count['files'] - count['cut']} all notes count"


def matched(external: External) -> list[str]:
    """Lines on what was taken for what."""
    files = len(external.files)
    rule = "by the number in its name" if external.by_name else "in sorted order: no file's name has a piece's number"
    said = [
        f"{plural(files, 'file')} {'counts' if files == 1 else 'count'}, {external.samples} a piece, each matched {rule}",
        begun(external),
        treated(external),
    ]
    if surplus := sum(f.surplus > 0 for f in external.files):
        said.append(f"{plural(surplus, 'file')} longer than needed; their first notes count")
    return said


def warnings(external: External) -> list[str]:
    """Lines on what is wrong with the files or looks so."""
    said = [f"can't be used: {file}: {reason}" for file, reason in list(external.bad.items())[:LISTED]]
    if (more := len(external.bad) - LISTED) > 0:
        said.append(f"can't be used: {more} more")
    if external.missing:
        said.append(
            f"missing: {plural(len(external.missing), 'piece')}: {listed([f'{piece:03}' for piece in external.missing], LISTED)}"
        )
    odd = [f"looks odd: {f.name}: {f.remark}" for f in external.files if f.remark]
    said += odd[:LISTED]
    if (more := len(odd) - LISTED) > 0:
        said.append(f"looks odd: {more} more")
    cut = [f.name for f in external.files if f.prompt_cut]
    kept = [f.name for f in external.files if not f.prompt_cut]
    if cut and kept:
        fewer, which = (cut, "with") if len(cut) <= len(kept) else (kept, "without")
        said.append(f"looks odd: some files begin with their prompt and some do not; {which} it: {listed(fewer, LISTED)}")
    return said
