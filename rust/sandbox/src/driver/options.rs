//! How a sandbox is started, and what a started one knows about its machine.

use std::path::PathBuf;
use std::sync::Arc;

use crate::driver::memory::Governor;
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
    /// What the zygote imports beforehand.
    pub flavour: Flavour,
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

/// What a zygote has imported before it forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// Common modules of the standard library; few, because each page makes a fork slower.
    #[default]
    Std,
    /// numpy as well.
    Numpy,
    /// For the official profiles: what their runner puts in place is there before the fork.
    Official,
    /// That with numpy.
    OfficialNumpy,
}

impl Flavour {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Std, Self::Numpy, Self::Official, Self::OfficialNumpy];

    /// As the zygote is told.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Numpy => "numpy",
            Self::Official => "official",
            Self::OfficialNumpy => "official-numpy",
        }
    }

    /// Whether programs are led step by step ([`crate::Sandbox::converse`]) instead of run.
    pub(crate) const fn is_official(self) -> bool {
        matches!(self, Self::Official | Self::OfficialNumpy)
    }
}
