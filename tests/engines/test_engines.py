"""What every engine must do, tried on real clusters with real processes."""

import json
import os
import signal
import subprocess
import time
from typing import Any

import psutil
import pytest

from tests.engines.clusters import Cluster, Ray, Slurm, wait_for
from tests.engines.conftest import Bench


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Samples and table of a run on this machine that nothing disturbed."""
    toy = Bench(tmp_path_factory.mktemp("straight"), Cluster("local", {"jobs": 2}))
    code, said = toy.run()
    assert code == 0, said
    return toy.results()


def assert_same(toy: Bench, undisturbed: Any) -> None:
    assert toy.results() == undisturbed
    assert not toy.workers()
    assert not list((toy.run_folder / "units").glob("*.lease"))


def times(toy: Bench) -> dict[str, int]:
    return {file.parent.name: file.stat().st_mtime_ns for file in toy.run_folder.glob("trials/*/outcome.json")}


def test_every_trial_once_and_the_results_of_any_other_engine(toy: Bench, undisturbed: Any) -> None:
    code, said = toy.run()
    assert code == 0, said
    assert_same(toy, undisturbed)
    assert len([line for line in said.splitlines() if line.startswith("done ")]) == len(times(toy))
    before = times(toy)
    code, said = toy.run()
    assert code == 0, said
    assert times(toy) == before  # none ran again


#: A network of each framework that learns, small enough for a test.
NETWORKS = {
    "transformer": {"params": {"layers": 1, "width": 16, "heads": 2, "window": 16, "batch": 4}},
    "lstm": {"params": {"units": 8, "layers": 1, "embedding": 4, "head": 8, "window": 16, "batch": 4}},
}


def test_networks_draw_the_same_notes_on_every_engine(
    toy: Bench, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With as many threads: with others, sums are rounded in another order."""
    if cluster.engine == "local":
        pytest.skip("the other engines are compared with it")
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    straight = Bench(tmp_path_factory.mktemp("networks"), Cluster("local", {"jobs": psutil.cpu_count() or 1}))
    for bench in (straight, toy):
        bench.write(NETWORKS, seeds=1, budget={"epochs": 3, "timeout": 240})
        code, said = bench.run()
        assert code == 0, said
    assert toy.results() == straight.results()


def test_a_worker_killed_costs_its_trial(toy: Bench, undisturbed: Any) -> None:
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    toy.held()[0].kill()
    toy.release()
    code, said = toy.end(process)
    assert code == 3, said
    failed = [o for o in toy.outcomes().values() if o["status"] == "failed"]
    assert [o["error"]["kind"] for o in failed] == ["Killed"]
    before = times(toy)
    code, said = toy.run()
    assert code == 0, said
    assert len(set(times(toy).items()) - set(before.items())) == 1  # that trial alone
    assert_same(toy, undisturbed)


def test_the_commands_of_trials_killed_cost_no_other(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    """Of Slurm the first elements of an array, while the others wait in the queue."""
    if cluster.engine == "local":
        pytest.skip("its trials have no command of their own")
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    for unit in toy.workers("bench.runner.unit"):
        unit.kill()
    toy.release()
    code, said = toy.end(process)
    assert code == 0, said
    assert "it starts again" in said
    assert_same(toy, undisturbed)


def test_a_machine_lost_costs_no_trial(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    if cluster.engine == "local":
        pytest.skip("it is the machine that bench runs on")
    toy.hold()
    process = toy.start()
    wait_for(lambda: cluster.kill_node(toy.held(), toy.run_folder / "units"))
    toy.release()
    code, said = toy.end(process)
    assert code == 0, said
    assert_same(toy, undisturbed)


def test_the_command_killed_goes_on_where_it_was(toy: Bench, undisturbed: Any) -> None:
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    process.kill()
    process.wait()
    before = times(toy)
    toy.release()
    code, said = toy.run()
    assert code == 0, said
    assert before.items() <= times(toy).items()
    assert_same(toy, undisturbed)


def test_the_head_lost_is_said_and_resumed(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    if not isinstance(cluster, Slurm | Ray):
        pytest.skip("it has none")
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    cluster.kill_controller(toy.run_folder / "units")
    toy.release()
    code, said = toy.end(process)
    # What ran when Slurm's controller was lost goes on; a driver of Ray ends with its head.
    assert code == 3, said
    assert "The same command resumes" in said
    assert "Traceback" not in said
    cluster.repair()
    code, said = toy.run()
    assert code == 0, said
    assert_same(toy, undisturbed)


def test_a_controller_that_is_too_busy_to_answer_is_asked_again(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    if not isinstance(cluster, Slurm):
        pytest.skip("Slurm's")
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    with cluster.busy_controller():
        time.sleep(20)  # squeue gives up after ten seconds, and the next question is later
        toy.release()
        assert process.poll() is None, toy.log().read_text()
    code, said = toy.end(process)
    assert code == 0, said
    assert_same(toy, undisturbed)


def test_a_trial_that_fails_or_hangs_costs_itself(toy: Bench) -> None:
    toy.write(
        {
            "broken": {"plugin": "faulty", "params": {"how": "crash"}},
            "endless": {"plugin": "faulty", "params": {"how": "hang", "path": str(toy.folder / "pids")}},
        },
        seeds=1,
        budget={"epochs": 2, "timeout": 30},
    )
    code, said = toy.run()
    assert code == 3, said
    kinds = {name: o["status"] if o["status"] == "done" else o["error"]["kind"] for name, o in toy.outcomes().items()}
    assert kinds["endless 0"] == "Timeout"
    assert kinds["broken 0"] not in ("done", "Timeout")
    assert kinds["median 0"] == "done"
    assert not toy.workers()


def test_cancelled_it_leaves_no_process_and_resumes_on_another_engine(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, said = toy.end(process)
    assert code == 130, said
    assert "The same command resumes" in said
    wait_for(lambda: not toy.workers(), 30)
    toy.release()
    code, said = toy.run(engine="local")
    assert code == 0, said
    assert_same(toy, undisturbed)


def test_cancelled_and_started_again_at_once(toy: Bench, undisturbed: Any) -> None:
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    os.killpg(process.pid, signal.SIGINT)
    toy.release()
    code, said = toy.end(process)
    assert code == 130, said
    code, said = toy.run()
    assert code == 0, said
    assert_same(toy, undisturbed)


def test_variables_of_the_users_do_not_hide_its_jobs(
    toy: Bench, cluster: Cluster, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cluster.engine != "slurm":
        pytest.skip("Slurm's")
    for name, value in {"JOB_NAME": "mine", "ARRAY_INX": "0-99", "OUTPUT": "/dev/null", "OPEN_MODE": "truncate"}.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    code, said = toy.run()
    assert code == 0, said
    assert "it starts again" not in said
    assert_same(toy, undisturbed)


def test_a_limit_holds_over_all_arrays(toy: Bench, cluster: Cluster) -> None:
    if cluster.engine != "slurm":
        pytest.skip("Slurm's")
    toy.hold()
    process = toy.start(jobs=1)
    wait_for(toy.held)
    time.sleep(10)  # Slurm starts what can start within seconds
    assert len(toy.workers("bench.runner.unit")) == 1
    toy.release()
    code, said = toy.end(process)
    assert code == 0, said


def test_what_it_waits_for_is_told(toy: Bench, cluster: Cluster) -> None:
    if cluster.engine != "slurm":
        pytest.skip("Slurm's")
    process = toy.start(sbatch="--hold")
    wait_for(lambda: "JobHeldUser" in toy.log().read_text())
    arrays = json.loads((toy.run_folder / "units" / "slurm.json").read_text())["arrays"]
    subprocess.run(["scontrol", "release", *arrays], env={**os.environ, **cluster.environment}, check=True)
    code, said = toy.end(process)
    assert code == 0, said
    assert said.count("can't start for now") == 1


def test_a_trial_that_is_too_large_for_any_machine_is_told(toy: Bench, cluster: Cluster) -> None:
    if cluster.engine != "ray":
        pytest.skip("Slurm refuses it, and here it has the cores there are")
    process = toy.start(cpus=64)
    wait_for(lambda: "no machine of the Ray cluster has 64 CPUs and 0 GPUs (they have 1 and 0)" in toy.log().read_text())
    process.send_signal(signal.SIGINT)
    code, said = toy.end(process)
    assert code == 130, said
    assert said.count("can't start for now") == 1


def test_what_another_process_has_is_waited_for(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    """The command was killed, but its trial goes on elsewhere: a run here waits for it and does the others."""
    if cluster.engine != "slurm":
        pytest.skip("its trials end with the command")
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    process.kill()
    process.wait()
    running = {p.pid for p in toy.workers()}
    again = toy.start(engine="local")
    wait_for(lambda: toy.log().read_text().count("waits for its process on n") == len(running))
    assert running <= {p.pid for p in toy.workers()}
    toy.release()
    code, said = toy.end(again)
    assert code == 0, said
    assert_same(toy, undisturbed)


def test_one_element_cancelled_costs_its_trial(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    if not isinstance(cluster, Slurm):
        pytest.skip("Slurm's")
    toy.hold()
    process = toy.start()
    wait_for(toy.held)
    variables = toy.held()[0].environ()
    element = f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"
    psutil.Popen(["scancel", element], env={**variables}).wait(30)
    toy.release()
    code, said = toy.end(process)
    assert code == 3, said
    assert [o["error"]["message"] for o in toy.outcomes().values() if o["status"] == "failed"] == [
        "its process was cancelled (CANCELLED in Slurm)"
    ]
    code, said = toy.run()
    assert code == 0, said
    assert_same(toy, undisturbed)


def test_submitted_and_collected_later(toy: Bench, cluster: Cluster, undisturbed: Any) -> None:
    if not isinstance(cluster, Slurm):
        pytest.skip("Slurm's")
    code, said = toy.run(detach=True)
    assert code == 0, said
    assert "submitted" in said
    code, said = toy.run()
    assert code == 0, said
    assert_same(toy, undisturbed)
