//! "Did you mean": the nearest name to one that does not exist.

/// Returns the candidate that a person most likely meant, if one is near enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .filter(|c| *c != name)
        .map(|c| (strsim::damerau_levenshtein(&wanted, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= (name.chars().count().max(c.chars().count()) / 3).max(1))
        // A name that keeps not a single letter is another name.
        .filter(|(distance, _)| *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// Returns a hint such as `Did you mean "server-0"?`, or the list of what there is when nothing is near.
/// Returns none when there is nothing to choose from.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const SHOWN: usize = 12;
    let all: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(name, all.iter().copied()) {
        return Some(format!("Did you mean \"{near}\"?"));
    }
    if all.is_empty() {
        return None;
    }
    let more = all.len().saturating_sub(SHOWN);
    let list = all.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    Some(if more > 0 { format!("There is: {list} and {more} more.") } else { format!("There is: {list}.") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_and_lists_the_rest() {
        assert_eq!(nearest("sevrer-0", ["server-0", "client-0"]), Some("server-0"));
        assert_eq!(nearest("timeuot", ["timeout", "sudo"]), Some("timeout"));
        assert_eq!(nearest("bananas", ["timeout", "sudo"]), None);
        assert_eq!(did_you_mean("x", ["alpha", "beta"]).unwrap(), "There is: alpha, beta.");
        assert_eq!(did_you_mean("x", []), None);
    }
}
