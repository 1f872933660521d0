//! What `--check` looks at besides the configuration itself, without starting anything: the files that it names.

use bazar::config::{Config, Node};
use bazar::csv::read_seed;
use bazar::platform::{Disk, LocalDisk};
use bazar::replica::IDENTITY_FILE;

/// Looks at the data folder and at the books that a new cluster starts with.
///
/// # Errors
/// What is wrong, for people to read.
pub fn files(config: &Config) -> Result<(), String> {
    let (data, seed) = (&config.machine.data, &config.machine.seed);
    match LocalDisk.exists(data) {
        Ok(true) if !data.is_dir() => return Err(format!("data: {} is no folder", data.display())),
        Ok(_) => {}
        Err(error) => return Err(format!("data: {}: {error}", data.display())),
    }
    let text = match LocalDisk.read(seed) {
        Ok(text) => text,
        // A shop that was filled needs it no more; the summary says so.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && has_a_catalog(config) => return Ok(()),
        Err(error) => {
            let what = "give the books of a new shop as a CSV file, by the key `seed` or the flag --seed";
            return Err(format!("seed: {}: {error}; {what}", seed.display()));
        }
    };
    read_seed(seed, &text).map(drop).map_err(|errors| errors.to_string())
}

/// Whether some catalog server of the configuration has its data on this machine.
pub fn has_a_catalog(config: &Config) -> bool {
    let mark = |node: &Node| config.machine.data.join(&node.id).join(IDENTITY_FILE);
    config.catalogs.iter().any(|node| matches!(LocalDisk.exists(&mark(node)), Ok(true)))
}
