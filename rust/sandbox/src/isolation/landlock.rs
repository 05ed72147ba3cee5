//! Landlock rule sets, by raw system calls (landlock(7)): what may be read, and nothing else.

use std::ffi::CString;
use std::fs::DirEntry;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::sys::{self, Sys};

/// `LANDLOCK_ACCESS_FS_READ_FILE`, `_READ_DIR`.
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// `LANDLOCK_ACCESS_NET_BIND_TCP | _CONNECT_TCP`.
const TCP: u64 = 3;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | _SIGNAL`.
const SCOPES: u64 = 3;

/// All file rights that an ABI version can restrict.
fn file_rights(abi: i64) -> u64 {
    let bits = match abi {
        ..=1 => 13,
        2 => 14,     // refer
        3..=4 => 15, // truncate
        _ => 16,     // device ioctl
    };
    (1 << bits) - 1
}

/// How many words of the attribute an ABI version has: files; network from 4; scopes from 6.
fn words(abi: i64) -> usize {
    match abi {
        ..=3 => 1,
        4..=5 => 2,
        _ => 3,
    }
}

/// What the rule sets of a version restrict: rights to files, TCP, scopes.
pub(crate) fn rights(abi: i64) -> Vec<u64> {
    [file_rights(abi), TCP, SCOPES][..words(abi)].to_vec()
}

/// One path and what is allowed beneath it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Names only, beneath too. The importer lists the folders it searches.
    List(PathBuf),
    /// Names and contents.
    Read(PathBuf),
}

impl Grant {
    pub(crate) fn path(&self) -> &Path {
        let (Self::List(path) | Self::Read(path)) = self;
        path
    }
}

/// `List` for the folder, `Read` for those of its entries whose name passes: a rule cannot withdraw what a rule for a
/// parent grants.
pub(crate) fn entries(folder: &Path, passes: impl Fn(&str) -> bool) -> Vec<Grant> {
    let Ok(listing) = folder.read_dir() else {
        return Vec::new();
    };
    let named = |entry: &DirEntry| entry.file_name().to_str().is_some_and(&passes);
    let inside = listing
        .flatten()
        .filter(named)
        .map(|entry| Grant::Read(entry.path()));
    std::iter::once(Grant::List(folder.to_owned()))
        .chain(inside)
        .collect()
}

/// The zygote's domain: reading what is granted, no writing, no TCP, no abstract sockets or signals outwards.
/// Paths that do not exist are skipped.
pub(crate) fn domain(abi: i64, grants: &[Grant]) -> Sys<OwnedFd> {
    let ruleset = sys::landlock_ruleset([file_rights(abi), TCP, SCOPES], words(abi))?;
    for grant in grants {
        let path = grant.path();
        let Ok(metadata) = path.metadata() else {
            continue;
        };
        let name = CString::new(path.as_os_str().as_bytes())?;
        let rights = match grant {
            Grant::List(_) => READ_DIR,
            Grant::Read(_) if metadata.is_dir() => READ_FILE | READ_DIR,
            Grant::Read(_) => READ_FILE,
        };
        // A path that this user cannot reach grants nothing.
        if let Ok(beneath) = sys::open_path(&name) {
            sys::landlock_allow(&ruleset, rights, &beneath)?;
        }
    }
    Ok(ruleset)
}

/// Enters a rule set, permanently.
pub(crate) fn enter(ruleset: &impl AsRawFd) -> Sys<()> {
    sys::call(
        libc::SYS_landlock_restrict_self,
        ruleset.as_raw_fd() as u64,
        0,
        0,
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_the_abi() {
        assert_eq!(file_rights(1), 0x1fff);
        assert_eq!(file_rights(3), 0x7fff);
        assert_eq!(file_rights(7), 0xffff);
        assert_eq!((words(1), words(4), words(6)), (1, 2, 3));
    }

    #[test]
    fn a_thread_in_the_domain_reads_only_what_it_may() {
        let Ok(abi) = sys::landlock_abi() else {
            return; // no Landlock in this kernel: `probe` says so
        };
        let folder = std::env::temp_dir().join(format!("opsd-landlock-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("open")).unwrap();
        std::fs::create_dir_all(folder.join("shut")).unwrap();
        std::fs::write(folder.join("open/file"), "1").unwrap();
        std::fs::write(folder.join("shut/file"), "1").unwrap();
        let inside = folder.clone();
        // Landlock applies to the thread that enters.
        std::thread::spawn(move || {
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).unwrap();
            let mut grants = entries(&inside, |name| name == "open");
            grants.push(Grant::Read(inside.join("missing")));
            enter(&domain(abi, &grants).unwrap()).unwrap();
            assert!(std::fs::read_dir(&inside).is_ok());
            assert!(std::fs::read(inside.join("open/file")).is_ok());
            assert!(std::fs::read_dir(inside.join("open")).is_ok());
            assert!(std::fs::read(inside.join("shut/file")).is_err());
            assert!(std::fs::write(inside.join("open/file"), "2").is_err());
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err() || words(abi) < 2);
        })
        .join()
        .unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
