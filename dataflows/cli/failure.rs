//! How a command fails: with an exit code, an error and its causes, and what to do about it.

use std::error::Error;
use std::fmt;

/// Failed while running.
pub(crate) const RUNNING: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What happened, and what caused it.
    pub(crate) error: Box<dyn Error + Send + Sync>,
    /// What to do about it.
    pub(crate) mend: Option<String>,
}

impl Failure {
    /// Something failed while it ran.
    pub(crate) fn running(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure { code: RUNNING, error: error.into(), mend: None }
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure { code: USAGE, error: error.into(), mend: None }
    }

    /// Says what to do.
    pub(crate) fn mend(self, mend: impl Into<String>) -> Failure {
        Failure { mend: Some(mend.into()), ..self }
    }

    /// The causes, from the outermost; those that the message before them already tells are left out.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut told = self.error.to_string();
        let mut next = self.error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !told.contains(&text) {
                causes.push(text.clone());
                told = text;
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        self.causes().iter().try_for_each(|cause| write!(f, "\n  because: {cause}"))?;
        self.mend.iter().try_for_each(|mend| write!(f, "\n  mend: {mend}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tidegate::source::SourceError;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outer one")]
    struct Outer(#[source] SourceError);

    #[test]
    fn chain_of_causes_is_told_once() {
        let cause = io::Error::other("disk on fire");
        let error = SourceError::Io { path: "x".into(), cause };
        let failure = Failure::running(Outer(error)).mend("call somebody");
        let expected = "the outer one\n  because: cannot read \"x\": disk on fire\n  mend: call somebody";
        assert_eq!(failure.to_string(), expected);
    }
}
