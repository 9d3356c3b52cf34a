"""The command line as a user meets it: its words and exit codes; real processes where signals, pipes or terminals matter."""

import contextlib
import functools
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.plugins.discovery import find_plugins
from bench.specs.load import shipped_specs
from bench.storage.files import write_json
from tests.cli import in_process

MODELS = [name for name, plugin in find_plugins("model").items() if plugin.header["ROLE"] == "model"]
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugins"

#: The references on chorales, small: every part of a run but a network.
TINY = """\
title: "Tiny [bold]run[/bold]"
dataset: {name: chorales, options: {limit: 24}}
protocol: {prompt: 16, notes: 32, pieces: 2}
seeds: 1
references: [median, uniform]
"""

BROKEN = '''\
"""Fails as it learns."""
import bench.api
FEATURES = "none"
class Model(bench.api.Model):
    def fit(self, train, valid, run):
        raise ValueError("no luck [red]today[/red]")
    def generate(self, prompts, n_notes, seed, constraint=None):
        raise NotImplementedError
'''

SLOW = '''\
"""Takes its time."""
import time
import bench.api
FEATURES = "none"
class Model(bench.api.Model):
    def fit(self, train, valid, run):
        run.begin()
        for epoch in range(1, 100):
            time.sleep(0.2)
            run.log(epoch, loss=1.0, notes=1000)
    def generate(self, prompts, n_notes, seed, constraint=None):
        raise NotImplementedError
'''


def bench(*arguments, **options):
    """Start `bench` in a process of its own."""
    options = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-m", "bench", *map(str, arguments)], **options)


def caller(folder):
    """Call `bench` in `folder`, in this process."""
    return functools.partial(in_process.bench, folder)


@pytest.fixture
def call(tmp_path):
    return caller(tmp_path)


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return "tiny.yaml"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Parsed chorales, shared by these tests."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """A folder with a finished run, and what `bench` said."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY)
    process = bench("run", "tiny.yaml", cwd=folder, env=in_process.environment({"BENCH_CACHE": cache}))
    out, err = process.communicate(timeout=120)
    return folder, subprocess.CompletedProcess(process.args, process.returncode, out, err)


def plugin(folder, name, source):
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / f"{name}.py").write_text(source)
    return folder / "plugins"


class TestHelp:
    def test_bare_bench_shows_it(self, call):
        answer = call()
        assert "Usage: bench [OPTIONS] COMMAND" in answer.stdout
        assert answer.stderr == ""

    @pytest.mark.parametrize("command", [(), ("all",), ("run",), ("list",), ("data",), ("data", "fetch"), ("data", "verify"),
                                         ("report",), ("listen",), ("doctor",)])  # fmt: skip
    def test_every_command_has_an_example(self, call, command):
        answer = call(*command, "--help")
        assert answer.returncode == 0
        assert re.search(r"Examples?: bench " + " ".join(command), answer.stdout)

    def test_version(self, tmp_path):
        process = bench("--version", cwd=tmp_path)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        assert re.fullmatch(r"bench \d+\.\d+\.\d+\n", out)


class TestWrongUse:
    """Exit code 2, one message, nothing started."""

    def check(self, answer, folder, message):
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr == message
        assert not (folder / "reports").exists()

    def test_a_mistake_in_a_spec(self, call, tmp_path):
        (tmp_path / "mine.yaml").write_text(TINY + "bugdet: {epochs: 3}\n")
        self.check(call("run", "mine.yaml"), tmp_path, (
            "error: mine.yaml:6: bugdet: unknown key 'bugdet'.\n"
            "Did you mean 'budget'? Valid: budget, dataset, description, extends, gate, grid, models, name, protocol, published, "
            "references, scales, search, seeds, suits, target, title, tuned.\n"
        ))  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "option"), [("folder", "programs: organ"), ("midiworld", "programs: 3"), ("maestro", "years: soon"),
                             ("maestro", "version: 4.0.0")],
    )  # fmt: skip
    def test_a_dataset_option_that_does_not_exist(self, call, tmp_path, name, option):
        (tmp_path / "mine.yaml").write_text(
            f"title: T\nseeds: 1\nreferences: [median]\ndataset:\n  name: {name}\n  options:\n    {option}\n"
        )
        answer = call("run", "mine.yaml")
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: mine.yaml:7: dataset.options.")
        assert not (tmp_path / "reports").exists()

    def test_a_password_is_no_option(self, call, tmp_path):
        """The lock file, the report, the baseline and every message had it."""
        address = "http://bob:s3cr3t@127.0.0.1:9/"
        options = f"base_url: '{address}'"
        (tmp_path / "mine.yaml").write_text(f"title: T\ndataset: {{name: midiworld, options: {{{options}}}}}\n")
        for words in (["run", "mine.yaml"], ["data", "fetch", "midiworld", "--option", f"base_url={address}"]):
            answer = call(*words)
            assert answer.returncode == 2
            assert "base_url: an address with a password or token, which every result would hold." in answer.stderr
            assert "s3cr3t" not in answer.stdout + answer.stderr
        assert not (tmp_path / "reports").exists()

    def test_an_unknown_model(self, call, tmp_path):
        self.check(call("run", "smoke", "--models", "lstm,transfromer"), tmp_path, (
            "error: --models: unknown model 'transfromer'.\nDid you mean 'transformer'? Valid: " + ", ".join(MODELS) + ".\n"
        ))  # fmt: skip

    def test_an_unknown_spec(self, call, tmp_path):
        answer = call("run", "smok")
        self.check(answer, tmp_path, (
            "error: There is no spec named 'smok'.\n"
            "Did you mean 'smoke'? Valid: " + ", ".join(shipped_specs()) + ". Or give a YAML file.\n"
        ))  # fmt: skip

    @pytest.mark.parametrize("seeds", ["x", "0", "", "1,x", "-1", "1.5", "٣"])
    def test_seeds(self, call, tmp_path, seeds):
        self.check(call("run", "smoke", "--seeds", seeds), tmp_path, (
            f"error: --seeds is {seeds!r}; expected how many, such as 3, or which, such as 0,1,2 (one: 0,).\n"
        ))  # fmt: skip

    def test_a_plugin_folder_that_is_not_there(self, call, tmp_path):
        self.check(call("run", "smoke", "--plugins", "nowhere"), tmp_path, (
            "error: There is no plug-in folder nowhere.\nGive --plugins or $BENCH_PLUGINS an existing folder.\n"
        ))  # fmt: skip

    @pytest.mark.parametrize("command", [("all", "-q"), ("run", "smoke", "-q"), ("list",)])
    def test_a_data_folder_that_is_not_there(self, call, tmp_path, command):
        answer = call(*command, "--data", "nowhere")
        self.check(answer, tmp_path, "error: There is no folder nowhere.\nGive --data an existing folder.\n")

    def test_a_broken_plugin(self, call, tmp_path):
        plugin(tmp_path, "mine", 'import bench.api\nREQUIRES = "jax"\nFEATURES = "f"\nclass Model(bench.api.Model): pass\n')
        self.check(call("run", "smoke", "--plugins", "plugins"), tmp_path, (
            "error: plugins/mine.py:2: REQUIRES is 'jax'; expected a tuple of importable modules, such as (\"torch\",).\n"
        ))  # fmt: skip

    def test_a_scale_that_does_not_exist(self, call):
        answer = call("run", "smoke", "--scale", "huge")
        assert answer.returncode == 2
        assert "There is no scale 'huge'" in answer.stderr

    def test_the_gpu_scale_without_a_gpu(self, call, tmp_path):
        self.check(call("run", "smoke", "--scale", "gpu"), tmp_path, (
            "error: The scale gpu was asked for, but CUDA_VISIBLE_DEVICES hides every GPU.\n"
            "Use --scale cpu; `bench doctor` says more.\n"
        ))  # fmt: skip

    def test_unknown_run_and_dataset(self, call, tmp_path):
        answer = call("report", "latest")
        self.check(
            answer, tmp_path, f"error: There is no run 'latest'.\n{tmp_path}/reports/runs holds no run. Or give --out DIR.\n"
        )
        assert call("data", "fetch", "maestor").stderr.startswith(
            "error: There is no dataset 'maestor'.\nDid you mean 'maestro'?"
        )


class TestList:
    def test_all_four(self, call):
        answer = call("list")
        assert answer.returncode == 0
        titles = re.findall(r"^(Specs|Models|Datasets|Metrics) *$", answer.stdout, re.MULTILINE)
        assert titles == ["Specs", "Models", "Datasets", "Metrics"]
        assert re.search(r"^smoke .* yes *$", answer.stdout, re.MULTILINE)
        assert re.search(r"^table2-maestro .*--data DIR, or bench data", answer.stdout, re.MULTILINE)
        assert re.search(r"^pitch_distance ", answer.stdout, re.MULTILINE)

    def test_a_users_plugin(self, call):
        lines = call("list", "models", "--plugins", EXAMPLE, COLUMNS="200").stdout.splitlines()
        (line,) = [line for line in lines if line.startswith("echo")]
        assert "Repeats the prompt" in line
        assert "largest=7" in line
        assert line.rstrip().endswith("yes")

    def test_data_that_is_there(self, call, tmp_path):
        (tmp_path / "maestro-v3.0.0").mkdir()
        (line,) = [x for x in call("list", "datasets", "--data", tmp_path).stdout.splitlines() if x.startswith("maestro")]
        assert line.rstrip().endswith("yes")

    @pytest.mark.parametrize(
        ("name", "paragraph"),
        [
            (
                "adl",
                """\
adl
    what: ADL Piano MIDI. Piano tracks of 11,086 songs and pieces by genre,
    subgenre and artist (Ferreira et al. 2020).
    licence: none stated: the files belong to those who made them
    options: genre=None, subgenre=None, artist=None, limit=None,
    minimum_notes=64, validation=0.1, test=0.1, url, sha256=None, pedal='ignore'
    ready: --data DIR, or bench data fetch adl; bench run downloads it
""",
            ),
            (
                "pop909",
                """\
pop909
    what: POP909. Piano arrangements of 909 pop songs: melody, bridge and
    accompaniment in tracks of their own (Wang et al. 2020).
    licence: MIT (Music X Lab 2020) for the arrangements; the songs belong to
    those who wrote them
    options: tracks=None, versions=False, limit=None, minimum_notes=64,
    validation=0.1, test=0.1, url, pedal='ignore'
    ready: --data DIR, or bench data fetch pop909; bench run downloads it
""",
            ),
        ],
    )
    def test_what_it_says_of_a_dataset(self, call, name, paragraph):
        lines = [line.rstrip() for line in call("list", "datasets", COLUMNS="80").stdout.splitlines()]
        at = lines.index(name)
        end = next((i for i in range(at + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
        assert "\n".join(lines[at:end]) + "\n" == paragraph

    def test_a_folder_of_music(self, call, tmp_path):
        def ready(*arguments, **variables):
            lines = call("list", "datasets", *arguments, COLUMNS="200", **variables).stdout.splitlines()
            return next(line for line in lines if line.startswith("folder")).split()[-1]

        assert ready("--data", tmp_path) == ready(BENCH_DATA=str(tmp_path)) == "yes"
        assert ready() == ready(BENCH_DATA=str(tmp_path / "gone")) == "DIR"

    def test_an_interpreter_that_is_not_there(self, call):
        out = call("list", "models", BENCH_PYTHON_TENSORFLOW="/no/python", COLUMNS="300").stdout
        (line,) = [line for line in out.splitlines() if line.startswith("lstm ")]
        assert "$BENCH_PYTHON_TENSORFLOW is '/no/python', which is no executable file." in line

    def test_a_plugins_words_are_no_markup(self, call, tmp_path):
        plugin(
            tmp_path,
            "mine",
            '"""Has [/bold] and \\x1b[31m in it."""\nimport bench.api\nFEATURES = "f"\nclass Model(bench.api.Model): pass\n',
        )
        answer = call("list", "models", "--plugins", "plugins", COLUMNS="200")
        assert "Has [/bold] and �[31m in it." in answer.stdout

    def test_it_imports_nothing_heavy(self):
        code = (
            "import sys, bench.cli.app, contextlib, io\n"
            "heavy = {'torch', 'tensorflow', 'keras', 'h5py', 'scipy', 'matplotlib', 'music21'}\n"
            "print(sorted(heavy & sys.modules.keys()))\n"
            "from bench.cli import listing\n"
            "from bench.system import paths\n"
            "list(listing.tables(None, paths.Places.find()))\n"
            "print(sorted({'torch', 'tensorflow', 'keras', 'h5py', 'matplotlib', 'music21'} & sys.modules.keys()))\n"
            "print(any(name.startswith('bench_plugins_') for name in sys.modules))\n"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert answer.stdout.splitlines() == ["[]", "[]", "False"]

    def test_a_reader_that_goes_away(self, tmp_path):
        process = bench("list", cwd=tmp_path, bufsize=0)
        process.stdout.close()
        assert process.wait(120) == 0
        assert process.stderr.read() == ""
        process.stderr.close()


class TestRun:
    def test_plain_lines_and_a_report(self, finished):
        folder, answer = finished
        assert (answer.returncode, answer.stderr) == (0, "")
        lines = answer.stdout.splitlines()
        run = folder / "reports" / "runs" / "tiny-cpu"
        assert lines[0] == "scale cpu: CUDA_VISIBLE_DEVICES hides every GPU"
        assert lines[1] == f"tiny: {run}"
        assert lines[2] == "prepare chorales"
        assert any(re.fullmatch(r"\[1/2\] median, seed 0: done in [\d.]+ s.*", line) for line in lines)
        assert "repeats itself: median" in lines, "a low distance isn't shown without what it hides"
        assert lines[-1] == f"{run}/report.html"
        assert "Tiny [bold]run[/bold]" in (run / "report.md").read_text().replace("\\", "")

    def test_again_runs_nothing_again(self, finished, cache):
        folder, _ = finished
        outcomes = {p: p.stat().st_mtime_ns for p in folder.glob("reports/runs/*/trials/*/outcome.json")}
        assert len(outcomes) == 2
        assert "2 trials, 2 done before" in caller(folder)("run", "tiny.yaml", BENCH_CACHE=cache).stdout
        assert {p: p.stat().st_mtime_ns for p in outcomes} == outcomes

    def test_on_a_terminal(self, finished, cache):
        """Bars are drawn and gone at the end; the cursor is back."""
        folder, _ = finished
        ours, theirs = pty.openpty()
        environment = {**os.environ, "BENCH_CACHE": cache, "CUDA_VISIBLE_DEVICES": "", "TERM": "xterm", "COLUMNS": "120"}
        command = ("run", "tiny.yaml", "--out", "terminal")
        process = bench(*command, cwd=folder, env=environment, stdout=theirs, stderr=theirs, stdin=theirs)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while chunk := os.read(ours, 4096):
                shown += chunk
        os.close(ours)
        assert process.wait(120) == 0
        text = shown.decode()
        assert "trials" in text
        assert "2/2" in text
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
        assert text.rstrip().endswith("terminal/runs/tiny-cpu/report.html")

    def test_quiet(self, call, tmp_path, tiny, cache):
        answer = call("run", tiny, "-q", "--out", "there", BENCH_CACHE=cache)
        assert answer.stdout == f"{tmp_path}/there/runs/tiny-cpu/report.html\n"
        assert answer.stderr == ""

    def test_the_example_model_of_the_readme(self, call, tmp_path, cache):
        answer = call("run", "smoke", "--plugins", EXAMPLE, "--models", "echo", "--seeds", "1", BENCH_CACHE=cache)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        (run,) = (tmp_path / "reports" / "runs").iterdir()
        outcomes = [json.loads(path.read_text()) for path in run.glob("trials/*/outcome.json")]
        trained = {o["trial"]["system"]: o for o in outcomes if o["trial"]["model"] == "echo"}
        assert trained.keys() == {"echo", "untrained echo"}
        assert {o["status"] for o in outcomes} == {"done"}
        # C, C sharp, … within a fifth: at most 15 intervals.
        assert 1 < trained["echo"]["facts"]["parameters"] <= 15
        assert trained["untrained echo"]["facts"]["parameters"] == 1
        assert "| echo" in (run / "report.md").read_text()

    def test_the_example_is_short(self):
        assert len((EXAMPLE / "echo.py").read_text().splitlines()) < 60

    def test_plugins_from_the_environment(self, call, tiny, cache):
        answer = call("run", tiny, "--models", "echo", BENCH_PLUGINS=str(EXAMPLE), BENCH_CACHE=cache)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "echo, seed 0: done" in answer.stdout

    def test_a_failed_trial(self, call, tmp_path, tiny, cache):
        plugin(tmp_path, "broken", BROKEN)
        answer = call("run", tiny, "--models", "broken", "--plugins", "plugins", BENCH_CACHE=cache)
        assert answer.returncode == 3
        assert "] broken, seed 0: FAILED: ValueError: no luck [red]today[/red] [broken.py:6] (log: " in answer.stdout
        assert "1 failed; the same command tries them again" in answer.stdout
        quiet = call("run", tiny, "--models", "broken", "--plugins", "plugins", "-q", BENCH_CACHE=cache)
        assert quiet.returncode == 3
        assert "broken, seed 0: FAILED: ValueError: no luck [red]today[/red]" in quiet.stderr
        assert len(quiet.stdout.splitlines()) == 1

    def test_missing_data(self, call, tmp_path):
        answer = call("run", "smoke", "--dataset", "folder")
        assert answer.returncode == 3
        assert answer.stderr == "error: The dataset 'folder' reads your own MIDI files: give --data DIR.\n"

    def test_ctrl_c_leaves_a_resumable_run(self, tmp_path, tiny, cache):
        plugin(tmp_path, "slow", SLOW)
        environment = {**os.environ, "BENCH_CACHE": cache, "CUDA_VISIBLE_DEVICES": ""}
        process = bench("run", tiny, "--models", "slow", "--plugins", "plugins", cwd=tmp_path, env=environment)
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("reports/runs/*/trials/*/checkpoint/history.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert err.startswith("error: Stopped by Ctrl-C.\nThe same command resumes from here: ")
        assert "Traceback" not in err


class TestAll:
    def test_it_says_what_could_not_run_and_runs_the_rest(self, tmp_path, cache):
        """The package with two small specs of its own in place of the shipped ones."""
        shutil.copytree(ROOT / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
        for folder in ("models", "datasets"):
            (tmp_path / folder).symlink_to(ROOT / folder)
        specs = tmp_path / "bench" / "specs"
        for path in specs.glob("*.yaml"):
            path.unlink()
        (specs / "fine.yaml").write_text(TINY + "suits: [cpu]\n")
        (specs / "away.yaml").write_text(TINY.replace("name: chorales, options: {limit: 24}", "name: folder") + "suits: [cpu]\n")
        (specs / "other.yaml").write_text(TINY + "suits: [gpu]\n")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "BENCH_CACHE": cache, "CUDA_VISIBLE_DEVICES": ""}
        process = bench("all", cwd=tmp_path, env=environment)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 3, out + err
        assert out.splitlines()[0] == "scale cpu: CUDA_VISIBLE_DEVICES hides every GPU"
        assert err.startswith("error: away: The dataset 'folder' reads your own MIDI files: give --data DIR.\n")
        assert {path.parent.name for path in tmp_path.glob("reports/runs/*/report.md")} == {"fine-cpu"}


class TestReport:
    @pytest.mark.parametrize("name", ["tiny-cpu", "reports/runs/tiny-cpu", "latest"])
    def test_by_name_folder_and_latest(self, finished, name):
        folder, _ = finished
        table = folder / "reports" / "runs" / "tiny-cpu" / "report.csv"
        written = table.read_text()
        table.unlink()
        answer = caller(folder)("report", name)
        assert answer.returncode == 0, answer.stderr
        assert "tiny-cpu/report.csv" in answer.stdout
        assert "tiny-cpu/report.html" in answer.stdout
        assert table.read_text() == written

    def test_of_an_incomplete_run(self, finished, tmp_path):
        """It leaves the code of `bench run`, also where a result was damaged since."""
        run = tmp_path / "some"
        shutil.copytree(finished[0] / "reports" / "runs" / "tiny-cpu", run)
        samples = next(run.glob("trials/*/samples.npz"))
        samples.write_bytes(samples.read_bytes()[:-9])
        (run / "report.md").unlink()
        answer = caller(tmp_path)("report", "some")
        assert (answer.returncode, answer.stderr) == (3, "some is incomplete: 1 trial failed or did not run\n")
        assert answer.stdout.splitlines()[0] == "some/report.md"
        assert "Incomplete: 1 trial failed" in (run / "report.md").read_text()
        (samples.parent / "outcome.json").unlink()
        answer = caller(tmp_path)("report", "some", "--watch")
        assert answer.returncode == 3
        assert answer.stdout.splitlines()[1:] == ["1 of 2 trials have ended; the run is finished"]

    def test_watching_a_finished_run_writes_once(self, finished):
        folder, _ = finished
        run = folder / "reports" / "runs" / "tiny-cpu"
        answer = caller(folder)("report", "tiny-cpu", "--watch")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.splitlines() == [f"{run}/report.html", "2 of 2 trials have ended; the run is finished"]

    def test_ctrl_c_ends_the_watching_well(self, finished, tmp_path):
        shutil.copytree(finished[0] / "reports" / "runs" / "tiny-cpu", tmp_path / "under-way")
        record = json.loads((tmp_path / "under-way" / "run.json").read_text())
        write_json(tmp_path / "under-way" / "run.json", {**record, "finished": None})
        process = bench("report", "under-way", "--watch", cwd=tmp_path, bufsize=1)
        assert process.stdout.readline() == "under-way/report.html\n"
        assert process.stdout.readline() == "2 of 2 trials have ended\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")


class TestData:
    def test_nothing_to_fetch(self, call):
        answer = call("data", "fetch", "chorales")
        assert answer.returncode == 2
        assert answer.stderr == "error: The dataset 'chorales' comes with the package: there is nothing to fetch.\n"
        assert answer.stdout == ""

    def test_verify_without_the_data(self, call):
        answer = call("data", "verify", "maestro")
        assert answer.returncode == 3
        assert "bench data fetch maestro" in answer.stderr
        chosen = call("data", "verify", "maestro", "--option", "version=2.0.0").stderr
        assert "run `bench data fetch maestro --option version=2.0.0` first." in chosen

    def test_verify_says_what_was_compared(self, call, tmp_path):
        answer = call("data", "verify", "chorales")
        assert (answer.returncode, answer.stdout) == (4, "chorales: there are no checksums to compare\n")
        folder = tmp_path / "maestro-v3.0.0"
        folder.mkdir()
        row = "canonical_composer,canonical_title,split,year,midi_filename\nA,B,train,2004,0.midi\n"
        (folder / "maestro-v3.0.0.csv").write_text(row)
        (folder / "0.midi").write_bytes(b"MThd" + bytes([0, 0, 0, 6, 0, 1, 0, 1, 1, 224]))
        answer = call("data", "verify", "maestro", "--data", tmp_path)
        assert answer.returncode == 4
        assert "maestro: 1 files are there; no checksums are known for this folder\n" in answer.stdout
        (folder / "0.midi").write_bytes(b"<html>")
        answer = call("data", "verify", "maestro", "--data", tmp_path)
        assert answer.returncode == 3
        assert answer.stdout.startswith("0.midi: not a MIDI file\n")

    def test_a_spec_and_options_choose_the_selection(self, call, tmp_path):
        (tmp_path / "mine.yaml").write_text("extends: table2-midiworld\ndataset: {options: {query: [slow, a b], limit: 9}}\n")
        answer = call("data", "verify", "midiworld", "--spec", "mine.yaml", "--scale", "cpu", "--option", "limit=4")
        assert answer.returncode == 3
        assert '--option \'query=["slow", "a b"]\'' in answer.stderr
        assert "--option limit=4" in answer.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--option", "programs=violin"), "--option programs: expected one of 'piano', 'all', got 'violin'."),
            (("--option", "limit=many"), "--option limit: expected a whole number, got 'many'."),
            (("--option", "limt=3"), "--option: the dataset 'midiworld' has no option 'limt'.\nDid you mean 'limit'?"),
            (("--option", "limit"), "--option is 'limit'; expected key=value."),
            (("--option", "query=["), "--option query: '[' is not a YAML value"),
            (("--option", "limit=0"), "midiworld: limit is 0."),
            (("--spec", "smoke"), "The spec smoke uses the dataset 'chorales', not 'midiworld'."),
            (("--scale", "cpu"), "--scale was given without --spec."),
        ],
    )
    def test_a_wrong_selection(self, call, arguments, message):
        answer = call("data", "fetch", "midiworld", *arguments)
        assert answer.returncode == 2
        assert answer.stderr.startswith(f"error: {message}")


class TestDoctor:
    def test_a_missing_framework_and_what_fixes_it(self, call, tmp_path):
        fake = tmp_path / "python"
        fake.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
        fake.chmod(0o755)
        answer = call("doctor", BENCH_PYTHON_PYTORCH=str(fake), BENCH_PYTHON_TENSORFLOW="/no/python", COLUMNS="200")
        assert answer.returncode == 3
        assert re.search(r"^CPU .*cores *$", answer.stdout, re.MULTILINE)
        models = (
            "event-lstm, event-transformer, frame-tcn, frame-transformer, gan, midinet, music-transformer, transformer, "
            "transformer-gan, vae"
        )
        assert f"missing: torch (for {models}): ModuleNotFoundError: No module named 'torch'\n" in answer.stdout
        assert f"  fix: {fake} -m pip install torch==" in answer.stdout
        assert "  fix: unset BENCH_PYTHON_TENSORFLOW\n" in answer.stdout
        assert "Traceback" not in answer.stderr

    def test_folders_that_are_not_there(self, call, tmp_path):
        fake = tmp_path / "python"
        answered = json.dumps({"version": "9.9", "gpus": [], "cuda": None, "error": None})
        fake.write_text(f"#!/bin/sh\necho '{answered}'\n")
        fake.chmod(0o755)
        pythons = dict.fromkeys(("BENCH_PYTHON_PYTORCH", "BENCH_PYTHON_TENSORFLOW"), str(fake))
        fine = call("doctor", **pythons)
        assert (fine.returncode, fine.stdout.splitlines()[-1]) == (0, "Nothing is missing.")
        assert f"9.9, no GPU ({fake})" in fine.stdout
        answer = call("doctor", BENCH_DATA=str(tmp_path / "gone"), BENCH_WEIGHTS=str(tmp_path / "lost"), **pythons)
        assert answer.returncode == 3
        assert f"missing: $BENCH_DATA names {tmp_path / 'gone'}, which doesn't exist\n" in answer.stdout
        assert f"missing: $BENCH_WEIGHTS names {tmp_path / 'lost'}, which doesn't exist\n" in answer.stdout
