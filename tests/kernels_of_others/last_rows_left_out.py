"""A layer norm whose grid forgets the rows that fill no tile."""

import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, w, b, y, rows, width, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    c = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (c < width)
    t = tl.load(x + row * width + c, mask=inside, other=0)
    mean = tl.sum(t, axis=1, keep_dims=True) / width
    d = tl.where(c < width, t - mean, 0)
    rstd = 1 / tl.sqrt(tl.sum(d * d, axis=1, keep_dims=True) / width + eps)
    out = d * rstd * tl.load(w + c, mask=c < width) + tl.load(b + c, mask=c < width)
    tl.store(y + row * width + c, out, mask=inside)


def layer_norm(x, weight, bias, eps):
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    y = torch.empty_like(x)
    rows, width = x.numel() // x.shape[-1], x.shape[-1]
    kernel[(max(1, rows // 4),)](x, weight, bias, y, rows, width, eps, 4, triton.next_power_of_2(width))
    return y, None
