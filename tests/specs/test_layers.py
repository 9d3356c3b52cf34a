"""The merge of two layers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.specs.layers import merge, overlay
from bench.specs.load import load_spec

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


class TestWhatWasMeasured:
    """Updates and searches belong to a row's sizes and to its music."""

    def test_it_stays_where_nothing_of_the_row_changes(self):
        spec = load_spec("table2", scale="cpu", seeds=[7])
        assert all(choice.budget.updates for choice in spec.models.values())
        assert set(spec.tuned) == set(spec.models)

    def test_other_hyperparameters_lose_it(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("extends: table2\ntitle: Mine\nmodels: {lstm: {params: {units: 512}}}\n")
        spec = load_spec(path, scale="cpu")
        assert spec.models["lstm"].budget.updates is None
        assert spec.models["gan"].budget.updates is not None
        assert {row for row, tuned in spec.tuned.items() if tuned.former} == {"lstm"}
        assert set(spec.tuned) == set(spec.models)

    def test_another_plugin_was_not_searched(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("extends: table2\ntitle: Mine\nmodels: {lstm: {plugin: event-lstm}, gan: {plugin: gan}}\n")
        spec = load_spec(path, scale="cpu")
        assert set(spec.tuned) == set(spec.models) - {"lstm"}
        assert not spec.tuned["gan"].former, "the same again replaces nothing"
        assert "lstm" not in spec.search.models

    def test_other_music_loses_it(self):
        spec = load_spec("table2-midiworld", scale="cpu")
        assert [choice.budget.updates for choice in spec.models.values()] == [None] * len(spec.models)
        assert {row: (tuned.dataset, tuned.former) for row, tuned in spec.tuned.items()} == dict.fromkeys(
            spec.models, ("chorales", True)
        )

    def test_other_music_may_have_its_own(self):
        spec = load_spec("table2-maestro", scale="cpu")
        assert {row: (tuned.dataset, tuned.former) for row, tuned in spec.tuned.items()} == dict.fromkeys(
            spec.models, ("maestro", False)
        )

    def test_a_selection_of_the_music_loses_it(self):
        below = {"dataset": {"name": "chorales"}, "models": {"lstm": {}}, "tuned": {"lstm": {"trials": 1}}}
        assert overlay(below, {"dataset": {"options": {"limit": 40}}})["tuned"] == {"lstm": {"trials": 1, "former": True}}

    @pytest.mark.parametrize("budget", [{"compute": {"seconds": 48}}, {"epochs": 3}])
    def test_another_budget_loses_it(self, budget):
        below = {"budget": {"compute": {"seconds": 24}}, "models": {"lstm": {}}, "tuned": {"lstm": {"trials": 1}}}
        assert overlay(below, {"budget": budget})["tuned"] == {"lstm": {"trials": 1, "former": True}}
        assert overlay(below, {"budget": {"compute": {"seconds": 24}, "timeout": 9}})["tuned"] == below["tuned"]

    def test_what_the_upper_layer_measured_stands(self):
        below = {"models": {"lstm": {"params": {"units": 1}, "budget": {"updates": 400}}}, "tuned": {"lstm": {"trials": 1}}}
        above = {"models": {"lstm": {"params": {"units": 2}, "budget": {"updates": 90}}}, "tuned": {"lstm": {"trials": 5}}}
        assert overlay(below, above) == above

    def test_a_later_search_replaces_what_an_earlier_one_measured(self):
        below = {"models": {"lstm": {}}, "tuned": {"lstm": {"trials": 1, "updates": 400, "former": True}, "gan": {"trials": 1}}}
        above = {"tuned": {"lstm": {"trials": 5}}}
        assert overlay(below, above)["tuned"] == {"lstm": {"trials": 5}, "gan": {"trials": 1}}
