"""A folder of MIDI as samples: which file is which piece, what of it counts, what is refused. Notes are half a second apart."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import DataError, UsageError
from bench.external.folder import External, match, midi_files, read_external, samples_a_piece
from bench.external.messages import at_row, counts, in_report, matched, treated, warnings
from bench.external.prompt_match import PAUSE, Opening, PromptRule, continuation, opening
from bench.external.prompts import check_index, export_prompts, numbers_in, prompt_name
from bench.music.midi import midi_bytes
from bench.music.notes import Notes
from bench.runner.contract import ONSET_TOLERANCE
from bench.runner.held_out import HeldOut
from bench.specs.schema import DatasetChoice, Protocol, Spec
from bench.storage.files import FORMAT, write_json
from bench.storage.records import Prepared
from bench.storage.samples import PieceName, Target, Targets

N = 4


def line(*pitch: int, start: float = 0.0) -> Notes:
    n = len(pitch)
    return Notes.from_columns(start + np.arange(n) * 0.5, np.full(n, 0.25), pitch, np.full(n, 80))


def target(index: int, prompt: Notes) -> Target:
    return Target(PieceName(index, f"piece {index}"), prompt, line(60, 60, 60, 60, start=10))


TARGETS = (target(0, line(40, 41)), target(1, line(50, 52)), target(2, line(45, 47)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


def put(folder: Path, name: str, *pitch: int) -> None:
    (folder / name).write_bytes(midi_bytes(line(*pitch)))


@pytest.mark.parametrize(
    ("stem", "numbers"),
    [
        ("prompt-007", (7, 0)),
        ("prompt-007-2", (7, 2)),
        ("magenta_Prompt-012_temperature-0.9", (12, 0)),
        ("prompt-1000", (1000, 0)),
        ("007", (7, 0)),
        ("007-3", (7, 3)),
        ("2026-11-23_01", None),
        ("take 7", None),
        ("prompt", None),
    ],
)
def test_the_number_in_a_name(stem: str, numbers: tuple[int, int] | None) -> None:
    assert numbers_in(stem) == numbers


@given(st.integers(0, 5000), st.integers(1, 99))
def test_a_name_that_was_exported_is_read_back(piece: int, sample: int) -> None:
    stem = Path(prompt_name(piece)).stem
    assert numbers_in(stem) == (piece, 0)
    assert numbers_in(f"{stem}-{sample}") == (piece, sample)


def test_the_prompt_is_cut_off_where_a_file_begins_with_it() -> None:
    found = opening(line(40, 41, 60, 62), line(40, 41))
    assert (found.start, found.rest.pitch.tolist(), found.remark) == ("prompt", [60, 62], "")


def test_a_file_without_the_prompt_counts_whole() -> None:
    assert opening(line(60, 62, 64), line(40, 41)) == Opening("other")


def test_a_lower_key_in_the_last_chord_of_the_prompt_is_continuation() -> None:
    """The prompt ends with 52 at 0.5 s; the system adds 40 on the same onset, which sorts before it."""
    made = Notes.from_columns([0, 0.5, 0.5, 1.0], [0.2] * 4, [50, 52, 40, 60], [80] * 4)
    assert opening(made, line(50, 52)).rest.pitch.tolist() == [40, 60]


def test_a_prompt_in_another_order_is_said() -> None:
    found = opening(line(*LONG[::-1], 60), line(*LONG))
    assert found == Opening("near", None, "its first 8 notes are nearly the prompt's (8 pitches), but not in its order")
    assert opening(line(41, 40, 60), line(40, 41)).start == "other"  # which chance does as well


LONG = (60, 62, 64, 65, 67, 69, 71, 72)


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(40, 60)), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 90), st.integers(40, 60)), max_size=10),
    st.sampled_from([31, 61, 81]),
    st.sampled_from([np.rint, np.floor]),
)
def test_a_prompt_on_a_coarser_grid_is_recognised(
    prompt: list[tuple[int, int]], rest: list[tuple[int, int]], step: int, rounding: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    """Onsets in ticks of 1/480 s, each some time after the one before; of notes that fall on one another one is left."""
    ticks = np.cumsum([0, *(time for time, _ in (*prompt, *rest)[1:])])
    pitch = np.array([p for _, p in (*prompt, *rest)])
    on_grid = (rounding(ticks / step) * step).astype(int)
    size = len(prompt)
    before = {(int(t), int(p)) for t, p in zip(on_grid[:size], pitch[:size], strict=True)}
    after = {(int(t), int(p)) for t, p in zip(on_grid[size:], pitch[size:], strict=True)} - before
    result = opening(written(before | after), written(set(zip(ticks[:size].tolist(), pitch[:size].tolist(), strict=True))))
    assert result.start == "prompt"
    assert result.rest is not None
    moved = list(zip(np.rint(result.rest.onset * 480).astype(int).tolist(), result.rest.pitch.tolist(), strict=True))
    # Of a pitch that the prompt's last step has too, a file on a grid doesn't say whose a note is.
    last = set(pitch[:size][ticks[:size] >= ticks[size - 1] - 0.25 * 480].tolist())
    # Nor, of a pitch that is repeated, when the prompt ends in it.
    ends = {int(ticks[size - 1]) - end for end in on_grid.tolist()}
    assert any({p for _, p in {(t - by, p) for t, p in moved} ^ after} <= last for by in ends)


def written(keys: set[tuple[int, int]]) -> Notes:
    ordered = sorted(keys)
    n = len(ordered)
    return Notes.from_columns([t / 480 for t, _ in ordered], np.full(n, 0.05), [p for _, p in ordered], np.full(n, 80))


@pytest.mark.parametrize(("by", "said"), [(3, "3 semitones up"), (-1, "1 semitone down"), (-12, "12 semitones down")])
def test_a_prompt_in_another_key_is_recognised(by: int, said: str) -> None:
    found = opening(line(*(p + by for p in LONG), 50, 51), line(*LONG))
    assert (found.start, found.rest.pitch.tolist()) == ("transposed", [50, 51])
    assert found.remark == f"its first 8 notes are the prompt's, {said}"


def test_of_a_few_notes_a_transposition_says_nothing() -> None:
    assert opening(line(42, 43, 60), line(40, 41)).start == "other"


def test_a_prompt_in_another_key_and_on_another_grid_is_recognised() -> None:
    """63 and 60 are 0.1 s apart; in the file they begin together, and the lower one comes first."""
    prompt = Notes.from_columns([0.0, 0.1, *np.arange(1, 8)], np.full(9, 0.05), [63, 60, *LONG[1:]], np.full(9, 80))
    pitches = [62, 65, *(p + 2 for p in LONG[1:]), 50]
    begin = opening(Notes.from_columns([0.0, 0.0, *np.arange(1, 9)], np.full(10, 0.05), pitches, np.full(10, 80)), prompt)
    assert begin.start == "transposed"
    assert begin.rest is not None
    assert begin.rest.pitch.tolist() == [50]


def test_a_long_tremolo_on_a_coarser_grid_is_recognised() -> None:
    """Of a hundred steps with the same pitch the prompt may end in any."""
    prompt = Notes.from_columns(np.arange(400) / 16, np.full(400, 0.05), np.full(400, 60), np.full(400, 80))
    steps = np.arange(120) / 4
    pitch = np.where(steps <= prompt.onset[-1], 60, 50)
    found = opening(Notes.from_columns(steps, np.full(120, 0.05), pitch, np.full(120, 80)), prompt)
    assert found.start == "prompt"
    assert abs(len(found.rest) - 20) <= 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [1000, 100_000])
def test_one_note_again_and_again_costs_no_more_than_its_length(size: int) -> None:
    """Every part of the prompt fits everywhere, as in a run of someone else; the ways grew with the cube of its notes."""
    prompt = Notes.from_columns(np.arange(size) * 0.2 / size, np.full(size, 0.1), np.full(size, 60), np.full(size, 64))
    pitch = np.where(np.arange(size) < size // 2, 60, 61)
    found = opening(Notes.from_columns(np.arange(size) * 1.0, np.full(size, 0.1), pitch, np.full(size, 64)), prompt)
    assert (found.part, found.mixed) == (0, 0)


@given(st.lists(st.integers(0, 127), min_size=8, max_size=20), st.lists(st.integers(0, 127), max_size=9), st.integers(-127, 127))
def test_any_prompt_in_any_key_is_told_from_what_follows(prompt: list[int], rest: list[int], by: int) -> None:
    moved = [p + by for p in prompt]
    assume(min(moved) >= 0 and max(moved) <= 127)
    found = opening(line(*moved, *rest), line(*prompt))
    assert (found.start, found.rest.pitch.tolist()) == ("transposed" if by else "prompt", rest)


@pytest.mark.parametrize("rule", ["auto", "included"])
@pytest.mark.parametrize("keys", [(60, 62, 64, 65, 67, 69, 71, 72), (62, 64, 66, 67, 69, 71, 73, 74), (1, 2, 3, 4, 5, 6, 7, 8)])
@pytest.mark.parametrize("start", [0.0, 2.5, 60.0])
def test_a_continuation_follows_our_prompt_wherever_the_file_has_it(
    keys: tuple[int, ...], start: float, rule: PromptRule
) -> None:
    """Most programs write from 0 s on; ours begins as the piece does."""
    prompt = line(*LONG, start=2.5)
    rest, _, cut = continuation(line(*keys, 50, 51, start=start), prompt, rule)
    assert cut == (rule == "included" or keys == LONG)
    if cut:
        assert (rest.onset - prompt.onset[-1]).tolist() == pytest.approx([0.5, 1.0])


@given(st.floats(0, 1000), st.floats(0, 1000), st.lists(st.integers(0, 127), min_size=1, max_size=9))
def test_no_continuation_begins_before_our_prompt_ends(ours: float, theirs: float, rest: list[int]) -> None:
    prompt = line(*LONG, start=ours)
    for keys in (LONG, (1, 2)):
        for rule in get_args(PromptRule):
            notes, *_ = continuation(line(*keys, *rest, start=theirs), prompt, rule)
            assert np.diff(notes.onset) == pytest.approx(0.5)
            assert all(-ONSET_TOLERANCE <= begin - prompt.onset[-1] <= PAUSE for begin in notes.onset[:1])


@pytest.mark.parametrize(("start", "begins"), [(0.0, 6.25), (5.9, 6.25), (6.0, 6.0), (7.5, 7.5), (11.1, 6.25), (60.0, 6.25)])
def test_what_is_written_without_the_prompt_begins_behind_it(start: float, begins: float) -> None:
    """The prompt's last note is from 6 to 6.25 s."""
    assert continuation(line(1, 2, 3, start=start), line(*LONG, start=2.5), "auto")[0].onset == pytest.approx(
        [begins, begins + 0.5, begins + 1]
    )


@pytest.mark.parametrize(("start", "begins"), [(0.0, 0.0), (2.0, 2.0), (60.0, 0.0)])
def test_without_a_prompt_a_piece_begins_soon(start: float, begins: float) -> None:
    assert continuation(line(1, 2, start=start), line(), "auto")[0].onset.tolist() == [begins, begins + 0.5]


def test_no_prompt_and_short_files_cut_nothing() -> None:
    for notes, prompt in ((line(60), line()), (line(40), line(40, 41)), (line(), line(40))):
        assert opening(notes, prompt) == Opening("other")


def test_sorted_order_counts_as_people_do(folder: Path) -> None:
    for name in ("take 10.mid", "take 2.mid", "take 1.midi", "._take 1.mid", "notes.txt"):
        put(folder, name, 60)
    assert [p.name for p in midi_files(folder)] == ["take 1.midi", "take 2.mid", "take 10.mid"]
    places, bad, by_name = match(midi_files(folder), 3)
    expected = {"take 1.midi": (0, 0), "take 2.mid": (1, 0), "take 10.mid": (2, 0)}
    assert ({p.name: place for p, place in places.items()}, by_name, bad) == (expected, False, {})


@pytest.mark.parametrize("pieces", [2, 4])
def test_in_sorted_order_one_too_many_or_too_few_would_shift_the_others(folder: Path, pieces: int) -> None:
    for name in ("all.mid", "take 1.mid", "take 2.mid"):
        put(folder, name, 60)
    with pytest.raises(UsageError, match=f"there are 3 files for {pieces} pieces: nothing says which continues which"):
        match(midi_files(folder), pieces)


def test_the_names_of_a_runs_own_files_have_numbers() -> None:
    assert numbers_in("piece-007") == (7, 0)
    assert numbers_in("piece-007-2") == (7, 2)
    assert numbers_in("piece-1") is None, "as people call theirs, counted from 1"
    assert numbers_in("masterpiece-001") is None
    assert (numbers_in("7"), numbers_in("007-1")) == ((7, 0), (7, 1))


def test_a_series_that_is_counted_from_1_is_no_runs(folder: Path) -> None:
    """piece-100 of piece-1 to piece-120 was taken for a run's piece 100, and those before it for nothing."""
    paths = [Path(f"piece-{number}.mid") for number in range(1, 121)]
    places, bad, by_name = match(paths, 120)
    assert (places, bad, by_name) == ({path: (piece, 0) for piece, path in enumerate(paths)}, {}, False)
    paths = [Path(f"piece-{number:03}.mid") for number in range(12) if number != 5] + [Path("piece-5.mid")]
    places, bad, by_name = match(paths, 12)  # one stray name among a run's own shifts no other
    assert by_name
    assert {path.name: piece for path, (piece, _) in places.items()} == {f"piece-{n:03}.mid": n for n in range(12) if n != 5}
    assert list(bad) == ["piece-5.mid"]


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["old-prompt-000.mid", "prompt-000.mid"], ["prompt-000.mid"]),
        (["a-prompt-000.mid", "b-prompt-000.mid", "prompt-001.mid"], ["prompt-001.mid"]),
        (["old-prompt-000-1.mid", "prompt-000-1.mid"], ["prompt-000-1.mid"]),
    ],
)
def test_of_several_files_for_one_piece_the_one_with_its_very_name_is_taken(names: list[str], used: list[str]) -> None:
    """One of an earlier system was, as `o` is before `p`; of two others nobody can know which was meant."""
    places, bad, _ = match([Path(name) for name in names], 3)
    assert [path.name for path in places] == used
    assert sorted(bad) == [name for name in names if name not in used]


def test_names_that_stand_for_nothing_are_bad() -> None:
    paths = [Path(n) for n in ("prompt-000.mid", "prompt-000.midi", "prompt-003.mid", "song.mid")]
    places, bad, by_name = match(paths, 3)
    assert ({p.name: place for p, place in places.items()}, by_name) == ({"prompt-000.mid": (0, 0)}, True)
    assert bad == {
        "prompt-000.midi": "its name has the same piece and sample numbers as prompt-000.mid",
        "prompt-003.mid": "there are 3 pieces, prompt-000.mid to prompt-002.mid",
        "song.mid": "its name has no piece's number, such as prompt-003.mid",
    }


def test_what_counts_and_what_is_missing(folder: Path) -> None:
    put(folder, "prompt-000.mid", 40, 41, 60, 61, 62, 63, 64)
    put(folder, "prompt-001.mid", 70, 71, 72, 73)
    (folder / "prompt-002.mid").write_bytes(b"no music")
    found = read_external(folder, TARGETS, N)
    assert {key: notes.pitch.tolist() for key, notes in found.notes.items()} == {
        (0, 0): [60, 61, 62, 63],
        (1, 0): [70, 71, 72, 73],
    }
    assert [(f.name, f.prompt_cut, f.surplus) for f in found.files] == [("prompt-000.mid", True, 1), ("prompt-001.mid", False, 0)]
    assert (found.missing, found.samples, found.by_name) == ((2,), 1, True)
    assert list(found.bad) == ["prompt-002.mid"]
    assert found.bad["prompt-002.mid"].startswith("not a MIDI file")


def test_too_few_notes_and_none_are_bad(folder: Path) -> None:
    put(folder, "prompt-000.mid", 40, 41, 60)
    put(folder, "prompt-001.mid")
    put(folder, "prompt-002.mid", 60, 61, 62, 63)
    found = read_external(folder, TARGETS, N)
    assert found.bad == {
        "prompt-000.mid": "it has 1 note after the prompt; 4 are needed",
        "prompt-001.mid": "it holds no notes",
    }
    assert found.missing == (0, 1)


def test_a_file_that_is_too_long_for_a_prompt_before_it_is_bad(folder: Path) -> None:
    put(folder, "prompt-000.mid", 40, 41, 60, 61, 62, 63)
    late = Notes.from_columns([0.0, 1.0, 2.0, 3.0, 99_999.0], np.full(5, 0.5), [60, 61, 62, 63, 64], np.full(5, 80))
    (folder / "prompt-001.mid").write_bytes(midi_bytes(late))
    found = read_external(folder, TARGETS, N)
    assert found.bad == {"prompt-001.mid": "it has a note that begins after 25,000 s"}
    assert list(found.notes) == [(0, 0)]


def test_a_pipe_and_a_link_to_nothing_are_bad(folder: Path) -> None:
    put(folder, "prompt-000.mid", 40, 41, 60, 61, 62, 63)
    os.mkfifo(folder / "prompt-001.mid")
    (folder / "prompt-002.mid").symlink_to("nowhere.mid")
    (folder / "odd.mid").symlink_to("n" * 300)
    found = read_external(folder, TARGETS, N)
    assert found.bad == {
        "prompt-001.mid": "not a file",
        "prompt-002.mid": "can't be read (No such file or directory)",
        "odd.mid": "its name has no piece's number, such as prompt-003.mid",
    }


def test_samples_count_from_0_and_as_most_pieces_have(folder: Path) -> None:
    for piece in (0, 1):
        for sample in (1, 2):
            put(folder, f"prompt-{piece:03}-{sample}.mid", 60 + sample, 60, 60, 60)
    put(folder, "prompt-000-9.mid", 70, 70, 70, 70)
    put(folder, "prompt-002-1.mid", 60, 60, 60, 60)
    found = read_external(folder, TARGETS, N)
    assert found.samples == 2
    assert {key: int(notes.pitch[0]) for key, notes in found.notes.items()} == {(0, 0): 61, (0, 1): 62, (1, 0): 61, (1, 1): 62}
    assert found.missing == (2,)
    assert found.bad == {
        "prompt-000-9.mid": "2 samples of a piece count; this is one more",
        "prompt-002-1.mid": "its piece has 1 of 2 samples",
    }


@pytest.mark.parametrize(
    ("found", "samples"), [([1, 1, 1], 1), ([2, 2, 1], 2), ([3, 2, 1], 2), ([2, 1, 1, 1], 1), ([1, 2], 1), ([5], 5)]
)
def test_as_many_samples_as_use_most_files(found: list[int], samples: int) -> None:
    assert samples_a_piece(found) == samples


def held_out(prompt: int) -> HeldOut:
    spec = Spec(name="toy", title="Toy", dataset=DatasetChoice(name="toy"), protocol=Protocol(prompt=prompt, notes=N))
    targets = tuple(target(i, t.prompt[:prompt]) for i, t in enumerate(TARGETS))
    return HeldOut(spec, Targets(targets, 3, 3), Prepared(title="Toy", license="CC0", corpus_key="feed"))


def test_continuations_of_other_prompts_are_refused(folder: Path) -> None:
    export_prompts(held_out(2), folder, scale="cpu", score="bench score DIR")
    check_index(folder, held_out(2).targets.targets)
    with pytest.raises(DataError, match=r"is of other prompts: the spec toy at scale cpu, dataset toy"):
        check_index(folder, held_out(1).targets.targets)


def test_prompts_of_two_kinds_do_not_mix(folder: Path) -> None:
    export_prompts(held_out(2), folder, scale="cpu", score="bench score DIR")
    with pytest.raises(UsageError, match="already holds prompts of the spec toy"):
        export_prompts(held_out(1), folder, scale="cpu", score="bench score DIR")


def test_without_a_prompt_there_is_nothing_to_export(folder: Path) -> None:
    written = export_prompts(held_out(0), folder, scale="cpu", score="bench score DIR")
    assert sorted(p.name for p in written) == ["README.txt", "prompts.json"]
    assert "No notes are given" in (folder / "README.txt").read_text()


def test_a_folder_of_other_files_is_left_alone(folder: Path) -> None:
    put(folder, "song.mid", 60)
    with pytest.raises(UsageError, match="already holds other files"):
        export_prompts(held_out(2), folder, scale="cpu", score="bench score DIR")


def test_a_folder_without_use_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        read_external(folder / "gone", TARGETS, N)
    with pytest.raises(UsageError, match="There is no MIDI file"):
        read_external(folder, TARGETS, N)
    put(folder, "prompt-000.mid", 60)
    with pytest.raises(DataError, match=r"None of 1 MIDI files .* prompt-000\.mid: it has 1 note"):
        read_external(folder, TARGETS, N)


def test_another_pieces_prompt_is_refused(folder: Path) -> None:
    """Files numbered from 1 would each be compared with the music of the piece after."""
    prompts = [[40 + i + step for step in range(8)] for i in range(0, 12, 4)]
    targets = [target(i, line(*prompt)) for i, prompt in enumerate(prompts)]
    put(folder, "1.mid", *prompts[0], 1, 2, 3, 4)
    put(folder, "2.mid", *prompts[1], 1, 2, 3, 4)
    with pytest.raises(DataError, match=r"1\.mid: .* \(prompt-001\.mid\), or prompt-000\.mid as it is: names are counted from 0"):
        read_external(folder, targets, N)
    put(folder, "0.mid", *prompts[0], 1, 2, 3, 4)
    found = read_external(folder, targets, N)
    assert (sorted(found.notes), found.missing) == ([(0, 0)], (1, 2))
    assert set(found.bad) == {"1.mid", "2.mid"}


def test_a_prompt_of_few_notes_may_begin_another_piece(folder: Path) -> None:
    put(folder, "1.mid", 40, 41, 1, 2, 3)
    assert read_external(folder, TARGETS, N).notes[1, 0].pitch.tolist() == [40, 41, 1, 2]


def test_what_is_nearly_the_prompt_never_counts_as_continuation(folder: Path) -> None:
    targets = [target(i, line(*(p + 5 * i for p in LONG))) for i in range(4)]
    put(folder, "0.mid", *LONG, 1, 2, 3, 4)
    put(folder, "1.mid", *(p + 7 for p in LONG), 1, 2, 3, 4)  # its own prompt is 5 up
    put(folder, "2.mid", *(p + 10 for p in LONG[::-1]), 1, 2, 3, 4)
    put(folder, "3.mid", *(p + 10 for p in LONG), 1, 2, 3, 4)  # which is also another piece's prompt
    found = read_external(folder, targets, N)
    options = "--prompt included cuts them off, --prompt absent counts them"
    own = "its first 8 notes are the prompt's"
    assert found.bad == {
        "1.mid": f"{own}, 2 semitones up (prompt-001.mid): {options}",
        "2.mid": f"its first 8 notes are nearly the prompt's (8 pitches), but not in its order (prompt-002.mid): {options}",
        "3.mid": f"{own}, 5 semitones down (prompt-003.mid), or prompt-002.mid as it is: names are counted from 0; {options}",
    }
    assert found.missing == (1, 2, 3)
    included = read_external(folder, targets, N, "included")
    assert [notes.pitch.tolist() for notes in included.notes.values()] == [[1, 2, 3, 4]] * 4
    assert (included.bad, [f.remark for f in included.files]) == (
        {},
        [
            "",
            f"{own}, 2 semitones up: cut off",
            "its first 8 notes are not the prompt's: cut off nevertheless",
            f"{own}, 5 semitones down: cut off",
        ],
    )


def test_what_is_odd_is_counted_and_named(folder: Path) -> None:
    targets = [target(i, line(*(p + 10 * i for p in LONG))) for i in range(3)]
    put(folder, "0.mid", *LONG, 1, 2, 3, 4)
    put(folder, "1.mid", 1, 2, 3, 4)
    put(folder, "2.mid", 1, 2, 3, 4)
    found = read_external(folder, targets, N)
    assert counts(found) == {"rule": "auto", "files": 3, "cut": 1, "odd": 0, "prompt": 1, "transposed": 0, "near": 0, "other": 2}
    assert warnings(found) == ["looks odd: some files begin with their prompt and some do not; with it: 0.mid"]
    assert in_report(found, "mine", 3)[1] == (
        "The row mine: 1 of 3 files begin with their prompt, 2 without it. The prompt was cut off in 1 of them; of the other 2 "
        "all notes count"
    )
    assert at_row(found, 3) == "another system's MIDI files; all pieces; prompt cut off in 1 of 3 files"
    put(folder, "1.mid", *(p + 12 for p in LONG), 1, 2, 3, 4)  # its own prompt is 10 up
    put(folder, "2.mid", *(p + 20 for p in LONG), 1, 2, 3, 4)
    found = read_external(folder, targets, N, "included")
    assert at_row(found, 3) == "another system's MIDI files; all pieces; prompt cut off in 3 of 3 files (1 in doubt)"
    assert warnings(found) == ["looks odd: 1.mid: its first 8 notes are the prompt's, 2 semitones up: cut off"]


class TestTheRuleForPrompts:
    """Three files: with the prompt, with it two semitones up, without it."""

    @pytest.fixture
    def mixed(self, folder: Path) -> Path:
        put(folder, "0.mid", *LONG, 1, 2, 3, 4)
        put(folder, "1.mid", *(p + 2 for p in LONG), 1, 2, 3, 4)
        put(folder, "2.mid", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
        return folder

    def read(self, folder: Path, rule: PromptRule) -> External:
        return read_external(folder, [target(i, line(*LONG)) for i in range(3)], N, rule)

    @pytest.mark.parametrize(
        ("rule", "first", "cut"),
        [("auto", (1, None, 1), 1), ("included", (1, 1, 9), 3), ("absent", (60, 62, 1), 0)],
    )
    def test_what_counts(self, mixed: Path, rule: PromptRule, first: tuple[int | None, ...], cut: int) -> None:
        found = self.read(mixed, rule)
        pieces = [found.notes.get((piece, 0)) for piece in range(3)]
        assert tuple(int(notes.pitch[0]) if notes else None for notes in pieces) == first
        assert (counts(found)["rule"], counts(found)["cut"], found.rule) == (rule, cut, rule)

    def test_what_is_cut_off_unseen_is_odd(self, mixed: Path) -> None:
        assert [f.remark for f in self.read(mixed, "included").files] == [
            "",
            "its first 8 notes are the prompt's, 2 semitones up: cut off",
            "its first 8 notes are not the prompt's: cut off nevertheless",
        ]
        assert treated(self.read(mixed, "included")) == "As asked (--prompt included), the prompt was cut off in all of them"

    def test_a_prompt_that_counts_as_continuation_is_odd(self, mixed: Path) -> None:
        """The user says that there is none; a continuation may begin as another piece's prompt does."""
        put(mixed, "2.mid", 60, 64, 62, 65, 67, 69, 72, 71, 60)  # nearly the prompt
        found = self.read(mixed, "absent")
        assert warnings(found) == [
            "looks odd: 0.mid: it begins with the prompt: counted nevertheless",
            "looks odd: 1.mid: its first 8 notes are the prompt's, 2 semitones up: counted nevertheless",
            "looks odd: 2.mid: its first 8 notes are nearly the prompt's (8 pitches), but not in its order: counted nevertheless",
        ]
        assert counts(found)["odd"] == 3
        assert treated(found) == "As asked (--prompt absent), nothing was cut off: all their notes count as continuation"
        others = [target(i, line(*(p + 5 * i for p in LONG))) for i in range(2)]
        put(mixed, "1.mid", *LONG)
        assert read_external(mixed, others, N, "absent").notes[1, 0].pitch.tolist() == [60, 62, 64, 65]

    def test_a_part_of_the_prompt_is_no_continuation(self, folder: Path) -> None:
        """The end of a prompt that is longer than a system's context, or its melody, counted as what the system wrote."""
        prompt, bass = line(*range(60, 80)), line(*range(40, 60))
        given = Notes.concatenate([prompt, bass])
        targets = [target(i, given) for i in range(3)]
        for name in ("0.mid", "1.mid"):
            (folder / name).write_bytes(midi_bytes(Notes.concatenate([prompt[8:].shifted(-2.0), line(1, 2, 3, 4).shifted(50.0)])))
        put(folder, "2.mid", 1, 2, 3, 4)
        with pytest.raises(
            UsageError, match=r"2 of 3 files begin with a part .* of 0\.mid, its first 12 notes are a part of the"
        ):
            read_external(folder, targets, N)
        said = "its first 12 notes are a part of the prompt, up to its end"
        found = read_external(folder, targets, N, "absent")
        assert [f.remark for f in found.files] == [f"{said}: counted nevertheless"] * 2 + [""]
        (folder / "2.mid").unlink()
        found = read_external(folder, targets, N, "included")
        assert [f.remark for f in found.files] == [f"{said}: cut off"] * 2
        assert found.notes[0, 0].pitch.tolist() == [1, 2, 3, 4]
        for name in ("1.mid", "2.mid"):  # one of three may repeat its last bar
            put(folder, name, 1, 2, 3, 4)
        found = read_external(folder, targets, N)
        assert [f.remark for f in found.files] == [""] * 3
        assert found.notes[0, 0].pitch[0] == 68

    def test_a_prompt_that_is_there_twice_is_refused(self, folder: Path) -> None:
        """As where it is put before what a model returned with its prompt."""
        for name in ("0.mid", "1.mid", "2.mid"):
            put(folder, name, *LONG, *(LONG if name < "2" else ()), 1, 2, 3, 4, 5, 6, 7, 8)
        said = "the 8 notes behind the prompt are the prompt again"
        with pytest.raises(UsageError, match=rf"2 of 3 files begin with a part .* twice: of 0\.mid, {said}"):
            self.read(folder, "auto")
        assert [f.remark for f in self.read(folder, "included").files] == [f"{said}: counted nevertheless"] * 2 + [""]
        put(folder, "1.mid", *LONG, 1, 2, 3, 4, 5, 6, 7, 8)  # one of three may be a repeat
        assert [f.remark for f in self.read(folder, "auto").files] == [""] * 3

    def test_continuations_in_another_unit_of_time_are_said(self, folder: Path) -> None:
        real = line(1, 2, 3, 4)
        targets = [replace(target(0, line(*LONG)), target=real)]
        for factor, said in ((1.0, False), (20.0, False), (480.0, True)):
            slow = Notes(4.0 + factor * real.onset, factor * real.duration, real.pitch, real.velocity)
            (folder / "0.mid").write_bytes(midi_bytes(Notes.concatenate([line(*LONG), slow])))
            lines = matched(read_external(folder, targets, N))
            assert any(text.startswith("what counts lasts 480 times as long as the real") for text in lines) == said

    def test_a_prompt_among_what_continues_it_is_refused(self, folder: Path) -> None:
        """Written from time 0 as the prompt is, the continuation was read as beginning with notes of both."""
        targets = [target(i, line(*LONG, start=3.0)) for i in range(3)]
        both = Notes.concatenate([line(*LONG), line(*range(30, 42))])
        for name in ("0.mid", "1.mid"):
            (folder / name).write_bytes(midi_bytes(both))
        put(folder, "2.mid", *range(1, 13))
        said = "the prompt's notes are among 8 others, at their times"
        rules: tuple[PromptRule, ...] = ("auto", "included")
        for rule in rules:
            with pytest.raises(UsageError, match=rf"2 of 3 files mix .* of 0\.mid, {said}"):
                read_external(folder, targets, N, rule)
        found = read_external(folder, targets, N, "absent")
        assert [f.remark for f in found.files] == [f"{said}: counted nevertheless"] * 2 + [""]
        over = [Target(t.piece, t.prompt, both.shifted(7.0)) for t in targets]  # real music goes on so too
        assert [f.remark for f in read_external(folder, over, N).files] == [""] * 3
        put(folder, "1.mid", 1, 2, 3, 4)  # one of three may be music that goes on as its prompt did
        assert [f.remark for f in read_external(folder, targets, N).files] == [""] * 3

    @pytest.mark.parametrize(("pace", "said"), [(0.5, "0.5"), (0.95, None), (2.0, "2")])
    def test_another_tempo_is_said(self, folder: Path, pace: float, said: str | None) -> None:
        notes = line(*LONG, 1, 2, 3, 4)
        slow = Notes(pace * notes.onset, pace * notes.duration, notes.pitch, notes.velocity)
        (folder / "0.mid").write_bytes(midi_bytes(slow))
        found = self.read(folder, "auto")
        lines = [text for text in [*matched(found), *in_report(found, "mine", 1)] if "as long as those that were given" in text]
        assert [f"last {said} times" in text for text in lines] == ([True] * 2 if said else [])

    def test_one_continuation_for_several_pieces_is_said(self, folder: Path) -> None:
        for name in ("0.mid", "1.mid", "2.mid"):
            put(folder, name, 1, 2, 3, 4 if name < "2" else 5)
        lines = matched(self.read(folder, "auto"))
        assert [line for line in lines if "another piece" in line] == [
            "1 file has the notes of a file for another piece: 1.mid those of 0.mid"
        ]

    def test_a_short_prompt_may_begin_a_continuation_by_chance(self, folder: Path) -> None:
        put(folder, "0.mid", 60, 62, 64, 65, 67)
        assert warnings(read_external(folder, [target(0, line(60, 62))], N, "absent")) == []

    def test_a_continuation_that_restates_its_prompt_is_whole(self, folder: Path) -> None:
        """With auto its 8 notes would be taken for the prompt, and none be left."""
        put(folder, "0.mid", *LONG)
        assert self.read(folder, "absent").notes[0, 0].pitch.tolist() == [60, 62, 64, 65]
        with pytest.raises(DataError, match="it has 0 notes after the prompt; 4 are needed"):
            self.read(folder, "auto")


@pytest.mark.parametrize("damage", [{"dataset": 5}, {"dataset": {}}, {"scale": []}, {"prompts": ["x"]}])
def test_an_index_of_other_types_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    index = {"format": FORMAT, "spec": "toy", "scale": "cpu", "dataset": {"name": "toy"}, "prompts": "x"}
    write_json(tmp_path / "prompts.json", index | damage)
    with pytest.raises(DataError, match=rf"prompts\.json is no index of prompts: {next(iter(damage))}"):
        check_index(tmp_path, held_out(1).targets.targets)
    with pytest.raises(DataError, match=r"prompts\.json is no index of prompts"):
        export_prompts(held_out(1), tmp_path, scale="cpu", score="")
