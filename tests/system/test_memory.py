"""Limits on memory, each in a process of its own, as this one's is the other tests'."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they have no effect")

LIMITED = """
import resource
from bench.system.memory import memory_limited
kept = bytearray(300 << 20)  # what is taken already doesn't count
before = resource.getrlimit(resource.RLIMIT_DATA)
with memory_limited(200 << 20):
    bytearray(150 << 20)
    try:
        bytearray(250 << 20)
    except MemoryError:
        print("refused")
bytearray(250 << 20)
print(resource.getrlimit(resource.RLIMIT_DATA) == before)
"""

OFFERED = """
from pathlib import Path
from bench.system.memory import offer_to_be_ended
place = Path("/proc/self/oom_score_adj")
before = max(int(place.read_text()), {before})  # only root may take it back
place.write_text(str(before))
offer_to_be_ended()
print(int(place.read_text()) == max(500, before))
"""


def said(program: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_more_is_refused_inside_the_block_alone() -> None:
    assert said(LIMITED) == ["refused", "True"]


@pytest.mark.parametrize("before", [0, 700])
def test_a_process_offers_itself_and_never_takes_that_back(before: int) -> None:
    assert said(OFFERED.format(before=before)) == ["True"]


SHARED = """
import bench.system.memory as memory
memory.available_bytes = lambda: 400 << 20
from bench.errors import MachineError
with memory.memory_shared("in another program"):
    bytearray(350 << 20)
own = memory.own_process()
own.__enter__()
with memory.memory_shared("with what libraries need in any case"):
    bytearray(350 << 20)
memory.LEAST = 0
with memory.memory_shared("reading a"):
    bytearray(250 << 20)
try:
    with memory.memory_shared("reading b"):
        kept = [bytearray(1 << 20) for _ in range(350)]
except MachineError as error:
    print(error.message.replace(" ", "_"), error.exit_code)
bytearray(350 << 20)
print("again")
"""


def test_a_quarter_of_what_is_available_is_left_to_others() -> None:
    message = "Out of memory: reading b takes more than it may: 0.3 GiB, three quarters of what is available."
    assert said(SHARED) == [message.replace(" ", "_"), "3", "again"]
