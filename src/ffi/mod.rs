//! Floor 8: the C interface, `include/vaekl.h`.
//!
//! `tests/header.rs` generates the header from this folder, one section per file: [`status`],
//! [`types`], [`model`], [`turn`], [`session`], [`plan`], [`decode`], [`stream`] and [`encode`].
//! What is `pub` there is in the header, and its documentation is written for a reader of C. The
//! other files are the passage between the two languages: [`guard`] turns results and panics into
//! statuses, [`args`] pointers into references, [`options`] growing structs into whole ones,
//! [`pixels`] and [`latents`] views of a caller's memory into checked ones. [`turn`] gives a
//! session to one call at a time.

// The functions are reached through the linker, which the lint does not see.
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
mod session;
mod status;
mod stream;
mod turn;
mod types;
