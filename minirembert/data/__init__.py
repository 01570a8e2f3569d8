"""From files to batches: text for masked language modelling (`text.py`, `masked_lm.py`), labelled examples (`labelled.py`)."""
