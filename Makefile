# make demo: install, then train and test a small LightBSR on photographs (about 5 minutes on 2 CPU cores)
# make test: install, then run the tests
PYTHON ?= python3
VENV   := .venv
PIP    := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test install clean

demo: install
	$(VENV)/bin/basicsr demo

test: install
	$(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile

install: $(VENV)/.installed

# BasicSR's set-up imports torch, and would fetch it anew if it were built in isolation; torchvision without its
# dependencies stays beside a CPU build of torch.
$(VENV)/.installed: setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 13) else "lightbsr_arch needs Python 3.10, 3.11 or 3.12, this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch numpy cython setuptools wheel
	$(PIP) --no-deps torchvision
	$(PIP) --no-build-isolation basicsr
	$(PIP) --no-build-isolation --editable '.[test,eval,onnx,spandrel,ui]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo
