"""Piano rolls: a golden one, and what must hold for all."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.music.notes import Notes
from bench.report.figures.pianoroll import Extent, describe, piano_roll, pitch_name

THREE = Notes.from_columns([0.0, 1.0, 2.5], [1.0, 1.0, 0.5], [60, 64, 71], [127, 64, 10])
FIRST = np.array([True, False, False])
NONE = np.zeros(3, bool)

#: By hand: 3 s are 300 units, C4 to B5 24 rows of 10; a row's middle is 5 below its top. C4 is row 23, E4 19, B4 12.
#: Velocity 127, 64, 10 is step 7, 4, 0 of 8: opacity 1, 0.45 + 0.55 * 4 / 7, 0.45. The second note begins at a third of 3 s.
GOLDEN = (
    '<svg class="roll" role="img" aria-label="three &lt;notes&gt;" width="100%" height="148">'
    '<svg viewBox="0 0 300 240" preserveAspectRatio="none" width="100%" height="132">'
    '<path class="roll-octaves" d="M0 240h300M0 120h300"/>'
    '<path class="roll-prompt" opacity="1.00" d="M0 235h99"/>'
    '<path class="roll-written" opacity="0.45" d="M250 125h49"/>'
    '<path class="roll-written" opacity="0.76" d="M100 195h99"/></svg>'
    '<line class="roll-turn" x1="33.33%" x2="33.33%" y1="0" y2="132"/>'
    '<line class="roll-heard" x1="16.67%" x2="100%" y1="133" y2="133"/>'
    '<text class="roll-text" x="2" y="130">C4</text><text class="roll-text" x="2" y="64">C5</text>'
    '<text class="roll-text" text-anchor="middle" x="33.33%" y="145">1 s</text>'
    '<text class="roll-text" text-anchor="middle" x="66.67%" y="145">2 s</text></svg>'
)


def test_three_notes():
    extent = Extent.around([THREE], 60.0)
    assert extent == Extent(0.0, 3.0, 60, 83)
    assert piano_roll(THREE, FIRST, extent, "three <notes>", (0.5, 20.5)) == GOLDEN


def test_three_notes_in_words():
    assert describe("lstm", THREE, FIRST) == (
        "Piano roll of lstm: 1 note of the prompt, then 2 notes, 3 seconds. After the prompt pitches go from E4 to B4 "
        "(median G4), velocities from 10 to 64."
    )
    assert describe("gan", THREE, NONE) == (
        "Piano roll of gan: 3 notes, 3 seconds. Pitches go from C4 to B4 (median E4), velocities from 10 to 127."
    )
    assert describe("x", THREE[:0], NONE[:0]) == "Piano roll of x: no note."


@pytest.mark.parametrize(("pitch", "name"), [(0, "C-1"), (60, "C4"), (69, "A4"), (127, "G9")])
def test_pitch_names(pitch, name):
    assert pitch_name(pitch) == name


def test_no_note():
    roll = piano_roll(THREE[:0], NONE[:0], Extent.around([THREE[:0]], 60.0), "none")
    assert "roll-written" not in roll
    ET.fromstring(roll)


def test_a_stray_note_lies_on_the_edge():
    many = Notes.from_columns(np.arange(100), np.ones(100), [60] * 99 + [5], [80] * 100)
    extent = Extent.around([many], 60.0)
    assert (extent.low, extent.high) == (60, 83)
    assert extent.outside(many).sum() == 1
    late = Extent(0.0, 100.0, 60, 83)
    assert f'<path class="roll-outside" opacity="0.84" d="M9900 {240 - 5}h99"/>' in piano_roll(
        many, np.zeros(100, bool), late, ""
    )


def test_what_is_later_than_shown_is_left_out():
    notes = Notes.from_columns([0.0, 100.0], [200.0, 1.0], [60, 72], [80, 80])
    roll = piano_roll(notes, np.zeros(2, bool), Extent.around([notes], 60.0), "")
    assert 'd="M0 235h5999"' in roll  # the first note ends with the picture
    assert roll.count("h5999") == 1
    assert "M10000" not in roll


@pytest.mark.parametrize("label", ['" onload="alert(1)', "<script>alert(1)</script>", "\u202egnp.exe", "x" * 300, "a\0b"])
def test_a_hostile_label_is_text(label):
    roll = piano_roll(THREE, NONE, Extent.around([THREE], 60.0), label)
    assert "<script" not in roll
    if "\0" not in label:  # which XML can't hold, and HTML's parser replaces
        assert ET.fromstring(roll).attrib == {
            "class": "roll",
            "role": "img",
            "aria-label": label,
            "width": "100%",
            "height": "148",
        }


def test_some_hundred_notes_are_small():
    rng = np.random.default_rng(0)
    many = Notes.from_columns(
        rng.uniform(0, 60, 400), rng.uniform(0.05, 2, 400), rng.integers(0, 128, 400), rng.integers(1, 128, 400)
    )
    assert len(piano_roll(many, np.arange(400) < 100, Extent.around([many], 60.0), "many")) < 12_000


@given(
    st.lists(
        st.tuples(st.floats(0, 500), st.floats(0.001, 500), st.integers(0, 127), st.integers(1, 127), st.booleans()), max_size=30
    )
)
def test_every_note_that_begins_in_time_is_drawn_inside(columns):
    notes = Notes.from_columns(*zip(*(c[:4] for c in columns), strict=True)) if columns else THREE[:0]
    prompt = np.array([c[4] for c in columns], bool)
    extent = Extent.around([notes], 60.0)
    root = ET.fromstring(piano_roll(notes, prompt, extent, "any", (1.0, 21.0)))
    inner = root[0]
    width, height = map(int, inner.attrib["viewBox"].split()[2:])
    strokes = [s for path in inner if path.attrib["class"] != "roll-octaves" for s in path.attrib["d"].split("M")[1:]]
    assert len(strokes) == sum(notes.onset < extent.end)
    for stroke in strokes:
        x, rest = stroke.split(" ")
        y, length = map(int, rest.split("h"))
        assert 0 <= int(x) <= width
        assert 0 < y < height
        assert length >= 2
