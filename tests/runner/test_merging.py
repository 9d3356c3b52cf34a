"""Runs of one spec, made apart, become the run that one machine would have made."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bench.merging
from bench.cli.app import app
from bench.errors import DataError, UsageError
from bench.merging import merge_runs
from bench.scoring.score import score_run
from bench.storage.files import BusyError, hold, write_json
from bench.storage.run_folder import RunFolder
from bench.storage.samples import write_targets
from bench.system.disk import MOST_RECORD, MOST_RESULT, DamagedFileError, file_digest
from bench.verification import verify_run

from .conftest import Bench

CLOCKED = ("seconds", "yardsticks", "rate", "memory", "per_second")


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not any(w in k for w in CLOCKED)} for row in score_run(folder).records()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of one spec: whole, and in parts by seed and by model."""
    toy = Bench(tmp_path_factory.mktemp("merging"))
    cache = toy.out
    models = {"steady": {}, "staged": {}}
    parts = {
        "whole": {"seeds": [0, 1, 2]},
        "first": {"seeds": [0, 1]},
        "second": {"seeds": [2]},
        "steady": {"seeds": [0, 1, 2], "models": {"steady": {}}},
        "staged": {"seeds": [0, 1, 2], "models": {"staged": {}}},
        "other": {"seeds": [0], "models": {"steady": {"params": {"size": 4}}}},
        "shorter": {"seeds": [0], "protocol": {"prompt": 10, "notes": 16, "pieces": 2}},
    }
    for name, changes in parts.items():
        toy.write(changes.get("models", models), references=["median"], **{k: v for k, v in changes.items() if k != "models"})
        toy.run(reports=False, name=name)
    return {name: cache / "runs" / name for name in parts}


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first"), ("steady", "staged"), ("first", "whole")])
def test_the_parts_are_the_whole(made: dict[str, Path], tmp_path: Path, names: tuple[str, ...]) -> None:
    before = {path: path.read_bytes() for name in names for path in made[name].rglob("*") if path.is_file()}
    merged = merge_runs([made[name] for name in names], tmp_path / "both")
    assert (merged.missing, merged.left_out, merged.trials) == ((), (), 9)
    assert timeless(merged.folder) == timeless(made["whole"])
    assert not [finding for finding in verify_run(merged.folder) if finding.fault and "corpus" not in finding.part]
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_missing_is_named(made: dict[str, Path], tmp_path: Path) -> None:
    part = shutil.copytree(made["second"], tmp_path / "second")
    record = json.loads((part / "run.json").read_text())
    (lost,) = [t["key"] for t in record["trials"] if t["trial"]["system"] == "staged"]
    shutil.rmtree(part / "trials" / lost)
    merged = merge_runs([made["first"], part], tmp_path / "both")
    assert merged.missing == ("staged, seed 2",)
    assert merged.trials == 8
    assert RunFolder(merged.folder).read().finished is None
    whole = merge_runs([made["first"], made["second"]], tmp_path / "whole")
    assert RunFolder(whole.folder).read().finished is not None


def test_what_is_missing_is_run_by_the_command_that_is_said(toy: Bench) -> None:
    toy.write({"steady": {}, "staged": {}}, references=["median"])
    for name, models, seeds in (("first", ["steady"], [0, 1]), ("second", ["staged"], [2])):
        toy.run(reports=False, name=name, models=models, seeds=seeds)
    said = CliRunner().invoke(app, ["merge", "first", "second", "--name", "both", "--out", str(toy.out)])
    assert (said.exit_code, said.output.count("missing: ")) == (3, 3), said.output
    words = shlex.split(re.findall(r"`(.*)` runs what is missing", said.output)[0])
    assert words[:2] == ["bench", "run"]
    done = CliRunner().invoke(app, [*words[1:], "--no-sound", "--quiet"])
    assert done.exit_code == 0, done.output
    both = RunFolder(toy.out / "runs" / "both")
    assert len(planned := both.read().trials) == 9
    assert all(both.outcome(trial.key) for trial in planned)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other", "the row steady is {'plugin': None, 'params': {}"),
        ("shorter", "was made on other music or other held-out pieces"),
    ],
)
def test_conflicts_are_named_and_nothing_is_written(made: dict[str, Path], tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match="These runs can't be merged") as refused:
        merge_runs([made["first"], made[name]], tmp_path / "both")
    assert said in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_two_results_of_one_trial_are_a_conflict(made: dict[str, Path], tmp_path: Path) -> None:
    part = shutil.copytree(made["first"], tmp_path / "first")
    folder = RunFolder(part)
    key = folder.read().trials[0].key
    outcome = json.loads((folder.trial_dir(key) / "outcome.json").read_text())
    outcome["digests"] = dict.fromkeys(outcome["digests"], "0" * 64)
    write_json(folder.trial_dir(key) / "outcome.json", outcome)
    with pytest.raises(UsageError, match="median, seed 0 has other results in"):
        merge_runs([made["first"], part], tmp_path / "both")


def test_an_intact_copy_counts_before_a_damaged_one(made: dict[str, Path], tmp_path: Path) -> None:
    part = shutil.copytree(made["whole"], tmp_path / "part")
    (key, *_) = [planned.key for planned in RunFolder(part).read().trials]
    samples = part / "trials" / key / "samples.npz"
    content = bytearray(samples.read_bytes())
    content[len(content) // 2] ^= 1
    samples.write_bytes(content)
    merged = merge_runs([part, made["whole"]], tmp_path / "both")
    assert (merged.missing, merged.trials) == ((), 9)
    worse = merge_runs([part, shutil.copytree(part, tmp_path / "copy")], tmp_path / "worse")
    assert (len(worse.missing), worse.trials) == (1, 8)
    left = {file.name for file in (worse.folder / "trials" / key).rglob("*") if file.is_file()}
    assert left <= {"outcome.json", "trial.json", "stderr.log"}  # no outcome vouches for the others, which may be of any size


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.pop("models"),
        lambda spec: spec.update(models=[1]),
        lambda spec: spec.update(references=[["real"]]),
        lambda spec: spec.update(seeds=["a"]),
        lambda spec: spec.update(tuned={"a": 3}),
    ],
)
def test_a_record_that_nobody_wrote_is_refused(made: dict[str, Path], tmp_path: Path, change: Callable[[Any], object]) -> None:
    part = shutil.copytree(made["second"], tmp_path / "part")
    record = json.loads((part / "run.json").read_text())
    change(record["spec"])
    write_json(part / "run.json", {name: value for name, value in record.items() if name != "sha256"})
    with pytest.raises(DataError, match=r"part/run.json is damaged: "):
        merge_runs([made["first"], part], tmp_path / "both")


def test_a_link_in_a_trial_leads_nowhere(made: dict[str, Path], tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text("not for others")
    part = shutil.copytree(made["second"], tmp_path / "part")
    key = RunFolder(part).read().trials[0].key
    (part / "trials" / key / "stderr.log").unlink(missing_ok=True)
    (part / "trials" / key / "stderr.log").symlink_to(secret)
    merged = merge_runs([made["first"], part], tmp_path / "both")
    assert (len(merged.missing), merged.trials) == (1, 8)
    assert not (merged.folder / "trials" / key).exists()


def test_a_log_of_any_length_is_no_result(made: dict[str, Path], tmp_path: Path) -> None:
    """A trainer that prints for hours made its finished run impossible to merge, for ever."""
    part = shutil.copytree(made["second"], tmp_path / "part")
    trial = part / "trials" / RunFolder(part).read().trials[0].key
    os.truncate(trial / "stderr.log", MOST_RECORD + 1)
    merged = merge_runs([made["first"], part], tmp_path / "both")
    assert merged.missing == ()
    assert (merged.folder / "trials" / trial.name / "outcome.json").exists()
    assert not (merged.folder / "trials" / trial.name / "stderr.log").exists()


@pytest.mark.parametrize("change", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-9])])
def test_damaged_targets_are_named(made: dict[str, Path], tmp_path: Path, change: Callable[[Path], object]) -> None:
    part = shutil.copytree(made["second"], tmp_path / "part")
    change(part / "targets.npz")
    with pytest.raises(DataError, match=r"part/targets\.npz"):
        merge_runs([made["first"], part], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_record_that_nobody_could_read_is_not_made(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial holds the dataset's options: of a thousand rows of others, a megabyte of these took all memory."""
    monkeypatch.setattr("bench.merging.MOST_RECORD", 1000)
    with pytest.raises(DataError, match=r"The merged run's record would have [\d,]+ characters; 1,000 can be stored"):
        merge_runs(list(made.values())[:2], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_merge_that_fails_leaves_nothing(made: dict[str, Path], tmp_path: Path) -> None:
    (into := tmp_path / "runs").mkdir()
    (into / ".both.merging").mkdir()  # of one that was killed
    (into / ".both.merging" / "left").touch()
    merged = merge_runs([made["first"], made["second"]], into / "both")
    assert [path.name for path in into.iterdir()] == ["both"]
    key = RunFolder(made["second"]).read().trials[0].key
    scores = made["second"] / "trials" / key / "scores.json"
    for size in (MOST_RESULT + 1, 2 << 20):  # nearly all holes, which a copy would make bytes of
        with scores.open("wb") as large:
            large.truncate(size)
        with pytest.raises(DamagedFileError):
            merge_runs([made["first"], made["second"]], into / "again")
    scores.unlink()
    assert [path.name for path in into.iterdir()] == [merged.folder.name]


def test_only_what_an_outcome_vouches_for_is_merged(made: dict[str, Path], tmp_path: Path) -> None:
    """30 sparse files of 540 kB on the disk became 1.9 GB of zeros."""
    (tmp_path / "runs").mkdir()
    key = RunFolder(made["second"]).read().trials[0].key
    strays = [made["second"] / place for place in ("midi/x.mid", f"trials/{key}/midi/x.mid", f"trials/{key}/stages/x.npz")]
    for stray in strays:
        stray.parent.mkdir(exist_ok=True)
        with stray.open("wb") as file:
            file.truncate(64 << 20)
    merged = merge_runs([made["second"], made["first"]], tmp_path / "runs" / "both")
    assert not [path for path in merged.folder.rglob("*") if path.name in ("x.mid", "x.npz")]
    assert (merged.folder / "trials" / key / "samples.npz").is_file()
    assert not [finding for finding in verify_run(merged.folder) if finding.fault and "corpus" not in finding.part]


def test_of_two_merges_to_one_name_one_goes_on(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    with hold(tmp_path / "runs" / ".both.merging.lock", tmp_path), pytest.raises(BusyError, match="Another bench"):
        merge_runs([made["first"], made["second"]], tmp_path / "runs" / "both")
    merge_runs([made["first"], made["second"]], tmp_path / "runs" / "both")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["both"]
    again, sources = tmp_path / "runs" / "again", bench.merging._sources

    def overtaken(*given: Any) -> Any:
        again.mkdir()
        return sources(*given)

    monkeypatch.setattr(bench.merging, "_sources", overtaken)
    with pytest.raises(UsageError, match="again exists already"):
        merge_runs([made["first"], made["second"]], again)
    assert not [*again.iterdir()]


def test_a_link_where_the_draft_lies_leads_nowhere(made: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".both.merging").symlink_to(tmp_path / "theirs")
    merged = merge_runs([made["first"], made["second"]], tmp_path / "runs" / "both")
    assert not merged.folder.is_symlink()
    assert not [*(tmp_path / "theirs").iterdir()]


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "a/b", ".."])
def test_a_merged_run_is_among_the_others(made: dict[str, Path], tmp_path: Path, name: str) -> None:
    runs = [str(made[which]) for which in ("first", "second")]
    refused = CliRunner().invoke(app, ["merge", *runs, "--name", name, "--out", str(tmp_path / "reports")])
    assert isinstance(refused.exception, UsageError)
    assert "can't name a run" in str(refused.exception)


def test_other_remarks_on_the_same_music_are_no_conflict(made: dict[str, Path], tmp_path: Path) -> None:
    """Another version of bench may say more of it."""
    part = shutil.copytree(made["second"], tmp_path / "second")
    folder = RunFolder(part)
    targets = folder.read_targets()
    write_targets(folder.targets, replace(targets, facts={**targets.facts, "remarks": ["something new"]}))
    record = json.loads(folder.run_file.read_text())
    record["dataset"]["targets"] = file_digest(folder.targets)
    write_json(folder.run_file, record)
    assert merge_runs([made["first"], part], tmp_path / "both").trials == 9


def test_a_place_that_is_taken_is_left_alone(made: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="exists already") as refused:
        merge_runs([made["first"], made["second"]], made["whole"])
    assert "`bench report whole`" in refused.value.hint, "it may be this merge's, stopped by a full disk"
    for name in ("latest", "tune-both", "a b"):
        with pytest.raises(UsageError, match="can't name a run"):
            merge_runs([made["first"], made["second"]], made["whole"].with_name(name))
    with pytest.raises(UsageError, match="is given twice"):
        merge_runs([made["first"], made["second"], made["first"] / ".." / "first"], made["whole"].with_name("new"))
    with pytest.raises(UsageError, match="two runs or more"):
        merge_runs([made["first"]], made["first"].with_name("new"))


def test_folders_of_plugins_of_one_name_are_copies_and_their_tests_are_not(tmp_path: Path) -> None:
    for folder, name in (("a", "one"), ("b", "two"), ("c", "one")):
        (tmp_path / folder / "models").mkdir(parents=True)
        (tmp_path / folder / "models" / f"{name}.py").touch()
        (tmp_path / folder / "tests").mkdir()
        (tmp_path / folder / "tests" / "conftest.py").touch()
    folders = [str(tmp_path / folder) for folder in ("a", "b", "c", "gone")]
    assert bench.merging._without_copies(folders) == tuple(folders[:2])


def test_a_folder_that_cannot_be_looked_at_is_left_out(tmp_path: Path) -> None:
    """Of another user, or of a system with longer names: only the command that is shown would need it."""
    from bench.merging import _here, _without_copies

    long = f"/{'a' * 300}/x"
    assert _here([str(tmp_path), long, str(tmp_path / "none")]) == (str(tmp_path),)
    assert _without_copies([long]) == ()
