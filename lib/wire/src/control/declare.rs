// SPDX-License-Identifier: GPL-3.0-or-later
//! The macro behind the table of controls.
//!
//! ```text
//! number Variant NAME request -> reply;
//!
//! request: none        must be empty
//!          any         ignored, sent empty
//!          exact(T)    a T and nothing else
//!          prefix(T)   a T; bytes behind it are ignored
//! reply:   none        empty
//!          some(T)     a T; bytes behind it are ignored
//! ```

macro_rules! controls {
    ($($number:literal $variant:ident $name:ident
        $kind:ident $(($request:ty))? -> $reply_kind:ident $(($reply:ty))?;)*) => {
        /// The live controls.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Opcode {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                $variant = $number,
            )*
        }

        impl Opcode {
            /// All live controls in ascending order.
            pub const ALL: &'static [Opcode] = &[$(Opcode::$variant),*];

            /// The live control with this number.
            pub const fn from_u32(number: u32) -> Option<Opcode> {
                match number {
                    $($number => Some(Opcode::$variant),)*
                    _ => None,
                }
            }

            /// The name, as in logs of the C daemon.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Opcode::$variant => stringify!($name),)*
                }
            }
        }

        /// The request of any control.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ControlRequest<'a> {
            $(
                #[doc = concat!("Request of control ", $number, ", `", stringify!($name), "`")]
                $variant $(($request))?,
            )*
        }

        impl<'a> ControlRequest<'a> {
            /// Which control this is.
            pub fn opcode(&self) -> Opcode {
                match self {
                    $(Self::$variant { .. } => Opcode::$variant,)*
                }
            }

            /// Decodes the payload of a request. Sizes are checked as strictly as the C daemon
            /// checks them: an error means that the control fails without being executed.
            pub fn decode(opcode: Opcode, payload: &'a [u8]) -> Result<Self, Error> {
                let mut r = Reader::new(payload);
                let request = match opcode {
                    $(Opcode::$variant => {
                        let request = Self::$variant
                            $((<$request as Decode<'a>>::decode(&mut r)
                                .map_err(|e| e.named(stringify!($name)))?))?;
                        controls!(@end $kind r).map_err(|e| e.named(stringify!($name)))?;
                        request
                    })*
                };
                Ok(request)
            }
        }

        impl<'a> Encode for ControlRequest<'a> {
            fn size(&self) -> usize {
                match self {
                    $(Self::$variant $((controls!(@bind value $request)))? => {
                        0 $(+ <$request as Encode>::size(value))?
                    })*
                }
            }
            fn encode<O: Output>(&self, out: &mut O) {
                let _ = &out;
                match self {
                    $(Self::$variant $((controls!(@bind value $request)))? => {
                        $(<$request as Encode>::encode(value, out))?
                    })*
                }
            }
        }

        impl<'a> Inspect for ControlRequest<'a> {
            fn inspect(&self) -> Value {
                match self {
                    $(Self::$variant $((controls!(@bind value $request)))? => {
                        controls!(@inspect $(value $request)?)
                    })*
                }
            }
        }

        /// The payload of a successful reply to any control.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant)] // lives on the stack between socket and handler
        pub enum ControlReply<'a> {
            $(
                #[doc = concat!("Reply of control ", $number, ", `", stringify!($name), "`")]
                $variant $(($reply))?,
            )*
        }

        impl<'a> ControlReply<'a> {
            /// Which control this answers.
            pub fn opcode(&self) -> Opcode {
                match self {
                    $(Self::$variant { .. } => Opcode::$variant,)*
                }
            }

            /// Decodes the payload of a reply whose status says success. Other replies have no
            /// payload.
            pub fn decode(opcode: Opcode, payload: &'a [u8]) -> Result<Self, Error> {
                let mut r = Reader::new(payload);
                let _ = &mut r;
                let reply = match opcode {
                    $(Opcode::$variant => Self::$variant
                        $((<$reply as Decode<'a>>::decode(&mut r)
                            .map_err(|e| e.named(stringify!($name)))?))?,)*
                };
                Ok(reply)
            }
        }

        impl<'a> Encode for ControlReply<'a> {
            fn size(&self) -> usize {
                match self {
                    $(Self::$variant $((controls!(@bind value $reply)))? => {
                        0 $(+ <$reply as Encode>::size(value))?
                    })*
                }
            }
            fn encode<O: Output>(&self, out: &mut O) {
                let _ = &out;
                match self {
                    $(Self::$variant $((controls!(@bind value $reply)))? => {
                        $(<$reply as Encode>::encode(value, out))?
                    })*
                }
            }
        }

        impl<'a> Inspect for ControlReply<'a> {
            fn inspect(&self) -> Value {
                match self {
                    $(Self::$variant $((controls!(@bind value $reply)))? => {
                        controls!(@inspect $(value $reply)?)
                    })*
                }
            }
        }

        /// One type for each control, named like its [`Opcode`].
        pub mod call {
            $(
                #[doc = concat!("Control ", $number, ", `", stringify!($name), "`")]
                #[derive(Debug, Clone, Copy)]
                pub struct $variant;
            )*
        }

        $(
            impl super::Control for call::$variant {
                const OPCODE: Opcode = Opcode::$variant;
                type Request<'a> = controls!(@or_unit $($request)?);
                type Reply<'a> = controls!(@or_unit $($reply)?);
            }
        )*

        #[cfg(test)]
        pub(crate) mod sample {
            use super::*;
            use crate::sample::{Entropy, Sample};

            pub(crate) fn request<'a>(opcode: Opcode, u: &mut Entropy<'a>) -> ControlRequest<'a> {
                let _ = &u;
                match opcode {
                    $(Opcode::$variant => ControlRequest::$variant
                        $((<$request as Sample<'a>>::sample(u)))?,)*
                }
            }

            pub(crate) fn reply<'a>(opcode: Opcode, u: &mut Entropy<'a>) -> ControlReply<'a> {
                let _ = &u;
                match opcode {
                    $(Opcode::$variant => ControlReply::$variant
                        $((<$reply as Sample<'a>>::sample(u)))?,)*
                }
            }
        }
    };
    (@bind $value:ident $ty:ty) => { $value };
    (@inspect $value:ident $ty:ty) => { <$ty as Inspect>::inspect($value) };
    (@inspect) => { Value::Null };
    (@or_unit $ty:ty) => { $ty };
    (@or_unit) => { () };
    (@end none $r:ident) => { $r.finish() };
    (@end exact $r:ident) => { $r.finish() };
    (@end any $r:ident) => {{ $r.take_rest(); Ok::<(), Error>(()) }};
    (@end prefix $r:ident) => {{ $r.take_rest(); Ok::<(), Error>(()) }};
}
