# Everything a fresh machine needs is python3 and make. `make demo` and `make test` set up what is missing.

UV_VERSION := 0.13.9
UV := .venv/tools/bin/uv
BIN := .venv/bin

# The toolkit's own folder: torch is misled by an nvcc that is only a link or a wrapper on the PATH.
NVCC := $(firstword $(wildcard $(if $(CUDA_HOME),$(CUDA_HOME)/bin/nvcc) /usr/local/cuda/bin/nvcc /usr/local/cuda-*/bin/nvcc /opt/cuda/bin/nvcc))

.PHONY: setup inplace-abn demo test test-minimum coverage lint docs docs-serve benchmark gpu-check ship dist clean

setup: .venv/ready

demo: .venv/ready
	$(BIN)/faceparse predict docs/portraits/eileen-collins.jpg --output demo-portrait
	$(BIN)/faceparse demo

# Three at a time on two cores: many tests wait for a process that they start. Each of these finds all modules compiled,
# also where Python is told to keep nothing that it compiles.
test: .venv/ready lint docs
	$(BIN)/python -m compileall -q faceparse tests
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

# The tests, and how much of the package they run; `fail_under` in pyproject.toml is the least.
coverage: .venv/ready
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal --cov

# The oldest versions that pyproject.toml allows, in an environment of their own. TESTS names some of the tests.
# Old versions warn of what is new to them.
TESTS := tests
test-minimum: $(UV)
	$(UV) venv --quiet --allow-existing --python 3.11 .venv-minimum
	$(UV) pip install --quiet $(if $(TORCH),--torch-backend $(TORCH)) --python .venv-minimum/bin/python \
	  --resolution lowest-direct --editable '.[docs,heic,openvino,parquet,ray,s3,sweep,test,timm,video]'
	.venv-minimum/bin/python -m pytest --numprocesses 3 --dist worksteal -o filterwarnings=default $(TESTS)

# The package alone may not import what only the extras docs and dev install.
lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry faceparse --optional-dependencies-dev-groups dev,docs,test
	$(BIN)/deptry faceparse benchmarks tests tools

# A setting or option that nobody described, a broken link or anchor, a page that stands nowhere, something fetched from
# elsewhere: each is an error.
docs: .venv/ready
	$(BIN)/python -m tools.reference
	$(BIN)/zensical build --clean --strict
	$(BIN)/python -m tools.site_check

docs-serve: .venv/ready
	$(BIN)/python -m tools.reference $(BIN)/zensical serve

benchmark: .venv/ready
	$(BIN)/python -m benchmarks

# What is promised of GPUs, on one GPU in at most eight minutes: gpu-check/gpu-check.md and .json.
gpu-check: .venv/ready
	@$(BIN)/python -m benchmarks gpu

$(UV):
	python3 -m venv .venv/tools
	.venv/tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/ready: $(UV) pyproject.toml constraints.txt
	$(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	$(UV) pip install --quiet --compile-bytecode $(if $(TORCH),--torch-backend $(TORCH)) --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
ifneq ($(NVCC),)
	@$(MAKE) --no-print-directory inplace-abn || \
	  echo "inplace-abn could not be built with $(NVCC); the plain norm layer gives the same numbers with more memory"
endif
	@touch $@

# The published network's norm layer, compiled against the torch that is installed; takes a few minutes.
inplace-abn: $(UV)
	@test -n "$(NVCC)" || { echo "no CUDA toolkit found: set CUDA_HOME to the folder that holds bin/nvcc"; exit 1; }
	@echo "building inplace-abn with $(NVCC) (a few minutes, once)"
	@test -x $(BIN)/python || $(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	CUDA_HOME=$(NVCC:/bin/nvcc=) $(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,inplace-abn]'

# A model that comes with the package: BUNDLE is one of `faceparse export --format safetensors --bundle`, with scores.
ship: .venv/ready
	$(BIN)/python -m tools.ship "$(BUNDLE)" "$(NAME)" $(if $(NOTE),"$(NOTE)")

# Wheel and sdist in dist/. The wheel is installed in an empty environment, and parses the portrait there.
dist: $(UV)
	rm -rf build dist .venv-dist
	$(UV) build --quiet
	$(UV) venv --quiet --python '>=3.11' .venv-dist
	$(UV) pip install --quiet $(if $(TORCH),--torch-backend $(TORCH)) --python .venv-dist/bin/python \
	  --constraint constraints.txt dist/*.whl
	.venv-dist/bin/python -I tools/dist.py dist .

clean:
	rm -rf .venv .venv-minimum .venv-dist .coverage* build dist site .mypy_cache .ruff_cache .pytest_cache
