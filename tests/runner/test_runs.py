"""A run from its spec to its folder, in real processes."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from bench.api import Notes, Splits, midi_bytes, seed_for
from bench.benchmark import resolve
from bench.benchmark import run as run_spec
from bench.cli.app import app
from bench.cli.output import find_run
from bench.comparison.differences import differences
from bench.comparison.runs import read_runs
from bench.errors import BenchError, DataError, MachineError, PluginError, SpecError, UsageError
from bench.metrics.sample_scores import FILE, Comparison
from bench.music.midi import read_midi
from bench.scoring.score import score_run
from bench.specs.load import load_spec
from bench.specs.scales import choose_scale
from bench.specs.schema import IN_FULL
from bench.specs.trials import Trial, unfold
from bench.storage import run_folder
from bench.storage.corpus import load_corpus, save_corpus
from bench.storage.files import FORMAT, DamagedError, hold
from bench.storage.records import MOST_TRIALS
from bench.storage.samples import read_samples, read_target_file, read_targets, write_targets
from bench.system import hardware, provenance
from bench.system.paths import Places
from bench.verification import verify_run
from tests.descriptors import few
from tests.storage.sealed import edited_json
from tests.system.scripts import nvml, script

from .conftest import PLUGINS, PROTOCOL, Bench, workers


def test_a_run_leaves_everything_that_the_contract_names(toy: Bench) -> None:
    toy.write({"steady": {}}, references=["markov", "shuffle", "untrained"])
    result = toy.run()
    assert result.folder == toy.run_folder
    assert result.failed == 0
    assert {row["system"] for row in result.table} == {"steady", "markov", "shuffle", "untrained steady"}
    assert all(path.is_file() for path in result.reports)

    run = json.loads((toy.run_folder / "run.json").read_text())
    assert run["format"] == FORMAT
    assert run["scale"] == "cpu"
    assert run["finished"] >= run["started"]
    assert run["dataset"]["pieces"] == {"train": 4, "validation": 1, "test": 5}
    assert run["dataset"]["too_short"] == 2
    assert run["dataset"]["skipped"] == [{"source": "bad.mid", "reason": "empty"}]
    assert set(run["plugins"]) == {"steady", "markov", "shuffle"}
    assert run["headers"]["steady"]["FEATURES"] == "a slow walk"
    assert run["call"]["spec"] == str(toy.spec)
    assert run["call"]["plugins"] == [str(PLUGINS)]
    assert run["provenance"]["interpreters"]["numpy"]["packages"]["numpy"] == np.__version__

    folder = toy.trials()["steady", 0]
    stored = json.loads((folder / "trial.json").read_text())
    trial = Trial.model_validate({name: value for name, value in stored.items() if name != "sha256"})
    outcome = toy.outcome("steady")
    assert outcome["key"] == folder.name
    assert outcome["trial"] == trial.model_dump(mode="json")
    training = outcome["training"]
    assert (training["epochs"], training["stopped"], training["resumed"]) == (4, "budget", 0)
    assert (training["best_epoch"], training["best_validation_bits"], training["notes"]) == (4, 10.25, 4 * 240)
    assert outcome["generation"]["notes"] == 2 * 20
    # The toy gives each class of each field 1/4: 2 bits a field, over every note of all five test pieces.
    assert outcome["likelihood"]["bits_per_note"] == pytest.approx(28)
    assert outcome["likelihood"]["notes"] == 3 * 60 + 2 * 15
    assert outcome["facts"] == {"parameters": 8, "peak_gpu_bytes": 7}
    assert outcome["memory"]["peak_gpu_bytes"] == 7
    assert toy.outcome("untrained steady")["training"]["stopped"] == "untrained"
    assert toy.outcome("shuffle")["likelihood"] is None
    assert all(0 < seconds < 60 for seconds in outcome["yardstick"].values())
    assert outcome["yardstick"].keys() == {"before", "after", "core"}
    assert toy.outcome("shuffle")["yardstick"] is toy.outcome("untrained steady")["yardstick"] is None
    assert not workers(toy)


def test_the_datasets_noise_and_samples_reach_the_run(toy: Bench) -> None:
    toy.write({}, protocol={"prompt": 10, "notes": 20, "pieces": 2}, references=["published-sample"])
    toy.run()
    assert json.loads((toy.run_folder / "run.json").read_text())["dataset"]["noise"] == {"velocity": 0.25}
    one, other = toy.notes("published-sample").notes.values()
    np.testing.assert_array_equal(one.pitch, other.pitch)
    # Where all pieces are held out in turn, the noise of the test pieces says nothing; the sample stays what it is.
    toy.write({}, protocol={"prompt": 10, "notes": 20, "pieces": 9, "folds": 2}, references=["published-sample"])
    toy.out = toy.folder / "folds"
    toy.run()
    assert json.loads((toy.run_folder / "run.json").read_text())["dataset"]["noise"] is None
    for notes in toy.notes("published-sample").notes.values():
        np.testing.assert_array_equal(notes.pitch, one.pitch)


def test_the_entropy_of_a_known_source_reaches_run_json_and_the_score(toy: Bench) -> None:
    toy.write({}, dataset={"name": "calibration", "options": {"pieces": 32, "notes": 40}}, references=["markov", "median"])
    result = toy.run()
    entropy = json.loads((toy.run_folder / "run.json").read_text())["dataset"]["entropy"]
    assert set(entropy) == {"pitch", "velocity", "time", "duration", "total"}
    markov, median = ({row["system"]: row for row in result.table}[name] for name in ("markov", "median"))
    assert markov["excess_bits"] == toy.outcome("markov")["likelihood"]["bits_per_note"] - entropy["total"]
    assert 1 < markov["excess_bits"] < 4, "first order, and from few notes"
    assert median["excess_bits"] is None


def test_targets_are_an_even_choice_of_the_pieces_that_are_long_enough(toy: Bench) -> None:
    toy.write({"steady": {}}, protocol={"prompt": 10, "notes": 20, "pieces": 2})
    toy.run()
    found = read_target_file(toy.run_folder / "targets.npz")
    # Test pieces 0, 2 and 4 have 60 notes, 1 and 3 have 15.
    assert [t.piece.id for t in found.targets] == ["test 0", "test 4"]
    assert (found.test_pieces, found.usable) == (5, 3)
    assert found.targets[0].piece.composer == "A <b>Toy</b>\ufffd"
    assert [(len(t.prompt), len(t.target)) for t in found.targets] == [(10, 20)] * 2
    midi = read_midi(toy.run_folder / "midi" / "target-000.mid")
    assert midi.pitch.tolist() == [*found.targets[0].prompt.pitch, *found.targets[0].target.pitch]


def test_samples_continue_their_prompts_and_are_written_as_midi(toy: Bench) -> None:
    toy.write({"steady": {}}, protocol={"prompt": 10, "notes": 20, "pieces": 9, "samples": 2})
    toy.run()
    targets = read_targets(toy.run_folder / "targets.npz")
    samples = read_samples(toy.trials()["steady", 0] / "samples.npz")
    assert sorted(samples.notes) == [(piece, sample) for piece in range(3) for sample in range(2)]
    assert samples.notes[0, 0] != samples.notes[0, 1]
    for (piece, _), notes in samples.notes.items():
        assert len(notes) == 20
        assert notes.onset[0] > targets[piece].prompt.onset[-1]
    assert samples.likelihood_sum is not None
    # Of all held-out pieces, those too short to be continued included.
    assert samples.likelihood_piece is not None
    assert samples.likelihood_piece.tolist() == [0, 1, 2, 3, 4]
    lengths = np.array([60, 15, 60, 15, 60])
    np.testing.assert_allclose(samples.likelihood_sum, np.outer(lengths, np.full(4, -math.log(128))))
    likelihood = toy.outcome("steady")["likelihood"]
    assert (likelihood["pieces"], likelihood["notes"]) == (5, 210)
    assert likelihood["bits_per_note"] == pytest.approx(28)
    midi = read_midi(toy.trials()["steady", 0] / "midi" / "piece-002.mid")
    assert midi.pitch.tolist() == [*targets[2].prompt.pitch, *samples.notes[2, 0].pitch]


def test_a_trial_stores_its_scores(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write({"steady": {}}, protocol={"prompt": 10, "notes": 20, "pieces": 9, "samples": 2}, references=["median"])
    toy.run(reports=False)
    with monkeypatch.context() as patched:
        patched.delattr(Comparison, "measure")
        stored = score_run(toy.run_folder)
    for folder in toy.trials().values():
        (folder / FILE).unlink()
    assert score_run(toy.run_folder) == stored


def test_scores_are_stored_before_the_outcome(toy: Bench) -> None:
    """A trial that was killed while it stored them isn't done, so that its temporary file is removed when it runs again."""
    toy.write({"steady": {}})
    toy.run(reports=False)
    folder = toy.trials()["steady", 0]
    assert (folder / FILE).stat().st_mtime_ns <= (folder / "outcome.json").stat().st_mtime_ns


def test_a_trial_whose_scores_can_not_be_stored_is_done(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run(reports=False)
    folder = toy.trials()["steady", 0]
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    (folder / "outcome.json").unlink()
    toy.run(reports=False)
    assert toy.outcome("steady")["status"] == "done"
    assert "IsADirectoryError" in (folder / "stderr.log").read_text()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(toy: Bench, tmp_path: Path) -> None:
    toy.write({"steady": {}}, seeds=[0, 1])
    toy.run()
    first = toy.samples()
    toy.out = tmp_path / "again"
    toy.run(jobs=2)
    assert toy.samples() == first
    assert first["steady", 0] != first["steady", 1]
    assert seed_for("generate", "steady", 0, 0) != seed_for("generate", "steady", 0, 1)


def test_a_done_run_starts_no_trial_and_parses_nothing(toy: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    toy.write({"steady": {}})
    toy.run()
    before = {p: p.stat().st_mtime_ns for p in toy.trials()["steady", 0].rglob("*")}
    targets = (toy.run_folder / "targets.npz").stat().st_mtime_ns
    toy.run()
    assert [e["event"] for e in toy.events if e["event"] in ("trial", "done", "failed")] == []
    assert next(e for e in toy.events if e["event"] == "plan")["done"] == 1
    assert {p: p.stat().st_mtime_ns for p in toy.trials()["steady", 0].rglob("*")} == before
    assert (toy.run_folder / "targets.npz").stat().st_mtime_ns == targets
    assert (tmp_path / "log").read_text() == "parsed\n"


def test_a_changed_spec_gets_a_folder_of_its_own_and_a_changed_budget_its_own_trial(toy: Bench) -> None:
    toy.write({"steady": {}})
    plain = toy.run()
    assert toy.run(seeds=[0]).folder == plain.folder  # says what the spec says
    other = toy.run(seeds=[3])
    assert other.folder.name.startswith("toy-cpu-")
    assert len(other.folder.name) == len("toy-cpu-") + 6
    key = toy.trials()["steady", 0].name
    toy.write({"steady": {}}, budget={"epochs": 4, "timeout": 50})
    toy.run()
    assert toy.trials()["steady", 0].name == key
    toy.write({"steady": {}}, budget={"epochs": 5})
    toy.run()
    assert toy.trials()["steady", 0].name != key


def test_a_run_where_nothing_ran_keeps_what_it_was_made_on(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write({"steady": {}})
    toy.run()
    file = toy.run_folder / "run.json"
    first = json.loads(file.read_text())
    monkeypatch.setattr("bench.system.provenance.git_commit", lambda: "another")
    monkeypatch.setattr("bench.storage.run_folder.timestamp", lambda: "2099-01-01T00:00:00Z")
    toy.run(jobs=2)
    again = json.loads(file.read_text())
    assert {k: again[k] for k in ("provenance", "started", "finished", "call")} == {
        k: first[k] for k in ("provenance", "started", "finished", "call")
    }
    (toy.trials()["steady", 0] / "outcome.json").unlink()
    toy.run()
    again = json.loads(file.read_text())
    assert (again["provenance"]["git"], again["started"]) == ("another", first["started"])
    assert (first["resumed"], again["resumed"]) == (None, "2099-01-01T00:00:00Z")
    assert again["finished"] == "2099-01-01T00:00:00Z"
    # The worker says on what it ran itself.
    assert {"git", "bench", "cpu", "device", "threads", "numpy"} <= toy.outcome("steady")["provenance"].keys()


def test_two_files_of_one_name_get_two_folders(tmp_path: Path) -> None:
    places = Places(out=tmp_path / "out", cache=tmp_path / "cache")
    files = [tmp_path / name / "mine.yaml" for name in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"extends: smoke\ntitle: {file.parent.name}\n")

    def name(file: Path) -> str:
        return resolve(file, "smoke", places, {})[1]

    folder = run_folder.RunFolder(places.out / "runs" / name(files[0]))
    assert folder.path.name == "mine-smoke"
    spec = resolve(files[0], "smoke", places, {})[0].model_dump(mode="json")
    folder.create(spec, {}, trials=[], scale="smoke", call={"file": str(files[0])}, dataset={"title": "", "license": ""})
    assert name(files[0]) == "mine-smoke"
    assert re.fullmatch(r"mine-smoke-[0-9a-f]{6}", name(files[1]))
    files[0].write_text("extends: smoke\ntitle: changed\n")
    assert name(files[0]) == "mine-smoke", "the same file goes on in its folder"
    files[1].write_text("extends: smoke\ntitle: a\n")
    assert name(files[1]) == "mine-smoke", "a file that says the same shares its results"


@pytest.mark.parametrize(("scales", "in_full"), [({}, True), ({"gpu": {"seeds": 2}}, True), ({"smoke": {"seeds": [1]}}, False)])
def test_a_spec_without_a_scale_smoke_is_said_to_run_in_full(toy: Bench, scales: dict[str, Any], in_full: bool) -> None:
    toy.write({}, references=["median"], scales=scales)
    result = toy.run(scale="smoke")
    said = [event["text"] for event in toy.events if event["event"] == "message"]
    assert (IN_FULL in said, run_folder.RunFolder(result.folder).read().why == IN_FULL) == (in_full, in_full)


def test_a_damaged_record_gives_no_other_spec_its_folder(toy: Bench, tmp_path: Path) -> None:
    toy.write({"steady": {}})
    toy.run()
    before = (toy.run_folder / "run.json").read_bytes()
    (toy.run_folder / "run.json").write_bytes(before.replace(b'"Toy"', b'"Tox"', 1))
    other = Bench(tmp_path / "other")
    other.folder.mkdir()
    other.out = toy.out
    other.write({"steady": {}}, title="Other")
    assert other.run().folder.name != "toy-cpu"
    assert toy.run().folder.name == "toy-cpu"
    assert json.loads((toy.run_folder / "run.json").read_bytes())["spec"]["title"] == "Toy"


def test_a_file_with_the_name_of_a_shipped_spec_does_not_take_its_folder(tmp_path: Path) -> None:
    places = Places(out=tmp_path / "out", cache=tmp_path / "cache")
    file = tmp_path / "smoke.yaml"
    file.write_text("extends: smoke\ntitle: Mine\n")
    assert resolve("smoke", "smoke", places, {})[1] == "smoke-smoke"
    assert re.fullmatch(r"smoke-smoke-[0-9a-f]{6}", resolve(file, "smoke", places, {})[1])


def test_a_folder_that_cannot_be_locked_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # nothing can be opened below it, not even by root
    with pytest.raises(UsageError, match="can't be written"), run_folder.RunFolder(tmp_path / "file" / "run").lock():
        pass


def test_a_cache_baked_into_an_image_is_read_where_nothing_else_can_be_written(
    toy: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    toy.write({"steady": {}})
    toy.run()
    (toy.out / ".cache").rename(tmp_path / "baked")
    for path in [tmp_path / "baked" / "corpora", tmp_path / "baked"]:
        path.chmod(0o555)
    monkeypatch.setenv("BENCH_CACHE_SEED", str(tmp_path / "baked"))
    # A file is no folder, so not even root can write below it.
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "blocked" / "cache"))
    toy.out = tmp_path / "again"
    assert toy.run().failed == 0
    assert (tmp_path / "log").read_text() == "parsed\n"
    run = json.loads((toy.run_folder / "run.json").read_text())
    assert run["dataset"]["corpus"].startswith(str(tmp_path / "baked"))
    monkeypatch.delenv("BENCH_CACHE_SEED")
    with pytest.raises(UsageError, match=r"can't be written to .*blocked"):
        toy.run()


def test_a_damaged_cache_is_parsed_again(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    (corpus,) = (toy.out / ".cache" / "corpora").glob("*.npy")
    good = corpus.read_bytes()
    corpus.write_bytes(good[: len(good) // 2])
    toy.run()
    assert any("parsed again" in e.get("text", "") for e in toy.events)
    assert read_target_file(toy.run_folder / "targets.npz").facts["pieces"]["train"] == 4


def test_a_parsed_dataset_under_the_name_of_another_is_parsed_again(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    (corpus,) = (toy.out / ".cache" / "corpora").glob("*.npy")
    good = corpus.read_bytes()
    save_corpus(corpus, Splits((), (), load_corpus(corpus).test), "of other options")
    toy.run()
    said = f"{corpus} holds other music than its name says. It is parsed again."
    assert said in [event.get("text") for event in toy.events]
    assert corpus.read_bytes() == good


def test_results_belong_to_the_music_as_it_was_read(toy: Bench) -> None:
    toy.write({"steady": {}})
    assert toy.run().failed == 0
    (first,) = toy.trials().values()
    (file,) = (toy.out / ".cache" / "corpora").glob("toy-*.npy")
    corpus = load_corpus(file)
    shorter = replace(corpus.train[0], notes=corpus.train[0].notes[:-1])
    save_corpus(file, Splits((shorter, *corpus.train[1:]), corpus.validation, corpus.test), corpus.fingerprint)
    assert toy.run().failed == 0
    (second,) = toy.trials().values()
    assert second.name != first.name, "it was read otherwise, from the same files: the earlier result is none of it"


def test_a_result_shows_itself_in_a_notebook(toy: Bench) -> None:
    toy.write({"steady": {}}, references=["median"])
    result = toy.run()
    assert result.verdict
    assert result.verdict in (toy.run_folder / "report.md").read_text().replace("\\", "")
    assert result.flags["repeats itself"].split(", ")[-1] == "median"
    shown = result._repr_html_()
    assert all(part in shown for part in ("<table>", "<td>steady", "<td style=", result.verdict, str(result.folder)))
    assert toy.run(reports=False)._repr_html_() == f"<p>{result.folder}</p>"


def test_trials_are_not_compared_with_pieces_that_a_stopped_command_chose(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    file = toy.run_folder / "targets.npz"
    before, table = file.read_bytes(), score_run(toy.run_folder).records()
    found = read_target_file(file)
    write_targets(file, replace(found, targets=found.targets[::-1]))  # as if it was killed before it wrote run.json
    with pytest.raises(DamagedError, match="holds other pieces than the trials"):
        score_run(toy.run_folder)
    (fault,) = [finding for finding in verify_run(toy.run_folder) if finding.fault]
    assert (fault.part, "other pieces" in fault.fault) == ("targets.npz", True)
    toy.run()
    assert file.read_bytes() == before
    assert score_run(toy.run_folder).records() == table


def test_the_samples_of_another_trial_are_not_scored(toy: Bench) -> None:
    toy.write({"steady": {}}, seeds=2)
    toy.run()
    one, other = (folder / "samples.npz" for folder in toy.trials().values())
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    trials = [trial for row in score_run(toy.run_folder).rows for trial in row.trials]
    assert [trial.status for trial in trials] == ["failed", "failed"]
    assert "is not what its trial wrote" in trials[0].error


def test_too_short_pieces_are_counted_in_the_error(toy: Bench) -> None:
    toy.write({"steady": {}}, protocol={"prompt": 50, "notes": 20})
    with pytest.raises(DataError, match=r"70 notes are needed \(50 given, 20 to generate\), and the 5 test pieces have 15 to 60"):
        toy.run()


def test_a_dataset_that_crashes_is_told_with_its_own_words(toy: Bench) -> None:
    toy.write({"steady": {}}, dataset={"name": "toy", "options": {"fault": "the zip is empty"}})
    with pytest.raises(PluginError, match="'toy' failed in 'prepare': ZeroDivisionError: the zip is empty") as caught:
        toy.run()
    assert "toy.py" in caught.value.hint


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "open /nonexistent/weights.csv",
            r"FileNotFoundError: .*: '/nonexistent/weights.csv'",
        ),
        ("connect", r"ConnectionRefusedError: \[Errno 111\] Connection refused"),
    ],
)
def test_a_call_that_a_dataset_makes_itself_is_told_as_its_own(toy: Bench, fault: str, said: str) -> None:
    toy.write({"steady": {}}, dataset={"name": "toy", "options": {"fault": fault}})
    with pytest.raises(PluginError, match=f"The dataset 'toy' failed in 'prepare': {said}") as caught:
        toy.run()
    assert "toy.py" in caught.value.hint


def test_too_many_files_are_not_the_interpreters_fault(toy: Bench) -> None:
    from bench.runner.processes import Child, Task

    task = Task({}, toy.folder / "job.json", toy.folder / "stderr.log", sys.executable, {})
    with few(3), pytest.raises(MachineError, match="Too many files are open"):
        Child.start(task)


def test_scale_follows_the_gpu_and_is_refused_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_scale(None, "smoke") == ("cpu", "CUDA_VISIBLE_DEVICES hides every GPU")
    assert choose_scale("smoke", "smoke") == ("smoke", "asked for")
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES hides every GPU"):
        choose_scale("gpu", "smoke")
    with pytest.raises(UsageError, match="'cpu'"):
        choose_scale("cpus", "smoke")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize(("gpus", "jobs", "joules"), [("GPU-second", 1, 700.0), ("GPU-second", 2, None), ("GPU-other", 1, None)])
def test_the_energy_of_a_gpu_is_measured_where_the_trial_has_it_alone(
    toy: Bench, gpus: str, jobs: int, joules: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against programs in the driver's place; the model needs no GPU."""
    nvml(tmp_path, 2)
    listed = "echo 'GPU 0: NVIDIA H100 (UUID: GPU-other)'; echo 'GPU 1: NVIDIA H100 (UUID: GPU-second)'"
    script(tmp_path / "nvidia-smi", f"case $1 in *name) echo 'NVIDIA H100 80GB HBM3';; -L) {listed};; esac")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    hardware._of_gpus.cache_clear()
    try:
        toy.write({"steady": {}}, seeds=[0, 1])
        toy.run(scale="gpu", jobs=jobs)
    finally:
        hardware._of_gpus.cache_clear()
    (run,) = toy.out.glob("runs/*")
    outcomes = [json.loads(path.read_text()) for path in run.glob("trials/*/outcome.json")]
    assert [outcome["training"]["joules"] for outcome in outcomes] == [joules] * 2


def test_trials_share_a_gpu_that_has_no_known_name(toy: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then none is told which to use: all use the first."""
    script(tmp_path / "nvidia-smi", "case $1 in *name) echo 'NVIDIA H100 80GB HBM3';; *) exit 1;; esac")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    hardware._of_gpus.cache_clear()
    try:
        toy.write({"steady": {}}, seeds=[0, 1])
        toy.run(scale="gpu", jobs=2)
    finally:
        hardware._of_gpus.cache_clear()
    outcomes = [json.loads(path.read_text()) for path in toy.out.glob("runs/*/trials/*/outcome.json")]
    assert [outcome["provenance"].get("shares_gpu") for outcome in outcomes] == [True] * 2


def test_a_wrong_interpreter_is_refused_before_anything_starts(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_PYTHON_PYTORCH", "/no/such/python")
    toy.write({"transformer": {}})
    with pytest.raises(UsageError, match=r"\$BENCH_PYTHON_PYTORCH is '/no/such/python'"):
        toy.run()
    assert not (toy.out / ".cache").exists()


def test_an_interpreter_that_cannot_be_started_is_said(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    python = toy.folder / "python"
    python.write_bytes(b"\x7fELF no program")
    python.chmod(0o755)
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(python))
    toy.write({"transformer": {}})
    with pytest.raises(UsageError, match="python can't be started: Exec format error"):
        toy.run()


def test_another_copy_of_the_suite_is_named_as_such(toy: Bench) -> None:
    from bench.runner.worker import Channel, TrialTask

    toy.write({"steady": {}})
    trial = unfold(load_spec(toy.spec, [PLUGINS], scale="cpu"))[0].model_dump(mode="json")
    job = {"key": "k", "folder": str(toy.folder), "trial": trial, "plugins": [str(PLUGINS)], "digest": "another"}
    theirs = "midibench 0.0.1 at /elsewhere/bench"
    with pytest.raises(PluginError, match=f"has midibench .* at .*, the runner {theirs}"):
        TrialTask({**job, "bench": theirs}, Channel(sys.stderr))._plugin()
    with pytest.raises(PluginError, match="was changed during the run"):
        TrialTask({**job, "bench": provenance.installation()}, Channel(sys.stderr))._plugin()


def test_missing_data_folder(toy: Bench) -> None:
    toy.write({"steady": {}})
    with pytest.raises(UsageError, match="There is no folder"):
        toy.run(data=[toy.folder / "nowhere"])


def test_a_spec_object_runs_as_its_name_does(toy: Bench) -> None:
    import bench

    spec = load_spec(toy.write({"steady": {}}), [PLUGINS], scale="cpu")
    result = bench.run(spec, scale="cpu", plugins=[PLUGINS], out=toy.out)
    assert result.failed == 0
    with pytest.raises(UsageError, match="A Spec was given and also seeds"):
        bench.run(spec, scale="cpu", plugins=[PLUGINS], out=toy.out, seeds=[1])


def test_a_run_of_a_newer_format_is_refused_in_words(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    with edited_json(toy.run_folder / "run.json") as run:
        run["format"] = 99
    with pytest.raises(DataError, match=f"format 99; this version of bench reads format {FORMAT}"):
        toy.run()


def test_a_worker_holds_its_trials_folder(toy: Bench) -> None:
    """A worker of a killed runner may still live when the next starts its trial again."""
    folder = toy.folder / "trial"
    with hold(folder / ".lock", folder):
        code = (
            "import sys, pathlib\n"
            "from bench.storage.files import BusyError, hold\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "try:\n    hold(folder / '.lock', folder, patience=0.3).__enter__()\n"
            "except BusyError as error:\n    print(error)"
        )
        message = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True).stdout
    assert f"Another bench (process {os.getpid()}, since " in message
    assert f"is working in {folder}" in message
    with hold(folder / ".lock", folder):
        pass


def test_importing_bench_is_light() -> None:
    code = "import bench, sys; print([m for m in ('numpy', 'h5py', 'pydantic', 'torch', 'tensorflow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    heavy = ("scipy.stats", "scipy.spatial", "torch", "tensorflow")
    code = f"import bench.runner.session, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_versions_of_what_a_model_requires_are_recorded_and_compared(toy: Bench) -> None:
    plugin = toy.folder / "counter.py"
    plugin.write_text((PLUGINS / "models" / "ready.py").read_text().replace("PRE", 'REQUIRES = ("psutil",)\nPRE', 1))
    toy.write({"counter": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    record = json.loads((toy.run_folder / "run.json").read_text())
    assert record["provenance"]["interpreters"]["psutil"]["packages"]["psutil"] == psutil.__version__
    assert toy.outcome("counter")["provenance"]["psutil"] == psutil.__version__
    assert f"psutil {psutil.__version__}" in (toy.run_folder / "report.md").read_text()
    shutil.copytree(toy.run_folder, toy.folder / "other")
    with edited_json(toy.folder / "other" / "run.json") as record:
        record["provenance"]["interpreters"]["psutil"]["packages"]["psutil"] = "0.1"
    found = {d.what: d.values for d in differences(read_runs([toy.run_folder, toy.folder / "other"]))}
    assert found == {"version: psutil": (psutil.__version__, "0.1")}


def test_a_run_of_its_own_name(toy: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write({"ready": {}})
    where = ["--plugins", str(PLUGINS), "--out", str(toy.out)]

    def run(name: str, *more: str, spec: Path = toy.spec, scale: str = "cpu") -> Any:
        words = ["run", str(spec), "--name", name, "--scale", scale, "--no-sound", "--quiet", *where, *more]
        return CliRunner().invoke(app, words)

    assert run("nightly").exit_code == 0
    assert (toy.out / "runs" / "nightly" / "report.html").is_file()
    assert run("nightly", "--seeds", "2").exit_code == 0, "the same spec with other options goes on there"
    toy.run(name="nightly", seeds=[0])
    (said,) = [event["text"] for event in toy.events if event["event"] == "message" and "No longer" in event["text"]]
    assert said == "No longer in this run, though done: ready, seed 1. Their results stay in trials/."
    assert [folder.name for folder in (toy.out / "runs").iterdir() if folder.is_dir()] == ["nightly"]
    assert find_run("latest", toy.out) == find_run("nightly", toy.out) == toy.out / "runs" / "nightly"
    assert "--name nightly" in (toy.out / "runs" / "nightly" / "report.md").read_text()
    for name in ("latest", "nightly"):
        shutil.copytree(toy.out / "runs" / "nightly", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for name in ("latest", "nightly"):
        with pytest.raises(UsageError, match=f"^'{name}' is the run .*nightly, and a folder here that holds a run") as two:
            find_run(name, toy.out)
        assert f"./{name}" in two.value.hint
        assert find_run(f"./{name}", toy.out) == Path(name)
    other = toy.folder / "other.yaml"
    other.write_text(toy.spec.read_text())
    for refused in (run("nightly", spec=other), run("nightly", scale="smoke")):
        assert isinstance(refused.exception, UsageError)
        assert "nightly is a run of" in str(refused.exception)
    for name in ("latest", "../up", "", "a b", "tune-x"):
        assert "can't name a run" in str(run(name).exception)
    for name, refused in (("nightly", "nightly is a run of"), ("latest", "can't name a run")):
        with pytest.raises(UsageError, match=refused):
            run_spec(other, name=name, scale="cpu", plugins=[PLUGINS], out=toy.out)
    for name in ("tune-rates", "tune"):  # its run would pass for a search, and never be the latest
        search = toy.folder / f"{name}.yaml"
        search.write_text(toy.spec.read_text())
        with pytest.raises(UsageError, match=f"'{name}' would be named tune-"):
            run_spec(search, scale="cpu", plugins=[PLUGINS], out=toy.out)


def test_a_named_run_is_resumed_after_its_spec_was_moved(toy: Bench) -> None:
    """As where a folder is mounted at another place in a container."""
    toy.write({}, references=["median"])
    assert toy.run(name="nightly").failed == 0
    (toy.folder / "there").mkdir()
    moved = toy.spec.rename(toy.folder / "there" / toy.spec.name)
    assert run_spec(moved, name="nightly", scale="cpu", plugins=[PLUGINS], out=toy.out, sound=False).failed == 0
    moved.write_text(moved.read_text().replace('"Toy"', '"Tox"'))
    with pytest.raises(UsageError, match="nightly is a run of"):
        run_spec(moved, name="nightly", scale="cpu", plugins=[PLUGINS], out=toy.out)


def test_a_named_run_of_another_spec_object_is_kept(toy: Bench) -> None:
    """Two of them have no file or name, and were taken for one: the first's rows were gone."""
    toy.write({}, references=["median"])
    spec = load_spec(str(toy.spec), (PLUGINS,), scale="cpu")

    def run(one: Any) -> Any:
        return run_spec(one, name="mine", scale="cpu", plugins=[PLUGINS], out=toy.out, sound=False)

    assert run(spec).failed == 0
    assert [row["system"] for row in run(spec.model_copy(update={"references": ("median", "uniform")})).table] == [
        "median",
        "uniform",
    ]
    other = spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"notes": 12})})
    with pytest.raises(UsageError, match=r"mine is a run of another spec at scale cpu"):
        run(other)


def test_a_relative_folder_of_music_in_a_spec_is_another_one_elsewhere(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write({}, references=["median"], dataset={"name": "folder", "options": {"path": "music"}})
    rng = np.random.default_rng(0)
    for place in ("here", "there"):
        (toy.folder / place / "music").mkdir(parents=True)
        for number in range(6):
            notes = Notes.from_columns(np.arange(60) / 4, np.full(60, 0.2), rng.integers(40, 90, 60), np.full(60, 64))
            (toy.folder / place / "music" / f"{number}.mid").write_bytes(midi_bytes(notes))
    monkeypatch.chdir(toy.folder / "here")
    assert toy.run().failed == 0
    before = toy.run_folder.joinpath("run.json").read_bytes()
    monkeypatch.chdir(toy.folder / "there")
    with pytest.raises(UsageError, match=r"holds results on the music of .*/here/music, not of .*/there/music"):
        toy.run()
    assert toy.run_folder.joinpath("run.json").read_bytes() == before


@pytest.mark.parametrize("folds", [None, 2])
def test_more_trials_than_a_run_may_have_cost_no_earlier_run(toy: Bench, folds: int | None) -> None:
    toy.write({}, references=["median"], protocol={**PROTOCOL, "folds": folds}, seeds=[0])
    assert toy.run().failed == 0
    before = [toy.run_folder.joinpath(name).read_bytes() for name in ("run.json", "targets.npz")]
    many = 9000
    rows = [f"steady-{i}" for i in range(MOST_TRIALS // many // (folds or 1))]
    toy.write(
        {row: {"plugin": "steady"} for row in rows}, references=["median"], protocol={**PROTOCOL, "folds": folds}, seeds=many
    )
    with pytest.raises(SpecError, match=r"The spec asks for [\d,]+ trials .*; a run has at most 65,536"):
        toy.run()
    assert [toy.run_folder.joinpath(name).read_bytes() for name in ("run.json", "targets.npz")] == before


def test_one_name_is_a_list_of_one(toy: Bench) -> None:
    """A text is a sequence of its letters."""
    toy.write({"steady": {}, "faulty": {}}, references=["median"])
    result = toy.run(models="steady", references="median", plugins=str(PLUGINS), reports=False)
    assert len(list((result.folder / "trials").iterdir())) == 2


@pytest.mark.parametrize(
    "given",
    [
        *({"models": 5}, {"models": {"lstm": 1}}, {"references": [1]}, {"data": 1}, {"plugins": [None]}),
        *({"jobs": "2"}, {"jobs": 1.5}, {"seeds": 2.0}, {"name": 5}, {"spec": None}, {"spec": b"smoke"}),
    ],
)
def test_arguments_of_wrong_types_are_refused_in_words(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BenchError) as raised:
        run_spec(**{"spec": "smoke", "out": tmp_path, **given})
    assert repr(next(iter(given.values()))) in raised.value.message
