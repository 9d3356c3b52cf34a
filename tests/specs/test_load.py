"""Loading a spec: defaults, extends, scales, the options of the command line, the shipped specs."""

import textwrap

import pytest

from bench.plugins.discovery import find_plugins
from bench.specs.load import load_spec, shipped_specs
from bench.specs.schema import SCALES
from bench.specs.trials import unfold
from tests.specs.little import LITTLE, load


class TestDefaults:
    def test_a_number_of_seeds(self, tmp_path):
        assert load(tmp_path, LITTLE.replace("[0, 7]", "4")).seeds == (0, 1, 2, 3)

    def test_a_row_with_nothing_after_it(self, tmp_path):
        assert load(tmp_path, LITTLE.replace("lstm: {params: {units: 8}}", "lstm:")).models["lstm"].params == {}

    def test_all_references(self, tmp_path):
        text = LITTLE.replace("references: [median, untrained, markov]", "")
        shipped = [name for name, plugin in find_plugins("model").items() if plugin.header["ROLE"] == "reference"]
        # No dataset but the paper's has a published sample.
        assert set(load(tmp_path, text).references) == {*shipped, "untrained"} - {"published-sample"}

    def test_the_files_name(self, tmp_path):
        assert load(tmp_path).name == "little"
        assert load(tmp_path, "name: mine\n" + LITTLE).name == "mine"


class TestExtending:
    def child(self, folder, text, **changes):
        (folder / "little.yaml").write_text(LITTLE)
        return load(folder, "extends: little.yaml\n" + textwrap.dedent(text), "child.yaml", **changes)

    def at_scales(self, folder, text):
        """The child at cpu, where the parent has no overrides, and at gpu, where it has."""
        return [self.child(folder, text, scale=scale) for scale in ("cpu", "gpu")]

    def test_mappings_join_and_lists_are_replaced(self, tmp_path):
        spec = self.child(tmp_path, "seeds: [3]\nmodels:\n  lstm: {params: {dropout: 0.1}}\n  gan:\n")
        assert spec.title == "Little"
        assert spec.seeds == (3,)
        assert spec.models["lstm"].params == {"units": 8, "dropout": 0.1}
        assert list(spec.models) == ["lstm", "wide", "gan"]

    def test_what_the_child_says_counts_at_every_scale(self, tmp_path):
        cpu, gpu = self.at_scales(tmp_path, "budget: {epochs: 1}\n")
        assert [cpu.budget.epochs, gpu.budget.epochs] == [1, 1]
        assert gpu.dataset.options == {"limit": 99}

    def test_the_childs_own_scale_comes_last(self, tmp_path):
        specs = self.at_scales(tmp_path, "budget: {epochs: 1}\nscales: {gpu: {budget: {epochs: 2}}}\n")
        assert [spec.budget.epochs for spec in specs] == [1, 2]

    def test_another_dataset_gets_none_of_the_options(self, tmp_path):
        assert [spec.dataset.options for spec in self.at_scales(tmp_path, "dataset: {name: maestro}\n")] == [{}, {}]

    def test_the_same_dataset_keeps_them(self, tmp_path):
        specs = self.at_scales(tmp_path, "dataset: {name: chorales}\n")
        assert [spec.dataset.options["limit"] for spec in specs] == [9, 99]

    def test_another_plugin_gets_none_of_the_hyperparameters(self, tmp_path):
        specs = self.at_scales(tmp_path, "models:\n  lstm: {plugin: gan, params: {latent: 4}}\n")
        assert [spec.models["lstm"].params for spec in specs] == [{"latent": 4}] * 2

    def test_a_child_of_a_child(self, tmp_path):
        self.child(tmp_path, "budget: {epochs: 1}\n")
        spec = load(tmp_path, "extends: child.yaml\ntitle: Third\n", "third.yaml")
        assert (spec.title, spec.name, spec.budget.epochs, spec.budget.patience) == ("Third", "third", 1, 2)

    def test_relative_to_the_file(self, tmp_path):
        (tmp_path / "below").mkdir()
        (tmp_path / "little.yaml").write_text(LITTLE)
        assert load(tmp_path / "below", "extends: ../little.yaml\n", "a.yaml").title == "Little"


class TestTheCommandLinesChanges:
    def test_models(self, tmp_path):
        spec = load(tmp_path, models=["gan", "lstm"])
        assert list(spec.models) == ["gan", "lstm"]
        assert load(tmp_path, scale="gpu", models=["lstm"]).models["lstm"].params == {"units": 8, "layers": 3}
        assert list(load(tmp_path, scale="gpu", models=["wide"]).models) == ["wide"]

    def test_no_model(self, tmp_path):
        assert {t.kind for t in unfold(load(tmp_path, scale="gpu", models=[]))} == {"reference"}

    @pytest.mark.parametrize(("seeds", "expected"), [(2, (0, 1)), ([5], (5,))])
    def test_seeds_count_at_every_scale(self, tmp_path, seeds, expected):
        text = LITTLE.replace("  gpu:\n", "  gpu:\n    seeds: [1, 2, 3, 4]\n")
        assert load(tmp_path, text, scale="gpu", seeds=seeds).seeds == expected

    def test_dataset(self, tmp_path):
        spec = load(tmp_path, scale="gpu", dataset="maestro")
        assert (spec.dataset.name, spec.dataset.options) == ("maestro", {})
        assert load(tmp_path, scale="gpu", dataset="chorales").dataset.options == {"limit": 99}

    def test_references(self, tmp_path):
        assert load(tmp_path, references=["real"]).references == ("real",)

    def test_the_file_is_checked_as_it_stands_too(self, tmp_path):
        text = LITTLE.replace("units: 8", "unitz: 8")
        with pytest.raises(Exception, match=r"little.yaml:7: models.lstm.params.unitz"):
            load(tmp_path, text, models=["gan"])


class TestShipped:
    @pytest.mark.parametrize("name", shipped_specs())
    def test_it_is_valid_at_every_scale(self, name):
        for scale in SCALES:
            systems = {t.system for t in unfold(load_spec(name, scale=scale))}
            assert {"markov", "markov-keys", "bigram-events"} & systems, "a floor"
            if name.startswith(("table2", "smoke")):
                assert {"lstm", "transformer", "gan", "median", "untrained lstm"} <= systems

    @pytest.mark.parametrize("name", shipped_specs())
    def test_editors_are_told_the_schema(self, name):
        assert shipped_specs()[name].read_text().splitlines()[0] == "# yaml-language-server: $schema=schema.json"

    def test_what_runs_by_default(self):
        suits = {name: load_spec(name, scale=None).suits for name in shipped_specs()}
        by_default = {"smoke": ("smoke",), "table2": ("cpu", "gpu"), "table2-maestro": ("gpu",)}
        assert {name: scales for name, scales in suits.items() if scales} == by_default


@pytest.mark.parametrize(
    ("more", "dataset", "title"),
    [
        ("seeds: 3", None, "Smoke benchmark"),
        ("seeds: 3", "chorales", "Smoke benchmark"),
        ("seeds: 3", "calibration", "mine on the dataset calibration"),
        ("dataset: {name: calibration}", None, "mine on the dataset calibration"),
        ("dataset: {name: calibration}\nname: his", "chorales", "his on the dataset chorales"),
        ("dataset: {name: calibration}\ntitle: Coins", None, "Coins"),
        ("dataset: {name: calibration}\ntitle: Coins\nscales: {cpu: {dataset: {options: {pieces: 30}}}}", None, "Coins"),
        ("scales: {cpu: {dataset: {name: calibration}}}", None, "mine on the dataset calibration"),
        ("dataset: {name: calibration}\ntitle: Coins", "chorales", "mine on the dataset chorales"),
    ],
)
def test_a_title_is_not_inherited_by_other_music(tmp_path, more, dataset, title):
    (tmp_path / "mine.yaml").write_text(f"extends: smoke\n{more}\n")
    assert load_spec(tmp_path / "mine.yaml", scale="cpu", dataset=dataset).title == title
    (tmp_path / "base.yaml").write_text("title: A protocol\nprotocol: {prompt: 10}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\ndataset: {name: calibration}\n")
    assert load_spec(tmp_path / "own.yaml", scale=None).title == "A protocol", "which had no music"


@pytest.mark.parametrize(
    ("more", "options", "kept"),
    [
        ("title: Mine", {}, True),
        ("seeds: 3", {}, False),
        ("scales: {cpu: {seeds: 3}}", {}, False),
        ("title: Mine", {"seeds": 3}, True),
        ("title: Mine", {"models": ["lstm"]}, False),
        ("title: Mine", {"dataset": "calibration"}, False),
    ],
)
def test_a_description_is_not_inherited_by_what_it_is_not_of(tmp_path, more, options, kept):
    (tmp_path / "mine.yaml").write_text(f"extends: smoke\n{more}\n")
    spec = load_spec(tmp_path / "mine.yaml", scale=None, **options)
    assert spec.description == (load_spec("smoke", scale=None).description if kept else "")
    (tmp_path / "own.yaml").write_text("extends: mine.yaml\ndescription: My own.\nseeds: 2\n")
    assert load_spec(tmp_path / "own.yaml", scale=None).description == "My own."
