"""The embedded chorales: reading, grouping, rules."""

from __future__ import annotations

import io
import math
import zipfile
from itertools import combinations, pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from bench.api import Skipped, Splits
from bench.errors import DataError
from bench.music.notes import Notes
from bench.runner.folds import composition

from .conftest import dataset_class, dataset_module

chorales = dataset_module("chorales")
rules = dataset_module("chorales", "_performance")
musicxml = dataset_module("chorales", "_musicxml")
shares = dataset_module("chorales", "_splits")


def progress(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def corpus() -> tuple[dict[str, Any], list[Skipped]]:
    return chorales._read(progress)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def scores(corpus: tuple[dict[str, Any], list[Skipped]]) -> dict[str, Any]:
    return corpus[0]


@pytest.fixture(scope="module")
def few(scores: dict[str, Any]) -> Splits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chorales, "_read", lambda progress: (scores, []))
        return dataset_class("chorales")(limit=12).load(None, progress)  # type: ignore[no-any-return]


def corpus_path(name: str) -> Path:
    from music21 import corpus

    return next(Path(p) for p in corpus.getComposer("bach") if Path(p).name == name)


# Ties, an upbeat, other instruments beside the voices, a bar split by a repeat sign, ornaments, voices and back-ups.
@pytest.mark.parametrize(
    "name", ["bwv269.mxl", "bwv1.6.mxl", "bwv66.6.mxl", "bwv227.7.mxl", "bwv113.8.mxl", "bwv69.6.xml", "bwv248.64-6.mxl"]
)
def test_the_reader_agrees_with_music21(name: str) -> None:
    from music21 import converter

    theirs = converter.parse(corpus_path(name), forceSource=True)
    ours = musicxml.read_musicxml(corpus_path(name))
    assert len(ours) == len(theirs.parts)
    for part, peer in zip(ours, theirs.parts, strict=True):
        expected = {
            (float(n.offset), float(n.quarterLength), p.midi)
            for n in peer.stripTies().flatten().notes
            if not n.duration.isGrace
            for p in n.pitches
        }
        found = {(n.onset / musicxml.QUARTER, n.duration / musicxml.QUARTER, n.pitch) for n in part.notes}
        assert found == expected


def test_chords_ties_voices_and_grace_notes(tmp_path: Path) -> None:
    def note(step: str, duration: int, more: str = "") -> str:
        return f"<note>{more}<pitch><step>{step}</step><octave>4</octave></pitch><duration>{duration}</duration></note>"

    bars = (
        note("C", 2) + note("E", 2, "<chord/>") + note("D", 2, '<tie type="start"/>') + "<note><grace/><pitch/></note>",
        note("D", 2, '<tie type="stop"/>') + "<note><rest/><duration>2</duration></note>"
        "<backup><duration>4</duration></backup><forward><duration>1</duration></forward>" + note("A", 1),
    )
    head = "<attributes><divisions>2</divisions><time><beats>2</beats><beat-type>4</beat-type></time></attributes>"
    text = f"<score-partwise><part id='x'><measure>{head}{bars[0]}</measure><measure>{bars[1]}</measure></part></score-partwise>"
    (tmp_path / "x.xml").write_text(text)
    (part,) = musicxml.read_musicxml(tmp_path / "x.xml")
    found = sorted((n.onset / musicxml.QUARTER, n.duration / musicxml.QUARTER, n.pitch) for n in part.notes)
    assert found == [(0, 1, 60), (0, 1, 64), (1, 2, 62), (2.5, 0.5, 69)]
    assert [b.start / musicxml.QUARTER for b in part.bars] == [0, 2]


def test_metre_agrees_with_music21(scores: dict[str, Any]) -> None:
    """Beat strength of the soprano of a chorale with an upbeat and a bar that a repeat sign splits."""
    from music21 import converter

    voices = scores["bwv269"][1]
    made = chorales.make_score(voices)
    peer = converter.parse(corpus_path("bwv269.mxl"), forceSource=True).parts[0].stripTies().flatten().notes
    strength = {float(n.offset): n.beatStrength for n in peer}
    soprano = made.voice == 0
    for at, accent in zip(made.onset[soprano], made.accent[soprano], strict=True):
        assert (accent == 0) == (strength[at] == 1.0)
        assert (accent == 3) == (strength[at] < 0.5)


def test_not_musicxml(tmp_path: Path) -> None:
    for name, raw in (("a.mxl", b"no zip"), ("a.xml", b"<a"), ("b.xml", b"\xff\xfe")):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(ValueError, match="not MusicXML"):
            musicxml.read_musicxml(tmp_path / name)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 93])
def test_an_unusual_compression(tmp_path: Path, method: int) -> None:
    """One bit: what the methods' own libraries raise at a stream that isn't theirs once ended the whole dataset."""
    content = bytearray(corpus_path("bwv269.mxl").read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = len(archive.namelist())
    at = 0
    for _ in range(entries):
        at = content.index(b"PK\x01\x02", at) + 10
        content[at : at + 2] = method.to_bytes(2, "little")
    (tmp_path / "a.mxl").write_bytes(content)
    with pytest.raises(ValueError, match="compressed"):
        musicxml.read_musicxml(tmp_path / "a.mxl")


def split_by_melody(scores: dict[str, Any]) -> dict[str, str]:
    return dict(chorales.fill_shares(chorales.group_by_melody(scores), chorales.SHARES))


def test_full_set_is_large_enough(scores: dict[str, Any]) -> None:
    split = split_by_melody(scores)
    counts = {s: sum(v == s for v in split.values()) for s in ("train", "validation", "test")}
    assert len(split) > 390
    assert counts["train"] / len(split) == pytest.approx(0.75, abs=0.02)
    assert counts["validation"] / len(split) == pytest.approx(0.10, abs=0.02)
    # Prompt and target of the protocol are 32 + 128 notes.
    long = [
        n for n, s in split.items() if s == "test" and len(rules._one_note_a_key(chorales.make_score(scores[n][1])).onset) >= 160
    ]
    assert len(long) >= 50


def test_no_melody_is_in_two_splits(scores: dict[str, Any]) -> None:
    split = split_by_melody(scores)
    for key in (chorales._title_key, chorales._interval_key, chorales._beat_key):
        seen: dict[Any, str] = {}
        for name, (title, voices) in scores.items():
            if found := key(title, voices[0]):
                assert seen.setdefault(found, split[name]) == split[name], name


def test_one_melody_without_titles_and_with_another_upbeat(scores: dict[str, Any]) -> None:
    """One melody ("Ich ruf' zu dir"): neither title nor opening says so, half of the windows do."""
    assert scores["bwv177.5"][0] != scores["bwv185.6"][0] == ""
    a, b = (chorales.melody_windows(scores[n][1][0]) for n in ("bwv177.5", "bwv185.6"))
    assert chorales.shared_windows(a, b) > 0.5
    split = split_by_melody(scores)
    assert split["bwv177.5"] == split["bwv185.6"]


def test_no_split_shares_much_of_a_melody_with_another(scores: dict[str, Any]) -> None:
    """Counted here anew, once as the split does and once with repeated notes."""
    split = split_by_melody(scores)
    for keep_repeats in (False, True):
        windows: dict[str, set[tuple[int, ...]]] = {}
        for name, (_, voices) in scores.items():
            pitches = [n.pitch for n in voices[0].notes]
            moves = [b - a for a, b in pairwise(pitches) if keep_repeats or a != b]
            windows[name] = {tuple(moves[i : i + 12]) for i in range(len(moves) - 11)}
        for a, b in combinations(sorted(windows), 2):
            if split[a] != split[b]:
                common = len(windows[a] & windows[b])
                assert common < 0.4 * max(1, min(len(windows[a]), len(windows[b]))), (a, b)


def test_shared_windows_by_hand() -> None:
    a, b, c = {(1,), (2,), (3,), (4,)}, {(3,), (4,)}, {(4,), (5,)}
    assert chorales.shared_windows(a, b) == 1.0
    assert chorales.shared_windows(a, c) == 0.5
    assert chorales.shared_windows(a, set()) == 0.0


def test_known_harmonisations_of_one_melody(scores: dict[str, Any]) -> None:
    """The passion chorale, in five keys and under several texts."""
    split = split_by_melody(scores)
    assert len({split[n] for n in ("bwv244.15", "bwv244.17", "bwv244.44", "bwv244.54", "bwv244.62")}) == 1


def test_harmonisations_of_one_melody_are_one_work(scores: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chorales, "_read", lambda progress: (scores, []))
    splits = dataset_class("chorales")(limit=150).load(None, progress)
    pieces = {piece.id: piece for piece in (*splits.train, *splits.validation, *splits.test)}
    groups = [[name for name in group if name in pieces] for group in chorales.group_by_melody(scores)]
    assert max(map(len, groups)) > 3
    assert all(len({composition(pieces[name]) for name in group}) <= 1 for group in groups)
    assert "The dataset's own split, which stays, separates 1 of them" in splits.remarks[-1]


def test_a_limit_keeps_each_piece_in_its_split(scores: dict[str, Any], few: Splits) -> None:
    full = split_by_melody(scores)
    assert (len(few.train), len(few.validation), len(few.test)) == (7, 1, 4)
    for name in ("train", "validation", "test"):
        assert {full[p.id] for p in getattr(few, name)} == {name}
    for limit, test in ((150, 50), (390, 50)):
        assert sum(full[n] == "test" for n in chorales._select(full, limit)) == test


def test_pieces(few: Splits) -> None:
    for piece in (*few.train, *few.validation, *few.test):
        assert "BWV" in piece.title
        assert piece.composer == "Johann Sebastian Bach"
        assert 0 <= piece.notes.onset[0] < 0.1
        assert piece.notes.pitch.min() >= 34
        assert 15 < piece.notes.velocity.min() < piece.notes.velocity.max() < 115
        assert piece.notes.velocity.std() > 5
    assert any("rendered" in r and "not played" in r for r in few.remarks)


def test_a_key_is_down_once(few: Splits) -> None:
    for piece in few.test:
        for pitch in set(piece.notes.pitch.tolist()):
            key = piece.notes.pitch == pitch
            onset, end = piece.notes.onset[key], (piece.notes.onset + piece.notes.duration)[key]
            assert (np.diff(onset) > 0).all()
            assert (end[:-1] <= onset[1:]).all()


def test_the_melody_leads_and_the_others_are_together(few: Splits) -> None:
    shifts = np.concatenate([np.diff(p.notes.onset) for p in few.train])
    small = shifts[shifts < 0.06]
    assert (small == 0).mean() > 0.3
    np.testing.assert_allclose(small[small > 1e-9], rules.LEAD, atol=1e-9)


def test_seed_and_fingerprint(scores: dict[str, Any], monkeypatch: pytest.MonkeyPatch, few: Splits) -> None:
    make = dataset_class("chorales")
    monkeypatch.setattr(chorales, "_read", lambda progress: (scores, []))
    assert make(limit=12).load(None, progress) == few
    other = make(limit=12, seed=1).load(None, progress)
    assert [p.id for p in other.train] == [p.id for p in few.train]
    assert other.train[0].notes != few.train[0].notes
    prints = {make(**o).fingerprint(None) for o in ({}, {"limit": 12}, {"seed": 1}, {"limit": 13})}
    assert len(prints) == 4
    assert make().fingerprint(None) == make().fingerprint(None)


def test_phrases_end_at_fermatas(scores: dict[str, Any]) -> None:
    from music21 import converter

    peer = converter.parse(corpus_path("bwv269.mxl"), forceSource=True).parts[0].stripTies().flatten().notes
    held = [float(n.offset + n.quarterLength) for n in peer if any(e.name == "fermata" for e in n.expressions)]
    assert len(held) > 3
    assert chorales.make_score(scores["bwv269"][1]).phrase_ends.tolist() == held


def test_phrases_without_a_fermata(scores: dict[str, Any]) -> None:
    assert chorales.make_score(scores["bwv112.5"][1]).phrase_ends.tolist() == [8.0 * i for i in range(1, 8)]


def test_instrumental_interludes_are_left_out(corpus: tuple[dict[str, Any], list[Skipped]]) -> None:
    reasons = {s.source: s.reason for s in corpus[1]}
    assert "rest for 49 quarters" in reasons["bwv248.64-6.mxl"]
    assert "not have one soprano" in reasons["bwv846.mxl"]


def test_bad_limit() -> None:
    with pytest.raises(DataError, match="limit is 2"):
        dataset_class("chorales")(limit=2)


# ---- the rules, by hand


def test_phrase_arch() -> None:
    x = np.array([0.0, 0.3, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(rules.phrase_arch(x, turn=0.6), [0.0, 0.75, 1.0, 0.75, 0.0], atol=1e-12)
    np.testing.assert_allclose(rules.arch_tempo(x, amount=0.2), 1 - 0.2 * np.array([1, 0.25, 0, 0.25, 1]), atol=1e-12)
    np.testing.assert_allclose(rules.arch_level(np.array([0.0]), amount=3.0), [-3.0])


def test_phrase_position() -> None:
    ends = np.array([4.0, 12.0])
    at = np.array([0.0, 2.0, 4.0, 8.0, 12.0])
    np.testing.assert_allclose(rules.phrase_position(at, ends), [0.0, 0.5, 0.0, 0.5, 1.0])


def test_high_loud_is_3_db_an_octave() -> None:
    np.testing.assert_allclose(rules.high_loud(np.array([48, 60, 72, 84])), [-3.0, 0.0, 3.0, 6.0])


def test_final_ritard() -> None:
    found = rules.final_ritard(np.array([0.0, 16.0, 18.0, 20.0]), end=20.0, quarters=4.0, last=0.5, curvature=2.0)
    np.testing.assert_allclose(found, [1.0, 1.0, np.sqrt(1 - 0.75 / 2), 0.5])


def test_melody_lead_only_where_there_is_a_melody_note() -> None:
    found = rules.melody_lead(np.array([0, 1, 1]), np.array([True, True, False]), lead=0.03)
    assert found.tolist() == [0.0, 0.03, 0.0]


def score(rows: list[tuple[float, float, int, int, int]], ends: list[float]) -> Any:
    onset, duration, pitch, voice, accent = (np.array(c) for c in zip(*rows, strict=True))
    return rules.Score(onset.astype(float), duration.astype(float), pitch, voice, accent, np.array(ends))


def test_clock_without_rules_is_the_tempo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules.arch_tempo, "__defaults__", (0.0,))
    grid, seconds = rules.clock(score([(0, 40, 60, 0, 0)], [40.0]), tempo=60.0)
    assert np.interp(36.0, grid, seconds) == pytest.approx(36.0)
    assert seconds[-1] > 40.5


def test_two_voices_on_one_key_are_one_note() -> None:
    notes: Notes = rules.perform(score([(0, 1, 60, 0, 0), (0, 4, 60, 1, 0), (1, 1, 62, 0, 2)], [4.0]), np.random.default_rng(0))
    assert notes.pitch.tolist() == [60, 62]
    assert notes.duration[0] > 2


def test_a_key_struck_again_ends_the_note_before() -> None:
    notes: Notes = rules.perform(score([(0, 4, 60, 1, 0), (2, 1, 60, 0, 2)], [4.0]), np.random.default_rng(0))
    assert notes.onset[0] + notes.duration[0] < notes.onset[1]


def test_accents_and_pitch_are_heard() -> None:
    rows = [(float(i), 1.0, 60, 0, i % 4 and 2) for i in range(40)]
    notes: Notes = rules.perform(score(rows, [40.0]), np.random.default_rng(0))
    velocity = notes.velocity.astype(float)
    assert velocity[0::4].mean() - velocity[2::4].mean() > 2
    assert velocity[:3].mean() < velocity[20:30].mean() - 5
    assert all(a < b for a, b in pairwise(notes.onset))


#: Entropy of jitter of SD 1.5 that is rounded at a random place between two numbers, nearly: rounding adds a variance of 1/12.
ROUNDED = math.log2(2 * math.pi * math.e * (1.5**2 + 1 / 12)) / 2


def test_noise_of_a_velocity_by_hand() -> None:
    """Middle C of a lower voice between beats, at the turn of a phrase of 10 quarters: 66 - 3 * 1.5 on average, plus jitter."""
    one = score([(6, 1, 60, 1, 3)], [10.0])
    assert rules.mean_velocity(one).tolist() == [61.5]
    jitter = NormalDist(61.5, 1.5)
    shares = [jitter.cdf(v + 0.5) - jitter.cdf(v - 0.5) for v in range(50, 74)]
    by_hand = -sum(share * math.log2(share) for share in shares)
    assert rules.velocity_noise(one).tolist() == pytest.approx([by_hand], abs=1e-9)
    assert by_hand == pytest.approx(ROUNDED, abs=0.01)


def test_noise_is_that_of_the_velocities_performed() -> None:
    # Two voices on one key, which are one note, and a note so loud that it mostly has velocity 127.
    two = score([(0, 1, 60, 0, 0), (0, 4, 60, 1, 0), (6, 1, 127, 0, 0)], [10.0])
    bits = rules.velocity_noise(two)
    assert len(bits) == 2
    drawn = np.array([rules.perform(two, np.random.default_rng(seed)).velocity for seed in range(4000)])
    for velocities, expected in zip(drawn.T, bits, strict=True):
        shares = np.unique(velocities, return_counts=True)[1] / len(drawn)
        assert -(shares * np.log2(shares)).sum() == pytest.approx(expected, abs=0.05)
    assert bits[1] < bits[0] - 0.5


def test_noise_is_of_the_test_pieces(few: Splits) -> None:
    assert few.noise is not None
    assert set(few.noise) == {"velocity"}
    assert few.noise["velocity"] == pytest.approx(ROUNDED, abs=0.001)


# ---- splits


def test_union_find() -> None:
    groups = shares.UnionFind("abcde")
    groups.join("a", "c")
    groups.join("d", "c")
    assert groups.groups() == [["a", "c", "d"], ["b"], ["e"]]


def test_fill_shares_keeps_groups_whole() -> None:
    groups = [[f"{g}-{i}" for i in range(1 + g % 3)] for g in range(120)]
    split = shares.fill_shares(groups, {"test": 0.2, "validation": 0.1, "train": 0.7})
    assert all(len({split[n] for n in g}) == 1 for g in groups)
    counts = [sum(v == s for v in split.values()) / len(split) for s in ("test", "validation", "train")]
    assert counts == pytest.approx([0.2, 0.1, 0.7], abs=0.02)
    assert split == shares.fill_shares(groups[::-1], {"test": 0.2, "validation": 0.1, "train": 0.7})
