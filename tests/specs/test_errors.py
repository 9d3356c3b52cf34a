"""A wrong spec is one message, a line a mistake: file, line, key, what is expected, the nearest valid name."""

import json
import textwrap

import pytest
from pydantic import ValidationError

from bench.errors import SpecError
from bench.plugins.discovery import find_plugins
from bench.specs.load import load_spec, shipped_specs
from bench.specs.schema import Spec

MODELS = [name for name, plugin in find_plugins("model").items() if plugin.header["ROLE"] == "model"]

GOOD = """\
title: Mine
dataset: {name: chorales}
models:
  lstm:
    params: {units: 32}
"""


def refusal(folder, text, **changes):
    path = folder / "mine.yaml"
    path.write_text(textwrap.dedent(text))
    with pytest.raises(SpecError) as caught:
        load_spec(path, scale=None, **changes)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{path}", "mine.yaml")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("tilte: x", "mine.yaml:6: tilte: unknown key 'tilte'.\nDid you mean 'title'? Valid: budget, dataset, description, "
         "extends, gate, grid, models, name, protocol, published, references, scales, search, seeds, suits, target, title, "
         "tuned."),
        ("budget:\n  epoch: 3", "mine.yaml:7: budget.epoch: unknown key 'epoch'.\nDid you mean 'epochs'? "
         "Valid: compute, epochs, evaluations, max_seconds, patience, stages, "
         "timeout, updates."),
        ("protocol: {prompt: many}", "mine.yaml:6: protocol.prompt: expected a whole number, got 'many'."),
        ("protocol: {prompt: 1.5}", "mine.yaml:6: protocol.prompt: expected a whole number, got 1.5."),
        ("protocol: {prompt: yes}", "mine.yaml:6: protocol.prompt: expected a whole number, got 'yes'."),
        ("protocol: {prompt: true}", "mine.yaml:6: protocol.prompt: expected a whole number, got True."),
        ("protocol: {prompt: '32'}", "mine.yaml:6: protocol.prompt: expected a whole number, got '32'."),
        ("protocol: {notes: 0}", "mine.yaml:6: protocol.notes: expected a number of at least 1, got 0."),
        ("protocol: [32]", "mine.yaml:6: protocol: expected keys with values, got [32]."),
        ("protocol: {folds: 1}", "mine.yaml:6: protocol.folds: expected a whole number of at least 2, or leave-one-out, got 1."),
        ("protocol: {folds: all}", "mine.yaml:6: protocol.folds: expected a whole number of at least 2, or leave-one-out, "
         "got 'all'."),
        ("protocol: {folds: 2, validation: 1}", "mine.yaml:6: protocol.validation: expected a number below 1, got 1."),
        ("protocol: {folds: 2, validation: 0}", "mine.yaml:6: protocol.validation: expected a number above 0, got 0."),
        ("protocol: {validation: 0.2}", "mine.yaml:6: protocol.validation: it has no meaning without folds.\n"
         "Add `folds`, or leave it to the dataset."),
        ("budget: {compute: {updates: 9}, epochs: 3}", "mine.yaml:6: budget.epochs: epochs have no effect beside `compute`.\n"
         "Remove one of them, or set compute: null."),
        ("budget: {stages: [0.5]}", "mine.yaml:6: budget.stages: it has no effect without `compute`.\n"
         "Remove it, or state such a budget."),
        ("budget: {compute: {notes: 9}, updates: 3}", "mine.yaml:6: budget.updates: it has no effect without "
         "`compute: {seconds: ...}`.\nRemove it, or state such a budget."),
        ("budget: {compute: {updates: 9, notes: 9}}", "mine.yaml:6: budget.compute: expected one of seconds, updates and notes, "
         "got {'updates': 9, 'notes': 9}."),
        ("budget: {compute: {}}", "mine.yaml:6: budget.compute: expected one of seconds, updates and notes, got {}."),
        ("budget: {compute: 30}", "mine.yaml:6: budget.compute: expected keys with values, got 30."),
        ("budget: {compute: {seconds: 0}}", "mine.yaml:6: budget.compute.seconds: expected a number above 0, got 0."),
        ("budget: {compute: {updates: 9}, stages: [0.5, 1]}", "mine.yaml:6: budget.stages[1]: expected a number below 1, got 1."),
        ("budget: {max_seconds: 0}", "mine.yaml:6: budget.max_seconds: expected a number above 0, got 0."),
        ("budget: {max_seconds: .inf}", "mine.yaml:6: budget.max_seconds: inf is not a finite number; "
         "leave the key out for no limit."),
        ("description: 3", "mine.yaml:6: description: expected a text, got 3."),
        ("seeds: []", "mine.yaml:6: seeds: expected at least one."),
        ("seeds: 0", "mine.yaml:6: seeds: expected how many seeds (at least 1), or a list of them, got 0."),
        ("seeds:\n  - 0\n  - x", "mine.yaml:8: seeds[1]: expected a whole number, got 'x'."),
        ("seeds: [1, 1]", "mine.yaml:6: seeds: the same is listed twice."),
        ("seeds: [-1]", "mine.yaml:6: seeds[0]: expected a number of at least 0, got -1."),
        ("grid: {dropout: [1]}", "mine.yaml:6: grid.dropout: expected row.hyperparameter, such as lstm.dropout, got 'dropout'."),
        ("grid: {lsmt.units: [1]}", "mine.yaml:6: grid.lsmt.units: the spec has no row 'lsmt'.\n"
         "Did you mean 'lstm'? Valid: lstm."),
        ("grid: {lstm.units: [1, x]}", "mine.yaml:6: grid.lstm.units: expected a whole number, got 'x'."),
        ("grid: {lstm.units: [1, 2, 1]}", "mine.yaml:6: grid.lstm.units: the same value is listed twice."),
        ("grid: {lstm.dropout: [0, 0.0]}", "mine.yaml:6: grid.lstm.dropout: the same value is listed twice."),
        ("grid: {lstm.time_classes: [8, 64]}", "mine.yaml:6: grid.lstm.time_classes: validation can't choose time_classes: "
         "bits over other classes don't compare.\nGive each number of classes a row of its own."),
        ("protocol: {folds: 2}\ngrid: {lstm.units: [1, 2]}", "mine.yaml:7: grid: a grid search and protocol.folds can't be "
         "combined: one fold's validation pieces are another's test pieces, so a choice over all folds would see what it is "
         "tested on.\nLeave one of them out."),
        (f"grid: {{{', '.join(f'lstm.{name}: {[*range(1, 11)]}' for name in ('units', 'batch', 'layers', 'window'))}}}",
         "mine.yaml:6: grid: 10,000 combinations for the row 'lstm'; at most 256 can be searched."),
        ("grid: {lstm.units: []}", "mine.yaml:6: grid.lstm.units: expected at least one."),
        ("grid: {lstm.units: 8}", "mine.yaml:6: grid.lstm.units: expected a list, got 8."),
        ("suits: [laptop]", "mine.yaml:6: suits[0]: unknown value 'laptop'.\nValid: cpu, gpu, smoke."),
        ("published: mon2024", "mine.yaml:6: published: unknown value 'mon2024'.\nDid you mean 'mon2025'? "
         "Valid: bai2018, hawthorne2019, mon2025."),
        ("references: [median, marcov]", "mine.yaml:6: references[1]: unknown reference 'marcov'.\nDid you mean 'markov'? "
         "Valid: codec, markov, median, ngram, published-sample, real, shuffle, uniform, unigram, untrained."),
        ("scales: {cpu: {suits: [cpu]}}", "mine.yaml:6: scales.cpu.suits: 'suits' can't differ between scales.\n"
         "Put 'suits' at the top."),
        ("scales:\n  huge: {}", "mine.yaml:7: scales.huge: unknown value 'huge'.\nValid: cpu, gpu, smoke."),
        ("gate: {bits_per_note: much}", "mine.yaml:6: gate.bits_per_note: expected a number of at least 0, "
         "a percentage such as 5%, or off, got 'much'."),
        ("gate: {bits_per_note: -1}", "mine.yaml:6: gate.bits_per_note: expected a number of at least 0, "
         "a percentage such as 5%, or off, got -1."),
        ("gate: [5%]", "mine.yaml:6: gate: expected keys with values, got ['5%']."),
        ("scales: {cpu: 3}", "mine.yaml:6: scales.cpu: expected keys with values, got 3."),
    ],
)  # fmt: skip
def test_a_wrong_key_or_type(tmp_path, more, message):
    assert refusal(tmp_path, GOOD + more) == message


def test_every_wrong_key_and_type_is_named_in_the_order_of_the_lines(tmp_path):
    assert refusal(tmp_path, GOOD + "seeds: all\nbudget: {epochs: -1, epoch: 3}\nprotocol: {notes: 0}\n") == (
        "mine.yaml:6: seeds: expected how many seeds (at least 1), or a list of them, got 'all'.\n"
        "mine.yaml:7: budget.epochs: expected a number of at least 0, got -1.\n"
        "mine.yaml:7: budget.epoch: unknown key 'epoch'.\n"
        "Did you mean 'epochs'? Valid: compute, epochs, evaluations, max_seconds, patience, stages, "
        "timeout, updates.\n"
        "mine.yaml:8: protocol.notes: expected a number of at least 1, got 0."
    )


def test_a_mistake_in_a_scale_that_is_not_used(tmp_path):
    more = "scales:\n  gpu:\n    models:\n      lstm:\n        params: {unitz: 512}\n"
    said = refusal(tmp_path, GOOD + more)
    assert said.startswith("mine.yaml:10: models.lstm.params.unitz: the model 'lstm' has no hyperparameter 'unitz'.\n")
    assert "Did you mean 'units'? Valid: batch, " in said


def test_a_missing_key(tmp_path):
    assert refusal(tmp_path, "title: Mine\n") == "mine.yaml:1: the key 'dataset' is missing."
    assert refusal(tmp_path, "title: Mine\ndataset:\n  options: {}\n") == "mine.yaml:2: dataset: the key 'name' is missing."


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("chorales", "choral", "mine.yaml:2: dataset.name: unknown dataset 'choral'.\nDid you mean 'chorales'?"),
        ("chorales}", "chorales, options: {limt: 3}}", "mine.yaml:2: dataset.options.limt: the dataset 'chorales' has no option "
         "'limt'.\nDid you mean 'limit'? Valid: "),
        ("lstm:", "lsmt:", "mine.yaml:4: models.lsmt: unknown model 'lsmt'.\nDid you mean 'lstm'?"),
        ("units: 32", "units: big", "mine.yaml:5: models.lstm.params.units: expected a whole number, got 'big'."),
        ("units: 32", "dropout: true", "mine.yaml:5: models.lstm.params.dropout: expected a number, got True."),
        ("params: {units: 32}", "plugin: lsmt", "mine.yaml:5: models.lstm.plugin: unknown model 'lsmt'.\nDid you mean 'lstm'?"),
        ("params:", "parms:", "mine.yaml:5: models.lstm.parms: unknown key 'parms'.\nDid you mean 'params'? "
         "Valid: budget, harmony, params, plugin."),
        ("params: {units: 32}", "budget: {patients: 3}", "mine.yaml:5: models.lstm.budget.patients: unknown key 'patients'.\n"
         "Did you mean 'patience'? Valid: compute, epochs, evaluations, max_seconds, patience, stages, "
         "timeout, updates."),
        ("params: {units: 32}", "budget: {epochs: 3}\nbudget: {compute: {updates: 9}}", "mine.yaml:5: models.lstm.budget.epochs: "
         "epochs have no effect beside the spec's budget.compute.\nRemove them, or give the row compute: null."),
        ("params: {units: 32}", "budget: {evaluations: 3}", "mine.yaml:5: models.lstm.budget.evaluations: it has no effect "
         "without `compute`.\nRemove it, or state such a budget."),
        ("lstm:", "markov:", "mine.yaml:4: models.markov: a model's row can't be named 'markov': it is the name of a reference."),
        ("lstm:", "my lstm:", "mine.yaml:4: models.my lstm: a model's row can't be named 'my lstm': "
         "it may hold only letters, digits and _ . + -, and begins with none of these signs."),
    ],
)  # fmt: skip
def test_names_that_only_the_plugins_know(tmp_path, old, new, message):
    assert refusal(tmp_path, GOOD.replace(old, new)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: a\ntitle: b\n", 'mine.yaml:2: not valid YAML: found duplicate key "title" with value "b"'),
        ("title: [a,\n", "mine.yaml:2: not valid YAML: expected the node content, but found '<stream end>'."),
        ("title: a\n  seeds: 3\n", "mine.yaml:2: not valid YAML: mapping values are not allowed here."),
        ("- a\n", "mine.yaml:1: a spec is not a mapping at its top level; expected keys such as `title:` and `dataset:`."),
        ("", "mine.yaml:1: a spec is empty; expected keys such as `title:` and `dataset:`."),
        ("title: a\n1: b\n", "mine.yaml:2: the key 1 is not a text; put it in quotes."),
        ("title: !!python/name:os.system x\n", "mine.yaml:1: title: the tag !!python/name:os.system"),
        ("title: a\n---\ntitle: b\n", "mine.yaml:2: not valid YAML: but found another document."),
    ],
)
def test_what_is_no_yaml_mapping(tmp_path, text, message):
    assert refusal(tmp_path, text).startswith(message)


def test_what_is_nested_too_deeply(tmp_path):
    assert "nested too deeply" in refusal(tmp_path, f"title: {'[' * 3000}{']' * 3000}\n")


def test_a_threshold_for_no_metric(tmp_path):
    said = refusal(tmp_path, GOOD + "gate:\n  '*_distance': 5%\n  bits_per_nose: 0.1\n")
    assert said.startswith("mine.yaml:8: gate.bits_per_nose: no metric is named 'bits_per_nose'.\nDid you mean 'bits_per_note'?")
    said = refusal(tmp_path, GOOD + "scales:\n  gpu:\n    gate: {'*_distence': 5%}\n")
    assert said.startswith("mine.yaml:8: gate.*_distence: no metric fits '*_distence'.\nDid you mean 'roll_distance'?")


@pytest.mark.parametrize("name", ["../../x", "a/b", ".hidden", "with space", "x" * 101, "tail\n"])
def test_a_name_that_leads_elsewhere(tmp_path, name):
    said = refusal(tmp_path, f"name: {json.dumps(name)}\n{GOOD}")
    assert said.startswith("mine.yaml:1: name: expected at most 100 letters, digits and _ . + -, got ")
    with pytest.raises(ValidationError, match="pattern"):
        Spec(name=name, title="x", dataset={"name": "chorales"})


def test_a_file_whose_name_cannot_name_a_folder(tmp_path):
    path = tmp_path / "my spec.yaml"
    path.write_text(GOOD)
    with pytest.raises(SpecError, match="can't name a run's folder"):
        load_spec(path, scale=None)
    path.write_text(f"name: mine\n{GOOD}")
    assert load_spec(path, scale=None).name == "mine"


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"title: \xff\n")
    with pytest.raises(SpecError, match="is not UTF-8 text: byte 7 is 0xff"):
        load_spec(path, scale=None)


def test_a_file_that_is_missing(tmp_path):
    """The name of a shipped spec that is a little like it was no help."""

    def hint(name):
        with pytest.raises(SpecError, match="There is no spec file") as caught:
            load_spec(tmp_path / name, scale=None)
        return caught.value.hint

    assert hint("mine.yaml") == f"There is no YAML file in {tmp_path}."
    (tmp_path / "mein.yaml").write_text(GOOD)
    assert hint("mine.yaml") == "Did you mean 'mein.yaml'? Valid: mein.yaml."
    assert hint("table2.yaml") == "The shipped spec is 'table2', without a suffix."


def test_unknown_shipped_name():
    with pytest.raises(SpecError) as caught:
        load_spec("tabel2", scale=None)
    assert str(caught.value) == (
        "There is no spec named 'tabel2'.\nDid you mean 'table2'? Valid: " + ", ".join(shipped_specs()) + ". Or give a YAML file."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["lsmt"]}, "--models: unknown model 'lsmt'.\nDid you mean 'lstm'? Valid: " + ", ".join(MODELS) + "."),
        ({"models": ["markov"]}, "--models: 'markov' is a reference, not a model.\n"),
        ({"dataset": "maestor"}, "--dataset: unknown dataset 'maestor'.\nDid you mean 'maestro'?"),
        ({"references": ["medain"]}, "--references: unknown reference 'medain'.\nDid you mean 'median'?"),
        ({"seeds": [0, 0]}, "--seeds: the same is listed twice."),
        ({"seeds": []}, "--seeds: expected at least one."),
        ({"seeds": 300000000}, "--seeds: expected at most 10000 seeds, got 300000000."),
    ],
)
def test_wrong_changes_name_the_option(tmp_path, changes, message):
    assert refusal(tmp_path, GOOD, **changes).startswith(message)


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ("grid: {mine.temperature: [0.8, 1.0]}", "grid.mine.temperature"),
        ("search: {trials: 2, models: {mine: {ranges: {temperature: {low: 0.5, high: 1.0}}}}}", "search.models.mine"),
    ],
)
def test_a_search_of_a_pretrained_row_is_refused(tmp_path, more, at):
    said = refusal(tmp_path, f"title: a\ndataset: {{name: chorales}}\nmodels: {{mine: {{plugin: huggingface}}}}\n{more}\n")
    assert said == (
        f"mine.yaml:4: {at}: the model 'huggingface' is pretrained: a search chooses by the validation score of trainings, and "
        "it has none.\nGive each choice a row of its own."
    )


class TestExtends:
    def test_a_circle_names_every_file(self, tmp_path):
        for name, below in (("mine", "b"), ("b", "c"), ("c", "b")):
            (tmp_path / f"{name}.yaml").write_text(f"extends: {below}.yaml\n")
        with pytest.raises(SpecError) as caught:
            load_spec(tmp_path / "mine.yaml", scale=None)
        chain = " -> ".join(str(tmp_path / f"{name}.yaml") for name in ("mine", "b", "c", "b"))
        assert caught.value.message == f"{tmp_path / 'c.yaml'}: extends goes in a circle: {chain}."

    def test_what_is_not_there(self, tmp_path):
        assert refusal(tmp_path, "title: a\nextends: tabel2\n").startswith(
            "mine.yaml:2: extends: there is no spec 'tabel2'.\nDid you mean 'table2'?"
        )

    def test_what_no_file_can_be_called(self, tmp_path):
        """The file system's refusal named no line, and asked for other permissions."""
        name = "x" * 300
        assert refusal(tmp_path, f"extends: {name}\n").startswith(f"mine.yaml:1: extends: there is no spec '{name}'.\n")

    def test_what_is_no_text(self, tmp_path):
        assert refusal(tmp_path, "extends: [a]\n") == "mine.yaml:1: extends: expected a text, got ['a']."

    def test_a_mistake_is_named_where_it_stands(self, tmp_path):
        (tmp_path / "base.yaml").write_text("title: a\ndataset: {name: chorales}\nmodels:\n  lstm: {params: {unitz: 1}}\n")
        said = refusal(tmp_path, "extends: base.yaml\ntitle: b\n")
        assert said.startswith(f"{tmp_path / 'base.yaml'}:4: models.lstm.params.unitz: the model 'lstm'")

    def test_a_mistake_in_this_file_is_named_here(self, tmp_path):
        said = refusal(tmp_path, "extends: smoke\nmodels:\n  lstm:\n    params:\n      unitz: 1\n")
        assert said.startswith("mine.yaml:5: models.lstm.params.unitz: the model 'lstm'")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("extends: table2\ntitle: Mine\nmodels:\n  lstm:\n  vae: null\n", "mine.yaml:4: models.lstm"),
        (GOOD + "scales:\n  smoke:\n    models: {lstm: null}\n", "mine.yaml:8: models.lstm"),
    ],
)
def test_null_for_a_row_that_is_there(tmp_path, text, place):
    assert refusal(tmp_path, text) == (
        f"{place}: null doesn't remove the row lstm: the spec has it already, and it would run as it is.\n"
        "Leave it out here, and name the rows to run: --models."
    )


def test_an_empty_row_that_is_new_takes_the_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: dropout-grid\nmodels: {vae: null}\n")
    assert load_spec(path, scale=None).models["vae"].params == {}
