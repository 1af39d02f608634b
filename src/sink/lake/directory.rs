//! The directory of a partition of the lake: `name=value` levels, as Hive writes them.
//!
//! Readers take a partition's values from the path, so a value must survive being a file name. What Hive
//! escapes is escaped as Hive does, `%` and two hexadecimal digits; an empty value has Hive's own name.

/// What stands for an empty value.
pub(super) const EMPTY: &str = "__HIVE_DEFAULT_PARTITION__";

/// What file systems allow for one name, in bytes.
const NAME_MAX: usize = 255;

/// More levels than anybody partitions by.
const DEPTH_MAX: usize = 32;

/// The directory of the rows whose partition columns have these values, in the order of the levels.
///
/// # Examples
/// ```
/// use tidegate::sink::lake::partition_dir;
/// assert_eq!(partition_dir([("event_date", "2024-01-28")]), "event_date=2024-01-28");
/// assert_eq!(partition_dir([("year", "2024"), ("name", "../a b")]), "year=2024/name=..%2Fa b");
/// assert_eq!(partition_dir([("name", "")]), "name=__HIVE_DEFAULT_PARTITION__");
/// ```
pub fn partition_dir<'a>(levels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut dir = String::new();
    for (name, value) in levels {
        if !dir.is_empty() {
            dir.push('/');
        }
        escape(name, &mut dir);
        dir.push('=');
        escape(if value.is_empty() { EMPTY } else { value }, &mut dir);
    }
    dir
}

fn escape(text: &str, out: &mut String) {
    for char in text.chars() {
        let special = matches!(
            char,
            '"' | '#' | '%' | '\'' | '*' | '/' | ':' | '=' | '?' | '\\' | '{' | '[' | ']' | '^' | '\x7f'
        );
        if special || char < ' ' {
            out.push_str(&format!("%{:02X}", u32::from(char)));
        } else {
            out.push(char);
        }
    }
}

/// Whether a directory can stand in the lake; an empty one is the lake's own. The error says what is wrong.
pub(in crate::sink) fn check(dir: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{dir:?} cannot be a partition's directory: {what}"));
    if dir.is_empty() {
        return Ok(());
    }
    if dir.split('/').count() > DEPTH_MAX {
        return wrong("it has too many levels");
    }
    for level in dir.split('/') {
        if level.len() > NAME_MAX {
            return wrong("a level is longer than a file name can be");
        }
        // A leading `.` or `_` would hide it from readers, and with a name and a `=` it cannot be `..`.
        let named = level.split_once('=').is_some_and(|(name, _)| !name.is_empty());
        if !named || level.starts_with(['.', '_']) {
            return wrong("every level must be name=value");
        }
        if level.contains(|char: char| char < ' ' || matches!(char, '\\' | '\x7f')) {
            return wrong("it holds a character that must be escaped");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn path_that_leads_elsewhere_is_refused() {
        for dir in
            ["/", "..", "a=1/..", "../a=1", "a=1/", "/a=1", "a", "=1", "_a=1", ".a=1", "a=\0", "a=\n", "a=\\"]
        {
            assert!(check(dir).is_err(), "{dir:?}");
        }
        assert!(check(&format!("a={}", "x".repeat(254))).is_err());
        for dir in ["", "a=1", "event_date=2024-01-28", "year=2024/month=01", "a=..", "a=%2F", "a=ö"] {
            assert_eq!(check(dir), Ok(()), "{dir:?}");
        }
    }

    proptest! {
        #[test]
        fn escaped_value_is_one_safe_level(value in any::<String>()) {
            let dir = partition_dir([("a", &*value)]);
            prop_assert!(!dir.contains(['/', '\0']));
            prop_assert!(check(&dir).is_ok() || dir.len() > NAME_MAX);
        }
    }
}
