"""The embedding-coupling lab: what the paper's idea does, in numbers."""
