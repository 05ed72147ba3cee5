//! Chooses and proves this grader's level of isolation, before the first program runs.

use opsd_sandbox::{Governor, Level, LevelReport, Options, Sandbox, choose};

use crate::error::Error;
use crate::official::harness::HARNESS;
use crate::settings::Settings;

/// How every sandbox of this grader is started, what was proved, and the first sandbox, already up.
///
/// # Errors
/// The level asked for is unknown, or does not hold on this machine.
pub(crate) fn ready(settings: &Settings) -> Result<(Options, LevelReport, Sandbox), Error> {
    let named = |name: &str| Level::parse(name).ok_or_else(|| Error::Level(name.to_owned()));
    let wanted = settings.level.as_deref().map(named).transpose()?;
    let require = named(&settings.require)?;
    if wanted.unwrap_or(require) == Level::S0 && !settings.allow_unsandboxed {
        return Err(Error::Unsandboxed);
    }
    let governor = Governor::start(settings.memory_budget_mib).map_err(|source| Error::Io {
        step: "starting to watch over memory",
        source,
    })?;
    let mut options = Options {
        python: settings.python.clone(),
        core: settings.core.clone(),
        site_packages: settings.site_packages.clone(),
        packages: settings.packages.clone(),
        numpy: false,
        harness: None,
        level: require,
        governor: Some(governor),
        without: Vec::new(),
    };
    let (report, sandbox) = choose(&options, wanted, require)?;
    options.level = report.level;
    if settings.profile.is_official() {
        options.harness = Some(&HARNESS);
    }
    Ok((options, report, sandbox))
}
