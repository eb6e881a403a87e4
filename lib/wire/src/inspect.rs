// SPDX-License-Identifier: GPL-3.0-or-later
//! Field names and values of a decoded layout, for packet dumps and for comparing with golden data.

use std::fmt;
use std::net::SocketAddr;

use crate::codec::Rest;

/// A decoded value without its Rust type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent.
    Null,
    /// A boolean.
    Bool(bool),
    /// An unsigned number.
    Unsigned(u64),
    /// A signed number.
    Signed(i64),
    /// A floating point number.
    Float(f64),
    /// Text; bytes that are not UTF-8 are replaced.
    Text(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// An array.
    List(Vec<Value>),
    /// A structure: field names and values in wire order.
    Record(Vec<(&'static str, Value)>),
}

/// A layout that can describe its fields.
pub trait Inspect {
    /// The fields with their names of spec/wire.md.
    fn inspect(&self) -> Value;
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Unsigned(v) => write!(f, "{v}"),
            Value::Signed(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v}"),
            Value::Text(v) => write!(f, "{v:?}"),
            Value::Bytes(v) => {
                f.write_str("0x")?;
                v.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
            Value::List(v) => {
                f.write_str("[")?;
                for (i, element) in v.iter().enumerate() {
                    write!(f, "{}{element}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Record(v) => {
                f.write_str("{")?;
                for (i, (name, value)) in v.iter().enumerate() {
                    write!(f, "{}{name}: {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

macro_rules! inspect_as {
    ($($ty:ty => $variant:ident),*) => {$(
        impl Inspect for $ty {
            fn inspect(&self) -> Value {
                Value::$variant((*self).into())
            }
        }
    )*};
}

inspect_as!(u8 => Unsigned, u16 => Unsigned, u32 => Unsigned, u64 => Unsigned, i32 => Signed,
    i64 => Signed, f64 => Float, bool => Bool, &[u8] => Bytes);

impl Inspect for () {
    fn inspect(&self) -> Value {
        Value::Null
    }
}

impl Inspect for Rest<'_> {
    fn inspect(&self) -> Value {
        Value::Bytes(self.0.to_vec())
    }
}

impl Inspect for SocketAddr {
    fn inspect(&self) -> Value {
        Value::Record(vec![
            ("ip", Value::Text(self.ip().to_string())),
            ("port", self.port().inspect()),
        ])
    }
}

impl<T: Inspect> Inspect for Option<T> {
    fn inspect(&self) -> Value {
        self.as_ref().map_or(Value::Null, Inspect::inspect)
    }
}

impl<T: Inspect> Inspect for Vec<T> {
    fn inspect(&self) -> Value {
        Value::List(self.iter().map(Inspect::inspect).collect())
    }
}

impl<T: Inspect, const N: usize> Inspect for [T; N] {
    fn inspect(&self) -> Value {
        Value::List(self.iter().map(Inspect::inspect).collect())
    }
}
