//! What one test may use. Every limit here is enforced from outside the program's process.

/// Bytes of earlier tests' output that may stay in an output file; a longer one is truncated.
pub(crate) const LONGEST_PAST: u64 = 64 << 10;

/// Limits of one test of one program.
///
/// Time is CPU time of the program's process: unlike wall time it does not depend on other load.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// CPU seconds per test (user + system, all threads).
    pub cpu_seconds: f64,
    /// Seconds in which the program neither computed nor waited for a core: `wall - cpu - run_delay`.
    pub idle_seconds: f64,
    /// Wall seconds after which a test ends: as starved by the machine, which says nothing about the program, if it
    /// has waited for a core for half of them; as idle if not.
    pub wall_seconds: f64,
    /// By how many seconds all of a program's threads together may compute, or wait for a core, for longer than wall
    /// time lasts: one thread never does. Infinite: any.
    pub ahead_seconds: f64,
    /// Address space, MiB (`RLIMIT_AS`); the interpreter's own part is included.
    pub memory_mib: u64,
    /// Soft limit of the main thread's stack, MiB; a program may raise it.
    pub stack_mib: u64,
    /// Standard output per test, MiB (`RLIMIT_FSIZE` on a memfd).
    pub output_mib: u64,
    /// How much of the end of standard error is kept, KiB.
    pub stderr_kib: u64,
    /// Threads alive at once, the main thread included.
    pub threads: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_seconds: 6.0,
            idle_seconds: 3.0,
            wall_seconds: 90.0, // 10 x CPU + 30
            ahead_seconds: f64::INFINITY,
            memory_mib: 1024,
            stack_mib: 64,
            output_mib: 16,
            stderr_kib: 64,
            threads: 32,
        }
    }
}

impl Limits {
    /// Defaults with another CPU limit; the wall cap follows it (10 x CPU + 30 s).
    #[must_use]
    pub fn with_cpu(cpu_seconds: f64) -> Self {
        Self {
            cpu_seconds,
            wall_seconds: 10.0 * cpu_seconds + 30.0,
            ..Self::default()
        }
    }

    /// Whether each limit is a positive finite number that the kernel can hold.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("cpu_seconds", self.cpu_seconds),
            ("idle_seconds", self.idle_seconds),
            ("wall_seconds", self.wall_seconds),
        ] {
            if !(value.is_finite() && value > 0.0 && value < 1e6) {
                return Err(format!(
                    "{name} = {value}: must be above 0 and below 1e6 seconds"
                ));
            }
        }
        if self.ahead_seconds.is_nan() || self.ahead_seconds < 0.0 {
            let ahead = self.ahead_seconds;
            return Err(format!("ahead_seconds = {ahead}: must be 0 or more"));
        }
        for (name, value, most) in [
            ("memory_mib", self.memory_mib, 1 << 20),
            ("stack_mib", self.stack_mib, 1 << 20),
            ("output_mib", self.output_mib, 1 << 12),
            ("stderr_kib", self.stderr_kib, 1 << 20),
            ("threads", u64::from(self.threads), 4096),
        ] {
            if value == 0 || value > most {
                return Err(format!("{name} = {value}: must lie in 1..={most}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn defaults_are_valid_and_nonsense_is_named() {
        assert_eq!(Limits::default().check(), Ok(()));
        assert!((Limits::with_cpu(2.0).wall_seconds - 50.0).abs() < 1e-12);
        let bad = Limits {
            cpu_seconds: f64::NAN,
            ..Limits::default()
        };
        assert!(bad.check().unwrap_err().starts_with("cpu_seconds"));
        let bad = Limits {
            memory_mib: 0,
            ..Limits::default()
        };
        assert!(bad.check().unwrap_err().starts_with("memory_mib"));
    }
}
