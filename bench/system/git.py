"""What git is asked in: an environment in which it answers for the folder that it is given."""

from __future__ import annotations

import os

#: Variables by which git, in a hook or a rebase, names the repository that it was called in.
_OTHER = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}


def environment() -> dict[str, str]:
    """Copy the environment without the variables that name another repository than that of the folder."""
    return {name: value for name, value in os.environ.items() if name not in _OTHER}
