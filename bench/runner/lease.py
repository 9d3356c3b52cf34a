"""Lease of a trial: whoever runs it says so, again and again, in a file that every machine of the run sees.

A lock ends with its process, but many shared file systems lock for one machine only, and a machine that is lost can't say so. A
lease is a file that only one can create. Its holder touches it; if nobody has for as long as it promises, another takes it over,
at once if the holder was a process of this machine that has ended. Two machines' clocks need not agree: a waiting process
compares what it sees with what it saw before. Should two hold one lease nevertheless, as after a suspended machine woke up, the
first notices and gives up; both would have written the same results, each file in one step.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.storage.files import BusyError, NoLocksError, hold
from bench.system.disk import MOST_RECORD, read_file

#: Seconds after which a lease that nobody touched is taken over; it must exceed what a shared file system caches (NFS: 60 s).
EXPIRES = 90.0

#: Touches of a lease in that time.
BEATS = 6


#: Name of the file beside leases whose lock lets one process of a machine at a time take one over, and seconds to wait for it.
TAKEOVER, PATIENCE = ".takeover.tmp", 5.0


@dataclass(frozen=True)
class Holder:
    """Process that holds a lease.

    Parameters
    ----------
    token : str
        Unique to this lease.
    host : str
        Name of its machine, for messages.
    where : str
        Identifies its machine's boot and process namespace: the same text means that its process can be looked up here.
    pid : int
    started : int
        Start of the process, clock ticks since boot: a process ID may be given again.
    expires : float
        Seconds between two touches at most.
    """

    token: str
    host: str
    where: str
    pid: int
    started: int
    expires: float

    @classmethod
    def this(cls, expires: float = EXPIRES) -> Holder:
        """Describe this process, with a new token."""
        pid = os.getpid()
        return cls(secrets.token_hex(8), host(), _where(), pid, _started(pid) or 0, float(expires))

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended: it was a process of this machine, and isn't there any more."""
        return self.where == _where() != "" and _started(self.pid) != self.started


def host() -> str:
    """Name of this machine; within a job of Slurm the node's, as several nodes may share a machine."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


class Lease:
    """The lease of one trial.

    Parameters
    ----------
    file : Path
        It need not exist; its folder must.
    expires : float
        Seconds that this process promises to touch it in, if it gets it.
    """

    def __init__(self, file: Path, expires: float = EXPIRES) -> None:
        self.file = file
        self._mine = Holder.this(expires)
        self._seen: tuple[object, float] = (None, 0.0)

    def holder(self) -> Holder | None:
        """Read who holds it; None if nobody does. What can't be read is a holder that never touches it."""
        try:
            data = read_file(self.file, MOST_RECORD)
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            holder = Holder(**json.loads(data))
            if all(type(getattr(holder, f.name)).__name__ == f.type for f in fields(Holder)) and holder.expires <= 3600:
                return holder
        return Holder(data[:64].hex(), "unknown machine", "", 0, 0, EXPIRES)

    def take(self) -> bool:
        """Try to get it: whether it is this process's now. Ask again to see whether a holder still touches it."""
        if (holder := self.holder()) is not None:
            if holder.token == self._mine.token:
                return True
            if not holder.ended and not self._is_still(holder):
                return False
            try:
                with hold(self.file.with_name(TAKEOVER), self.file.parent, PATIENCE):
                    self._remove(holder)
            except BusyError:
                return False
            except NoLocksError:
                self._remove(holder)
        return self._create()

    def _create(self) -> bool:
        """Create the file with its content; False if another did."""
        draft = self._aside(self._mine.token)
        try:
            draft.write_text(json.dumps(asdict(self._mine)))
            _link(draft, self.file)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _is_still(self, holder: Holder) -> bool:
        """Whether nobody touched it for as long as its holder promised, since it was first looked at."""
        try:
            touched = self.file.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        now = time.monotonic()
        if self._seen[0] != (holder.token, touched):
            self._seen = ((holder.token, touched), now)
        return now - self._seen[1] > holder.expires

    def _remove(self, holder: Holder) -> None:
        """Remove it if it is still that holder's; one that another process took over just now is given back."""
        if self.holder() != holder:
            return
        aside = self._aside(secrets.token_hex(8))
        with contextlib.suppress(FileNotFoundError):
            self.file.rename(aside)
            other = Lease(aside).holder()
            if other is not None and other.token != holder.token:
                with contextlib.suppress(FileExistsError):
                    _link(aside, self.file)
            aside.unlink(missing_ok=True)

    def _aside(self, name: str) -> Path:
        return self.file.with_name(f".{self.file.name}.{name}.tmp")

    def touch(self) -> bool:
        """Say that its holder is alive; False if it isn't this process's any more."""
        holder = self.holder()
        if holder is None or holder.token != self._mine.token:
            return False
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.file)
        return True

    def release(self) -> None:
        """Give it up, if it is this process's."""
        if (holder := self.holder()) is not None and holder.token == self._mine.token:
            self.file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def kept(self, lost: Callable[[], object]) -> Iterator[None]:
        """Touch it in a thread until the end of the block, then release it; call `lost` once if it was taken over."""
        end = threading.Event()

        def beat() -> None:
            while not end.wait(self._mine.expires / BEATS):
                with contextlib.suppress(OSError):  # a refused reading or touch: the next one counts
                    if not self.touch():
                        lost()
                        return

        thread = threading.Thread(target=beat, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
            with contextlib.suppress(OSError):
                self.release()


def _link(draft: Path, file: Path) -> None:
    """Give a file its name in one step with its content, on shared file systems too; FileExistsError if the name is taken.

    Where there are no hard links (FAT, some network and user-space file systems), its content comes a moment after its name.
    """
    try:
        os.link(draft, file)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        with file.open("x") as new:
            new.write(draft.read_text())


@functools.cache
def _where() -> str:
    """Identify this boot of this machine, and the namespace that process IDs are counted in; empty if the system doesn't say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Start of a process, clock ticks since boot; None if there is none, or it has ended and nobody has collected it yet."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()  # with its name, which it can choose
    except OSError:
        return None
    state, *rest = text.rpartition(b")")[2].split()
    return None if state in b"ZX" else int(rest[18])
