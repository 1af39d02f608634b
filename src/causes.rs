//! An error with everything that lies behind it, in one line.

use std::error::Error;

/// What `error` says and, after colons, what each of its causes says that is not in it yet: a client's own words are often only that it
/// failed, or those of its cause once more.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::causes;

    #[derive(Debug, Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    fn link(says: &'static str, behind: Option<Link>) -> Link {
        Link(says, behind.map(Box::new))
    }

    #[test]
    fn every_cause_is_told_once() {
        let refused = || link("connection refused", None);
        assert_eq!(causes(&refused()), "connection refused");
        let twice = link("cannot send: connect", Some(link("connect", Some(refused()))));
        assert_eq!(causes(&twice), "cannot send: connect: connection refused");
    }
}
