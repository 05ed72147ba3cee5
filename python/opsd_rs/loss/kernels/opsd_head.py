"""The output layer of a Hugging Face model, with a loss computed inside of it.

A loss that takes the whole output matrix has to run where the matrix is whole: within the forward pass of the module
that holds it. There the hooks have run by which ZeRO-3 and FSDP2 gather weights, and its gradient is made there too.

    head = OpsdHead.install(model)
    hidden = model.model(input_ids)[0].flatten(0, 1)
    loss = head(hidden, lambda hidden_TD, output: topk_kl(hidden_TD, output, ...).loss)

What it does not do: choose tokens, or run the decoder.
"""

# Shapes: T tokens, D hidden size, V vocabulary.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, overload

from torch import Tensor, nn

from opsd_rs.base import LogitRule
from opsd_rs.errors import BadInput
from opsd_rs.loss.kernels.heads import OutputHead

T = TypeVar("T")


class OpsdHead(nn.Module):
    """``lm_head`` of a model: the same module, parameters, names and hooks, called with one more argument.

    ``head(hidden)`` gives logits as before. ``head(hidden_TD, read)`` returns ``read(hidden_TD, output)``, where
    ``output`` is the model's ``OutputHead``; let ``read`` return a tensor, or a tuple of them, so that hooks on the
    result find it.

    A ``peft`` LoRA layer stands for its matrix and the adapters' product, made for the call: V x D numbers more, and
    the gradient of as many. An output matrix that is frozen costs no product for its gradient.
    """

    rule: LogitRule
    valid_vocab: int | None
    _classes: ClassVar[dict[type, type]] = {}

    @staticmethod
    def install(model: nn.Module, *, valid_vocab: int | None = None) -> OpsdHead:
        """Make ``model.lm_head`` one of these, where it is not; soft cap and scale are the model's.

        :param valid_vocab: ids from here on are padding
        :raises BadInput: the model's logits are not a known function of ``lm_head``'s; an adapter that is no product

        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes))
        >>> weight = model.lm_head.weight
        >>> head = OpsdHead.install(model)
        >>> head.weight is weight, head(weight.new_ones(3, 8), lambda hidden_TD, output: output.vocabulary)
        (True, 32)
        """
        found: Any = model
        if not hasattr(found, "lm_head") or not hasattr(found, "model"):
            raise BadInput(f"{type(model).__name__} has no `model` and `lm_head`; give a Llama-like decoder")
        layer: nn.Module = found.lm_head
        if "forward" in vars(layer):
            raise BadInput("OpsdHead: another library has replaced lm_head.forward; install before it does")
        rule = LogitRule.of(found.config)
        if not isinstance(layer, OpsdHead):
            # The object stays, and with it hooks, ties, and what others hold of it.
            layer.__class__ = OpsdHead._class_of(type(layer))
        assert isinstance(layer, OpsdHead)
        layer.rule, layer.valid_vocab = rule, valid_vocab
        weight, _ = _matrix(layer)
        if not (weight.is_meta or hasattr(weight, "ds_id")):  # ZeRO-3 has cut it up
            whole = OutputHead(weight.detach(), _bias(layer), rule.scale, rule.softcap)
            rule.check(model, "OpsdHead", whole.logits)
        return layer

    @staticmethod
    def _class_of(base: type) -> type:
        if base not in OpsdHead._classes:
            OpsdHead._classes[base] = type(f"Opsd{base.__name__}", (OpsdHead, base), {})
        return OpsdHead._classes[base]

    @overload
    def forward(self, hidden: Tensor) -> Tensor: ...

    @overload
    def forward(self, hidden: Tensor, read: Callable[[Tensor, OutputHead], T]) -> T: ...

    def forward(self, hidden: Tensor, read: Callable[[Tensor, OutputHead], T] | None = None) -> Tensor | T:
        """Logits, or what ``read`` makes of hidden states (T, D) and the head."""
        if read is None:
            logits: Tensor = super().forward(hidden)
            return logits
        return read(hidden, self.output())

    def output(self) -> OutputHead:
        """The matrix and what follows it; within ``forward`` where weights are in parts outside of it."""
        weight_VD, _ = _matrix(self)
        return OutputHead(weight_VD, _bias(self), self.rule.scale, self.rule.softcap, self.valid_vocab)


def _bias(layer: nn.Module) -> Tensor | None:
    bias: Tensor | None = getattr(_matrix(layer)[1], "bias", None)
    return bias


def _matrix(layer: nn.Module) -> tuple[Tensor, nn.Module]:
    """The matrix that ``layer`` multiplies with (V, D), and the module that holds it."""
    found: Any = layer
    if not hasattr(found, "base_layer"):
        plain: Tensor = found.weight
        return plain, layer
    # peft's LoRA: the adapters in use, unless they are switched off or in the matrix already.
    if not hasattr(found, "get_delta_weight") or not hasattr(found, "lora_A"):
        raise BadInput(
            "OpsdHead: lm_head has a base_layer and is no LoRA layer; merge it, or leave lm_head out of it"
        )
    base: nn.Module = found.base_layer
    weight: Any = base.weight
    if found.disable_adapters or found.merged:
        return weight, base
    for name in found.active_adapters:
        if name not in found.lora_A:
            continue
        dropout = getattr(found, "lora_dropout", {name: None})[name]
        others = {
            "dropout": layer.training and float(getattr(dropout, "p", 0.0)) > 0,
            "a bias": getattr(found.lora_B[name], "bias", None) is not None,
            "DoRA or another variant": bool(
                getattr(found, "use_dora", {}).get(name) or getattr(found, "lora_variant", {}).get(name)
            ),
        }
        if used := next((what for what, holds in others.items() if holds), None):
            raise BadInput(
                f"OpsdHead: adapter {name!r} of lm_head has {used}, which no matrix stands for; leave it out of lm_head"
            )
        weight = weight + found.get_delta_weight(name).to(weight.dtype)
    return weight, base
