"""Process that speaks with a Ray cluster: ``python ray_driver.py ADDRESS``.

It imports nothing of bench, so any interpreter that has the cluster's version of Ray can run it. Each line of stdin is a JSON
object: a command to run as a task, or the order to cancel all. Each line of stdout says what became of one. When stdin ends, all
tasks do.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

#: Seconds between two looks at the tasks.
LOOK = 0.5

#: Seconds for a machine to answer.
CONNECT = 10.0

#: Seconds for a trial to end before its machine's worker is killed.
GRACE = 10.0

#: ``errno`` where a machine has no more of something for the moment.
SHORT = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}

#: Seconds between two looks at the machines: one that is large enough for a task may come, or the only one may go.
MACHINES = 5.0


def run_command(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a trial's command on a machine of the cluster; return its exit code and its last word.

    Its stdin closes when the worker of Ray ends, and that ends it.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        except OSError as error:
            if error.errno in SHORT:  # an exception of its task: the trial starts again
                raise
            return 127, f"{error} on {socket.gethostname()}"  # as of a shell
        try:
            code = process.wait()
        finally:  # cancelled: KeyboardInterrupt
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        said.seek(max(0, said.tell() - 2000))
        return code, said.read().decode(errors="replace").strip().rpartition("\n")[2]


def say(out: Any, **message: Any) -> None:
    """Send a line."""
    out.write(json.dumps(message) + "\n")
    out.flush()


def main() -> int:
    """Serve one run."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints
    address = sys.argv[1]
    if not _answers(address):  # Ray would try for minutes
        say(out, error=f"nothing answers at {address}")
        return 1
    try:
        import ray  # no requirement of the package
    except ImportError:
        say(out, absent=f"{sys.executable} has no Ray")
        return 1
    try:
        ray.init(address=None if address == "local" else address, log_to_driver=False, include_dashboard=False)
    except Exception as error:
        say(out, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        return 1
    lines: queue.Queue[str | None] = queue.Queue()
    say(out, connected=address)
    print(f"connected to node {ray.get_runtime_context().get_node_id()}", file=sys.stderr, flush=True)
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        _serve(ray, out, lines)
    finally:
        ray.shutdown()
    return 0


def _answers(address: str) -> bool:
    """Whether something listens at HOST:PORT; of another kind of address Ray itself knows."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "/" in host:
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
    except (OSError, OverflowError):
        return False
    return True


def _read(lines: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)


def _serve(ray: Any, out: Any, lines: queue.Queue[str | None]) -> None:
    # A lost machine is the runner's to notice: only that knows whether the trial goes on elsewhere.
    task = ray.remote(max_retries=0)(run_command)
    waiting: list[dict[str, Any]] = []
    running: dict[Any, str] = {}
    #: CPUs and GPUs of each task of these, and why no machine can have it, as last told.
    asked: dict[str, tuple[float, float, str]] = {}
    looked = 0.0
    while True:
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=LOOK)
            if line is None or "cancel" in (message := json.loads(line)):
                break
            waiting.append(message)
            if not lines.empty():
                continue
        while waiting and len(running) < (waiting[0]["most"] or len(running) + 1):
            message = waiting.pop(0)
            uses = {"num_cpus": message["cpus"], "num_gpus": message["gpus"]}
            running[task.options(**uses).remote(message["command"], message["environment"])] = message["key"]
            asked[message["key"]] = (message["cpus"], message["gpus"], "")
            say(out, key=message["key"], state="running")
        for reference in ray.wait(list(running), num_returns=len(running), timeout=0)[0] if running else ():
            del asked[running[reference]]
            _report(ray, out, reference, running.pop(reference))
        if asked and time.monotonic() - looked > MACHINES:
            looked, nodes = time.monotonic(), ray.nodes()
            for key, (cpus, gpus, told) in list(asked.items()):
                if (reason := too_large(nodes, cpus, gpus)) != told:
                    asked[key] = (cpus, gpus, reason)
                    say(out, key=key, state="waiting" if reason else "running", reason=reason)
    for reference in running:
        ray.cancel(reference)
    until = time.monotonic() + GRACE
    while running and time.monotonic() < until:
        for reference in ray.wait(list(running), num_returns=len(running), timeout=LOOK)[0]:
            del running[reference]


def too_large(nodes: Sequence[dict[str, Any]], cpus: float, gpus: float) -> str:
    """Say that no machine has what a task asks for, and what they have: Ray would wait for one for ever. Empty if one has.

    Parameters
    ----------
    nodes : sequence of dict
        What ``ray.nodes()`` returns.
    cpus, gpus : float
    """
    machines = {(m.get("CPU", 0), m.get("GPU", 0)) for m in (node["Resources"] for node in nodes if node["Alive"])}
    if any(cpus <= has and gpus <= cards for has, cards in machines):
        return ""
    have = "; ".join(f"{has:g} and {cards:g}" for has, cards in sorted(machines))
    return (
        f"no machine of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs ({f'they have {have}' if have else 'none is alive'})"
    )


def _report(ray: Any, out: Any, reference: Any, key: str) -> None:
    try:
        code, said = ray.get(reference)
        say(out, key=key, state="ended", code=code, reason=f"exit code {code}: {said}" if code and said else "")
    except Exception as error:
        if isinstance(error, ray.exceptions.LocalRayletDiedError):  # no task can start any more
            say(out, error="the process of Ray on this machine was lost")
            raise
        cause = getattr(error, "cause", None)  # of an exception in the task itself
        say(out, key=key, state="ended", reason=str(cause) if isinstance(cause, OSError) else type(error).__name__)


if __name__ == "__main__":
    sys.exit(main())
