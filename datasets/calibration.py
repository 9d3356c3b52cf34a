"""Music from a source of known entropy, made on the spot: the least bits per note that any model can come to is known exactly."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from bench.api import FIELDS, DataError, NoteCodec, Notes, Piece, Progress, Splits, seed_for

from ._limits import expected, note_chain, rate, separate_chains
from ._source import Floats, Law, Source, Symbols

TITLE = "Calibration source"
LICENSE = "made by this program, free of rights"
NEEDS = "nothing"

#: Two octaves of C major, up from middle C. MIDI note numbers.
PITCHES = (60, 62, 64, 65, 67, 69, 71, 72, 74, 76, 77, 79, 81, 83, 84)
#: From weak to strong. MIDI velocities.
VELOCITIES = (40, 56, 72, 88, 104)
#: Sixteenth, eighth, dotted eighth and quarter at 120 quarters a minute. Seconds, before they are moved to their class's centre.
SHIFTS = (0.125, 0.25, 0.375, 0.5)
#: Staccato, tenuto, legato. Seconds, as above.
DURATIONS = (0.1, 0.2, 0.4)

SIXTEENTH, EIGHTH, DOTTED, QUARTER = range(4)

#: Symbols of the two notes that are thought before every piece: the register's middle, medium velocity, quarters, tenuto.
START = ((7, 2, QUARTER, 1), (7, 2, QUARTER, 1))

SHARES = {"test": 1 / 8, "validation": 1 / 16}


class Dataset:
    """Pieces drawn from one second-order source over pitch, velocity, time shift and duration.

    Parameters
    ----------
    pieces : int
        Of all splits together: an eighth are test pieces, a sixteenth are for validation. Each is drawn by itself.
    notes : int
        Of each piece.
    seed : int
        Of the draws. The source is always the same.
    """

    def __init__(self, pieces: int = 1600, notes: int = 256, seed: int = 0) -> None:
        if pieces < 16:
            raise DataError(f"calibration: pieces is {pieces}, expected at least 16.", "An eighth are for testing.")
        if notes < 2:
            raise DataError(f"calibration: notes is {notes}, expected at least 2.")
        self.pieces, self.notes, self.seed = pieces, notes, seed

    def fingerprint(self, source: Path | None) -> str:
        """Identity: the selection, and this code, as it makes the music."""
        here = Path(__file__).parent
        code = [(here / name).read_bytes() for name in ("calibration.py", "_source.py", "_limits.py")]
        text = f"calibration\x1f{self.pieces}\x1f{self.notes}\x1f{self.seed}\x1f{np.__version__}"
        return hashlib.sha256(text.encode() + b"".join(code)).hexdigest()

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Draw the pieces; compute the entropy."""
        law = music()
        counts = {name: int(self.pieces * share) for name, share in SHARES.items()}
        counts["train"] = self.pieces - sum(counts.values())
        drawn = {name: self._draw(law, name, count) for name, count in counts.items()}
        made = {name: tuple(_piece(f"{name}-{i:05}", s) for i, s in enumerate(parts)) for name, parts in drawn.items()}
        progress(self.pieces, self.pieces, "pieces drawn")
        bits = expected(law, self.notes)
        entropy = {**dict(zip(FIELDS, bits.tolist(), strict=True)), "total": float(bits.sum())}
        remarks = _remarks(law, bits, drawn["test"])
        return Splits(made["train"], made["validation"], made["test"], remarks=remarks, entropy=entropy)

    def _draw(self, law: Source, split: str, count: int) -> Symbols:
        """Symbols of the pieces of a split, shape (count, notes, 4). A piece depends on nothing but its name and the seed."""
        numbers = [
            np.random.default_rng(seed_for("calibration", self.seed, split, i)).random((self.notes, len(FIELDS)))
            for i in range(count)
        ]
        return law.draw(np.stack(numbers))


def to_codes(symbols: Symbols) -> Symbols:
    """Classes of the shared codec, shape (n, 4): the first note's time shift is class 0."""
    codes = np.stack([values[symbols[:, f]] for f, values in enumerate(_classes())], axis=1)
    codes[:1, 2] = 0
    return codes


def to_notes(symbols: Symbols) -> Notes:
    """Notes of `symbols`, shape (n, 4): time shifts and durations lie in the middle of their class, far from any rounding."""
    return NoteCodec().decode(to_codes(symbols))


@functools.cache
def music() -> Source:
    """The source: four laws that are made from rules of thumb of melody and rhythm, not from random numbers.

    ========  ===================================================================================================
    pitch     given the two pitches before: goes on as it went, fills a leap, stays near the register's middle
    velocity  given velocity and pitch before, and this pitch: strong and weak take turns, rising is louder
    time      given the two time shifts before, and this velocity: cells of rhythm; what is strong came later
    duration  given the duration before, and this note's velocity and time shift: short notes are shorter
    ========  ===================================================================================================
    """
    laws = (
        Law((("pitch", 2), ("pitch", 1)), _melody()),
        Law((("velocity", 1), ("pitch", 1), ("pitch", 0)), _accents()),
        Law((("time", 2), ("time", 1), ("velocity", 0)), _rhythm()),
        Law((("duration", 1), ("velocity", 0), ("time", 0)), _articulation()),
    )
    return Source(laws, START)


def _melody() -> Floats:
    """Pitch given the two before, shape (15, 15, 15). After Narmour's principles: a step goes on, a leap turns back by step."""
    n = len(PITCHES)
    older, last, this = np.ogrid[:n, :n, :n]
    came, goes = last - older, this - last
    onward = (np.sign(goes) == np.sign(came)) & (came != 0)
    back = (np.sign(goes) == -np.sign(came)) & (came != 0)
    step = (np.abs(goes) >= 1) & (np.abs(goes) <= 2)
    logits = (
        -0.6 * np.abs(goes)
        - 1.0 * (goes == 0)
        + 2.0 * ((np.abs(came) <= 2) & onward & step)
        + 2.5 * ((np.abs(came) > 2) & back & step)
        + 1.5 * ((came == 0) & (np.abs(goes) >= 3))
        - 0.5 * ((this - n // 2) / 3.5) ** 2
        + 0.7 * np.isin(this % 7, (0, 2, 4))
    )
    return _shares(logits)


def _accents() -> Floats:
    """Velocity given the velocity before, the pitch before and this pitch, shape (5, 15, 15, 5)."""
    n, levels = len(PITCHES), len(VELOCITIES)
    before, last, this, level = np.ogrid[:levels, :n, :n, :levels]
    rise = np.clip(this - last, -3, 3)
    centre = np.clip(2 - 0.8 * (before - 2) + 0.5 * rise, 0, levels - 1)
    return _shares(-0.5 * ((level - centre) / 0.7) ** 2)


def _rhythm() -> Floats:
    """Time shift given the two before and this velocity, shape (4, 4, 5, 4). Cells: pairs of sixteenths, dotted, eighths."""
    cells = np.empty((4, 4, 4))
    cells[:, SIXTEENTH] = (8.0, 0.3, 0.1, 0.3)  # the first sixteenth of a pair
    cells[SIXTEENTH, SIXTEENTH] = (0.6, 4.0, 1.0, 2.0)
    cells[DOTTED, SIXTEENTH] = (0.2, 1.0, 2.0, 3.0)  # the dotted cell is whole
    cells[:, EIGHTH] = (0.4, 7.0, 0.3, 0.5)  # the first eighth of a pair
    cells[EIGHTH, EIGHTH] = (2.5, 0.8, 1.5, 2.5)
    cells[:, DOTTED] = (9.0, 0.3, 0.1, 0.3)
    cells[:, QUARTER] = (1.5, 2.5, 1.5, 1.0)
    cells[QUARTER, QUARTER] = (2.5, 2.0, 1.0, 0.2)
    strength = (np.arange(len(VELOCITIES)) - 2)[:, None] * (np.arange(len(SHIFTS)) - 1.5)
    return _shares(np.log(cells)[:, :, None, :] + 0.3 * strength)


def _articulation() -> Floats:
    """Duration given the duration before, this velocity and this time shift, shape (3, 5, 4, 3)."""
    k = len(DURATIONS)
    before, level, shift, this = np.ogrid[:k, : len(VELOCITIES), : len(SHIFTS), :k]
    centre = np.clip(0.6 * shift + 0.4 * (before - 1) - 0.2 * (level - 2), 0, k - 1)
    return _shares(-0.5 * ((this - centre) / 0.5) ** 2)


def _shares(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    shares: Floats = weights / weights.sum(-1, keepdims=True)
    return shares


def _classes() -> tuple[Symbols, ...]:
    """Codec class of each symbol, by field."""
    codec = NoteCodec()
    return (
        np.array(PITCHES),
        np.array(VELOCITIES),
        np.searchsorted(codec.time_edges, SHIFTS, side="right"),
        np.searchsorted(codec.duration_edges, DURATIONS, side="right"),
    )


def _piece(name: str, symbols: Symbols) -> Piece:
    return Piece(to_notes(symbols), id=name, title=name, composer="calibration source", source="made by this program")


def _remarks(law: Source, limit: Floats, test: Symbols) -> tuple[str, ...]:
    notes = test.shape[1]
    chains = separate_chains(law, notes)
    found = np.mean([law.bits(symbols).mean(0) for symbols in test], axis=0)
    return (
        f"The notes are drawn from a source of known entropy: {_listed(limit)}. No model can expect fewer bits per note on pieces"
        f" of {notes} notes; on endless ones it is {rate(law).sum():.3f}.",
        f"The source itself needs {_listed(found)} on the test pieces that were drawn.",
        f"A first-order chain for each field can come to {_listed(chains)}, and no model that sees only the note before to less "
        f"than {note_chain(law):.3f}.",
    )


def _listed(bits: Floats) -> str:
    parts = ", ".join(f"{field} {b:.3f}" for field, b in zip(FIELDS, bits, strict=True))
    return f"{bits.sum():.3f} bits ({parts})"
