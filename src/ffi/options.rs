//! Structs that grow at their end.
//!
//! Such a struct begins with its size in the caller's header. A caller with an older header passes
//! fewer bytes than this library knows: missing fields take their defaults. One with a newer header
//! passes more: the unknown bytes must be zero, which means "the default" in every field.

use std::ptr;

use super::args;
use crate::base::error::{Error, Result};

/// An upper bound for every version of every struct: a larger size is garbage.
const MOST: usize = 4096;

/// A struct that grows at its end.
///
/// # Safety
/// The type is `repr(C)`, begins with a `usize` that holds its size, and has integers, floats, raw
/// pointers and optional function pointers only, so that bytes of a caller make a value.
pub(super) unsafe trait Growing: Copy {
    /// Name of the struct, for messages.
    const NAME: &'static str;
    /// Size of the first version, the least a caller can pass.
    const FIRST: usize;
    /// The value that the _init function fills in.
    fn defaults() -> Self;
}

/// Size of a struct whose last field ends at `end`. These structs are aligned to a `u64`.
pub(super) const fn end_of(end: usize) -> usize {
    end.next_multiple_of(align_of::<u64>())
}

/// Checks a size that a caller gave.
fn check<T: Growing>(size: usize) -> Result<usize> {
    let name = T::NAME;
    // A size between two fields would give half a pointer.
    if size < T::FIRST || size > MOST || !size.is_multiple_of(align_of::<T>()) {
        return Err(Error::invalid(format!(
            "{name}.struct_size: sizeof({name}) expected, which is {} here, {size} found",
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// Fills the caller's struct of `size` bytes with defaults; bytes unknown to this library become
/// zero.
///
/// # Safety
/// `out` is NULL or valid for writes of `size` bytes.
pub(super) unsafe fn init<T: Growing>(out: *mut T, size: usize) -> Result<()> {
    args::pointer(out, "options")?;
    let known = check::<T>(size)?.min(size_of::<T>());
    let defaults = T::defaults();
    // SAFETY: `out` is good for `size` bytes, of which `known` are within `defaults` too; `size` is
    // checked to hold the leading usize.
    unsafe {
        out.cast::<u8>().write_bytes(0, size);
        ptr::copy_nonoverlapping((&raw const defaults).cast::<u8>(), out.cast(), known);
        out.cast::<usize>().write(size);
    }
    Ok(())
}

/// The caller's options: its bytes copied over the defaults. NULL means the defaults.
///
/// # Safety
/// `given` is NULL or valid for reads of as many bytes as the `usize` at its begin says.
pub(super) unsafe fn read<T: Growing>(given: *const T) -> Result<T> {
    let mut options = T::defaults();
    if given.is_null() {
        return Ok(options);
    }
    args::pointer(given, T::NAME)?;
    // SAFETY: not NULL, aligned, and begins with its size.
    let size = check::<T>(unsafe { given.cast::<usize>().read() })?;
    let known = size.min(size_of::<T>());
    // SAFETY: `given` is good for `size` bytes by contract; `Growing` lets bytes make a value.
    let tail = unsafe {
        ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut options).cast(), known);
        std::slice::from_raw_parts(given.cast::<u8>().add(known), size - known)
    };
    if tail.iter().any(|&byte| byte != 0) {
        let name = T::NAME;
        return Err(Error::invalid(format!(
            "{name}: a field is set that this library does not know"
        )));
    }
    Ok(options)
}

/// Bytes of `T` that fit the caller's struct `out`, which begins with its size.
///
/// # Safety
/// `out` is NULL or points to a struct that begins with its size.
pub(super) unsafe fn room<T: Growing>(out: *const T) -> Result<usize> {
    args::pointer(out, "out")?;
    // SAFETY: not NULL, aligned, and begins with its size.
    check::<T>(unsafe { out.cast::<usize>().read() }).map(|size| size.min(size_of::<T>()))
}

/// Writes the first `room` bytes of `value`, and `room` as its size.
///
/// # Safety
/// `out` is valid for writes of `room` bytes, which came from [`room`].
pub(super) unsafe fn write<T: Growing>(out: *mut T, room: usize, value: &T) {
    // SAFETY: by the caller's contract; `room` is at most the size of `T` and at least a usize.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), out.cast(), room);
        out.cast::<usize>().write(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 2 of a struct; version 1 ended before `c`.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Two {
        struct_size: usize,
        a: u32,
        b: u32,
        c: u64,
    }

    // SAFETY: integers, the first of which is the size.
    unsafe impl Growing for Two {
        const NAME: &'static str = "two";
        const FIRST: usize = 16;
        fn defaults() -> Self {
            Self { struct_size: 24, a: 1, b: 2, c: 3 }
        }
    }

    /// A caller's memory: six words, aligned as the struct.
    fn given(size: usize) -> [u64; 6] {
        let mut words = [u64::MAX; 6];
        // SAFETY: 48 bytes are ours; `init` refuses more than it is given here.
        unsafe { init(words.as_mut_ptr().cast::<Two>(), size) }.unwrap();
        words
    }

    fn read_words(words: &[u64; 6]) -> Result<Two> {
        // SAFETY: 48 bytes are ours, and no test gives a larger size that passes the check.
        unsafe { read(words.as_ptr().cast::<Two>()) }
    }

    #[test]
    fn init_fills_what_the_caller_has_and_no_more() {
        let old = given(16);
        assert_eq!(old[2..], [u64::MAX; 4], "written past the caller's struct");
        assert_eq!(read_words(&old).unwrap(), Two { struct_size: 16, a: 1, b: 2, c: 3 });
        let new = given(40);
        assert_eq!(new[3..], [0, 0, u64::MAX]);
        assert_eq!(read_words(&new).unwrap(), Two { struct_size: 40, a: 1, b: 2, c: 3 });
    }

    #[test]
    fn an_old_caller_keeps_its_values() {
        let mut old = given(16);
        old[1] = 7;
        assert_eq!(read_words(&old).unwrap(), Two { struct_size: 16, a: 7, b: 0, c: 3 });
    }

    #[test]
    fn an_unknown_field_that_is_set_is_refused() {
        let mut new = given(40);
        new[4] = 1 << 63;
        assert!(read_words(&new).unwrap_err().message().contains("does not know"));
    }

    #[test]
    fn a_size_of_no_version_is_refused() {
        for size in [0, 8, 15, 17, 20, 23, 4104, usize::MAX] {
            let mut words = [0_u64; 6];
            words[0] = size as u64;
            let message = read_words(&words).unwrap_err().message().to_owned();
            assert!(message.contains("sizeof(two) expected, which is 24 here"), "{message}");
            // SAFETY: refused before anything is written.
            assert!(unsafe { init(words.as_mut_ptr().cast::<Two>(), size) }.is_err(), "{size}");
        }
    }

    #[test]
    fn null_is_the_defaults() {
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read::<Two>(ptr::null()) }.unwrap(), Two::defaults());
    }

    #[test]
    fn a_small_output_gets_its_part() {
        let mut words = [9_u64; 6];
        words[0] = 16;
        let out = words.as_mut_ptr().cast::<Two>();
        // SAFETY: 48 bytes are ours, 16 are claimed.
        unsafe {
            let room = room(out).unwrap();
            write(out, room, &Two { struct_size: 24, a: 5, b: 0, c: 8 });
        }
        assert_eq!(words, [16, 5, 9, 9, 9, 9]);
    }
}
