#!/bin/sh
# Print the lock of the build of torch that pip can get: tools/torch-lock.sh PYTHON
#
# PyTorch's build for processors alone, where pip's indexes and folders offer it; else the Python Package Index's, which brings the
# libraries for NVIDIA's GPUs and runs without a GPU too. Each is checked by its own hashes.
set -eu
locks=$(dirname "$0")/../requirements
if "$1" -m pip install --quiet --dry-run --no-deps --ignore-installed --require-hashes --requirement "$locks/pytorch-cpu.txt" >/dev/null 2>&1; then
  echo requirements/pytorch-cpu.txt
else
  echo requirements/pytorch-cuda.txt
fi
