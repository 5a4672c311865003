//! Pickles made here: what older Pythons wrote, and what is refused at once.

use std::time::{Duration, Instant};

use super::super::flatten::flatten;
use super::super::limits::*;
use super::super::machine::Pickle;
use super::super::value::Value;
use crate::base::error::{Error, ErrorKind};

/// A pickle of protocol 2 of these parts.
fn pickle(parts: &[&[u8]]) -> Vec<u8> {
    [&[b"\x80\x02".as_slice()], parts, &[b".".as_slice()]].concat().concat()
}

/// What is wrong with a pickle of these parts, up to its tensors; it must be said soon.
#[track_caller]
fn refused(parts: &[&[u8]]) -> Error {
    let bytes = pickle(parts);
    let start = Instant::now();
    let result = Pickle::read(&bytes, 0).and_then(|pickle| flatten(&pickle).map(|_| ()));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    result.expect_err("a pickle that is refused")
}

#[track_caller]
fn says(parts: &[&[u8]], part: &str) {
    let error = refused(parts);
    assert!(error.message().contains(part), "\"{part}\" is not in: {error}");
}

/// A float tensor of two elements of storage `key`, as PyTorch wrote it in Python 2.
fn tensor(key: &str) -> Vec<u8> {
    let persistent =
        format!("(U\x07storagectorch\nFloatStorage\nU{}{key}U\x03cpu", key.len() as u8 as char);
    let rest = b"\x8a\x01\x02NtQK\x00K\x02\x85K\x01\x85tR";
    [b"ctorch._utils\n_rebuild_tensor\n(", persistent.as_bytes(), rest].concat()
}

fn names(parts: &[&[u8]]) -> Vec<String> {
    let bytes = pickle(parts);
    let pickle = Pickle::read(&bytes, 0).unwrap();
    flatten(&pickle).unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn ordered_dictionaries_of_python_2_are_lists_of_pairs() {
    let (a, b) = (tensor("1"), tensor("2"));
    let parts: [&[u8]; 7] = [
        b"ccollections\nOrderedDict\n](](U\x01a",
        &a,
        b"e](U\x01b",
        &b,
        b"ee\x85R",
        b"}U\x09_metadata}s",
        b"b",
    ];
    assert_eq!(names(&parts), ["a", "b"]);
}

#[test]
fn names_are_keys_and_places_joined_by_dots() {
    let (a, b, c) = (tensor("1"), tensor("2"), tensor("3"));
    let parts: [&[u8]; 7] =
        [b"}(U\x01x](", &a, b"}K\x05", &b, b"seU\x01\xffNK\x07", &c, b"N]K\x01]u"];
    assert_eq!(names(&parts), ["7", "x.0", "x.1.5"]);
    assert_eq!(names(&[&a]), ["tensor"]);
}

#[test]
fn numbers_are_read_as_python_reads_them() {
    for (bytes, expected) in [
        (b"\x8a\x00".as_slice(), Value::Int(0)),
        (b"\x8a\x01\xff", Value::Int(-1)),
        (b"\x8a\x02\x00\x01", Value::Int(256)),
        (b"\x8b\x01\x00\x00\x00\x7f", Value::Int(127)),
        (b"J\xff\xff\xff\xff", Value::Int(-1)),
        (b"M\xff\xff", Value::Int(65535)),
        (b"G\x3f\xf0\x00\x00\x00\x00\x00\x00", Value::Opaque),
    ] {
        assert_eq!(Pickle::read(&pickle(&[bytes]), 0).unwrap().root, expected);
    }
}

#[test]
fn only_listed_names_are_read() {
    for name in [
        "os\nsystem",
        "posix\nsystem",
        "nt\nsystem",
        "subprocess\nPopen",
        "builtins\neval",
        "builtins\nexec",
        "builtins\ngetattr",
        "__builtin__\napply",
        "builtins\n__import__",
        "torch\nload",
        "torch\nnn",
        "torch.hub\nload",
        "torch._utils\n_import_dotted_name",
        "torch.storage\n_load_from_bytes",
        "collections\nnamedtuple",
        "numpy\nload",
        "omegaconf.os\nsystem",
        "pytorch_lightning\nos.system",
        "lightning.x\nY.z",
        "\n",
        "functools\npartial",
        "operator\nattrgetter",
        "pickle\nloads",
    ] {
        let error = refused(&[b"c", name.as_bytes(), b"\n"]);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        let dotted = name.replace('\n', ".");
        assert!(error.message().contains(&format!("{dotted} is not on the list")), "{error}");
    }
    says(&[b"U\x02osU\x06system\x93"], "os.system is not on the list");
    says(&[b"(ios\nsystem\n"], "os.system is not on the list");
    says(&[b"U\x01\x00U\x01\n\x93"], "\\0.\\n is not on the list");
    for name in ["omegaconf.listconfig\nListConfig", "numpy\ndtype", "builtins\nset"] {
        let bytes = pickle(&[b"c", name.as_bytes(), b"\n)R"]);
        assert_eq!(Pickle::read(&bytes, 0).unwrap().root, Value::Opaque, "{name}");
    }
}

#[test]
fn calls_of_anything_else_are_refused() {
    says(&[b"K\x01)R"], "no function");
    says(&[b"ctorch\nFloatStorage\n)R"], "no function");
    says(&[b"])R"], "no function");
    says(&[b"cbuiltins\nset\n)R)R"], "no function");
    says(&[b"cbuiltins\nset\n]R"], "no tuple");
    says(&[b"ctorch._utils\n_rebuild_tensor_v2\n)R"], "not those of a tensor");
    says(&[b"ctorch._utils\n_rebuild_tensor_v2\n)}\x92"], "named arguments");
    says(&[b"ctorch._utils\n_rebuild_parameter\nK\x01\x85R"], "no tensor");
    let nested = b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00h\x00N)\x87R";
    says(&[nested], "unknown way to make a tensor");
    says(&[b"(K\x01o"], "no function");
    says(&[b"(o"], "too few values");
    says(&[b"K\x01}b"], "a state for something that has none");
    says(&[b")K\x01a"], "no list");
    says(&[b"]K\x01K\x02s"], "no dictionary");
    says(&[b"}(K\x01u"], "a key without a value");
    says(&[b"ccollections\nOrderedDict\n]K\x01a\x85R"], "something else than pairs");
    says(&[b"U\x01aQ"], "no tuple");
    says(&[b"(U\x06moduleNNNtQ"], "a whole module");
    says(&[b"(U\x07storagecbuiltins\nint\nU\x01aNK\x01tQ"], "names no storage");
}

#[test]
fn opcodes_that_pytorch_does_not_write_are_named() {
    for (byte, name) in
        [(b'2', "DUP"), (b'I', "INT"), (0x82, "EXT1"), (b'P', "PERSID"), (0xff, "unknown")]
    {
        let error = refused(&[&[byte]]);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains(&format!("opcode {name} ")), "{error}");
    }
}

#[test]
fn every_limit_stops_it() {
    let many = |unit: &[u8], count: usize| unit.repeat(count);
    says(&[b"Nr\xff\xff\xff\xff"], "index 4294967295 of the memo");
    says(&[&many(b"(", 1_000_000)], "nested deeper than 1000");
    says(&[&many(b"N", MOST_STACK + 1)], "values on the stack");
    says(&[&many(b"]0", MOST_CONTAINERS + 1)], "more than 262144 lists");
    let thousand = [b"(".as_slice(), &many(b"N", 1000), b"e"].concat();
    says(&[b"]", &many(&thousand, MOST_ITEMS / 1000 + 1)], "more than 1048576 items");
    says(&[&many(b"N0", MOST_OPCODES)], "opcodes");
    says(&[&many(b"ctorch\nSize\n0", MOST_GLOBALS + 1)], "mentions of globals");
    says(&[b"c", &many(b"a", 1 << 20)], "no line");
    says(&[b"X\xff\xff\xff\xff"], "truncated");
    says(&[b"\x8d", &[0xff; 8]], "truncated");
    says(&[b"\x8b\xff\xff\xff\xff"], "a length of -1");
    says(&[b"\x95", &[0xff; 8]], "a frame of");
    says(&[b"\x80\x06N"], "protocol 6");
    says(&[b"NN"], "more than one value");
    says(&[b"(N."], "more than one value");
    says(&[b"(N0Na"], "too few values");
    says(&[b"h\x07"], "nothing at 7 in the memo");
    says(&[b"]q\x00h\x00a"], "contains itself");
    says(&[&many(b"]", 70), &many(b"a", 69)], "nested deeper than 64");
    let named = |length: u32| {
        [b"}X".as_slice(), &length.to_le_bytes(), &many(b"a", length as usize)].concat()
    };
    says(&[&named(513), &tensor("1"), b"s"], "a name of over 512 bytes");
    let one = [b"}q\x00", &named(500)[1..], &tensor("1"), b"s"].concat();
    says(&[b"](", &one, &many(b"h\x00", 9000), b"e"], "names of over 4194304 bytes");
}

#[test]
fn nesting_without_end_and_laughs_by_the_billion_are_cut_short() {
    // Each list has the one before it ten times.
    let mut bytes = b"]q\x00".to_vec();
    for level in 0..30_u8 {
        bytes.extend([b']', b'q', level + 1, b'(']);
        bytes.extend([b'h', level].repeat(10));
        bytes.push(b'e');
    }
    // The lists below stay on the stack: a tuple takes them all.
    says(&[b"(", &bytes, b"t"], "items to look at");
    // The same, of tensors.
    let mut bytes = [tensor("1"), b"q\x00".to_vec()].concat();
    for level in 0..8_u8 {
        bytes.extend([b'}', b'q', level + 1, b'(']);
        for key in 0..8_u8 {
            bytes.extend([b'U', 10]);
            bytes.extend([key + b'a'; 10]);
            bytes.extend([b'h', level]);
        }
        bytes.push(b'u');
    }
    says(&[b"(", &bytes, b"t"], "more than 32768 tensors");
    let deep = [b"]".repeat(60_000), b"a".repeat(59_999)].concat();
    says(&[&deep], "nested deeper than 64");
}

#[test]
fn every_truncation_is_an_error() {
    let a = tensor("1");
    let bytes = pickle(&[b"}U\x01x", &a, b"s"]);
    assert!(Pickle::read(&bytes, 0).is_ok());
    for end in 0..bytes.len() {
        assert!(Pickle::read(&bytes[..end], 0).is_err(), "cut at {end}");
    }
}
