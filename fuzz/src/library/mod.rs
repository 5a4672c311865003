//! Targets of the library.
//!
//! | file | targets |
//! |---|---|
//! | `checkpoint` | a file of each format, opened, loaded, and decoded where it is small |
//! | `folder` | folders, their index, and the halves of a TAESD |
//! | `config` | `config.json` of every family |
//! | `planner` | a plan against the call that follows it |
//! | `converter` | what is saved against what is opened |
//! | `c_interface` | sequences of calls, with the feature `capi` |
//! | `choices` | an input as a sequence of decisions |
//! | `scratch` | a folder for one input |
//! | `archive` | ZIP archives |
//! | `models` | the fixtures, open |
// A test that compiles these files has them in a private module, and uses a part.
#![allow(dead_code, unreachable_pub)]

pub mod archive;
#[cfg(feature = "capi")]
pub mod c_interface;
pub mod checkpoint;
pub mod choices;
pub mod config;
pub mod converter;
pub mod folder;
pub mod models;
pub mod planner;
pub mod scratch;

/// A target: its name, and what it does with an input. It panics at a finding.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of the library.
pub const TARGETS: &[Target] = &[
    ("safetensors", checkpoint::safetensors),
    ("fp8", checkpoint::fp8),
    ("zip", checkpoint::zip),
    ("pickle", checkpoint::pickle),
    ("gguf", checkpoint::gguf),
    ("msgpack", checkpoint::msgpack),
    ("flax", checkpoint::flax),
    ("index", folder::index),
    ("folder", folder::folder),
    ("taesd", folder::taesd),
    ("config", config::config),
    ("planner", planner::planner),
    ("converter", converter::converter),
    #[cfg(feature = "capi")]
    ("c_interface", c_interface::c_interface),
    #[cfg(feature = "bench")]
    ("kernels", vaekl::bench::compare),
];
