//! shell: words of commands that people paste into a shell.

/// The text as one word of a shell's line.
pub fn shell(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_=./:,@+".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_command_stays_one_word() {
        assert_eq!(shell("runs/demo@3"), "runs/demo@3");
        assert_eq!(shell(""), "''");
        assert_eq!(shell("it's $HOME; `x`"), r"'it'\''s $HOME; `x`'");
    }
}
