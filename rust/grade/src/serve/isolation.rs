//! Chooses and proves this grader's level of isolation, before the first program runs.

use opsd_sandbox::{Flavour, Governor, Level, Options, Rung, Sandbox, choose};

use crate::error::Error;
use crate::settings::Settings;

/// How every sandbox of this grader is started, what was proved, and the first sandbox, already up.
///
/// # Errors
/// The level asked for is unknown, or does not hold on this machine.
pub(crate) fn ready(settings: &Settings) -> Result<(Options, Rung, Sandbox), Error> {
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
        flavour: Flavour::Std,
        level: require,
        governor: Some(governor),
        without: Vec::new(),
    };
    let (rung, sandbox) = choose(&options, wanted, require)?;
    options.level = rung.level;
    if settings.profile.is_official() {
        options.flavour = Flavour::Official;
    }
    Ok((options, rung, sandbox))
}
