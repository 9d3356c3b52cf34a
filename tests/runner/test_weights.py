"""Weights that a model comes with: fetched from a real server, verified, identified, and never downloaded by a run."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.api import Model, compared, content_digest, download
from bench.api.weights import MOST
from bench.cli.app import app
from bench.cli.listing import lacking_weights
from bench.comparison.differences import differences
from bench.comparison.runs import read_runs
from bench.errors import DataError, PluginError, UsageError
from bench.merging import merge_runs
from bench.plugins.header import read_plugin
from bench.runner.models import fetch_weights, verify_weights
from bench.runner.weights import make_model
from bench.system.paths import Places
from tests.data.servers import Answer, Server, serving

from .conftest import PLUGINS, Bench

PITCH = b"67"
SUM = hashlib.sha256(PITCH).hexdigest()

MODEL = '''\
"""Plays the pitch that its weights say."""
import numpy as np
import bench.api
from bench.api import Notes, compared, download
FEATURES = "one pitch"
PRETRAINED = True
NEEDS = "download"
SUMS = {"pitch.txt": "SUM"}
class Model(bench.api.Model):
    def __init__(self, url: str = "URL"): self.url = url
    def find(self, roots):
        return next((root for root in roots if (root / "pitch.txt").is_file()), None)
    def fetch(self, folder, progress):
        download(self.url, SUMS["pitch.txt"], folder / "pitch.txt", progress)
    def verify(self, source, progress):
        return compared(source, SUMS, progress)
    def generate(self, prompts, n_notes, seed, constraint=None):
        pitch = int((self.weights / "pitch.txt").read_text())
        start = [p.onset[-1] if len(p) else 0.0 for p in prompts]
        step = np.arange(n_notes) * 0.1
        return [Notes.from_columns(s + step, np.full(n_notes, 0.1), np.full(n_notes, pitch), np.full(n_notes, 64)) for s in start]
'''


def quiet(done: int, total: int, what: str) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def server() -> Any:
    with serving() as server:
        server.put("pitch.txt", PITCH)
        yield server


@pytest.fixture
def played(toy: Bench, server: Server) -> Path:
    """The plug-in's file."""
    path = toy.folder / "played.py"
    path.write_text(MODEL.replace('SUM"', f'{SUM}"').replace("URL", f"{server.url}pitch.txt"))
    return path


def test_a_run_names_the_command_and_downloads_nothing(toy: Bench, played: Path, server: Server) -> None:
    toy.write({"played": {}})
    with pytest.raises(DataError, match="The weights of the model 'played' were not found in") as caught:
        toy.run(plugins=[PLUGINS, played])
    assert caught.value.hint == "Run `bench model fetch played` first, or name the folder that holds them: $BENCH_WEIGHTS."
    assert server.asked == []
    played.write_text(played.read_text().replace("NEEDS", 'WEIGHTS = ("url",)\nNEEDS', 1))
    with pytest.raises(DataError) as caught:
        toy.run(plugins=[PLUGINS, played])
    assert caught.value.hint.startswith("Run `bench model fetch played --option url=URL` first")


def test_fetched_weights_are_used_and_are_part_of_the_key(toy: Bench, played: Path, server: Server) -> None:
    toy.write({"played": {}})
    where: dict[str, Any] = {"plugins": [PLUGINS, played], "out": toy.out}
    folder = fetch_weights("played", **where)
    assert (folder / "pitch.txt").read_bytes() == PITCH
    assert verify_weights("played", **where).differences == ()
    fetch_weights("played", **where)
    assert len(server.asked) == 1, "what is there already is not fetched again"
    assert toy.run(plugins=[PLUGINS, played]).failed == 0
    (first,) = toy.trials().values()
    assert set(toy.notes("played").notes[0, 0].pitch) == {67}
    assert toy.outcome("played")["trial"]["weights"] == (before := content_digest(folder))
    shutil.copytree(toy.run_folder, toy.folder / "elsewhere")
    merged = merge_runs([toy.run_folder, toy.folder / "elsewhere"], toy.out / "runs" / "merged")
    assert merged.missing == (), "a merge knows the key"

    (folder / "pitch.txt").write_text("60")
    assert verify_weights("played", **where).differences == (
        f"pitch.txt has sha256 {hashlib.sha256(b'60').hexdigest()}, expected {SUM}",
    )
    assert toy.run(plugins=[PLUGINS, played]).failed == 0
    (second,) = toy.trials().values()
    assert first != second, "other weights are another trial"
    assert set(toy.notes("played").notes[0, 0].pitch) == {60}
    runs = [toy.folder / "elsewhere", toy.run_folder]
    named = {difference.what: difference.values for difference in differences(read_runs(runs))}
    assert named["weights: played"] == (before, content_digest(folder))
    with pytest.raises(UsageError, match="the row played has other weights in"):
        merge_runs(runs, toy.out / "runs" / "both")


def test_folders_of_ones_own_come_first(toy: Bench, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pitch.txt").write_text("50")
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "own"))
    toy.write({"played": {}})
    assert toy.run(plugins=[PLUGINS, played]).failed == 0
    assert set(toy.notes("played").notes[0, 0].pitch) == {50}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(b"68"), "is not the expected file, so it was not kept"),
        (Answer(b"", 404), "could not be downloaded"),
        (Answer(PITCH * 100, cut=50), "could not be downloaded|ended after"),
    ],
)
def test_a_bad_download_leaves_nothing(server: Server, tmp_path: Path, answer: Answer, said: str) -> None:
    server.put("pitch.txt", answer)
    with pytest.raises(DataError, match=said):
        download(f"{server.url}pitch.txt", SUM, tmp_path / "deep" / "pitch.txt", quiet)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_without_end_is_given_up(server: Server, tmp_path: Path) -> None:
    server.put("pitch.txt", Answer(PITCH * 5_000_000))
    with pytest.raises(DataError, match="has more than 1,000 bytes"):
        download(f"{server.url}pitch.txt", SUM, tmp_path / "pitch.txt", quiet, most=1_000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(PITCH * 1000, slow=0.05, piece=1), r"sent no 65,536 bytes in 0 s"),
        (Answer(endless_headers=0.05), r"sent no 65,536 bytes in 0 s"),
        (Answer(gzip.compress(bytes(64 << 20)), 302, {"Location": "/pitch.txt"}), "redirects more than 5 times"),
        (Answer(b"", 302, {"Location": "file:///etc/passwd"}), "it redirects to file:///etc/passwd"),
    ],
)
def test_a_server_that_drips_or_redirects_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, said: str
) -> None:
    """It held a download for ever, or took all memory by the body of a redirect."""
    monkeypatch.setattr("bench.api.weights.PATIENCE", 0.4)
    if answer.status == 302:
        answer = replace(answer, headers={**answer.headers, "Content-Encoding": "gzip"})
    server.put("pitch.txt", answer)
    began = time.monotonic()
    tracemalloc.start()
    with pytest.raises(DataError, match=said):
        download(f"{server.url}pitch.txt", SUM, tmp_path / "pitch.txt", quiet)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    assert time.monotonic() - began < 30, "dripping all of it takes 100 s"
    assert not list(tmp_path.iterdir())


def test_a_redirect_to_another_server_is_followed(server: Server, tmp_path: Path) -> None:
    """As that of a hub to where its files are."""
    with serving("127.0.0.2") as other:
        other.put("pitch.txt", PITCH)
        server.put("pitch.txt", Answer(b"", 302, {"Location": f"{other.url}pitch.txt"}))
        download(f"{server.url}pitch.txt", SUM, tmp_path / "pitch.txt", quiet)
    assert (tmp_path / "pitch.txt").read_bytes() == PITCH


def test_weights_that_change_during_a_run_are_not_used(toy: Bench, played: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    weights = tmp_path / "own" / "pitch.txt"
    weights.write_text("50")
    changing = played.read_text().replace(
        "        start =", '        (self.weights / "pitch.txt").write_text("60")\n        start ='
    )
    played.write_text(changing)
    toy.write({"played": {}}, seeds=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BENCH_WEIGHTS", str(tmp_path / "own"))
        assert toy.run(plugins=[PLUGINS, played], jobs=1).failed == 2, "nobody knows when the first read them"
    for seed in (0, 1):
        assert (
            f"The weights in {tmp_path / 'own'} were changed during the run." in toy.outcome("played", seed)["error"]["message"]
        )


def test_weights_need_an_identity(toy: Bench, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pitch.txt").write_text("50")
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "own"))
    played.write_text(f"{played.read_text()}    def fingerprint(self, source): str(source)\n")
    toy.write({"played": {}})
    with pytest.raises(PluginError, match=r"played\.py: fingerprint\(\) returned a NoneType"):
        toy.run(plugins=[PLUGINS, played])


def test_no_server_and_no_address(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9/x", "nonsense"):
        with pytest.raises(DataError, match="could not be downloaded"):
            download(url, SUM, tmp_path / "x", quiet)


def test_a_sparse_file_among_weights_is_refused(tmp_path: Path) -> None:
    """It took hours, without a word."""
    (tmp_path / "w.bin").write_bytes(PITCH)
    with (tmp_path / "strange.bin").open("wb") as file:
        file.truncate(MOST + 1)
    with pytest.raises(DataError, match=r"strange\.bin has 68,719,476,737 bytes"):
        content_digest(tmp_path)
    os.truncate(tmp_path / "strange.bin", 20 << 30)
    with pytest.raises(DataError, match=r"strange\.bin has 21,474,836,480 bytes, nearly all of them holes"):
        content_digest(tmp_path)


def test_what_is_compared(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PITCH)
    verified = compared(tmp_path, {"a": SUM, "b": SUM}, quiet)
    assert (verified.differences, verified.compared) == (("b is missing",), 2)


def test_the_identity_is_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PITCH)
    one = content_digest(tmp_path)
    (tmp_path / ".lock").touch()
    assert content_digest(tmp_path) == one, "hidden files are none of the weights"
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_digest(tmp_path) != one


def test_linked_folders_are_part_of_the_identity(tmp_path: Path) -> None:
    for step in ("1", "2"):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / "weights").write_text(step)
    (top := tmp_path / "top").mkdir()
    digests = []
    for step in ("1", "2"):
        (top / "latest").unlink(missing_ok=True)
        (top / "latest").symlink_to(tmp_path / f"step-{step}")
        digests.append(content_digest(top))
    assert digests[0] != digests[1]
    (top / "again").symlink_to(top)
    with pytest.raises(DataError, match="leads back to a folder above it"):
        content_digest(top)


def test_links_to_any_number_of_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty folders with two links each to the next, a kilobyte packed, are 2^40 files: a run never began."""
    for number in range(40):
        (folder := tmp_path / str(number)).mkdir()
        for name in ("a", "b"):
            (folder / name).symlink_to(tmp_path / str(number + 1))
    monkeypatch.setattr("bench.api.weights.MOST_FILES", 1000)
    with pytest.raises(DataError, match="holds more than 1,000 files and folders"):
        content_digest(tmp_path / "0")


def test_the_commands(toy: Bench, played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    options = ["--plugins", str(played), "--out", str(toy.out)]
    listed = CliRunner().invoke(app, ["list", "models", "--plugins", str(played)], env={"BENCH_REPORTS": str(toy.out)}).stdout
    assert any(line.startswith("played") and line.rstrip().endswith("bench model fetch played") for line in listed.splitlines())
    fetched = CliRunner().invoke(app, ["model", "fetch", "played", "--quiet", *options])
    assert (fetched.exit_code, fetched.stdout) == (0, f"played is in {toy.out}/.cache/weights/played\n")
    verified = CliRunner().invoke(app, ["model", "verify", "played", *options])
    assert (verified.exit_code, verified.stdout.splitlines()[-1]) == (0, "played: 1 files compared, nothing differs")
    known = played.read_text()
    played.write_text(known.replace("return compared(source, SUMS, progress)", "return super().verify(source, progress)"))
    unknown = CliRunner().invoke(app, ["model", "verify", "played", *options])
    assert (unknown.exit_code, unknown.stdout) == (4, "played: there are no checksums to compare\n")
    played.write_text(known)
    (toy.out / ".cache/weights/played/pitch.txt").write_text("1")
    assert CliRunner().invoke(app, ["model", "verify", "played", *options]).exit_code == 3


def test_what_the_list_says_of_weights(toy: Bench, played: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    here = Places(toy.out, cache)
    plugin = read_plugin(played)
    assert plugin is not None
    assert lacking_weights(plugin, here) == "bench model fetch played"
    (cache / "weights" / "played").mkdir(parents=True)
    (cache / "weights" / "played" / ".lock").touch()
    assert lacking_weights(plugin, here) == "bench model fetch played", "of a fetch that failed"
    (cache / "weights" / "played" / "pitch.txt").touch()
    assert lacking_weights(plugin, here) == ""
    chosen = replace(plugin, name="other", header={**plugin.header, "WEIGHTS": ("url",)})
    assert lacking_weights(chosen, here) == "bench model fetch other --option url=URL"
    kept = replace(plugin, header={**plugin.header, "NEEDS": "folder"})
    assert lacking_weights(kept, here) == "needs $BENCH_WEIGHTS", "whatever is in the cache"
    assert lacking_weights(kept, Places(toy.out, cache, weights=(tmp_path,))) == ""


def test_models_without_weights(toy: Bench) -> None:
    where: dict[str, Any] = {"plugins": [PLUGINS], "out": toy.out}
    with pytest.raises(UsageError, match="The model 'steady' has no weights to fetch"):
        fetch_weights("steady", **where)
    with pytest.raises(UsageError, match="The model 'steady' has no weights to verify"):
        verify_weights("steady", **where)
    with pytest.raises(PluginError, match="no model plug-in named 'steadi'"):
        fetch_weights("steadi", **where)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("generate(self, prompts, seed, n_notes, constraint=None)", "generate(prompts, seed, n_notes, constraint)"),
        ("generate(self, prompts, temperature, n_notes=8, seed=0)", "generate(prompts, temperature, n_notes, seed)"),
        ("fit(self, valid, train, run)", "fit(valid, train, run)"),
    ],
)
def test_arguments_in_another_order_are_refused_before_they_are_mixed_up(tmp_path: Path, body: str, said: str) -> None:
    generate = "" if body.startswith("generate") else "    def generate(self, prompts, n_notes, seed): ...\n"
    with pytest.raises(PluginError, match=r"in the order of bench\.api") as caught:
        make(tmp_path, f"{generate}    def {body}: ...\n")
    expected = {"generate": "generate(prompts, n_notes, seed, constraint)", "fit": "fit(train, valid, run)"}
    assert caught.value.message.startswith(f"{tmp_path / 'mine.py'}: {said} ")
    assert caught.value.hint == f"They are given by position: {expected[body.partition('(')[0]]}."


@pytest.mark.parametrize(
    "arguments",
    [
        "prompts, n_notes, seed",
        "prompts, n, _seed, constraint=None",
        "given, n, seed, *, constraint=None",
        "*arguments",
        "prompts, *more",
        "prompts, n_notes, seed, temperature=1.0, constraint=None",  # its header says that it gets no constraint
    ],
)
def test_names_of_ones_own_for_arguments_are_allowed(tmp_path: Path, arguments: str) -> None:
    assert make(tmp_path, f"    def generate(self, {arguments}): ...\n")


def make(folder: Path, body: str) -> Model:
    """Make the model of a plug-in whose class has this body."""
    path = folder / "mine.py"
    path.write_text(f'"""A model."""\nimport bench.api\nFEATURES = "few"\nclass Model(bench.api.Model):\n{body}')
    plugin = read_plugin(path)
    assert plugin is not None
    return make_model(plugin, {})
