//! Compiled filters against their tables, by a plain interpreter; and one small filter as a listing.

use super::*;

const X86: u32 = Arch::X86_64.audit();

/// A minimal interpreter of filters, as in the kernel: every filter is checked against it.
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
