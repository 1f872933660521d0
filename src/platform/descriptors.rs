//! File descriptors: how many this process may have, and whether it ran out of them.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::disk::Named;

/// Allows this process as many open files as the system lets it, and says how many that are; nothing if there is no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let usual = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        Err(_) => usual,
    }
}

/// Whether `error` says that there are no descriptors left. That passes.
pub fn is_descriptor_shortage(error: &io::Error) -> bool {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Named>()) {
        Some(named) => is_descriptor_shortage(&named.source),
        None => matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::platform::naming;

    #[test]
    fn a_shortage_is_known_whatever_names_were_added_to_it() {
        let shortage = || io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        let named = naming(Path::new("a"))(naming(Path::new("b"))(shortage()));
        assert!(is_descriptor_shortage(&shortage()) && is_descriptor_shortage(&named), "{named}");
        assert!(named.to_string().starts_with("a: b: "));
        assert!(!is_descriptor_shortage(&naming(Path::new("a"))(io::ErrorKind::StorageFull.into())));
    }
}
