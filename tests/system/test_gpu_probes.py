"""The checks of a GPU: their own code on the processor, and interpreters that answer, crash or hang."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.system import gpu_probes
from bench.system.gpu_probes import CHECKS, Check, probe

from .scripts import script


@pytest.mark.training
@pytest.mark.parametrize("framework", CHECKS)
def test_every_check_passes_on_the_processor(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(framework)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    checks = probe(framework, "cpu", timeout=400)
    assert [(check.name, check.passed) for check in checks] == [(name, True) for name in CHECKS[framework]], checks
    assert checks[0].detail == "the processor"
    assert all("of the processor's result" in check.detail for check in checks[1:])


def test_what_a_check_measures_can_fail() -> None:
    """Another result than the processor's, an old GPU, little memory."""
    space: dict[str, object] = {}
    exec(gpu_probes._COMMON.replace("sys.argv[1]", "'cuda'"), space)
    near, described = space["near"], space["described"]
    assert near([1.0, 1.00001], [1.0, 1.0], 1e-4) == "within 7e-06 of the processor's result"  # type: ignore[operator]
    for wrong in ([1.0, 1.1], [1.0, float("nan")]):
        with pytest.raises(ArithmeticError, match="differs from the processor's result"):
            near(wrong, [1.0, 1.0], 1e-4)  # type: ignore[operator]
    gib = 2**30
    found = described("H100", (9, 0), ["sm_75", "compute_90"], 70 * gib, 80 * gib)  # type: ignore[operator]
    assert found == "H100, compute capability 9.0, 70.0 of 80.0 GiB free"
    with pytest.raises(RuntimeError, match=r"V100 has compute capability 7\.0, and the build has code for 7\.5, 9\.0"):
        described("V100", (7, 0), ["sm_75", "sm_90"], 9 * gib, 9 * gib)  # type: ignore[operator]
    with pytest.raises(RuntimeError, match=r"of its 80\.0 GiB of memory only 1\.0 are free"):
        described("H100", (9, 0), ["sm_90"], gib, 80 * gib)  # type: ignore[operator]


DEVICE = """echo 'a warning'; echo '{"check": "device"}'; echo '{"check": "device", "passed": true, "detail": "H100"}'"""
PRODUCT = f"""{DEVICE}; echo '{{"check": "product"}}'"""


@pytest.mark.parametrize(
    ("answer", "name", "detail"),
    [
        (f"{PRODUCT}; echo 'no kernel image' >&2; exit 1", "product", "exit code 1: no kernel image"),
        (f"{PRODUCT}; kill -11 $$", "product", "signal 11"),
        (f"{PRODUCT}; exec sleep 60", "product", "not done after 1 s"),
        (DEVICE, "end", "exit code 0"),
    ],
)
def test_a_process_that_ends_early(answer: str, name: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(script(tmp_path / "python", answer)))
    first, second = probe("torch", timeout=1)
    assert first == Check("torch", "device", True, "H100")
    assert (second.name, second.passed) == (name, False)
    assert detail in second.detail


@pytest.mark.parametrize(("noexec", "place"), [((), "tmp"), (("tmp",), "reports"), (("tmp", "reports"), "tmp")])
def test_code_is_compiled_where_it_may_run(
    noexec: tuple[str, ...], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker mounts --tmpfs /tmp so that no program there may start, and no library be loaded."""
    for name in ("tmp", "reports"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("BENCH_REPORTS", str(tmp_path / "reports"))
    flags = {tmp_path / name: os.ST_NOEXEC for name in noexec}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=flags.get(path, 0)))
    said = tmp_path / "said"
    text = f'echo "$TRITON_CACHE_DIR" "$TORCHINDUCTOR_CACHE_DIR" >{said}'
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(script(tmp_path / "python", text)))
    probe("torch")
    assert {Path(folder).parent for folder in said.read_text().split()} == {tmp_path / place}
    assert list((tmp_path / place).iterdir()) == [], "it is removed"


def test_an_interpreter_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(script(tmp_path / "python", "echo 'No module named torch' >&2; exit 1")))
    (check,) = probe("torch")
    assert check == Check("torch", "start", False, "the process ended with exit code 1: No module named torch")
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(tmp_path / "gone"))
    (check,) = probe("torch")
    assert (check.name, check.passed) == ("start", False)
    assert "gone" in check.detail
