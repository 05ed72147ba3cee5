//! A program to run and how it is entered: plain data, without expected outputs.

/// How the program is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Runs as `__main__`; the test's input is its standard input, its answer is its standard output.
    Stdin,
    /// `name` or `Class.name` is called with the test's arguments (one JSON value a line).
    /// A bare name is the method of class `Solution` where there is one, else the top-level function.
    Function {
        /// `name` or `Class.name`.
        entry_point: String,
    },
}

/// One candidate program. Expected outputs are not part of it and never reach this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Python source.
    pub code: String,
    /// How it is entered.
    pub entry: Entry,
}

impl Program {
    /// What the harness reads: how to run it, then the source.
    pub(crate) fn text(&self) -> String {
        let name = match &self.entry {
            Entry::Stdin => "",
            Entry::Function { entry_point } => entry_point,
        };
        format!("{}\n{}", name.replace('\n', " "), self.code)
    }
}
