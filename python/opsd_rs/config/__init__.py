"""The configuration: one frozen tree, the files it is read from, and what is said about both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.config.context import LEAST_SECTION, SECTIONS, ContextConfig, ExamplesConfig, NotesConfig
    from opsd_rs.config.files import Resolved, config_names, config_path, load_config, load_context
    from opsd_rs.config.files import resolve, resolved_json, split_arguments
    from opsd_rs.config.grader import OPTIONS, BadOption, GraderOptions, GraderSettings, Profile
    from opsd_rs.config.objectives import OBJECTIVE_TABLES, LossConfig, may_ask_the_self_teacher
    from opsd_rs.config.objectives import objective_weights, tables_read
    from opsd_rs.config.plugins import PluginConfig, checked_options, options_class
    from opsd_rs.config.section import NaturalInt, PositiveInt, Section, expanded
    from opsd_rs.config.text import dotted_values, explain_key, key_reference, key_rows, to_toml
    from opsd_rs.config.toml_lines import key_lines, line_of
    from opsd_rs.config.tree import Config, ProblemsConfig, RolloutConfig, TeacherConfig

__all__ = [
    "LEAST_SECTION", "OBJECTIVE_TABLES", "OPTIONS", "SECTIONS", "BadOption", "Config", "ContextConfig",
    "ExamplesConfig", "GraderOptions", "GraderSettings", "LossConfig", "NaturalInt", "NotesConfig", "PluginConfig",
    "PositiveInt", "ProblemsConfig", "Profile", "Resolved", "RolloutConfig", "Section", "TeacherConfig",
    "checked_options", "config_names", "config_path", "dotted_values", "expanded", "explain_key", "key_lines",
    "key_reference", "key_rows", "line_of", "load_config", "load_context", "may_ask_the_self_teacher",
    "objective_weights", "options_class", "resolve", "resolved_json", "split_arguments", "tables_read", "to_toml",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "context": ["LEAST_SECTION", "SECTIONS", "ContextConfig", "ExamplesConfig", "NotesConfig"],
    "files": "Resolved config_names config_path load_config load_context resolve resolved_json split_arguments",
    "grader": ["OPTIONS", "BadOption", "GraderOptions", "GraderSettings", "Profile"],
    "objectives": "LossConfig OBJECTIVE_TABLES may_ask_the_self_teacher objective_weights tables_read",
    "plugins": ["PluginConfig", "checked_options", "options_class"],
    "section": ["NaturalInt", "PositiveInt", "Section", "expanded"], "toml_lines": ["key_lines", "line_of"],
    "text": ["dotted_values", "explain_key", "key_reference", "key_rows", "to_toml"],
    "tree": ["Config", "ProblemsConfig", "RolloutConfig", "TeacherConfig"],
})  # fmt: skip
