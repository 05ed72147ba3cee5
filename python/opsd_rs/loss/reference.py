"""The gradient of the divergence in closed form: the slow twin that autograd is tested against."""

# Shapes: T completion tokens of a micro-batch, rows laid end to end; V vocabulary; K support;
# B = K + 1 buckets with a tail, K without. P and p are the student's, Q and q the teacher's.

from __future__ import annotations

import torch
from torch import Tensor

from opsd_rs.errors import BadInput
from opsd_rs.loss.divergences import MAX_LOG_SUPPORT, Kind, log_mixture, logprobs_at, renormalised, with_tail


def closed_form_gradient(
    student_logits_TV: Tensor,
    teacher_logits_TV: Tensor,
    topk_ids_TK: Tensor,
    *,
    kind: Kind = "reverse_kl",
    jsd_alpha: float = 0.5,
    tail: bool = True,
    upstream_T: Tensor | None = None,
) -> Tensor:
    """dL/dz (T, V) with respect to the student's logits, without autograd: the slow, plain twin.

    For any loss of bucket masses, with g_b = dL/dP_b:  dL/dz_v = p_v (g_b(v) - sum_b P_b g_b)  with a tail,
    the tail's g being 0 where it is clamped; renormalised, the same with P on the support and 0 off it. Up to
    a constant, which cancels: reverse g = log P - log Q, forward g = 1 - Q/P, jsd g = (1-a)(log P - log M).
    """
    if kind == "jsd" and jsd_alpha in (0.0, 1.0):
        kind = "reverse_kl" if jsd_alpha == 1.0 else "forward_kl"
    with torch.no_grad():
        student_TK = logprobs_at(student_logits_TV, topk_ids_TK)
        teacher_TK = logprobs_at(teacher_logits_TV, topk_ids_TK)
        to_distribution = with_tail if tail else renormalised
        P_TB, Q_TB = to_distribution(student_TK), to_distribution(teacher_TK)  # logs
        if kind == "reverse_kl":
            g_TB = P_TB - Q_TB
        elif kind == "forward_kl":
            g_TB = 1 - (Q_TB - P_TB).exp()
        elif kind == "jsd":
            g_TB = (1 - jsd_alpha) * (P_TB - log_mixture(P_TB, Q_TB, jsd_alpha))
        else:
            raise BadInput(f"no closed form for loss.kind = {kind!r}")
        if tail:
            clamped_T = torch.logsumexp(student_TK, dim=-1) > MAX_LOG_SUPPORT
            g_TB[:, -1].masked_fill_(clamped_T, 0.0)
            p_TV = torch.softmax(student_logits_TV, dim=-1, dtype=g_TB.dtype)
            g_TV = g_TB[:, -1:].expand_as(p_TV).scatter(-1, topk_ids_TK, g_TB[:, :-1])
        else:
            p_TV = torch.zeros_like(student_logits_TV, dtype=g_TB.dtype).scatter(-1, topk_ids_TK, P_TB.exp())
            g_TV = torch.zeros_like(p_TV).scatter(-1, topk_ids_TK, g_TB)
        gradient_TV = p_TV * (g_TV - (P_TB.exp() * g_TB).sum(-1, keepdim=True))
        return gradient_TV if upstream_T is None else gradient_TV * upstream_T.unsqueeze(-1)
