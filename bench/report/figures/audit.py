"""Heat map of the metric audit, where the run's folder has it: ``audit/audit.svg`` and ``audit/audit.csv`` of ``bench audit``."""

from __future__ import annotations

import base64
import csv
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bench.formatting import listed, plural
from bench.metrics import METRICS
from bench.report.contents import Report

#: Bytes of the largest heat map that is put into the page.
LARGEST = 1 << 20


@dataclass(frozen=True)
class HeatMap:
    """Heat map as the page shows it.

    Parameters
    ----------
    source : Markup
        A ``data:`` address: as an image, whatever the file holds can't run.
    label : str
        Its findings in words.
    """

    source: Markup
    label: str


def heat_map(report: Report) -> HeatMap | None:
    """Heat map in the run's folder; None where there is none, it is too large, or its numbers are damaged."""
    image, numbers = (report.folder / "audit" / f"audit.{kind}" for kind in ("svg", "csv"))
    if not image.is_file() or not numbers.is_file() or max(image.stat().st_size, numbers.stat().st_size) > LARGEST:
        return None
    try:
        label = _label(numbers)
    except (ValueError, KeyError, csv.Error):
        return None
    encoded = base64.b64encode(image.read_bytes()).decode()
    return HeatMap(Markup("data:image/svg+xml;base64,{}").format(encoded), label)


def _label(numbers: Path) -> str:
    with numbers.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, restval=""))
    metrics = dict.fromkeys(row["metric"] for row in rows)
    corruptions = dict.fromkeys(row["corruption"] for row in rows)
    marked = {
        column: [(row["metric"], row["corruption"]) for row in rows if row.get(column) == "yes"]
        for column in ("blind", "rewards")
    }
    label = f"Heat map. {plural(len(metrics), 'metric')} against {plural(len(corruptions), 'corruption')}."
    for metric in ("pitch_distance", "velocity_distance"):
        title = METRICS[metric].title
        for column, verb in (("blind", "is blind to"), ("rewards", "rewards")):
            names = [corruption.replace("_", " ") for name, corruption in marked[column] if name == metric]
            if names:
                label += f" {title} {verb} {listed(list(dict.fromkeys(names)))}."
    return label + f" In all {len(set(marked['blind']))} pairs are blind and {len(set(marked['rewards']))} reward the damage."
