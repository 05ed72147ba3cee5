# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call,import-untyped"
"""Triton kernels over rows of logits; ``triton_rows`` says what each is for and calls them.

A program works on one row, or on a tile of it. Products are read once and turned into logits in registers.
"""

# Shapes: R rows, V vocabulary, G groups of 128 ids, K support, J chosen ids, D hidden size; KP, GP, JP: powers of two.

from __future__ import annotations

import triton
import triton.language as tl

GROUP = 128
_GROUP = tl.constexpr(GROUP)
_NONE = tl.constexpr(0x7FFFFFFF)
"""No id, no group."""


@triton.jit
def _logits(
    product, bias_ptr, ids, valid, scale, softcap, inverse_temperature,
    HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
):  # fmt: skip
    """``LogitMap`` in registers; -inf where not ``valid``, where ``product`` is -inf."""
    z = product.to(tl.float32)
    if HAS_BIAS:
        z += tl.load(bias_ptr + ids, mask=valid, other=0.0).to(tl.float32)
    if HAS_FACTOR:
        z = z * scale
    if HAS_CAP:
        z = softcap * (1 - 2 / (tl.exp(z * (2 / softcap)) + 1))  # tanh
        z = tl.where(valid, z, float("-inf"))
    if HAS_FACTOR:
        z = z * inverse_temperature
    return z


@triton.jit
def sweep(
    z_ptr, stride, bias_ptr, max_ptr, sum_ptr, V, G,
    scale, softcap, inverse_temperature, HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    """Max and sum of exp(z - max) of TILE groups of one row."""
    row = tl.program_id(0).to(tl.int64)
    groups = tl.program_id(1) * TILE + tl.arange(0, TILE)
    ids = groups[:, None] * _GROUP + tl.arange(0, _GROUP)[None, :]
    valid = ids < V
    product = tl.load(z_ptr + row * stride + ids, mask=valid, other=float("-inf"))
    z = _logits(
        product, bias_ptr, ids, valid, scale, softcap, inverse_temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP
    )
    top = tl.max(z, axis=1)
    safe = tl.where(top == float("-inf"), 0.0, top)
    total = tl.sum(tl.exp(z - safe[:, None]), axis=1)
    tl.store(max_ptr + row * G + groups, top, mask=groups < G)
    tl.store(sum_ptr + row * G + groups, total, mask=groups < G)


@triton.jit
def select(
    z_ptr, stride, bias_ptr, max_ptr, sum_ptr, ids_ptr, V, G,
    scale, softcap, inverse_temperature, HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
    K: tl.constexpr, KP: tl.constexpr, GP: tl.constexpr,
):  # fmt: skip
    """The K largest logits of one row, largest first, lowest id first among equals."""
    row = tl.program_id(0).to(tl.int64)
    all_groups = tl.arange(0, GP)
    maxima = tl.load(max_ptr + row * G + all_groups, mask=all_groups < G, other=float("-inf"))
    # nan counts as the largest, as in torch.topk; a group that has one has sum nan.
    sums = tl.load(sum_ptr + row * G + all_groups, mask=all_groups < G, other=0.0)
    maxima = tl.where(sums != sums, float("inf"), maxima)
    free = tl.where(all_groups < G, all_groups, _NONE)
    place = tl.arange(0, KP)
    chosen = tl.full((KP,), _NONE, tl.int32)
    for i in range(K):
        best = tl.max(maxima, axis=0)
        group = tl.min(tl.where(maxima == best, free, _NONE), axis=0)
        chosen = tl.where(place == i, group, chosen)
        # Taken: below everything, and no longer an index, since all others may be -inf too.
        maxima = tl.where(all_groups == group, float("-inf"), maxima)
        free = tl.where(all_groups == group, _NONE, free)
    some = chosen < G
    ids = tl.where(some, chosen, 0)[:, None] * _GROUP + tl.arange(0, _GROUP)[None, :]
    valid = some[:, None] & (ids < V)
    product = tl.load(z_ptr + row * stride + ids, mask=valid, other=float("-inf"))
    z = _logits(
        product, bias_ptr, ids, valid, scale, softcap, inverse_temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP
    )
    z = tl.where(z != z, float("inf"), z)
    open_ids = tl.where(valid, ids, _NONE)
    found = tl.zeros((KP,), tl.int32)
    for i in range(K):
        best = tl.max(tl.max(z, axis=1), axis=0)
        index = tl.min(tl.min(tl.where(z == best, open_ids, _NONE), axis=1), axis=0)
        found = tl.where(place == i, index, found)
        z = tl.where(open_ids == index, float("-inf"), z)
        open_ids = tl.where(open_ids == index, _NONE, open_ids)
    tl.store(ids_ptr + row * K + place, found.to(tl.int64), mask=place < K)


@triton.jit
def rest(
    z_ptr, stride, bias_ptr, max_ptr, sum_ptr, ids_ptr, rest_max_ptr, rest_sum_ptr, V, G,
    scale, softcap, inverse_temperature, HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
    J: tl.constexpr, JP: tl.constexpr, GP: tl.constexpr,
):  # fmt: skip
    """Max and sum over all ids but J given ones."""
    row = tl.program_id(0).to(tl.int64)
    all_groups = tl.arange(0, GP)
    maxima = tl.load(max_ptr + row * G + all_groups, mask=all_groups < G, other=float("-inf"))
    sums = tl.load(sum_ptr + row * G + all_groups, mask=all_groups < G, other=0.0)
    place = tl.arange(0, JP)
    given = tl.load(ids_ptr + row * J + place, mask=place < J, other=_NONE).to(tl.int32)
    group_of = given // _GROUP
    ids = tl.where(place < J, group_of, 0)[:, None] * _GROUP + tl.arange(0, _GROUP)[None, :]
    counted = (place < J)[:, None] & (ids < V)
    untouched = all_groups < G
    for j in range(J):
        one = tl.load(ids_ptr + row * J + j).to(tl.int32)
        untouched = untouched & (all_groups != one // _GROUP)
        # A group that several ids share is summed by the first of them alone.
        counted = counted & (ids != one) & ((place <= j) | (group_of != one // _GROUP))[:, None]
    product = tl.load(z_ptr + row * stride + ids, mask=counted, other=float("-inf"))
    z = _logits(
        product, bias_ptr, ids, counted, scale, softcap, inverse_temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP
    )
    maxima = tl.where(untouched, maxima, float("-inf"))
    top = tl.maximum(
        tl.max(maxima, axis=0), tl.max(tl.max(tl.where(z != z, float("inf"), z), axis=1), axis=0)
    )
    safe = tl.where(top == float("-inf"), 0.0, top)
    total = tl.sum(tl.where(untouched, sums * tl.exp(maxima - safe), 0.0), axis=0)
    total += tl.sum(tl.sum(tl.exp(z - safe), axis=1), axis=0)
    tl.store(rest_max_ptr + row, top)
    tl.store(rest_sum_ptr + row, total)


@triton.jit
def gradient(
    z_ptr, stride, bias_ptr, out_ptr, out_stride, max_ptr, log_sum_ptr, dense_ptr, V,
    scale, softcap, temperature, HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """dense * p_v * dz / d product, for BLOCK ids of one row."""
    row = tl.program_id(0).to(tl.int64)
    ids = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    valid = ids < V
    product = tl.load(z_ptr + row * stride + ids, mask=valid, other=float("-inf"))
    z = _logits(product, bias_ptr, ids, valid, scale, softcap, 1 / temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP)
    p = tl.exp((z - tl.load(max_ptr + row)) - tl.load(log_sum_ptr + row))
    gradient = p * tl.load(dense_ptr + row)
    slope = scale / temperature
    if HAS_CAP:
        capped = z * (temperature / softcap)
        gradient *= slope * (1 - capped * capped)
    else:
        gradient *= slope
    tl.store(out_ptr + row * out_stride + ids, gradient.to(out_ptr.dtype.element_ty), mask=valid)


@triton.jit
def dots(
    h_ptr, h_stride, w_ptr, w_stride, w_column, ids_ptr, out_ptr,
    D: tl.constexpr, J: tl.constexpr, JP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """<h_r, W_ids> of one row in fp32."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, JP)
    given = tl.load(ids_ptr + row * J + place, mask=place < J, other=0)
    total = tl.zeros((JP, BLOCK), tl.float32)
    for start in range(0, D, BLOCK):
        at = start + tl.arange(0, BLOCK)
        h = tl.load(h_ptr + row * h_stride + at, mask=at < D, other=0.0).to(tl.float32)
        w = tl.load(
            w_ptr + given[:, None] * w_stride + at[None, :] * w_column,
            mask=(place < J)[:, None] & (at < D)[None, :], other=0.0,
        ).to(tl.float32)  # fmt: skip
        total += w * h[None, :]
    tl.store(out_ptr + row * J + place, tl.sum(total, axis=1), mask=place < J)
