"""The command line. A :class:`BenchError` that no command handles ends here: message and hint go to stderr, then its exit code.

Nothing heavy is imported before a command needs it: `bench list` answers within a second and loads no framework.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection
from typing import Annotated, Any, NoReturn

import typer

from bench.cli import audit, compare, data, export, external, gate, history, listen, listening, model, new, run, show, tune
from bench.cli.output import as_bench_error, make_console, prepare_output, show_error
from bench.errors import BenchError, StoppedError, import_refused, is_of_a_library, of_ctrl_c
from bench.system.memory import memory_shared, own_process, use_linear_algebra

#: Exit codes that no command leaves: of a bug (EX_SOFTWARE of sysexits.h), after Ctrl-C, and of a reader that went away, the last
#: two as a shell reports the signals.
INTERNAL, INTERRUPTED, BROKEN_PIPE = 70, 130, 141

#: Commands of what may be a stranger's: they take no more memory than others can spare. They start no trial, which may need all.
READING = frozenset(
    ["score", "report", "merge", "verify", "listen", "listen-test", "baseline", "check", "compare", "export"]
    + [f"history {name}" for name in ("add", "show")]
)

#: Variables that NumPy converts to whole numbers as it is imported, in commands that need neither; another value is ignored.
_WHOLE = ("SOURCE_DATE_EPOCH", "NUMPY_MADVISE_HUGEPAGE")


def _group(help: str, *examples: str, **more: Any) -> typer.Typer:
    return typer.Typer(help=help, epilog=_examples(examples), rich_markup_mode="rich", **more)


def _examples(commands: tuple[str, ...]) -> str:
    word = "Examples" if len(commands) > 1 else "Example"
    return f"{word}: " + "; ".join(f"[bold]{command}[/bold]" for command in commands)


app = _group(
    "Compares symbolic music generators on the same music, the same way.",
    "bench all",
    "bench run smoke",
    "bench list",
    name="bench",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = _group("Fetch a dataset, or verify what is there.", "bench data fetch maestro", no_args_is_help=True)
app.add_typer(data_app, name="data")
model_app = _group("Fetch or verify the weights that a model comes with.", "bench model fetch mine", no_args_is_help=True)
app.add_typer(model_app, name="model")
new_app = _group("Write a plug-in to begin with.", "bench new model my-model", no_args_is_help=True)
app.add_typer(new_app, name="new")
history_app = _group(
    "Runs over time: trends, and where they changed.",
    "bench history add latest",
    "bench history show --html history.html",
    no_args_is_help=True,
)
app.add_typer(history_app, name="history")


def _show_version(asked: bool) -> None:
    if asked:
        from bench.system import provenance

        typer.echo(f"bench {provenance.version()}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _add(name: str, command: Callable[..., None], *examples: str, to: typer.Typer = app) -> None:
    what = f"history {name}" if to is history_app else name if to is app else ""
    to.command(name, epilog=_examples(examples))(_sharing(command, f"bench {what}") if what in READING else command)


def _sharing(command: Callable[..., None], what: str) -> Callable[..., None]:
    @functools.wraps(command)
    def share(*given: Any, **options: Any) -> None:
        if options.get("watch"):  # for hours: what is available now says nothing of then
            command(*given, **options)
            return
        use_linear_algebra()
        with memory_shared(what):
            command(*given, **options)

    return share


_add("all", run.run_all, "bench all")
_add(
    "run",
    run.run,
    "bench run table2 --models lstm,transformer --seeds 5",
    "bench run my-spec.yaml --plugins my-models/",
)
_add("tune", tune.tune, "bench tune table2 --to tuned.yaml")
_add("list", show.list_, "bench list models --plugins my-models/")
_add(
    "fetch",
    data.fetch,
    "bench data fetch maestro",
    "bench data fetch midiworld --spec table2-midiworld",
    "bench data fetch pop909",
    to=data_app,
)
_add(
    "verify",
    data.verify,
    "bench data verify maestro --data ~/maestro-v3.0.0",
    "bench data verify midiworld --option limit=50",
    to=data_app,
)
_add("model", new.model, "bench new model my-model", "bench new model my-model --to my-models/", to=new_app)
_add("fetch", model.fetch, "bench model fetch mine --plugins my-models/", to=model_app)
_add("verify", model.verify, "bench model verify mine --plugins my-models/", to=model_app)
_add("prompts", external.prompts, "bench prompts table2 --to prompts")
_add(
    "score",
    external.score,
    "bench score continued --prompts prompts --spec table2 --name magenta",
    "bench score mine --run latest",
)
_add("audit", audit.audit, "bench audit --spec table2")
_add("report", show.report, "bench report latest", "bench report table2-cpu --watch")
_add("merge", show.merge, "bench merge host1/table2-cpu host2/table2-cpu --name table2-both")
_add("verify", show.verify, "bench verify latest")
_add("listen", listen.listen, "bench listen latest", "bench listen table2-cpu --systems lstm,markov")
_add("listen-test", listening.listen_test, "bench listen-test latest", "bench listen-test latest --votes votes/")
_add("baseline", gate.baseline, "bench baseline latest --file baseline.json")
_add("check", gate.check, "bench check latest --baseline baseline.json", "bench check smoke-cpu --baseline b.json --format junit")
_add("compare", compare.compare, "bench compare table2-cpu latest", "bench compare old new --format html --output compare.html")
_add("add", history.add, "bench history add latest", to=history_app)
_add(
    "show",
    history.show,
    "bench history show --html history.html",
    "bench history show --markdown",
    "bench history show --baselines reports/baselines",
    to=history_app,
)
_add("export", export.export, "bench export latest --to mlflow", "bench export table2-cpu --to parquet --output table2.parquet")
_add("doctor", show.doctor, "bench doctor", "bench doctor --gpu")


def main(interrupted: Collection[int] = ()) -> None:
    """Entry point of the command `bench`.

    Parameters
    ----------
    interrupted : collection of int
        Grows by each Ctrl-C, for what makes another error of it.

    Only `bench check` leaves 1, by :class:`typer.Exit`. Python leaves 1 after any exception, and Typer after a broken pipe and an
    :class:`EOFError`; a script could not tell these from a regression, so they get codes of their own.
    """
    prepare_output()
    os.environ["MPLBACKEND"] = "agg"  # figures are files; a notebook's own lets matplotlib fail where it isn't installed
    for name in _WHOLE:
        if not re.fullmatch("[0-9]{1,12}", os.environ.get(name, "0")):
            del os.environ[name]
    try:
        with own_process():
            _run(interrupted)
    finally:
        _settle_output()


def _settle_output() -> None:
    """Give up what can't be written, as on a full disk: Python would try again at its end, and then leave 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(interrupted: Collection[int]) -> None:
    try:
        app(prog_name="bench")
    except (BenchError, StoppedError, OSError, MemoryError) as error:
        if of_ctrl_c(error) and not isinstance(error, StoppedError):  # that says what was stopped
            sys.exit(INTERRUPTED)
        known = error if isinstance(error, StoppedError) else as_bench_error(error)
        _say(known)
        sys.exit(INTERRUPTED if interrupted and is_of_a_library(error) else known.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as ending:
        if _of_a_command(ending):
            _exit_as_bug(ending)
        if ending.code == 1 and not isinstance(ending.__context__, typer.Exit):
            sys.exit(BROKEN_PIPE if isinstance(ending.__context__, OSError) else INTERNAL)
        raise
    except BaseException as error:  # a library's panic is no Exception, and Python would leave 1, which means worse
        if interrupted:
            sys.exit(INTERRUPTED)
        if isinstance(error, ImportError | SystemError) and (
            refused := import_refused(error, getattr(error, "name", None) or "a library")
        ):
            _say(refused)
            sys.exit(refused.exit_code)
        _exit_as_bug(error)


def _of_a_command(ending: SystemExit) -> bool:
    """Whether a library ended the process inside a command, which raises :class:`typer.Exit`, for Typer to end it outside."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(ending.__traceback__)]
    return any(name.startswith("bench.") and name != __name__ for name in frames)


def _exit_as_bug(error: BaseException) -> NoReturn:
    with contextlib.suppress(OSError):
        traceback.print_exception(error)
    hint = "Please report it with the lines above, unless a file of the run or the dataset was edited by hand."
    _say(BenchError(f"bench has a bug: {type(error).__name__}: {error}.", hint))
    sys.exit(INTERNAL)


def _say(error: BenchError | StoppedError) -> None:
    """Print an error; where nothing can be printed, as on a full disk, the exit code still tells."""
    with contextlib.suppress(OSError):
        show_error(make_console(stderr=True), error)
