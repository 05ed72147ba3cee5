"""On-policy self-distillation in plain PyTorch: our grader, contexts and loss in your own loop.

Each step samples a group of answers per problem, grades them, lets the self-teacher (a slow average of the student)
re-read every answer with the context in view, and trains the student towards that reading. No DeepSpeed, no vLLM.
"""

from __future__ import annotations

import argparse
import copy

import torch
from opsd_rs import Assembler, Context, Grader, Rollout, Solution
from opsd_rs.config import LossConfig
from opsd_rs.loss import opsd_loss_from_hidden
from opsd_rs.loss.kernels import OpsdHead
from opsd_rs.model import resolve
from opsd_rs.problems import load
from transformers import AutoModelForCausalLM


@torch.no_grad()
def sample(model, assembler, problem, num, max_tokens, temperature):
    """``num`` answers to one problem, token by token; no answer is ever tokenised again."""
    prompt = assembler.student_prompt(problem)
    ids = torch.tensor([prompt] * num)
    done = torch.zeros(num, dtype=torch.bool)
    answers = [[] for _ in range(num)]
    cache = None
    for _ in range(max_tokens):
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        probs = torch.softmax(out.logits[:, -1].float() / temperature, dim=-1)
        ids = torch.multinomial(probs, 1)
        for row in range(num):
            if not done[row]:
                answers[row].append(int(ids[row]))
                done[row] = int(ids[row]) in assembler.eos_ids
        if done.all():
            break
    return [
        Rollout(
            problem.problem_id, i, prompt, tuple(a), (), assembler.decode(a),
            truncated=not bool(done[i]), policy_version=0,
        )
        for i, a in enumerate(answers)
    ]  # fmt: skip


def completion_states(model, batch):
    """Hidden states from which each completion token of a packed batch is predicted, rows end to end (T, D)."""
    padded = batch.padded()
    ids, mask = torch.from_numpy(padded.input_ids), torch.from_numpy(padded.attention_mask)
    hidden = model.model(ids, attention_mask=mask, use_cache=False)[0]
    return hidden.flatten(0, 1)[torch.from_numpy(padded.predictors)]


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--model", default="smollm2-135m", help="a folder, or a name of `opsd-rs model fetch`")
    words.add_argument("--context", default="sdpo", help="a shipped name, a .toml file or file.py:function")
    words.add_argument("--steps", type=int, default=2)
    words.add_argument("--problems", type=int, default=2, help="problems a step")
    words.add_argument("--rollouts", type=int, default=4, help="answers a problem")
    words.add_argument("--max-tokens", type=int, default=64)
    words.add_argument("--temperature", type=float, default=0.7)
    args = words.parse_args()

    torch.manual_seed(0)
    folder = resolve(args.model)
    student = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()  # eval: no dropout
    student_head = OpsdHead.install(student)  # the loss never meets all logits at once
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-5, betas=(0.9, 0.999), weight_decay=0.01)
    pool = [p for p in load("primer") if p.kind == "function"]
    assembler = Assembler(folder, Context.load(args.context), max_context_tokens=1536, pool=pool)
    # One update per batch: on policy, so no importance weights.
    loss = {"config": LossConfig(is_clip=None, rollout_is_clip=None), "temperature": args.temperature}

    with Grader() as grader:
        for step in range(args.steps):
            problems = {p.problem_id: p for p in pool[step * args.problems : (step + 1) * args.problems]}
            rollouts = []
            for problem in problems.values():
                rollouts += sample(
                    student, assembler, problem, args.rollouts, args.max_tokens, args.temperature
                )
            answers = [
                Solution(r.problem_id, r.sample, completion=r.text, truncated=r.truncated) for r in rollouts
            ]
            grades = grader.grade([(problems[a.problem_id], a) for a in answers])
            read = assembler.teacher_batch(rollouts, grades, problems)
            rows = [row for row in range(len(rollouts)) if read.has_context[row]]
            if not rows:
                continue  # nobody had context: nothing to learn from
            read, asked = read.rows(rows), assembler.student_batch(rollouts).rows(rows)
            ours = completion_states(student, asked)
            with torch.no_grad():
                theirs = completion_states(teacher, read)
            target, row_of = torch.from_numpy(asked.completion_ids), torch.from_numpy(asked.completion_rows)
            keep = torch.ones_like(target, dtype=torch.bool)
            heads = {"head": student_head.output(), "teacher_head": teacher.lm_head.output()}
            out = opsd_loss_from_hidden(ours, theirs, target, keep, row_of, **heads, **loss)
            optimizer.zero_grad()
            out.loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 0.05)
            passed = sum(bool(g.passed) for g in grades) / len(grades)
            print(
                f"step {step}: passed {passed:.2f}, trained {len(rows)}/{len(rollouts)}, loss {out.loss:.4f}"
            )


if __name__ == "__main__":
    main()
