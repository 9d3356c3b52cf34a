#!/bin/sh
# Resolve the locks as pip would install them, without installing: tools/resolve-locks.sh PIP_PYTHON [VERSION ...]
#
# Each set of locks that makes an environment, for each version of Python that the project supports. pip checks that every version
# exists for it, that none contradicts another, and that hashes are there for all.
set -eu
python=$1
shift
[ $# -gt 0 ] || set -- 3.11 3.12 3.13
locks=$(dirname "$0")/../requirements
failed=0
for version in "$@"; do
  for framework in pytorch-cuda tensorflow-cuda tensorflow-cpu; do
    folder=$(mktemp -d)
    if "$python" -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --only-binary :all: --require-hashes \
      --python-version "$version" --target "$folder" --requirement "$locks/base.txt" --requirement "$locks/$framework.txt" >"$folder/log" 2>&1
    then
      echo "Python $version: base and $framework resolve"
    else
      echo "Python $version: base and $framework don't resolve:"
      grep -v '^WARNING' "$folder/log" | tail -n 5
      failed=1
    fi
    rm -rf "$folder"
  done
done
exit $failed
