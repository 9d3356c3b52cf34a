"""The baseline's file: whatever is damaged in it is refused in words, and never opens the gate."""

import json
from contextlib import suppress
from copy import deepcopy

import pytest

from bench.errors import UsageError
from bench.gate.baseline_file import dump, read, save, write

from .made import flat, run, series, system

WHOLE = run(lstm=system(pitch_distance=flat(10.0, 2), training_seconds=series([50, 51], "seeds")))
SERIES = ("systems", "lstm", "metrics", "pitch_distance@1")


def put(*path, value):
    """The file's content with one thing in another's place."""
    given = json.loads(dump(WHOLE))
    inside = given
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return given


def refused(path):
    with pytest.raises(UsageError) as caught:
        read(path)
    assert (caught.value.exit_code, caught.value.hint) == (
        2,
        "Make it again from a finished run: bench baseline RUN --file FILE.",
    )
    return caught.value.message.removeprefix(f"{path} ")


def test_what_was_written_is_read(tmp_path):
    write(tmp_path / "b.json", WHOLE)
    assert read(tmp_path / "b.json") == WHOLE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (put("terms", value=[]), "terms: input should be an object"),
        (put("environment", value=None), "environment: input should be an object"),
        (put("systems", "lstm", "definition", value=None), "systems.lstm.definition: input should be an object"),
        (put("systems", "lstm", "yardstick", value={"0": "x"}), "systems.lstm.yardstick.0: input should be a valid number"),
        (put("systems", "lstm", "yardstick", value={"0": 0.0}), "systems.lstm.yardstick.0: 0 s is no time"),
        (put("systems", "lstm", "yardstick", value={"0": -1}), "systems.lstm.yardstick.0: -1 s is no time"),
        (put("systems", "lstm", "seeds", value=[0, 0]), "systems.lstm.seeds: a seed stands twice"),
        (put("systems", "lstm", "kind", value="modell"), "systems.lstm.kind: 'modell' is none of model, untrained, reference"),
        (put("systems", "lstm", "colour", value="red"), "systems.lstm.colour: unexpected keyword argument"),
        (put(*SERIES, value={"value": 1}), "systems.lstm.metrics.pitch_distance@1.over: this is missing"),
        (put(*SERIES, "over", value="bars"), "systems.lstm.metrics.pitch_distance@1.over: input should be 'pieces', "),
        (put(*SERIES, "at", value=[0, 0]), "systems.lstm.metrics.pitch_distance@1: of the pieces one stands twice"),
        (put(*SERIES, "at", value=[0, 9]), "systems.lstm.metrics.pitch_distance@1: pieces 9 is not in the run"),
        (put(*SERIES, "at", value=[0]), "systems.lstm.metrics.pitch_distance@1: 2 of 1 pieces have a value"),
        (put(*SERIES, "values", value=[1, "2"]),
         "systems.lstm.metrics.pitch_distance@1.values.1: input should be a valid number"),
        (put(*SERIES, "values", value=[1, 1e308]), "systems.lstm.metrics.pitch_distance@1: a value is too large to be measured"),
        (put(*SERIES, "value", value=9.9),
         "systems.lstm.metrics.pitch_distance@1: its value is 9.9, but the mean of its 2 values is 10"),
        (put(*SERIES, "value", value=-1e300), "systems.lstm.metrics.pitch_distance@1: a value is too large to be measured"),
        (put(*SERIES, value={"value": 1.0, "over": "pieces", "at": [], "values": []}),
         "systems.lstm.metrics.pitch_distance@1: 0 of 0 pieces have a value"),
        (put("systems", "lstm", "metrics", "training_seconds@1", "at", value=[0, 5]),
         "systems.lstm.metrics.training_seconds@1: seeds 5 is not in the run"),
    ],
)  # fmt: skip
def test_damage_is_told_in_words(tmp_path, given, said):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(given))
    assert refused(path).startswith(f"is not whole: {said}")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", [(*SERIES, "value"), (*SERIES, "values"), ("systems", "lstm", "yardstick", "0"), ("terms",)])
def test_what_is_no_number_is_refused(tmp_path, word, place):
    path = tmp_path / "b.json"
    value = [1.0, float(word)] if place[-1] == "values" else float(word)
    path.write_text(json.dumps(put(*place, value=value)))
    assert refused(path) == f"is no baseline: {word} is no measured value."


@pytest.mark.parametrize("digits", ["1e999", "-1e999", "1" + 400 * "0", "1" + 5000 * "0"])
def test_what_no_float_can_hold_is_refused(tmp_path, digits):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(put(*SERIES, "value", value="HERE")).replace('"HERE"', digits))
    assert refused(path).startswith(("is not whole: systems.lstm.metrics.pitch_distance@1", "is no baseline: "))


@pytest.mark.parametrize(
    "text", [200_000 * "[", '{"bench_baseline":1,"terms":' + 2000 * "[" + 2000 * "]" + "}", "\ufeff{}", "\x00"]
)
def test_what_is_hardly_json_is_refused(tmp_path, text):
    path = tmp_path / "b.json"
    path.write_text(text)
    assert refused(path).startswith("is no")


def test_any_part_that_is_missing_or_null_is_refused_or_read(tmp_path):
    """Never another error, whatever is taken out."""

    def places(inside, path=()):
        for key in inside if isinstance(inside, dict) else range(len(inside)):
            yield (*path, key)
            if isinstance(inside[key], dict | list):
                yield from places(inside[key], (*path, key))

    whole, path = json.loads(dump(WHOLE)), tmp_path / "b.json"
    for place in places(whole):
        for value in (None, [], {}, -1, "x", True):
            given = deepcopy(whole)
            inside = given
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = value
            path.write_text(json.dumps(given))
            with suppress(UsageError):
                read(path)


class TestWriting:
    def test_folders_are_made(self, tmp_path):
        save(tmp_path / "a" / "b" / "c.md", "text")
        assert (tmp_path / "a" / "b" / "c.md").read_text() == "text"

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(UsageError) as caught:
            save(tmp_path, "text")
        assert caught.value.message == f"{tmp_path} is a folder, and should be a file."

    def test_a_place_that_can_not_be_written_is_named_as_it_was_given(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError) as caught:
            save(tmp_path / "file" / "x.json", "text")
        assert caught.value.message.startswith(f"{tmp_path / 'file' / 'x.json'} can't be written: ")
        assert ".tmp" not in caught.value.message
