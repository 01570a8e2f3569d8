"""The embedding-coupling lab: what coupling and decoupling embeddings costs.

sizes.py           the sizes of a model, coupled or decoupled, as data
conventions.py     what counts as a parameter, for whom
ledger.py          parameters, FLOPs and memory by component
paper.py           the rows of the paper's tables, what it prints and what we count
ledger_report.py   the ledger as text and JSON; ledger_figure.py: as a figure; ledger_page.py and .html: with sliders
ledger_command.py  the command
budget.py          RemBERT's four parts, as the chapters and the tour show them
"""
