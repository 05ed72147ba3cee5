# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call,import-untyped"
"""The Triton kernel from log-probs to a token's loss and its gradient, in closed form; ``row_losses`` calls it.

With P and Q the bucket masses, r = log P - log Q, g = dL/dlog P:

    reverse  L = sum P r - P + Q    g = P r           forward  L = sum Q (-r) - Q + P    g = P - Q
    jsd      M = (1-a) P + a Q      g = (1-a) P log(P/M)

With a tail, its log-mass is a function of the support's: dlog P_tail / dlog p_i = -p_i / P_tail. Renormalised, the mean
of g under P is taken off. Equal inputs give exact zeros, as in ``divergence``, the plain twin.
"""

# Shapes: R rows, K support, J = K and the sampled one, KP: a power of two.

from __future__ import annotations

import triton
import triton.language as tl

REVERSE, FORWARD, JSD, SAMPLED = range(4)
_FORWARD, _JSD, _SAMPLED = (tl.constexpr(number) for number in (FORWARD, JSD, SAMPLED))


@triton.jit
def _expm1(x):
    """exp(x) - 1 for x <= 0."""
    series = 1 + x / 6 * (1 + x / 7 * (1 + x / 8 * (1 + x / 9)))
    series = x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * series))))
    return tl.where(x > -0.5, series, tl.exp(x) - 1)


@triton.jit
def _log1p(x):
    """log(1 + x) for -1 < x <= 0; the rounding of 1 + x is divided out."""
    u = 1 + x
    return tl.where(u == 1.0, x, tl.log(u) * (x / tl.where(u == 1.0, 1.0, u - 1)))


@triton.jit
def _kl(log_p, log_q):
    """p log(p/q) - p + q, by its series where the terms would cancel."""
    r = log_p - log_q
    p, q = tl.exp(log_p), tl.exp(log_q)
    series = 1 - r / 5 * (1 - r / 6 * (1 - r / 7 * (1 - r / 8 * (1 - r / 9))))
    series = p * (r * r) * 0.5 * (1 - r / 3 * (1 - r / 4 * series))
    return tl.where(tl.abs(r) < 0.5, series, p * r - p + q)


@triton.jit
def _log_mixture(log_p, log_q, alpha):
    """log((1-a) p + a q), from the larger of the two."""
    difference = log_q - log_p
    from_p = log_p + _log1p(alpha * _expm1(tl.where(difference > 0, 0.0, difference)))
    from_q = log_q + _log1p((1 - alpha) * _expm1(tl.where(difference < 0, 0.0, -difference)))
    return tl.where(difference <= 0, from_p, from_q)


@triton.jit
def _bucket(log_p, log_q, alpha, KIND: tl.constexpr):
    """Value of buckets, and its derivative by log P."""
    if KIND == _FORWARD:
        return _kl(log_q, log_p), tl.exp(log_p) - tl.exp(log_q)
    if KIND == _JSD:
        mixture = _log_mixture(log_p, log_q, alpha)
        value = (1 - alpha) * _kl(log_p, mixture) + alpha * _kl(log_q, mixture)
        return value, (1 - alpha) * (tl.exp(log_p) * (log_p - mixture))
    return _kl(log_p, log_q), tl.exp(log_p) * (log_p - log_q)


@triton.jit
def _log_mass(logprobs, here):
    """log of the sum over the support."""
    masked = tl.where(here, logprobs, float("-inf"))
    top = tl.max(masked, axis=1)
    return top + tl.log(tl.sum(tl.exp(masked - top[:, None]), axis=1))


@triton.jit
def _ratio(log_above, log_below, clip, max_log_ratio):
    """min(exp of a clamped difference, ``clip``); nan stays."""
    r = log_above - log_below
    r = tl.where(r > max_log_ratio, max_log_ratio, tl.where(r < -max_log_ratio, -max_log_ratio, r))
    ratio = tl.exp(r)
    return tl.where(ratio > clip, clip, ratio)


@triton.jit
def row_loss(
    student_ptr, teacher_ptr, slope_ptr, weight_ptr, old_ptr, rollout_ptr,
    columns_ptr, column_stride, dense_ptr, entries_ptr, R,
    slope, alpha, is_clip, rollout_is_clip, min_logprob, max_log_support, max_log_ratio,
    J: tl.constexpr, KP: tl.constexpr, KIND: tl.constexpr, TAIL: tl.constexpr,
    HAS_OLD: tl.constexpr, HAS_CLIP: tl.constexpr, HAS_ROLLOUT: tl.constexpr, HAS_SLOPE: tl.constexpr,
    GRADIENT: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Weighted loss, divergence, the sampled token's log-prob, its weight and the support's mass, of ROWS rows."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    good = rows < R
    K: tl.constexpr = J if KIND == _SAMPLED else J - 1
    place = tl.arange(0, KP)
    here = good[:, None] & (place < K)[None, :]
    at = rows.to(tl.int64)[:, None] * J + place[None, :]
    leaf = tl.load(student_ptr + at, mask=here, other=0.0)
    taught = tl.load(teacher_ptr + at, mask=here, other=0.0)
    label = tl.load(student_ptr + rows.to(tl.int64) * J + J - 1, mask=good, other=0.0)
    student = tl.where(leaf < min_logprob, min_logprob, leaf)
    teacher = tl.where(taught < min_logprob, min_logprob, taught)
    label = tl.where(label < min_logprob, min_logprob, label)

    weight = tl.full((ROWS,), 1.0, tl.float32)
    old = label
    if HAS_OLD:
        old = tl.load(old_ptr + rows, mask=good, other=0.0).to(tl.float32)
    if HAS_CLIP:
        weight *= _ratio(label, old, is_clip, max_log_ratio)
    if HAS_ROLLOUT:
        rollout = tl.load(rollout_ptr + rows, mask=good, other=0.0).to(tl.float32)
        weight *= _ratio(old, rollout, rollout_is_clip, max_log_ratio)
    upstream_weight = weight * tl.load(weight_ptr + rows, mask=good, other=0.0).to(tl.float32)

    if KIND == _SAMPLED:
        slopes = student - teacher
        kl = tl.sum(tl.where(here, slopes, 0.0), axis=1)
        loss = kl * label
    elif TAIL:
        log_mass, taught_mass = _log_mass(student, here), _log_mass(teacher, here)
        rest = -_expm1(tl.where(log_mass > max_log_support, max_log_support, log_mass))
        taught_rest = -_expm1(tl.where(taught_mass > max_log_support, max_log_support, taught_mass))
        value, slopes = _bucket(student, teacher, alpha, KIND)
        tail_value, tail_slope = _bucket(tl.log(rest), tl.log(taught_rest), alpha, KIND)
        loss = tl.sum(tl.where(here, value, 0.0), axis=1) + tail_value
        kl = loss
        by_mass = tl.where(log_mass <= max_log_support, tail_slope / rest, 0.0)
        slopes -= by_mass[:, None] * tl.exp(student)
    else:
        inside = student - _log_mass(student, here)[:, None]
        value, slopes = _bucket(inside, teacher - _log_mass(teacher, here)[:, None], alpha, KIND)
        loss = tl.sum(tl.where(here, value, 0.0), axis=1)
        kl = loss
        slopes -= tl.exp(inside) * tl.sum(tl.where(here, slopes, 0.0), axis=1)[:, None]

    mass = tl.sum(tl.where(here, tl.exp(student), 0.0), axis=1)
    tl.store(columns_ptr + rows, loss * upstream_weight, mask=good)
    tl.store(columns_ptr + column_stride + rows, kl, mask=good)
    tl.store(columns_ptr + 2 * column_stride + rows, label, mask=good)
    tl.store(columns_ptr + 3 * column_stride + rows, weight, mask=good)
    tl.store(columns_ptr + 4 * column_stride + rows, mass, mask=good)
    if GRADIENT:
        upstream = tl.where(here & (leaf >= min_logprob), slopes * upstream_weight[:, None], 0.0)
        dense = -tl.sum(upstream, axis=1)
        if KIND != _SAMPLED and not TAIL:
            dense = tl.zeros_like(dense)  # the support's alone: what the sum says is rounding
        entries = tl.exp(leaf) * dense[:, None] + upstream
        if HAS_SLOPE:
            entries *= tl.load(slope_ptr + at, mask=here, other=0.0)
        else:
            entries *= slope
        tl.store(dense_ptr + rows, dense, mask=good)
        tl.store(entries_ptr + rows.to(tl.int64)[:, None] * K + place[None, :], entries, mask=here)
