"""The embedding-coupling lab: what coupling and decoupling embeddings costs, and what it does.

What it costs, counted:

    sizes.py           the sizes of a model, coupled or decoupled, as data
    conventions.py     what counts as a parameter, for whom
    ledger.py          parameters, FLOPs and memory by component
    paper.py           the rows of the paper's tables, what it prints and what we count
    ledger_*.py        the ledger as text and JSON, as a figure, as a page with sliders; the command
    budget.py          RemBERT's four parts, as the chapters and the tour show them

What it does, measured:

    variant.py         what one model of an experiment is like; model.py: the model, tied or not, with three heads
    world/             languages with knobs, and the corpus that follows from them and a seed
    tasks/             mini-XTREME: tasks with labels from the same meanings, learned in one language, scored in all
    probes.py          what is measured without training further (and readings, retrieval, zero_shot, geometry, sides)
    experiment.py      one run: pre-train, measure, fine-tune; rank_of_head.py: a head without an encoder
    runs.py            the cache, several processes; jobs.py: what it knows of a run
    claims/            what the paper says, the rule by which it is judged, the arms, the verdict
    report/            figures and the page; lab_command.py: the command
    results/           the results of the lesson profile
"""
