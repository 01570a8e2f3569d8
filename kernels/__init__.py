"""Triton twins of the operations in `minirembert/ops`: the same file names, function names, saved fields and step numbers.

    from kernels.softmax import softmax, softmax_backward   # of NumPy arrays or torch tensors
    from kernels.functional import softmax                  # differentiable by PyTorch
    from kernels.table import OPS                           # the whole op table, for the model

Importing any of these decides whether kernels are compiled for a GPU or interpreted; see `_launch.py`. `python -m
kernels.inspect` compiles all of them for GPUs that need not be there and prints what came out.
"""
