"""Every key of the configuration has a test that shows its effect: the table, and what holds it complete.

A name is ``file::function``, below ``tests/``. A key that stands for a table (``context.section_tokens``) covers the
keys below it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from opsd_rs.config.keys import keys

TESTS = Path(__file__).parents[1]
RUN = "config/test_effects_run.py"
DATA = "config/test_effects_data.py"
UPDATE = "config/test_effects_update.py"
GRADER = "grading/test_settings.py"
READ = f"{DATA}::test_two_values_read_differently"
OBJECTIVE = "loss/test_each_objective.py"
TRAINS = f"{UPDATE}::test_two_values_train_differently"
STAYS = f"{DATA}::test_which_problems_stay"

EFFECTS = {
    "seed": f"{RUN}::test_another_seed_samples_other_answers",
    "run.dir": f"{RUN}::test_where_and_under_which_names",
    "run.config_id": f"{RUN}::test_where_and_under_which_names",
    "run.family": f"{RUN}::test_where_and_under_which_names",
    "run.gpu_share": f"{UPDATE}::test_what_a_share_of_the_gpu_is_given",
    "model.path": "training/test_plan.py::test_a_check_ends_the_list_in_the_runs_own_words",
    "model.dtype": f"{UPDATE}::test_the_compute_type",
    "model.enable_thinking": f"{DATA}::test_thinking_and_the_date_are_the_chat_templates",
    "model.chat_date": f"{DATA}::test_thinking_and_the_date_are_the_chat_templates",
    "model.gradient_checkpointing": "policy/test_head.py::test_the_student_recomputes_under_every_stage",
    "model.keep_attention": "policy/test_packed.py::test_kept_attention_is_not_computed_again",
    "model.compile": "training/test_on_a_gpu.py::test_layers_are_compiled_by_key",
    "train.deterministic": "training/test_on_a_gpu.py::test_deterministic_kernels_are_asked_for",
    "environment.name": "test_docs.py::test_the_recipes_train",
    "problems.path": f"{DATA}::test_the_path_names_the_problems",
    "problems.kind": STAYS,
    "problems.split": f"{DATA}::test_which_tests_training_sees",
    "problems.train_tests": f"{DATA}::test_which_tests_training_sees",
    "problems.held_out": f"{DATA}::test_how_many_problems_are_held_out_and_validated",
    "problems.split_seed": "problems/test_problems.py::test_the_split_has_a_seed_of_its_own",
    "problems.limit": STAYS,
    "problems.difficulty": STAYS,
    "problems.platform": STAYS,
    "problems.release": STAYS,
    "problems.date_from": STAYS,
    "problems.date_to": STAYS,
    "problems.prompt": f"{DATA}::test_the_statement_as_a_message",
    "rollout.engine": f"{UPDATE}::test_the_engine_and_how_many_sequences_it_decodes_at_a_time",
    "rollout.n": f"{RUN}::test_how_much_is_sampled",
    "rollout.temperature": f"{RUN}::test_the_decoding_of_training",
    "rollout.top_p": f"{RUN}::test_the_decoding_of_training",
    "rollout.max_tokens": f"{RUN}::test_how_much_is_sampled",
    "rollout.max_prompt_tokens": "training/test_long_prompts.py::test_longer_prompts_are_left_out_of_every_side",
    "rollout.gpu_memory_utilization": f"{UPDATE}::test_what_vllm_is_given_on_a_gpu",
    "rollout.kv_cache_gib": f"{UPDATE}::test_the_cache_of_the_cpu_build",
    "rollout.max_num_seqs": f"{UPDATE}::test_the_engine_and_how_many_sequences_it_decodes_at_a_time",
    "rollout.enforce_eager": f"{UPDATE}::test_what_vllm_is_given_on_a_gpu",
    "eval.every": f"{RUN}::test_when_and_how_is_validated",
    "eval.n": f"{RUN}::test_when_and_how_is_validated",
    "eval.temperature": f"{RUN}::test_the_decoding_and_the_problems_of_validation",
    "eval.top_p": f"{RUN}::test_the_decoding_and_the_problems_of_validation",
    "eval.problems": f"{RUN}::test_the_decoding_and_the_problems_of_validation",
    "eval.from": "training/test_stale_rows.py::test_other_runs_tables_are_refused_by_field",
    "eval.seed": f"{RUN}::test_seeds_share_a_gap_and_a_baseline",
    "eval.teacher": f"{RUN}::test_when_and_how_is_validated",
    "context.name": f"{DATA}::test_names_of_a_context_and_its_preamble",
    "context.preamble_id": f"{DATA}::test_names_of_a_context_and_its_preamble",
    **{
        f"context.{name}": READ
        for name in (
            "template",
            "solution_template",
            "attempt_template",
            "feedback_template",
            "notes_template",
            "examples_template",
            "solution",
            "solution_from",
            "solution_corrupt",
            "attempt",
            "feedback",
            "feedback_with_solution",
            "preamble",
            "notes.kind",
            "notes.slot",
            "examples.kind",
            "examples.num",
            "examples.template",
        )
    },
    "context.bare_template": f"{DATA}::test_what_rows_without_context_read",
    "context.feedback_on_success": f"{DATA}::test_a_success_without_context_stays_or_goes",
    "context.on_own_success": "context/test_assembler.py::test_who_reads_what",
    "context.static": f"{DATA}::test_a_static_template_is_a_context_for_every_row",
    "context.strip_think": f"{DATA}::test_thoughts_in_what_is_shown",
    "context.function": "context/test_recipes.py::test_a_function_is_a_context",
    "context.notes.scope": f"{DATA}::test_what_the_model_is_asked_to_write",
    "context.notes.solution": f"{DATA}::test_what_the_model_is_asked_to_write",
    "context.notes.prompt": f"{DATA}::test_what_the_model_is_asked_to_write",
    "context.notes.generator": "context/test_notes.py::test_the_named_weights_write",
    "context.notes.file": "context/test_recipes.py::test_notes_can_come_from_a_file_of_annotators",
    "context.notes.leak_check": f"{DATA}::test_leaks_are_stripped_flagged_or_left",
    "context.notes.max_tokens": "context/test_notes.py::test_notes_are_as_long_and_as_random_as_asked",
    "context.notes.temperature": "context/test_notes.py::test_notes_are_as_long_and_as_random_as_asked",
    "context.notes.memory_items": "context/test_experience.py::test_experience_is_read_beside_other_problems_and_grows",
    "context.notes.merge_prompt": "context/test_experience.py::test_a_merge_that_comes_to_nothing_loses_nothing",
    "context.notes.merge_tokens": "context/test_notes.py::test_notes_are_as_long_and_as_random_as_asked",
    "context.section_tokens": f"{DATA}::test_a_sections_bound_cuts_it",
    "control.mask": f"{RUN}::test_a_control_that_is_masked_does_not_train",
    "gap.n": f"{RUN}::test_how_the_gap_is_measured",
    "gap.from": "training/test_stale_rows.py::test_other_runs_tables_are_refused_by_field",
    "gap.seed": f"{RUN}::test_seeds_share_a_gap_and_a_baseline",
    "gap.contexts": f"{RUN}::test_the_contexts_of_the_gap",
    "gap.baseline_samples": f"{RUN}::test_how_the_gap_is_measured",
    "gap.baseline": "measure/test_arms.py::test_the_paper_scores_the_rollouts_that_built_the_contexts",
    "law.file": "training/test_early_end.py::test_the_forecast_is_kept_for_figures",
    **{
        f"law.{name}": "training/test_early_end.py::test_a_rule_ends_the_run_and_a_resume_ends_it_again"
        for name in ("stop", "worthwhile", "further_gain", "confidence")
    },
    "law.force": "training/test_early_end.py::test_what_can_be_known_is_refused_before_the_start",
    "objective.name": "training/test_objectives.py::test_the_loop_runs_with_it",
    **{
        f"loss.{name}": TRAINS
        for name in ("kind", "jsd_alpha", "topk", "tail", "aggregate", "is_clip", "old", "rollout_is_clip")
    },
    "loss.rows": f"{OBJECTIVE}::test_rows_enter_by_their_grade",
    **dict.fromkeys(
        (
            "grpo.loss_type",
            "grpo.scale_rewards",
            "grpo.epsilon",
            "grpo.epsilon_high",
            "grpo.rollout_is_clip",
            "negative_advantage.advantage",
            "negative_advantage.below",
            "mixture.opsd",
            "mixture.grpo",
            "mixture.rft",
            "mixture.ssd",
            "mixture.opd",
            "mixture.negative_advantage",
        ),
        f"{OBJECTIVE}::test_two_values_have_other_gradients",
    ),
    "opd.teacher": "training/test_objective_runs.py::test_another_teacher_is_another_loss",
    "teacher.kind": TRAINS,
    "teacher.rate": TRAINS,
    "teacher.offload": "policy/test_offload.py::test_what_goes_through_the_device_in_chunks",
    "teacher.max_context_tokens": f"{DATA}::test_the_teachers_prompt_is_bounded",
    **{f"optim.{name}": TRAINS for name in ("lr", "betas", "eps", "weight_decay", "clip")},
    "optim.gradient_dtype": "policy/test_swap.py::test_deepspeeds_class_and_the_type_of_its_gradients",
    "optim.offload": "policy/test_offload.py::test_what_goes_through_the_device_in_chunks",
    "train.num_steps": f"{RUN}::test_how_long_and_in_which_updates",
    "train.prompts_per_step": f"{RUN}::test_how_much_is_sampled",
    "train.mini_batch_prompts": TRAINS,
    "train.micro_batch_tokens": f"{UPDATE}::test_tokens_at_a_time_change_the_forwards_and_not_the_update",
    "train.checkpoint_every": f"{RUN}::test_what_is_kept",
    "train.keep_checkpoints": f"{RUN}::test_what_is_kept",
    "deepspeed.stage": f"{UPDATE}::test_the_stage_is_deepspeeds",
    "grader.profile": f"{GRADER}::test_profile_and_also",
    "grader.also": f"{GRADER}::test_profile_and_also",
    "grader.workers": f"{GRADER}::test_workers",
    "grader.stop": f"{GRADER}::test_stop_and_isolation",
    "grader.isolation": f"{GRADER}::test_stop_and_isolation",
    "grader.level": f"{GRADER}::test_level_require_and_allow_unsandboxed",
    "grader.require": f"{GRADER}::test_level_require_and_allow_unsandboxed",
    "grader.allow_unsandboxed": f"{GRADER}::test_level_require_and_allow_unsandboxed",
    **{
        f"grader.{name}": f"{GRADER}::test_limits"
        for name in ("cpu_seconds", "idle_seconds", "wall_seconds", "memory_mib", "output_mib", "threads")
    },
    "grader.memory_budget_mib": f"{GRADER}::test_memory_budget",
    "grader.compare": f"{GRADER}::test_compare_and_extract",
    "grader.extract": f"{GRADER}::test_compare_and_extract",
    "grader.feedback": f"{GRADER}::test_feedback_and_its_length",
    "grader.feedback_chars": f"{GRADER}::test_feedback_and_its_length",
    "grader.site_packages": f"{GRADER}::test_site_packages",
    "log.token_kl": f"{RUN}::test_what_is_kept_of_each_token",
    "log.to": "training/test_loggers.py::test_the_named_loggers_in_order_and_none_without_a_name",
}
"""Key, or table of keys -> test."""


def covers(entry: str, key: str) -> bool:
    return key == entry or key.startswith(f"{entry}.")


def test_every_key_is_in_the_table_and_nothing_else() -> None:
    missing = [key for key in keys() if not any(covers(entry, key) for entry in EFFECTS)]
    assert missing == [], "a key without a test of its effect"
    stale = [entry for entry in EFFECTS if not any(covers(entry, key) for key in keys())]
    assert stale == []


@pytest.mark.parametrize("name", sorted(set(EFFECTS.values())))
def test_the_tests_are_there(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((TESTS / file).read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert function in names


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("config/test_effects_data.py", "EFFECTS"),
        ("config/test_effects_update.py", "EFFECTS"),
        ("loss/test_each_objective.py", "KEYS"),
    ],
)
def test_a_key_of_a_parametrized_test_is_among_its_cases(file: str, table: str) -> None:
    """A key that names ``test_two_values_...`` has its two values there."""
    tree = ast.parse((TESTS / file).read_text())
    [found] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == table
    ]
    assert isinstance(found, ast.Dict)
    cases = {key.value for key in found.keys if isinstance(key, ast.Constant)}
    named = {key for key, test in EFFECTS.items() if test.startswith(f"{file}::test_two_values")}
    assert named <= cases
