"""What a spec may ask for, and how a mistake in it is said before anything starts."""

import textwrap

import pytest

from bench.errors import SpecError
from bench.music.harmony.settings import Harmony
from bench.specs.load import load_spec
from bench.specs.trials import unfold

SPEC = """\
title: Mine
dataset: {name: chorales}
protocol: {prompt: 4, notes: 8}
models:
  lstm:
    harmony: {}
"""


def load(folder, old="", new="", **changes):
    path = folder / "mine.yaml"
    text = textwrap.dedent(SPEC)
    assert old in text
    path.write_text(text.replace(old, new) if old else text)
    return load_spec(path, scale="cpu", **changes)


def refusal(folder, old, new):
    with pytest.raises(SpecError) as caught:
        load(folder, old, new)
    return str(caught.value).replace(str(folder / "mine.yaml"), "mine.yaml")


def test_the_papers_weights_by_default(tmp_path):
    (trial,) = [t for t in unfold(load(tmp_path)) if t.system == "lstm" and t.seed == 0]
    assert trial.harmony == Harmony()
    assert (trial.harmony.chord, trial.harmony.scale, trial.harmony.other) == (3.0, 1.5, 0.1)
    assert trial.harmony.progression == ("I", "V", "vi", "IV")
    assert trial.harmony.form is None


def test_an_untrained_row_is_constrained_like_its_model(tmp_path):
    assert all(t.harmony for t in unfold(load(tmp_path)) if t.system.endswith("lstm"))


def test_a_constraint_is_another_trial_and_none_leaves_no_trace(tmp_path):
    trials = {t.system: t for t in unfold(load(tmp_path, "lstm:\n    harmony: {}", "lstm: {}\n  x: {plugin: lstm, harmony: {}}"))}
    plain, constrained = trials["lstm"], trials["x"].model_copy(update={"system": "lstm"})
    assert plain.digest() != constrained.digest()
    assert constrained.digest() != constrained.model_copy(update={"harmony": Harmony(chord=2.0)}).digest()
    assert '"harmony"' not in plain.model_dump_json(exclude={"harmony": True})
    assert plain.digest() == constrained.model_copy(update={"harmony": None}).digest()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lstm:", "gan:", "mine.yaml:6: models.gan.harmony: the model 'gan' can't be constrained: it has no distribution of each "
         "note's pitch given the notes before (its header doesn't say CONSTRAINT = True).\nLeave harmony out of this row."),
        ("lstm:", "row:\n    plugin: median", "mine.yaml:7: models.row.harmony: the model 'median' can't be constrained: it has "
         "no distribution of each note's pitch given the notes before (its header doesn't say CONSTRAINT = True).\n"
         "Leave harmony out of this row."),
        ("lstm:\n    harmony: {}", "row: {plugin: markov}", "mine.yaml:5: models.row.plugin: unknown model 'markov'."),
        ("{}", "{progression: [I, IX]}", "mine.yaml:6: models.lstm.harmony.progression[1]: expected a roman numeral such as V, "
         "vi or V7, got 'IX'."),
        ("{}", "{minor: [V999]}", "mine.yaml:6: models.lstm.harmony.minor[0]: expected a roman numeral such as V, vi or V7, got "
         "'V999'."),
        ("{}", "{progression: []}", "mine.yaml:6: models.lstm.harmony.progression: expected at least one."),
        ("{}", "{key: H major}", "mine.yaml:6: models.lstm.harmony.key: expected auto or a key such as C major or F# minor, got "
         "'H major'."),
        ("{}", "{other: 0}", "mine.yaml:6: models.lstm.harmony.other: expected a number above 0, got 0."),
        ("{}", "{notes_per_chord: 0}", "mine.yaml:6: models.lstm.harmony.notes_per_chord: expected a number of at least 1, "
         "got 0."),
        ("{}", "{form: {sections: ABC}}", "mine.yaml:6: models.lstm.harmony.form.sections: expected sections such as AABA, got "
         "'ABC'."),
        ("{}", "{form: {transpose: 13}}", "mine.yaml:6: models.lstm.harmony.form.transpose: expected a number of at most 12, got "
         "13."),
        ("{}", "{form: {a: 2, b: 1}}", "mine.yaml:6: models.lstm.harmony.form: AABA has 7 notes, but protocol.notes compares 8.\n"
         "Make its sections longer, or compare fewer notes."),
        ("{}", "{chords: [I]}", "mine.yaml:6: models.lstm.harmony.chords: unknown key 'chords'.\nDid you mean 'chord'?"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path, old, new, message):
    assert refusal(tmp_path, old, new).startswith(message)


def test_a_plugin_that_says_nothing_of_constraints_is_refused(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mute.py").write_text(
        '"""Mute."""\nimport bench.api\nFEATURES = "x"\nclass Model(bench.api.Model):\n    pass\n'
    )
    with pytest.raises(SpecError, match="'mute' can't be constrained"):
        load(tmp_path, "lstm:", "mute:", plugins=[tmp_path])


CHAIN = "lstm:\n    harmony: {}"


def test_a_constrained_reference_can_be_searched(tmp_path):
    searched = "m: {plugin: markov, harmony: {}}\ngrid: {m.time_classes: [64]}"
    systems = [t.system for t in unfold(load(tmp_path, CHAIN, searched)) if t.kind == "model"]
    assert systems[0] == "m time_classes=64"
