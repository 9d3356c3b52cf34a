"""Through the runner and a worker, on the toy dataset: a constrained Markov chain beside the same chain without."""

import numpy as np
import pretty_midi
import pytest

from bench.music.harmony.settings import Form, Harmony
from bench.music.notes import Notes
from bench.report import write_reports
from bench.runner.constrained import Conductor
from bench.scoring.chord_plans import StoredPlans
from bench.scoring.score import _score_harmony, score_run
from bench.specs.schema import BudgetChoice, DatasetChoice, Protocol
from bench.specs.trials import Trial
from bench.storage.outcome import ChordPlans, Done, Generation, Memory, Training
from bench.storage.samples import PieceName, Samples, Target, read_samples
from tests.runner.conftest import Bench, toy

__all__ = ["toy"]  # the fixture

FORM = {"sections": "AABA", "a": 20, "b": 10, "transpose": 3}
ROW = {"plugin": "markov", "budget": {"epochs": 1}}
HARMONY = {"key": "auto", "notes_per_chord": 4, "form": FORM}


def test_weights_are_the_same_whatever_seed_is_missing(toy: Bench) -> None:
    toy.write(
        {"markov+harmony": {**ROW, "harmony": {"key": "auto", "notes_per_chord": 4}}},
        references=["markov"],
        dataset={"name": "toy", "options": {"test": 31}},
        protocol={"prompt": 10, "notes": 20, "pieces": 4},
        seeds=2,
    )
    assert toy.run().failed == 0
    (toy.trials()["markov+harmony", 1] / "outcome.json").unlink()
    write_reports(toy.run_folder)
    report = (toy.run_folder / "report.md").read_text()
    assert "to the last digit): markov+harmony and markov." in report
    assert "Different bits per note" not in report


def test_a_run_with_and_without(toy: Bench) -> None:
    toy.write(
        {"markov+harmony": {**ROW, "harmony": HARMONY}, "steady": {}},
        references=["markov", "uniform", "real"],
        dataset={"name": "toy", "options": {"test": 31}},
        protocol={"prompt": 10, "notes": 20, "pieces": 16},
    )
    result = toy.run()
    assert result.failed == 0
    table = score_run(toy.run_folder)
    constrained, free, uniform, real = (table[name] for name in ("markov+harmony", "markov", "uniform", "real"))
    # 3 of 12 pitch classes at weight 3: chance is 25 %, and 7 to 8 of 12 in the key or chord.
    assert constrained.cells["chord_tones"].value > 45 > free.cells["chord_tones"].value
    assert constrained.cells["scale_tones"].value > 85 > free.cells["scale_tones"].value
    assert uniform.cells["chord_tones"].value is not None
    assert real.cells["scale_tones"].value is not None
    assert constrained.cells["bits_per_note"].value == free.cells["bits_per_note"].value

    folder = toy.trials()["markov+harmony", 0]
    told = toy.outcome("markov+harmony")["harmony"]
    assert told["key_from"] == "the prompt"
    assert len(told["plan_of_piece"]) == 16
    assert toy.outcome("markov+harmony")["generation"]["notes"] == 16 * 30
    assert [len(n) for n in read_samples(folder / "samples.npz").notes.values()] == [20] * 16
    midi = pretty_midi.PrettyMIDI(str(folder / "midi" / "piece-000.mid"))
    assert list(dict.fromkeys(track.name for track in midi.instruments)) == ["melody", "accompaniment"]
    assert midi.get_tempo_changes()[1].tolist() == pytest.approx([120])
    # 10 of the prompt, then 20 + 20 + 10 + 20; a key that is struck while it sounds is in a further track.
    assert sum(len(track.notes) for track in midi.instruments if track.name == "melody") == 80
    # 5 chords in each A, 3 in B.
    assert sum(len(track.notes) for track in midi.instruments if track.name == "accompaniment") == 3 * (5 + 5 + 3 + 5)

    report = (toy.run_folder / "report.md").read_text()
    assert "## Harmony" in report
    assert "a piece of 70 notes is put together from 30 generated notes, A + A + B + A with A = 20 notes and " in report
    assert "B = 10 notes, B 3 semitones up. Its first 20 notes are compared: the first section." in report
    share = constrained.cells["chord_tones"].value
    assert f"Chord tones with the constraint (and without): markov+harmony {share:.1f} % (markov " in report
    assert "Same weights with and without the constraint" in report
    assert "to the last digit): markov+harmony and markov." in report
    said = "The bits of markov+harmony are without the harmonic constraint, so they say nothing of it."
    assert "bits per note markov+harmony" in result.verdict
    assert said in result.verdict
    assert f"- {said}" in report


def test_without_a_constrained_row_the_columns_are_undefined_with_a_reason(toy: Bench) -> None:
    toy.write({}, references=["markov"])
    toy.run()
    cell = score_run(toy.run_folder)["markov"].cells["chord_tones"]
    assert (cell.value, cell.reason) == (None, "the run has no plan of chords: no row with `harmony` has ended")
    assert "## Harmony" not in (toy.run_folder / "report.md").read_text()


def test_without_a_prompt_the_training_music_has_the_key(toy: Bench) -> None:
    toy.write({"markov+harmony": {**ROW, "harmony": {"notes_per_chord": 4}}}, protocol={"prompt": 0, "notes": 20, "pieces": 2})
    assert toy.run().failed == 0
    told = toy.outcome("markov+harmony")["harmony"]
    assert (told["key_from"], told["plan_of_piece"]) == ("the training music", [0, 0])


class Recorder:
    """Writes the constraint's likeliest pitch at each note, and remembers how it was called."""

    compiles = False

    def __init__(self):
        self.calls = []

    def generate(self, prompts, n_notes, seed, constraint=None):
        self.calls.append((len(prompts), n_notes, seed))
        pitch = constraint.argmax(1).astype(np.uint8)
        parts = []
        for prompt in prompts:
            onset = prompt.onset[-1] + 0.5 * np.arange(1, n_notes + 1)
            parts.append(Notes(onset, np.full(n_notes, 0.5), pitch, np.full(n_notes, 80, np.uint8)))
        return parts


def targets(*shifts):
    cadence = np.array([60, 64, 67, 72, 65, 69, 60, 67, 71, 62, 65, 60, 64, 67, 60])
    n = len(cadence)
    prompts = [Notes(np.arange(n) / 2, np.full(n, 0.5), (cadence + s).astype(np.uint8), np.full(n, 80, np.uint8)) for s in shifts]
    return [Target(PieceName(i, str(i), "", ""), prompt, prompt) for i, prompt in enumerate(prompts)]


def test_prompts_of_one_key_are_continued_together_and_keep_their_place():
    model, given = Recorder(), targets(0, 2, 0)
    conductor = Conductor(model, Harmony(notes_per_chord=1), given, [])
    made = conductor.generate([t.prompt for t in given], 4, seed=5)
    assert [plan.key for plan in conductor.plans] == ["C major", "D major", "C major"]
    assert [(prompts, notes) for prompts, notes, _ in model.calls] == [(2, 4), (1, 4)]
    assert len({seed for _, _, seed in model.calls}) == 2
    # The lowest tone of I, V, vi and IV: C, then D of G B D, C of A C E, C of F A C; in D major a tone higher, C sharp lowest.
    assert [notes.pitch.tolist() for notes in made] == [[0, 2, 0, 0], [2, 1, 2, 2], [0, 2, 0, 0]]
    assert conductor.stored().plan_of_piece == (0, 1, 0)


def test_groups_have_one_size_where_the_model_compiles():
    model, given = Recorder(), targets(0, 2, 0, 0)
    model.compiles = True
    made = Conductor(model, Harmony(), given, []).generate([t.prompt for t in given], 4, seed=5)
    assert [prompts for prompts, _, _ in model.calls] == [3, 3]
    assert len(made) == 4


def test_the_same_seed_gives_the_same_calls():
    calls = []
    for _ in range(2):
        model, given = Recorder(), targets(0, 2)
        Conductor(model, Harmony(), given, []).generate([t.prompt for t in given], 4, seed=5)
        calls.append(model.calls)
    assert calls[0] == calls[1]


def test_what_follows_the_prompt_is_never_looked_at():
    given = targets(0, 2)
    swapped = [Target(a.piece, a.prompt, b.target) for a, b in zip(given, given[::-1], strict=True)]
    keys = [[plan.key for plan in Conductor(Recorder(), Harmony(), t, []).plans] for t in (given, swapped)]
    assert keys[0] == keys[1] == ["C major", "D major"]


def test_the_whole_piece_is_kept_for_its_midi_and_its_beginning_is_compared():
    given = targets(0)
    conductor = Conductor(Recorder(), Harmony(form=Form(a=6, b=2)), given, [])
    (made,) = conductor.generate([given[0].prompt], 6, seed=0)
    whole = conductor.first[0]
    assert (len(made), len(whole)) == (6, 20)
    np.testing.assert_array_equal(made.pitch, whole.pitch[:6])
    tracks = conductor.tracks(0)
    assert list(tracks) == ["melody", "accompaniment"]
    assert len(tracks["melody"]) == len(given[0].prompt) + 20


def trial(harmony=None, name="markov", notes=8):
    return Trial(
        system=name,
        kind="reference",
        model=name,
        dataset=DatasetChoice(name="four"),
        protocol=Protocol(notes=notes),
        budget=BudgetChoice(),
        seed=0,
        harmony=harmony,
    )


def followed(key):
    plan = {"key": key, "scale": [0], "chords": [[0]], "notes_per_chord": 1}
    return Done(
        key="key",
        status="done",
        training=Training(),
        generation=Generation(),
        likelihood=None,
        facts={},
        memory=Memory(),
        harmony=ChordPlans(key_from="given", plans=(plan,), plan_of_piece=(0,)),
    )


def test_whose_plan_a_row_is_measured_against():
    one, other = (Harmony(key=key) for key in ("C major", "D major"))
    plans = StoredPlans([(trial(one), followed("C")), (trial(other, "unigram"), followed("D"))])

    def key(asked):
        found = plans.of(asked)
        return found if isinstance(found, str) else found.plans[0].key

    assert [key(trial(one)), key(trial(other, "unigram"))] == ["C", "D"]
    assert [key(trial()), key(trial(name="unigram"))] == ["C", "D"]  # the same model without
    assert "several plans" in key(trial(name="uniform"))
    only = StoredPlans([(trial(one), followed("C"))])
    assert only.of(trial(name="uniform")).plans[0].key == "C"
    assert "has ended" in only.of(trial(other))
    assert "no plan of chords" in StoredPlans([]).of(trial())


def test_weights_and_sections_make_no_other_plan():
    """They say how far a plan is kept, and what is repeated; which chord is under a note of a free row is the same."""
    strong, formed = Harmony(key="C major", chord=8.0), Harmony(key="C major", form=Form(sections="AA", a=2))
    done = [(trial(strong), followed("C")), (trial(formed), followed("C"))]
    assert StoredPlans(done).of(trial()).plans[0].key == "C"
    damaged = followed("C").model_copy(update={"harmony": ChordPlans(key_from="given", plans=({},), plan_of_piece=(0,))})
    for one in ([(trial(strong), damaged), done[1]], [done[0], (trial(formed), damaged)]):
        assert StoredPlans(one).of(trial()).plans[0].key == "C", "the plan that is not damaged"
    assert "damaged" in StoredPlans([(trial(strong), damaged), done[1]]).of(trial(strong)), "its own"
    longer = Harmony(key="C major", notes_per_chord=4)
    assert "several plans" in StoredPlans([*done, (trial(longer), followed("C"))]).of(trial())


def test_only_a_row_with_sections_is_measured_by_them():
    # Four notes of A, four of B, which is a semitone higher; all of them the chord's own C.
    choice = Harmony(key="C major", form=Form(a=4, b=4, sections="AB", transpose=1))
    plans = StoredPlans([(trial(choice), followed("C"))])
    notes = Notes(np.arange(8.0), np.ones(8), np.full(8, 60, np.uint8), np.full(8, 80, np.uint8))

    def share(row):
        found = _score_harmony(Samples({(0, 0): notes}), row, dict(enumerate(targets(0))), plans)
        return found["chord_tones"][0]

    assert share(trial()) == 100
    assert share(trial(choice)) == 50  # in B it should have played C sharp
