// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading a small text file (configuration, nodes, tunables) without trusting its size or kind.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest configuration file accepted. Real ones have a few kilobytes.
pub const SIZE_MAX_BYTES: usize = 1 << 20;

/// The content of `path`, at most [`SIZE_MAX_BYTES`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?)
}

/// Everything that `source` has, at most [`SIZE_MAX_BYTES`].
pub fn read_from(source: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.take(SIZE_MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    if content.len() > SIZE_MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {SIZE_MAX_BYTES} bytes"),
        ));
    }
    Ok(content)
}

/// As [`read`]; none if there is no such file.
pub fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded() {
        assert_eq!(read_from(&b"abc"[..]).unwrap(), b"abc");
        let exact = vec![b'x'; SIZE_MAX_BYTES];
        assert_eq!(read_from(&exact[..]).unwrap().len(), SIZE_MAX_BYTES);
        let error = read_from(io::repeat(b'x')).unwrap_err();
        assert_eq!(error.to_string(), "larger than 1048576 bytes");
    }

    #[test]
    fn absent_is_not_an_error_and_a_directory_is() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_optional(&dir.path().join("none")).unwrap().is_none());
        assert!(read_optional(dir.path()).is_err());
    }
}
