.PHONY: demo test install
PYTHON ?= python3

install: .venv/.done

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --upgrade pip -c constraints.txt
	.venv/bin/pip install -c constraints.txt torch torchvision
	.venv/bin/pip install -c constraints.txt -e '.[nn,dev]'
	.venv/bin/python -m compileall -q .venv/lib || true
	touch .venv/.done

demo: install
	.venv/bin/lesionlab demo

test: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/pytest
