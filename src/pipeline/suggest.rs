//! suggest: did you mean; and lists in words.

/// Words longer than this are no slips of the pen, and comparing them would cost time.
const LONGEST: usize = 64;
/// How many words a sentence lists.
const MOST: usize = 24;

/// The candidate nearest to `word`, where one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    let near = |candidate: &str| {
        let other = candidate.to_lowercase().replace('-', "_");
        let edits = strsim::damerau_levenshtein(&folded, &other);
        let length = folded.chars().count().max(other.chars().count());
        let begins = other.len() > 2 && folded.len() > 2 && (other.starts_with(&folded) || folded.starts_with(&other));
        (edits <= length.div_ceil(3) && edits < length || begins).then_some(edits)
    };
    let near = candidates.into_iter().filter_map(|candidate| Some((near(candidate)?, candidate)));
    near.min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", where there is one.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// `a`, `b` and `c`; of very many the first ones.
pub(super) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    if words.len() > MOST {
        let more = words.len() - MOST;
        words.truncate(MOST);
        words.push(format!("{more} more"));
    }
    match words.pop() {
        None => "nothing".to_owned(),
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} and {last}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["iterations", "k", "eigen_power", "weights"];
        assert_eq!(nearest("iteration", known), Some("iterations"));
        assert_eq!(nearest("kk", known), Some("k"));
        assert_eq!(nearest("eigen-power", known), Some("eigen_power"));
        assert_eq!(nearest("wieghts", known), Some("weights"));
        assert_eq!(nearest("whit", ["stage", "from", "with"]), Some("with"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("momentum", known), None);
    }
}
