"""`bench prompts`, `bench score`, `bench audit` as a user meets them, on toy music."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from symusic import ControlChange, Score

from bench.external import score
from bench.music.midi import midi_bytes, read_midi
from bench.music.notes import Notes
from bench.report.flags import PRETRAINED
from bench.storage.corpus import load_corpus, save_corpus
from bench.storage.run_folder import RunFolder
from bench.storage.samples import write_targets
from tests.cli import in_process
from tests.storage.sealed import edited_json

PLUGINS = Path(__file__).resolve().parents[1] / "runner" / "plugins"

#: Five of nine test pieces are long enough.
SPEC = """\
title: Toy
dataset: {name: toy, options: {test: 9}}
protocol: {prompt: 10, notes: 20, pieces: 5}
seeds: 1
references: [untrained]
"""

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return caller(tmp_path)


def caller(folder: Path) -> Call:
    """Call `bench` in `folder`, in this process."""
    (folder / "toy.yaml").write_text(SPEC)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return in_process.bench(folder, *arguments, *([] if "--run" in arguments else ["--plugins", PLUGINS, "--scale", "cpu"]))

    return run


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "my music").mkdir()
    done = caller(folder)("prompts", "toy.yaml", "--to", "prompts", "--targets", "--data", "my music")
    assert done.returncode == 0, done.stderr
    return folder / "prompts"


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "report.csv").open() as file:
        return {row["system"]: row for row in csv.DictReader(file)}


def continued(prompts: Path, to: Path, with_prompt: bool = True) -> None:
    """What a perfect system would send back: the prompt and what really follows."""
    to.mkdir()
    for path in sorted(prompts.glob("*.mid")):
        parts = [
            read_midi(p) for p in ((path, prompts / "targets" / path.name) if with_prompt else (prompts / "targets" / path.name,))
        ]
        (to / path.name).write_bytes(midi_bytes(Notes.concatenate(parts)))


def test_prompts_are_exported_with_an_index(prompts: Path) -> None:
    index = json.loads((prompts / "prompts.json").read_text())
    assert sorted(p.name for p in prompts.iterdir()) == [
        "README.txt",
        *(f"prompt-00{i}.mid" for i in range(5)),
        "prompts.json",
        "targets",
    ]
    assert [p["file"] for p in index["pieces"]] == [f"prompt-00{i}.mid" for i in range(5)]
    assert [p["id"] for p in index["pieces"]] == ["test 0", "test 2", "test 4", "test 6", "test 8"]
    assert (index["notes_to_write"], index["protocol"]["prompt"], index["dataset"]["name"]) == (20, 10, "toy")
    assert [len(read_midi(prompts / p["file"])) for p in index["pieces"]] == [10] * 5
    readme = (prompts / "README.txt").read_text()
    assert "at least 20 notes after the prompt" in readme
    assert index["dataset"]["fingerprint"] in readme
    command = next(line.removeprefix("Score: ") for line in readme.splitlines() if line.startswith("Score: "))
    assert shlex.split(command) == [
        *("bench", "score", "DIR", "--prompts", "prompts", "--spec", "toy.yaml", "--scale", "cpu"),
        *("--data", "my music", "--plugins", str(PLUGINS), "--name", "NAME"),
    ]


def test_answers_stay_out_unless_asked_for_and_exports_repeat(call: Call, tmp_path: Path, prompts: Path) -> None:
    call("prompts", "toy.yaml", "--to", "again")
    assert not (tmp_path / "again" / "targets").exists()
    for path in [*prompts.glob("*.mid"), prompts / "prompts.json"]:
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_place_that_cannot_be_written_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a letter")
    answer = call("prompts", "toy.yaml", "--to", "file/prompts")
    assert answer.returncode == 2
    assert answer.stderr == "error: file/prompts can't be written: Not a directory.\nGive another --to.\n"


def test_a_perfect_system_scores_zero_beside_the_references(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    done = call("score", "mine", "--spec", "toy.yaml", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 of 5 files begin with their prompt\nThe prompt was cut off in all of them" in done.stdout
    folder = tmp_path / "out" / "runs" / "toy-cpu-scored-mine"
    assert str(folder / "report.html") in done.stdout
    table = rows(folder)
    assert list(table) == ["mine", "real", "shuffle", "median"]
    mine = table["mine"]
    assert (mine["kind"], mine["model"], mine["status"], mine["seeds"], mine["pieces"]) == ("model", "external", "done", "1", "5")
    assert (mine["pitch_distance"], mine["velocity_distance"], mine["pitch_w1"]) == ("0", "0", "0")
    assert (mine["bits_per_note"], mine["training_seconds"], mine["epochs"], mine["peak_memory"]) == ("", "", "", "")
    assert float(table["real"]["pitch_distance"]) > 1
    assert "another system's MIDI files; all pieces" in (folder / "report.md").read_text()
    before = (folder / "report.csv").read_bytes()
    assert call("score", "mine", "--spec", "toy.yaml", "--out", "out").returncode == 0
    assert (folder / "report.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["tune-toy", "tune"])
def test_a_spec_whose_runs_would_pass_for_searches(call: Call, tmp_path: Path, prompts: Path, name: str) -> None:
    continued(prompts, tmp_path / "mine")
    (tmp_path / f"{name}.yaml").write_text(SPEC)
    done = call("score", "mine", "--spec", f"{name}.yaml", "--out", "out")
    assert (done.returncode, "would be named tune-" in done.stderr) == (2, True)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize("pedal", ["extend", "ignore"])
def test_a_sustain_pedal_counts_as_in_the_music(call: Call, tmp_path: Path, pedal: str) -> None:
    """Scored are the held-out files themselves, note for note and pedal for pedal."""
    (tmp_path / "music").mkdir()
    for at in range(24):
        notes = Notes.from_columns(np.arange(40) / 4, np.full(40, 0.1), 40 + np.arange(40) * (at + 3) % 37, np.full(40, 64))
        score = Score.from_midi(midi_bytes(notes))
        for beat in range(0, score.end(), 2 * score.ticks_per_quarter):
            score.tracks[0].controls.append(ControlChange(beat, 64, 127))
            score.tracks[0].controls.append(ControlChange(beat + score.ticks_per_quarter, 64, 0))
        score.dump_midi(tmp_path / "music" / f"{at:02}.mid")
    spec = {
        "title": "Pedal",
        "dataset": {"name": "folder", "options": {"pedal": pedal}},
        "protocol": {"prompt": 10, "notes": 20, "pieces": 3},
        "references": ["real", "codec"],
    }
    (tmp_path / "pedal.yaml").write_text(json.dumps(spec))
    assert call("prompts", "pedal.yaml", "--to", "given", "--data", "music").returncode == 0
    readme = (tmp_path / "given" / "README.txt").read_text()
    assert ("holds the notes, here as in the files that are scored." in readme) == (pedal == "extend")
    (tmp_path / "perfect").mkdir()
    for piece in json.loads((tmp_path / "given" / "prompts.json").read_text())["pieces"]:
        shutil.copy(tmp_path / "music" / f"{piece['id']}", tmp_path / "perfect" / piece["file"])
    for words in (("--spec", "pedal.yaml", "--data", "music"), ("--run", "pedal-cpu-scored-perfect", "--name", "again")):
        done = call("score", "perfect", *words, "--out", "out")
        assert (done.returncode, done.stderr) == (0, "")
    perfect = rows(tmp_path / "out" / "runs" / "pedal-cpu-scored-perfect-scored-again")
    for name in ("perfect", "again"):
        assert [float(perfect[name][f"{what}_w1"]) for what in ("pitch", "duration", "ioi")] == [0, 0, 0], name


@pytest.mark.parametrize("later", [-1.0, 60.0])
def test_what_is_heard_of_a_system_follows_the_prompt(call: Call, tmp_path: Path, prompts: Path, later: float) -> None:
    """Its files begin at another time than ours: its continuations are as far from our prompts as in its files."""
    continued(prompts, tmp_path / "mine")
    for path in (tmp_path / "mine").iterdir():
        notes = read_midi(path)
        path.write_bytes(midi_bytes(notes.shifted(max(later, -float(notes.onset[0])))))
    assert call("score", "mine", "--spec", "toy.yaml", "-q").returncode == 0
    run = RunFolder(tmp_path / "reports/runs/toy-cpu-scored-mine")
    (key,) = [planned.key for planned in run.read().trials if planned.trial["model"] == "external"]
    targets, samples = run.read_targets().targets, run.samples(key)
    for piece, target in enumerate(targets):
        assert samples.notes[piece, 0].onset == pytest.approx(target.target.onset, abs=2e-3)
    for piece in range(3):
        heard = read_midi(run.trial_dir(key) / "midi" / f"piece-00{piece}.mid")
        real = read_midi(run.path / "midi" / f"target-00{piece}.mid")
        assert heard.onset == pytest.approx(real.onset, abs=2e-3)


def test_a_system_without_velocity(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mute")
    done = call("score", "mute", "--spec", "toy.yaml", "--no-velocity")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "reports/runs/toy-cpu-scored-mute"
    row = rows(folder)["mute"]
    assert (row["pitch_distance"], row["velocity_distance"], row["velocity_w1"]) == ("0", "", "")
    assert "--no-velocity" in (folder / "report.md").read_text()


def test_a_system_that_may_have_seen_the_test_pieces(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "seen")
    done = call("score", "seen", "--spec", "toy.yaml", "--pretrained")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "reports/runs/toy-cpu-scored-seen"
    assert PRETRAINED in rows(folder)["seen"]["flags"]
    assert "--pretrained" in (folder / "report.md").read_text()
    beside = call("score", "seen", "--run", folder.name, "--name", "twice", "--pretrained")
    assert beside.returncode == 0, beside.stderr
    table = rows(tmp_path / "reports/runs/toy-cpu-scored-seen-scored-twice")
    assert [name for name, row in table.items() if PRETRAINED in row["flags"]] == ["seen", "twice"]
    unsaid = call("score", "seen", "--spec", "toy.yaml")
    assert unsaid.returncode == 0, unsaid.stderr
    assert PRETRAINED not in rows(folder)["seen"]["flags"], "the last command counts"


def test_files_without_the_prompt_and_without_numbers_are_matched_in_order(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine", with_prompt=False)
    for i, path in enumerate(sorted((tmp_path / "mine").iterdir())):
        path.rename(path.with_name(f"song {'abcde'[i]}.mid"))
    done = call("score", "mine", "--prompts", prompts, "--spec", "toy.yaml", "--out", "out", "--name", "my system")
    assert done.returncode == 0, done.stderr
    assert "each matched in sorted order: no file's name has a piece's number" in done.stdout
    assert "0 of 5 files begin with their prompt, 5 without it" in done.stdout
    assert "Nothing was cut off: all their notes count as continuation" in done.stdout
    assert rows(tmp_path / "out" / "runs" / "toy-cpu-scored-my~system")["my system"]["pitch_distance"] == "0"
    other = call("score", "mine", "--prompts", prompts, "--spec", "toy.yaml", "--out", "out", "--name", "my_system")
    assert other.returncode == 0, other.stderr
    assert sorted(p.name for p in (tmp_path / "out" / "runs").iterdir()) == [
        "toy-cpu-scored-my_system",
        "toy-cpu-scored-my~system",
    ]


@pytest.mark.parametrize("rule", ["auto", "included", "absent"])
def test_continuations_alone_need_the_prompts_that_they_continue(call: Call, tmp_path: Path, prompts: Path, rule: str) -> None:
    continued(prompts, tmp_path / "mine")
    for path in (tmp_path / "mine").iterdir():
        path.write_bytes(midi_bytes(read_midi(path)[10 if rule != "included" else 0 :]))
    if rule == "included":  # as many notes of another prompt
        for path in (tmp_path / "mine").iterdir():
            notes = read_midi(path)
            path.write_bytes(midi_bytes(Notes.from_columns(notes.onset, notes.duration, notes.pitch[::-1], notes.velocity)))
    score = ("score", "mine", "--spec", "toy.yaml", "--prompt", rule, "--out", "out", "-q")
    refused = call(*score)
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: 5 of 5 files don't begin with their prompts (prompt-000.mid): nothing says which prompts they continue.\n"
        "Name the folder that `bench prompts` wrote, which has their prompts.json: --prompts DIR.\n",
    )
    assert not (tmp_path / "out/runs").exists()
    assert call(*score, "--prompts", prompts).returncode == 0
    (run,) = (tmp_path / "out/runs").iterdir()
    assert f"--prompts {prompts}" in (run / "report.md").read_text()
    assert call("score", "mine", "--run", run.name, "--name", "b", "--prompt", rule, "--out", "out", "-q").returncode == 0
    shutil.copyfile(prompts / "prompts.json", tmp_path / "mine" / "prompts.json")
    assert call(*score).returncode == 0


def test_a_continuation_alone_among_others_needs_the_prompts_too(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    shutil.copyfile(prompts / "targets" / "prompt-003.mid", tmp_path / "mine" / "prompt-003.mid")
    done = call("score", "mine", "--spec", "toy.yaml", "-q")
    assert (done.returncode, "1 of 5 files don't begin with their prompts (prompt-003.mid)" in done.stderr) == (2, True)


def test_continuations_of_music_that_changed_since_are_refused(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine", with_prompt=False)
    spec = SPEC.replace("[untrained]", "[median]")
    (tmp_path / "toy.yaml").write_text(spec)
    assert call("run", "toy.yaml", "--out", "out", "-q").returncode == 0
    (tmp_path / "toy.yaml").write_text(spec.replace("test: 9", "test: 8"))
    runs = tmp_path / "out/runs"
    done = call("score", "mine", "--prompts", prompts, "--spec", "toy.yaml", "--out", "out", "-q")
    assert (done.returncode, done.stderr.splitlines()) == (
        3,
        [
            f"error: {prompts / 'prompts.json'} is of other prompts: the spec toy at scale cpu, dataset toy.",
            "Give the spec, scale and music that they were exported for, or the prompts that the files continue: --prompts DIR.",
        ],
    )
    assert [run.name for run in runs.iterdir()] == ["toy-cpu"]
    assert call("score", "mine", "--prompts", prompts, "--run", "toy-cpu", "--out", "out", "-q").returncode == 0
    shutil.copyfile(prompts / "prompts.json", tmp_path / "mine" / "prompts.json")
    with edited_json(tmp_path / "mine" / "prompts.json") as index:
        index["prompts"] = "of another spec"
    assert call("score", "mine", "--prompts", tmp_path / "mine", "--run", "toy-cpu", "--out", "out", "-q").returncode == 3
    assert call("score", "mine", "--prompts", prompts, "--run", "toy-cpu", "--out", "out", "-q").returncode == 0
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "gone"):
        done = call("score", "mine", "--prompts", folder, "--run", "toy-cpu", "--out", "out", "-q")
        assert (done.returncode, f"{folder} holds no prompts.json." in done.stderr) == (2, True)


def test_bad_files_are_named_and_missing_pieces_counted(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    (tmp_path / "mine" / "prompt-001.mid").write_text("no music")
    for name in ("prompt-003.mid", "9\nlooks fine.mid"):
        shutil.copyfile(prompts / "prompt-003.mid", tmp_path / "mine" / name)
    done = call("score", "mine", "--spec", "toy.yaml", "--out", "out", "-q")
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert lines[0] == "can't be used: 9 looks fine.mid: its name has no piece's number, such as prompt-003.mid"
    assert lines[1].startswith("can't be used: prompt-001.mid: not a MIDI file that can be parsed")
    assert lines[2:4] == [
        "can't be used: prompt-003.mid: it has 0 notes after the prompt; 20 are needed",
        "missing: 2 pieces: 001 and 003",
    ]
    folder = tmp_path / "out" / "runs" / "toy-cpu-scored-mine"
    mine = rows(folder)["mine"]
    assert (mine["pieces"], mine["pieces_planned"], mine["pitch_distance"]) == ("3", "5", "0")
    assert mine["flags"].startswith("3 of 5 pieces")
    assert (mine["rank_pitch_distance_first"], mine["rank_pitch_distance_last"]) == ("", "")
    report = (folder / "report.md").read_text()
    assert "The row mine lacks 2 of 5 pieces" in report
    assert "another system's MIDI files; 3 of 5 pieces" in report
    assert "| mine (3 of 5 pieces) |" in report
    assert "3 of 5 pieces (mine): The row's means are over the pieces it has, those of the other rows over all" in report
    shown = call("score", "mine", "--spec", "toy.yaml", "--out", "out").stdout
    assert re.search(r"^mine \(3 of 5 pieces\) +1 +0\.", shown, re.MULTILINE)
    assert re.search(r"^real +1 +\d", shown, re.MULTILINE)


def test_prompts_in_another_key_are_refused_or_said_to_who_is_quiet_and_in_the_report(
    call: Call, tmp_path: Path, prompts: Path
) -> None:
    continued(prompts, tmp_path / "mine")
    for i in (1, 2):
        path = tmp_path / "mine" / f"prompt-00{i}.mid"
        notes = read_midi(path)
        path.write_bytes(midi_bytes(Notes.from_columns(notes.onset, notes.duration, notes.pitch + 2, notes.velocity)))
    folder = tmp_path / "out" / "runs" / "toy-cpu-scored-mine"
    key = "its first 10 notes are the prompt's, 2 semitones up"
    refused = call("score", "mine", "--spec", "toy.yaml", "--out", "out", "-q")
    assert (refused.returncode, rows(folder)["mine"]["pieces"]) == (3, "3")
    assert refused.stderr.splitlines()[:2] == [
        f"can't be used: prompt-00{i}.mid: {key} (prompt-00{i}.mid): --prompt included cuts them off, --prompt absent counts them"
        for i in (1, 2)
    ]
    done = call("score", "mine", "--spec", "toy.yaml", "--out", "out", "-q", "--prompt", "included")
    assert (done.returncode, done.stdout) == (0, f"{folder / 'report.html'}\n")
    assert done.stderr.splitlines()[:2] == [f"looks odd: prompt-00{i}.mid: {key}: cut off" for i in (1, 2)]
    for file in ("report.md", "report.html"):
        text = (folder / file).read_text()
        assert "The row mine: 3 of 5 files begin with their prompt, 2 with it transposed." in text
        assert "prompt cut off in 5 of 5 files (2 in doubt)" in text
        assert "Prompt in doubt (mine): Some files of this system begin with nearly the prompt" in text
    assert rows(folder)["mine"]["flags"].endswith("prompt in doubt")


def test_continuations_that_restate_their_prompt_are_scored_whole(call: Call, tmp_path: Path, prompts: Path) -> None:
    """Their first 20 notes are the prompt and 10 of what follows: nothing of it may be cut."""
    continued(prompts, tmp_path / "mine")
    assert call("score", "mine", "--spec", "toy.yaml", "--out", "out", "-q").returncode == 0
    folder = tmp_path / "out" / "runs" / "toy-cpu-scored-mine"
    assert rows(folder)["mine"]["pitch_distance"] == "0"
    done = call("score", "mine", "--spec", "toy.yaml", "--out", "out", "--prompt", "absent")
    assert done.returncode == 0, done.stderr
    assert "5 of 5 files begin with their prompt\nAs asked (--prompt absent), nothing was cut off" in done.stdout
    assert float(rows(folder)["mine"]["pitch_distance"]) > 0
    record = json.loads((folder / "run.json").read_text())
    (trial,) = [t["trial"] for t in record["trials"] if t["trial"]["model"] == "external"]
    assert trial["params"] == {"prompt": "absent"}
    report = (folder / "report.md").read_text()
    assert "--prompt absent --scale cpu" in report
    assert rows(folder)["mine"]["flags"].endswith("prompt in doubt")
    assert "As asked (--prompt absent), nothing was cut off" in report


def test_another_folder_of_the_same_name_replaces_no_row(call: Call, tmp_path: Path, prompts: Path) -> None:
    """Every system may keep its files in a folder named midi: the report on the first was lost without a word."""
    for system in ("one", "two"):
        (tmp_path / system).mkdir()
        continued(prompts, tmp_path / system / "midi")
    first = ("score", "one/midi", "--spec", "toy.yaml", "--out", "out")
    assert call(*first).returncode == 0
    report = tmp_path / "out" / "runs" / "toy-cpu-scored-midi" / "report.md"
    before = report.read_bytes()
    second = ("score", "two/midi", *first[2:])
    refused = call(*second)
    assert (refused.returncode, f"holds the row of {tmp_path / 'one' / 'midi'}, not of two/midi" in refused.stderr) == (2, True)
    assert report.read_bytes() == before
    named = call(*second, "--name", "midi")  # as it may be asked for, such as for a gate
    assert (named.returncode, named.stderr) == (
        0,
        f"It replaces the row of {tmp_path / 'one' / 'midi'}, which had the same name.\n",
    )
    assert call(*first, "--name", "midi").returncode == 0
    (tmp_path / "one" / "midi" / "prompt-000.mid").unlink()
    assert call(*first).returncode == 3  # its own row is made again, without a piece
    assert report.read_bytes() != before


def test_a_row_beside_a_runs_own_leaves_the_run_alone(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    (tmp_path / "toy.yaml").write_text(SPEC.replace("[untrained]", "[median]"))
    assert call("run", "toy.yaml", "--out", "out", "-q").returncode == 0
    run = tmp_path / "out" / "runs" / "toy-cpu"
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    done = call("score", "mine", "--run", run.name, "--out", "out")
    assert done.returncode == 0, done.stderr
    scored = tmp_path / "out" / "runs" / f"{run.name}-scored-mine"
    assert list(rows(scored)) == ["mine", *rows(run)]
    for name in ("codec", "uniform"):
        taken = call("score", "mine", "--run", run.name, "--name", name, "--out", "out")
        assert (taken.returncode, f"'{name}' is the name of a reference row" in taken.stderr) == (2, True)
    verified = in_process.bench(tmp_path, "verify", scored.name, "--out", "out")
    assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
    assert [p.name for p in (scored / "midi").iterdir()] == [p.name for p in (run / "midi").iterdir()]
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before


def test_music_that_is_changed_while_it_is_scored_is_noticed(
    call: Call, tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files continued the music of before, the row was compared with that of after: 11.01 instead of 0, and exit code 0."""
    continued(prompts, tmp_path / "mine")
    references = score._run_references

    def changed(*arguments: Any, **options: Any) -> RunFolder:
        run = references(*arguments, **options)
        targets = run.read_targets()
        write_targets(run.targets, replace(targets, targets=targets.targets[::-1]))
        return run

    monkeypatch.setattr(score, "_run_references", changed)
    done = call("score", "mine", "--prompts", str(prompts), "--spec", "toy.yaml", "--out", "out")
    assert done.returncode == 3
    assert "The music was changed while the files were read.\nGive the same command again." in done.stderr
    run = RunFolder(tmp_path / "out" / "runs" / "toy-cpu-scored-mine")
    assert {planned.trial["system"] for planned in run.read().trials} == {"real", "shuffle", "median"}


def test_references_alone_leave_the_copy_of_a_run_with_models_alone(call: Call, tmp_path: Path, prompts: Path) -> None:
    """Both have one name by default: the second took the trained rows out of the record and the report."""
    continued(prompts, tmp_path / "mine")
    (tmp_path / "toy.yaml").write_text(f"{SPEC.replace('untrained', 'median')}models: {{event-counts: {{}}}}\n")
    assert call("run", "toy.yaml", "--out", "out", "-q", "--no-sound").returncode == 0
    scored = tmp_path / "out" / "runs" / "toy-cpu-scored-mine"
    for chosen in (("--run", "toy-cpu"), ("--spec", "toy.yaml"), ("--run", "toy-cpu"), ("--spec", "toy.yaml")):
        assert call("score", "mine", "--prompts", str(prompts), *chosen, "--out", "out").returncode == 0
        assert set(rows(scored)) == {"mine", "event-counts", "median"}
    (alone,) = (path for path in scored.parent.iterdir() if path.name.startswith(f"{scored.name}-"))
    assert "event-counts" not in rows(alone)


def test_two_runs_of_one_name_get_two_folders(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    for title in ("A", "B"):
        (tmp_path / title).mkdir()
        (tmp_path / title / "toy.yaml").write_text(SPEC.replace("[untrained]", "[median]").replace("title: ", f"title: {title}"))
        assert call("score", "mine", "--spec", f"{title}/toy.yaml", "--out", "out").returncode == 0
    names = {title_of(path): path.name for path in (tmp_path / "out" / "runs").iterdir()}
    assert names["AToy"] == "toy-cpu-scored-mine"
    assert names["BToy"].startswith("toy-cpu-scored-mine-")
    for title in ("A", "B"):
        assert call("run", f"{title}/toy.yaml", "--out", "out", "-q").returncode == 0
        (tmp_path / "out" / "runs" / "toy-cpu").rename(tmp_path / title / "toy-cpu")
        assert call("score", "mine", "--name", "his", "--run", f"{title}/toy-cpu", "--out", "out").returncode == 0
    names = {title_of(path): path.name for path in (tmp_path / "out" / "runs").glob("*his*")}
    assert names["AToy"] == "toy-cpu-scored-his"
    assert names["BToy"].startswith("toy-cpu-scored-his-")


def title_of(run: Path) -> str:
    return str(json.loads((run / "run.json").read_bytes())["spec"]["title"])


@pytest.mark.parametrize("odd", ["link", "pipe", "folder"])
def test_a_strange_trial_of_a_run_costs_its_row(call: Call, tmp_path: Path, prompts: Path, odd: str) -> None:
    continued(prompts, tmp_path / "mine")
    (tmp_path / "toy.yaml").write_text(SPEC.replace("[untrained]", "[median]"))
    assert call("run", "toy.yaml", "--out", "out", "-q").returncode == 0
    (trial, *_) = sorted((tmp_path / "out" / "runs" / "toy-cpu" / "trials").iterdir())
    elsewhere = tmp_path / "elsewhere"
    if odd == "folder":
        trial.rename(elsewhere)
        trial.symlink_to(elsewhere)
    else:
        (trial / "stderr.log").unlink(missing_ok=True)
        elsewhere.write_text("of the user")
        (trial / "stderr.log").symlink_to(elsewhere) if odd == "link" else os.mkfifo(trial / "stderr.log")
    done = call("score", "mine", "--run", "toy-cpu", "--out", "out")
    assert (done.returncode, done.stderr) == (3, "1 trial of other rows failed\n")
    scored = tmp_path / "out" / "runs" / "toy-cpu-scored-mine"
    assert sorted(row["status"] for row in rows(scored).values()).count("failed") == 1
    assert rows(scored)["mine"]["status"] == "done"
    assert not (scored / "trials" / trial.name / "stderr.log").exists()


def test_a_received_run_is_refused_before_a_folder_is_made(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    (tmp_path / "toy.yaml").write_text(SPEC.replace("[untrained]", "[median]"))
    assert call("run", "toy.yaml", "--out", "out", "-q").returncode == 0
    runs = tmp_path / "out" / "runs"
    whole = (runs / "toy-cpu" / "run.json").read_bytes()
    spec: dict[str, Any] = json.loads(whole)["spec"]
    changes: list[dict[str, Any]] = [
        *({"seeds": seeds} for seeds in ([], [-1])),
        *({"protocol": spec["protocol"] | odd} for odd in ({"more": 1}, {"notes": 0}, {"pieces": "x"})),
        *({"dataset": spec["dataset"] | odd} for odd in ({"more": 1}, {"options": [1]})),
    ]
    for change in changes:
        (runs / "toy-cpu" / "run.json").write_bytes(whole)
        with edited_json(runs / "toy-cpu" / "run.json") as record:
            record["spec"].update(change)
        done = call("score", "mine", "--run", "toy-cpu", "--out", "out")
        assert done.returncode == 3, done.stderr
        assert re.search(rf"run\.json is damaged: spec(\.|: value error, ){next(iter(change))}", done.stderr), done.stderr
        assert [path.name for path in runs.iterdir()] == ["toy-cpu"]


def test_the_music_of_a_received_run_is_looked_for_in_the_cache_alone(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    (tmp_path / "toy.yaml").write_text(SPEC.replace("[untrained]", "[median]"))
    assert call("run", "toy.yaml", "--out", "out", "-q").returncode == 0
    record_file = tmp_path / "out" / "runs" / "toy-cpu" / "run.json"
    corpus = Path(json.loads(record_file.read_bytes())["dataset"]["corpus"])
    with edited_json(record_file) as record:
        record["dataset"]["corpus"] = str(tmp_path / "elsewhere" / corpus.name)
    assert call("score", "mine", "--run", "toy-cpu", "--out", "out").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    original = shutil.copyfile(corpus, tmp_path / "elsewhere" / corpus.name)
    save_corpus(corpus, load_corpus(original), "0" * 16)
    done = call("score", "mine", "--run", "toy-cpu", "--out", "out")
    assert (done.returncode, "The parsed dataset of the run is not in" in done.stderr) == (3, True), "it has another key"
    corpus.unlink()
    done = call("score", "mine", "--run", "toy-cpu", "--out", "out")
    assert (done.returncode, "The parsed dataset of the run is not in" in done.stderr) == (3, True), done.stderr


def test_a_refused_folder_leaves_the_latest_run_the_latest(call: Call, tmp_path: Path, prompts: Path) -> None:
    continued(prompts, tmp_path / "mine")
    assert call("score", "mine", "--spec", "toy.yaml", "--out", "out", "-q").returncode == 0
    runs = tmp_path / "out" / "runs"
    (kept,) = runs.iterdir()
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in kept.rglob("*") if p.is_file()}
    for path in (tmp_path / "mine").iterdir():
        path.write_bytes(b"no music")
    shutil.copytree(prompts, tmp_path / "others")
    with edited_json(tmp_path / "others" / "prompts.json") as index:
        index["prompts"] = "of another spec"
    assert call("score", "mine", "--spec", "toy.yaml", "--out", "fresh").returncode == 3
    assert not (tmp_path / "fresh" / "runs").exists()
    for folder in ("mine", "others"):
        for where in (("--spec", "toy.yaml"), ("--run", kept.name, "--name", "other")):
            done = call("score", folder, *where, "--out", "out")
            assert (done.returncode, list(runs.iterdir())) == (3, [kept]), done.stderr
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in kept.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["score", "mine"], 2, "Give either --spec SPEC or --run RUN."),
        (["score", "gone", "--spec", "toy.yaml"], 2, "There is no folder gone."),
        (["score", "music", "--spec", "toy.yaml", "--name", "median"], 2, "There is already a row named 'median'."),
        (["score", "music", "--spec", "toy.yaml", "--name", "codec"], 2, "'codec' is the name of a reference row."),
        (["score", "music", "--spec", "toy.yaml", "--name", "untrained"], 2, "'untrained' is the name of a reference row."),
        (["score", "music", "--spec", "toy.yaml", "--name", "untrained x"], 2, "'untrained x' is the name of a reference row."),
        (["score", "music", "--spec", "toy.yaml", "--name", "real "], 2, "'real ' can't name a row and a folder"),
        (["score", "music", "--spec", "toy.yaml", "--name", "../up"], 2, "can't name a row and a folder: at most 60 letters a-z"),
    ],
)
def test_mistakes_are_said_before_anything_runs(call: Call, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "prompt-000.mid").write_bytes(b"")
    done = call(*arguments, "--out", "out")
    assert done.returncode == code
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_audit_repeats_to_the_byte(call: Call, tmp_path: Path) -> None:
    first = call("audit", "--spec", "toy.yaml", "--out", "one")
    assert (first.returncode, first.stderr) == (0, "")
    assert "a constant median beats real music" in first.stdout
    assert call("audit", "--spec", "toy.yaml", "--out", "two").returncode == 0
    (one,), (two,) = (list((tmp_path / out / "audit").iterdir()) for out in ("one", "two"))
    assert one.name == two.name
    assert sorted(p.name for p in one.iterdir()) == ["audit.csv", "audit.md", "audit.svg"]
    assert all(path.read_bytes() == (two / path.name).read_bytes() for path in one.iterdir())


def test_an_audit_of_other_pieces_leaves_the_first_one(call: Call, tmp_path: Path) -> None:
    spec = (tmp_path / "toy.yaml").read_text()
    assert call("audit", "--spec", "toy.yaml", "--out", "out", "--quiet").returncode == 0
    (tmp_path / "toy.yaml").write_text(spec.replace("pieces: 5", "pieces: 2"))
    assert call("audit", "--spec", "toy.yaml", "--out", "out", "--quiet").returncode == 0
    assert len(list((tmp_path / "out" / "audit").iterdir())) == 2


def test_a_continuation_with_its_prompts_name_is_not_replaced(call: Call, tmp_path: Path) -> None:
    export = ("prompts", "toy.yaml", "--to", "given", "--out", "out")
    assert call(*export).returncode == 0
    assert call(*export).returncode == 0, "the same again"
    (tmp_path / "given" / "prompt-001.mid").write_bytes(midi_bytes(Notes.from_columns([0.0], [1.0], [60], [80])))
    done = call(*export)
    assert (done.returncode, "prompt-001.mid is no longer the prompt" in done.stderr) == (2, True), done.stderr
