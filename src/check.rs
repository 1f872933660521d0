//! What `--check` looks at besides the configuration itself, without starting anything: the files that it names.

use bazar::config::Config;
use bazar::platform::{Disk, LocalDisk};
use bazar::store::read_seed;

/// Looks at the data folder and at the books that a new cluster starts with.
///
/// # Errors
/// What is wrong, for people to read.
pub fn files(config: &Config) -> Result<(), String> {
    let (data, seed) = (&config.data, &config.seed);
    let is_folder = match LocalDisk.exists(data) {
        Ok(false) => None,
        Ok(true) => Some(data.is_dir()),
        Err(error) => return Err(format!("data: {}: {error}", data.display())),
    };
    if is_folder == Some(false) {
        return Err(format!("data: {} is no folder", data.display()));
    }
    let text = match LocalDisk.read(seed) {
        Ok(text) => text,
        // A cluster that was opened needs it no more.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_folder.is_some() => return Ok(()),
        Err(error) => return Err(format!("seed: {}: {error}", seed.display())),
    };
    read_seed(seed, &text).map(drop).map_err(|errors| errors.to_string())
}
