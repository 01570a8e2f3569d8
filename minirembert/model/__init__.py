"""The architecture, forward only, written over a table of ops: read from `factorized_embedding.py` to `tasks.py`."""
