//! What programs may read, and nothing else: the standard library, shared libraries, the packages named.
//!
//! Never a whole folder of installed packages, unless the user names it: this package's own problems, with their
//! expected outputs, may be there.

use std::fs::{File, read_dir};
use std::path::{Path, PathBuf};

use crate::isolation::landlock::{Grant, entries};

/// Folders of shared libraries that lazily imported extension modules (ssl, zlib, ...) need.
const LIBRARY_FOLDERS: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// Other files that honest programs read.
const READABLE: &[&str] = &[
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/dev/zero",
    "/usr/share/zoneinfo",
    "/etc/localtime",
];

/// [`Readable::grants`] as text, for the fingerprint.
pub(crate) const RULES: [&str; 4] = [
    "library/* except site-packages, dist-packages",
    "/lib /lib64 /usr/lib /usr/lib64 /usr/local/lib prefix/lib: * except python*",
    "site_packages/* except opsd_rs*",
    "/etc/ld.so.cache /dev/null /dev/urandom /dev/zero /usr/share/zoneinfo /etc/localtime",
];

/// Where the interpreter and the packages for programs are.
#[derive(Debug, Clone)]
pub struct Readable {
    /// The standard library's folder.
    pub library: PathBuf,
    /// `sys.base_prefix`.
    pub prefix: PathBuf,
    /// See [`crate::Options::site_packages`].
    pub site_packages: Vec<PathBuf>,
    /// See [`crate::Options::packages`].
    pub packages: Vec<PathBuf>,
}

impl Readable {
    /// The same as rules.
    pub(crate) fn grants(&self) -> Vec<Grant> {
        let shared = |name: &str| !name.starts_with("python");
        let standard = |name: &str| !matches!(name, "site-packages" | "dist-packages");
        let foreign = |name: &str| !name.starts_with("opsd_rs");
        let mut folders: Vec<PathBuf> = LIBRARY_FOLDERS.iter().map(PathBuf::from).collect();
        folders.push(self.prefix.join("lib")); // where conda keeps its shared libraries
        // `/lib` is often a link to `/usr/lib`.
        folders = folders
            .iter()
            .filter_map(|folder| folder.canonicalize().ok())
            .collect();
        folders.sort();
        folders.dedup();
        let read = |path: &Path| Grant::Read(path.to_owned());
        let mut all: Vec<Grant> = READABLE.iter().map(|path| read(Path::new(path))).collect();
        all.extend(folders.iter().flat_map(|folder| entries(folder, shared)));
        all.extend(entries(&self.library, standard));
        all.extend(
            self.site_packages
                .iter()
                .flat_map(|folder| entries(folder, foreign)),
        );
        all.extend(self.packages.iter().map(|folder| read(folder)));
        all
    }

    /// Whether this process can read all of it as its current user.
    pub(crate) fn is_readable(&self) -> bool {
        let mut folders = self.site_packages.iter().chain(&self.packages);
        File::open(self.library.join("os.py")).is_ok()
            && read_dir(self.library.join("lib-dynload")).is_ok()
            && folders.all(|folder| read_dir(folder).is_ok())
    }
}
