"""Our grader, contexts and loss inside TRL: a GRPOTrainer whose loss is the divergence to a privileged self-teacher.

    pip install trl==1.16.0 && python examples/trl_loop.py --steps 2

TRL samples, batches, optimises and logs. What changes: every answer is graded in our sandbox with feedback kept, the
teacher's prompt is built from it, and ``compute_loss`` compares both readings of the same completion ids. TRL's own
self-distillation trainers take privileged text from a dataset column only, not from what a rollout just did.
"""

from __future__ import annotations

import argparse

import torch
from datasets import Dataset
from opsd_rs import Assembler, Context, Grader, Rollout, Solution
from opsd_rs.config import LossConfig
from opsd_rs.loss import opsd_loss
from opsd_rs.model import resolve
from opsd_rs.problems import load
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer


class OPSDTrainer(GRPOTrainer):
    """GRPO's machinery with the loss of on-policy self-distillation."""

    def __init__(self, *args, assembler, problems, grader, loss_config, ema, **rest):
        super().__init__(*args, reward_funcs=self.passed, **rest)
        self.assembler, self.problems, self.grader = assembler, problems, grader
        self.loss_config, self.ema = loss_config, ema
        self.teacher = AutoModelForCausalLM.from_pretrained(
            self.model.config._name_or_path, dtype=self.model.dtype
        )
        self.teacher.to(self.model.device).eval().requires_grad_(False)
        self.grades = []

    def passed(self, completions, problem_id, **columns):
        """The reward, for TRL's log alone; the grades with their feedback are kept for the contexts."""
        samples = [problem_id[:row].count(name) for row, name in enumerate(problem_id)]
        answers = [
            Solution(name, sample, completion=completion[-1]["content"])
            for name, sample, completion in zip(problem_id, samples, completions, strict=True)
        ]
        self.grades = self.grader.grade([(self.problems[a.problem_id], a) for a in answers])
        return [None if grade.passed is None else float(grade.passed) for grade in self.grades]

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(
            inputs
        )  # ends in ``passed``, in the order of ``inputs``
        rollouts = []
        for grade, ids, mask in zip(
            self.grades, output["completion_ids"], output["completion_mask"], strict=True
        ):
            completion = tuple(ids[mask.bool()].tolist())
            prompt = self.assembler.student_prompt(self.problems[grade.problem_id])
            text = self.assembler.decode(completion)
            truncated = completion[-1:] == () or completion[-1] not in self.assembler.eos_ids
            rollouts.append(
                Rollout(grade.problem_id, grade.sample, prompt, completion, (), text, truncated, 0)
            )
        for rollout, ids, mask in zip(rollouts, output["prompt_ids"], output["prompt_mask"], strict=True):
            assert tuple(ids[mask.bool()].tolist()) == rollout.prompt_ids, "TRL and the assembler ask alike"
        self.read = self.assembler.teacher_batch(rollouts, self.grades, self.problems)
        self.asked = self.assembler.student_batch(rollouts)
        # TRL shuffles and splits what it is given by rows: with it travel the rows' places in the packed batches.
        return output | {"row": torch.arange(len(rollouts), device=output["completion_ids"].device)}

    def _compute_loss(self, model, inputs):
        self.follow(model)
        rows = [row for row in inputs["row"].tolist() if self.read.has_context[row]]
        asked, read = self.asked.rows(rows), self.read.rows(rows)
        if not len(asked.completion_ids):
            return next(model.parameters()).sum() * 0.0  # nobody had context
        ours = completion_logits(model, asked)
        with torch.no_grad():
            theirs = completion_logits(self.teacher, read)
        target, row_of = (
            torch.from_numpy(a).to(ours.device) for a in (asked.completion_ids, asked.completion_rows)
        )
        keep = torch.ones_like(target, dtype=torch.bool)
        out = opsd_loss(
            ours, theirs, target, keep, row_of, config=self.loss_config, temperature=self.temperature
        )
        return out.loss

    @torch.no_grad()
    def follow(self, model):
        """The teacher's average, once per step and before it reads: at first a copy, then a little behind."""
        student = self.accelerator.unwrap_model(model)
        torch._foreach_lerp_(list(self.teacher.parameters()), list(student.parameters()), self.ema)


def completion_logits(model, batch):
    """Logits that predict each completion token of a packed batch, rows end to end (T, V)."""
    padded, device = batch.padded(), next(model.parameters()).device
    ids, mask, at = (
        torch.from_numpy(a).to(device) for a in (padded.input_ids, padded.attention_mask, padded.predictors)
    )
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return logits.flatten(0, 1)[at]


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--model", default="smollm2-135m", help="a folder, or a name of `opsd-rs model fetch`")
    words.add_argument("--context", default="sdpo", help="a shipped name, a .toml file or file.py:function")
    words.add_argument("--steps", type=int, default=2)
    words.add_argument("--problems", type=int, default=2, help="problems a step")
    words.add_argument("--rollouts", type=int, default=4, help="answers a problem")
    words.add_argument("--max-tokens", type=int, default=64)
    words.add_argument("--out", default="runs/trl_loop")
    args = words.parse_args()

    folder = resolve(args.model)
    problems = {p.problem_id: p for p in load("primer") if p.kind == "function"}
    assembler = Assembler(
        folder, Context.load(args.context), max_context_tokens=1536, pool=list(problems.values())
    )
    rows = [
        {"problem_id": name, "prompt": [{"role": "user", "content": assembler.student_message(problem)}]}
        for name, problem in problems.items()
    ]
    settings = GRPOConfig(
        output_dir=args.out, max_steps=args.steps, num_generations=args.rollouts,
        per_device_train_batch_size=args.problems * args.rollouts,
        max_completion_length=args.max_tokens, temperature=0.7, learning_rate=2e-5, lr_scheduler_type="constant",
        beta=0.0, logging_steps=1, save_strategy="no", report_to=[], bf16=False, seed=0, gradient_checkpointing=False,
    )  # fmt: skip
    with Grader() as grader:
        trainer = OPSDTrainer(
            folder,
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
            assembler=assembler,
            problems=problems,
            grader=grader,
            loss_config=LossConfig(is_clip=None, rollout_is_clip=None),  # one update per batch: on policy
            ema=0.05,
        )
        trainer.train()
        for line in trainer.state.log_history:
            if "loss" in line:
                print(f"step {line['step']}: passed {line['reward']:.2f}, loss {line['loss']:.4f}")


if __name__ == "__main__":
    main()
