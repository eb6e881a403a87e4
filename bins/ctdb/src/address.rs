// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses on the command line and on standard input (spec/tool.md 1.8, 8).

use std::net::{IpAddr, SocketAddr};

use ctdb_wire::types::Connection;

use crate::exit::{Exit, FAILED};
use crate::number::decimal;

/// Longest text of an address without a port.
const MAX_TEXT: usize = 63;

/// `a.b.c.d` or IPv6, which may be in brackets; IPv4-mapped IPv6 becomes IPv4.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok().filter(|_| text.len() <= MAX_TEXT)?;
    Some(ip.to_canonical())
}

/// `IP:PORT`: the port is behind the last colon.
fn parse_endpoint(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once(':')?;
    Some(SocketAddr::new(parse_ip(ip)?, decimal(port)?))
}

fn invalid(text: &str) -> Exit {
    errln!("Invalid IP address {text}");
    FAILED
}

/// An address without a port.
pub(crate) fn ip(text: &str) -> Result<SocketAddr, Exit> {
    parse_ip(text).map(|ip| SocketAddr::new(ip, 0)).ok_or_else(|| invalid(text))
}

/// An address with a port.
pub(crate) fn endpoint(text: &str) -> Result<SocketAddr, Exit> {
    parse_endpoint(text).ok_or_else(|| invalid(text))
}

/// `IP/MASK`
pub(crate) fn with_mask(text: &str) -> Result<(SocketAddr, u32), Exit> {
    let parsed = text
        .rsplit_once('/')
        .and_then(|(ip, mask)| Some((SocketAddr::new(parse_ip(ip)?, 0), decimal(mask)?)));
    parsed.ok_or_else(|| {
        errln!("Invalid IP/Mask {text}");
        FAILED
    })
}

/// A list of connections, one on a line: client, server, and whatever is behind them. Empty lines
/// and comments are skipped; `None` if a line is no connection.
pub(crate) fn connections(text: &str) -> Option<Vec<Connection>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(connection).collect()
}

fn connection(line: &str) -> Option<Connection> {
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let src = parse_endpoint(words.next()?)?;
    let dst = parse_endpoint(words.next()?)?;
    (src.is_ipv4() == dst.is_ipv4()).then_some(Connection { src, dst })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_bracketed_or_mapped() {
        let parsed = |text| parse_ip(text).map(|ip| ip.to_string()).unwrap_or_default();
        assert_eq!(parsed("10.0.0.1"), "10.0.0.1");
        assert_eq!(parsed("[fd00::1]"), "fd00::1");
        assert_eq!(parsed("::ffff:10.0.0.1"), "10.0.0.1");
        for bad in ["", "10.0.0", "10.0.0.1 ", "[fd00::1", "host", "10.0.0.1:4"] {
            assert_eq!(parse_ip(bad), None, "{bad}");
        }
    }

    #[test]
    fn ports_are_behind_the_last_colon() {
        let parsed = |text| parse_endpoint(text).map(|addr| addr.to_string()).unwrap_or_default();
        assert_eq!(parsed("10.0.0.1:445"), "10.0.0.1:445");
        assert_eq!(parsed("fd00::1:445"), "[fd00::1]:445");
        assert_eq!(parsed("[fd00::1]:445"), "[fd00::1]:445");
        for bad in ["10.0.0.1", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:+1", "10.0.0.1:65536", "::1"] {
            assert_eq!(parse_endpoint(bad), None, "{bad}");
        }
    }

    #[test]
    fn masks_are_not_checked_for_their_range() {
        let addr = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        assert_eq!(with_mask("10.0.0.1/24"), Ok((addr("10.0.0.1"), 24)));
        assert_eq!(with_mask("fd00::1/999"), Ok((addr("fd00::1"), 999)));
        for bad in ["10.0.0.1", "10.0.0.1/", "10.0.0.1/x", "foo/24", "10.0.0.1/24 "] {
            assert_eq!(with_mask(bad), Err(FAILED), "{bad}");
        }
    }

    #[test]
    fn lists_have_comments_and_further_words() {
        let list = "# clients\n\n10.0.0.1:5 \t10.0.0.2:445 more\nfd00::1:5 [fd00::2]:445\n";
        let list = connections(list).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[1].dst.to_string(), "[fd00::2]:445");
        assert_eq!(connections(""), Some(vec![]));
        // a blank line is not an empty one, as always
        for bad in ["x", "10.0.0.1:5", "10.0.0.1:5 fd00::1:6", " ", " # no comment"] {
            assert_eq!(connections(bad), None, "{bad}");
        }
    }
}
