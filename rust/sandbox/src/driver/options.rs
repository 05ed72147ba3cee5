//! How a sandbox is started, and what a started one knows about its machine.

use std::path::PathBuf;
use std::sync::Arc;

use crate::driver::memory::Governor;
use crate::types::harness::Harness;
use crate::types::layer::Layer;
use crate::types::level::Level;

/// How a sandbox is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The interpreter, 3.11 or later. It need not be the trainer's.
    pub python: PathBuf,
    /// The extension module's shared object, loaded by absolute path: `-S` hides every site-packages.
    pub core: PathBuf,
    /// Extra folders the programs may import from, readable and on `sys.path`.
    pub site_packages: Vec<PathBuf>,
    /// Folders of single packages (`.../numpy`, `.../numpy.libs`): importable by their names, their neighbours not.
    pub packages: Vec<PathBuf>,
    /// The zygote imports numpy in advance. Without it a zygote is smaller, and a fork costs by the page.
    pub numpy: bool,
    /// What runs the programs; `None`: the built-in harness.
    pub harness: Option<&'static Harness>,
    /// Its layers are enabled, and no others.
    pub level: Level,
    /// Watches the memory of all programs of this process.
    pub governor: Option<Arc<Governor>>,
    /// Layers of the level to leave out, to test that the tests notice. Empty in every real run.
    pub without: Vec<Layer>,
}

impl Options {
    /// Whether the layer is enabled.
    pub fn has(&self, layer: Layer) -> bool {
        self.level.has(layer) && !self.without.contains(&layer)
    }
}

/// What a started sandbox found out about its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// 0 without Landlock.
    pub landlock_abi: u64,
    /// The kernel asks the driver about threads and forbidden calls.
    pub thread_cap: bool,
}
