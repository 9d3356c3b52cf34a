"""Bach's four-part chorales (music21's corpus, nothing to download), performed by a subset of the KTH rules."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import DataError, Notes, Piece, Progress, Skipped, Splits, seed_for

from ._files import gather
from ._musicxml import QUARTER, Bar, Part, ScoreNote, read_musicxml
from ._performance import Score, perform, velocity_noise
from ._splits import UnionFind, fill_shares

TITLE = "Bach chorales"
LICENSE = "Bach's music is in the public domain; the encodings come with music21 (Margaret Greentree, by permission)"
NEEDS = "nothing"

VOICES = ("Soprano", "Alto", "Tenor", "Bass")

#: Length of phrases in a score without fermatas, quarters: the most common distance between fermatas elsewhere.
PHRASE = 8
#: Longest rest of all voices together, quarters; scores with a longer one are left out.
LONGEST_REST = 8
#: Length of a window of intervals, and the share of the shorter soprano's windows that makes two sopranos one melody.
WINDOW, SAME_MELODY = 12, 0.4
#: Shares of the splits, which hold complete groups.
SHARES = {"test": 0.15, "validation": 0.10, "train": 0.75}

REMARKS = (
    "Velocities and timing are rendered from the score by rules, not played: phrase arch, high-loud, metrical accent, final "
    "ritard, melody lead, and seeded jitter.",
    "Repeats are not played out. Harmonisations of one melody (same title, same opening of the soprano, or 40 % of the shorter "
    "soprano's windows of 12 intervals in common) are in one split.",
)


class Dataset(bench.api.Dataset):
    """The chorales with one soprano, alto, tenor and bass each; other instruments are left out.

    Parameters
    ----------
    limit : int, optional
        Use about this many chorales, for a quick look. A third of them, and at most 50, are test pieces; a piece keeps the
        split that it has in the full set.
    seed : int
        Of tempo and jitter.
    """

    def __init__(self, limit: int | None = None, seed: int = 0) -> None:
        if limit is not None and limit < 3:
            raise DataError(f"chorales: limit is {limit}, expected at least 3.", "One chorale a split is the least.")
        self.limit = limit
        self.seed = seed

    def fingerprint(self, source: Path | None) -> str:
        """Identity: music21's version, the options, and this code, which makes the performances."""
        here = Path(__file__).parent
        code = [(here / name).read_bytes() for name in ("chorales.py", "_musicxml.py", "_performance.py", "_splits.py")]
        text = f"chorales\x1f{version('music21')}\x1f{self.limit}\x1f{self.seed}"
        return hashlib.sha256(text.encode() + b"".join(code)).hexdigest()

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read the scores, group them by melody, split, and perform what is selected."""
        scores, skipped = _read(progress)
        melodies = group_by_melody(scores)
        melody = {name: group[0] for group in melodies for name in group}
        split = fill_shares(melodies, SHARES)
        chosen = _select(split, self.limit)
        pieces: dict[str, list[Piece]] = {"train": [], "validation": [], "test": []}
        noise: list[NDArray[np.float64]] = []
        seen: dict[bytes, str] = {}
        for name in sorted(chosen):
            score = make_score(scores[name][1])
            key = score.onset.tobytes() + score.pitch.tobytes()
            if key in seen:
                skipped.append(Skipped(name, f"the same notes as {seen[key]}"))
                continue
            seen[key] = name
            rng = np.random.default_rng(seed_for("chorales", name, self.seed))
            pieces[split[name]].append(_piece(name, scores[name][0], perform(score, rng)))
            if split[name] == "test":
                noise.append(velocity_noise(score))
        train, validation, test = (tuple(pieces[name]) for name in ("train", "validation", "test"))
        mean = {"velocity": float(np.concatenate(noise).mean())}
        splits = Splits(train, validation, test, tuple(skipped), REMARKS, noise=mean)
        return gather(splits, lambda piece: melody[piece.id], progress, move=False)


def group_by_melody(scores: dict[str, tuple[str, list[Part]]]) -> list[list[str]]:
    """Group the chorales that share a title, the opening of the soprano or much of its melody."""
    groups = UnionFind(scores)
    for keys in (_title_key, _interval_key, _beat_key):
        by_key: dict[object, str] = {}
        for name, (title, voices) in scores.items():
            key = keys(title, voices[0])
            if key:
                groups.join(name, by_key.setdefault(key, name))
    # A score outside music21's catalogue has no title, and an additional upbeat changes the opening: compare the content too.
    windows = {name: melody_windows(voices[0]) for name, (_, voices) in scores.items()}
    for a, b in combinations(windows, 2):
        if shared_windows(windows[a], windows[b]) >= SAME_MELODY:
            groups.join(a, b)
    return groups.groups()


def melody_windows(soprano: Part) -> set[tuple[int, ...]]:
    """Collect all runs of 12 intervals, semitones, without repeated notes: invariant to key and rhythm."""
    moves = _moves(n.pitch for n in soprano.notes)
    return {tuple(moves[i : i + WINDOW]) for i in range(len(moves) - WINDOW + 1)}


def shared_windows(a: set[tuple[int, ...]], b: set[tuple[int, ...]]) -> float:
    """Share of common windows among those of the melody that has fewer; 0 if that has none."""
    return len(a & b) / max(1, min(len(a), len(b)))


def make_score(voices: Sequence[Part]) -> Score:
    """Convert four voices to columns: metre from the bars of the soprano, phrases from the fermatas of all voices."""
    notes = [(n, v) for v, part in enumerate(voices) for n in part.notes]
    first = min(n.onset for n, _ in notes)
    end = max(n.onset + n.duration for n, _ in notes)
    ends = {n.onset + n.duration for n, _ in notes if n.fermata} | {end}
    if ends == {end}:
        ends |= set(range(first + PHRASE * QUARTER, end, PHRASE * QUARTER))
    # A fermata on a moving inner voice would make a phrase of a beat or less: keep only ends 2 quarters apart.
    kept: list[int] = []
    for at in sorted(ends, reverse=True):
        if at > first and (not kept or kept[-1] - at >= 2 * QUARTER):
            kept.append(at)
    bars = voices[0].bars
    starts = [b.start for b in bars]
    index = np.searchsorted(starts, [n.onset for n, _ in notes], side="right") - 1
    return Score(
        onset=np.array([n.onset - first for n, _ in notes]) / QUARTER,
        duration=np.array([n.duration for n, _ in notes]) / QUARTER,
        pitch=np.array([n.pitch for n, _ in notes], np.int64),
        voice=np.array([v for _, v in notes], np.int64),
        accent=np.array([_accent(n, bars[i]) for (n, _), i in zip(notes, index, strict=True)], np.int64),
        phrase_ends=(np.array(kept[::-1]) - first) / QUARTER,
    )


def _accent(note: ScoreNote, bar: Bar) -> int:
    at = (bar.phase + note.onset - bar.start) % bar.length
    if at == 0:
        return 0
    if at % bar.beat:
        return 3
    beats = bar.length // bar.beat
    return 1 if beats % 2 == 0 and at == bar.length // 2 else 2


def _read(progress: Progress) -> tuple[dict[str, tuple[str, list[Part]]], list[Skipped]]:
    """Read title and four voices of each score that has them, by name; also list the scores left out."""
    from music21 import corpus
    from music21.corpus.chorales import ChoraleListRKBWV

    titles = {bwv: entry["title"] for bwv, entry in ChoraleListRKBWV().byBWV.items()}  # type: ignore[no-untyped-call]
    paths = sorted((p for p in map(Path, corpus.getComposer("bach")) if p.suffix in (".mxl", ".xml")), key=_natural)
    scores: dict[str, tuple[str, list[Part]]] = {}
    skipped: list[Skipped] = []
    for i, path in enumerate(paths):
        progress(i, len(paths), "reading scores")
        try:
            scores[path.stem] = (titles.get(_bwv(path), ""), _four_voices(read_musicxml(path)))
        except ValueError as error:
            skipped.append(Skipped(path.name, str(error)))
    return scores, skipped


def _four_voices(parts: Sequence[Part]) -> list[Part]:
    voices = [[p for p in parts if p.name.startswith(v)] for v in VOICES]
    if any(len(v) != 1 for v in voices):
        raise ValueError("it does not have one soprano, alto, tenor and bass each")
    if any(not v[0].notes for v in voices):
        raise ValueError("a voice is empty")
    if (rest := _longest_rest([n for v in voices for n in v[0].notes])) > LONGEST_REST * QUARTER:
        raise ValueError(f"all voices rest for {rest / QUARTER:g} quarters: the music is in the instruments")
    return [v[0] for v in voices]


def _longest_rest(notes: Sequence[ScoreNote]) -> int:
    """Longest time for which nothing sounds, ticks."""
    longest, sounding = 0, min(n.onset for n in notes)
    for note in sorted(notes, key=lambda n: n.onset):
        longest = max(longest, note.onset - sounding)
        sounding = max(sounding, note.onset + note.duration)
    return longest


def _select(split: dict[str, str], limit: int | None) -> list[str]:
    if limit is None or limit >= len(split):
        return list(split)
    names = defaultdict(list)
    for name in sorted(split, key=lambda n: hashlib.sha256(n.encode()).digest()):
        names[split[name]].append(name)
    test = max(1, min(50, limit // 3, len(names["test"])))
    valid = max(1, min(limit // 8, len(names["validation"])))
    return names["test"][:test] + names["validation"][:valid] + names["train"][: limit - test - valid]


def _piece(name: str, title: str, notes: Notes) -> Piece:
    number = f"BWV {name.removeprefix('bwv')}"
    text = f"{title}, {number}" if title else number
    return Piece(notes, id=name, title=text, composer="Johann Sebastian Bach", source="music21 corpus", sha256="")


def _bwv(path: Path) -> str:
    return path.stem.removeprefix("bwv").split("-")[0]


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(x), "") if x.isdigit() else (0, x) for x in re.split(r"(\d+)", path.name)]


def _title_key(title: str, soprano: Part) -> str:
    plain = unicodedata.normalize("NFKD", title.lower())
    return "".join(c for c in plain if c.isalnum())


def _interval_key(title: str, soprano: Part) -> tuple[int, ...]:
    """First 8 intervals of the soprano, without repeated notes: invariant to transposition and ornamented rhythm."""
    pitches = [n.pitch for n in soprano.notes]
    return tuple(_moves(pitches)[:8])


def _beat_key(title: str, soprano: Part) -> tuple[int, ...]:
    """Intervals between the notes on the first 12 quarters: invariant to passing notes."""
    first = soprano.notes[0].onset
    on_beat = [n.pitch for n in soprano.notes if (n.onset - first) % QUARTER == 0 and n.onset - first < 12 * QUARTER]
    return (-99, *np.diff(on_beat).tolist()) if len(on_beat) > 6 else ()


def _moves(pitches: Iterable[int]) -> list[int]:
    return [int(d) for d in np.diff(list(pitches)) if d]
