# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call,import-untyped"
"""Triton kernels over rows of logits; ``triton_rows`` says what each is for and calls them.

A program works on one row, or on a tile of it. Products are read once and turned into logits in registers.
"""

# Shapes: R rows, V vocabulary, G groups of 128 ids, K support, J chosen ids, D hidden size; KP, GP, JP: powers of two.

from __future__ import annotations

import torch
import triton
import triton.language as tl

GROUP = 128
_GROUP = tl.constexpr(GROUP)
_NONE = tl.constexpr(0x7FFFFFFF)
"""No id."""
_LEAST = tl.constexpr(-0x80000000)
"""Below the order of every logit."""
_TAKEN = tl.constexpr(-0x8000000000000000)
"""The key of a group without logits."""


_PTX = tl.constexpr(torch.version.hip is None and not triton.knobs.runtime.interpret)


@triton.jit
def _exp(x):
    """exp(x), and 0 below 2^-126: what would keep smaller numbers is a quarter of ``sweep``'s instructions."""
    if _PTX:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;",
            "=f,f",
            [x * 1.4426950408889634],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
    return tl.exp(x)


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
    total = tl.sum(_exp(z - safe[:, None]), axis=1)
    tl.store(max_ptr + row * G + groups, top, mask=groups < G)
    tl.store(sum_ptr + row * G + groups, total, mask=groups < G)


@triton.jit
def _order(z):
    """Integers in the order of ``z``; nan counts as the largest, as in torch.topk, and -0.0 as 0.0."""
    z = tl.where(z != z, float("inf"), tl.where(z == 0.0, 0.0, z))
    bits = z.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _key(order, first):
    """One number for two: the larger logit first, the lower id among equals."""
    return (order.to(tl.int64) << 32) | (0x7FFFFFFF - first).to(tl.int64)


@triton.jit
def _group_keys(max_ptr, sum_ptr, groups, G):
    """Each group by its largest logit; one that has nan, and so sum nan, before all others."""
    maxima = tl.load(max_ptr + groups, mask=groups < G, other=float("-inf"))
    sums = tl.load(sum_ptr + groups, mask=groups < G, other=0.0)
    maxima = tl.where(sums != sums, float("inf"), maxima)
    return tl.where(groups < G, _key(_order(maxima), groups * _GROUP), _TAKEN)


@triton.jit
def select(
    z_ptr, stride, bias_ptr, max_ptr, sum_ptr, ids_ptr, ids_stride, V, G,
    scale, softcap, inverse_temperature, HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
    K: tl.constexpr, GP: tl.constexpr, GP2: tl.constexpr,
):  # fmt: skip
    """The K largest logits of one row, largest first, lowest id first among equals.

    Each group stands for its largest logit that is not taken. A turn takes the best group's, and looks into that
    group for its next. The groups are two vectors, GP and GP2 long, since one would be half empty.
    """
    row = tl.program_id(0).to(tl.int64)
    groups, more = tl.arange(0, GP), GP + tl.arange(0, GP2)
    keys = _group_keys(max_ptr + row * G, sum_ptr + row * G, groups, G)
    more_keys = _group_keys(max_ptr + row * G, sum_ptr + row * G, more, G)
    for i in range(K):
        best = tl.maximum(tl.max(keys, axis=0), tl.max(more_keys, axis=0))
        order = (best >> 32).to(tl.int32)
        first = 0x7FFFFFFF - (best & 0x7FFFFFFF).to(tl.int32)  # lower ids of its group are taken, or smaller
        group = first // _GROUP
        ids = group * _GROUP + tl.arange(0, _GROUP)
        valid = ids < V
        product = tl.load(z_ptr + row * stride + ids, mask=valid, other=float("-inf"))
        z = _logits(
            product, bias_ptr, ids, valid, scale, softcap, inverse_temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP
        )
        orders = tl.where(valid, _order(z), _LEAST)
        index = tl.min(tl.where((orders == order) & (ids >= first), ids, _NONE), axis=0)
        after = (orders < order) | ((orders == order) & (ids > index))
        following = tl.max(tl.where(after, orders, _LEAST), axis=0)
        key = _key(following, tl.where(following == order, index + 1, group * _GROUP))
        key = tl.where(following == _LEAST, _TAKEN, key)
        keys = tl.where(groups == group, key, keys)
        more_keys = tl.where(more == group, key, more_keys)
        tl.store(ids_ptr + row * ids_stride + i, index.to(tl.int64))


@triton.jit
def score(
    z_ptr, stride, bias_ptr, max_ptr, sum_ptr, ids_ptr, refined_ptr,
    logprobs_ptr, row_max_ptr, log_sum_ptr, slope_ptr, V, G,
    scale, softcap, inverse_temperature, HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
    J: tl.constexpr, JP: tl.constexpr, GP: tl.constexpr, LABELLED: tl.constexpr, REFINED: tl.constexpr,
):  # fmt: skip
    """Log-probs at J given ids of one row. They are out of the row while their groups are summed again without them:
    nothing is subtracted. All is as it was at the end."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, JP)
    here = place < J
    given = tl.load(ids_ptr + row * J + place, mask=here, other=0).to(tl.int32)
    group = given // _GROUP
    rounded = tl.load(z_ptr + row * stride + given, mask=here, other=float("-inf"))
    group_max = tl.load(max_ptr + row * G + group, mask=here, other=0.0)
    group_sum = tl.load(sum_ptr + row * G + group, mask=here, other=0.0)
    tl.debug_barrier()
    nothing = tl.full((JP,), float("-inf"), tl.float32)
    tl.store(z_ptr + row * stride + given, nothing.to(z_ptr.dtype.element_ty), mask=here)
    tl.store(max_ptr + row * G + group, nothing, mask=here)
    tl.store(sum_ptr + row * G + group, tl.zeros((JP,), tl.float32), mask=here)
    tl.debug_barrier()
    # A group that several ids share is summed by the first of them alone.
    earlier = (group[:, None] == group[None, :]) & (place[None, :] < place[:, None])
    counted = here & (tl.sum(earlier.to(tl.int32), axis=1) == 0)
    ids = group[:, None] * _GROUP + tl.arange(0, _GROUP)[None, :]
    valid = counted[:, None] & (ids < V)
    product = tl.load(z_ptr + row * stride + ids, mask=valid, other=float("-inf"))
    # Where the bias is inf, -inf would be nan.
    valid = valid & (product != float("-inf"))
    z = _logits(
        product, bias_ptr, ids, valid, scale, softcap, inverse_temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP
    )
    groups = tl.arange(0, GP)
    maxima = tl.load(max_ptr + row * G + groups, mask=groups < G, other=float("-inf"))
    sums = tl.load(sum_ptr + row * G + groups, mask=groups < G, other=0.0)
    tl.debug_barrier()
    tl.store(z_ptr + row * stride + given, rounded, mask=here)
    tl.store(max_ptr + row * G + group, group_max, mask=here)
    tl.store(sum_ptr + row * G + group, group_sum, mask=here)
    top = tl.maximum(tl.max(maxima, axis=0), tl.max(tl.max(z, axis=1), axis=0))
    safe = tl.where(top == float("-inf"), 0.0, top)
    total = tl.sum(sums * _exp(maxima - safe), axis=0)
    total += tl.sum(tl.sum(_exp(z - safe), axis=1), axis=0)
    chosen = rounded
    if REFINED:
        chosen = tl.load(refined_ptr + row * J + place, mask=here, other=float("-inf"))
    z = _logits(
        chosen, bias_ptr, given, here, scale, softcap, inverse_temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP
    )
    once = here
    if LABELLED:
        label = tl.load(ids_ptr + row * J + J - 1).to(tl.int32)
        again = tl.sum(((given == label) & (place < J - 1)).to(tl.int32), axis=0) > 0
        once = here & ((place < J - 1) | (again == 0))
    row_max = tl.maximum(top, tl.max(tl.where(once, z, float("-inf")), axis=0))
    total = total * _exp(top - row_max) + tl.sum(tl.where(once, _exp(z - row_max), 0.0), axis=0)
    log_sum = tl.log(total)
    tl.store(logprobs_ptr + row * J + place, (z - row_max) - log_sum, mask=here)
    tl.store(row_max_ptr + row, row_max)
    tl.store(log_sum_ptr + row, log_sum)
    if HAS_CAP:
        capped = _logits(
            rounded, bias_ptr, given, here, scale, softcap, inverse_temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP
        ) / (inverse_temperature * softcap)
        slope = scale * inverse_temperature * (1 - capped * capped)
        tl.store(slope_ptr + row * J + place, slope, mask=here)


@triton.jit
def gradient(
    z_ptr, stride, bias_ptr, out_ptr, out_stride, max_ptr, log_sum_ptr, dense_ptr, ids_ptr, ids_stride, entries_ptr,
    V, scale, softcap, temperature, HAS_BIAS: tl.constexpr, HAS_FACTOR: tl.constexpr, HAS_CAP: tl.constexpr,
    J: tl.constexpr, JP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dense * p_v * dz / d product, for BLOCK ids of one row; over it J entries at given ids."""
    row = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * BLOCK
    ids = start + tl.arange(0, BLOCK)
    valid = ids < V
    product = tl.load(z_ptr + row * stride + ids, mask=valid, other=float("-inf"))
    z = _logits(product, bias_ptr, ids, valid, scale, softcap, 1 / temperature, HAS_BIAS, HAS_FACTOR, HAS_CAP)
    p = _exp((z - tl.load(max_ptr + row)) - tl.load(log_sum_ptr + row))
    gradient = p * (tl.load(dense_ptr + row) * (scale / temperature))
    if HAS_CAP:
        capped = z * (temperature / softcap)
        gradient *= 1 - capped * capped
    tl.store(out_ptr + row * out_stride + ids, gradient.to(out_ptr.dtype.element_ty), mask=valid)
    tl.debug_barrier()
    place = tl.arange(0, JP)
    given = tl.load(ids_ptr + row * ids_stride + place, mask=place < J, other=-1)
    entries = tl.load(entries_ptr + row * J + place, mask=place < J, other=0.0)
    inside = (given >= start) & (given < start + BLOCK)
    tl.store(out_ptr + row * out_stride + given, entries.to(out_ptr.dtype.element_ty), mask=inside)


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


@triton.jit
def scaled(x_ptr, factor_ptr, out_ptr, N, BLOCK: tl.constexpr):
    """``x`` times a number on the device, in the type of ``out``."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < N, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, (x * tl.load(factor_ptr)).to(out_ptr.dtype.element_ty), mask=at < N)
