"""The configuration: one frozen tree, the files it is read from, and what is said about both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.config.context import LEAST_SECTION, SECTIONS, ContextConfig, ExamplesConfig, NotesConfig
    from opsd_rs.config.files import (
        config_names, load_config, load_context, resolve, resolved_json, split_arguments,
    )  # fmt: skip
    from opsd_rs.config.grader import OPTIONS, BadOption, GraderOptions, GraderSettings, Profile
    from opsd_rs.config.objectives import (
        OBJECTIVE_TABLES, may_ask_the_self_teacher, objective_weights, tables_read,
    )  # fmt: skip
    from opsd_rs.config.plugins import PluginConfig, checked_options, options_class
    from opsd_rs.config.section import Section
    from opsd_rs.config.text import dotted_values, explain_key, key_reference, key_rows, to_toml
    from opsd_rs.config.tree import Config, LossConfig, ProblemsConfig, RolloutConfig, TeacherConfig

__all__ = [
    "LEAST_SECTION", "OBJECTIVE_TABLES", "OPTIONS", "SECTIONS", "BadOption", "Config", "ContextConfig",
    "ExamplesConfig", "GraderOptions", "GraderSettings", "LossConfig", "NotesConfig", "PluginConfig", "ProblemsConfig",
    "Profile", "RolloutConfig", "Section", "TeacherConfig", "checked_options", "config_names", "dotted_values",
    "explain_key", "key_reference", "key_rows", "load_config", "load_context", "may_ask_the_self_teacher",
    "objective_weights", "options_class", "resolve", "resolved_json", "split_arguments", "tables_read", "to_toml",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "context": ["LEAST_SECTION", "SECTIONS", "ContextConfig", "ExamplesConfig", "NotesConfig"],
    "files": ["config_names", "load_config", "load_context", "resolve", "resolved_json", "split_arguments"],
    "grader": ["OPTIONS", "BadOption", "GraderOptions", "GraderSettings", "Profile"],
    "objectives": "OBJECTIVE_TABLES may_ask_the_self_teacher objective_weights tables_read",
    "plugins": ["PluginConfig", "checked_options", "options_class"], "section": ["Section"],
    "text": ["dotted_values", "explain_key", "key_reference", "key_rows", "to_toml"],
    "tree": ["Config", "LossConfig", "ProblemsConfig", "RolloutConfig", "TeacherConfig"],
})  # fmt: skip
