"""Code that a plug-in imports is a part of its trials' keys; what isn't is named."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.storage.samples import read_targets

from .conftest import PLUGINS, Bench

MODEL = '''\
"""Plays the pitch of a package."""
import numpy as np
import bench.api
from bench.api import Notes
from users_net.pitch import PITCH
FEATURES = "one pitch"
PRETRAINED = True
class Model(bench.api.Model):
    def generate(self, prompts, n_notes, seed, constraint=None):
        start = [p.onset[-1] if len(p) else 0.0 for p in prompts]
        step = np.arange(n_notes) * 0.1
        return [Notes.from_columns(s + step, np.full(n_notes, 0.1), np.full(n_notes, PITCH), np.full(n_notes, 64)) for s in start]
'''


def test_a_package_of_the_users(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, library = toy.folder / "played.py", toy.folder / "library"
    plugin.write_text(MODEL)
    for package, text in {"users_net": "", "users_deeper": ""}.items():
        (library / package).mkdir(parents=True)
        (library / package / "__init__.py").write_text(text)
    pitch: Path = library / "users_net" / "pitch.py"
    pitch.write_text("import users_deeper\nPITCH = 60\n")
    monkeypatch.syspath_prepend(library)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(library), *filter(None, sys.path)]))
    (pitch.parent / ".#pitch.py").symlink_to("user@host.1234:5678")  # as Emacs locks a file that is edited
    toy.write({"played": {}})
    for expected in (60, 20):
        pitch.write_text(f"import users_deeper\nPITCH = {expected}\n")
        assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
        assert set(toy.notes("played").notes[0, 0].pitch) == {expected}
    (remark,) = [text for text in toy.outcome("played")["remarks"] if "part of its key" in text]
    assert remark.startswith("uses code that isn't part of its key: users_deeper.")


@pytest.mark.parametrize("where", ["helper", "package"])
@pytest.mark.parametrize("caught", [False, True])
def test_code_that_changes_before_it_is_imported(toy: Bench, monkeypatch: pytest.MonkeyPatch, where: str, caught: bool) -> None:
    """Its result was stored under the key of the code that it was before, and was there for ever when the change was undone."""
    plugin, library = toy.folder / "mine" / "played.py", toy.folder / "library" / "users_net"
    helper, name = (plugin.with_name("_pitch.py"), "._pitch") if where == "helper" else (library / "pitch.py", "users_net.pitch")
    for folder in (plugin.parent, library):
        folder.mkdir(parents=True)
    (library / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", ":".join([str(library.parent), *filter(None, sys.path)]))
    monkeypatch.syspath_prepend(library.parent)
    late = f"        from {name} import PITCH\n"
    if caught:
        late = f"        try:\n    {late}        except Exception:\n            PITCH = 72\n"
    text = MODEL.replace("from users_net.pitch import PITCH\n", "").replace("        start", f"{late}        start")
    hold = f"    def fit(self, train, valid, run):\n        from pathlib import Path\n        file = Path({str(helper)!r})\n"
    hold += "        (run.folder / 'state').write_text('of which code?')\n"
    hold += f"        if Path({str(toy.folder / 'edit')!r}).exists():\n            file.write_text('PITCH = 84')\n"
    plugin.write_text(text.replace("    def generate", f"{hold}    def generate"))
    helper.write_text("PITCH = 60")
    (toy.folder / "edit").touch()
    toy.write({"played": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 1
    assert f"{helper} was changed during the run." in toy.outcome("played")["error"]["message"]
    kept = [*toy.run_folder.glob("trials/*/checkpoint/state")]
    assert bool(kept) is not caught, "no training goes on from what was done without that file"
    (toy.folder / "edit").unlink()
    helper.write_text("PITCH = 60")
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    assert set(toy.notes("played").notes[0, 0].pitch) == {60}


def test_a_namespace_package_in_two_checkouts(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, checkouts = toy.folder / "played.py", [toy.folder / "a", toy.folder / "b"]
    plugin.write_text(MODEL.replace("from users_net.pitch", "import users_net.common\nfrom users_net.pitch"))
    pitch = checkouts[1] / "users_net" / "pitch.py"
    for file in (checkouts[0] / "users_net" / "common.py", pitch):
        file.parent.mkdir(parents=True)
        file.write_text("")
    for checkout in reversed(checkouts):
        monkeypatch.syspath_prepend(checkout)
    monkeypatch.setenv("PYTHONPATH", ":".join([*map(str, checkouts), *filter(None, sys.path)]))
    toy.write({"played": {}})
    for expected in (60, 20):
        stat = pitch.stat()
        pitch.write_text(f"PITCH = {expected}\n")
        os.utime(pitch, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
        assert set(toy.notes("played").notes[0, 0].pitch) == {expected}
    assert not [text for text in toy.outcome("played")["remarks"] if "part of its key" in text]
    assert not [*toy.folder.rglob("__pycache__")]


WAYS = {
    "by name": 'import importlib\nPITCH = importlib.import_module(".nets.big", __package__).PITCH',
    "beside": 'import importlib\nPITCH = importlib.import_module(".net_big", __package__).PITCH',
    "__import__": 'PITCH = __import__(__package__ + ".nets.big", fromlist=["PITCH"]).PITCH',
    "by a place": (
        "import importlib.util, pathlib\n"
        'spec = importlib.util.spec_from_file_location("big", pathlib.Path(__file__).parent / "nets" / "big.py")\n'
        "big = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(big)\nPITCH = big.PITCH"
    ),
    "runpy": 'import pathlib, runpy\nPITCH = runpy.run_path(pathlib.Path(__file__).parent / "nets" / "big.py")["PITCH"]',
    "exec": 'import pathlib\nexec((pathlib.Path(__file__).parent / "nets" / "big.py").read_text())',
    "elsewhere": 'import pathlib, runpy\nPITCH = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "big.py"))["PITCH"]',
    "another program": (
        "import pathlib, subprocess, sys\n"
        'PITCH = 60 + subprocess.run([sys.executable, pathlib.Path(__file__).parent / "nets" / "big.py"]).returncode'
    ),
    "from its folder": (
        "import pathlib, subprocess, sys\n"
        'PITCH = 60 + subprocess.call([sys.executable, "big.py"], cwd=pathlib.Path(__file__).parent / "nets")'
    ),
    "by a shell": (
        "import pathlib, subprocess, sys\n"
        'PITCH = 60 + subprocess.call(f"{sys.executable} {pathlib.Path(__file__).parent}/nets/big.py", shell=True)'
    ),
    "system": (
        'import os, pathlib, sys\nPITCH = 60 + os.system(f"{sys.executable} {pathlib.Path(__file__).parent}/nets/big.py")'
    ),
    "quoted": (
        "import os, pathlib, sys\n"
        'PITCH = 60 + os.system(f"cd {pathlib.Path(__file__).parent}; python \\"my nets/big.py\\"; true; # don\'t")'
    ),
    "behind a hash": (
        "import os, pathlib, sys\n"
        'PITCH = 60 + os.system(f"echo a#b>/dev/null; python \\"{pathlib.Path(__file__).parent}/my nets/big.py\\"")'
    ),
    "in a variable": (
        "import os, pathlib, sys\n"
        'os.environ["NETS"] = f"{pathlib.Path(__file__).parent}/my nets"\n'
        'PITCH = 60 + os.system("bash -c \'cd \\"$NETS\\" && python --version big.py\'>/dev/null")'
    ),
    "behind an option": (
        "import os, pathlib, sys\n"
        "PITCH = 60 + os.system(f\"echo --script='{pathlib.Path(__file__).parent}/my nets/big.py'>/dev/null\")"
    ),
    "one after another": (
        "import os, pathlib, sys\n"
        'PITCH = 60 + os.system(f"cd {pathlib.Path(__file__).parent} && cd nets && {sys.executable} big.py")'
    ),
    "redirected": (
        "import os, pathlib, sys\n"
        'PITCH = 60 + os.system(f"({sys.executable} {pathlib.Path(__file__).parent}/nets/big.py)>/dev/null; true")'
    ),
    "after cd": (
        'import os, pathlib, sys\nPITCH = 60 + os.system(f"cd {pathlib.Path(__file__).parent}/nets && {sys.executable} big.py")'
    ),
    "as a module": (
        "import pathlib, subprocess, sys\n"
        'PITCH = 60 + subprocess.call([sys.executable, "-m", "nets.big"], cwd=pathlib.Path(__file__).parent)'
    ),
    "on another path": (
        "import os, pathlib, subprocess, sys\n"
        'own = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)}\n'
        'PITCH = 60 + subprocess.call([sys.executable, "-m", "nets.big"], env=own)'
    ),
    "from a fork": (
        "import os, pathlib, sys\n"
        'PITCH = 60 + os.spawnv(os.P_WAIT, sys.executable, ["python", f"{pathlib.Path(__file__).parent}/nets/big.py"])'
    ),
    "a folder": (
        "import pathlib, subprocess, sys\n"
        'PITCH = 60 + subprocess.call([sys.executable, str(pathlib.Path(__file__).parent / "nets")])'
    ),
    "make": (
        "import pathlib, subprocess\n"
        'PITCH = 60 + subprocess.call(["make", "--silent", "-C", str(pathlib.Path(__file__).parent / "nets")])'
    ),
    "a library": 'import ctypes, pathlib\nctypes.CDLL(str(pathlib.Path(__file__).parent / "libbig.so"))\nPITCH = 60',
}


@pytest.mark.parametrize("way", WAYS)
def test_code_that_only_a_run_finds_is_named(toy: Bench, way: str) -> None:
    """As where a hyperparameter chooses the network."""
    plugin = toy.folder / "own" / "played.py"
    (plugin.parent / "nets").mkdir(parents=True)
    plugin.write_text(MODEL.replace("from users_net.pitch import PITCH", WAYS[way]))
    for file in (plugin.parent / "nets" / "big.py", plugin.parent / "net_big.py", toy.folder / "big.py"):
        file.write_text('"""A network."""\nPITCH = 60\n')
    (plugin.parent / "my nets").mkdir()
    (plugin.parent / "my nets" / "big.py").write_text("PITCH = 60\n")
    (plugin.parent / "nets" / "__main__.py").touch()
    (plugin.parent / "nets" / "Makefile").write_text("all:\n\t@true\n")
    shutil.copy(np.random._common.__file__, plugin.parent / "libbig.so")
    toy.write({"played": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    others = {
        "beside": "net_big.py",
        "a library": "libbig.so",
        "elsewhere": str(toy.folder / "big.py"),
        "a folder": "nets/__main__.py",
        **dict.fromkeys(("quoted", "behind a hash", "in a variable", "behind an option"), "my nets/big.py"),
        "make": "nets/Makefile",
    }
    (remark,) = [text for text in toy.outcome("played")["remarks"] if "part of its key" in text]
    named = remark.removeprefix("uses code that isn't part of its key: ").split(". After")[0].split(" and ")
    assert others.get(way, "nets/big.py") in named
    assert set(named) <= {others.get(way, "nets/big.py"), "nets/big.py", "nets/__main__.py"}, "at most one that another word fits"


@pytest.mark.parametrize("whose", ["fork's", "trial's"])
def test_what_a_process_opens_in_place_of_what_it_inherited_is_its_own(tmp_path: Path, whose: str) -> None:
    """A daemon closes all files; the next one that is opened has the number of bench's notes, and perhaps its inode."""
    (tmp_path / "module.py").touch()
    closing = (
        f"os.closerange(3, 256)\nmine = os.open({str(tmp_path / 'mine')!r}, os.O_RDWR | os.O_CREAT)\nos.write(mine, b'mine')"
    )
    first, then = (closing, "") if whose == "trial's" else ("", closing)
    code = (
        f"import os\nfrom bench.plugins import opened\nopened.watch()\n{first}\nchild = os.fork()\n"
        f"if not child:\n    exec({then!r})\n    open({str(tmp_path / 'module.py')!r}).close()\n    os._exit(0)\n"
        "os.waitpid(child, 0)\nopened.opened()\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_relative_name_is_noted_in_each_folder(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").touch()
    code = (
        "import os\nfrom bench.plugins import opened\nopened.watch()\nopen('module.py').close()\nchild = os.fork()\n"
        "if not child:\n    os.chdir('../other')\n    open('module.py').close()\n    os._exit(0)\n"
        "os.waitpid(child, 0)\nos.chdir('..')\nprint(*opened.opened(), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "one", capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{tmp_path}/one/module.py", f"{tmp_path}/other/module.py"], done.stderr


DATASET = '''\
"""Music of one pitch, which a package says."""
import numpy as np
import bench.api
from bench.api import Notes, Piece, Splits
from users_parser.pitch import PITCH
TITLE = "one pitch"
LICENSE = "none"
NEEDS = "nothing"
class Dataset(bench.api.Dataset):
    def fingerprint(self, source):
        return "1"
    def load(self, source, progress):
        n = 40
        notes = Notes.from_columns(np.arange(n) * 0.25, np.full(n, 0.2), np.full(n, PITCH), np.full(n, 80))
        pieces = [Piece(notes, f"{i}") for i in range(6)]
        return Splits(tuple(pieces[:2]), tuple(pieces[2:4]), tuple(pieces[4:]))
'''


def test_a_package_that_a_dataset_imports(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    library = toy.folder / "library"
    (toy.folder / "plug" / "datasets").mkdir(parents=True)
    (toy.folder / "plug" / "datasets" / "pitched.py").write_text(DATASET)
    for package in ("users_parser", "users_below"):
        (library / package).mkdir(parents=True)
        (library / package / "__init__.py").write_text("")
    pitch = library / "users_parser" / "pitch.py"
    monkeypatch.syspath_prepend(library)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(library), *filter(None, sys.path)]))
    toy.write({}, dataset={"name": "pitched"}, references=["real"])
    times = None
    for expected in (60, 20):
        pitch.write_text(f"import users_below\nPITCH = {expected}\n")
        os.utime(pitch, ns=(times := times or (pitch.stat().st_atime_ns, pitch.stat().st_mtime_ns)))
        toy.run(plugins=[PLUGINS, toy.folder / "plug"])
        assert set(read_targets(toy.run_folder / "targets.npz")[0].prompt.pitch) == {expected}
    record = json.loads((toy.run_folder / "run.json").read_text())
    (remark,) = [text for text in record["dataset"]["remarks"] if "part of its key" in text]
    assert remark.startswith("the dataset's plug-in uses code that isn't part of its key: users_below. After a change of it")


@pytest.mark.parametrize("single", [True, False])
def test_a_link_among_installed_packages_is_the_users(toy: Bench, monkeypatch: pytest.MonkeyPatch, single: bool) -> None:
    """As `flit install --symlink` makes it, of a module or of a package."""
    plugin, installed, own = toy.folder / "played.py", toy.folder / "venv" / "site-packages", toy.folder / "own"
    plugin.write_text(MODEL.replace("users_net.pitch", "users_net"))
    source = own / "users_net.py" if single else own / "users_net" / "__init__.py"
    for folder in (installed, source.parent):
        folder.mkdir(parents=True)
    source.touch()
    (installed / ("users_net.py" if single else "users_net")).symlink_to(source if single else source.parent)
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(installed), *filter(None, sys.path)]))
    toy.write({"played": {}})
    for expected in (60, 20):
        source.write_text(f"PITCH = {expected}\n")
        assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
        assert set(toy.notes("played").notes[0, 0].pitch) == {expected}
    assert not [text for text in toy.outcome("played")["remarks"] if "part of its key" in text]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_names_that_are_no_text(toy: Bench) -> None:
    """Of a folder of another encoding, and of a process whose title (as setproctitle gives one) is cut within a character."""
    plugin = toy.folder / os.fsdecode(b"r\xfc") / "played.py"
    plugin.parent.mkdir()
    named = 'import ctypes, time\nctypes.CDLL(None).prctl(15, "a训练模型训练".encode()[:15])\ntime.sleep(1)\nPITCH = 60'
    plugin.write_text(MODEL.replace("from users_net.pitch import PITCH", named))
    toy.write({"played": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    assert toy.outcome("played")["memory"]["peak_bytes"] > 1 << 20


def test_versions_of_installed_packages_that_a_plugin_imports_are_recorded(toy: Bench) -> None:
    plugin = toy.folder / "played.py"
    plugin.write_text(MODEL.replace("from users_net.pitch import PITCH", "import markupsafe, json\nPITCH = 60"))
    toy.write({"played": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    ran = toy.outcome("played")["provenance"]
    assert ran["markupsafe"] == importlib.metadata.version("markupsafe")
    assert "json" not in ran


def test_what_a_trial_makes_and_what_is_installed_is_not_named(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that a plug-in compiles, a compiler of a module system; and one odd word hides no other."""
    installed = toy.folder / "apps" / "bin"
    installed.mkdir(parents=True)
    (installed / "cc").write_text("#!/bin/sh\n")
    (installed / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{installed}:{os.environ['PATH']}")
    plugin, own = toy.folder / "own" / "played.py", toy.folder / "elsewhere.sh"
    plugin.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    plugin.write_text(
        MODEL.replace(
            "from users_net.pitch import PITCH",
            "import pathlib, shutil, subprocess, tempfile\n"
            "made = pathlib.Path(tempfile.mkdtemp(), 'made.sh')\n"
            "made.write_text('#!/bin/sh')\n"
            "PITCH = 60 + subprocess.call(['/bin/sh', made])\n"
            "PITCH += subprocess.call([shutil.which('cc')])\n"
            f"PITCH += subprocess.call(['/bin/sh', '-c', ': it \\'; : ' + 'x' * 300, {str(own)!r}])",
        )
    )
    toy.write({"played": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    (remark,) = [text for text in toy.outcome("played")["remarks"] if "part of its key" in text]
    assert remark.startswith(f"uses code that isn't part of its key: {own}. ")


def test_code_whose_source_is_read_when_it_is_first_called(toy: Bench) -> None:
    """TensorFlow makes a graph of a function's source, which may have been edited since it was imported."""
    pytest.importorskip("tensorflow")
    plugin = toy.folder / "played.py"
    function = "import tensorflow as tf\n\x0c\n@tf.function\ndef pick(x):\n    if x > 0:\n        y = tf.constant(60)\n"
    function += "    else:\n        y = tf.constant(61)\n    return y\n"
    edit = "    def fit(self, train, valid, run):\n        from pathlib import Path\n        file = Path(__file__)\n"
    edit += "        file.write_text(file.read_text().replace('t(60)', 't(84)'))\n"
    text = MODEL.replace("from users_net.pitch import PITCH\n", function).replace("PITCH", "int(pick(tf.constant(1)))")
    plugin.write_text(text.replace("    def generate", f"{edit}    def generate"))
    toy.write({"played": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    assert set(toy.notes("played").notes[0, 0].pitch) == {60}, "the code that the key is of"
    assert not [text for text in toy.outcome("played")["remarks"] if "part of its key" in text]
