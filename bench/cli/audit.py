"""`bench audit`: which corruptions each metric detects, and which it rewards."""

from __future__ import annotations

import hashlib
from typing import Annotated

import typer

from bench.cli.display import make_display
from bench.cli.options import DataOption, OutOption, PluginsOption, QuietOption, ScaleOption
from bench.cli.output import make_console, print_line


def audit(
    spec: Annotated[
        str, typer.Option("--spec", metavar="SPEC", help="Its dataset and protocol: a name, or a YAML file.")
    ] = "table2",
    dataset: Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Another dataset.")] = None,
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure every metric on controlled corruptions of held-out music: what it detects, what it rewards. Nothing is trained."""
    from bench.audit import write_audit
    from bench.audit.report import failures
    from bench.audit.responses import audit as measure_all
    from bench.runner.held_out import hold_out
    from bench.specs.load import load_spec
    from bench.specs.scales import choose_scale
    from bench.system.paths import Places

    places = Places.find(out, data or (), plugins or ())
    resolved = load_spec(spec, places.plugins, scale=choose_scale(scale, spec, places.plugins)[0], dataset=dataset)
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        held_out = hold_out(resolved, places, display=display)
        result = measure_all(held_out)
    # A name for these pieces alone: the audit of other music, or of another protocol, stays.
    pieces = hashlib.sha256(f"{held_out.prepared.corpus_key} {resolved.protocol.model_dump_json()}".encode()).hexdigest()[:6]
    written = write_audit(result, places.out / "audit" / f"{resolved.dataset.name}-{pieces}")
    if not quiet:
        for line in failures(result):
            print_line(console, line)
    print_line(console, str(written[0]))
