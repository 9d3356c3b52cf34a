"""Values from YAML against the annotations of a plug-in's parameters."""

import pytest

from bench.plugins.parameters import Parameter, accepts


@pytest.mark.parametrize(
    ("annotation", "fitting", "wrong"),
    [
        ("int", [3, 0, -1], [3.0, "3", True, None, [3]]),
        ("float", [3, 0.5], ["0.5", True, None]),
        ("str", ["a"], [3, None]),
        ("bool", [True, False], [1, "true", None]),
        ("int | None", [3, None], [0.5, "x"]),
        ("Optional[float]", [0.5, 2, None], ["x"]),
        ("str | list[str] | None", ["a", ["a", "b"], None], [3, ["a", 3]]),
        ("list[int]", [[1, 2], []], [1, [1.5], (1,)]),
        ("Sequence[int]", [[1]], [1, ["a"]]),
        ("collections.abc.Sequence[int]", [[1]], [1]),
        ("tuple[int, ...]", [[1, 2, 3]], [["a"], 1]),
        ("tuple[int, float]", [[1, 2.5]], [[1], [1, 2, 3], ["a", 1]]),
        ("Literal['rotary', 'learned']", ["rotary"], ["sine", 3]),
        ("Literal[1, 2]", [1, 2], [True, 1.0, "1", 3]),
        ("Literal['off'] | int", ["off", 0], ["on", True]),
        ("tuple", [[1]], [(1,), 1, "a"]),
        ("dict[str, int]", [{"a": 1}], [[1]]),
        ("Path", ["anything"], ["", 3]),
        ("Curve", ["anything", 3], []),
        ("not valid !", [3], []),
    ],
)
def test_annotations(annotation, fitting, wrong):
    parameter = Parameter(annotation, "None")
    assert [accepts(parameter, value) for value in fitting] == [True] * len(fitting)
    assert [accepts(parameter, value) for value in wrong] == [False] * len(wrong)
