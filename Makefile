PYTHON := .venv/bin/python
# dvc.yaml calls `dreamfusion-kit`: the one in .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Waiting threads would spin on cores that others need, such as the tests' workers.
export OMP_WAIT_POLICY := passive
export DVC_NO_ANALYTICS := 1
# Pyright looks for newer versions of itself: keep it quiet, since the version is pinned.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: setup demo test unit pipeline browser regression lint docs kit bench bench-suite clean

setup:
	@scripts/setup.sh

# On two free cores a short spin saves a third of the time. On a busy machine it costs three
# times as much: then use `make demo GOMP_SPINCOUNT=0`.
demo bench: export GOMP_SPINCOUNT ?= 30000

# One worker with all cores, which imports torch once; `dvc repro` gives the same bytes and lock.
demo: setup
	$(PYTHON) cli.py suite run --jobs 1
	@$(PYTHON) cli.py summary

test: setup unit pipeline browser regression

unit: setup
	$(PYTHON) -m pytest -q -n 2 -m "not pipeline and not browser and not regression"

pipeline: setup
	$(PYTHON) -m pytest -q -n 2 -m pipeline

browser: setup
	$(PYTHON) -m pytest -q -m browser

regression: setup
	$(PYTHON) -m pytest -q -m regression

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	@# Without Node, pyright uses Playwright's instead of downloading one.
	PATH="$$PATH:$$(echo $(CURDIR)/.venv/lib/python3*/site-packages/playwright/driver)" .venv/bin/pyright
	.venv/bin/lint-imports

# A link to a page or heading that does not exist fails the build; nothing is fetched.
docs: setup
	$(PYTHON) scripts/generate_reference.py
	.venv/bin/zensical build --clean --strict
	@echo build/site/index.html

bench: setup
	$(PYTHON) benchmarks/render_step.py --unet dreamfusion_kit/toybox/weights/prior/unet
	$(PYTHON) benchmarks/sds_step.py --tiny
	$(PYTHON) benchmarks/asset.py red_mug
	$(PYTHON) benchmarks/dvc_layout.py

bench-suite: setup
	$(PYTHON) benchmarks/suite_run.py 4 16 100
	$(PYTHON) benchmarks/suite_run.py --efficiency --sleep 4

# After an edit of code, recipes or suites: update the digests, which are committed with it.
kit: setup
	$(PYTHON) cli.py upgrade

clean:
	rm -rf .venv .work out
