"""The trials of a spec: their order, their rows, and what decides their outcome."""

import json

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from bench.plugins.discovery import find_plugins
from bench.specs.schema import SCALES, BudgetChoice, Compute, Spec
from bench.specs.trials import unfold
from tests.specs.little import LITTLE, load


class TestUnfolding:
    def test_order_gives_a_table_early(self, tmp_path):
        assert [trial.label for trial in unfold(load(tmp_path, scale="cpu"))] == [
            *("median, seed 0", "markov, seed 0", "median, seed 7", "markov, seed 7"),
            *("untrained lstm, seed 0", "untrained wide, seed 0"),
            *("lstm, seed 0", "wide, seed 0", "lstm, seed 7", "wide, seed 7"),
        ]

    def test_a_row_with_a_budget_of_its_own(self, tmp_path):
        wide = unfold(load(tmp_path, scale="cpu"))[-1]
        assert (wide.system, wide.model, wide.kind, wide.params) == ("wide", "lstm", "model", {"units": 16})
        assert wide.budget.model_dump() == {"epochs": 2, "patience": None, "max_seconds": None, "timeout": 60}

    def test_untrained_rows_are_the_model_without_an_epoch(self, tmp_path):
        row = unfold(load(tmp_path, scale="gpu"), "cuda")[4]
        assert (row.system, row.model, row.kind, row.budget.epochs) == ("untrained lstm", "lstm", "untrained", 0)
        assert row.params == {"units": 8, "layers": 3}

    def test_a_reference_with_a_constraint_has_no_untrained_row(self, tmp_path):
        chain = "chain: {plugin: markov, harmony: {key: auto}}"
        spec = load(tmp_path, LITTLE.replace("\nmodels:\n", f"\nmodels:\n  {chain}\n", 1), scale="cpu")
        trials = unfold(spec, headers={name: plugin.header for name, plugin in find_plugins("model").items()})
        assert "chain" in {t.system for t in trials}
        assert "untrained chain" not in {t.system for t in trials}

    def test_a_pretrained_model_has_no_budget_and_no_untrained_row(self, tmp_path):
        spec = load(tmp_path, scale="cpu")
        plain, ready = unfold(spec), unfold(spec, headers={"lstm": {"PRETRAINED": True}})
        assert {t.kind for t in ready} == {"reference", "model"}
        models = [t for t in ready if t.kind == "model"]
        assert [t.system for t in models] == [t.system for t in plain if t.kind == "model"]
        assert {(t.pretrained, t.budget.epochs, t.budget.timeout) for t in models} == {(True, 1, spec.budget.timeout)}
        assert models[0].digest() != next(t for t in plain if t.kind == "model").digest()

    def test_a_model_without_velocity_says_so_in_each_of_its_trials(self, tmp_path):
        spec = load(tmp_path)
        plain, mute = unfold(spec), unfold(spec, headers={"lstm": {"GIVES_VELOCITY": False}})
        assert {t.system for t in mute if not t.velocity} == {"lstm", "wide", "untrained lstm", "untrained wide"}
        assert [t.digest() == other.digest() for t, other in zip(plain, mute, strict=True)] == [t.velocity for t in mute]

    def test_a_trial_that_is_not_pretrained_is_hashed_as_before_there_were_any(self, tmp_path):
        (trial, *_) = unfold(load(tmp_path, scale="cpu"))
        assert '"pretrained"' not in trial.model_dump_json(exclude={"pretrained": True})
        assert trial.digest() != trial.model_copy(update={"pretrained": True}).digest()

    def test_a_grid_trains_every_combination_and_only_of_its_row(self, tmp_path):
        text = LITTLE.replace("references:", "grid: {lstm.units: [8, 16], lstm.dropout: [0.1, 0.2]}\nreferences:")
        models = [t for t in unfold(load(tmp_path, text, scale="cpu")) if t.kind == "model" and t.seed == 0]
        assert [(t.system, t.cell_of, t.model, t.params) for t in models] == [
            ("lstm units=8 dropout=0.1", "lstm", "lstm", {"units": 8, "dropout": 0.1}),
            ("lstm units=8 dropout=0.2", "lstm", "lstm", {"units": 8, "dropout": 0.2}),
            ("lstm units=16 dropout=0.1", "lstm", "lstm", {"units": 16, "dropout": 0.1}),
            ("lstm units=16 dropout=0.2", "lstm", "lstm", {"units": 16, "dropout": 0.2}),
            ("wide", "", "lstm", {"units": 16}),
        ]
        # Untrained rows show where a row begins, not each cell.
        assert [t.system for t in unfold(load(tmp_path, text, scale="cpu")) if t.kind == "untrained"] == [
            "untrained lstm",
            "untrained wide",
        ]

    def test_only_some_models_keep_only_their_grid(self, tmp_path):
        text = LITTLE.replace("references:", "grid: {lstm.units: [8, 16]}\nreferences:")
        assert load(tmp_path, text, models=["wide"]).grid == {}
        assert load(tmp_path, text, models=["lstm"]).grid == {"lstm.units": (8, 16)}

    def test_a_scale_may_search_less(self, tmp_path):
        text = LITTLE.replace("references:", "grid: {lstm.units: [8, 16]}\nreferences:").replace(
            "    budget: {epochs: 50}", "    budget: {epochs: 50}\n    grid: {lstm.units: [32]}"
        )
        trials = unfold(load(tmp_path, text, scale="gpu"), "cuda")
        assert [t.system for t in trials if t.cell_of] == ["lstm units=32", "lstm units=32"]

    def test_references_stay_on_the_cpu(self, tmp_path):
        trials = unfold(load(tmp_path, scale="gpu"), "cuda")
        assert {(t.kind, t.device) for t in trials} == {("reference", "cpu"), ("untrained", "cuda"), ("model", "cuda")}

    def test_a_longer_training_leaves_the_references_as_they_are(self, tmp_path):
        keys = [
            {t.system: t.digest() for t in unfold(load(tmp_path, LITTLE.replace("epochs: 5", f"epochs: {n}"), scale="cpu"))}
            for n in (5, 6)
        ]
        changed = {system for system in keys[0] if keys[0][system] != keys[1][system]}
        assert changed == {"lstm"}

    def test_a_scale_changes_only_what_it_names(self, tmp_path):
        gpu, cpu = load(tmp_path, scale="gpu"), load(tmp_path, scale="cpu")
        assert (gpu.dataset.options, cpu.dataset.options) == ({"limit": 99}, {"limit": 9})
        assert gpu.budget.model_dump() == cpu.budget.model_dump() | {"epochs": 50}
        assert gpu.models["lstm"].params == {"units": 8, "layers": 3}
        assert gpu.models["wide"] == cpu.models["wide"]

    @pytest.mark.parametrize("scale", SCALES)
    def test_a_stored_spec_gives_the_same_trials(self, tmp_path, scale):
        spec = load(tmp_path, scale=scale)
        assert spec.scales == {}
        again = Spec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json"))))
        assert unfold(again) == unfold(spec)

    @pytest.mark.parametrize("scale", SCALES)
    def test_a_spec_from_python_has_scales_as_a_file_has(self, tmp_path, scale):
        spec = Spec.model_validate({"name": "little"} | YAML(typ="safe").load(LITTLE))
        assert spec.at(scale) == load(tmp_path, scale=scale)

    def test_a_spec_is_frozen(self, tmp_path):
        with pytest.raises(ValidationError, match="frozen"):
            load(tmp_path).title = "Other"


class TestFolds:
    def trial(self, folder, **protocol):
        text = f"title: T\ndataset: {{name: chorales}}\nprotocol: {json.dumps({'prompt': 4, 'notes': 8, **protocol})}\n"
        return unfold(load(folder, text, scale="cpu"))[0]

    def test_they_decide_the_outcome(self, tmp_path):
        given = [{}, {"folds": 2}, {"folds": 3}, {"folds": "leave-one-out"}, {"folds": 2, "validation": 0.3}]
        assert len({self.trial(tmp_path, **more).digest() for more in given}) == len(given)

    def test_a_run_without_them_is_what_it_was_before_there_were_any(self, tmp_path):
        assert self.trial(tmp_path).protocol.model_dump().keys() == {"prompt", "notes", "pieces", "samples", "seconds"}
        assert self.trial(tmp_path, folds=2).protocol.model_dump()["validation"] == 0.2


class TestBudgets:
    """One budget for all models, in place of epochs."""

    COMPUTE = LITTLE.replace("epochs: 5, patience: 2", "compute: {seconds: 8}").replace(
        "epochs: 2, patience: null", "updates: 40"
    )

    def test_it_leaves_out_the_epochs_and_they_leave_out_what_belongs_to_it(self, tmp_path):
        shared = load(tmp_path, self.COMPUTE).budget.model_dump(mode="json")
        assert shared == {
            "compute": {"seconds": 8.0, "updates": None, "notes": None},
            "updates": None,
            "evaluations": 16,
            "stages": [0.0625, 0.25],
            "patience": None,
            "max_seconds": None,
            "timeout": 60,
        }
        assert BudgetChoice.model_validate(shared).model_dump(mode="json") == shared
        assert load(tmp_path).budget.model_dump() == {"epochs": 5, "patience": 2, "max_seconds": None, "timeout": 60}

    def test_a_row_adds_to_it(self, tmp_path):
        lstm, wide = unfold(load(tmp_path, self.COMPUTE, scale="cpu"))[-2:]
        assert (lstm.budget.updates, wide.budget.updates) == (None, 40)
        assert lstm.budget.compute == wide.budget.compute == Compute(seconds=8)

    def test_untrained_rows_and_references_have_none(self, tmp_path):
        others = [trial for trial in unfold(load(tmp_path, self.COMPUTE, scale="cpu")) if trial.kind != "model"]
        assert {(trial.kind, trial.budget.compute, trial.budget.epochs) for trial in others} == {
            ("reference", None, 1),
            ("untrained", None, 0),
        }

    def test_a_row_without_it_counts_epochs(self, tmp_path):
        text = self.COMPUTE.replace("budget: {updates: 40}", "budget: {compute: null, epochs: 2}")
        wide = unfold(load(tmp_path, text, scale="cpu"))[-1]
        assert wide.budget.model_dump() == {"epochs": 2, "patience": None, "max_seconds": None, "timeout": 60}

    @pytest.mark.parametrize("scale", SCALES)
    def test_a_stored_spec_gives_the_same_trials(self, tmp_path, scale):
        spec = load(tmp_path, self.COMPUTE, scale=scale)
        again = Spec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json"))))
        assert unfold(again) == unfold(spec)

    def test_one_in_another_unit_replaces_that_of_the_layer_below(self, tmp_path):
        # The scale gpu of LITTLE counts 50 epochs.
        gpu = load(tmp_path, self.COMPUTE, scale="gpu").budget
        assert (gpu.compute, gpu.epochs, gpu.timeout) == (None, 50, 60)
        load(tmp_path)  # writes little.yaml, whose rows count epochs
        child = "extends: little.yaml\nbudget: {compute: {notes: 9000}}\n"
        lstm, wide = unfold(load(tmp_path, child, "child.yaml", scale="cpu"))[-2:]
        assert lstm.budget.compute == wide.budget.compute == Compute(notes=9000)
        again = "extends: child.yaml\nbudget: {compute: {seconds: 20}}\n"
        assert load(tmp_path, again, "again.yaml").budget.compute == Compute(seconds=20)
        row = "extends: child.yaml\nmodels: {wide: {budget: {epochs: 3, compute: null}}}\n"
        wide = unfold(load(tmp_path, row, "row.yaml", scale="cpu"))[-1]
        assert (wide.budget.compute, wide.budget.epochs) == (None, 3)

    def test_the_order_in_a_spec_does_not_matter(self, tmp_path):
        orders = ["{limit: 40, seed: 1}", "{seed: 1, limit: 40}"], ["{units: 8, layers: 1}", "{layers: 1, units: 8}"]
        text = "title: T\ndataset: {{name: chorales, options: {}}}\nmodels: {{lstm: {{params: {}}}}}\n"
        keys = {unfold(load(tmp_path, text.format(*pair), scale="cpu"))[-1].digest() for pair in zip(*orders, strict=True)}
        assert len(keys) == 1
        trial = unfold(load(tmp_path, text.format("{limit: 40}", "{layers: 1}"), scale="cpu"))[-1]
        nested = [
            trial.model_copy(update={"params": {"layers": dict(pairs)}}) for pairs in ((("a", 1), ("b", 2)), (("b", 2), ("a", 1)))
        ]
        assert nested[0].digest() != nested[1].digest(), "what is in one may have an order"

    def test_names_that_tables_repeat_are_shortened(self):
        """Of cells with long hyperparameters; two that differ at their end stay two."""
        values = ["x" * 3000 + end for end in "ab"]
        spec = Spec(title="T", dataset={"name": "chorales"}, models={"lstm": {}}, grid={"lstm.kind": values}, references=())
        names = [trial.system for trial in unfold(spec) if trial.seed == 0]
        assert {len(name) for name in names} == {1000}
        assert len(set(names)) == 2

    def test_other_updates_are_another_trial(self, tmp_path):
        texts = [self.COMPUTE, self.COMPUTE.replace("updates: 40", "updates: 41")]
        keys = [{t.system: t.digest() for t in unfold(load(tmp_path, text, scale="cpu"))} for text in texts]
        assert {system for system in keys[0] if keys[0][system] != keys[1][system]} == {"wide"}
