//! What a program's process says about its tests, under every profile: any bytes must come to a verdict, within bounds,
//! and to "accepted" by right answers alone. A panic is the finding; `check_any_report` and `judge_any_reports` say what
//! else must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    opsd_sandbox::check_any_report(bytes);
    let _verdict = opsd_grade::judge_any_reports(bytes);
});
