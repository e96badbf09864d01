# The LLM Workbook. `make` alone lists what there is to make.
PYTHON ?= python3
BIN := .venv/bin
# Pages are executed without progress bars: the stored outputs hold no trace of them.
export TQDM_DISABLE := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/tools

.DEFAULT_GOAL := help
.PHONY: help book links serve live notebooks lab test nbval nbval-settings lint format bench bench-site experiment pdf picture lock clean clean-environment environment browser

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

environment:
	@$(PYTHON) tools/environment.py

browser:
	@$(PYTHON) tools/environment.py --browser

book: environment  ## execute the pages and build the site into _build/site
	jupyter-book build book --config $(CURDIR)/_config.yml --toc $(CURDIR)/_toc.yml \
		--path-output $(CURDIR) -W --keep-going
	python tools/publish.py

links: environment  ## follow the links that leave the site; needs the network
	jupyter-book build book --config $(CURDIR)/_config.yml --toc $(CURDIR)/_toc.yml \
		--path-output $(CURDIR) --builder custom --custom-builder linkcheck

serve: environment  ## show the site at http://localhost:8000 and rebuild it as you save
	python tools/serve.py

live: environment  ## show the site with a Jupyter server beside it, for its live cells
	python tools/live.py

notebooks: environment  ## generate and execute notebooks/ for the pages that changed (ALL=1: for all)
	python tools/notebooks.py $(if $(ALL),--all)

lab: environment  ## open JupyterLab on the notebooks
	jupyter lab notebooks

test: browser book lint  ## everything that CI runs
	python -m pytest tests -n 2 --dist loadfile
	$(MAKE) nbval-settings

nbval: environment  ## execute the notebooks again and compare the outputs
	python -m pytest -p nbval_tolerance --nbval notebooks -n 2 --dist loadscope

nbval-settings: environment  ## the same, and some on other instruction sets and threads (ALL=1: all)
	python tools/nbval_settings.py $(if $(ALL),--all)

lint: environment  ## style, types, spelling, schemas
	ruff check .
	ruff format --check .
	mypy
	node_modules/.bin/tsc --project site
	node_modules/.bin/tsc --project site/tsconfig.worker.json
	codespell
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

format: environment  ## put the code in the project's format
	ruff check --fix .
	ruff format .

bench: environment  ## time and memory, side by side
	python benchmarks/package.py
	python benchmarks/corpus.py
	python benchmarks/flash_attention.py
	python benchmarks/performer.py
	python benchmarks/tokenizer.py
	python benchmarks/training.py

bench-site: browser book  ## the site's pages in Lighthouse, on a phone (PAGES="gpt/counting", RUNS=1)
	python benchmarks/pages.py $(PAGES) $(if $(RUNS),--runs $(RUNS))

experiment: environment  ## run the experiment NAME=… and record it in src/llmbook/records
	python experiments/run.py $(NAME)

pdf: book  ## print the book into _build/llm-workbook.pdf (SOLUTIONS=0, HINTS=0: without)
	python tools/pdf.py $(if $(filter 0,$(SOLUTIONS)),--no-solutions) $(if $(filter 0,$(HINTS)),--no-hints)

picture: book  ## take the README's picture of a page again
	python tools/picture.py

lock: environment  ## resolve the pins anew from pyproject.toml
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --no-annotate \
		--constraint constraints.txt --upgrade --quiet --output-file requirements-dev.txt
	uv pip compile pyproject.toml --extra lab --universal --python-version 3.11 --no-header --no-annotate \
		--constraint requirements-dev.txt --quiet --output-file requirements.txt
	npm update --no-audit --no-fund

clean:  ## remove what was built
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis

clean-environment: clean  ## remove the environment as well
	rm -rf .venv node_modules
