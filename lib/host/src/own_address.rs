// SPDX-License-Identifier: GPL-3.0-or-later
//! Which node of the list we are (`spec/cluster.md 3`): the configured address, or the first one of the list that
//! can be listened on.

use crate::nodes_file::NodeEntry;
use crate::sys;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Reasons that the message about an unsuccessful search quotes.
const REASONS_SHOWN_MAX: usize = 8;

/// Our place in the cluster.
#[derive(Debug)]
pub struct OwnAddress {
    /// The node number. It never changes in the life of a daemon.
    pub pnn: u32,
    /// Our address and port.
    pub address: SocketAddr,
    /// Listens there, non-blocking.
    pub listener: TcpListener,
}

/// We have no place in the cluster.
#[derive(Debug)]
pub enum AddressError {
    /// No entries, or deleted ones only.
    NoNodes,
    /// The configured address is not in the list.
    NotListed(IpAddr),
    /// The configured address cannot be listened on.
    Bind(SocketAddr, io::Error),
    /// None of the addresses can be listened on.
    NoneOurs(Vec<(IpAddr, io::Error)>),
    /// The lock file of the search.
    LockFile(PathBuf, io::Error),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::NoNodes => {
                f.write_str("No nodes available to attempt bind to - is the nodes file empty?")
            }
            AddressError::NotListed(address) => write!(
                f,
                "Can not determine PNN - unknown node address {address} (not in the nodes list)"
            ),
            AddressError::Bind(address, e) => write!(f, "Unable to bind to {address}: {e}"),
            AddressError::NoneOurs(reasons) => {
                f.write_str("Unable to bind to any node address - giving up")?;
                for (address, e) in reasons.iter().take(REASONS_SHOWN_MAX) {
                    write!(f, "; {address}: {e}")?;
                }
                Ok(())
            }
            AddressError::LockFile(path, e) => {
                write!(f, "Unable to lock {}: {e}", path.display())
            }
        }
    }
}

impl std::error::Error for AddressError {}

/// Finds our address and listens on it. `lock_file` serialises searches of daemons that share a machine.
pub fn find(
    nodes: &[NodeEntry],
    configured: Option<IpAddr>,
    port: u16,
    lock_file: &Path,
) -> Result<OwnAddress, AddressError> {
    match configured {
        Some(address) => {
            let pnn = position(nodes, address).ok_or(AddressError::NotListed(address))?;
            let address = SocketAddr::new(address, port);
            let listener = listen(address).map_err(|e| AddressError::Bind(address, e))?;
            Ok(OwnAddress { pnn, address, listener })
        }
        None => search(nodes, port, lock_file),
    }
}

fn position(nodes: &[NodeEntry], address: IpAddr) -> Option<u32> {
    let wanted = address.to_canonical();
    let index = nodes.iter().position(|n| n.address.is_some_and(|a| a.to_canonical() == wanted))?;
    u32::try_from(index).ok()
}

fn search(nodes: &[NodeEntry], port: u16, lock_file: &Path) -> Result<OwnAddress, AddressError> {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(lock_file)
        .and_then(|file| sys::lock::lock_first_byte(&file).map(|()| file))
        .map_err(|e| AddressError::LockFile(lock_file.to_path_buf(), e))?;
    let mut reasons = Vec::new();
    for (pnn, address) in (0..).zip(nodes).filter_map(|(pnn, n)| Some((pnn, n.address?))) {
        match check_local(address).and_then(|()| listen(SocketAddr::new(address, port))) {
            Ok(listener) => {
                drop(lock);
                let address = SocketAddr::new(address, port);
                return Ok(OwnAddress { pnn, address, listener });
            }
            Err(e) => reasons.push((address, e)),
        }
    }
    Err(if reasons.is_empty() { AddressError::NoNodes } else { AddressError::NoneOurs(reasons) })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// With `ip_nonlocal_bind` every address of the list could be bound: then only configured ones are ours.
fn check_local(address: IpAddr) -> io::Result<()> {
    let setting = match address {
        IpAddr::V4(_) => "/proc/sys/net/ipv4/ip_nonlocal_bind",
        IpAddr::V6(_) => "/proc/sys/net/ipv6/ip_nonlocal_bind",
    };
    let misleading = std::fs::read_to_string(setting).is_ok_and(|s| s.trim() == "1");
    if misleading && !address.is_loopback() && !sys::net::local_addresses()?.contains(&address) {
        return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn nodes(list: &[&str]) -> Vec<NodeEntry> {
        list.iter().map(|a| NodeEntry { address: a.parse().ok() }).collect()
    }

    struct Search {
        dir: tempfile::TempDir,
        port: u16,
    }

    impl Search {
        /// A port that was free a moment ago.
        fn new() -> Search {
            let probe = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            let port = probe.local_addr().unwrap().port();
            Search { dir: tempfile::tempdir().unwrap(), port }
        }

        fn find(&self, list: &[&str], own: Option<&str>) -> Result<OwnAddress, AddressError> {
            let own = own.map(|a| a.parse().unwrap());
            find(&nodes(list), own, self.port, &self.dir.path().join("lock"))
        }
    }

    // 192.0.2.0/24 is reserved for documentation: nobody has such an address.
    #[test]
    fn the_first_address_that_can_be_bound_is_ours() {
        let s = Search::new();
        let list = ["192.0.2.1", "deleted", "127.0.0.1", "127.0.0.2"];
        let first = s.find(&list, None).unwrap();
        assert_eq!((first.pnn, first.address.ip().to_string()), (2, "127.0.0.1".into()));
        let second = s.find(&list, None).unwrap();
        assert_eq!((second.pnn, second.address.port()), (3, s.port));
        let error = s.find(&list, None).unwrap_err().to_string();
        assert_eq!(
            error,
            "Unable to bind to any node address - giving up; \
             192.0.2.1: Cannot assign requested address (os error 99); \
             127.0.0.1: Address already in use (os error 98); \
             127.0.0.2: Address already in use (os error 98)"
        );
    }

    #[test]
    fn the_configured_address_is_taken_or_nothing() {
        let s = Search::new();
        let list = ["127.0.0.1", "127.0.0.2", "192.0.2.1"];
        let own = s.find(&list, Some("127.0.0.2")).unwrap();
        assert_eq!(own.pnn, 1);
        assert_eq!(
            s.find(&list, Some("127.0.0.2")).unwrap_err().to_string(),
            format!("Unable to bind to 127.0.0.2:{}: Address already in use (os error 98)", s.port)
        );
        assert!(matches!(s.find(&list, Some("192.0.2.1")), Err(AddressError::Bind(..))));
        assert_eq!(
            s.find(&list, Some("127.0.0.9")).unwrap_err().to_string(),
            "Can not determine PNN - unknown node address 127.0.0.9 (not in the nodes list)"
        );
    }

    #[test]
    fn empty_lists_and_missing_directories() {
        let s = Search::new();
        for list in [&[][..], &["deleted"][..]] {
            assert_eq!(
                s.find(list, None).unwrap_err().to_string(),
                "No nodes available to attempt bind to - is the nodes file empty?"
            );
        }
        let error = find(&nodes(&["127.0.0.1"]), None, s.port, Path::new("/nonexistent/lock"));
        assert_eq!(
            error.unwrap_err().to_string(),
            "Unable to lock /nonexistent/lock: No such file or directory (os error 2)"
        );
    }
}
