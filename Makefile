# make bench    set everything up in .venv and run every benchmark that suits this machine
# make setup    the first half of it; GPU=1, also before bench and smoke, for an NVIDIA GPU: an environment a framework in .venv-gpu
# make smoke    the quickest benchmark, about 90 seconds
# make test     the tests, through tox; TOXENVS=tests,lstm picks environments, ARGS="-k codec" goes to pytest
# make faults   refused calls, kills and full disks at every place of a run; ARGS="--minutes 30"
# make fuzz     ten minutes of strange inputs for every reader; ARGS="midi --seed 7 --seconds 60" goes to tests.fuzz
# make load     many rows, 100,000 files and hundreds of runs, that nothing leaks; ARGS="-k short" goes to pytest
# make perf     the speed ratios
# make gpu-check  bench on this machine's GPU, in four stages of under 9 minutes; see docs/gpu.md
# make site     the manual, the commands and the API as a site in build/site
# make image    the container image; BUILD_ARGS="--build-arg VARIANT=cpu" goes to docker build
# make lock     resolve the pinned dependencies anew; ARGS=--keep takes no newer versions
# make audit    known vulnerabilities of the pinned dependencies
# make clean    remove what the targets above made, reports excepted
#
# Where packages come from is pip's to say (its configuration, PIP_INDEX_URL, PIP_FIND_LINKS, …). PYTHON= names an interpreter.
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares a machine without a GPU the gigabytes of NVIDIA's libraries.

# GPU=1 makes an environment a framework, as their CUDA libraries unpack into the same place. gpu-check implies it, but for its own try
# on a processor (GPU_CHECK_DEVICE=cpu).
ifeq ($(filter gpu-check,$(MAKECMDGOALS))$(filter cpu,$(GPU_CHECK_DEVICE)),gpu-check)
GPU := 1
endif
VENV := $(if $(GPU),.venv-gpu/pytorch,.venv)
TENSORFLOW := $(if $(GPU),.venv-gpu/tensorflow)
TOX := .tox/.bootstrap
AUDIT := .tox/.audit
LOCKS := requirements/base.txt $(if $(GPU),requirements/pytorch-cuda.txt,requirements/tensorflow-cpu.txt)
ARGS ?=
# What goes to pytest may leave nothing to run in an environment of one model: with ARGS only `tests` runs unless TOXENVS says more.
EVERY_ENV := lint,tests,lstm,lstm-paper,transformer,music-transformer,transformer-gan,gan,midinet,vae,frame-recurrent,frame-networks,event-networks,export,huggingface,site
TOXENVS ?= $(if $(ARGS),tests,$(EVERY_ENV))
PIP_FLAGS := --quiet --disable-pip-version-check
LOCKED := --require-hashes --only-binary :all:
export PYTHON
ifdef GPU
export BENCH_PYTHON_TENSORFLOW ?= $(CURDIR)/$(TENSORFLOW)/bin/python
endif

.DEFAULT_GOAL := help
.PHONY: help setup bench smoke test faults fuzz load perf site gpu-check image lock audit clean

help:
	@sed -n 's/^# make/  make/p' Makefile

# One stamp a lock set: touched only after a whole installation, so that an interrupted one is taken up again.
$(VENV)/.stamp: $(wildcard requirements/*.txt) pyproject.toml tools/venv.sh
	@sh tools/venv.sh $(VENV)
	@echo "installing the pinned dependencies into $(VENV): a few minutes the first time"
	@torch=$(if $(GPU),,$$(sh tools/torch-lock.sh $(VENV)/bin/python)) && \
	  $(VENV)/bin/python -m pip install $(PIP_FLAGS) $(LOCKED) $(LOCKS:%=--requirement %) $${torch:+--requirement $$torch}
	@$(VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@

.venv-gpu/tensorflow/.stamp: $(wildcard requirements/*.txt) pyproject.toml tools/venv.sh
	@sh tools/venv.sh .venv-gpu/tensorflow
	@echo "installing TensorFlow with CUDA into .venv-gpu/tensorflow: about 3 GB to fetch"
	@.venv-gpu/tensorflow/bin/python -m pip install $(PIP_FLAGS) $(LOCKED) \
	  --requirement requirements/base.txt --requirement requirements/tensorflow-cuda.txt
	@.venv-gpu/tensorflow/bin/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@

$(TOX)/.stamp: requirements/tox.txt requirements/pip.txt tools/venv.sh
	@sh tools/venv.sh $(TOX)
	@$(TOX)/bin/python -m pip install $(PIP_FLAGS) $(LOCKED) --requirement requirements/tox.txt
	@touch $@

$(AUDIT)/.stamp: requirements/audit.txt requirements/pip.txt tools/venv.sh
	@sh tools/venv.sh $(AUDIT)
	@$(AUDIT)/bin/python -m pip install $(PIP_FLAGS) $(LOCKED) --requirement requirements/audit.txt
	@touch $@

setup: $(VENV)/.stamp $(TENSORFLOW:%=%/.stamp)
	@$(if $(GPU),echo "ready: export BENCH_PYTHON_TENSORFLOW=$(CURDIR)/$(TENSORFLOW)/bin/python; then $(VENV)/bin/bench doctor --gpu")

bench: setup
	$(VENV)/bin/bench all $(ARGS)

smoke: setup
	$(VENV)/bin/bench run smoke $(ARGS)

test: $(TOX)/.stamp
	lock=$$(sh tools/torch-lock.sh $(TOX)/bin/python) && PYTORCH_LOCK=$$lock $(TOX)/bin/tox run $(TOX_FLAGS) -e $(TOXENVS) $(if $(ARGS),-- $(ARGS))

$(VENV)/.tested: $(VENV)/.stamp
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) $(LOCKED) --requirement requirements/base.txt --requirement requirements/test.txt
	@touch $@

faults: $(VENV)/.tested
	$(VENV)/bin/python -m tests.faults $(ARGS)

load: $(VENV)/.tested
	BENCH_LOAD=full $(VENV)/bin/python -m pytest tests/load -s $(ARGS)

perf: $(TOX)/.stamp
	lock=$$(sh tools/torch-lock.sh $(TOX)/bin/python) && PYTORCH_LOCK=$$lock $(TOX)/bin/tox run -e perf $(if $(ARGS),-- $(ARGS))

fuzz: $(TOX)/.stamp
	lock=$$(sh tools/torch-lock.sh $(TOX)/bin/python) && PYTORCH_LOCK=$$lock $(TOX)/bin/tox run -e fuzz $(if $(ARGS),-- $(ARGS))

site: $(TOX)/.stamp
	$(TOX)/bin/tox run -e site

# PYTHON is what the environment is made with; the checks run in the environment.
gpu-check: $(VENV)/.tested
	PYTHON=$(VENV)/bin/python sh tools/gpu_check.sh $(or $(ARGS),all)

image:
	docker build --file Dockerfile.gpu --tag bench $(BUILD_ARGS) .

lock: $(TOX)/.stamp
	$(TOX)/bin/python requirements/lock.py $(ARGS)

audit: $(AUDIT)/.stamp
# Strict: what can't be looked up fails. So would a local version; torch is looked up in pytorch-cuda.txt.
	@for lock in $(filter-out requirements/pytorch-cpu.txt,$(wildcard requirements/*.txt)); do \
	  echo "$$lock"; $(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement $$lock || exit 1; done

clean:
	rm -rf .venv .venv-gpu .tox build dist *.egg-info
