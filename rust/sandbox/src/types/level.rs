//! The levels of isolation, and which layers each one consists of.

use crate::types::layer::Layer;

/// How well programs are isolated, weakest first: `a < b` says that `b` satisfies whoever requires at least `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// No filter at all: a program can do what its user can. Refused unless requested by name.
    S0,
    /// System-call filters; nothing is opened once a program has started, because nothing guards files, so that only
    /// modules imported beforehand can be used.
    S1,
    /// System-call filters, and a root folder of its own instead of Landlock.
    S2j,
    /// System-call filters and Landlock: what a default container allows.
    S2,
    /// S2 inside user, pid, network, IPC and mount namespaces of its own.
    S3,
}

impl Level {
    /// All of them, best first.
    pub const ALL: [Self; 5] = [Self::S3, Self::S2, Self::S2j, Self::S1, Self::S0];

    /// As users spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S0 => "S0",
            Self::S1 => "S1",
            Self::S2j => "S2j",
            Self::S2 => "S2",
            Self::S3 => "S3",
        }
    }

    /// The level of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Whether the level contains the layer.
    pub const fn has(self, layer: Layer) -> bool {
        match layer {
            Layer::Rlimits | Layer::CleanEnv | Layer::Privileges | Layer::Determinism => true,
            Layer::Seccomp | Layer::ThreadCap => !matches!(self, Self::S0),
            Layer::Landlock => matches!(self, Self::S2 | Self::S3),
            Layer::Namespaces => matches!(self, Self::S3),
            Layer::Jail => matches!(self, Self::S2j),
            Layer::NoOpen => matches!(self, Self::S1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_named() {
        assert!(Level::ALL.is_sorted_by(|better, worse| better > worse));
        for level in Level::ALL {
            assert_eq!(Level::parse(level.name()), Some(level));
        }
        assert_eq!(Level::parse("S4"), None);
    }

    #[test]
    fn every_level_but_the_lowest_has_exactly_one_guard_of_files() {
        for level in [Level::S3, Level::S2, Level::S2j, Level::S1] {
            let guards = [Layer::Landlock, Layer::Jail, Layer::NoOpen];
            let held = guards.iter().filter(|&&guard| level.has(guard)).count();
            assert_eq!(held, 1, "{level:?}");
            assert!(level.has(Layer::Seccomp));
        }
        assert!(!Level::S0.has(Layer::Seccomp));
    }
}
