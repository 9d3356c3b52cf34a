"""Tables of `bench list`. Only headers are read: no plug-in and nothing that it requires is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.errors import BenchError, fetch_command
from bench.formatting import Grid
from bench.plugins.discovery import find_plugins
from bench.plugins.header import Plugin
from bench.system import frameworks
from bench.system.disk import is_folder
from bench.system.paths import Places

#: Least average width of a column for a readable table. Characters.
ROOM = 20


@dataclass
class Listing:
    """Rows under columns: a table where there is room, else a paragraph for each row."""

    title: str
    columns: Sequence[str]
    rows: list[list[Text]] = field(default_factory=list)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """See Rich's console protocol."""
        if len(self.columns) * ROOM <= options.max_width:
            yield self._table()
            return
        if self.title:
            yield Text(self.title, style="bold")
        for first, *cells in self.rows:
            yield Text.assemble((first.plain, "bold"))
            for column, cell in zip(self.columns[1:], cells, strict=True):
                if cell.plain:
                    yield Padding(Text.assemble((f"{column}: ", "dim"), cell), (0, 0, 0, 4))

    def _table(self) -> Table:
        table = Table(title=self.title or None, title_justify="left", title_style="bold", pad_edge=False, box=None)
        for column in self.columns:
            table.add_column(column, overflow="fold", no_wrap=column in ("name", "requires"))
        for row in self.rows:
            table.add_row(*row)
        return table


def tables(what: str | None, here: Places) -> Iterator[Listing]:
    """Yield the requested table, or all four."""
    models, datasets = find_plugins("model", here.plugins), find_plugins("dataset", here.plugins)
    if what in (None, "specs"):
        yield specs_table(models, datasets, here)
    if what in (None, "models"):
        yield models_table(models, here)
    if what in (None, "datasets"):
        yield datasets_table(datasets, here)
    if what in (None, "metrics"):
        yield metrics_table()


def specs_table(models: Mapping[str, Plugin], datasets: Mapping[str, Plugin], here: Places) -> Listing:
    """List the shipped specs; ready where their dataset and all that their models require are."""
    from bench.specs.check import ValidNames
    from bench.specs.load import load_spec, shipped_specs

    names = ValidNames(models, datasets)
    table = _table("Specs", "name", "what", "runs in `bench all` at", "needs", "ready")
    for name in shipped_specs():
        try:
            spec = load_spec(name, scale=None, names=names)
        except BenchError as error:
            _add(table, name, error.message, "", "", _mark("not valid"))
            continue
        plugins = [models[choice.plugin or row] for row, choice in spec.models.items()]
        requires = sorted({module for plugin in plugins for module in plugin.header["REQUIRES"]})
        lacking = list(dict.fromkeys(reason for plugin in plugins if (reason := lacking_modules(plugin))))
        if reason := lacking_dataset(datasets[spec.dataset.name], here, f" --spec {name}"):
            lacking.append(reason)
        needs = ", ".join([spec.dataset.name, *requires])
        _add(table, name, f"{spec.title}. {spec.description}".strip(), ", ".join(spec.suits), needs, _mark("; ".join(lacking)))
    return table


def models_table(models: Mapping[str, Plugin], here: Places) -> Listing:
    """List the model plug-ins; ready where all that they require is, and weights that were fetched."""
    table = _table("Models", "name", "what", "requires", "hyperparameters", "ready")
    for plugin in models.values():
        unit = plugin.header["UNIT"]
        about = _summary(plugin) + ("" if unit == "note" else f" It predicts {unit}s.")
        lacking = "; ".join(filter(None, (lacking_modules(plugin), lacking_weights(plugin, here))))
        _add(table, plugin.name, about, ", ".join(plugin.header["REQUIRES"]), _parameters(plugin), _mark(lacking))
    return table


def datasets_table(datasets: Mapping[str, Plugin], here: Places) -> Listing:
    """List the dataset plug-ins; ready where they need nothing, or their files exist; `bench run` may download others."""
    table = _table("Datasets", "name", "what", "licence", "options", "ready")
    for plugin in datasets.values():
        about = f"{plugin.header['TITLE']}. {_summary(plugin)}"
        lacking = lacking_dataset(plugin, here)
        _add(table, plugin.name, about, plugin.header["LICENSE"], _parameters(plugin), _mark(lacking))
    return table


def metrics_table() -> Listing:
    """List the metrics, which are the columns of a report."""
    from bench.metrics import METRICS

    table = _table("Metrics", "name", "what", "unit", "better", "source")
    for metric in METRICS.values():
        _add(table, metric.name, metric.definition, metric.unit, metric.better or "", metric.source)
    return table


def summary(rows: Sequence[Mapping[str, Any]]) -> Listing:
    """Show the main columns of a run that has ended."""
    from bench.metrics import METRICS

    likelihoods = ("bits_per_note", "nats_per_frame", "nats_per_event")
    measured = [name for name in likelihoods if any(row.get(name) is not None for row in rows)]
    columns = [METRICS[name] for name in ("pitch_distance", "velocity_distance", *measured, "training_seconds")]
    most = max((row["pieces"] for row in rows), default=0)
    table = _table("", "system", "seeds", *(f"{m.title} ({m.unit})" if m.unit else m.title for m in columns))
    for row in rows:
        values = [row.get(m.name) for m in columns]
        cells = ["-" if value is None else f"{value:.{m.digits}f}" for m, value in zip(columns, values, strict=True)]
        if row["seeds"] == 0:
            cells[0] = str(row["status"])
        lacking = f" ({row['pieces']} of {most} pieces)" if row["seeds"] and row["pieces"] < most else ""
        _add(table, row["system"] + lacking, str(row["seeds"]), *cells)
    return table


def grid(table: Grid, most: int | None = None) -> Listing:
    """Show a table of plain texts, or the first of its rows."""
    listing = _table("", *table.headers)
    for row in table.rows[:most]:
        _add(listing, *map(str, row))
    return listing


def lacking_modules(plugin: Plugin) -> str:
    """Say which modules a model lacks, and the command that installs them; empty if it lacks none. Nothing is imported."""
    requires = tuple(plugin.header["REQUIRES"])
    try:
        python = frameworks.interpreter(requires)
    except BenchError as error:
        return error.message
    missing = frameworks.lacking(requires, python)
    return f"no {', '.join(missing)}: {frameworks.install_command(missing, python)}" if missing else ""


def lacking_weights(plugin: Plugin, here: Places) -> str:
    """Explain in a few words that a model's weights aren't here; its own `find` decides when it is used."""
    needs, fetched = plugin.header["NEEDS"], here.cache / "weights" / plugin.name
    if needs == "nothing" or here.weights:
        return ""
    if needs == "folder":
        return "needs $BENCH_WEIGHTS"
    chosen = {name: name.upper() for name in plugin.header["WEIGHTS"]}  # to be filled in
    return "" if _has_files(fetched) else fetch_command(plugin.name, chosen, "model")


def lacking_dataset(plugin: Plugin, here: Places, selection: str = "") -> str:
    """Explain in a few words why a dataset is unavailable; empty if it needs nothing or a folder of its name exists.

    Its own `find` decides when it is used, but would need an import. `selection` is added to the command that fetches it.
    """
    needs = plugin.header["NEEDS"]
    if needs == "nothing":
        return ""
    if needs == "folder":
        return "" if any(folder.is_dir() for folder in here.data) else "needs --data DIR"
    if _has_files(here.downloads / plugin.name):
        return ""
    near = (path for root in here.data if root.is_dir() for path in (root, *root.iterdir()))
    if any(path.name.lower().startswith(plugin.name.lower()) and is_folder(path) for path in near):
        return ""
    return f"--data DIR, or bench data fetch {plugin.name}{selection}; bench run downloads it"


def _has_files(folder: Path) -> bool:
    """Whether something was downloaded into a folder: hidden files, such as a lock, are there before."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def _table(title: str, *columns: str) -> Listing:
    return Listing(title, columns)


def _add(listing: Listing, *cells: str | Text) -> None:
    """Add a row of plain texts: a plug-in's own words are no markup."""
    listing.rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])


def _mark(lacking: str) -> Text:
    """Style what is lacking, or ``yes``."""
    return Text(lacking, style="yellow") if lacking else Text("yes", style="green")


def _summary(plugin: Plugin) -> str:
    return plugin.summary or str(plugin.header.get("FEATURES", ""))


def _parameters(plugin: Plugin) -> str:
    """List names and defaults, without defaults that are named constants of the file, such as a long URL."""
    parameters = plugin.parameters.items()
    return ", ".join(
        name if p.default.isidentifier() and p.default.isupper() else f"{name}={p.default}" for name, p in parameters
    )
