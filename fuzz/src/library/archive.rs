//! ZIP archives: one of stored files, and one whose checksums are made right again, so that a
//! reader which looks at them reads on.

/// An archive of stored files.
pub fn of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, contents) in files {
        let at = archive.len() as u32;
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // version, flags, stored, time, date
        common.extend(checksum(contents).to_le_bytes());
        common.extend([(contents.len() as u32).to_le_bytes(); 2].concat());
        common.extend([(name.len() as u16).to_le_bytes(), [0; 2]].concat());
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(*contents);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]); // comment, disk, attributes
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, count) = (archive.len() as u32, files.len() as u16);
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\x00\x00\x00\x00");
    archive.extend([count.to_le_bytes(); 2].concat());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(at.to_le_bytes());
    archive.extend([0; 2]);
    archive
}

/// The archive with the checksum of every stored file that its directory finds.
pub fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut archive = bytes.to_vec();
    let mut from = 0;
    while let Some(found) = bytes[from..].windows(4).position(|it| it == b"PK\x01\x02") {
        let entry = from + found;
        from = entry + 4;
        let _ = repair(&mut archive, entry);
    }
    archive
}

/// Makes the checksum right of the file whose entry in the directory is at `entry`.
fn repair(archive: &mut [u8], entry: usize) -> Option<()> {
    let stored = half(archive, entry + 10)? == 0;
    let len = word(archive, entry + 20)? as usize;
    let local = word(archive, entry + 42)? as usize;
    if !stored || archive.get(local..local.checked_add(4)?)? != b"PK\x03\x04" {
        return None;
    }
    let names = half(archive, local + 26)? + half(archive, local + 28)?;
    let contents = archive.get(local + 30 + names..)?.get(..len)?;
    let sum = checksum(contents).to_le_bytes();
    archive.get_mut(entry + 16..entry + 20)?.copy_from_slice(&sum);
    archive.get_mut(local + 14..local + 18)?.copy_from_slice(&sum);
    Some(())
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let (half, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(usize::from(u16::from_le_bytes(*half)))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let (word, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

/// CRC-32, a bit at a time.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}
