"""Attention over the keys tile by tile, as somebody else may write it: nothing special, and no backward half."""

import torch
import triton
import triton.language as tl


@triton.jit
def kernel(q, k, v, y, S, T, H, D: tl.constexpr, DP: tl.constexpr, BQ: tl.constexpr, BK: tl.constexpr):
    b, h = tl.program_id(1), tl.program_id(2)
    row = tl.program_id(0) * BQ + tl.arange(0, BQ)[:, None]
    f = tl.arange(0, DP)[None, :]
    at = h * D + f
    qt = tl.load(q + (b * S + row) * H + at, mask=(row < S) & (f < D), other=0)
    m = tl.full([BQ], -float("inf"), tl.float32)
    total = tl.zeros([BQ], tl.float32)
    acc = tl.zeros([BQ, DP], tl.float32)
    for first in tl.range(0, T, BK):
        key = first + tl.arange(0, BK)[:, None]
        kt = tl.load(k + (b * T + key) * H + at, mask=(key < T) & (f < D), other=0)
        vt = tl.load(v + (b * T + key) * H + at, mask=(key < T) & (f < D), other=0)
        s = tl.dot(qt, tl.trans(kt), input_precision="ieee") * D**-0.5
        s = tl.where(first + tl.arange(0, BK)[None, :] < T, s, -float("inf"))
        new = tl.maximum(m, tl.max(s, axis=1))
        p = tl.exp(s - new[:, None])
        total = total * tl.exp(m - new) + tl.sum(p, axis=1)
        acc = acc * tl.exp(m - new)[:, None] + tl.dot(p, vt, input_precision="ieee")
        m = new
    tl.store(y + (b * S + row) * H + at, acc / total[:, None], mask=(row < S) & (f < D))


def attention(q, k, v, num_heads):
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    B, S, H = q.shape
    y = torch.empty_like(q)
    D = H // num_heads
    kernel[(triton.cdiv(S, 64), B, num_heads)](
        q, k, v, y, S, k.shape[1], H, D, max(16, triton.next_power_of_2(D)), 64, 64
    )
    return y, None
