//! Small files that ask for much memory: each is read, or refused, in a process that could not have
//! what it asks for.
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::Cursor;
use std::process::Command;

use common::{Folder, npy};
use image::{ImageFormat, RgbImage};

/// The address space of a process, of which a model and a small picture take some 100 MiB.
const MOST_KIB: usize = 300 << 10;

/// Runs the command in little memory: its exit code, and its only line on stderr if any.
fn run(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    let limited = format!("ulimit -v {MOST_KIB}; exec \"$0\" \"$@\"");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_vaekl")]).args(arguments);
    // Each thread has address space of its own, and that of its allocator.
    command.args(["--threads", "1", "-q"]).env("MALLOC_ARENA_MAX", "1");
    let output = command.current_dir(folder.path("")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.lines().count() <= 1, "{stderr}");
    (output.status.code(), stderr)
}

/// Bits, the first one lowest.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn push(&mut self, bits: &str) {
        for bit in bits.bytes() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= (bit - b'0') << (self.count % 8);
            self.count += 1;
        }
    }
}

/// Zlib data of 1 + 258 `times` zeros: a literal, and matches of the greatest length by the fixed
/// table, 13 bits each.
fn zeros(times: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push("110");
    bits.push("00110000");
    (0..times).for_each(|_| bits.push("1100010100000"));
    bits.push("0000000");
    let length = 1 + 258 * times;
    let sum = (length as u32 % 65521) << 16 | 1;
    [&[0x78, 0x01][..], &bits.bytes, &sum.to_be_bytes()].concat()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = !0_u32;
    for &byte in name.iter().chain(data) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    [&(data.len() as u32).to_be_bytes()[..], name, data, &(!crc).to_be_bytes()].concat()
}

fn picture(format: ImageFormat) -> Vec<u8> {
    let pixel = |x, y| image::Rgb([x, y, x * y].map(|value: u32| value as u8));
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(64, 48, pixel).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// `png` with chunks before its pixels.
fn with_chunks(png: &[u8], chunks: &[u8]) -> Vec<u8> {
    // The signature, and the header: 13 bytes and 12 around them.
    let (header, rest) = png.split_at(8 + 25);
    [header, chunks, rest].concat()
}

#[test]
fn what_a_png_says_besides_is_passed_over() {
    let folder = Folder::new();
    let png = picture(ImageFormat::Png);
    folder.write("plain.png", &png);
    assert_eq!(run(&folder, &["encode", "plain.png", "-o", "plain.npy"]), (Some(0), String::new()));
    // 516 MB.
    let much = zeros(2_000_000);
    for (name, head) in [(b"iCCP", &b"a\0\0"[..]), (b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\x01\0\0\0")]
    {
        let bomb = chunk(name, &[head, &much].concat());
        for times in [1, 3] {
            folder.write("bomb.png", &with_chunks(&png, &bomb.repeat(times)));
            let said = run(&folder, &["encode", "bomb.png", "-o", "bomb.npy"]);
            assert_eq!(said, (Some(0), String::new()), "{}", name.escape_ascii());
            assert!(folder.read("bomb.npy") == folder.read("plain.npy"));
        }
    }
    // The orientation is wanted, but not at any length.
    let exif = chunk(b"eXIf", &vec![0; 64 << 20]);
    folder.write("exif.png", &with_chunks(&png, &exif));
    let (code, line) = run(&folder, &["encode", "exif.png", "-o", "exif.npy"]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("exif.png: cannot read the picture: limits are exceeded"), "{line}");
}

#[test]
fn rows_have_a_limit() {
    let folder = Folder::new();
    let mut header = [(1_u32 << 28).to_be_bytes(), 1_u32.to_be_bytes()].concat();
    header.extend([16, 6, 0, 0, 0]);
    let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", &zeros(10)), chunk(b"IEND", &[])];
    folder.write("row.png", &[b"\x89PNG\r\n\x1a\n", &chunks.concat()[..]].concat());
    let (code, line) = run(&folder, &["encode", "row.png", "-o", "row.npy"]);
    assert_eq!(code, Some(1), "{line}");
    let said = "row.png: picture of 268435456x1, expected sides of at most 1048576";
    assert!(line.contains(said), "{line}");
}

/// A chunk of a webp, padded.
fn riff(name: &[u8; 4], length: u32, data: &[u8]) -> Vec<u8> {
    let padding = &[0][..data.len() % 2];
    [name, &length.to_le_bytes()[..], data, padding].concat()
}

fn webp(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WEBP", &chunks.concat()[..]].concat();
    riff(b"RIFF", body.len() as u32, &body)
}

#[test]
fn chunks_of_a_webp_are_no_longer_than_the_file() {
    let folder = Folder::new();
    let plain = picture(ImageFormat::WebP);
    folder.write("plain.webp", &plain);
    assert_eq!(run(&folder, &["encode", "plain.webp", "-o", "a.npy"]), (Some(0), String::new()));
    let pixels = plain[12..].to_vec();
    let extended = |flags: u8, width: u8, height: u8| {
        riff(b"VP8X", 10, &[flags, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0])
    };
    let exif = riff(b"EXIF", 1 << 20, &[0; 1 << 20]);
    folder.write("exif.webp", &webp(&[extended(8, 64, 48), pixels.clone(), exif]));
    assert_eq!(run(&folder, &["encode", "exif.webp", "-o", "b.npy"]), (Some(0), String::new()));
    assert!(folder.read("a.npy") == folder.read("b.npy"));
    // A lossy picture of 16383 x 16383 in a canvas of 64 x 48.
    let lossy = [&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f][..], &[0; 50]].concat();
    let huge = [&[0x2f][..], &0x0fff_ffff_u32.to_le_bytes(), &[0; 50]].concat();
    let frame = |pixels: &[u8]| {
        let data = [&[0, 0, 0, 0, 0, 0, 63, 0, 0, 47, 0, 0, 0, 0, 0, 0][..], pixels].concat();
        riff(b"ANMF", data.len() as u32, &data)
    };
    let (lossy, huge) = (riff(b"VP8 ", 60, &lossy), riff(b"VP8L", 55, &huge));
    let animation = riff(b"ANIM", 6, &[0; 6]);
    for (chunks, part) in [
        (
            vec![extended(8, 64, 48), pixels.clone(), riff(b"EXIF", u32::MAX - 8, &[0; 9])],
            "chunk EXIF of 4294967287 bytes reaches beyond the end",
        ),
        (
            vec![riff(b"VP8 ", u32::MAX, &lossy[8..])],
            "chunk VP8  of 4294967295 bytes reaches beyond the end",
        ),
        (vec![extended(0, 64, 48), lossy.clone()], "pictures of different sizes in it"),
        (vec![extended(0, 64, 48), huge.clone()], "pictures of different sizes in it"),
        (
            vec![extended(2, 64, 48), animation.clone(), frame(&lossy)],
            "pictures of different sizes in it",
        ),
        (vec![extended(2, 64, 48), animation, frame(&huge)], "pictures of different sizes in it"),
        (vec![riff(b"JUNK", 4, &[0; 4])], "no picture in it"),
    ] {
        folder.write("bomb.webp", &webp(&chunks));
        let (code, line) = run(&folder, &["encode", "bomb.webp", "-o", "bomb.npy"]);
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains("bomb.webp: cannot read the picture: "), "{line}");
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn segments_of_a_jpeg_are_passed_over() {
    let folder = Folder::new();
    let plain = picture(ImageFormat::Jpeg);
    folder.write("plain.jpg", &plain);
    assert_eq!(run(&folder, &["encode", "plain.jpg", "-o", "a.npy"]), (Some(0), String::new()));
    // 4096 segments of 64 KiB each: profiles, notes, previews.
    let segment = |marker: u8| {
        let mut segment = vec![0xff, marker, 0xff, 0xff];
        segment.resize(2 + 0xffff, 0);
        segment[4..16].copy_from_slice(b"ICC_PROFILE\0");
        segment
    };
    let segments: Vec<u8> = (0..4095).flat_map(|at| segment([0xe2, 0xe1, 0xfe][at % 3])).collect();
    let with = |segments: &[u8]| [&plain[..2], segments, &plain[2..]].concat();
    folder.write("large.jpg", &with(&segments));
    assert_eq!(run(&folder, &["encode", "large.jpg", "-o", "b.npy"]), (Some(0), String::new()));
    assert!(folder.read("a.npy") == folder.read("b.npy"));
    folder.write("more.jpg", &with(&[&segments[..], &segment(0xe2).repeat(2)].concat()));
    let (code, line) = run(&folder, &["encode", "more.jpg", "-o", "c.npy"]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("over 4096 segments beside the picture"), "{line}");
    // Coded pixels without end, which are zeros, in a sparse file.
    let end = plain.len() - 2;
    folder.write("scan.jpg", &plain[..end]);
    let file = File::options().append(true).open(folder.path("scan.jpg")).unwrap();
    file.set_len(400 << 20).unwrap();
    std::io::Write::write_all(&mut &file, b"\xff\xd9").unwrap();
    let (code, line) = run(&folder, &["encode", "scan.jpg", "-o", "c.npy"]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("bytes of coded pixels, at most 1097728 expected for 64x48"), "{line}");
}

/// A file of so many bytes, of which only the first are there.
fn sparse(folder: &Folder, name: &str, bytes: &[u8], length: u64) {
    folder.write(name, bytes);
    File::options().write(true).open(folder.path(name)).unwrap().set_len(length).unwrap();
}

#[test]
fn arrays_are_refused_by_their_headers() {
    let folder = Folder::new();
    let array = |name: &str, shape: &[usize]| {
        let header = npy(shape, []);
        let length = header.len() + 4 * shape.iter().product::<usize>();
        sparse(&folder, name, &header, length as u64);
    };
    array("five.npy", &[1, 5, 8192, 8192]);
    array("axes.npy", &[1, 1, 2, 8192, 8192]);
    array("picture.npy", &[1, 5, 8192, 8192]);
    for (arguments, part) in [
        (&["decode", "five.npy", "-o", "out.npy"][..], "latents of 5 channels, expected 16"),
        (&["decode", "axes.npy", "-o", "out.npy"], "of 2 frames, one expected"),
        (&["encode", "picture.npy", "-o", "out.npy"], "3 channels expected (in_channels), 5 found"),
    ] {
        let (code, line) = run(&folder, arguments);
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains(arguments[1]) && line.contains(part), "{part}: {line}");
    }
    // What does fit is read, or is said not to fit in memory, before it is read.
    array("large.npy", &[1, 16, 4096, 4096]);
    let (code, line) = run(&folder, &["decode", "large.npy", "-o", "out.npy"]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("large.npy: ") && line.contains("MiB can be had"), "{line}");
}

/// An archive that says that it has many entries, where its file is large enough for them.
#[test]
fn the_directory_of_an_archive_has_a_limit() {
    let folder = Folder::new();
    let end = |count: u16, size: u32, offset: u32| {
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend([count, count].map(u16::to_le_bytes).concat());
        end.extend([size, offset].map(u32::to_le_bytes).concat());
        end.extend([0, 0]);
        end
    };
    let long = |count: u64, size: u64, offset: u64, at: u64| {
        let mut long = b"PK\x06\x06".to_vec();
        long.extend(44_u64.to_le_bytes());
        long.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        long.extend([count, count, size, offset].map(u64::to_le_bytes).concat());
        long.extend(b"PK\x06\x07\0\0\0\0");
        long.extend(at.to_le_bytes());
        long.extend(1_u32.to_le_bytes());
        long.extend(end(u16::MAX, u32::MAX, u32::MAX));
        long
    };
    let at = 64_u64 << 30;
    let write = |name: &str, tail: &[u8]| {
        sparse(&folder, name, b"PK\x03\x04", at);
        let mut file = File::options().append(true).open(folder.path(name)).unwrap();
        std::io::Write::write_all(&mut file, tail).unwrap();
    };
    let many = long(1 << 30, 46 << 30, at - (46 << 30), at);
    for (tail, part) in [
        (many.clone(), "1073741824 arrays, at most 1000 expected"),
        (long(900, 46 << 30, at - (46 << 30), at), "at most 1048576 expected"),
        // Of two ends the last counts, and no directory has another in it.
        ([&many[..], &end(0, 0, 0)].concat(), "0 tensors, expected one"),
        ([&many[..], &end(9, many.len() as u32, 0)].concat(), "a zip archive with two ends"),
        (end(1001, 1 << 20, 0), "1001 arrays, at most 1000 expected"),
    ] {
        write("many.npz", &tail);
        let (code, line) = run(&folder, &["decode", "many.npz", "-o", "out.npy"]);
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains("many.npz: ") && line.contains(part), "{part}: {line}");
    }
}
