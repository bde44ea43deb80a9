//! The pairs of a query, decoded, the long way round.

/// Names and values in the order they were sent.
pub fn pairs(query: Option<&str>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.replace('+', " ").into_bytes();
    let triplet = |at: usize| u8::from_str_radix(std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?, 16).ok();
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let decoded = if *byte == b'%' { triplet(at) } else { None };
        out.push(decoded.unwrap_or(*byte));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    out
}
