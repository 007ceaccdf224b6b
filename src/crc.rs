//! CRC-32 as in Ethernet, gzip and PNG (ISO 3309): reflected, polynomial 0x04C11DB7.
//!
//! Eight bytes a step, by eight tables: `TABLES[n][b]` is what the byte `b` does to the checksum once `n` more bytes have passed
//! (Kounavis and Berry, "A systematic approach to building high performance, software-based, CRC generators", 2005).

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut passed = 1;
    while passed < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[passed - 1][byte];
            tables[passed][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        passed += 1;
    }
    tables
}

/// The checksum of the parts, as if they were one: O(bytes).
pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    !parts.iter().fold(!0, |crc, part| after(crc, part))
}

fn after(mut crc: u32, mut bytes: &[u8]) -> u32 {
    while let Some((eight, rest)) = bytes.split_first_chunk() {
        // The checksum so far is as good as a change of the next four bytes.
        let mixed = u64::from_le_bytes(*eight) ^ u64::from(crc);
        // The first byte has seven more to pass.
        let each = mixed.to_le_bytes().into_iter().zip(TABLES.iter().rev());
        crc = each.fold(0, |next, (byte, table)| next ^ table[usize::from(byte)]);
        bytes = rest;
    }
    bytes.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLES[0][usize::from(low ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as the definition has it.
    fn slow(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
            }
        }
        !crc
    }

    #[test]
    fn known_checksums() {
        assert_eq!(crc32(&[b""]), 0);
        assert_eq!(crc32(&[b"123456789"]), 0xCBF4_3926);
        assert_eq!(crc32(&[b"The quick brown fox jumps over the lazy dog"]), 0x414F_A339);
        assert_eq!(crc32(&[&[0xFF; 32]]), 0xFF6C_AB0B);
    }

    proptest! {
        #[test]
        fn parts_are_one(bytes in prop::collection::vec(any::<u8>(), 0..100), at in 0..100_usize) {
            let (one, other) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(crc32(&[one, other]), slow(&bytes));
        }
    }
}
