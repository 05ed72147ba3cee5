"""How well a model does on the built-in problems before any training: the table of ``docs/appendix/primer.md``.

In: a model and the primer. Out: one JSON line per problem in ``--out`` (appended as it is measured; run it again
after an interruption to continue), then the table on stdout, or in ``--page`` between its two markers. Sampling
and grading are the trainer's own: ``opsd_rs.rollout``'s engine, ``opsd_rs.Grader``, seeds by ``request_seed``.

A problem is measured again only where its prompt, tests or decoding changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from opsd_rs.base import mean_accuracy, restart_on_cpu
from opsd_rs.records import Problem, Solution

PURPOSE = "primer-accuracy"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def fingerprint(problem: Problem, decoding: dict[str, Any]) -> str:
    """Return a hash of all that a problem's accuracy depends on, the grader and the engine aside."""
    facts = [asdict(problem)["prompt"], [[t.input, t.output] for t in problem.tests], decoding]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Return the measured lines by fingerprint; a last line cut by a kill is dropped."""
    lines: dict[str, dict[str, Any]] = {}
    if path.exists():
        for text in path.read_text(encoding="utf-8").split("\n")[:-1]:
            line = json.loads(text)
            lines[line["fingerprint"]] = line
    return lines


def measure(
    problems: Sequence[Problem], args: argparse.Namespace, decoding: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """Sample and grade ``args.chunk`` problems at a time; one line per problem."""
    import torch
    from opsd_rs import Grader
    from opsd_rs.config import Config
    from opsd_rs.context import Assembler
    from opsd_rs.model import resolve
    from opsd_rs.rollout import Request, Sampling, make_engine
    from opsd_rs.rollout.engine import request_seed

    config = Config.model_validate(
        {
            "rollout": {
                "engine": args.engine,
                "max_tokens": args.max_tokens,
                "max_prompt_tokens": 512,
                "max_num_seqs": args.max_num_seqs,
            },
            "teacher": {"max_context_tokens": 512},
        }
    )
    model_dir = resolve(args.model)
    assembler = Assembler(
        model_dir,
        config.context,
        enable_thinking=config.model.enable_thinking,
        max_context_tokens=config.teacher.max_context_tokens,
        prompt_style=config.problems.prompt,
    )
    sampling = Sampling(args.temperature, args.top_p, args.max_tokens, tuple(assembler.eos_ids))
    device_index = 0 if torch.cuda.is_available() else None
    with (
        Grader() as grader,
        closing(make_engine(config, model_dir, device_index=device_index)) as engine,
    ):
        for first in range(0, len(problems), args.chunk):
            chunk = problems[first : first + args.chunk]
            asked = [(problem, sample) for problem in chunk for sample in range(args.n)]
            requests = [
                Request(
                    assembler.student_prompt(problem),
                    request_seed(args.seed, PURPOSE, 0, problem.problem_id, sample),
                )
                for problem, sample in asked
            ]
            completions = engine.generate(requests, sampling)
            items = [
                (
                    problem,
                    Solution(
                        problem.problem_id,
                        sample,
                        completion=assembler.decode(completion.completion_ids),
                        truncated=completion.truncated,
                    ),
                )
                for (problem, sample), completion in zip(asked, completions, strict=True)
            ]
            grades = grader.grade(items)
            lines = []
            for number, problem in enumerate(chunk):
                own = slice(number * args.n, (number + 1) * args.n)
                verdicts = Counter(grade.verdict for grade in grades[own])
                lines.append(
                    {
                        "problem_id": problem.problem_id,
                        "fingerprint": fingerprint(problem, decoding),
                        "solved": verdicts["accepted"],
                        "n": args.n - verdicts["infra_error"],
                        "truncated": sum(completion.truncated for completion in completions[own]),
                        "tokens": sum(len(c.completion_ids) for c in completions[own]) / args.n,
                        "verdicts": dict(verdicts.most_common()),
                    }
                )
            yield lines


def totals(name: str, lines: Sequence[dict[str, Any]]) -> str:
    """Return one row of the summary: mean@n with its standard errors, share solved at least once, what went wrong."""
    mean = mean_accuracy([line["solved"] for line in lines], [line["n"] for line in lines])
    once = sum(line["solved"] > 0 for line in lines)
    verdicts = sum((Counter(line["verdicts"]) for line in lines), Counter())
    answers = sum(verdicts.values())
    shares = ", ".join(
        f"{verdict} {100 * count / answers:.0f} %" for verdict, count in verdicts.most_common(5)
    )
    se = [f"{100 * value:.1f}" if value is not None else "-" for value in (mean.se_cond, mean.se_super)]
    value = "-" if mean.value is None else f"{100 * mean.value:.1f} %"
    return (
        f"| {name} | {len(lines)} | {value} | {se[0]} / {se[1]} | {once} ({100 * once / len(lines):.0f} %) "
        f"| {sum(line['tokens'] for line in lines) / len(lines):.0f} | {shares} |"
    )


def table(problems: Sequence[Problem], lines: dict[str, dict[str, Any]], args: argparse.Namespace) -> str:
    """Return the page's table: how it was measured, the totals, then a row per problem."""
    out = [
        f"Model `{Path(args.model).name}`, engine `{args.engine}`, {args.n} samples per problem at temperature "
        f"{args.temperature}, top-p {args.top_p}, at most {args.max_tokens} tokens, seed {args.seed}; all tests; "
        f"measured {date.today().isoformat()}.",
        "",
        "| set | problems | mean accuracy | SE within / over problems, points | solved at least once | tokens "
        "| verdicts |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups = {
        "function": [p for p in problems if p.kind == "function"],
        "function, trivial": [p for p in problems if p.kind == "function" and p.difficulty == "trivial"],
        "function, easy": [p for p in problems if p.kind == "function" and p.difficulty == "easy"],
        "stdin": [p for p in problems if p.kind == "stdin"],
    }
    decoding = decoding_of(args)
    found = {p.problem_id: lines.get(fingerprint(p, decoding)) for p in problems}
    for name, group in groups.items():
        measured = [line for p in group if (line := found[p.problem_id]) is not None]
        if measured:
            out.append(totals(name, measured))
    out += ["", "| problem | difficulty | solved | of |", "| --- | --- | --- | --- |"]
    for problem in problems:
        line = found[problem.problem_id]
        if line is not None:
            out.append(f"| {problem.problem_id} | {problem.difficulty} | {line['solved']} | {line['n']} |")
    return "\n".join(out)


def decoding_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what changes the samples beside the problem."""
    keys = ("n", "temperature", "top_p", "max_tokens", "seed")
    return {"model": Path(args.model).name, **{key: getattr(args, key) for key in keys}}


def main() -> None:
    """Measure what is missing, then show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="a directory, a hub name or a fetched name")
    parser.add_argument("--problems", default="primer")
    parser.add_argument("--kind", choices=("all", "function", "stdin"), default="all")
    parser.add_argument("--engine", choices=("vllm", "hf"), default="vllm")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chunk", type=int, default=8, help="problems sampled between two saves")
    parser.add_argument("--max-num-seqs", type=int, default=128)
    parser.add_argument("--out", type=Path, required=True, help="measured lines, appended")
    parser.add_argument("--page", type=Path, help="a page whose table is replaced")
    args = parser.parse_args()

    from opsd_rs.problems import load

    decoding = decoding_of(args)
    problems = load(args.problems, kind=args.kind)
    done = read_lines(args.out)
    missing = [p for p in problems if fingerprint(p, decoding) not in done]
    print(f"{len(problems)} problems, {len(missing)} to measure", file=sys.stderr)
    if missing:
        start, count = time.monotonic(), 0
        with args.out.open("a", encoding="utf-8") as file:
            for lines in measure(missing, args, decoding):
                for line in lines:
                    file.write(json.dumps(line) + "\n")
                    done[line["fingerprint"]] = line
                file.flush()
                count += len(lines)
                seconds = time.monotonic() - start
                left = seconds / count * (len(missing) - count)
                solved = sum(line["solved"] for line in lines)
                print(
                    f"{count}/{len(missing)} problems, {solved} of {len(lines) * args.n} answers passed, "
                    f"{seconds:.0f} s, about {left:.0f} s left",
                    file=sys.stderr,
                    flush=True,
                )
    shown = table(problems, done, args)
    if args.page is None:
        print(shown)
        return
    page = args.page.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    args.page.write_text(f"{head}{BEGIN}\n{shown}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    restart_on_cpu()
    main()
