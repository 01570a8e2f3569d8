"""A softmax that reads whole tiles, whatever the width."""

import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, y, width, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    c = tl.arange(0, BLOCK)
    s = tl.load(x + row * width + c)
    p = tl.exp(s - tl.max(s, axis=0))
    tl.store(y + row * width + c, p / tl.sum(p, axis=0), mask=c < width)


def softmax(x):
    x = x.contiguous()
    y = torch.empty_like(x)
    kernel[(x.numel() // x.shape[-1],)](x, y, x.shape[-1], triton.next_power_of_2(x.shape[-1]))
    return y, y
