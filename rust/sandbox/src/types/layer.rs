//! The protections a sandbox is made of. Each has a name, and a bit in the mask that the zygote is told.

/// One protection. Tests remove layers one by one to show that the attack that each one stops then works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// System-call filters, both stages (and with them the thread cap).
    Seccomp,
    /// File, abstract-socket and signal rules.
    Landlock,
    /// Resource limits of the child.
    Rlimits,
    /// The zygote's empty environment (removed: the parent's is inherited).
    CleanEnv,
    /// Thread cap by user notification.
    ThreadCap,
    /// No new privileges, not dumpable, capabilities dropped. Seccomp and Landlock need the first when not root.
    Privileges,
    /// No address randomisation, fixed hash seed: equal output in every run.
    Determinism,
    /// User, pid, network, IPC and mount namespaces.
    Namespaces,
    /// A root folder of its own that holds only what may be read.
    Jail,
    /// Nothing is opened after the zygote has sealed itself.
    NoOpen,
}

impl Layer {
    /// All of them; no level has all, see [`crate::Level::has`].
    pub const ALL: [Self; 10] = [
        Self::Seccomp,
        Self::Landlock,
        Self::Rlimits,
        Self::CleanEnv,
        Self::ThreadCap,
        Self::Privileges,
        Self::Determinism,
        Self::Namespaces,
        Self::Jail,
        Self::NoOpen,
    ];

    /// Lower-case name, as tests and `doctor` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Rlimits => "rlimits",
            Self::CleanEnv => "clean_env",
            Self::ThreadCap => "thread_cap",
            Self::Privileges => "privileges",
            Self::Determinism => "determinism",
            Self::Namespaces => "namespaces",
            Self::Jail => "jail",
            Self::NoOpen => "no_open",
        }
    }

    /// The layer of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }

    /// Its bit in the mask that travels to the zygote.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Layer;

    #[test]
    fn layer_names_and_bits_are_distinct() {
        let mut mask = 0;
        for layer in Layer::ALL {
            assert_eq!(Layer::parse(layer.name()), Some(layer));
            assert_eq!(mask & layer.bit(), 0);
            mask |= layer.bit();
        }
        assert_eq!(Layer::parse("nothing"), None);
    }
}
