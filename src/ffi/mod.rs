//! Floor 8: the C interface, `include/vaekl.h`.
//!
//! `tests/header.rs` generates the header from this folder, one section per file: [`status`],
//! [`types`], [`model`], [`save`], [`turn`], [`session`], [`plan`], [`decode`], [`stream`] and
//! [`encode`].
//! Every `pub` item is in the header, with documentation for a C reader. The other files pass
//! values between the languages: [`guard`] turns results and panics into statuses, [`args`]
//! pointers into references, [`options`] growing structs into complete ones, [`pixels`] and
//! [`latents`] a caller's views into checked ones. [`turn`] lets one call at a time use a session.

// The linker reaches the functions, which the lint does not see.
#![allow(unreachable_pub, non_camel_case_types)]

mod args;
mod decode;
mod element;
mod encode;
mod guard;
mod latents;
mod model;
mod options;
mod pixels;
mod plan;
mod save;
mod session;
mod status;
mod stream;
mod turn;
mod types;
