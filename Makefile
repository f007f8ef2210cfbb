# Every chapter is a file: its executed notebook below reports/<task>/. It is made again when its
# arguments, its notebook, a module it imports, an input file, or the content of the store it reads
# has changed. Chapters depend on digests (stamps) of the store, never on the database file.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ifneq ($(shell python3 -c 'import sys; print(sys.version_info >= (3, 11))'),True)
  $(error this needs python3 of version 3.11 or later)
endif

# Variables are checked before anything runs; a misspelled one is refused by name.
FROM_COMMAND_LINE := $(foreach v,$(.VARIABLES),$(if $(findstring command line,$(origin $v)),$v))
ASKED := $(shell $(foreach v,TASK HRF_HOME POSTS LABELS TEST SOURCE,$(if $(filter-out undefined,$(origin $v)),$v='$($v)')) \
  python3 -m hrf_utils.settings make $(FROM_COMMAND_LINE))
ifneq ($(word 1,$(ASKED)),ok)
  $(error $(ASKED))
endif
task := $(word 2,$(ASKED))
home := $(word 3,$(ASKED))
given = $(wildcard $(filter-out -,$(word $1,$(ASKED))))

# Threads that wait for each other sleep; spinning, they slow training down tenfold where others compute, too.
export OMP_WAIT_POLICY := PASSIVE

python := .venv/bin/python
do := $(python) -m hrf_utils.pipeline
reports := $(home)/reports
here := $(reports)/$(task)
stamps := $(home)/data/stamps/$(task)
chapters := 1_scrape 2_label 3_train 4_performance 5_incidents
annex := A1_benchmark A2_what_helped A3_queries A4_active_learning
live := $(filter x bluesky,$(word 7,$(ASKED)))
public := $(if $(filter hrf,$(word 5,$(ASKED))),$(home)/data/raw/hrf/test.csv)
work := scrape label train performance incidents pipeline study queries active exchange replay comply publish classify bench

.PHONY: help data $(work) watch serve lab replay test soak lint notebooks clean FORCE

help:
	@echo "make TARGET [VARIABLE=value …]"; echo; echo "Targets"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'
	@echo; echo "Variables, here or in the environment or in .env [default]"
	@python3 -m hrf_utils.settings help

# ---- set-up

.venv/ready: requirements.txt
	@echo "setting up .venv (once, some minutes)"
	@python3 -m hrf_utils.pipeline hold .venv.lock sh -c '[ .venv/ready -nt requirements.txt ] || \
	  { python3 -m venv --clear .venv && .venv/bin/pip install -r requirements.txt -e . >.venv/setup.log 2>&1 && \
	    touch .venv/ready || { tail -n 20 .venv/setup.log; exit 1; }; }'

# ---- the story; one make at a time works below a home, and a second one waits

ifndef HRF_LOCKED
scrape: ## collect posts from SOURCE (chapter 1)
label: ## import LABELS, show their state, queue what to label next (chapter 2)
train: ## split without leaks, fine-tune a model (chapter 3)
performance: ## judge the model on the frozen test rows (chapter 4)
incidents: ## predict, locate and merge: table, map, exports (chapter 5)
pipeline: ## all five chapters and reports/index.html
queries: ## which search phrases pay, and what a policy that learns would find (annex A3)
active: ## how many labels the queue saves against labelling at random (annex A4; half an hour, and may be stopped)
replay: ## read pages from X again that could not be read when they came
exchange: ## take in labels from LABELS_IN, write them to LABELS_OUT (CSV, Label Studio)
classify: ## score the archive in POSTS (CSV, JSONL, parquet), of any size; may be stopped and goes on
bench: ## how fast it all is, beside others (annex A1; half an hour)
comply: ## drop posts that are gone from X, or older than RETENTION_DAYS, everywhere
publish: ## copy approved incidents to BACKEND_DB_URL, and withdraw those that are approved no more
study: ## cross-validate changes to the recipe (annex A2; hours, and may be stopped)

$(work): .venv/ready
	@+HRF_LOCKED=1 python3 -m hrf_utils.pipeline hold $(home)/data/.lock $(MAKE) --no-print-directory $@
else
scrape: $(here)/1_scrape.html
label: $(here)/2_label.html
train: $(here)/3_train.html
performance: $(here)/4_performance.html
incidents: $(here)/5_incidents.html
pipeline: $(reports)/index.html
study: $(here)/A2_what_helped.html
bench: $(here)/A1_benchmark.html $(reports)/benchmark.html
queries: $(here)/A3_queries.html
active: $(here)/A4_active_learning.html
classify exchange replay comply publish:
	@$(do) $@
endif

# What each chapter imports of hrf_utils; a test compares this with the notebooks.
ground := settings files text posts tasks schema store reports figures intervals places mentions gazetteer
uses_1_scrape := $(ground) collecting x x_search bluesky sources policies
uses_2_label := $(ground) collecting x x_search bluesky sources datasets splits labeling agreement store_labels session widget
uses_3_train := $(ground) collecting x x_search bluesky sources datasets splits classifier inference lean network confidence cards training
uses_4_performance := $(ground) collecting x x_search bluesky sources datasets agreement splits classifier inference lean network confidence cards evaluation evidence behaviour explain drift
uses_A1_benchmark := $(ground) datasets splits confidence cards classifier inference lean network training archives store_archive engines scoring growth benchmark evidence evaluation
uses_A2_what_helped := $(ground) collecting x x_search bluesky sources datasets splits classifier inference lean network confidence cards evaluation evidence training variants study
uses_A3_queries := $(ground) collecting x x_search bluesky sources datasets splits confidence evaluation evidence policies
uses_A4_active_learning := $(ground) datasets splits confidence evaluation evidence labeling agreement active
uses_5_incidents := $(ground) collecting x x_search bluesky sources datasets splits classifier inference lean network dates merging incidents maps store_reviews decisions review review_widget exports counts corroboration frontpage

.SECONDEXPANSION:
$(patsubst %,$(here)/%.ipynb,$(chapters) $(annex)): $(here)/%.ipynb: notebooks/%.ipynb $(stamps)/%.arguments .venv/ready \
    data/tasks/$(task).yml $$(addsuffix .py,$$(addprefix hrf_utils/,$$(uses_$$*)))
	@$(do) run $* $@

$(here)/1_scrape.ipynb: $(wildcard data/starter/$(task).csv) $(call given,4) $(if $(live),FORCE)
$(here)/2_label.ipynb: $(stamps)/posts $(stamps)/decisions $(call given,5) \
    $(call given,6) $(public)
$(here)/3_train.ipynb: $(stamps)/labels $(wildcard data/starter/*.csv)
$(here)/4_performance.ipynb: $(stamps)/model $(stamps)/posts $(wildcard data/behaviour/* data/starter/*.csv)
$(here)/5_incidents.ipynb: $(here)/4_performance.ipynb $(stamps)/model $(stamps)/posts $(stamps)/labels \
    $(stamps)/reviews $(wildcard data/geo/* data/review/*)

$(here)/A1_benchmark.ipynb: $(stamps)/model $(stamps)/labels $(call given,4) $(wildcard data/starter/$(task).csv)

$(here)/A2_what_helped.ipynb: $(here)/2_label.ipynb $(stamps)/posts $(stamps)/labels $(wildcard data/starter/$(task)*.csv)

$(here)/A3_queries.ipynb: $(here)/2_label.ipynb $(stamps)/labels

$(here)/A4_active_learning.ipynb: $(here)/2_label.ipynb $(stamps)/labels $(wildcard data/starter/$(task).csv)

# One process looks at all arguments and at the store, and touches only the stamps that changed.
$(stamps)/fresh: FORCE .venv/ready $(public)
	@$(do) stamp $(stamps)

$(patsubst %,$(stamps)/%.arguments,$(chapters) $(annex)): $(stamps)/fresh
	@:
$(stamps)/posts $(stamps)/decisions: $(stamps)/fresh $(here)/1_scrape.ipynb
	@:
$(stamps)/reviews: $(stamps)/fresh
	@:
$(stamps)/labels: $(stamps)/fresh $(here)/2_label.ipynb
	@:
$(stamps)/model: $(stamps)/fresh $(here)/3_train.ipynb
	@:

pages := hrf_utils/reports.py hrf_utils/template/page.html.j2 $(wildcard hrf_utils/template/chapter/*)

$(here)/%.html: $(here)/%.ipynb $(pages)
	@$(do) page $< $@

$(reports)/benchmark.html: $(here)/A1_benchmark.ipynb $(pages)
	@$(do) page $< $@

$(reports)/index.html: $(chapters:%=$(here)/%.html) hrf_utils/frontpage.py hrf_utils/template/report.html.j2
	@$(do) index $@

# ---- the rest

watch: .venv/ready ## collect from a live SOURCE every four hours, with all that follows, until stopped
	@exec $(python) -m hrf_utils.watch

serve: .venv/ready ## the API and the report site at SERVE_AT, until stopped
	@exec $(python) -m hrf_utils.api

lab: .venv/ready ## open JupyterLab
	.venv/bin/jupyter lab notebooks

data: .venv/ready ## download the public labelled set, verified
	@$(python) -m hrf_utils.sources

$(public): | .venv/ready
	@$(python) -m hrf_utils.sources

test: .venv/ready ## run all tests, notebooks included
	OMP_NUM_THREADS=1 $(python) -m pytest tests -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

soak: .venv/ready ## run the long tests at full length (kills, scripts of faults; half an hour)
	HRF_SOAK=1 $(python) -m pytest tests -m soak

lint: .venv/ready ## check style, notebooks included
	.venv/bin/ruff check .

notebooks: .venv/ready ## refresh the outputs in notebooks/ from a full starter run
	@$(do) refresh $(chapters)

clean: ## remove what can be made again; never raw data, labels, models or the store
	rm -rf $(reports)/*/ $(reports)/index.html $(home)/data/stamps .pytest_cache .ruff_cache
	find hrf_utils $(wildcard tests) -name __pycache__ -prune -exec rm -rf {} +
