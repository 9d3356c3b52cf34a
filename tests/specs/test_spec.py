"""A spec to its trials: merging, scales, extends, the command line's changes, the schema."""

import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from bench.plugins.discovery import find_plugins
from bench.specs.json_schema import SCHEMA, schema, schema_text
from bench.specs.layers import merge
from bench.specs.load import load_spec, shipped_specs
from bench.specs.schema import SCALES, Spec
from bench.specs.trials import unfold

LITTLE = """\
title: Little
dataset: {name: chorales, options: {limit: 9}}
protocol: {prompt: 4, notes: 8}
seeds: [0, 7]
budget: {epochs: 5, patience: 2, timeout: 60}
models:
  lstm: {params: {units: 8}}
  wide: {plugin: lstm, params: {units: 16}, budget: {epochs: 2, patience: null}}
references: [median, untrained, markov]
scales:
  gpu:
    dataset: {options: {limit: 99}}
    budget: {epochs: 50}
    models:
      lstm: {params: {layers: 3}}
"""


def load(folder, text=LITTLE, name="little.yaml", *, scale=None, **changes):
    (folder / name).write_text(textwrap.dedent(text))
    return load_spec(folder / name, scale=scale, **changes)


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
        chain = "chain: {plugin: references, params: {kind: markov}, harmony: {key: auto}}"
        trials = unfold(load(tmp_path, LITTLE.replace("\nmodels:\n", f"\nmodels:\n  {chain}\n", 1), scale="cpu"))
        assert "chain" in {t.system for t in trials}
        assert "untrained chain" not in {t.system for t in trials}

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


class TestDefaults:
    def test_a_number_of_seeds(self, tmp_path):
        assert load(tmp_path, LITTLE.replace("[0, 7]", "4")).seeds == (0, 1, 2, 3)

    def test_a_row_with_nothing_after_it(self, tmp_path):
        assert load(tmp_path, LITTLE.replace("lstm: {params: {units: 8}}", "lstm:")).models["lstm"].params == {}

    def test_all_references(self, tmp_path):
        text = LITTLE.replace("references: [median, untrained, markov]", "")
        shipped = find_plugins("model")["references"].header["KINDS"]
        assert set(load(tmp_path, text).references) == {*shipped, "untrained"}

    def test_the_files_name(self, tmp_path):
        assert load(tmp_path).name == "little"
        assert load(tmp_path, "name: mine\n" + LITTLE).name == "mine"


class TestExtending:
    def child(self, folder, text, **changes):
        (folder / "little.yaml").write_text(LITTLE)
        return load(folder, "extends: little.yaml\n" + textwrap.dedent(text), "child.yaml", **changes)

    def at_scales(self, folder, text):
        """The child at cpu, where the parent has no overrides, and at gpu, where it has."""
        return [self.child(folder, text, scale=scale) for scale in ("cpu", "gpu")]

    def test_mappings_join_and_lists_are_replaced(self, tmp_path):
        spec = self.child(tmp_path, "seeds: [3]\nmodels:\n  lstm: {params: {dropout: 0.1}}\n  gan:\n")
        assert spec.title == "Little"
        assert spec.seeds == (3,)
        assert spec.models["lstm"].params == {"units": 8, "dropout": 0.1}
        assert list(spec.models) == ["lstm", "wide", "gan"]

    def test_what_the_child_says_counts_at_every_scale(self, tmp_path):
        cpu, gpu = self.at_scales(tmp_path, "budget: {epochs: 1}\n")
        assert [cpu.budget.epochs, gpu.budget.epochs] == [1, 1]
        assert gpu.dataset.options == {"limit": 99}

    def test_the_childs_own_scale_comes_last(self, tmp_path):
        specs = self.at_scales(tmp_path, "budget: {epochs: 1}\nscales: {gpu: {budget: {epochs: 2}}}\n")
        assert [spec.budget.epochs for spec in specs] == [1, 2]

    def test_another_dataset_gets_none_of_the_options(self, tmp_path):
        assert [spec.dataset.options for spec in self.at_scales(tmp_path, "dataset: {name: maestro}\n")] == [{}, {}]

    def test_the_same_dataset_keeps_them(self, tmp_path):
        specs = self.at_scales(tmp_path, "dataset: {name: chorales}\n")
        assert [spec.dataset.options["limit"] for spec in specs] == [9, 99]

    def test_another_plugin_gets_none_of_the_hyperparameters(self, tmp_path):
        specs = self.at_scales(tmp_path, "models:\n  lstm: {plugin: gan, params: {latent: 4}}\n")
        assert [spec.models["lstm"].params for spec in specs] == [{"latent": 4}] * 2

    def test_a_child_of_a_child(self, tmp_path):
        self.child(tmp_path, "budget: {epochs: 1}\n")
        spec = load(tmp_path, "extends: child.yaml\ntitle: Third\n", "third.yaml")
        assert (spec.title, spec.name, spec.budget.epochs, spec.budget.patience) == ("Third", "third", 1, 2)

    def test_relative_to_the_file(self, tmp_path):
        (tmp_path / "below").mkdir()
        (tmp_path / "little.yaml").write_text(LITTLE)
        assert load(tmp_path / "below", "extends: ../little.yaml\n", "a.yaml").title == "Little"


class TestTheCommandLinesChanges:
    def test_models(self, tmp_path):
        spec = load(tmp_path, models=["gan", "lstm"])
        assert list(spec.models) == ["gan", "lstm"]
        assert load(tmp_path, scale="gpu", models=["lstm"]).models["lstm"].params == {"units": 8, "layers": 3}
        assert list(load(tmp_path, scale="gpu", models=["wide"]).models) == ["wide"]

    def test_no_model(self, tmp_path):
        assert {t.kind for t in unfold(load(tmp_path, scale="gpu", models=[]))} == {"reference"}

    @pytest.mark.parametrize(("seeds", "expected"), [(2, (0, 1)), ([5], (5,))])
    def test_seeds_count_at_every_scale(self, tmp_path, seeds, expected):
        text = LITTLE.replace("  gpu:\n", "  gpu:\n    seeds: [1, 2, 3, 4]\n")
        assert load(tmp_path, text, scale="gpu", seeds=seeds).seeds == expected

    def test_dataset(self, tmp_path):
        spec = load(tmp_path, scale="gpu", dataset="maestro")
        assert (spec.dataset.name, spec.dataset.options) == ("maestro", {})
        assert load(tmp_path, scale="gpu", dataset="chorales").dataset.options == {"limit": 99}

    def test_references(self, tmp_path):
        assert load(tmp_path, references=["real"]).references == ("real",)

    def test_the_file_is_checked_as_it_stands_too(self, tmp_path):
        text = LITTLE.replace("units: 8", "unitz: 8")
        with pytest.raises(Exception, match=r"little.yaml:7: models.lstm.params.unitz"):
            load(tmp_path, text, models=["gan"])


class TestShipped:
    @pytest.mark.parametrize("name", shipped_specs())
    def test_it_is_valid_at_every_scale(self, name):
        for scale in SCALES:
            systems = {t.system for t in unfold(load_spec(name, scale=scale))}
            assert "markov" in systems
            if name.startswith(("table2", "smoke")):
                assert {"lstm", "transformer", "gan", "median", "untrained lstm"} <= systems

    @pytest.mark.parametrize("name", shipped_specs())
    def test_editors_are_told_the_schema(self, name):
        assert shipped_specs()[name].read_text().splitlines()[0] == "# yaml-language-server: $schema=schema.json"

    def test_what_runs_by_default(self):
        suits = {name: load_spec(name, scale=None).suits for name in shipped_specs()}
        by_default = {"smoke": ("smoke",), "table2": ("cpu", "gpu"), "table2-maestro": ("gpu",)}
        assert {name: scales for name, scales in suits.items() if scales} == by_default

    def test_the_schema_is_up_to_date(self):
        assert SCHEMA.read_text() == schema_text(), "run python -m bench.specs.json_schema"

    def test_the_schema_knows_scales_and_requires_nothing(self):
        written = schema()
        assert "required" not in json.dumps(written)
        assert set(written["properties"]["scales"]["properties"]) == set(SCALES)
        assert not {"scales", "extends", "suits", "name"} & written["$defs"]["Changes"]["properties"].keys()


trees = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers() | st.lists(st.integers(), max_size=2), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | st.integers(), max_size=3),
    max_leaves=8,
)


class TestMerge:
    @given(trees, trees)
    def test_every_leaf_of_the_upper_stands(self, base, over):
        def check(merged, upper):
            for key, value in upper.items():
                if isinstance(value, dict):
                    check(merged[key], value)
                else:
                    assert merged[key] == value

        check(merge(base, over), over)

    @given(trees, trees)
    def test_nothing_else_of_the_lower_is_lost(self, base, over):
        merged = merge(base, over)
        assert merged.keys() == base.keys() | over.keys()
        assert all(merged[key] == base[key] for key in base.keys() - over.keys())

    @given(trees, trees, trees)
    def test_mappings_join_in_any_grouping_where_kinds_agree(self, a, b, c):
        # A leaf laid on a mapping replaces it, so grouping matters only there; without such a clash it must not.
        def clash(x, y):
            return any(isinstance(x[k], dict) != isinstance(y[k], dict) or (isinstance(x[k], dict) and clash(x[k], y[k]))
                       for k in x.keys() & y.keys())  # fmt: skip

        if not (clash(a, b) or clash(b, c) or clash(a, c)):
            assert merge(merge(a, b), c) == merge(a, merge(b, c))

    @given(trees)
    def test_it_changes_nothing_in_place(self, base):
        before = json.dumps(base)
        merge(base, {"a": {"b": 1}, "b": 2})
        assert json.dumps(base) == before

    def test_an_empty_value_leaves_a_mapping_as_it_is(self):
        assert merge({"a": {"b": 1}}, {"a": None}) == {"a": {"b": 1}}
        assert merge({"a": 1}, {"a": None}) == {"a": None}
