"""Plug-ins: found by path, read without an import, loaded as siblings of one package."""

import inspect
import os
import re
import subprocess
import sys
import textwrap
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

import pytest

import bench.plugins.discovery
from bench.errors import PluginError
from bench.plugins.digest import imported_packages, source_digest
from bench.plugins.discovery import find_plugins, get_plugin, load
from bench.plugins.header import read_plugin
from bench.plugins.parameters import Parameter
from bench.system.frameworks import lacking
from bench.system.paths import user_folders

HEADER = '"""A model."""\nimport bench.api\nFEATURES = "few"\n'
DATASET = (
    '"""A dataset."""\nimport bench.api\nTITLE = "Songs"\nLICENSE = "CC0"\n'
    "class Dataset(bench.api.Dataset):\n    def __init__(self, limit: int | None = None): ...\n"
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def model(folder: Path, name: str = "mine", body: str = "    pass\n", header: str = HEADER) -> Path:
    return write(folder / f"{name}.py", f"{header}class Model(bench.api.Model):\n{body}")


class TestFinding:
    def test_shipped_plugins_need_no_option(self):
        assert {"gan", "lstm", "median", "transformer"} <= find_plugins("model").keys()
        assert {"adl", "chorales", "folder", "jsb", "maestro", "midiworld", "mon2025", "pop909"} <= find_plugins("dataset").keys()

    @pytest.mark.parametrize("name", [name for name, p in find_plugins("model").items() if p.header["ROLE"] == "model"])
    def test_a_shipped_model_names_its_reference_in_the_line_that_is_listed(self, name):
        assert re.search(r"\b(19|20)\d\d\b", find_plugins("model")[name].summary)

    def test_subfolders_and_files_given_directly(self, tmp_path):
        model(tmp_path / "a" / "models", "one")
        write(tmp_path / "a" / "datasets" / "songs.py", DATASET)
        model(tmp_path / "a", "stray")  # beside the subfolders: not a plug-in
        model(tmp_path / "b", "two")
        write(tmp_path / "b" / "tunes.py", DATASET)
        extra = [tmp_path / "a", tmp_path / "b"]
        assert find_plugins("model", extra).keys() - find_plugins("model").keys() == {"one", "two"}
        assert find_plugins("dataset", extra).keys() - find_plugins("dataset").keys() == {"songs", "tunes"}

    def test_one_file(self, tmp_path):
        assert "mine" in find_plugins("model", [model(tmp_path)])

    def test_files_with_an_underscore_are_helpers(self, tmp_path):
        model(tmp_path)
        write(tmp_path / "_broken.py", "this is not Python")
        assert "_broken" not in find_plugins("model", [tmp_path])

    def test_a_folder_named_twice_counts_once(self, tmp_path):
        model(tmp_path)
        assert "mine" in find_plugins("model", [tmp_path, tmp_path / ".." / tmp_path.name])

    def test_duplicate_names_give_both_files(self, tmp_path):
        first, second = model(tmp_path / "a"), model(tmp_path / "b")
        with pytest.raises(PluginError) as caught:
            find_plugins("model", [tmp_path / "a", tmp_path / "b"])
        assert caught.value.message == f"Two model plug-ins are named 'mine': {first} and {second}."

    def test_a_user_can_not_replace_a_shipped_one_unawares(self, tmp_path):
        model(tmp_path, "lstm")
        with pytest.raises(PluginError, match="Two model plug-ins are named 'lstm'"):
            find_plugins("model", [tmp_path])

    def test_missing_and_empty_folders(self, tmp_path):
        with pytest.raises(PluginError, match="There is no plug-in folder"):
            find_plugins("model", [tmp_path / "nowhere"])
        with pytest.raises(PluginError, match="holds no plug-in"):
            find_plugins("model", [tmp_path])

    def test_a_folder_of_music_named_datasets_hides_no_file_beside_it(self, tmp_path):
        model(tmp_path, "mine")
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "a.mid").write_bytes(b"")
        assert "mine" in find_plugins("model", [tmp_path])
        model(tmp_path / "models", "other")
        assert {"mine", "other"} & set(find_plugins("model", [tmp_path])) == {"other"}

    def test_unknown_name(self):
        with pytest.raises(PluginError) as caught:
            get_plugin("model", "transfromer")
        assert str(caught.value).startswith("There is no model plug-in named 'transfromer'.\nDid you mean 'transformer'?")

    def test_a_file_that_is_being_written_costs_no_other_plugin(self, tmp_path):
        model(tmp_path, "mine")
        (tmp_path / "next.py").write_text("class Model(")
        assert get_plugin("model", "mine", [tmp_path]).name == "mine"
        with pytest.raises(PluginError, match=r"next\.py:1: not valid Python"):
            find_plugins("model", [tmp_path])
        with pytest.raises(PluginError, match=r"next\.py:1: not valid Python"):
            get_plugin("model", "next", [tmp_path])

    def test_environment_comes_after_the_options(self):
        assert user_folders([Path("a")], "b:c:") == (Path("a"), Path("b"), Path("c"))

    def test_an_installed_wheel_has_them_inside_the_package(self, tmp_path, monkeypatch):
        model(tmp_path / "bench" / "_plugins" / "models", "inside")
        model(tmp_path / "models", "beside")
        monkeypatch.setattr(bench.plugins.discovery, "_HERE", tmp_path / "bench")
        assert find_plugins("model").keys() == {"inside"}

    def test_a_package_without_them(self, tmp_path, monkeypatch):
        monkeypatch.setattr(bench.plugins.discovery, "_HERE", tmp_path / "bench")
        with pytest.raises(PluginError, match="The shipped models are missing"):
            find_plugins("model")


class TestHeader:
    def test_everything_is_read(self, tmp_path):
        header = HEADER + 'PROMPT = False\nLIKELIHOOD: str = "bound"\nWIDTH = 3\n'
        plugin = read_plugin(model(tmp_path, header=header))
        assert plugin.summary == "A model."
        assert plugin.header == {
            "FEATURES": "few",
            "REQUIRES": (),
            "ROLE": "model",
            "PRETRAINED": False,
            "NEEDS": "nothing",
            "PROMPT": False,
            "GIVES_VELOCITY": True,
            "UNIT": "note",
            "LIKELIHOOD": "bound",
            "SEES_TARGET": False,
            "SEES_SAMPLES": False,
            "CONSTRAINT": False,
            "WEIGHTS": (),
            "TINY": {},
        }

    def test_nothing_is_imported(self, tmp_path):
        model(tmp_path, header=HEADER + "raise RuntimeError('imported')\n")
        assert "mine" in find_plugins("model", [tmp_path])

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("PROMPT = True\n", "{}:1: the header lacks FEATURES; expected a text in quotes."),
            (HEADER + "REQUIRES = ('scikit-learn',)\n", "{}:4: REQUIRES is ('scikit-learn',); expected a tuple of "
             'importable modules, such as ("torch",).'),
            (HEADER + 'REQUIRES = "torch"\n', "{}:4: REQUIRES is 'torch'; expected a tuple of importable modules, such as "
             '("torch",).'),
            (HEADER + 'ROLE = "baseline"\n', "{}:4: ROLE is 'baseline'; expected one of 'model', 'reference'."),
            (HEADER + "WEIGHTS = ('units',)\n", "{}: WEIGHTS names 'units', which is no hyperparameter of its Model."),
            (HEADER + "WEIGHTS = 'units'\n", "{}:4: WEIGHTS is 'units'; expected a tuple of hyperparameters' names."),
            (HEADER + "TINY = {'units': 4}\n", "{}: TINY names 'units', which is no hyperparameter of its Model."),
            (HEADER + "GIVES_VELOCITY = False\nLIKELIHOOD = 'bound'\n", "{}: GIVES_VELOCITY is False, but the LIKELIHOOD of a "
             "note is that of its velocity too."),
            *((HEADER + f"{name} = True\n", f"{{}}: {name} is True, and ROLE isn't reference: a model predicts what it hasn't "
              "seen.") for name in ("SEES_TARGET", "SEES_SAMPLES")),
            (HEADER + "PROMPT = 1\n", "{}:4: PROMPT is 1; expected one of True, False."),
            (HEADER + "PROMPT = bool(1)\n", "{}:4: PROMPT must be a literal, as it is read without importing the file; "
             "expected one of True, False."),
            *((HEADER + f"{bound}\n", f"{{}}:{line}: PROMPT must be assigned a literal by itself at the top of the file, "
              "as it is read without importing it; expected one of True, False.")
              for line, bound in ((4, "from bench.api import PROMPT"), (4, "import bench as PROMPT"), (4, "PROMPT, X = True, 1"),
                                  (5, "if True:\n    PROMPT = True"), (5, "PROMPT = True\nPROMPT |= False"),
                                  (4, "for PROMPT in (): pass"))),
            (HEADER + 'LIKELYHOOD = "exact"\n', "{}:4: unknown header name LIKELYHOOD."),
            ('FEATURES = " "\n', "{}:1: FEATURES is ' '; expected a text in quotes."),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named_with_its_line(self, tmp_path, header, message):
        path = model(tmp_path, header=header)
        with pytest.raises(PluginError) as caught:
            read_plugin(path)
        assert caught.value.message == message.format(path)

    def test_a_comprehensions_own_variable_binds_nothing(self, tmp_path):
        path = model(tmp_path, header=HEADER + 'NAMES = [UNIT for UNIT in ("a", "b")]\n')
        assert read_plugin(path).header["UNIT"] == "note"

    def test_a_syntax_error(self, tmp_path):
        path = write(tmp_path / "mine.py", "x = 1\ndef broken(:\n")
        with pytest.raises(PluginError, match=f"{path}:2: not valid Python: invalid syntax"):
            read_plugin(path)

    @pytest.mark.parametrize("text", ["+".join(["1"] * 700), "+".join(["1"] * 20_000), "-" * 5000 + "1", "(" * 300 + ")" * 300])
    def test_what_is_nested_too_deeply(self, tmp_path, text):
        path = model(tmp_path, body=f"    def __init__(self, x: int = {text}): ...\n")
        with pytest.raises(PluginError, match=f"^{re.escape(str(path))}:.* nested"):
            read_plugin(path)

    def test_binary_content(self, tmp_path):
        path = tmp_path / "mine.py"
        path.write_bytes(b"x\0y")
        with pytest.raises(PluginError, match=f"^{re.escape(str(path))}: not valid Python"):
            read_plugin(path)

    def test_neither_class(self, tmp_path):
        path = write(tmp_path / "mine.py", HEADER)
        with pytest.raises(PluginError, match="a plug-in defines one class named Model or Dataset; this file defines neither"):
            read_plugin(path)

    @pytest.mark.parametrize("name", ["my model", "a.b", "é"])
    def test_names_that_make_no_row(self, tmp_path, name):
        with pytest.raises(PluginError, match="file name holds only letters, digits, _ and -"):
            read_plugin(model(tmp_path, name))

    def test_an_old_plugin_is_told_once_all_that_must_change(self, tmp_path):
        header = '"""Old."""\nFRAMEWORK = "pytorch"\nFEATURES = "few"\nKINDS = {"a": "x"}\nCONSTRAINT = ("a",)\n'
        path = write(tmp_path / "old.py", header + "class Model:\n    def __init__(self, kind: str = 'a'): ...\n")
        with pytest.raises(PluginError) as caught:
            read_plugin(path)
        assert str(caught.value) == (
            f"{path}:6: the model was written for an older version of bench.\n"
            "Change `class Model:` to `class Model(bench.api.Model):`, with `import bench.api` above;\n"
            "       FRAMEWORK = 'pytorch' to REQUIRES = (\"torch\",), the modules that it imports;\n"
            '       KINDS and the parameter `kind` to a file for each, with ROLE = "reference" where it is a reference row;\n'
            "       CONSTRAINT to True in the files of those that follow their constraint, to False in the others.\n"
            "See docs/plugins.md."
        )

    def test_a_dataset_without_its_base_class(self, tmp_path):
        path = write(tmp_path / "songs.py", DATASET.replace("(bench.api.Dataset)", ""))
        with pytest.raises(
            PluginError, match=r"songs\.py:5: the dataset was written for an older[\s\S]*class Dataset\(bench\.api"
        ):
            read_plugin(path)

    def test_a_header_in_the_class_is_refused(self, tmp_path):
        """Nothing read it: a model without velocities had a number of them, and a pretrained one no flag."""
        model(tmp_path, body="    PRETRAINED = True\n")
        with pytest.raises(
            PluginError, match=r"mine\.py:\d+: PRETRAINED is in the class Model, where nothing reads it; expected one of"
        ):
            find_plugins("model", [tmp_path])

    def test_constants_of_its_own_are_no_old_header(self, tmp_path):
        assert read_plugin(model(tmp_path, header=HEADER + 'KINDS = {"a": "x"}\n')).header["FEATURES"] == "few"


class TestParameters:
    def test_of_init(self, tmp_path):
        body = "    def __init__(self, a: int, b: 'float | None' = None, *, c=(1, 2)) -> None: ...\n".replace(
            "a: int", "a: int = 3"
        )
        assert read_plugin(model(tmp_path, body=body)).parameters == {
            "a": Parameter("int", "3"),
            "b": Parameter("float | None", "None"),
            "c": Parameter("Any", "(1, 2)"),
        }

    def test_of_a_dataclass(self, tmp_path):
        header = HEADER + "from dataclasses import dataclass, field\nfrom typing import ClassVar\n@dataclass\n"
        body = (
            "    a: int = 3\n    b: list[int] = field(default_factory=list)\n    c: ClassVar[int] = 1\n    _d: int = 2\n"
            "    e: int = field(default=0, init=False)\n"
        )
        assert read_plugin(model(tmp_path, body=body, header=header)).parameters == {
            "a": Parameter("int", "3"),
            "b": Parameter("list[int]", "field(default_factory=list)"),
        }

    def test_none(self, tmp_path):
        assert read_plugin(model(tmp_path)).parameters == {}

    BASES = """\
        from dataclasses import dataclass
        @dataclass
        class Sized:
            width: int = 8
            depth: int = 2
        class Plain(Sized): ...
        @dataclass
        class Rated(Plain):
            rate: float
        class Made:
            def __init__(self, wide: bool = True): ...
    """

    @pytest.mark.parametrize(
        ("imported", "base", "own", "expected"),
        [
            ("from ._bases import Plain", "Plain", "@dataclass\n", {"width": "8", "depth": "3", "heads": "4"}),
            ("from ._bases import Plain as P", "P", "@dataclass\n", {"width": "8", "depth": "3", "heads": "4"}),
            ("from . import _bases", "_bases.Plain", "@dataclass\n", {"width": "8", "depth": "3", "heads": "4"}),
            ("from . import _bases as b", "b.Plain[int]", "@dataclass\n", {"width": "8", "depth": "3", "heads": "4"}),
            ("from ._bases import Plain", "Plain", "", {"width": "8", "depth": "2"}),
            ("from ._bases import Made", "Made", "", {"wide": "True"}),
            ("from ._gone import Made", "Made", "", {}),
            ("from elsewhere import Made", "Made", "@dataclass\n", {"depth": "3", "heads": "4"}),
        ],
    )
    def test_inherited_from_a_sibling(self, tmp_path, imported, base, own, expected):
        write(tmp_path / "_bases.py", self.BASES)
        header = f'"""A model."""\nfrom dataclasses import dataclass\n{imported}\nFEATURES = "few"\n'
        path = write(tmp_path / "mine.py", f"{header}{own}class Model({base}):\n    depth: int = 3\n    heads: int = 4\n")
        assert {name: p.default for name, p in read_plugin(path).parameters.items()} == expected

    def test_an_inherited_one_needs_a_default_in_the_end(self, tmp_path):
        write(tmp_path / "_bases.py", self.BASES)
        header = '"""A model."""\nfrom dataclasses import dataclass\nfrom ._bases import Rated\nFEATURES = "few"\n'
        text = header + "@dataclass\nclass Model(Rated):\n"
        assert "rate" in read_plugin(write(tmp_path / "a.py", text + "    rate: float = 0.1\n")).parameters
        with pytest.raises(PluginError, match=r"_bases\.py:9: parameter 'rate' has no default"):
            read_plugin(write(tmp_path / "b.py", text + "    depth: int = 1\n"))

    def test_a_helper_that_was_changed_is_read_again(self, tmp_path):
        text = '"""A model."""\nfrom ._bases import Made\nFEATURES = "few"\nclass Model(Made): ...\n'
        path = write(tmp_path / "mine.py", text)
        for name in ("wide", "much_wider"):
            write(tmp_path / "_bases.py", f"class Made:\n    def __init__(self, {name}: int = 1): ...\n")
            assert list(read_plugin(path).parameters) == [name]

    def test_those_that_are_read_are_those_that_python_takes(self):
        pytest.importorskip("torch")
        pytest.importorskip("tensorflow")
        for plugin in find_plugins("model").values():
            if lacking(tuple(plugin.header["REQUIRES"]), sys.executable):
                continue
            signature = inspect.signature(load(plugin)).parameters
            assert list(plugin.parameters) == list(signature), plugin.name

    def test_one_without_default(self, tmp_path):
        path = model(tmp_path, body="    def __init__(self, units: int): ...\n")
        with pytest.raises(PluginError) as caught:
            read_plugin(path)
        assert str(caught.value) == f"{path}:5: parameter 'units' has no default.\nGive it one, such as units: int = 1"


class TestLoading:
    def test_siblings_are_imported_relatively(self, tmp_path):
        write(tmp_path / "_shared.py", "VALUE = 42\n")
        path = model(tmp_path, "my-model", "    value = VALUE\n", HEADER + "from ._shared import VALUE\n")
        assert load(read_plugin(path)).value == 42

    def test_two_folders_with_the_same_helper(self, tmp_path):
        for number, folder in enumerate((tmp_path / "a", tmp_path / "b")):
            write(folder / "_shared.py", f"VALUE = {number}\n")
            model(folder, f"model{number}", "    value = VALUE\n", HEADER + "from ._shared import VALUE\n")
        found = find_plugins("model", [tmp_path / "a", tmp_path / "b"])
        assert [load(found[f"model{n}"]).value for n in (0, 1)] == [0, 1]

    def test_a_folder_named_as_a_package_hides_nothing(self, tmp_path):
        model(tmp_path / "numpy", header=HEADER + "import numpy\nassert numpy.zeros\n")
        assert load(get_plugin("model", "mine", [tmp_path / "numpy"])).__name__ == "Model"

    def test_a_missing_module(self, tmp_path):
        path = model(tmp_path, header=HEADER + "import no_such_thing\n")
        with pytest.raises(PluginError) as caught:
            load(read_plugin(path))
        assert caught.value.message == (
            f"{path}:4: importing the model 'mine' failed: ModuleNotFoundError: No module named 'no_such_thing'"
        )
        assert caught.value.hint == f"{sys.executable} has no module 'no_such_thing', and REQUIRES doesn't name it."

    def test_a_missing_module_that_it_requires(self, tmp_path):
        header = HEADER + 'REQUIRES = ("no_such_thing", "nor_this", "numpy")\nimport no_such_thing.inner\n'
        with pytest.raises(PluginError) as caught:
            load(read_plugin(model(tmp_path, header=header)))
        assert caught.value.hint == f"Install what it requires: {sys.executable} -m pip install no_such_thing nor_this"

    @pytest.mark.parametrize("statement", ["raise SystemExit(1)", "1 / 0"])
    def test_whatever_else_goes_wrong(self, tmp_path, statement):
        path = model(tmp_path, header=HEADER + statement + "\n")
        with pytest.raises(PluginError, match="importing the model 'mine' failed"):
            load(read_plugin(path))

    @pytest.mark.parametrize("changed", ["mine.py", "_net.py", "_deep/net.py"])
    def test_what_is_executed_is_what_is_written(self, tmp_path, changed):
        """A file of the same length and time is compiled anew, though Python would take the code it compiled before."""
        path = model(tmp_path, header=f"{HEADER}from ._net import VALUE\nfrom ._deep.net import VALUE as deep\nOWN = 1\n")
        for name in ("_net.py", "_deep/net.py"):
            write(tmp_path / name, "VALUE = 1\n")
        asked = (
            "import sys; from pathlib import Path; from bench.plugins.discovery import load\n"
            "from bench.plugins.header import read_plugin\n"
            "module = sys.modules[load(read_plugin(Path(sys.argv[1]))).__module__]; print(module.OWN, module.VALUE, module.deep)"
        )

        def values() -> list[str]:
            return subprocess.run([sys.executable, "-c", asked, path], capture_output=True, text=True, check=True).stdout.split()

        assert values() == ["1", "1", "1"]
        file = tmp_path / changed
        stat = file.stat()
        file.write_text(file.read_text().replace(" = 1", " = 2"))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert sorted(values()) == ["1", "1", "2"]
        assert not [*tmp_path.rglob("__pycache__")], "nothing is left in a user's folder"

    @pytest.mark.parametrize("name", ["pack/__init__.py", "pack/net.py"])
    def test_a_package_of_the_users_too(self, tmp_path, name):
        for each in ("pack/__init__.py", "pack/net.py"):
            write(tmp_path / each, "VALUE = 1\n")
        asked = (
            "import sys; from pathlib import Path; from bench.plugins.uncached import import_from_source\n"
            "import_from_source('pack', Path(sys.argv[1], 'pack')); sys.path.append(sys.argv[1])\n"
            "import pack, pack.net; print(pack.VALUE + pack.net.VALUE)"
        )

        def value() -> str:
            return subprocess.run([sys.executable, "-c", asked, tmp_path], capture_output=True, text=True, check=True).stdout

        assert value() == "2\n"
        file = tmp_path / name
        stat = file.stat()
        file.write_text("VALUE = 2\n")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert value() == "3\n"


class TestDigest:
    def test_it_does_not_depend_on_the_place(self, tmp_path):
        digests = {source_digest(read_plugin(model(tmp_path / folder))) for folder in "ab"}
        assert len(digests) == 1

    @pytest.mark.parametrize("changed", ["mine.py", "_shared.py", "_new.py"])
    def test_a_change_of_the_file_or_a_helper_changes_it(self, tmp_path, changed):
        path = model(tmp_path)
        write(tmp_path / "_shared.py", "VALUE = 1\n")
        before = source_digest(read_plugin(path))
        with (tmp_path / changed).open("a") as file:
            file.write("# more\n")
        assert source_digest(read_plugin(path)) != before

    @pytest.mark.parametrize(
        ("statement", "changed"),
        [
            ("from ._net.blocks import VALUE", "_net/blocks.py"),
            ("from ._net import blocks", "_net/blocks.py"),
            ("from ._net import VALUE", "_net/__init__.py"),
            ("from .base import Base", "base.py"),
            ("def late():\n    from .base import Base\n", "base.py"),
            ("from ._first import VALUE", "deeper/second.py"),
            ("import users_package", "lib/users_package/net.py"),
            ("from users_package.net import VALUE", "lib/users_package/net.py"),
            ("import users_module as m", "lib/users_module.py"),
            ("import users_package", f"lib/users_package/fast{EXTENSION_SUFFIXES[0]}"),
            ("import users_package", "elsewhere/linked.py"),
            ("from ._net import VALUE", "_net/found_by_a_registry.py"),
            ("from users_space.one import VALUE", "lib/users_space/one.py"),
            ("from users_space.one import VALUE", "checkout/users_space/two.py"),
        ],
    )
    def test_a_change_of_what_it_imports_changes_it(self, tmp_path, monkeypatch, statement, changed):
        for name in ("_net/__init__.py", "_net/blocks.py", "base.py", "deeper/second.py"):
            write(tmp_path / name, "VALUE = 1\n")
        for name in ("users_package/__init__.py", "users_package/net.py", "users_module.py"):
            write(tmp_path / "lib" / name, "VALUE = 1\n")
        write(tmp_path / "_first.py", "from .deeper.second import VALUE\n")
        for name in (f"lib/users_package/fast{EXTENSION_SUFFIXES[0]}", "elsewhere/linked.py", "_net/found_by_a_registry.py"):
            write(tmp_path / name, "VALUE = 1\n")
        for name in ("lib/users_space/one.py", "checkout/users_space/two.py"):  # a namespace package
            write(tmp_path / name, "VALUE = 1\n")
        (tmp_path / "lib/users_package/nets").symlink_to(tmp_path / "elsewhere")
        monkeypatch.syspath_prepend(tmp_path / "checkout")
        monkeypatch.syspath_prepend(tmp_path / "lib")
        path = model(tmp_path, header=f"{HEADER}{statement}\n")
        before = source_digest(read_plugin(path))
        write(tmp_path / changed, "VALUE = 2\n")
        assert source_digest(read_plugin(path)) != before

    def test_what_is_installed_or_missing_is_no_package_of_the_users(self, tmp_path):
        path = model(tmp_path, header=f"{HEADER}import json, numpy, bench.api, no_such_module\nfrom . import no_such_file\n")
        assert imported_packages(read_plugin(path)) == {}

    def test_a_helper_that_nobody_imports_may_be_unfinished(self, tmp_path):
        path = model(tmp_path)
        write(tmp_path / "_later.py", "def (:\n")
        before = source_digest(read_plugin(path))
        write(tmp_path / "_later.py", "def half(:\n")
        assert source_digest(read_plugin(path)) != before, "it may be imported by name"

    def test_the_folder_that_a_finder_names_may_be_missing(self, tmp_path, monkeypatch):
        class Editable:
            """As the finder of an editable namespace package."""

            @staticmethod
            def find_spec(name, path=None, target=None):
                if name != "moved_away":
                    return None
                spec = ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = ["__editable__.moved_away.finder.__path_hook__"]
                return spec

        monkeypatch.setattr(sys, "meta_path", [Editable, *sys.meta_path])
        assert imported_packages(read_plugin(model(tmp_path, header=f"{HEADER}import moved_away\n"))) == {}

    def test_what_is_no_file_does_not_count(self, tmp_path):
        """A pipe would be waited for, and a folder can't be read."""
        plugin = read_plugin(model(tmp_path, body="    from .nets import big\n"))
        (tmp_path / "nets").mkdir()
        (tmp_path / "nets" / "big.py").touch()
        before = source_digest(plugin)
        for folder in (tmp_path, tmp_path / "nets"):
            os.mkfifo(folder / "_pipe.py")
            (folder / "_folder.py").mkdir()
            (folder / "_gone.py").symlink_to("nowhere.py")
        assert source_digest(plugin) == before

    def test_another_plugin_does_not(self, tmp_path):
        path = model(tmp_path)
        before = source_digest(read_plugin(path))
        model(tmp_path, "other")
        assert source_digest(read_plugin(path)) == before


def test_reading_all_headers_loads_no_framework():
    code = (
        "import sys; from bench.plugins.discovery import find_plugins; find_plugins('model'); find_plugins('dataset');"
        "print(sorted({'torch', 'tensorflow', 'keras', 'music21', 'symusic'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
