/// Words that begin a declaration which other files may use.
const KINDS: [&str; 12] =
    ["fn", "loss", "reward", "optimizer", "schedule", "sampler", "env", "net", "policy", "data", "record", "let"];

/// The name that a line of a file declares for other files, if it begins a declaration. Cheap: the file is not parsed.
pub fn declared(line: &str) -> Option<&str> {
    let (kind, rest) = line.split_once(' ')?;
    KINDS.contains(&kind).then_some(())?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}
