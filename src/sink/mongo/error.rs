//! What an error of the server means for the run: try again, set the document aside, or stop and look.

use mongodb::error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR};

use super::config::Config;
use crate::sink::SinkError;

/// An error while talking to the server.
#[derive(Debug)]
pub(super) enum Fault {
    /// The driver's.
    Driver(Box<Error>),
    /// A code and a message of the server, about a command that it has read.
    Server(i32, String),
    /// No answer in time.
    Silent,
    /// Already a sink's error.
    Sink(SinkError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match &*error.kind {
            ErrorKind::Command(command) if !error.contains_label(RETRYABLE_WRITE_ERROR) => {
                Fault::Server(command.code, command.message.clone())
            }
            _ => Fault::Driver(Box::new(error)),
        }
    }
}

impl From<SinkError> for Fault {
    fn from(error: SinkError) -> Self {
        Fault::Sink(error)
    }
}

impl Fault {
    /// As the sink's error; `doing` is the step that failed.
    pub(super) fn of(self, sink: &str, config: &Config, doing: &str) -> SinkError {
        let (sink, place) = (sink.to_owned(), config.place());
        let (passing, text, mend) = match self {
            Fault::Sink(error) => return error,
            Fault::Silent => (true, "no answer in time".to_owned(), ""),
            Fault::Server(code, message) => {
                (is_passing(code), format!("{message} (code {code})"), mend(code))
            }
            Fault::Driver(error) => {
                let text = config.uri.hide_in(&error.kind.to_string());
                let (passing, mend) = of_driver(&error, &text);
                (passing, text, mend)
            }
        };
        let cause = format!("{place}: {doing}: {text}");
        if passing {
            return SinkError::Unavailable { sink, cause };
        }
        SinkError::Failed { sink, cause: format!("{cause}; {mend}") }
    }
}

fn of_driver(error: &Error, text: &str) -> (bool, &'static str) {
    let network = matches!(
        &*error.kind,
        ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Command(_)
    );
    if text.contains("certificate") {
        return (false, "check tlsCAFile in the connection string, and the name of the server");
    }
    if matches!(&*error.kind, ErrorKind::Authentication { .. }) {
        return (false, "check user, password and authSource in the connection string");
    }
    (network || error.contains_label(RETRYABLE_WRITE_ERROR), "look at the server's log")
}

/// Whether the same may succeed later: no primary, a step-down or shutdown, a time-out, a write concern that was not
/// reached, a conflict with another writer, a cursor that has not outlived its server, its idle time or its index.
pub(super) fn is_passing(code: i32) -> bool {
    const PASSING: [i32; 21] = [
        6, 7, 43, 50, 64, 89, 91, 100, 112, 134, 175, 189, 202, 237, 262, 9001, 10107, 11600, 11602, 13435,
        13436,
    ];
    PASSING.contains(&code)
}

/// Whether it is about one document's content: validation, size, a unique index, a type that an index cannot take.
pub(super) fn is_about_content(code: i32) -> bool {
    const CONTENT: [i32; 10] = [2, 14, 52, 54, 55, 56, 121, 10334, 11000, 17280];
    CONTENT.contains(&code)
}

fn mend(code: i32) -> &'static str {
    match code {
        11 | 18 => "check user, password and authSource in the connection string",
        13 => "grant the user readWrite on the database",
        85 | 86 => "drop the index of the collection that has the same name or keys, and it is created anew",
        11000 => "remove the documents that repeat a key, so that the unique index can be made",
        _ => "look the code up in MongoDB's list of error codes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_says_what_is_to_be_done() {
        let of = |code| Fault::Server(code, "x".into()).of("s", &Config::default(), "writing");
        for code in [91, 189, 10107, 11600, 64, 43, 175, 237] {
            assert!(of(code).is_retriable() && !is_about_content(code), "{code}");
        }
        for code in [13, 18, 85] {
            assert!(!of(code).is_retriable() && !is_about_content(code), "{code}");
        }
        assert!(is_about_content(121) && is_about_content(11000));
        assert!(of(18).to_string().contains("localhost:27017/test: writing: x (code 18); check user"));
    }
}
