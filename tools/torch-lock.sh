#!/bin/sh
# Print the lock of the build of torch that pip can get: tools/torch-lock.sh PYTHON
#
# PyTorch's build for processors alone, where pip's indexes and folders offer it; else the Python Package Index's, which brings the
# libraries for NVIDIA's GPUs and runs without a GPU too. Each is checked by its own hashes. Which one it is, and why, goes to stderr.
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu offers the former, gigabytes smaller, for Python 3.11 and 3.12.
# Where pip fails, so does this: a network that is down is no reason to download gigabytes.
set -eu
locks=$(dirname "$0")/../requirements
chosen() {
  echo "torch-lock: requirements/$1.txt: $2" >&2
  echo "requirements/$1.txt"
}
if "$1" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then
  chosen pytorch-cuda "PyTorch's build for processors alone is locked for Python 3.11 and 3.12 only"
  exit
fi
if words=$("$1" -m pip install --dry-run --no-deps --ignore-installed --require-hashes \
  --requirement "$locks/pytorch-cpu.txt" 2>&1); then
  chosen pytorch-cpu "pip can get PyTorch's build for processors alone"
  exit
fi
# pip says "No matching distribution" also where it could not ask; then it has warned of the connection before.
unasked=$(printf '%s\n' "$words" | grep -e 'connection broken' -e 'Could not fetch URL' | grep -v '404 Client Error' || true)
case $words in
*'No matching distribution found for torch=='*)
  if [ -z "$unasked" ]; then
    chosen pytorch-cuda "pip's indexes don't offer PyTorch's build for processors alone"
    exit
  fi
  ;;
esac
printf '%s\n' "$words" >&2
echo "torch-lock: pip failed, so it is unknown which build of torch it can get" >&2
exit 1
