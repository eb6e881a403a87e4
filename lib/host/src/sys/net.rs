// SPDX-License-Identifier: GPL-3.0-or-later
//! The addresses of this machine's interfaces.

use super::check;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All IP addresses that are configured on an interface.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut head = std::ptr::null_mut();
    // SAFETY: getifaddrs stores the head of a list that we own until freeifaddrs.
    check(unsafe { libc::getifaddrs(&mut head) })?;
    let mut addresses = Vec::new();
    let mut entry = head;
    while !entry.is_null() {
        // SAFETY: entry is an element of the list, which is not changed until it is freed below.
        let interface = unsafe { &*entry };
        // SAFETY: ifa_addr is null or points to a socket address of the list.
        addresses.extend(unsafe { ip_address(interface.ifa_addr) });
        entry = interface.ifa_next;
    }
    // SAFETY: head came from getifaddrs and is freed once; no reference into the list is left.
    unsafe { libc::freeifaddrs(head) };
    Ok(addresses)
}

/// # Safety
/// `address` is null or points to a socket address as long as its family says.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, so by the contract a socket address, which begins with the family.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in; it may be unaligned for that type.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6; it may be unaligned for that type.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}
