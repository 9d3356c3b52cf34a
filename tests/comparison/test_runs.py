"""Runs that can't be compared, and what differs between those that can."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import pytest

from bench.comparison.differences import LONGEST, MOST, differences, differing
from bench.comparison.rows import match_rows
from bench.comparison.runs import LETTERS, read_runs
from bench.errors import DataError, UsageError
from tests.report.stored_run import moved
from tests.storage.sealed import edited_json

from .conftest import Make


def both(make: Make, **spec: object) -> tuple[Path, Path]:
    folders = []
    for name, more in (("a", {}), ("b", spec)):
        stored = make(name, **more)
        stored.add("lstm", 0, {(i, 0): n for i, n in enumerate(stored.real)})
        folders.append(stored.close())
    return folders[0], folders[1]


class TestRefused:
    def test_one_run_and_too_many(self, make: Make) -> None:
        a, _ = both(make)
        with pytest.raises(UsageError, match=r"^Expected 2 to 26 runs, got 1\."):
            read_runs([a])
        with pytest.raises(UsageError, match=r"^Expected 2 to 26 runs, got 27\."):
            read_runs([a] * (len(LETTERS) + 1))

    def test_the_same_run_twice_by_any_path(self, make: Make, tmp_path: Path) -> None:
        a, b = both(make)
        (tmp_path / "link").symlink_to(a)
        for twice in ([a, a], [a, b, a / ".." / "a"], [a, tmp_path / "link"]):
            with pytest.raises(UsageError, match="is given twice"):
                read_runs(twice)

    def test_a_copy(self, make: Make, tmp_path: Path) -> None:
        a, _ = both(make)
        shutil.copytree(a, tmp_path / "copy")
        with pytest.raises(UsageError, match=r"copy is a copy of .*a: their run.json is the same"):
            read_runs([a, tmp_path / "copy"])

    def test_a_damaged_run(self, make: Make) -> None:
        a, b = both(make)
        (b / "run.json").write_text("{")
        with pytest.raises(DataError, match=r"run\.json can't be read"):
            read_runs([a, b])

    def test_a_run_of_another_format(self, make: Make) -> None:
        a, b = both(make)
        (b / "run.json").write_text(json.dumps({"format": 1}))
        with pytest.raises(DataError, match="format"):
            read_runs([a, b])

    def test_a_run_without_its_music(self, make: Make) -> None:
        a, b = both(make)
        (b / "targets.npz").unlink()
        with pytest.raises(DataError, match=r"targets\.npz is missing"):
            read_runs([a, b])


class TestDifferences:
    def found(self, make: Make, **run: object) -> dict[str, tuple[str, ...]]:
        a, b = both(make)
        with edited_json(b / "run.json") as record:
            for key, value in run.items():
                record[key] = {**record[key], **value} if isinstance(value, dict) and isinstance(record.get(key), dict) else value
        return {d.what: d.values for d in differences(read_runs([a, b]))}

    def test_none(self, make: Make) -> None:
        assert self.found(make) == {}

    def test_the_spec_is_compared_leaf_by_leaf(self, make: Make) -> None:
        a, b = both(
            make, protocol={"prompt": 2, "notes": 4, "pieces": 12, "samples": 1, "seconds": 2.5}, target=None, title="Other"
        )
        assert {d.what: d.values for d in differences(read_runs([a, b]))} == {
            "spec: title": ("Table 2 on four notes", "Other"),
            "spec: protocol.pieces": ("2", "12"),
            "spec: protocol.seconds": ("null", "2.5"),
            "spec: target": ("12.0", "null"),
        }

    def test_versions_plugins_music_and_machine(self, make: Make) -> None:
        found = self.found(
            make,
            scale="gpu",
            plugins={"lstm": "beef"},
            dataset={"parsed": "f00d", "corpus_key": "cafe", "notes": {"train": 1201, "validation": 300, "test": 500}},
            provenance={
                "bench": "0.2.0",
                "git": None,
                "machine": {"cpu": "Z80", "cores": 1, "memory_bytes": 65536, "gpus": ["H100"], "platform": "Linux"},
                "interpreters": {"numpy": {"python": "3.11.7", "packages": {"numpy": "2.1"}}},
            },
        )
        assert found == {
            "scale": ("cpu", "gpu"),
            "bench": ("0.1.0", "0.2.0"),
            "commit": ("0123abc", "null"),
            "plug-in: lstm": ("–", "beef"),
            "version: numpy": ("2.0", "2.1"),
            "dataset: files and the code that read them": ("feedc0ffee", "cafe"),
            "dataset: notes read from them": ("", "f00d"),
            "dataset: notes: train": ("1200", "1201"),
            "processor": ("Test CPU", "Z80"),
            "processor of the trials": ('["Test CPU"]', '["Z80"]'),
            "cores": ("2", "1"),
            "memory": ("8589934592", "65536"),
            "GPUs": ("[]", '["H100"]'),
        }

    def test_a_package_of_several_interpreters_has_one_line(self, make: Make) -> None:
        both = {
            "numpy": {"python": "3.11.7", "packages": {"numpy": "2.1"}},
            "torch": {"python": "3.12.1", "packages": {"numpy": "2.1", "torch": "2.13"}},
            "tensorflow": {"error": "There is no such Python."},
        }
        assert self.found(make, provenance={"interpreters": both}) == {
            "version: Python": ("3.11.7", "3.11.7 (numpy), There is no such Python. (tensorflow), 3.12.1 (torch)"),
            "version: numpy": ("2.0", "2.1"),
            "version: torch": ("–", "2.13"),
        }

    def test_there_is_an_end_to_them(self, make: Make) -> None:
        found = self.found(make, plugins={str(i): "0" for i in range(MOST + 5)})
        assert len(found) == MOST + 1
        assert found["and 5 more"] == ("–", "–")

    @pytest.mark.parametrize(("one", "other"), [(1, True), (1, "1"), (None, "null"), ([], {}), (1.0, "1.0"), ("a", " a")])
    def test_what_looks_alike_is_told_apart(self, one: object, other: object) -> None:
        ((key, texts),) = differing([{"x": one}, {"x": other}])
        assert (key, len(set(texts))) == ("x", 2)

    def test_a_missing_value_is_not_a_dash(self) -> None:
        assert list(differing([{"x": "–"}, {}])) == [("x", ('"–"', "–"))]

    def test_texts_have_no_quotes(self) -> None:
        assert list(differing([{"x": "2.0"}, {"x": "2.1"}, {}])) == [("x", ("2.0", "2.1", "–"))]

    def test_a_long_name_is_not_repeated_for_all_that_is_in_it(self) -> None:
        """A megabyte before each of 10,000 values was 10 GB."""
        one, other = ({"x" * 10**6: {str(i): {"y": i + more} for i in range(1000)}} for more in (0, 1))
        tracemalloc.start()
        keys = [key for key, _ in differing([one, other])]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(set(keys)) == 1000
        assert peak < 20 << 20

    def test_long_texts_are_cut_and_told_apart(self) -> None:
        ((_, texts),) = differing([{"x": "a" * 5000 + "b"}, {"x": "a" * 5000 + "c"}])
        assert texts[0] != texts[1]
        assert max(map(len, texts)) < LONGEST + 15


class TestRows:
    def test_what_differs_in_a_row(self, make: Make) -> None:
        a, b = make("a"), make("b")
        for stored, params in ((a, {"units": 64, "layers": 2}), (b, {"units": 128, "layers": 2})):
            for seed in (0, 1):
                stored.add("lstm", seed, {(i, 0): n for i, n in enumerate(stored.real)}, params=params)
        b.add("gan", 0, None, error="no luck")
        b.add("gan", 1, None)
        lstm, gan = match_rows(read_runs([a.close(), b.close()]))
        assert (lstm.system, lstm.seeds, lstm.differs) == ("lstm", ("2 seeds", "2 seeds"), ("params.units: 64, 128",))
        assert (gan.system, gan.seeds, gan.differs) == ("gan", ("–", "0 of 2 seeds"), ())

    def test_models_come_first(self, make: Make) -> None:
        a, b = make("a"), make("b")
        a.add("real", 0, moved(1), kind="reference")
        b.add("lstm", 0, moved(1))
        assert [match.system for match in match_rows(read_runs([a.close(), b.close()]))] == ["lstm", "real"]
