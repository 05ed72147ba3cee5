"""What the teacher gets to see: sections, templates, notes, and their assembly into token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.context.assembler import Assembler
    from opsd_rs.context.batch import Batch, student_batch
    from opsd_rs.context.lint import lint_context
    from opsd_rs.context.notes.cache import NoteCache, note_key
    from opsd_rs.context.notes.memory import Memory
    from opsd_rs.context.notes.notes import NoteRequest, Notes
    from opsd_rs.context.preview import Preview, case_of_run, diff_previews, made_up_case, preview_context
    from opsd_rs.context.source import Context
    from opsd_rs.context.templates import render_message
    from opsd_rs.context.text import statement

__all__ = [
    "Assembler", "Batch", "Context", "Memory", "NoteCache", "NoteRequest", "Notes", "Preview", "case_of_run",
    "diff_previews", "lint_context", "made_up_case", "note_key", "preview_context", "render_message", "statement",
    "student_batch",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "assembler": ["Assembler"],
    "batch": ["Batch", "student_batch"],
    "lint": ["lint_context"],
    "notes.cache": ["NoteCache", "note_key"],
    "notes.memory": ["Memory"],
    "notes.notes": ["NoteRequest", "Notes"],
    "preview": ["Preview", "case_of_run", "diff_previews", "made_up_case", "preview_context"],
    "source": ["Context"],
    "templates": ["render_message"],
    "text": ["statement"],
})  # fmt: skip
