"""What is heard: the prompt's end and what follows, equally loud, the same beginning for every system."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from bench.errors import DataError, UsageError
from bench.listening.clips import LEAD, _Cut, gather, is_heard, play, still_heard
from bench.listening.design import CATCHES, NOISE, ORIGINAL, make_forms
from bench.listening.key import ALWAYS, Key, read_keys
from bench.listening.page import Choices, make_test
from bench.music.notes import Notes
from bench.sound.loudness import loudness
from bench.sound.synthesizer import RATE, find_synthesizer
from bench.storage.run_folder import RunFolder
from bench.storage.samples import PieceName, Samples, Target, write_samples
from tests.listening.sample_run import run_for_listening
from tests.listening.simulated import key_of

SYNTHESIZER = find_synthesizer({})


def decoded(audio: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
    return np.asarray(resample_poly(samples, RATE, rate), np.float32)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(run_for_listening(tmp_path / "table2-cpu"))


def test_contestants_and_prompts(run: RunFolder) -> None:
    material = gather(run, None, 5, 12.0, 0)
    assert [each.name for each in material.contestants] == ["lstm", "vae", "gan", *ALWAYS]
    assert material.prompts == (0, 3, 6, 8, 11)
    assert material.left_out == ()
    assert {system for system, _ in material.music} == {*range(5), ORIGINAL, NOISE}
    assert [each.name for each in gather(run, ["vae", "real"], 5, 12.0, 0).contestants] == ["vae", *ALWAYS]
    noise = {tuple(notes.pitch.tolist()) for (system, _), notes in material.music.items() if system == NOISE}
    assert len(noise) == CATCHES, "each its own"


@pytest.mark.parametrize(
    ("onset", "velocity", "led", "heard"),
    [
        (5.0, 60, 60, True),
        (8.0, 60, 60, True),
        (13.0, 60, 60, False),  # a rest behind the prompt: 14 of 20 careful listeners were thrown out for it
        (5.0, 1, 60, False),
        (5.0, 60, 1, False),
    ],
)
def test_a_piece_that_nobody_hears_is_in_no_test(onset: float, velocity: int, led: int, heard: bool) -> None:
    prompt = Notes.from_columns([0.0, 1.0], [0.5, 0.5], [60, 62], [led, led])
    real = Notes.from_columns(onset + np.arange(8) * 0.25, np.full(8, 0.2), np.arange(60, 68), np.full(8, velocity))
    assert is_heard(Target(PieceName(0, "piece"), prompt, real), 12.0) is heard


def test_without_the_prompt_written_music_follows_it(run: RunFolder) -> None:
    """The GAN's samples begin at 0 s, the prompt's last note is at 0.5 s."""
    material = gather(run, ["gan"], 5, 12.0, 0)
    assert material.music[0, 0].onset.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert material.music[1, 0].onset.tolist() == [1.0, 1.5, 2.0, 2.5]


def test_more_rows_than_can_be_compared(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.listening.clips.MOST_SYSTEMS", 4)
    with pytest.raises(UsageError, match=r"has 4 rows at most, not 5") as refused:
        gather(run, None, 5, 12.0, 0)
    assert refused.value.hint == "Name fewer rows: --systems."
    assert len(gather(run, ["vae", "gan"], 5, 12.0, 0).contestants) == 4


@pytest.mark.parametrize("name", ALWAYS)
def test_a_run_without_a_row_that_every_test_has(tmp_path: Path, name: str) -> None:
    run = RunFolder(run_for_listening(tmp_path / "table2-cpu", without=name))
    with pytest.raises(UsageError, match=f"The run has no row '{name}', which every listening test has") as refused:
        gather(run, None, 12, 12.0, 0)
    assert refused.value.hint == "Add it to the spec's references (real, ngram); the same command resumes."


def test_too_little(tmp_path: Path) -> None:
    few = RunFolder(run_for_listening(tmp_path / "few", pieces=4))
    with pytest.raises(DataError, match=r"needs 5 pieces that every row continued; there are 4\."):
        gather(few, None, 12, 12.0, 0)
    run = RunFolder(run_for_listening(tmp_path / "table2-cpu"))
    (run.trial_dir("vae-0") / "outcome.json").unlink()
    assert gather(run, None, 5, 12.0, 0).left_out == ("vae",)
    with pytest.raises(DataError, match="The row 'vae' has no finished trial"):
        gather(run, ["vae"], 5, 12.0, 0)
    for key in ("lstm-0", "gan-0"):
        (run.trial_dir(key) / "outcome.json").unlink()
    with pytest.raises(DataError, match="No model of this run has a finished trial"):
        gather(run, None, 5, 12.0, 0)


def test_notes_that_were_not_heard(run: RunFolder) -> None:
    material = gather(run, ["lstm"], 5, 12.0, 0)
    lstm, *references = material.contestants
    assert still_heard(run, material.contestants, material.prompts) == list(material.contestants)
    samples = run.samples("lstm-0").notes
    write_samples(
        run.trial_dir("lstm-0") / "samples.npz", Samples({place: notes.shifted(0.5) for place, notes in samples.items()})
    )
    assert still_heard(run, material.contestants, material.prompts) == [None, *references]
    assert still_heard(run, [references[0].model_copy(update={"seed": 1})], material.prompts) == [None]
    (run.trial_dir("lstm-0") / "samples.npz").write_bytes(b"damaged")
    assert still_heard(run, [lstm], material.prompts) == [None]
    assert gather(run, None, 5, 12.0, 0).left_out == ("lstm",)


def test_equally_loud_and_the_same_beginning(tmp_path: Path) -> None:
    """A soft system and a loud one differ by 20 LU before; after, all continuations have one loudness, decoded from their MP3."""
    run = RunFolder(run_for_listening(tmp_path / "table2-cpu", pieces=5))
    for key, velocity in (("lstm-0", 20), ("vae-0", 127)):
        samples = run.samples(key).notes
        changed = {p: Notes.from_columns(n.onset, n.duration, n.pitch, np.full(len(n), velocity)) for p, n in samples.items()}
        write_samples(run.trial_dir(key) / "samples.npz", Samples(changed))
    material = gather(run, ["lstm", "vae"], 5, 12.0, 0)
    clips = play(material, 2.0, SYNTHESIZER)
    levels = {place: loudness(decoded(clip.audio)[round(clip.mark * RATE) :]) for place, clip in clips.items()}
    assert max(levels.values()) - min(levels.values()) < 1, "the last note of the prompt sounds on"
    assert np.mean(list(levels.values())) == pytest.approx(-23, abs=0.5)  # MP3 costs a little
    assert max(float(np.abs(decoded(clip.audio)).max()) for clip in clips.values()) < 1
    assert {clip.mark for clip in clips.values()} == {0.5}
    assert all(1.5 < len(decoded(clip.audio)) / RATE < 3.2 for clip in clips.values())


@pytest.mark.parametrize("velocity", [20, 40, 80, 127])
def test_neither_the_prompt_nor_a_continuation_is_softer_for_the_other(velocity: int) -> None:
    """As loud as without the other, whatever the velocity of what follows; the prompt is the same in every clip."""
    rng = np.random.default_rng(0)

    def music(start: float, count: int, loud: int) -> Notes:
        onset = start + np.arange(count) * 0.25
        return Notes.from_columns(onset, np.full(count, 0.3), rng.integers(50, 80, count), np.full(count, loud))

    prompt, continuation = music(0.0, 24, 80), music(6.0, 48, velocity)
    cut = _Cut.of(prompt, continuation, 12.0)
    samples, mark = cut.samples(SYNTHESIZER), round(cut.mark * RATE)
    assert loudness(samples[mark + RATE // 2 :]) == pytest.approx(-23, abs=0.4)
    assert loudness(samples[:mark]) == pytest.approx(-23, abs=0.4)
    other = _Cut.of(prompt, music(6.0, 8, 20), 12.0).samples(SYNTHESIZER)
    np.testing.assert_array_equal(samples[:mark], other[:mark])


def test_a_silent_continuation_of_nothing() -> None:
    """A system that begins after the clip's end, where there is no prompt: a silent clip, not a failure."""
    nothing = Notes.from_columns([], [], [], [])
    cut = _Cut.of(nothing, Notes.from_columns([9.0], [1.0], [60], [80]), 3.0)
    assert (cut.length, len(cut.prompt), len(cut.continuation)) == (3.0, 0, 0)
    assert not cut.samples(SYNTHESIZER).any()
    prompt = Notes.from_columns([0.0, 1.0], [1.0, 1.0], [60, 60], [80, 80])
    for onset, velocity in ((1.5, 1), (4.0 - 1e-6, 80)):  # too soft to be played; in the last moment
        samples = _Cut.of(prompt, Notes.from_columns([onset], [1.0], [60], [velocity]), 3.0).samples(SYNTHESIZER)
        assert np.isfinite(samples).all()
        assert np.abs(samples[: 2 * RATE]).max() > 0.05


def test_only_the_end_of_a_long_prompt() -> None:
    prompt = Notes.from_columns(np.arange(30), np.full(30, 0.5), np.full(30, 60), np.full(30, 80))
    cut = _Cut.of(prompt, Notes.from_columns([30.0, 50.0], [0.5, 0.5], [60, 60], [80, 80]), 8.0)
    assert (cut.mark, cut.length) == (LEAD, LEAD + 8.0)
    assert cut.prompt.onset.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert cut.continuation.onset.tolist() == [6.0]


def test_the_page_has_every_clip_and_is_made_again_alike(tmp_path: Path) -> None:
    run = run_for_listening(tmp_path / "table2-cpu", pieces=5)
    choices = Choices(systems=["lstm"], questions=4, seconds=1.0)
    made = make_test(run, choices, SYNTHESIZER)
    text = made.page.read_bytes()
    assert made.key.secret.encode() not in text
    (data,) = re.findall(rb'id="data">(.*?)</script>', text)
    clips = json.loads(data)["clips"]
    assert clips.keys() == made.key.clips.keys()
    assert list(clips) == sorted(clips)
    assert len(clips) == 3 * 5 + 2 * 3
    assert all(len(decoded(base64.b64decode(clip["audio"]))) for clip in itertools.islice(clips.values(), 3))
    assert read_keys(run) == {made.key.test: (made.page.parent, made.key)}
    assert make_test(run, choices, SYNTHESIZER).page.read_bytes() == text
    other = make_test(run, Choices(systems=["lstm"], questions=4, seconds=1.0, seed=1), SYNTHESIZER)
    assert other.key.test != made.key.test
    assert len(read_keys(run)) == 2


def test_the_seed_tells_nobody_whose_clip_is_whose(tmp_path: Path) -> None:
    """Of one run and seed, two tests have other names and other forms: neither follows from what listeners may know."""
    choices = Choices(systems=["lstm"], questions=4, seconds=1.0)
    one, other = (make_test(run_for_listening(tmp_path / name, pieces=5), choices, SYNTHESIZER).key for name in "ab")
    assert one.contestants == other.contestants
    assert not one.clips.keys() & other.clips.keys()
    assert one.forms != other.forms
    assert not {make_forms(3, range(5), 4, seed) for seed in (0, [0])} & {one.forms, other.forms}
    assert {len(name) for name in one.clips} == {16}
    assert len(one.secret) == 32
    assert one.test != one.model_copy(update={"secret": other.secret}).test


def test_a_key_without_a_secret_keeps_its_name() -> None:
    """Votes of a test that was made before there were secrets are still read."""
    key = key_of(3, prompts=5, questions=4)
    value = key.model_dump(mode="json")
    del value["secret"]
    assert key.test == hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
    assert Key.model_validate(value) == key


def test_titles_are_text(tmp_path: Path) -> None:
    run = RunFolder(run_for_listening(tmp_path / "table2-cpu", pieces=5))
    record = run.read()
    dataset = record.dataset.model_copy(update={"title": "</script><script>alert(1)</script>", "license": "a & b \u202e"})
    run.write(record.change(dataset=dataset))
    page = make_test(run.path, Choices(systems=["lstm"], questions=4, seconds=1.0), SYNTHESIZER).page.read_text()
    assert "Music: &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;; a &amp; b \N{REPLACEMENT CHARACTER}<" in page
    assert "<script>alert" not in page


def test_a_page_that_would_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_for_listening(tmp_path / "table2-cpu", pieces=5)
    monkeypatch.setattr("bench.listening.page.MOST_BYTES", 1 << 10)
    with pytest.raises(UsageError, match="MiB of sound"):
        make_test(run, Choices(systems=["lstm"], questions=4, seconds=1.0), SYNTHESIZER)
    assert not (run / "listening").exists()
