//! Certificates in PEM (RFC 7468), with the lines they start in, which libraries don't tell.

use data_encoding::BASE64;

use super::broken::Reason;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// A certificate's DER, or why there is none.
#[derive(Debug)]
pub(super) struct Block {
    /// The line that opens it, from 1.
    pub(super) line: u64,
    pub(super) der: Result<Vec<u8>, Reason>,
}

/// Whether a PEM block starts in `head`.
pub(super) fn starts_in(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_start().starts_with(BEGIN))
}

/// The certificates of a file. Keys, requests and all between blocks are skipped; a block that is never closed ends where the next begins.
pub(super) fn certificates(bytes: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    // Where the open block began and what it holds, if it is a certificate; `None` inside for other blocks.
    let mut open: Option<(u64, Option<Vec<u8>>)> = None;
    let mut number = 0;
    let unclosed = |line| Block { line, der: Err(Reason::Unclosed) };
    for line in bytes.split(|byte| *byte == b'\n') {
        number += 1;
        let line = line.trim_ascii();
        if let Some(label) = line.strip_prefix(BEGIN) {
            if let Some((line, Some(_))) = open {
                blocks.push(unclosed(line));
            }
            let is_certificate = matches!(label, b"CERTIFICATE-----" | b"X509 CERTIFICATE-----");
            open = Some((number, is_certificate.then(Vec::new)));
        } else if line.starts_with(END) {
            if let Some((line, Some(text))) = open.take() {
                blocks.push(Block { line, der: BASE64.decode(&text).map_err(|_position| Reason::Base64) });
            }
        } else if let Some((_, Some(text))) = &mut open {
            text.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
    }
    if let Some((line, Some(_))) = open {
        blocks.push(unclosed(line));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(u64, Result<&[u8], Reason>)]) {
        let found = certificates(text.as_bytes());
        let found: Vec<_> =
            found.iter().map(|block| (block.line, block.der.as_deref().map_err(Clone::clone))).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn blocks_have_lines() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let good = "subject=x\r\n-----BEGIN CERTIFICATE-----\r\n AAEC \r\nAw==\r\n-----END CERTIFICATE-----\r\n";
        check(&format!("{key}{good}{good}"), &[(5, Ok(&[0, 1, 2, 3])), (10, Ok(&[0, 1, 2, 3]))]);
        check(key, &[]);
        check("", &[]);
    }

    #[test]
    fn broken_blocks_are_told_and_the_next_is_read() {
        let bad = "-----BEGIN CERTIFICATE-----\nA*==\n-----END CERTIFICATE-----\n";
        let open = "-----BEGIN CERTIFICATE-----\nAAEC\n";
        let good = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        let (base64, unclosed) = (Err(Reason::Base64), Err(Reason::Unclosed));
        check(
            &format!("{bad}{open}{good}{open}"),
            &[(1, base64), (4, unclosed.clone()), (6, Ok(&[0, 1, 2])), (9, unclosed)],
        );
    }
}
