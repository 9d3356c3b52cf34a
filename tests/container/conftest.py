"""The image under test: $BENCH_IMAGE, or built from the checkout on $BENCH_BASE_IMAGE with VARIANT=cpu."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .container_tools import LOCKED_DOWN, ROOT, docker

BASE = "debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716"


@pytest.fixture(scope="session")
def image() -> str:
    if not shutil.which("docker") or docker("info", check=False).returncode:
        pytest.skip("no Docker engine answers")
    if given := os.environ.get("BENCH_IMAGE"):
        return given
    base = os.environ.get("BENCH_BASE_IMAGE", BASE)
    build = ["build", "--network=host", "--file", "Dockerfile.gpu", "--tag", "bench:test"]
    arguments = [
        "--build-arg",
        f"BASE_IMAGE={base}",
        "--build-arg",
        "VARIANT=cpu",
        *shlex.split(os.environ.get("BENCH_BUILD_ARGS", "")),
    ]
    done = subprocess.run(
        ["docker", *build, *arguments, "."], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return "bench:test"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A reports folder that belongs to the image's user, or to whoever runs the tests."""
    folder = tmp_path / "reports"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, 1000, 1000)
    return folder


@pytest.fixture
def options(reports: Path) -> list[str]:
    """The options of `docker run`, with --user only where the folder isn't that of the image's user."""
    owner = reports.stat()
    user = [] if owner.st_uid == 1000 else ["--user", f"{owner.st_uid}:{owner.st_gid}"]
    return [*LOCKED_DOWN, *user, "--volume", f"{reports}:/reports"]


@pytest.fixture
def background(image: str) -> Iterator[Callable[..., str]]:
    """Start a container that is removed at the end; its id."""
    started: list[str] = []

    def start(*arguments: str) -> str:
        started.append(docker("run", "--detach", *arguments).stdout.strip())
        return started[-1]

    yield start
    for container in started:
        docker("rm", "--force", "--volumes", container, check=False)
