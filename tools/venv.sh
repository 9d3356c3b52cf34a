#!/bin/sh
# Make a virtual environment that has pip: tools/venv.sh FOLDER
#
# pip is then replaced by the locked version, so that the installer is pinned like what it installs.
#
# The Python is $PYTHON, or the first of python3.11, python3.12, python3.13, python3 that suits. A folder that already holds one is kept.
# Debian and Ubuntu ship python3 without ensurepip (it is in python3-venv). Then pip comes from that Python's own pip where it has
# one, else from the distribution's pip wheel, fetched with apt-get into a temporary folder: no root, nothing installed in the system.
set -eu
folder=$1
pip_lock=$(dirname "$0")/../requirements/pip.txt

die() { printf 'error: %s\n%s\n' "$1" "$2" >&2; exit 2; }

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

choose_python() {
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if suits "$candidate"; then command -v "$candidate"; return; fi
  done
  found=$(python3 --version 2>&1) || found="no python3"
  die "midibench needs Python 3.11, 3.12 or 3.13; here is: ${PYTHON:-$found}" \
    "Install one of them (Debian 12: apt install python3; Ubuntu 24.04: apt install python3), or name one: make PYTHON=/path/to/python3.12 …"
}

# The distribution's pip wheel, unpacked under the folder $1; its path is printed.
fetch_pip_wheel() {
  (
    cd "$1"
    private="-o Dir::State::Lists=$1/lists -o Dir::Cache=$1/cache -o APT::Sandbox::User=root"
    mkdir -p lists/partial cache/archives/partial
    # A fresh machine may never have fetched its package lists, or have stale ones: then fetch them, privately.
    # shellcheck disable=SC2086
    apt-get -qq -o APT::Sandbox::User=root download python3-pip-whl 2>/dev/null ||
      { apt-get -qq $private update && apt-get -qq $private download python3-pip-whl; }
    dpkg-deb -x python3-pip-whl_*.deb unpacked
  ) >&2 || return 1
  ls "$1"/unpacked/usr/share/python-wheels/pip-*.whl
}

add_pip() {
  if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip --python "$folder/bin/python" install --quiet --require-hashes --requirement "$pip_lock" && return
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  wheel=$(ls /usr/share/python-wheels/pip-*.whl 2>/dev/null) || wheel=$(command -v apt-get >/dev/null && fetch_pip_wheel "$work") ||
    die "$python has neither ensurepip nor pip, and the distribution's pip could not be fetched" "Run: apt install python3-venv (as root), then this again."
  "$folder/bin/python" "$wheel/pip" install --quiet --no-index "$wheel"
}

lock_pip() {
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$pip_lock"
}

if [ -x "$folder/bin/python" ] && suits "$folder/bin/python" && "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
  lock_pip
  exit
fi
python=$(choose_python)
echo "making $folder with $("$python" --version)" >&2
if "$python" -c 'import ensurepip' 2>/dev/null; then
  "$python" -m venv --clear "$folder"
else
  "$python" -m venv --clear --without-pip "$folder"
  add_pip
fi
lock_pip
