//! Finds the best level of isolation that this machine gives, proves it, and says why a better one is out of reach.

use crate::driver::options::Options;
use crate::driver::sandbox::Sandbox;
use crate::error::Error;
use crate::levels::fingerprint;
use crate::types::level::Level;

/// One level on this machine.
#[derive(Debug, Clone)]
pub struct Rung {
    /// Which.
    pub level: Level,
    /// It was set up and every probe held.
    pub holds: bool,
    /// What protects, or why it does not hold.
    pub detail: String,
    /// The rules in words that are equal on every machine where the rules are; empty when it does not hold.
    pub policy: String,
}

/// Sets up one level and proves it; the proved sandbox comes along, ready for programs.
fn step_on(options: &Options, level: Level) -> (Rung, Option<Sandbox>) {
    let options = Options {
        level,
        ..options.clone()
    };
    let lost = |detail: String| Rung {
        level,
        holds: false,
        detail,
        policy: String::new(),
    };
    let mut sandbox = match Sandbox::start(&options) {
        Ok(sandbox) => sandbox,
        Err(error) => return (lost(cause(&error)), None),
    };
    let proved = if level == Level::S0 {
        Ok(0) // it claims nothing
    } else {
        sandbox.prove()
    };
    match proved {
        Ok(num_probes) => {
            let rung = Rung {
                level,
                holds: true,
                detail: format!("{}; {num_probes} probes held", sandbox.describe()),
                policy: fingerprint::policy(level, &options, sandbox.facts()),
            };
            (rung, Some(sandbox))
        }
        Err(breach) => (lost(breach), None),
    }
}

/// The last line of what a zygote said before it gave up, without the interpreter's traceback.
fn cause(error: &Error) -> String {
    let text = error.to_string();
    let last = text.lines().next_back().unwrap_or_default();
    last.trim_start_matches("RuntimeError: ").to_owned()
}

/// Every level but S0, best first, each tried: for `doctor`.
pub fn climb(options: &Options) -> Vec<Rung> {
    let levels = Level::ALL.into_iter().filter(|&level| level > Level::S0);
    levels.map(|level| step_on(options, level).0).collect()
}

/// The level to work at, proved, with its sandbox: `wanted` and no other if given, else the best that holds and is not
/// below `require`.
///
/// # Errors
/// `Unavailable`: which levels were tried, why each does not hold, and what to change.
pub fn choose(
    options: &Options,
    wanted: Option<Level>,
    require: Level,
) -> Result<(Rung, Sandbox), Error> {
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
        match step_on(options, level) {
            (rung, Some(sandbox)) => return Ok((rung, sandbox)),
            (rung, None) => reasons.push(format!("{}: {}", level.name(), rung.detail)),
        }
    }
    let asked = wanted.unwrap_or(require).name();
    Err(Error::Unavailable(format!(
        "level {asked} does not hold on this machine ({}). `opsd-rs doctor` says what to change; a lower level is \
         accepted with require=... (--require)",
        reasons.join("; ")
    )))
}
