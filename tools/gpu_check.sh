#!/bin/sh
# Check bench on a GPU, from this folder, uninstalled: tools/gpu_check.sh STAGE, one of 1 to 4, or all. Each takes under 9 minutes.
#
#   1  the environment, ceilings of products and copies, tests/gpu
#   2  speed of every PyTorch model at its gpu sizes: ms a step, notes/s, MFU, memory, scoring, generation
#   3  `bench run smoke`, and `table2 --scale gpu` with a small budget; the latter again, killed at a checkpoint and resumed: the same
#      table
#   4  five epochs of table2-maestro's models, on MAESTRO where $BENCH_DATA has it, else on the chorales; then steps without compiler,
#      and without deterministic kernels
#
# Every check prints a line: PASS, FAIL or SKIP. What it wrote is in $OUT/NAME.log, all lines in $OUT/summary.txt. Exit code 1 if one
# failed.
#   PYTHON            an interpreter with bench's dependencies, PyTorch, safetensors and pytest; by default that of `make setup GPU=1`,
#                     else .venv's, else python3
#   OUT               where results go, gpu-check by default
#   MODELS            "transformer vae", say; by default all PyTorch models that predict notes. Those of events are in stage 2 always
#   GPU_CHECK_DEVICE  cpu tries the script itself: tiny sizes, on the processor
set -u
cd "$(dirname "$0")/.." || exit 2
if [ -z "${PYTHON:-}" ]; then
  for PYTHON in .venv-gpu/pytorch/bin/python .venv/bin/python python3; do
    if command -v "$PYTHON" >/dev/null; then break; fi
  done
fi
OUT=${OUT:-gpu-check}
device=${GPU_CHECK_DEVICE:-cuda}
stage_seconds=520 tests_seconds=440
models=${MODELS:-transformer music-transformer transformer-gan vae gan midinet}
listed=$(echo "$models" | tr ' ' ,)
case ${1:-} in
  [1-4]) stages=$1 ;;
  all) stages="1 2 3 4" ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' tools/gpu_check.sh; exit 2 ;;
esac
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 2
# Whatever bench and the compilers keep goes there too: later runs find what earlier ones compiled.
export PYTHONPATH="$PWD" BENCH_CACHE="$OUT/cache" TRITON_CACHE_DIR="$OUT/triton"
export PYTHONUNBUFFERED=1 COLUMNS=140
if [ "$device" = cpu ]; then
  export BENCH_GPU_TESTS=cpu
  scale=cpu tiny="--tiny --steps 2" pieces=3 options=", options: {limit: 24}" jobs=1 updates=6 epochs=1
  stage_seconds=1300 tests_seconds=1200  # two cores that do something else too
else
  scale=gpu tiny="" pieces=20 options="" jobs=4 updates=400 epochs=5
fi
passed=0 failed=0 skipped=0

now() { date +%s; }

report() {
  printf '%s  %s\n' "$1" "$2" | tee -a "$OUT/summary.txt"
  case $1 in
    PASS) passed=$((passed + 1)) ;;
    FAIL) failed=$((failed + 1)) ;;
    *) skipped=$((skipped + 1)) ;;
  esac
}

# check NAME SECONDS COMMAND...: run it, for that long and to the end of the stage at most; the last line that it wrote is reported.
check() {
  name=$1 limit=$2
  shift 2
  began=$(now)
  if [ $((deadline - began)) -lt 5 ]; then report SKIP "$name: no time is left in this stage"; return 1; fi
  if [ $((deadline - began)) -lt "$limit" ]; then limit=$((deadline - began)); fi
  timeout -k 10 "$limit" "$@" >"$OUT/$name.log" 2>&1
  code=$?
  last=$(tail -n 1 "$OUT/$name.log" | cut -c 1-1200)
  took=$(($(now) - began))
  case $code in
    0) report PASS "$name ($took s): $last" ;;
    124 | 137) report FAIL "$name: not done in $limit s, see $OUT/$name.log; its last line: $last" ;;
    *) report FAIL "$name ($took s): exit code $code, see $OUT/$name.log; its last line: $last" ;;
  esac
  return $code
}

# steps NAME MODEL OPTION...
steps() {
  name=$1
  shift
  # shellcheck disable=SC2086  # several words
  check "$name" 200 "$PYTHON" tools/gpu_steps.py "$@" --device "$device" $tiny --out "$OUT"
}

# trials NAME SECONDS ARGUMENT...: `bench run` with these arguments.
trials() {
  name=$1 limit=$2
  shift 2
  check "$name" "$limit" "$PYTHON" -m bench run "$@" --scale "$scale" --no-sound -q
}

# The folder of a run: the last line of its log is the path of its report.
folder_of() { dirname "$(tail -n 1 "$OUT/$1.log")"; }

# little NAME PARENT DATASET BUDGET: write a spec for short runs.
little() {
  cat >"$OUT/$1.yaml" <<END
extends: $2
dataset: {name: $3$options}
protocol: {prompt: 32, notes: 64, pieces: $pieces, samples: 1}
seeds: 1
budget: {$4}
references: [real, ngram]
END
}

stage1() {
  if command -v nvidia-smi >/dev/null; then nvidia-smi >"$OUT/nvidia-smi.txt" 2>&1; fi
  check environment 100 "$PYTHON" -c '
import platform, subprocess, sys, torch
gpu = torch.cuda.is_available()
print("PyTorch is built for", *torch.cuda.get_arch_list() if gpu else ["processors"])
found = [torch.cuda.get_device_name(), "capability %d.%d" % torch.cuda.get_device_capability()] if gpu else ["no GPU"]
if gpu:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try: found.append("driver " + subprocess.run(query, capture_output=True, text=True).stdout.split()[0])
    except (OSError, IndexError): found.append("driver unknown")
print("Python", platform.python_version() + ", torch", torch.__version__ + ", CUDA", str(torch.version.cuda) + ",", ", ".join(found))
sys.exit(not gpu and sys.argv[1] == "cuda")' "$device"
  check imports 100 "$PYTHON" -c 'import bench.cli.app, bench.benchmark, bench.audit, safetensors; print("of", bench.__file__)'
  steps ceilings ceilings
  if "$PYTHON" -c 'import pytest' 2>/dev/null; then
    check tests-gpu "$tests_seconds" "$PYTHON" -m pytest tests/gpu --confcutdir tests/gpu -q -rfExs --durations 10
    grep -E '^(FAILED|ERROR|XFAIL|SKIPPED)' "$OUT/tests-gpu.log" | cut -c 1-240 | tee -a "$OUT/summary.txt"
  else
    # A stage without its tests has not passed.
    report FAIL "tests-gpu: there is no pytest; make gpu-check installs it, or $PYTHON -m pip install pytest"
  fi
}

stage2() {
  for spec in table2-maestro table2; do
    for model in $models; do
      steps "steps-$spec-$model" "$model" --spec "$spec"
    done
  done
  for row in transformer lstm; do
    steps "steps-anchor-maestro-$row" "$row" --spec anchor-maestro
  done
}

stage3() {
  trials smoke 150 smoke --models transformer,gan --seeds 1 --out "$OUT/smoke"
  little little table2 chorales "compute: {updates: $updates}, evaluations: 4, stages: [0.5], timeout: 300"
  trials straight 240 "$OUT/little.yaml" --models "$listed" --jobs "$jobs" --out "$OUT/straight" || return
  check trained 60 "$PYTHON" tools/gpu_tables.py rows "$(folder_of straight)"
  # As in a user's trial: what was compiled before the kill is compiled anew.
  export TORCHINDUCTOR_CACHE_DIR="$OUT/inductor-killed"
  kill_halfway || return
  export TORCHINDUCTOR_CACHE_DIR="$OUT/inductor-again"
  trials again 240 "$OUT/little.yaml" --models "$listed" --jobs "$jobs" --out "$OUT/killed" || return
  check resumed 60 "$PYTHON" tools/gpu_tables.py resumed "$(folder_of again)"
  check same-table 60 "$PYTHON" tools/gpu_tables.py same "$(folder_of straight)" "$(folder_of again)"
}

# Start the little run and kill it when its first checkpoint is stored; its workers end with it. On a GPU not every evaluation has a
# checkpoint: before the first there is nothing to resume.
kill_halfway() {
  rm -rf "$OUT/killed"
  "$PYTHON" -m bench run "$OUT/little.yaml" --models "$listed" --jobs "$jobs" --out "$OUT/killed" --scale "$scale" --no-sound -q \
    >"$OUT/killed.log" 2>&1 &
  pid=$! halfway=""
  while [ "$(now)" -lt "$deadline" ] && kill -0 "$pid" 2>/dev/null; do
    if [ -n "$(find "$OUT/killed" -path '*/checkpoint/checkpoint.safetensors' 2>/dev/null)" ]; then halfway=yes; break; fi
    sleep 0.1
  done
  if [ -z "$halfway" ]; then
    kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    report FAIL "killed: no checkpoint was written; see $OUT/killed.log"
    return 1
  fi
  if kill -9 "$pid" 2>/dev/null; then
    wait "$pid" 2>/dev/null
    report PASS "killed: by signal 9, with $(find "$OUT/killed" -name outcome.json | wc -l) trials done"
  else
    report FAIL "killed: it ended before it could be; see $OUT/killed.log"
    return 1
  fi
}

stage4() {
  dataset=chorales
  # Where bench looks: a folder of $BENCH_DATA, or one or two levels below.
  for folder in $(echo "${BENCH_DATA:-}" | tr : ' '); do
    if [ -n "$(find -L "$folder" -maxdepth 3 -name 'maestro-v3.0.0.csv' 2>/dev/null)" ]; then dataset=maestro; fi
  done
  # A dataset that is named anew takes no options of the other.
  if [ "$dataset" = maestro ] && [ "$device" = cpu ]; then options=", options: {limit: 12}"; fi
  little epochs table2-maestro "$dataset" "epochs: $epochs, timeout: 500"
  for model in $models; do
    trials "epochs-$model" 300 "$OUT/epochs.yaml" --models "$model" --out "$OUT/epochs" &&
      check "epochs-$model-on-$dataset" 60 "$PYTHON" tools/gpu_tables.py rows "$(folder_of "epochs-$model")"
  done
  for model in transformer music-transformer; do
    steps "uncompiled-$model" "$model" --spec table2 --uncompiled
    steps "nondeterministic-$model" "$model" --spec table2 --nondeterministic
  done
}

for stage in $stages; do
  printf -- '--- stage %s, %s\n' "$stage" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" | tee -a "$OUT/summary.txt"
  deadline=$(($(now) + stage_seconds))
  export TORCHINDUCTOR_CACHE_DIR="$OUT/inductor"
  "stage$stage"
done
printf '%s passed, %s failed, %s skipped; see %s\n' "$passed" "$failed" "$skipped" "$OUT" | tee -a "$OUT/summary.txt"
[ "$failed" = 0 ]
