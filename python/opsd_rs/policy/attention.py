"""Attention over packed rows: no padding, no mask of tokens x tokens, no plan per shape.

``packed_attention`` is an attention function of transformers, registered as ``opsd_packed``. Rows lie end to end in one
sequence of T tokens, and ``cu_seq_lens_q`` says where each begins; layers with a sliding window keep it. On CUDA it is
torch's variable-length kernel, but for one long row without a window: there plain causal attention is faster, at
lengths that ``inputs`` rounds. On a CPU each row is attended to by itself: slow, and the twin of the other two.

What it does not do: dropout, attention sinks, soft-capped scores, caches.
"""

# Shapes: T tokens of all rows, H query heads, G key heads (each serves H / G), D size of a head; B = 1.

from __future__ import annotations

import inspect
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from opsd_rs.errors import BadInput
from opsd_rs.policy.kept_attention import Call, attend

PACKED, KEPT = "opsd_packed", "opsd_packed_kept"
"""Names under which transformers knows ``packed_attention``; compilers leave ``KEPT`` alone, since what it keeps is
outside of what they see."""
LONG_ROW = 4096
"""Tokens from which a row goes alone, through plain causal attention."""
GQA: dict[str, Any] = (
    {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}
)
"""Fewer key heads than query heads: newer versions of torch want to be told, older ones do not know the word."""
UNSUPPORTED = {"s_aux": "attention sinks", "softcap": "soft-capped attention scores"}
"""What some families hand to attention beside these; as a keyword of the call: what it means."""


def register() -> None:
    """Make both names known to transformers. No mask function goes with them, so that no mask is made."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
    AttentionInterface.register(KEPT, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]


def check_supported(config: Any, model_dir: str) -> None:
    """Refuse by name what packed rows cannot do.

    :raises BadInput: soft-capped scores (Gemma 2), layers that are neither full nor sliding attention
    """
    text = config.get_text_config()
    if getattr(text, "attn_logit_softcapping", None):
        raise BadInput(
            f"model.path = {model_dir}: {text.model_type} caps its attention scores softly"
            " (attn_logit_softcapping), which packed rows do not support on a GPU; use a model without"
        )
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        raise BadInput(
            f"model.path = {model_dir}: {text.model_type} has layers of {', '.join(sorted(kinds))}, which packed rows"
            " do not support on a GPU; use a model of full and sliding attention"
        )


def packed_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1GTD: Tensor,
    value_1GTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention output (1, T, H, D), as transformers calls it; ``cu_seq_lens_q`` and ``max_length_q`` are ours."""
    for name, meaning in UNSUPPORTED.items():
        if options.get(name) is not None:
            raise BadInput(f"{type(module).__name__} uses {meaning}, which packed rows do not support")
    cu_seqlens, longest = options["cu_seq_lens_q"], options["max_length_q"]
    window = None if sliding_window is None or sliding_window >= longest else sliding_window
    call = Call(cu_seqlens, longest, window, scaling, _is_one_long_row(cu_seqlens, longest, window))
    out_1HTD = attend(query_1HTD, key_1GTD, value_1GTD, call, partial(_plain, call))
    return out_1HTD.transpose(1, 2), None


def _is_one_long_row(cu_seqlens: Tensor, longest: int, window: int | None) -> bool:
    # Plain attention's backward pass adds up in any order, the variable-length kernel's can be told not to.
    return (
        cu_seqlens.shape[0] == 2
        and longest >= LONG_ROW
        and window is None
        and not torch.are_deterministic_algorithms_enabled()
    )


def _plain(call: Call, query_1HTD: Tensor, key_1GTD: Tensor, value_1GTD: Tensor) -> Tensor:
    if not query_1HTD.is_cuda:
        return _row_by_row(query_1HTD, key_1GTD, value_1GTD, call.cu_seqlens, call.window, call.scaling)
    if call.long_row:
        return _causal(query_1HTD, key_1GTD, value_1GTD, None, call.scaling)
    query_THD, key_TGD, value_TGD = (x.squeeze(0).transpose(0, 1) for x in (query_1HTD, key_1GTD, value_1GTD))
    out: Any = varlen_attn(
        query_THD,
        key_TGD,
        value_TGD,
        call.cu_seqlens,
        call.cu_seqlens,
        call.longest,
        call.longest,
        scale=call.scaling,
        window_size=(call.left, 0),  # (-1, 0) is causal and unbounded
        **GQA,
    )
    attended_THD: Tensor = out
    return attended_THD.transpose(0, 1).unsqueeze(0)


def _causal(
    query_1HTD: Tensor, key_1GTD: Tensor, value_1GTD: Tensor, mask_TT: Tensor | None, scaling: float | None
) -> Tensor:
    return functional.scaled_dot_product_attention(
        query_1HTD,
        key_1GTD,
        value_1GTD,
        attn_mask=mask_TT,
        is_causal=mask_TT is None,
        scale=scaling,
        enable_gqa=query_1HTD.shape[1] != key_1GTD.shape[1],
    )


def _row_by_row(
    query_1HTD: Tensor,
    key_1GTD: Tensor,
    value_1GTD: Tensor,
    cu_seqlens: Tensor,
    window: int | None,
    scaling: float | None,
) -> Tensor:
    edges = cu_seqlens.tolist()
    rows = []
    for start, end in pairwise(edges):
        mask_TT = None
        if window is not None:
            place = torch.arange(end - start, device=query_1HTD.device)
            distance_TT = place[:, None] - place[None, :]
            mask_TT = (distance_TT >= 0) & (distance_TT < window)
        query, key, value = (x[:, :, start:end] for x in (query_1HTD, key_1GTD, value_1GTD))
        rows.append(_causal(query, key, value, mask_TT, scaling))
    return torch.cat(rows, dim=2)
