"""Warnings and summaries for an externally generated folder: in its row, in the report, in the terminal."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import Any, get_args

from bench.external.folder import External
from bench.external.prompt_match import Start
from bench.formatting import listed, plural, visible
from bench.runner.contract import OTHER_SPAN

#: Most files or pieces that a message names; outcome.json has all.
LISTED = 20

#: Factor of time, either way, from which the files' prompts are told to be slower or faster.
OTHER_PACE = 1.1


def counts(external: External) -> dict[str, Any]:
    """Count the used files by how they begin, how many had a prompt cut off, and how many are odd, as outcome.json has it."""
    starts = Counter(file.start for file in external.files)
    return {
        "rule": external.rule,
        "files": len(external.files),
        "cut": sum(file.prompt_cut for file in external.files),
        "odd": sum(bool(file.remark) for file in external.files),
        **{start: starts[start] for start in get_args(Start)},
    }


def at_row(external: External, pieces: int) -> str:
    """Describe the row's files for the report's last column."""
    missing = len(external.missing)
    coverage = f"{pieces - missing} of {pieces} pieces" if missing else "all pieces"
    count = counts(external)
    odd = f" ({count['odd']} in doubt)" if count["odd"] else ""
    return f"another system's MIDI files; {coverage}; prompt cut off in {count['cut']} of {count['files']} files{odd}"


def in_report(external: External, system: str, pieces: int) -> list[str]:
    """List sentences on the folder for the report."""
    matched = "by the piece's number in their names" if external.by_name else "in sorted order, as no name has a piece's number"
    lines = [
        f"The row {system} is {len(external.files)} MIDI files of another system, {external.samples} a piece, matched {matched}. "
        "Neither its training nor its cost is known",
        f"The row {system}: {begun(external)}. {treated(external)}",
        *(f"The row {system}: {line}" for line in (*paced(external), *copied(external))),
    ]
    if external.missing:
        lines.append(
            f"The row {system} lacks {len(external.missing)} of {pieces} pieces: its means are over the others, "
            "those of the other rows over all"
        )
    if external.bad:
        lines.append(f"{plural(len(external.bad), 'MIDI file')} of the row {system} could not be used")
    return lines


def begun(external: External) -> str:
    """Summarize how the files begin: ``3 of 5 files begin with their prompt, 1 with it transposed``."""
    count = counts(external)
    ways = {"transposed": "with it transposed", "near": "with nearly its notes, or a part of them", "other": "without it"}
    parts = [f"{count[start]} {how}" for start, how in ways.items() if count[start]]
    return ", ".join([f"{count['prompt']} of {count['files']} files begin with their prompt", *parts])


def treated(external: External) -> str:
    """Summarize which part of the files counts as continuation."""
    count = counts(external)
    asked = {"included": "As asked (--prompt included), the", "absent": "As asked (--prompt absent), nothing was cut off"}
    if external.rule == "absent" or count["cut"] == 0:
        return f"{asked.get(external.rule, 'Nothing was cut off')}: all their notes count as continuation"
    if count["cut"] == count["files"]:
        return f"{asked.get(external.rule, 'The')} prompt was cut off in all of them"
    return f"The prompt was cut off in {count['cut']} of them; of the other {count['files'] - count['cut']} all notes count"


def paced(external: External) -> list[str]:
    """Say if prompts in the files, or what follows, are slower or faster than what was given: then all times may be."""
    pace, span = (median(figures) for figures in zip(*((file.pace, file.span) for file in external.files), strict=True))
    lines = []
    if not 1 / OTHER_PACE <= pace <= OTHER_PACE:
        lines.append(
            f"the prompts in the files last {pace:.3g} times as long as those that were given (median), and so may what follows: "
            "no tempo is changed"
        )
    elif not 1 / OTHER_SPAN <= span <= OTHER_SPAN:
        lines.append(f"what counts lasts {span:.3g} times as long as the real continuations (median): are its times in seconds?")
    return lines


def copied(external: External) -> list[str]:
    """Say if files for several pieces have the same notes, as where one was written again and again."""
    copies = [file for file in external.files if file.copies]
    if not copies:
        return []
    first = copies[0]
    return [
        f"{plural(len(copies), 'file')} {'has' if len(copies) == 1 else 'have'} the notes of a file for another piece: "
        f"{visible(first.name)} those of {visible(first.copies)}"
    ]


def matched(external: External) -> list[str]:
    """List lines on how files were matched to pieces."""
    files = len(external.files)
    rule = "by the number in its name" if external.by_name else "in sorted order: no file's name has a piece's number"
    lines = [
        f"{plural(files, 'file')} {'counts' if files == 1 else 'count'}, {external.samples} a piece, each matched {rule}",
        begun(external),
        treated(external),
        *paced(external),
        *copied(external),
    ]
    if surplus := sum(f.surplus > 0 for f in external.files):
        lines.append(f"{plural(surplus, 'file')} longer than needed; their first notes count")
    return lines


def warnings(external: External) -> list[str]:
    """List lines on files that can't be used, missing pieces and suspicious files."""
    lines = [f"can't be used: {visible(file)}: {reason}" for file, reason in list(external.bad.items())[:LISTED]]
    if (more := len(external.bad) - LISTED) > 0:
        lines.append(f"can't be used: {more} more")
    if external.missing:
        lines.append(
            f"missing: {plural(len(external.missing), 'piece')}: {listed([f'{piece:03}' for piece in external.missing], LISTED)}"
        )
    odd = [f"looks odd: {visible(f.name)}: {f.remark}" for f in external.files if f.remark]
    lines += odd[:LISTED]
    if (more := len(odd) - LISTED) > 0:
        lines.append(f"looks odd: {more} more")
    cut = [visible(f.name) for f in external.files if f.prompt_cut]
    kept = [visible(f.name) for f in external.files if not f.prompt_cut]
    if cut and kept:
        fewer, which = (cut, "with") if len(cut) <= len(kept) else (kept, "without")
        lines.append(f"looks odd: some files begin with their prompt and some do not; {which} it: {listed(fewer, LISTED)}")
    return lines
