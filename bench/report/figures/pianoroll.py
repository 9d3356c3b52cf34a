"""Piano rolls as SVG: time to the right, pitch upwards, louder notes more opaque.

The notes are drawn in a nested picture that stretches with the page, the labels over it in the page's own pixels, so that both
can be read at 360 px and at 1600 px. Notes of one colour and loudness share a path, a few bytes per note. Colours are the
page's (classes and CSS variables, see ``bench/report/sound.css``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bench.formatting import plural
from bench.music.notes import Notes

#: Steps of loudness: few enough that notes share paths, more than the eye can tell apart.
LEVELS = 8
#: Opacity of the softest and of the loudest step.
SOFT, LOUD = 0.45, 1.0

#: Units of the nested picture: a second, a semitone.
SECOND, SEMITONE = 100, 10
#: Pixels: the notes, and the line of seconds below them.
HEIGHT, AXIS = 132, 16
#: Share of a sample's highest and of its lowest notes, percent, that don't widen the range: one stray would shrink all others.
STRAY = 2.5
#: Smallest range, semitones, so that one repeated note isn't a bar across the picture.
FEWEST = 24

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


@dataclass(frozen=True)
class Extent:
    """Time and pitch range of a roll; the rolls of one piece share it.

    Parameters
    ----------
    start, end : float
        Seconds.
    low, high : int
        Lowest and highest pitch, MIDI.
    """

    start: float
    end: float
    low: int
    high: int

    @classmethod
    def around(cls, parts: Sequence[Notes], longest: float) -> Extent:
        """Smallest extent of full octaves from C that holds several samples but for strays, at most `longest` seconds."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls(0.0, 1.0, 60, 60 + FEWEST - 1)
        start = float(math.floor(min(float(part.onset[0]) for part in parts)))
        last = max(float((part.onset + part.duration).max()) for part in parts)
        end = float(max(start + 1, min(math.ceil(last), start + longest)))
        ends = [np.percentile(part.pitch, (STRAY, 100 - STRAY), method="nearest") for part in parts]
        low = min(int(first) for first, _ in ends) // 12 * 12
        high = max(low + FEWEST, (max(int(last) for _, last in ends) // 12 + 1) * 12) - 1
        return cls(start, end, low, high)

    @property
    def seconds(self) -> float:
        """Length of the time range."""
        return self.end - self.start

    def outside(self, notes: Notes) -> NDArray[np.bool_]:
        """Mask of the notes that are too high or low to show, shape (n,)."""
        mask: NDArray[np.bool_] = (notes.pitch < self.low) | (notes.pitch > self.high)
        return mask

    def percent(self, second: float) -> str:
        """Position of a time as a share of the width.

        Examples
        --------
        >>> Extent(0.0, 40.0, 60, 83).percent(5)
        '12.5%'
        """
        share = 100 * (min(max(second, self.start), self.end) - self.start) / self.seconds
        return f"{share:.2f}".rstrip("0").rstrip(".") + "%"


def piano_roll(
    notes: Notes, prompt: NDArray[np.bool_], extent: Extent, label: str, played: tuple[float, float] | None = None
) -> Markup:
    """Draw a piano roll as an SVG element.

    Parameters
    ----------
    notes : Notes
    prompt : ndarray of bool, shape (n,)
        Which notes are the prompt's: drawn in another colour, with a dashed line where they end.
    extent : Extent
    label : str
        Text for screen readers, see :func:`describe`. It may hold anything.
    played : (float, float), optional
        Beginning and end of what the page's player plays, seconds: a bar under the notes.

    Returns
    -------
    Markup
        Below 60 KB for some thousand notes.
    """
    width, height = round(extent.seconds * SECOND), (extent.high - extent.low + 1) * SEMITONE
    parts = [
        Markup('<svg class="roll" role="img" aria-label="{}" width="100%" height="{}">').format(label, HEIGHT + AXIS),
        Markup('<svg viewBox="0 0 {0} {1}" preserveAspectRatio="none" width="100%" height="{2}">').format(width, height, HEIGHT),
        Markup('<path class="roll-octaves" d="{}"/>').format(_octaves(extent, width)),
        *_notes(notes, prompt, extent),
        Markup("</svg>"),
    ]
    if prompt.any() and not prompt.all():
        at = extent.percent(float(notes.onset[~prompt][0]))
        parts.append(Markup('<line class="roll-turn" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(at, HEIGHT))
    if played is not None and played[0] < extent.end:
        line = Markup('<line class="roll-heard" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>')
        parts.append(line.format(extent.percent(played[0]), extent.percent(played[1]), HEIGHT + 1))
    parts += [*_pitches(extent), *_seconds(extent), Markup("</svg>")]
    return Markup("").join(parts)


def describe(name: str, notes: Notes, prompt: NDArray[np.bool_]) -> str:
    """Describe a roll in words, for those who can't see it.

    Examples
    --------
    >>> two = Notes.from_columns([0.0, 1.0], [1.0, 1.0], [60, 64], [80, 90])
    >>> describe("gan", two, np.array([False, False]))
    'Piano roll of gan: 2 notes, 2 seconds. Pitches go from C4 to E4 (median D4), velocities from 80 to 90.'
    """
    if not len(notes):
        return f"Piano roll of {name}: no note."
    prompted, written = int(prompt.sum()), int((~prompt).sum())
    counted = f"{plural(prompted, 'note')} of the prompt, then {plural(written, 'note')}" if prompted else plural(written, "note")
    pitch = notes.pitch[~prompt] if written else notes.pitch
    velocity = notes.velocity[~prompt] if written else notes.velocity
    seconds = float((notes.onset + notes.duration).max() - notes.onset[0])
    range_ = (
        f"from {pitch_name(int(pitch.min()))} to {pitch_name(int(pitch.max()))} (median {pitch_name(int(np.median(pitch)))}), "
        f"velocities from {velocity.min()} to {velocity.max()}."
    )
    begin = "After the prompt pitches" if prompted and written else "Pitches"
    return f"Piano roll of {name}: {counted}, {seconds:.0f} seconds. {begin} go {range_}"


def pitch_name(pitch: int) -> str:
    """Name of a MIDI pitch, middle C (60) being C4.

    Examples
    --------
    >>> pitch_name(61)
    'C♯4'
    """
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def _notes(notes: Notes, prompt: NDArray[np.bool_], extent: Extent) -> list[Markup]:
    """Paths of the notes, one for each colour and loudness that occurs; strays are on the edge, in a colour of their own."""
    level = notes.velocity.astype(int) * LEVELS // 128
    inside, stray = notes.onset < extent.end, extent.outside(notes)
    parts = []
    colours = (("roll-prompt", prompt & ~stray), ("roll-written", ~prompt & ~stray), ("roll-outside", stray))
    for colour, chosen in colours:
        for step in range(LEVELS):
            at = np.flatnonzero(chosen & inside & (level == step))
            if len(at):
                opacity = SOFT + (LOUD - SOFT) * step / (LEVELS - 1)
                path = "".join(_stroke(notes, int(i), extent) for i in at)
                parts.append(Markup('<path class="{}" opacity="{}" d="{}"/>').format(colour, f"{opacity:.2f}", path))
    return parts


def _stroke(notes: Notes, i: int, extent: Extent) -> str:
    start, end = float(notes.onset[i]), min(float(notes.onset[i] + notes.duration[i]), extent.end)
    x = round((start - extent.start) * SECOND)
    y = (extent.high - min(max(int(notes.pitch[i]), extent.low), extent.high)) * SEMITONE + SEMITONE // 2
    # At least two units, so that the shortest note is visible; one less than its length, so that repeated notes stay apart.
    return f"M{x} {y}h{max(2, round((end - extent.start) * SECOND) - x - 1)}"


def _octaves(extent: Extent, width: int) -> str:
    """Lines below every C."""
    return "".join(
        f"M0 {(extent.high - pitch + 1) * SEMITONE}h{width}" for pitch in range(extent.low, extent.high + 1) if pitch % 12 == 0
    )


def _pitches(extent: Extent) -> list[Markup]:
    """Labels of the Cs, of every second one in a wide range."""
    rows = extent.high - extent.low + 1
    step = 12 if rows <= 60 else 24
    return [
        Markup('<text class="roll-text" x="2" y="{}">{}</text>').format(
            round((extent.high - pitch + 1) * HEIGHT / rows) - 2, pitch_name(pitch)
        )
        for pitch in range(extent.low, extent.high + 1, step)
    ]


def _seconds(extent: Extent) -> list[Markup]:
    """Labels of times below the notes: few enough for a narrow screen."""
    step = next(s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600, 10**9) if extent.seconds / s <= 6)
    marks = range(math.ceil(extent.start / step) * step + step, math.ceil(extent.end), step)
    # Not where the label would be cut off at the right.
    shown = [second for second in marks if (second - extent.start) / extent.seconds < 0.95]
    return [
        Markup('<text class="roll-text" text-anchor="middle" x="{}" y="{}">{} s</text>').format(
            extent.percent(second), HEIGHT + AXIS - 3, second
        )
        for second in shown
    ]
