//! The rules of a level as text: two results with equal texts were made under equal rules.
//!
//! Paths are named by their role, so that the text does not depend on where Python is installed; numbers of filters and
//! rights are those that the kernel gets.

use std::fmt::Write;

use crate::driver::options::{Facts, Options};
use crate::isolation::landlock;
use crate::isolation::seccomp::bpf::Action;
use crate::isolation::seccomp::calls::Arch;
use crate::isolation::seccomp::policy::{self, StageOne, StageTwo};
use crate::limits::Limits;
use crate::types::layer::Layer;
use crate::types::level::Level;
use crate::zygote::readable;
use crate::zygote::seal;

/// The whole policy, one rule a line. Without a table for this processor the filters are missing.
pub(crate) fn policy(level: Level, options: &Options, facts: Facts) -> String {
    policy_on(Arch::HERE, level, options, facts)
}

fn policy_on(arch: Option<Arch>, level: Level, options: &Options, facts: Facts) -> String {
    let mut text = format!("level {}\n", level.name());
    for layer in Layer::ALL.into_iter().filter(|&layer| options.has(layer)) {
        writeln!(text, "layer {}", layer.name()).ok();
    }
    if options.has(Layer::Seccomp)
        && let Some(arch) = arch
    {
        filters(&mut text, arch, options, facts);
    }
    if options.has(Layer::Landlock) {
        let rights = landlock::rights(facts.landlock_abi as i64);
        writeln!(text, "landlock {rights:x?}").ok();
    }
    for rule in readable::RULES {
        writeln!(text, "readable {rule}").ok();
    }
    let names = options.packages.iter().filter_map(|path| path.file_name());
    for name in names {
        writeln!(text, "package {}", name.to_string_lossy()).ok();
    }
    for folder in &options.site_packages {
        writeln!(text, "site_packages {}", folder.display()).ok();
    }
    for (name, _, value) in seal::RLIMITS {
        writeln!(text, "rlimit {name} {value}").ok();
    }
    writeln!(text, "rlimit nofile {}", seal::OPEN_FILES).ok();
    writeln!(text, "defaults {:?}", Limits::default()).ok();
    text
}

fn filters(text: &mut String, arch: Arch, options: &Options, facts: Facts) {
    let how = StageOne::of(facts.thread_cap, options.has(Layer::NoOpen));
    let second = StageTwo {
        threads: Action::Allow,
        hide_parent: options.has(Layer::Namespaces),
    };
    let stages = [
        ("one", policy::stage_one(arch, how)),
        ("two", policy::stage_two(arch, second)),
    ];
    for (name, code) in stages {
        for i in code {
            writeln!(
                text,
                "stage {name} {:02x} {} {} {:x}",
                i.code, i.jt, i.jf, i.k
            )
            .ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn text(arch: Arch, level: Level) -> String {
        let options = Options {
            python: PathBuf::from("/anywhere/python"),
            core: PathBuf::from("/anywhere/_core.so"),
            site_packages: Vec::new(),
            packages: vec![PathBuf::from("/anywhere/numpy")],
            numpy: false,
            harness: None,
            level,
            governor: None,
            without: Vec::new(),
        };
        let facts = Facts {
            landlock_abi: 7,
            thread_cap: true,
        };
        policy_on(Some(arch), level, &options, facts)
    }

    /// Shows every change of the policy, instruction by instruction. After an intended change, write the new file:
    /// `OPSD_RS_WRITE_GOLDEN=1 cargo test -p opsd-sandbox golden`.
    #[test]
    fn golden_policy() {
        for (arch, level, name) in [
            (Arch::X86_64, Level::S2, "s2_x86_64"),
            (Arch::Aarch64, Level::S3, "s3_aarch64"),
        ] {
            let found = text(arch, level);
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.txt"));
            if std::env::var_os("OPSD_RS_WRITE_GOLDEN").is_some() {
                std::fs::write(&path, &found).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap();
            assert!(
                found == golden,
                "the policy has changed: compare with {}",
                path.display()
            );
        }
    }

    #[test]
    fn levels_differ_in_their_texts() {
        let mut texts: Vec<_> = Level::ALL.map(|level| text(Arch::X86_64, level)).into();
        texts.dedup();
        assert_eq!(texts.len(), Level::ALL.len());
    }
}
