"""``OpsdHead`` in real models: the plain loss and gradients, whatever shards, adapts, ties or compiles the model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from head_cases import Largest
from opsd_rs.config import LossConfig, load_config
from opsd_rs.errors import BadInput
from opsd_rs.loss import opsd_loss
from opsd_rs.loss.kernels import OpsdHead, OutputHead, opsd_loss_from_hidden, topk_kl
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

pytestmark = pytest.mark.samples_model

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {"head_dim": 16, "final_logit_softcapping": 5.0},
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.0625},
}
INPUT_IDS = torch.tensor([[5, 6, 7, 9, 10, 11, 40, 41]])
LABELS = torch.tensor([6, 7, 9, 10, 11, 40, 41, 2])


def model_of(family: str, **settings: Any) -> Any:
    torch.manual_seed(3)
    config = AutoConfig.for_model(family, **SHAPE, **FAMILIES.get(family, {}), **settings)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_(0.0, 0.3)
    return model


def teacher_of(model: Any) -> tuple[Tensor, OutputHead]:
    """Hidden states and matrix of another model, with the same rule."""
    generator = torch.Generator().manual_seed(4)
    hidden_TD = torch.randn(LABELS.numel(), 32, generator=generator)
    head = OpsdHead.install(copy.deepcopy(model)).output()
    weight = torch.randn(96, 32, generator=generator) * 0.3
    return hidden_TD, OutputHead(weight, None, head.scale, head.softcap)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def inside(model: Any, teacher: tuple[Tensor, OutputHead], trunk: Any = None) -> Tensor:
    """The loss computed in the head's forward pass."""
    hidden_TD = (model.model if trunk is None else trunk)(input_ids=INPUT_IDS)[0].flatten(0, 1)
    everything = torch.ones_like(LABELS)

    def read(hidden_TD: Tensor, head: OutputHead) -> Tensor:
        return opsd_loss_from_hidden(
            hidden_TD, teacher[0], LABELS, everything, everything, head=head, teacher_head=teacher[1],
            config=LossConfig(topk=7), budget_bytes=4000,
        ).loss  # fmt: skip

    found: Tensor = model.lm_head(hidden_TD, read)
    return found


def outside(model: Any, teacher: tuple[Tensor, OutputHead]) -> Tensor:
    """The loss on the logits of the model's own forward pass."""
    everything = torch.ones_like(LABELS)
    taught_TV = teacher[1].logits(teacher[0])
    logits_TV = model(input_ids=INPUT_IDS).logits[0]
    return opsd_loss(logits_TV, taught_TV, LABELS, everything, everything, config=LossConfig(topk=7)).loss


def assert_same_gradients(found: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    assert found.keys() == exact.keys()
    for name, gradient in exact.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_models_own_logits(
    family: str, tied: bool, tmp_path: Path
) -> None:
    plain = model_of(family, tie_word_embeddings=tied)
    model = model_of(family, tie_word_embeddings=tied)
    names, weight, logits = list(model.state_dict()), model.lm_head.weight, model(input_ids=INPUT_IDS).logits
    head = OpsdHead.install(model)
    assert model.lm_head is head
    assert OpsdHead.install(model) is head
    assert head.weight is weight
    assert (model.model.embed_tokens.weight is weight) == tied
    assert list(model.state_dict()) == names
    assert torch.equal(model(input_ids=INPUT_IDS).logits, logits)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(again(input_ids=INPUT_IDS).logits, logits)
    assert torch.equal(copy.deepcopy(model)(input_ids=INPUT_IDS).logits, logits)
    teacher = teacher_of(plain)
    exact, found = outside(plain, teacher), inside(model, teacher)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
    exact.backward()
    found.backward()
    assert ("lm_head.weight" in gradients(model)) != tied
    assert_same_gradients(gradients(model), gradients(plain))


class Lora(nn.Module):
    """As ``peft`` wraps a layer: its names, and the product of two small matrices added."""

    def __init__(self, base_layer: nn.Linear, rank: int, *, dropout: float = 0.0, bias: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.base_layer = base_layer.requires_grad_(False)
        down = nn.Linear(base_layer.in_features, rank, bias=False)
        up = nn.Linear(rank, base_layer.out_features, bias=bias)
        for matrix in (down.weight, up.weight):
            matrix.data.normal_(0, 0.3, generator=generator)
        self.lora_A, self.lora_B = nn.ModuleDict({"default": down}), nn.ModuleDict({"default": up})
        self.lora_dropout = nn.ModuleDict({"default": nn.Dropout(dropout)})
        self.scaling = {"default": 0.5}
        self.active_adapters, self.disable_adapters, self.merged = ["default"], False, False

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight

    def get_delta_weight(self, name: str) -> Tensor:
        return self.lora_B[name].weight @ self.lora_A[name].weight * self.scaling[name]  # type: ignore[no-any-return,operator]

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.base_layer(hidden)
        if not self.disable_adapters:
            logits = logits + self.lora_B["default"](self.lora_A["default"](hidden)) * self.scaling["default"]
        return logits


def test_lora_on_the_head() -> None:
    teacher, found = teacher_of(model_of("gemma2")), []
    for run in (inside, outside):
        model = model_of("gemma2", tie_word_embeddings=False)
        model.requires_grad_(False)
        model.lm_head = Lora(model.lm_head, 4)
        if run is inside:
            OpsdHead.install(model)
        loss = run(model, teacher)
        loss.backward()
        found.append((loss.detach(), gradients(model)))
        model.lm_head.disable_adapters = True
        found[-1] += (run(model, teacher).detach(),)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-6)
    assert abs(found[0][2] - found[0][0]) > 1e-3
    assert set(found[0][1]) == {"lm_head.lora_A.default.weight", "lm_head.lora_B.default.weight"}
    assert_same_gradients(found[0][1], found[1][1])


@pytest.mark.parametrize(("option", "said"), [({"dropout": 0.1}, "dropout"), ({"bias": True}, "a bias")])
def test_an_adapter_that_is_no_product_is_refused(option: dict[str, Any], said: str) -> None:
    model = model_of("llama")
    model.lm_head = Lora(model.lm_head, 4, **option)
    model.train()
    with pytest.raises(BadInput, match=f"'default' of lm_head has {said}"):
        OpsdHead.install(model)


def test_peft_itself() -> None:
    peft = pytest.importorskip("peft")
    found = []
    for run in (inside, outside):
        model = model_of("llama")
        config = peft.LoraConfig(r=4, target_modules=["lm_head", "q_proj"], init_lora_weights=False)
        torch.manual_seed(6)
        adapted = peft.get_peft_model(model, config).base_model.model
        if run is inside:
            OpsdHead.install(adapted)
        loss = run(adapted, teacher_of(model_of("llama")))
        loss.backward()
        found.append((loss.detach(), gradients(adapted)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert_same_gradients(found[0][1], found[1][1])


def test_a_frozen_head_costs_no_product_for_its_gradient() -> None:
    counts = []
    for frozen in (True, False):
        model = model_of("llama")
        model.lm_head.requires_grad_(not frozen)
        head = OpsdHead.install(model)
        hidden_TD = torch.randn(8, 32, requires_grad=True)
        with Largest() as mode:
            head(
                hidden_TD,
                lambda h, output: (
                    topk_kl(h, output, h.detach() * 1.1, output, LABELS, budget_bytes=1 << 22).loss
                ),
            ).backward()
        counts.append(mode.products)
        assert hidden_TD.grad is not None
        assert (model.lm_head.weight.grad is None) == frozen
    assert counts == [3, 4]


def test_a_compiled_trunk() -> None:
    plain, model = model_of("llama"), model_of("llama")
    OpsdHead.install(model)
    torch.compiler.reset()
    trunk = torch.compile(model.model, backend="aot_eager")
    teacher = teacher_of(plain)
    exact, found = outside(plain, teacher), inside(model, teacher, trunk)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
    exact.backward()
    found.backward()
    assert_same_gradients(gradients(model), gradients(plain))


def test_models_without_a_known_head_are_refused() -> None:
    with pytest.raises(BadInput, match="Linear has no `model` and `lm_head`"):
        OpsdHead.install(nn.Linear(2, 2))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("hyperclovax", **SHAPE, logits_scaling=3.0))
    with pytest.raises(BadInput, match="HyperCLOVAXForCausalLM changes its logits"):
        OpsdHead.install(model)
    wrapped = model_of("llama")
    wrapped.lm_head.base_layer = nn.Identity()
    with pytest.raises(BadInput, match="is no LoRA layer"):
        OpsdHead.install(wrapped)


@pytest.mark.usefixtures("left_ranks")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stage", [1, 3])
def test_weights_that_zero_cuts_up(stage: int, tied: bool, tmp_path: Path) -> None:
    """The loss in the forward pass of the head, where stage 3 gathers the matrix: one step."""
    from engines import CPU
    from opsd_rs.policy import Student, join_ranks

    exact = model_of("llama", tie_word_embeddings=tied)
    exact.save_pretrained(tmp_path / "m")
    words = [
        f"model.path={tmp_path / 'm'}",
        f"deepspeed.stage={stage}",
        "optim.lr=0.01",
        "optim.eps=0.01",
        "model.dtype=float32",
    ]
    join_ranks(CPU)
    config = load_config(["smoke"], words)
    assert config.optim.clip == 1.0
    decay = config.optim.weight_decay
    student = Student(config, str(tmp_path / "m"), CPU)
    model: Any = student.engine.module.lm
    with pytest.raises(BadInput, match=r"another library has replaced lm_head\.forward"):
        OpsdHead.install(model)
    del model.lm_head.forward  # the trainer's own way to the same end
    head, teacher = OpsdHead.install(model), teacher_of(exact)
    assert (head.weight.numel() == 0) == (stage == 3)
    loss = inside(model, teacher)
    assert (head.weight.numel() == 0) == (stage == 3)
    outside(exact, teacher).backward()
    student.backward(loss, last=True)
    norm = torch.stack([p.grad.norm() for p in exact.parameters()]).norm().item()
    assert student.step() == pytest.approx(norm, rel=1e-3)
    clip = min(1.0, 1.0 / norm)
    found = dict(student.weights())
    assert found.keys() == dict(exact.named_parameters()).keys()
    for name, parameter in exact.named_parameters():
        gradient = clip * parameter.grad
        wanted = parameter.detach() * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 0.01)
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.usefixtures("left_ranks")
def test_weights_that_fsdp_cuts_up() -> None:
    """``fully_shard`` of layers and head: parts outside of the head's forward pass, gradients as without."""
    from engines import CPU
    from opsd_rs.policy import join_ranks
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    join_ranks(CPU)
    exact, model = (model_of("gemma2", tie_word_embeddings=False) for _ in range(2))
    head, teacher, mesh = OpsdHead.install(model), teacher_of(exact), init_device_mesh("cpu", (1,))
    for part in (*model.model.layers, model.model, model.lm_head):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    assert model.lm_head is head
    assert isinstance(head.weight, DTensor)
    found = inside(model, teacher)
    outside(exact, teacher).backward()
    found.backward()
    assert_same_gradients(
        {name: gradient.full_tensor() for name, gradient in gradients(model).items()},  # type: ignore[attr-defined]
        gradients(exact),
    )
