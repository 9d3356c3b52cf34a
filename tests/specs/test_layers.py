"""The merge of two layers."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bench.specs.layers import merge

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
