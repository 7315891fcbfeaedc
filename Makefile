# Two commands do everything: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SHELL := /bin/bash

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: run install test lint format bench bench-concurrency bench-cost bench-live bench-live-choices bench-precisions bench-serving bench-uploads bench-load bench-hostile bench-decoding bench-language-models bench-training bench-training-step transcribe english-small clean

run: $(INSTALLED)  ## install, then serve the bundled model on 127.0.0.1:8000
	$(BIN)/python api.py

install: $(INSTALLED)  ## install only

TEST_PROCESSES ?= 2
test: $(INSTALLED)  ## install, then run all tests, so many files at a time
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

lint: $(INSTALLED)  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Peers need more packages, and more room: an environment of their own, with the project's pins.
BENCH_VENV ?= .venv-bench
BENCH_INSTALLED := $(BENCH_VENV)/.installed
bench: $(BENCH_INSTALLED)  ## measure this machine beside plain Keras, PyTorch, ONNX Runtime and PocketSphinx
	$(BENCH_VENV)/bin/python -m benchmarks.inference

bench-training-step: $(BENCH_INSTALLED)  ## measure a step of training beside PyTorch; on an idle machine
	$(BENCH_VENV)/bin/python -m benchmarks.training_step

bench-cost: $(INSTALLED)  ## measure time and memory of 5 to 20 s, of 1 to 1000 clips; draws docs/inference-cost.png
	$(BIN)/python -m benchmarks.cost

bench-concurrency: $(INSTALLED)  ## measure one clip on all cores beside a clip a core
	$(BIN)/python -m benchmarks.concurrency

bench-serving: $(INSTALLED)  ## measure TensorFlow Serving's stand-in, and a remote model
	$(BIN)/python -m benchmarks.serving

SPEECH_CLIPS ?= Data/samples
MODELS ?= Models/english-small
bench-live: $(INSTALLED)  ## measure live captions of MODELS: delays, words taken back, speakers at a time; SPEECH_CLIPS=folder or manifest
	$(BIN)/python -m benchmarks.live $(SPEECH_CLIPS) $(MODELS)

bench-live-choices: $(INSTALLED)  ## compare when live captions show a word, and when an utterance ends
	$(BIN)/python -m benchmarks.live_choices $(SPEECH_CLIPS)

bench-uploads: $(INSTALLED)  ## measure uploads, one by one and batched, at 1, 4, 16 and 64 clients
	$(BIN)/python -m benchmarks.uploads

LOAD_S ?= 300
bench-load: $(INSTALLED)  ## 64 clients on a mix of routes for LOAD_S seconds: answers, memory, threads; draws docs/load.png
	$(BIN)/python -m benchmarks.load --seconds $(LOAD_S)

bench-hostile: $(INSTALLED)  ## 2 000 malformed and hostile uploads: answers, memory, threads
	$(BIN)/python -m benchmarks.hostile

MANIFEST ?= Data/english
bench-decoding: $(INSTALLED)  ## measure the decoders on the manifest MANIFEST
	$(BIN)/python -m benchmarks.decoding $(MANIFEST)

bench-precisions: $(INSTALLED)  ## measure exports in every precision on the manifest MANIFEST
	$(BIN)/python -m benchmarks.precisions $(MANIFEST)

bench-language-models: $(INSTALLED)  ## compare language models: TEXTS=LJSpeech's metadata.csv, say
	@test -n "$(TEXTS)" || { echo "got no TEXTS; needed: make bench-language-models TEXTS=some.csv" >&2; exit 2; }
	$(BIN)/python -m benchmarks.language_models $(MANIFEST) $(TEXTS)

bench-training: $(INSTALLED)  ## measure training on the manifest MANIFEST: input, step, epochs
	$(BIN)/python -m benchmarks.training $(MANIFEST)

transcribe: $(INSTALLED)  ## make transcribe WAV=some.wav
	@test -n "$(WAV)" || { echo "got no WAV; needed: make transcribe WAV=some.wav" >&2; exit 2; }
	@$(BIN)/stt transcribe "$(WAV)"

# The bundled model, in four runs: each but the last finds the words that the next recombines.
# SPEECH is a folder of corpora; needs flite, espeak-ng, festival and festvox-kdlpc16k for synthetic speech.
SPEECH ?= ../shared/data
CORPORA ?= ljspeech kathleen cmu_arctic librispeech vctk_p239 common_voice speechocean762
REAL := $(CORPORA:%=$(SPEECH)/%)
TRANSCRIPTS := $(SPEECH)/ljspeech_transcripts.csv $(SPEECH)/librispeech_transcripts.tsv
ENGLISH := Models/english-small
RECOMBINE = test -f Data/recombined-$(1)/metadata.csv || $(BIN)/stt recombine Data/$(2) $(TRANSCRIPTS) \
	--model runs/english-$(3) --leave-out common_voice --leave-out synthetic --output Data/recombined-$(1)
ONLY_LJ := $(foreach corpus,$(filter-out ljspeech common_voice,$(CORPORA)),--leave-out $(corpus))
TRAIN := $(BIN)/stt train --precision bfloat16
ON := --repeat ljspeech=6 --augment light --dropout 0.15 --average 0.998
english-small: $(INSTALLED)  ## train the bundled model anew; continues where it was stopped
	$(BIN)/stt synthesise $(TRANSCRIPTS) --share 0.7 --share 0.3 --clips 6000 --output Data/synthetic
	$(BIN)/stt prepare $(REAL) Data/synthetic --output Data/first
	$(TRAIN) Data/first --output runs/english-first --epochs 9 --repeat ljspeech=4
	test -d runs/english-first/saved_model || $(BIN)/stt export runs/english-first
	$(call RECOMBINE,1,first,first) --clips 12000
	$(BIN)/stt prepare $(REAL) Data/synthetic Data/recombined-1 --output Data/second
	$(TRAIN) Data/second --output runs/english-second --init-from runs/english-first --epochs 6 $(ON)
	test -d runs/english-second/saved_model || $(BIN)/stt export runs/english-second
	$(call RECOMBINE,2,first,second) --clips 12000 --seed 1
	$(call RECOMBINE,lj-2,first,second) $(ONLY_LJ) --clips 1500 --seed 2
	$(BIN)/stt prepare $(REAL) Data/synthetic Data/recombined-2 Data/recombined-lj-2 --output Data/third
	$(TRAIN) Data/third --output runs/english-third --init-from runs/english-second --epochs 3 $(ON) --learning-rate 6e-4
	test -d runs/english-third/saved_model || $(BIN)/stt export runs/english-third
	$(call RECOMBINE,3,first,third) --clips 12000 --seed 3
	$(call RECOMBINE,lj-3,first,third) $(ONLY_LJ) --clips 2500 --seed 4
	$(BIN)/stt prepare $(REAL) Data/synthetic Data/recombined-3 Data/recombined-lj-3 --output Data/english
	$(TRAIN) Data/english --output runs/english-small --init-from runs/english-third --epochs 3 $(ON) --learning-rate 6e-4
	rm -rf $(ENGLISH)/saved_model
	$(BIN)/stt export runs/english-small --precision float16 --to $(ENGLISH)
	$(BIN)/stt lm build $(TRANSCRIPTS) --exclude-manifest Data/english --model $(ENGLISH)
	$(BIN)/stt lm build $(TRANSCRIPTS) --exclude-manifest Data/english --words --prune 0,1,1 --model $(ENGLISH)
	$(BIN)/stt lm tune Data/english --model $(ENGLISH)

$(INSTALLED): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(BENCH_INSTALLED): requirements.txt benchmarks/requirements.txt
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r benchmarks/requirements.txt
	touch $@

clean:  ## remove what was installed and what caches hold
	rm -rf $(VENV) $(BENCH_VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
