//! Floor 0: the differences between systems. No file above this folder asks which system it is
//! compiled for.
//!
//! `linux` and `unix` hold the code for those systems, `other` that of the standard library for any
//! system. To add a system, add a file beside them and a few `use` lines here.

#[cfg(feature = "capi")]
pub(crate) mod c;
#[cfg(target_os = "linux")]
mod headroom;
#[cfg(target_os = "linux")]
mod linux;
mod map;
mod memory;
// A Unix takes from it only what Linux does its own way.
#[cfg(not(target_os = "linux"))]
#[cfg_attr(unix, allow(dead_code))]
mod other;
#[cfg(unix)]
mod unix;

pub(crate) use map::{AnonymousMap, FileMap};
pub(crate) use memory::Headroom;

#[cfg(target_os = "linux")]
use linux as pages;
#[cfg(not(target_os = "linux"))]
use other as pages;

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    headroom, name_file, nameless_output, nameless_scratch, physical_cores, reserve,
    resident_memory,
};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{
    headroom, name_file, nameless_output, nameless_scratch, physical_cores, reserve,
    resident_memory,
};

#[cfg(not(unix))]
pub(crate) use other::{
    close, create_beside, kind_name, may_create, may_stay_open, permissions, physical_memory,
    read_at, sync_folder, unnamed_file, write_at,
};
#[cfg(unix)]
pub(crate) use unix::{
    close, create_beside, kind_name, may_create, may_stay_open, permissions, physical_memory,
    read_at, sync_folder, unnamed_file, write_at,
};
