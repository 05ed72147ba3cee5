//! What the word behind an opening mark says about a block.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Python by any of its names.
    Python,
    /// No word, or one that names no language that we know (`solution`, `main.py`, `code`).
    Unnamed,
    /// Another language, or no language at all: output, data, prose.
    Other,
}

/// Words of blocks that hold no Python program.
const OTHERS: &str = "\
    bash sh shell zsh fish console terminal cmd bat powershell ps1 shell-session shellsession \
    sh-session text txt plain plaintext output out input in stdin stdout stderr example examples \
    sample test tests json jsonl yaml yml toml ini csv tsv xml html css md markdown latex tex math \
    katex diff patch c cc cpp c++ cxx h hpp cs csharp c# java js jsx javascript ts tsx typescript go \
    golang rust rs ruby rb php perl kotlin kt swift scala haskell hs lua r julia sql mermaid dot \
    graphviz pseudocode pseudo algorithm log traceback error pycon python-console python-repl pytb \
    doctest makefile dockerfile http asm ocaml elixir erlang dart matlab fortran pascal d nim \
    explanation";

impl Language {
    /// By the whole text behind the mark.
    pub(super) fn of(info: &str) -> Self {
        let word = info.split_whitespace().next().unwrap_or("");
        if is_python_word(word) {
            return Self::Python;
        }
        let word = bare(word);
        if OTHERS.split(' ').any(|other| other == word) {
            Self::Other
        } else {
            Self::Unnamed
        }
    }
}

/// `{.Python}`, `python:main.py` and `Python` as the word they mean.
fn bare(word: &str) -> String {
    let word = word.trim_matches(['{', '}', '.', ',']);
    let word = word.split([':', '=', '{', ',']).next().unwrap_or("");
    word.to_lowercase()
}

/// Whether the word behind a mark names Python.
pub(super) fn is_python_word(word: &str) -> bool {
    let word = bare(word);
    let digits = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let stem = word.trim_end_matches(digits);
    matches!(stem, "python" | "py" | "pypy" | "ipython" | "sage") || word == "tool_code"
}
