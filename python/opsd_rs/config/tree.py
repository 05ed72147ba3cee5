"""The configuration: one frozen tree, unknown keys refused, every default stated once, here.

TOML by hand, JSON by machine. Defaults are the paper's Table 2 (arXiv 2605.30070) where it gives a value and
SDPO's rich-feedback run where it leaves a blank (learning rate, Adam betas).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model, field_validator

from opsd_rs.config.context import ContextConfig, ExamplesConfig, NotesConfig
from opsd_rs.config.grader import OPTIONS, GraderSettings, Option
from opsd_rs.config.objectives import (
    GrpoConfig,
    LossConfig,
    MixtureConfig,
    NegativeAdvantageConfig,
    OpdConfig,
)
from opsd_rs.config.plugin_list import PluginListConfig
from opsd_rs.config.plugins import PluginConfig
from opsd_rs.config.section import Fraction, NaturalInt, PositiveInt, Section, expanded

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Config", "ContextConfig", "ExamplesConfig", "NotesConfig", "Section"]


class RunConfig(Section):
    """Where the run lives."""

    dir: str = "runs/opsd"
    """Run folder; made by the run, refused if it holds another run."""
    config_id: str | None = None
    """Name of this configuration in the law's table; default: model, problems and context joined."""
    family: str | None = None
    """Group for the law's fit; default: the model's folder name."""
    gpu_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the GPU's memory that this process and its vLLM may take. Below 1 where several runs share a GPU, as
    ``opsd-rs sweep`` starts them: torch holds to it, and batches are cut to it."""

    _paths = field_validator("dir")(expanded)


class ModelConfig(Section):
    """The policy."""

    path: str = "smollm2-135m"
    """A Hugging Face directory or hub name, or a name known to ``opsd-rs model fetch``."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Compute type of student, teacher and sampler; the optimizer and the EMA are always fp32."""
    enable_thinking: bool = False
    """Handed to the chat template on both the student's and the teacher's side."""
    chat_date: str | None = None
    """The day, ISO, for chat templates that print today's; unset: the day on which the run started first."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    keep_attention: bool = False
    """With ``gradient_checkpointing``: keep attention outputs, a hidden state per token and layer, and do not recompute
    them. Worth it for long answers; on a GPU only."""
    compile: bool = False
    """Compile the decoder layers: half a minute at the start, then faster updates. Not under ZeRO stage 3."""

    _paths = field_validator("path")(expanded)


class EnvironmentConfig(PluginConfig):
    """The task, and the keys of an environment of your own. ``environment = "code"`` is short for ``name``."""

    kind: ClassVar[str] = "environment"
    name: str = "code"
    """``code``: programs, from ``[problems]``, judged by ``[grader]``. Your own: ``module:attribute`` or
    ``file.py:attribute``; the keys of its ``Options`` stand beside this one."""


class ProblemsConfig(Section):
    """Which problems, which of their tests: keys of the environment ``code``."""

    path: str = "primer"
    """``primer``, or a problem file of any form that docs/grader.md lists."""
    kind: Literal["all", "function", "stdin"] = "all"
    """Only problems whose program is called as a function, or fed on standard input."""
    split: Literal["hash", "sdpo", "none"] = "hash"
    """How each problem's tests are divided: by a hash per problem, as SDPO does, or not at all."""
    train_tests: Fraction = 0.5
    """Share of a problem's tests that training sees; validation always runs all of them."""
    held_out: Fraction = 0.0
    """Share of problems, chosen by a hash, that training never sees."""
    split_seed: NaturalInt = 0
    """Moves the ``hash`` split and the held-out side. Apart from ``seed``, so that seeds share problems and tests."""
    limit: PositiveInt | None = None
    """Only the first so many problems, in file order after the filters."""
    difficulty: tuple[str, ...] = ()
    """Keep these, ``easy``, ``medium``, ``hard``; empty: all."""
    platform: tuple[str, ...] = ()
    """Keep these; empty: all."""
    release: tuple[str, ...] = ()
    """Keep these; empty: all."""
    date_from: str | None = None
    """First contest date kept, ISO."""
    date_to: str | None = None
    """First contest date no longer kept, ISO."""
    prompt: Literal["plain", "sdpo"] = "plain"
    """How the statement becomes the user's message: as it stands, or in SDPO's LiveCodeBench wording."""

    _paths = field_validator("path")(expanded)


class RolloutConfig(Section):
    """How the student is sampled in training and for the gap (the paper's training decoding)."""

    engine: Literal["vllm", "hf"] = "vllm"
    """vLLM in processes of its own, or Hugging Face generate; neither stands in for the other."""
    n: PositiveInt = 8
    """Rollouts per problem: the group among which peers are found."""
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """Both sides' logits are divided by it in the loss too."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Below 1 only without ``loss.rollout_is_clip``."""
    max_tokens: PositiveInt = 8192
    """Longest completion, in training and in validation."""
    max_prompt_tokens: PositiveInt = 2048
    """Problems whose prompt is longer are left out before the start; the run's ``run.json`` lists them."""
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.4
    """Share of the GPU that vLLM may take beside the trainer."""
    kv_cache_gib: PositiveInt = 1
    """KV cache of vLLM's CPU build."""
    max_num_seqs: PositiveInt = 256
    """Sequences that vLLM decodes at a time."""
    enforce_eager: bool = False
    """No CUDA graphs; always so on CPU."""


class EvalConfig(Section):
    """Validation: its own decoding, all tests."""

    every: NaturalInt = 5
    """Steps between validations; 0 validates only before and after."""
    n: PositiveInt = 4
    """Samples per problem: the k of mean@k."""
    temperature: Annotated[float, Field(ge=0.0)] = 0.6
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Nucleus of validation."""
    problems: Literal["train", "held_out"] = "train"
    """``train``: the training problems with all their tests (transductive, as published)."""
    from_: str | None = Field(default=None, alias="from")
    """An ``eval.parquet`` whose step 0 is taken as this run's baseline instead of measuring it again."""
    seed: NaturalInt | None = None
    """Seed of the student's validation before training, step 0; unset: ``seed``. Runs of several seeds that name one
    here can share a baseline. Later validations always draw by ``seed``."""
    teacher: bool = False
    """Also validate the self-teacher (its context built from fresh training-decoding rollouts)."""

    _paths = field_validator("from_")(expanded)


class ControlConfig(Section):
    """The control without privileged context."""

    mask: Literal["zero", "one"] = "zero"
    """``zero``: rows without context leave the loss (SDPO). ``one``: they stay, so that None trains too."""


class GapConfig(Section):
    """The gap at step 0, with the training decoding."""

    n: PositiveInt | None = None
    """Samples per problem and arm, a multiple of ``rollout.n``: each ``rollout.n`` of them are a group with its own
    peers, as in training. Unset: two groups, from which the gap's error is estimated."""
    from_: str | None = Field(default=None, alias="from")
    """A ``gap.parquet`` measured before, taken instead of measuring."""
    seed: NaturalInt | None = None
    """Seed of the gap's draws; unset: ``seed``. Runs of several seeds that name one here can share a gap."""
    contexts: tuple[str, ...] = ()
    """Contexts that ``opsd-rs gap`` and ``opsd-rs screen`` measure; empty: only the run's own, or all that are built
    in to screen."""
    baseline: Literal["split", "paper"] = "split"
    """``split`` scores the student on fresh samples, ``paper`` on those that built the contexts."""
    baseline_samples: PositiveInt = 4
    """With ``split``: the student's own samples, as a multiple of ``gap.n``, drawn once for all contexts. Where
    ``none`` is measured too and holds, its answers and those that built the contexts join them. 1: as many as the
    other arms, and nothing joins them, as in earlier versions."""

    _paths = field_validator("from_")(expanded)


class LawConfig(Section):
    """What a fitted law forecasts of this run, and whether it may end the run early."""

    file: str | None = None
    """A ``law.json``, or a name that ``opsd-rs law show`` lists: the end is forecast once the gap is measured."""
    stop: Literal["off", "ceiling", "futility"] = "off"
    """``ceiling``: end where nothing is left to gain; ``futility``: where the gain stays below ``worthwhile``."""
    worthwhile: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.01
    """Smallest gain that a run is worth, a fraction."""
    further_gain: Annotated[float, Field(ge=0.0, le=1.0)] = 0.005
    """Smallest gain that the rest of a run is worth, a fraction; for ``ceiling``."""
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    """How sure a stop must be."""
    force: bool = False
    """Forecast where the law's domain differs from the run's, with a flag."""

    _paths = field_validator("file")(expanded)


class ObjectiveConfig(PluginConfig):
    """What the student minimises, and the keys of an objective of your own. ``objective = "opsd"`` is short for
    ``name``."""

    kind: ClassVar[str] = "objective"
    name: str = "opsd"
    """``opsd``, ``grpo``, ``rft``, ``ssd``, ``opd``, ``negative_advantage``, or ``mixture`` (docs/objectives.md). Your
    own: ``module:attribute`` or ``file.py:attribute``; the keys of its ``Options`` stand beside this one."""


class TeacherConfig(Section):
    """The self-teacher."""

    kind: Literal["ema", "fixed", "live", "blend", "trust_region"] = "ema"
    """Weights of the self-teacher: a slow average of the student, the initial ones, the student's own, or ``blend``,
    which is (1 - ``rate``) initial + ``rate`` current. ``trust_region`` mixes logits instead, those of the initial and
    of the student's weights of the moment, by one more forward (SDPO)."""
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    """Share of the student: taken over once per outer step by ``ema``, part of the mix under ``blend`` and
    ``trust_region``."""
    offload: bool = False
    """Keep the average in host memory, 4 bytes a parameter; it passes through the GPU in chunks."""
    max_context_tokens: PositiveInt = 10240
    """Budget of the whole teacher prompt; solution and feedback are cut in the middle, the rest never."""


class OptimConfig(Section):
    """AdamW, constant learning rate."""

    lr: Annotated[float, Field(gt=0.0)] = 1e-6
    """Constant, no warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the two moments."""
    eps: Annotated[float, Field(gt=0.0)] = 1e-8
    """Added to the root of the second moment."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Decoupled, as in AdamW."""
    clip: Annotated[float, Field(gt=0.0)] = 1.0
    """Bound of the global gradient norm."""
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type in which gradients add up over micro-batches; ``bfloat16`` rounds each sum and takes 2 bytes a parameter
    less. Only with ``model.dtype = "bfloat16"``."""
    offload: bool = False
    """Keep master weights and moments in host memory, 12 bytes a parameter; each step passes them through the GPU."""


class TrainConfig(Section):
    """Steps and batches."""

    num_steps: NaturalInt = 50
    """Outer steps: sample, grade, assemble, update, follow, sync."""
    prompts_per_step: PositiveInt = 32
    """Problems per outer step."""
    mini_batch_prompts: PositiveInt = 1
    """Prompts per optimizer step; with 32 prompts a step, 1 means 32 updates per outer step."""
    micro_batch_tokens: PositiveInt | None = None
    """Tokens per forward and backward; a longer row goes alone. Unset: what fits into the GPU's free memory, 4,096 on a
    CPU."""
    deterministic: bool = False
    """On a GPU: the same bits every time, for 8 to 50 % more time in attention. A CPU is deterministic anyway."""
    checkpoint_every: NaturalInt = 5
    """Outer steps between checkpoints; 0: at the end alone."""
    keep_checkpoints: PositiveInt = 2
    """Older ones are removed."""


class DeepSpeedConfig(Section):
    """The optimizer's partitioning."""

    stage: int = 1
    """ZeRO stage: 1 optimizer state, 2 gradients, 3 weights too. 0 is refused."""


class GraderConfig(Section):
    """The grader in training: the options of ``opsd-rs grade``, with defaults of its own."""

    def settings(self) -> GraderSettings:
        """As ``Grader`` takes them.

        :raises BadOption: options that cannot go together
        """
        options = {name: getattr(self, name) for name in OPTIONS}
        return _GraderKeys(**{**options, "workers": options["workers"] or None})


class _GraderKeys(GraderSettings):
    @classmethod
    def name_of(cls, option: str) -> str:
        return f"grader.{option}"


def _grader_field(name: str, option: Option) -> tuple[Any, Any]:
    own = {"require": "S2", "stop": "first-timeout", "feedback": "sdpo"}
    if name == "workers":  # 0, not unset, as in the run folders of any version
        return NaturalInt, Field(0, description="Programs at a time; 0: one per usable core.")
    kinds = {
        int: Annotated[int, Field(ge=option.least)],
        float: Annotated[float, Field(gt=0.0, allow_inf_nan=False)],
    }
    kind: Any = Literal[option.choices] if option.choices else kinds.get(option.kind, option.kind)
    kind = tuple[str, ...] if option.is_list else kind | None if option.may_be_unset else kind
    return kind, Field(own.get(name, option.default), description=option.help)


if not TYPE_CHECKING:
    GraderConfig = create_model(
        "GraderConfig",
        __base__=GraderConfig,
        __doc__=GraderConfig.__doc__,
        **{name: _grader_field(name, option) for name, option in OPTIONS.items()},
    )


class LogConfig(PluginListConfig):
    """Where a run's numbers go, step by step. The keys of a logger of your own are the table ``[log.NAME]``."""

    kind: ClassVar[str] = "logger"
    key: ClassVar[str] = "log.to"
    to: tuple[str, ...] = ("jsonl",)
    """``jsonl``: ``metrics.jsonl`` in the run folder; without it the law's table has neither ``kl_final`` nor
    ``gpu_hours``. Your own: ``module:attribute`` or ``file.py:attribute``, whose table is named by the attribute."""
    token_kl: bool = True
    """Keep the divergence at each token of a trained rollout (``token_kl`` in ``rollouts/``, float16), for the heat of
    ``opsd-rs report``. The loss computes it anyway; a token takes 2 bytes on the disk at most."""


class Config(Section):
    """The whole tree."""

    seed: NaturalInt = 0
    """Governs sampling, order and initial noise; two runs that differ in it alone are two seeds."""
    run: RunConfig = RunConfig()
    model: ModelConfig = ModelConfig()
    environment: EnvironmentConfig = EnvironmentConfig()
    problems: ProblemsConfig = ProblemsConfig()
    rollout: RolloutConfig = RolloutConfig()
    eval: EvalConfig = EvalConfig()
    context: ContextConfig = ContextConfig()
    """A name (``feedback``), or the table itself."""
    control: ControlConfig = ControlConfig()
    gap: GapConfig = GapConfig()
    law: LawConfig = LawConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    loss: LossConfig = LossConfig()
    grpo: GrpoConfig = GrpoConfig()
    opd: OpdConfig = OpdConfig()
    negative_advantage: NegativeAdvantageConfig = NegativeAdvantageConfig()
    mixture: MixtureConfig = MixtureConfig()
    teacher: TeacherConfig = TeacherConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    grader: GraderConfig = GraderConfig()
    log: LogConfig = LogConfig()

    @property
    def gap_seed(self) -> int:
        """Seed of the gap's draws."""
        return self.seed if self.gap.seed is None else self.gap.seed

    @property
    def baseline_seed(self) -> int:
        """Seed of the student's validation before training."""
        return self.seed if self.eval.seed is None else self.eval.seed

    @property
    def num_gap_groups(self) -> int:
        """Groups of ``rollout.n`` samples per problem in the gap: two, or what ``gap.n`` asks for.

        Run folders of earlier versions may hold another ``gap.n`` than a multiple: it is rounded up.

        >>> Config().num_gap_groups
        2
        """
        return 2 if self.gap.n is None else -(-self.gap.n // self.rollout.n)


PLUGIN_TABLES: Mapping[str, type[PluginConfig]] = {
    name: info.annotation
    for name, info in Config.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, PluginConfig)
}
"""The tables that hold a plugin's name and keys: ``environment``, ``objective``."""
