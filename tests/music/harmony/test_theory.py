"""Keys and chords by music21, against a textbook."""

import numpy as np
import pytest

from bench.errors import TrialError
from bench.music.harmony.settings import Harmony
from bench.music.harmony.theory import find_key, make_plan
from bench.music.notes import Notes


def melody(pitches):
    n = len(pitches)
    return Notes(np.arange(n) / 2, np.full(n, 0.5), np.array(pitches, np.uint8), np.full(n, 80, np.uint8))


#: A cadence in C major, and one in A minor.
MAJOR = melody([60, 64, 67, 72, 65, 69, 60, 67, 71, 62, 65, 60, 64, 67, 60])
MINOR = melody([57, 60, 64, 69, 62, 65, 57, 64, 68, 71, 64, 57, 60, 64, 57])


def test_the_key_of_a_cadence():
    assert find_key([MAJOR]) == "C major"
    assert find_key([MINOR]) == "A minor"


@pytest.mark.parametrize(("semitones", "key"), [(2, "D major"), (3, "E- major"), (7, "G major"), (10, "B- major")])
def test_it_moves_with_the_music(semitones, key):
    assert find_key([melody(MAJOR.pitch + semitones)]) == key


def test_pieces_are_heard_together():
    assert find_key([MINOR, MAJOR, MAJOR, MAJOR]) == "C major"


def test_no_note_has_no_key():
    with pytest.raises(TrialError, match=r"no note to find a key by\.\nName the key"):
        find_key([melody([])])


def test_the_progression_in_major_and_minor():
    plan = make_plan("C major", Harmony(notes_per_chord=4))
    assert (plan.key, plan.scale, plan.notes_per_chord) == ("C major", (0, 2, 4, 5, 7, 9, 11), 4)
    assert plan.chords == ((0, 4, 7), (7, 11, 2), (9, 0, 4), (5, 9, 0))
    minor = make_plan("A minor", Harmony())
    assert minor.scale == (0, 2, 4, 5, 7, 9, 11)
    # V has the raised seventh, G sharp.
    assert minor.chords == ((9, 0, 4), (4, 8, 11), (5, 9, 0), (2, 5, 9))


def test_a_flat_in_a_spec_is_music21s():
    assert make_plan("Bb major", Harmony()) == make_plan("B- major", Harmony())
    assert make_plan("Bb major", Harmony()).key == "B♭ major"
    assert make_plan("F# minor", Harmony(minor=("i",))).chords == ((6, 9, 1),)


def test_a_seventh_chord_has_four_tones():
    assert make_plan("C major", Harmony(progression=("V7", "V/V"))).chords == ((7, 11, 2, 5), (2, 6, 9))


def test_the_progression_that_was_given_for_a_named_key_is_used_in_minor_too():
    given = Harmony(key="A minor", progression=("i", "VI"), minor=("V",))
    assert make_plan("A minor", given).chords == ((9, 0, 4), (5, 9, 0))
    assert make_plan("A minor", Harmony(key="A minor", minor=("VI",))).chords == ((5, 9, 0),)
    assert make_plan("A minor", Harmony(key="auto", progression=("i", "VI"), minor=("V",))).chords == ((4, 8, 11),)


def test_a_low_degree_of_minor_is_low_once():
    """``bVII`` and ``VII`` are one chord in minor, B flat in C minor; in major they are two."""
    written = ("i", "bVII", "bVI", "bIII", "V/bVII")
    plain = ("i", "VII", "VI", "III", "V/VII")
    chords = make_plan("C minor", Harmony(key="C minor", progression=written)).chords
    assert chords == ((0, 3, 7), (10, 2, 5), (8, 0, 3), (3, 7, 10), (5, 9, 0))
    assert make_plan("C minor", Harmony(minor=written)).chords == chords
    assert make_plan("C minor", Harmony(minor=plain)).chords == chords
    assert make_plan("C major", Harmony(progression=("bVII", "bVI"))).chords == ((10, 2, 5), (8, 0, 3))


@pytest.mark.parametrize(
    ("key", "numeral", "tones"),
    [
        ("C minor", "bVII/V", "F A C"),
        ("C minor", "bVI/V", "Eb G Bb"),
        ("C minor", "bIII/V", "Bb D F"),
        ("C minor", "bVII/III", "Db F Ab"),
        ("C minor", "bVI/I", "Ab C Eb"),
        ("C minor", "bvi", "Ab B Eb"),
        ("C minor", "bvii", "Bb Db F"),
        ("C minor", "biii", "Eb Gb Bb"),
        ("C minor", "vi", "A C E"),
        ("C minor", "#vi", "A C E"),
        ("C minor", "viio", "B D F"),
        ("C minor", "#viio7", "B D F Ab"),
        ("C minor", "bVII/iv", "Eb G Bb"),
        ("C minor", "V7/bVII", "F A C Eb"),
        ("C minor", "V/bIII", "Bb D F"),
        ("C major", "bVII/iv", "Eb G Bb"),
        ("C major", "bVII/i", "Bb D F"),
        ("C major", "bVI/vi", "F A C"),
        ("C major", "bIII/iv", "Ab C Eb"),
        ("C major", "bVII/V", "F A C"),
        ("C major", "VII/V", "Gb Bb Db"),
        ("C major", "V/vi", "E Ab B"),
    ],
)
def test_a_flat_counts_in_the_key_that_the_numeral_is_in(key: str, numeral: str, tones: str) -> None:
    """By hand, in pitch classes."""
    names = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
    harmony = Harmony(key=key, progression=(numeral,))
    assert make_plan(key, harmony).chords == (tuple(map(names.index, tones.split())),)


@pytest.mark.parametrize("numeral", ["bVI", "viio7", "#ivø65", "III+", "V43/V", "vi64", "V9", "ii/bVII"])
@pytest.mark.parametrize("mode", ["major", "minor"])
def test_whatever_a_spec_may_ask_for_is_a_chord(numeral, mode):
    harmony = Harmony(progression=(numeral,), minor=(numeral,))
    (chord,) = make_plan(f"Eb {mode}", harmony).chords
    assert 3 <= len(set(chord)) == len(chord) <= 5
