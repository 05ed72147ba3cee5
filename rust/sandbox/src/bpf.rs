//! A small emitter of seccomp-bpf programs: a rule per system-call number in, a balanced decision tree out.
//!
//! The kernel runs a new filter once for every call number to learn which ones it always allows, so a tree costs
//! far less than a list (about 1 us per rule). Format: seccomp(2); `struct seccomp_data` = {nr, arch, ip, args[6]}.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
use libc::{BPF_W, sock_filter};

use crate::calls::Arch;

/// x32 calls carry this bit; no other architecture has calls there.
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
    /// Ask the listener.
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
    /// Whatever the arguments.
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
    /// First number younger than this table.
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
            "system call {number} out of place"
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

/// Binary search over the ranges. Every leaf returns, so branches never meet again.
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

/// Jump distance still to be filled in.
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

/// One case, to be followed by what holds where it does not.
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
pub(crate) mod tests {
    use super::*;

    const X86: u32 = Arch::X86_64.audit();

    /// The kernel's side, as small as it can be: the slow plain twin that every filter is checked against.
    pub(crate) fn interpret(code: &[sock_filter], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(nr.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let i = &code[at];
            at += 1;
            let code = u32::from(i.code);
            let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match code {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    let k = i.k as usize;
                    acc = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                }
                c if c == BPF_JMP | BPF_JEQ | BPF_K => at += jump(acc == i.k),
                c if c == BPF_JMP | BPF_JGE | BPF_K => at += jump(acc >= i.k),
                c if c == BPF_JMP | BPF_JA => at += i.k as usize,
                c if c == BPF_ALU | BPF_AND | BPF_K => acc &= i.k,
                c if c == BPF_RET | BPF_K => return i.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn sample() -> Table {
        let mut rules: Vec<(u32, Rule)> = (0..300)
            .step_by(2)
            .map(|n| (n, Rule::Always(Action::Allow)))
            .collect();
        rules.push((
            7,
            Rule::when(
                vec![
                    Check::In(1, vec![3, 4, 5]),
                    Check::NoBits(2, 0x41),
                    Check::Null(4),
                ],
                Action::Allow,
                Action::Errno(13),
            ),
        ));
        rules.push((
            9,
            Rule::when(
                vec![Check::Masked(0, 0x800, 1)],
                Action::Notify,
                Action::Kill,
            ),
        ));
        rules.push((
            11,
            Rule::Cases(
                vec![
                    (vec![Check::In(0, vec![0]), Check::Not(1, 5)], Action::Allow),
                    (vec![Check::Null(2)], Action::Notify),
                ],
                Action::Errno(22),
            ),
        ));
        Table {
            rules,
            default: Action::Errno(1),
            unknown_from: 451,
            unknown: Action::Errno(38),
        }
    }

    #[test]
    fn tree_agrees_with_the_table_on_every_number() {
        let code = compile(Arch::X86_64, &sample());
        for nr in (0..1000).chain([X32 - 1, X32, X32 + 5, u32::MAX]) {
            let want = match nr {
                7 => Action::Errno(13),
                9 => Action::Kill,
                11 => Action::Allow,
                n if n >= X32 => Action::Kill,
                n if n >= 451 => Action::Errno(38),
                n if n < 300 && n % 2 == 0 => Action::Allow,
                _ => Action::Errno(1),
            };
            assert_eq!(interpret(&code, X86, nr, [0; 6]), want.code(), "call {nr}");
        }
        assert_eq!(
            interpret(&code, 0x4000_0003, 0, [0; 6]),
            Action::Kill.code(),
            "i386"
        );
        assert!(
            code.iter().any(|i| u32::from(i.code) == BPF_JMP | BPF_JA),
            "long jumps were tried"
        );
    }

    #[test]
    fn argument_checks() {
        let code = compile(Arch::X86_64, &sample());
        let seven = |a1: u64, a2: u64, a4: u64| interpret(&code, X86, 7, [9, a1, a2, 9, a4, 9]);
        for good in [3, 4, 5, 0xffff_ffff_0000_0003] {
            assert_eq!(seven(good, 0x82, 0), Action::Allow.code());
        }
        for (a1, a2, a4) in [
            (6, 0, 0),
            (3, 1, 0),
            (3, 0x40, 0),
            (3, 0, 1),
            (3, 0, 1 << 40),
        ] {
            assert_eq!(
                seven(a1, a2, a4),
                Action::Errno(13).code(),
                "{a1} {a2} {a4}"
            );
        }
        let nine = |a0: u64| interpret(&code, X86, 9, [a0, 0, 0, 0, 0, 0]);
        assert_eq!(nine(1), Action::Notify.code());
        assert_eq!(nine(0x801), Action::Notify.code());
        assert_eq!(nine(2), Action::Kill.code());
        let eleven = |a0, a1, a2| interpret(&code, X86, 11, [a0, a1, a2, 0, 0, 0]);
        assert_eq!(eleven(0, 4, 1), Action::Allow.code());
        assert_eq!(eleven(0, 5, 0), Action::Notify.code(), "the second case");
        assert_eq!(eleven(1, 4, 0), Action::Notify.code());
        assert_eq!(eleven(1, 4, 1), Action::Errno(22).code());
    }

    #[test]
    fn golden_listing_of_a_small_filter() {
        let table = Table {
            rules: vec![
                (1, Rule::Always(Action::Allow)),
                (
                    2,
                    Rule::when(vec![Check::In(0, vec![8, 9])], Action::Allow, Action::Kill),
                ),
            ],
            default: Action::Errno(1),
            unknown_from: 4,
            unknown: Action::Errno(38),
        };
        let listing: Vec<_> = compile(Arch::X86_64, &table)
            .iter()
            .map(|i| (i.code, i.jt, i.jf, i.k))
            .collect();
        let golden = [
            (0x20, 0, 0, 4),
            (0x15, 1, 0, 0xC000_003E),
            (0x06, 0, 0, 0x8000_0000),
            (0x20, 0, 0, 0),
            (0x35, 9, 0, 3),
            (0x35, 1, 0, 1),
            (0x06, 0, 0, 0x0005_0001),
            (0x35, 1, 0, 2),
            (0x06, 0, 0, 0x7fff_0000),
            (0x20, 0, 0, 16),
            (0x15, 1, 0, 8),
            (0x15, 0, 1, 9),
            (0x06, 0, 0, 0x7fff_0000),
            (0x06, 0, 0, 0x8000_0000),
        ];
        assert_eq!(listing[..14], golden);
    }
}
