//! names: file names and addresses that other systems take, made of paths that may hold anything.

use crate::base::ClusterId;
use std::path::{Path, PathBuf};

/// Most bytes of a name: file systems take 255, and a rank comes before it.
const LONGEST: usize = 200;
/// Most bytes of an ending that a shortened name keeps.
const LONGEST_ENDING: usize = 16;

/// The folder or file of a cluster, such as `cluster-0007`.
pub fn of_cluster(cluster: ClusterId) -> String {
    format!("cluster-{:04}", cluster.0)
}

/// The last name of a path, without what some file system or terminal does not take. It may be that of another path, so
/// a number belongs before it.
pub fn safe(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or(path);
    let plain: String = last.chars().map(|c| if is_odd(c) { '_' } else { c }).collect();
    let trimmed = |text: &str| text.trim_end_matches(['.', ' ']).len(); // Windows drops them.
    let plain = &plain[..trimmed(&plain)];
    if plain.len() <= LONGEST {
        return if plain.is_empty() { "_".to_owned() } else { plain.to_owned() };
    }
    let ending = plain.rfind('.').map_or("", |dot| &plain[dot..]);
    let ending = if ending.len() <= LONGEST_ENDING { ending } else { "" };
    let mut end = LONGEST - ending.len();
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    if ending.is_empty() {
        end = trimmed(&plain[..end]);
    }
    if end == 0 { format!("_{ending}") } else { [&plain[..end], ending].concat() }
}

/// What moves a cursor, turns the direction of writing, is not seen, or is no part of names on Windows.
fn is_odd(c: char) -> bool {
    let is_unseen =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || is_unseen || "<>:\"/\\|?*".contains(c)
}

/// The path as part of a URL: every byte but letters, digits, `-._~` and `/` as `%XX`.
pub fn percent(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The path from the root folder on, also where there is nothing.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_become_plain() {
        for (path, name) in [
            ("a/b/c.jpg", "c.jpg"),
            ("x/<script>\"'%.png", "_script__'%.png"),
            ("a/\n\u{202e}gpj.exe\u{1b}[0m", "__gpj.exe_[0m"),
            ("a/...", "_"),
            ("-rf.jpg", "-rf.jpg"),
            (&format!("{}{}x", "a".repeat(190), " ".repeat(30)), &"a".repeat(190)),
        ] {
            assert_eq!(safe(path), name);
        }
        assert_eq!(percent("a b/%ü&+#.jpg"), "a%20b/%25%C3%BC%26%2B%23.jpg");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_safe_name_is_one_short_name(path in "\\PC{0,300}|.{0,300}") {
            let name = safe(&path);
            prop_assert!((1..=LONGEST).contains(&name.len()));
            prop_assert!(!name.contains(['/', '\0', '\n']));
            prop_assert_eq!(safe(&name), name);
        }
    }
}
