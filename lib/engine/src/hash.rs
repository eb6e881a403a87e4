// SPDX-License-Identifier: GPL-3.0-or-later
//! The hash that places records: Bob Jenkins' lookup3 (`spec/tdb.md 4.2`), as TDB files with
//! TDB_INCOMPATIBLE_HASH use it. It decides the lmaster of a key and the id of a database.

/// One third of lookup3's mixing step: `x -= y; x ^= rot(y, r); y += z`.
fn turn(x: &mut u32, y: &mut u32, z: u32, r: u32) {
    *x = x.wrapping_sub(*y) ^ y.rotate_left(r);
    *y = y.wrapping_add(z);
}

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    turn(a, c, *b, 4);
    turn(b, a, *c, 6);
    turn(c, b, *a, 8);
    turn(a, c, *b, 16);
    turn(b, a, *c, 19);
    turn(c, b, *a, 4);
}

fn finish(a: u32, b: u32, c: u32) -> u32 {
    let (mut a, mut b, mut c) = (a, b, c);
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The Jenkins hash of `key`.
pub fn jenkins(key: &[u8]) -> u32 {
    let start = 0xDEAD_BEEF_u32.wrapping_add(key.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let word = |k: &[u8], at: usize| {
        let mut w = [0u8; 4];
        for (to, from) in w.iter_mut().zip(k.iter().skip(at)) {
            *to = *from;
        }
        u32::from_le_bytes(w)
    };
    let mut rest = key;
    while rest.len() > 12 {
        a = a.wrapping_add(word(rest, 0));
        b = b.wrapping_add(word(rest, 4));
        c = c.wrapping_add(word(rest, 8));
        mix(&mut a, &mut b, &mut c);
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    finish(
        a.wrapping_add(word(rest, 0)),
        b.wrapping_add(word(rest, 4)),
        c.wrapping_add(word(rest, 8)),
    )
}

/// The id of the database called `name`: the hash of the name and a terminating NUL
/// (`spec/database.md 2.4`).
pub fn database_id(name: &str) -> u32 {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    jenkins(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(jenkins(b""), 0xDEAD_BEEF);
        assert_eq!(jenkins(b"TDB file\n\0"), 0xD7B6_94E5);
        assert_eq!(database_id("g_lock.tdb"), 0x4d2a_432b);
        assert_eq!(database_id("locking.tdb"), 0x7A19_D84D);
        assert_eq!(database_id("secrets.tdb"), 0x7132_C184);
    }
}
