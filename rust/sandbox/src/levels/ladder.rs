//! Finds the best level of isolation that works on this machine, proves it, and says why better ones do not work.

use crate::driver::options::Options;
use crate::driver::sandbox::Sandbox;
use crate::error::Error;
use crate::levels::fingerprint;
use crate::types::level::Level;

/// One level on this machine.
#[derive(Debug, Clone)]
pub struct LevelReport {
    /// Which.
    pub level: Level,
    /// It was set up and every probe held.
    pub holds: bool,
    /// What protects, or why it does not hold.
    pub detail: String,
    /// The rules as text, equal on every machine with equal rules; empty when the level does not hold.
    pub policy: String,
}

/// Sets up one level and proves it; also returns the proved sandbox, ready for programs.
fn try_level(options: &Options, level: Level) -> (LevelReport, Option<Sandbox>) {
    let options = Options {
        level,
        ..options.clone()
    };
    let failed = |detail: String| LevelReport {
        level,
        holds: false,
        detail,
        policy: String::new(),
    };
    let mut sandbox = match Sandbox::start(&options) {
        Ok(sandbox) => sandbox,
        Err(error) => return (failed(cause(&error)), None),
    };
    let proved = if level == Level::S0 {
        Ok(0) // it promises nothing
    } else {
        sandbox.prove()
    };
    match proved {
        Ok(num_probes) => {
            let report = LevelReport {
                level,
                holds: true,
                detail: format!("{}; {num_probes} probes held", sandbox.describe()),
                policy: fingerprint::policy(level, &options, sandbox.facts()),
            };
            (report, Some(sandbox))
        }
        Err(breach) => (failed(breach), None),
    }
}

/// The last line that a failed zygote printed, without the interpreter's traceback.
fn cause(error: &Error) -> String {
    let text = error.to_string();
    let last = text.lines().next_back().unwrap_or_default();
    last.trim_start_matches("RuntimeError: ").to_owned()
}

/// Tries every level but S0, best first: for `doctor`.
pub fn probe_levels(options: &Options) -> Vec<LevelReport> {
    let levels = Level::ALL.into_iter().filter(|&level| level > Level::S0);
    levels.map(|level| try_level(options, level).0).collect()
}

/// The level to use, with its proved sandbox: `wanted` if given, else the best that holds and is not below `require`.
///
/// # Errors
/// `Unavailable`: which levels were tried, why each does not hold, and what to change.
pub fn choose(
    options: &Options,
    wanted: Option<Level>,
    require: Level,
) -> Result<(LevelReport, Sandbox), Error> {
    if let Some(level) = wanted.filter(|&level| level < require) {
        return Err(Error::Unavailable(format!(
            "level {} is below the required level {}; ask for a lower one with require=\"{}\" (--require {})",
            level.name(),
            require.name(),
            level.name(),
            level.name(),
        )));
    }
    let candidates = match wanted {
        Some(level) => vec![level],
        None => Level::ALL
            .into_iter()
            .filter(|&level| level >= require)
            .collect(),
    };
    let mut reasons = Vec::new();
    for level in candidates {
        match try_level(options, level) {
            (report, Some(sandbox)) => return Ok((report, sandbox)),
            (report, None) => reasons.push(format!("{}: {}", level.name(), report.detail)),
        }
    }
    let asked = wanted.unwrap_or(require).name();
    Err(Error::Unavailable(format!(
        "level {asked} does not hold on this machine ({}). `opsd-rs doctor` says what to change; a lower level is \
         accepted with require=... (--require)",
        reasons.join("; ")
    )))
}
