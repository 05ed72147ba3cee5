//! Moves the zygote's memory into huge pages. Each fork copies the page tables of the whole interpreter, each exit of a
//! child frees them, and every child maps the interpreter's code again, a few pages at a time.
//!
//! The kernel handles a huge page as one piece: code needs two entries instead of a thousand, and data, though later
//! copied page by page as children write, is shared and freed in runs. Together this saves a sixth of a small program's
//! cost. Addresses do not change. Where the kernel has no huge pages, or forbids code in private memory, nothing is
//! done.

use std::fs;
use std::ops::Range;

use crate::sys::{HUGE, remap_huge};

/// Smallest page there is.
const PAGE: usize = 4 << 10;
/// Smaller mappings stay as they are.
const LEAST: usize = 64 << 10;
/// A larger library is not used enough to be worth a copy in each zygote.
const LARGEST_LIBRARY: usize = 5 << 19;
/// More data than a plain interpreter has.
const MOST: usize = 64 << 20;

/// Does it, before the process gives up its rights.
///
/// # Errors
/// The process cannot continue.
pub(crate) fn remap() -> Result<(), String> {
    let folder = "/sys/kernel/mm/transparent_hugepage";
    let read = |name| fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
    let is_off = |enabled: &str| enabled.is_empty() || enabled.contains("[never]");
    if is_off(&read("enabled")) || read("hpage_pmd_size").trim() != HUGE.to_string() {
        return Ok(());
    }
    let Ok(text) = fs::read_to_string("/proc/self/smaps") else {
        return Ok(());
    };
    let mut mappings = parse(&text);
    mappings.retain(is_there);
    let (data, code) = (data(&mappings), code(&mappings));
    let mut libraries = libraries(&mappings);
    let apart =
        |one: &Range<usize>, two: &Range<usize>| one.end <= two.start || two.end <= one.start;
    libraries.retain(|library| code.iter().all(|code| apart(code, library)));
    drop(text);
    let parts = [
        (&data[..], false),
        (code.as_slice(), true),
        (&libraries[..], true),
    ];
    // Elsewhere the processor must be told that data has become code.
    let may_move = |executable: bool| !executable || cfg!(target_arch = "x86_64");
    for (mappings, executable) in parts {
        if !mappings.is_empty() && may_move(executable) {
            remap_huge(mappings, executable).map_err(|error| format!("huge pages: {error}"))?;
        }
    }
    Ok(())
}

/// One mapping, as proc_pid_smaps(5) lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    place: Range<usize>,
    /// `rw-p`
    rights: String,
    name: String,
    resident: usize,
    /// Where it ends in its file.
    end: usize,
}

/// Whether all of it can be read: nothing is behind the end of its file.
fn is_there(mapping: &Mapping) -> bool {
    let length = || fs::metadata(&mapping.name).map_or(0, |file| file.len() as usize);
    let is_file = mapping.name.starts_with('/');
    mapping.rights.starts_with('r') && (!is_file || mapping.end <= length().next_multiple_of(PAGE))
}

fn parse(text: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "Rss:"
            && let Some(mapping) = mappings.last_mut()
        {
            let kib = words.next().and_then(|word| word.parse().ok());
            mapping.resident = kib.unwrap_or(0) << 10;
        }
        let place = first.split_once('-').and_then(|(start, end)| {
            let number = |digits| usize::from_str_radix(digits, 16).ok();
            Some(number(start)?..number(end)?)
        });
        if let Some(place) = place {
            let rights = words.next().unwrap_or_default().to_owned();
            let offset = words.next().unwrap_or_default();
            let offset = usize::from_str_radix(offset, 16).unwrap_or(0);
            let name = words.nth(2).unwrap_or_default().to_owned();
            let end = offset + place.len();
            mappings.push(Mapping {
                place,
                rights,
                name,
                resident: 0,
                end,
            });
        }
    }
    mappings
}

/// What an interpreter writes to, if mostly resident: its heap and its modules' data.
fn data(mappings: &[Mapping]) -> Vec<Range<usize>> {
    let suits = |m: &&Mapping| {
        let is_stack = m.name.starts_with("[stack");
        m.rights == "rw-p" && !is_stack && m.place.len() >= LEAST && m.resident >= m.place.len() / 2
    };
    let chosen: Vec<_> = mappings
        .iter()
        .filter(suits)
        .map(|m| m.place.clone())
        .collect();
    let total: usize = chosen.iter().map(ExactSizeIterator::len).sum();
    if total > MOST { Vec::new() } else { chosen }
}

/// A piece of code with its read-only neighbours of the same file, which may become part of it.
fn whole(mappings: &[Mapping], index: usize) -> Range<usize> {
    let code = &mappings[index];
    let joins = |one: &Mapping, next: &Mapping| {
        let is_plain = |m: &Mapping| m.name == code.name && !m.rights.contains('w');
        is_plain(one) && is_plain(next) && one.place.end == next.place.start
    };
    let before = mappings[..=index].windows(2).rev();
    let start = before.take_while(|pair| joins(&pair[0], &pair[1]));
    let start = start
        .last()
        .map_or(code.place.start, |pair| pair[0].place.start);
    let after = mappings[index..].windows(2);
    let end = after.take_while(|pair| joins(&pair[0], &pair[1]));
    let end = end.last().map_or(code.place.end, |pair| pair[1].place.end);
    start..end
}

/// The code of small libraries, whole: each fork copies one mapping instead of four, and no page is mapped again.
fn libraries(mappings: &[Mapping]) -> Vec<Range<usize>> {
    let all = mappings.iter().enumerate();
    let code = all.filter(|(_, m)| m.rights == "r-xp" && m.name.starts_with('/'));
    let whole = code.map(|(index, _)| whole(mappings, index));
    whole
        .filter(|place| place.len() <= LARGEST_LIBRARY)
        .collect()
}

/// The interpreter's own code, as far as whole huge pages of its file's mappings reach. Of several the one in use: an
/// extension may bring a library of the same name.
fn code(mappings: &[Mapping]) -> Option<Range<usize>> {
    let is_code = |m: &Mapping| {
        let file = m.name.rsplit('/').next().unwrap_or_default();
        m.rights == "r-xp" && (file.starts_with("libpython") || file.starts_with("python"))
    };
    let all = mappings.iter().enumerate().filter(|(_, m)| is_code(m));
    let (index, code) = all.max_by_key(|(_, m)| m.resident)?;
    let Range { start, end } = whole(mappings, index);
    let first = code.place.start / HUGE * HUGE;
    let last = code.place.end.next_multiple_of(HUGE);
    let first = if first < start { first + HUGE } else { first };
    let last = if last > end { last - HUGE } else { last };
    (first < last).then_some(first..last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
555555554000-555555555000 r-xp 00000000 fe:00 18504      /usr/bin/python3.11\n\
Rss:                   4 kB\n\
555555559000-55555575d000 rw-p 00000000 00:00 0          [heap]\n\
Size:               2064 kB\n\
Rss:                1800 kB\n\
7ffff6000000-7ffff6100000 rw-p 00000000 00:00 0 \n\
Rss:                  12 kB\n\
7ffff7a00000-7ffff7af5000 r--p 00000000 fe:00 18714      /usr/lib/libpython3.11.so.1.0\n\
Rss:                 900 kB\n\
7ffff7af5000-7ffff7d31000 r-xp 000f5000 fe:00 18714      /usr/lib/libpython3.11.so.1.0\n\
Rss:                1800 kB\n\
7ffff7d31000-7ffff7e15000 r--p 00331000 fe:00 18714      /usr/lib/libpython3.11.so.1.0\n\
7ffff7e15000-7ffff7e44000 rw-p 00414000 fe:00 18714      /usr/lib/libpython3.11.so.1.0\n\
Rss:                 188 kB\n\
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0          [stack]\n\
Rss:                 132 kB\n\
VmFlags: rd wr mr mw me gd ac\n";

    #[test]
    fn what_is_gathered() {
        let mappings = parse(SMAPS);
        assert_eq!(mappings.len(), 8);
        let written = [
            0x5555_5555_9000..0x5555_5575_d000,
            0x7fff_f7e1_5000..0x7fff_f7e4_4000,
        ];
        assert_eq!(data(&mappings), written);
        // Not the interpreter's library, which is large.
        assert_eq!(
            libraries(&mappings),
            vec![0x5555_5555_4000..0x5555_5555_5000]
        );
        // The last huge page would reach into what is written to.
        assert_eq!(code(&mappings), Some(0x7fff_f7a0_0000..0x7fff_f7e0_0000));
    }

    #[test]
    fn what_cannot_be_read_stays_out() {
        let exists = |text: &str| parse(text).iter().all(is_there);
        let name = std::env::current_exe().unwrap();
        let name = name.display();
        assert!(exists(&format!("1000-2000 r-xp 0 0:0 1 {name}\n")));
        assert!(!exists(&format!("1000-2000 ---p 0 0:0 1 {name}\n")));
        assert!(!exists(&format!("1000-2000 r--p 7ffff000 0:0 1 {name}\n")));
        assert!(!exists("1000-2000 r--p 0 0:0 1 /nowhere\n"));
    }

    #[test]
    fn no_huge_page_fits_into_a_small_interpreter() {
        let only = |text: &str| code(&parse(text));
        assert_eq!(
            only("00400000-005ff000 r-xp 0 0:0 1 /usr/bin/python3\n"),
            None
        );
        assert_eq!(
            only("00300000-00700000 r-xp 0 0:0 1 /usr/bin/python3\n"),
            Some(0x40_0000..0x60_0000)
        );
        assert_eq!(only("00200000-00700000 r-xp 0 0:0 1 /usr/bin/perl\n"), None);
    }
}
