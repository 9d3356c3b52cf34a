"""Short checks of a GPU by the frameworks, each in its own interpreter; none is imported here.

A probe writes a line when a check starts and one with its result, so that a crash or a hang is known by its check.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError
from bench.system import gpu
from bench.system.drawing import load_matplotlib
from bench.system.frameworks import interpreter
from bench.system.paths import Places

#: Seconds after which a framework's checks are given up. Starting TensorFlow and compiling take most of the time.
TIMEOUT = 180.0


class Check(NamedTuple):
    """A check of a GPU by one framework: whether it passed; the figures, or the reason why not."""

    framework: str
    name: str
    passed: bool
    detail: str


#: What each probe checks, in its order.
CHECKS = {
    "tensorflow": ("device", "product", "bfloat16", "XLA", "LSTM"),
    "torch": ("device", "product", "bfloat16", "LSTM", "GRU", "compiler"),
}

_COMMON = (
    "import json, os, re, sys\n"
    + inspect.getsource(gpu.lacking_code)
    + """
gpu = sys.argv[1] == "cuda"

def check(name, work):
    print("\\n" + json.dumps({"check": name}), flush=True)
    try:
        detail, passed = work(), True
    except Exception as error:
        detail, passed = type(error).__name__ + ": " + " ".join(str(error).split())[:300], False
    print("\\n" + json.dumps({"check": name, "passed": passed, "detail": detail}), flush=True)

def near(found, expected, most):
    import numpy
    found, expected = (numpy.asarray(x, numpy.float64) for x in (found, expected))
    apart = float(numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected))
    if not apart < most:
        raise ArithmeticError(f"it differs from the processor's result by {apart:.1e} of it; at most {most:.0e} is rounding")
    return f"within {apart:.0e} of the processor's result"

def described(name, capability, built, free, total):
    if reason := lacking_code(name, capability, built):
        raise RuntimeError(reason)
    if free is not None and free < 2**31:
        raise RuntimeError(f"of its {total / 2**30:.1f} GiB of memory only {free / 2**30:.1f} are free")
    memory = "" if free is None else f", {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return f"{name}, compute capability {capability[0]}.{capability[1]}{memory}"
"""
)

_PYTORCH = """
import torch
where = sys.argv[1]
torch.manual_seed(0)
torch.backends.cudnn.allow_tf32 = False

def device():
    if not gpu:
        return "the processor"
    cuda = torch.cuda
    return described(cuda.get_device_name(), cuda.get_device_capability(), cuda.get_arch_list(), *cuda.mem_get_info())

def product(dtype=torch.float32, most=1e-5):
    a = torch.randn(512, 512)
    return near((a.to(where, dtype) @ a.to(where, dtype)).float().cpu(), a @ a, most)

def bfloat16():
    if gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "not in this GPU's hardware: networks are trained in float32"
    return product(torch.bfloat16, 0.02)

def recurrent(kind):
    layer, x, found = kind(64, 64, batch_first=True), torch.randn(8, 32, 64), []
    for place in ("cpu", where):
        layer.to(place).zero_grad()
        layer(x.to(place))[0].square().sum().backward()
        found.append(layer.weight_hh_l0.grad.cpu().clone())
    return near(found[1], found[0], 1e-3)

def compiler():
    layer = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.LayerNorm(64)).to(where)
    x = torch.randn(128, 64, device=where)
    result = torch.compile(layer, backend="inductor" if gpu else "aot_eager")(x)
    result.sum().backward()
    return near(result.detach().cpu(), layer(x).detach().cpu(), 1e-4)

check("device", device)
check("product", product)
check("bfloat16", bfloat16)
check("LSTM", lambda: recurrent(torch.nn.LSTM))
check("GRU", lambda: recurrent(torch.nn.GRU))
check("compiler", compiler)
"""

_TENSORFLOW = (
    inspect.getsource(gpu.load_cusolver)
    + inspect.getsource(load_matplotlib)
    + """
load_cusolver()
load_matplotlib()
os.environ["KERAS_BACKEND"] = "tensorflow"
import numpy, tensorflow as tf, keras
tf.config.experimental.enable_tensor_float_32_execution(False)
where = "/GPU:0" if gpu else "/CPU:0"
keras.utils.set_random_seed(0)
gpus = tf.config.list_physical_devices("GPU")
for each in gpus:
    tf.config.experimental.set_memory_growth(each, True)

def device():
    if not gpu:
        return "the processor"
    details = tf.config.experimental.get_device_details(gpus[0])
    built = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", [])
    return described(details.get("device_name", gpus[0].name), details.get("compute_capability", (0, 0)), built, None, None)

def product(dtype=tf.float32, most=1e-5):
    a = numpy.random.default_rng(0).standard_normal((512, 512)).astype("float32")
    with tf.device(where):
        x = tf.cast(tf.constant(a), dtype)
        return near(tf.cast(tf.matmul(x, x), tf.float32).numpy(), a @ a, most)

def xla():
    a = numpy.random.default_rng(0).standard_normal((128, 128)).astype("float32")
    with tf.device(where):
        result = tf.function(lambda x: tf.tanh(tf.matmul(x, x)), jit_compile=True)(tf.constant(a))
    return near(result.numpy(), numpy.tanh(a @ a), 1e-4)

def lstm():
    x, found, weights = numpy.random.default_rng(0).standard_normal((8, 32, 64)).astype("float32"), [], None
    for place in ("/CPU:0", where):
        with tf.device(place):
            layer = keras.layers.LSTM(64, return_sequences=True, use_cudnn=place != "/CPU:0")
            layer.build((8, 32, 64))
            weights = weights or layer.get_weights()
            layer.set_weights(weights)
            values = [v.value for v in layer.trainable_variables]
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(layer(tf.constant(x))))
            for value, gradient in zip(values, tape.gradient(loss, values)):
                value.assign_sub(1e-3 * gradient)
            found.append(values[1].numpy())
    return near(found[1] - weights[1], found[0] - weights[1], 1e-3)

check("device", device)
check("product", product)
check("bfloat16", lambda: product(tf.bfloat16, 0.02))
check("XLA", xla)
check("LSTM", lstm)
"""
)

_PROBES = {"torch": _COMMON + _PYTORCH, "tensorflow": _COMMON + _TENSORFLOW}


def probe(framework: str, device: str = "cuda", timeout: float = TIMEOUT) -> list[Check]:
    """Check the first GPU by one framework, in its own interpreter.

    Parameters
    ----------
    framework : {"torch", "tensorflow"}
    device : {"cuda", "cpu"}
        The processor shows whether the framework itself works.
    timeout : float
        Seconds.

    Returns
    -------
    list of Check
        In the probe's order. Where the process ended early, the check that it was in failed, and those after it are missing.
    """
    with tempfile.TemporaryDirectory(dir=_executable()) as compiled:
        variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "TORCHINDUCTOR_CACHE_DIR": compiled, "TRITON_CACHE_DIR": compiled}
        try:
            command = [interpreter((framework,)), "-P", "-c", _PROBES[framework], device]
            answer = subprocess.run(
                command,
                capture_output=True,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **variables},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return list(_checks(framework, error.stdout or b"", f"not done after {timeout:g} s"))
        except UsageError as error:
            return [Check(framework, "start", False, error.message)]
        except OSError as error:
            return [Check(framework, "start", False, str(error))]
    lines = answer.stderr.decode(errors="replace").strip().splitlines()
    ending = f"signal {-answer.returncode}" if answer.returncode < 0 else f"exit code {answer.returncode}"
    return list(_checks(framework, answer.stdout, f"the process ended with {ending}{f': {lines[-1]}' if lines else ''}"))


def _executable() -> Path:
    """Choose a folder for compiled code: that of temporary files, or the reports' where no code of the former may run."""
    usual, reports = Path(tempfile.gettempdir()), Places.find(None).out
    for folder in (usual, next(place for place in (reports, *reports.parents) if place.exists())):
        if os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_NOEXEC:
            return folder
    return usual


def _checks(framework: str, output: bytes, ending: str) -> Iterator[Check]:
    """Yield the results in a probe's output; the check that has none, or the start, failed because of the `ending`."""
    started, seen = ["start"], set[str]()
    for entry in _entries(output.decode(errors="replace").splitlines()):
        name = str(entry["check"])
        if "passed" in entry:
            seen.add(name)
            yield Check(framework, name, entry["passed"] is True, str(entry.get("detail", "")))
        else:
            started.append(name)
    if started[-1] not in seen or CHECKS[framework][-1] not in seen:
        yield Check(framework, started[-1] if started[-1] not in seen else "end", False, ending)


def _entries(lines: Iterable[str]) -> Iterator[dict[str, object]]:
    """Yield the lines that a probe wrote, among those of the framework."""
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and "check" in entry:
            yield entry
