//! Compiles seccomp-bpf filters: from one rule per system-call number to a balanced decision tree.
//!
//! The kernel runs a new filter once for every call number to learn which ones it always allows, so a tree costs
//! far less than a list (about 1 us per rule). Format: seccomp(2); `struct seccomp_data` = {nr, arch, ip, args[6]}.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
use libc::{BPF_W, sock_filter};

use crate::isolation::seccomp::calls::Arch;

/// x32 calls have this bit set; no other architecture has calls there.
const X32: u32 = 0x4000_0000;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run it.
    Allow,
    /// Refuse it with this errno.
    Errno(i32),
    /// End the whole process (SIGSYS).
    Kill,
    /// Notify the listener, which decides.
    Notify,
}

impl Action {
    /// The filter's return value, seccomp(2).
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Errno(errno) => 0x0005_0000 | (errno as u32 & 0xffff),
            Self::Kill => 0x8000_0000,
            Self::Notify => 0x7fc0_0000,
        }
    }
}

/// A condition on one argument. Low words only where the kernel itself reads 32 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// The low word is one of these.
    In(u32, Vec<u32>),
    /// The low word is anything else.
    Not(u32, u32),
    /// None of these bits is set in the low word.
    NoBits(u32, u32),
    /// The low word, with these bits ignored, equals the value.
    Masked(u32, u32, u32),
    /// All 64 bits are zero (a null pointer).
    Null(u32),
}

/// The rule of one call number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// For any arguments.
    Always(Action),
    /// The first case whose checks all hold, else the last.
    Cases(Vec<(Vec<Check>, Action)>, Action),
}

impl Rule {
    /// If all checks hold the first, else the second.
    pub(crate) fn when(checks: Vec<Check>, then: Action, otherwise: Action) -> Self {
        Self::Cases(vec![(checks, then)], otherwise)
    }
}

/// Rules by call number; numbers in between get `default`, those from `unknown_from` on get `unknown`.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Any order, each number once.
    pub(crate) rules: Vec<(u32, Rule)>,
    /// Known calls without a rule.
    pub(crate) default: Action,
    /// First number newer than this table.
    pub(crate) unknown_from: u32,
    /// Their answer.
    pub(crate) unknown: Action,
}

const fn insn(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

fn load(offset: u32) -> sock_filter {
    insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn ret(action: Action) -> sock_filter {
    insn(BPF_RET | BPF_K, 0, 0, action.code())
}

/// Offset of the low word of an argument (little endian).
const fn arg_low(arg: u32) -> u32 {
    16 + 8 * arg
}

/// The whole filter: architecture check, then the tree.
pub(crate) fn compile(arch: Arch, table: &Table) -> Vec<sock_filter> {
    let mut code = vec![
        load(4),
        insn(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, arch.audit()),
        ret(Action::Kill),
        load(0),
    ];
    code.extend(tree(&ranges(table)));
    code
}

/// `(first number, rule)`, ascending; each holds up to the next one's first number. Equal neighbours are merged.
fn ranges(table: &Table) -> Vec<(u32, Rule)> {
    let mut rules = table.rules.clone();
    rules.sort_by_key(|&(number, _)| number);
    let mut out: Vec<(u32, Rule)> = Vec::new();
    let mut push = |start: u32, rule: Rule| {
        if out.last().is_none_or(|(_, last)| *last != rule) {
            out.push((start, rule));
        }
    };
    let mut next = 0;
    for (number, rule) in rules {
        assert!(
            number >= next && number < table.unknown_from,
            "system call {number} out of order"
        );
        if number > next {
            push(next, Rule::Always(table.default));
        }
        push(number, rule);
        next = number + 1;
    }
    if next < table.unknown_from {
        push(next, Rule::Always(table.default));
    }
    push(table.unknown_from, Rule::Always(table.unknown));
    push(X32, Rule::Always(Action::Kill));
    out
}

/// Binary search over the ranges. Every leaf returns, so branches never join again.
fn tree(ranges: &[(u32, Rule)]) -> Vec<sock_filter> {
    if let [(_, rule)] = ranges {
        return leaf(rule);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (low_code, high_code) = (tree(low), tree(high));
    let jump_if_high = BPF_JMP | BPF_JGE | BPF_K;
    let mut code = Vec::with_capacity(low_code.len() + high_code.len() + 2);
    match u8::try_from(low_code.len()) {
        Ok(skip) => code.push(insn(jump_if_high, skip, 0, high[0].0)),
        // Conditional jumps reach 255 instructions, the unconditional one any distance.
        Err(_) => code.extend([
            insn(jump_if_high, 0, 1, high[0].0),
            insn(BPF_JMP | BPF_JA, 0, 0, low_code.len() as u32),
        ]),
    }
    code.extend(low_code);
    code.extend(high_code);
    code
}

/// Jump distance that is filled in later.
const FAIL: u8 = u8::MAX;

/// A rule's code: each check falls through when it holds and jumps to the next case when not.
fn leaf(rule: &Rule) -> Vec<sock_filter> {
    match rule {
        Rule::Always(action) => vec![ret(*action)],
        Rule::Cases(cases, otherwise) => cases
            .iter()
            .flat_map(|(checks, then)| case(checks, *then))
            .chain([ret(*otherwise)])
            .collect(),
    }
}

/// One case, followed by the code for when it does not hold.
fn case(checks: &[Check], then: Action) -> Vec<sock_filter> {
    let equal = BPF_JMP | BPF_JEQ | BPF_K;
    let mut code = Vec::new();
    for check in checks {
        match check {
            Check::In(arg, values) => {
                code.push(load(arg_low(*arg)));
                for (index, value) in values.iter().enumerate() {
                    let left = values.len() - 1 - index;
                    let miss = if left == 0 { FAIL } else { 0 };
                    code.push(insn(equal, left as u8, miss, *value));
                }
            }
            Check::Not(arg, value) => {
                code.extend([load(arg_low(*arg)), insn(equal, FAIL, 0, *value)]);
            }
            Check::NoBits(arg, mask) => code.extend([
                load(arg_low(*arg)),
                insn(BPF_ALU | BPF_AND | BPF_K, 0, 0, *mask),
                insn(equal, 0, FAIL, 0),
            ]),
            Check::Masked(arg, ignored, value) => code.extend([
                load(arg_low(*arg)),
                insn(BPF_ALU | BPF_AND | BPF_K, 0, 0, !ignored),
                insn(equal, 0, FAIL, *value),
            ]),
            Check::Null(arg) => code.extend([
                load(arg_low(*arg)),
                insn(equal, 0, FAIL, 0),
                load(arg_low(*arg) + 4),
                insn(equal, 0, FAIL, 0),
            ]),
        }
    }
    code.push(ret(then));
    let next = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        for jump in [&mut instruction.jt, &mut instruction.jf] {
            if *jump == FAIL {
                *jump = u8::try_from(next - at - 1).expect("a rule is short");
            }
        }
    }
    code
}

#[cfg(test)]
#[path = "bpf_tests.rs"]
pub(crate) mod tests;
