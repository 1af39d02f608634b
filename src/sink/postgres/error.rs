//! What an error of the database means for the run: try again, or stop and look.

use crate::causes::causes;
use crate::sink::SinkError;

/// An error while talking to the server.
#[derive(Debug)]
pub(super) enum Fault {
    /// The client library's.
    Client(tokio_postgres::Error),
    /// No answer in time.
    Silent,
    /// Already a sink's error.
    Sink(SinkError),
}

/// Why the server did not take a row.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) sqlstate: String,
    pub(super) reason: String,
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Fault::Client(error)
    }
}

impl From<SinkError> for Fault {
    fn from(error: SinkError) -> Self {
        Fault::Sink(error)
    }
}

impl Fault {
    /// Whether the connection is gone, so that a commit that was under way may or may not have happened.
    pub(super) fn lost(&self) -> bool {
        match self {
            Fault::Silent => true,
            Fault::Client(error) => error.as_db_error().is_none_or(|db| is_lost(db.code().code())),
            Fault::Sink(_) => false,
        }
    }

    /// What the server said, where it is about the content of a row.
    pub(super) fn about_content(&self) -> Option<Refusal> {
        let Fault::Client(error) = self else { return None };
        let error = error.as_db_error()?;
        let (code, message) = (error.code().code(), error.message());
        let reason =
            error.detail().map_or_else(|| message.to_owned(), |detail| format!("{message}; {detail}"));
        is_about_content(code).then(|| Refusal { sqlstate: code.to_owned(), reason })
    }

    /// As the sink's error; `place` is the database, `doing` the step that failed.
    pub(super) fn of(self, sink: &str, place: &str, doing: &str) -> SinkError {
        let sink = sink.to_owned();
        let error = match self {
            Fault::Sink(error) => return error,
            Fault::Silent => {
                let cause = format!("{place}: {doing}: no answer in time");
                return SinkError::Unavailable { sink, cause };
            }
            Fault::Client(error) => error,
        };
        if let Some(db) = error.as_db_error() {
            let code = db.code().code();
            let mut cause = format!("{place}: {doing}: {} (SQLSTATE {code})", db.message());
            if let Some(detail) = db.detail() {
                cause.push_str("; ");
                cause.push_str(detail);
            }
            if is_passing(code) {
                return SinkError::Unavailable { sink, cause };
            }
            cause.push_str("; ");
            cause.push_str(mend(code));
            return SinkError::Failed { sink, cause };
        }
        let text = causes(&error);
        let cause = format!("{place}: {doing}: {text}");
        if ["certificate", "does not support TLS", "invalid configuration", "authentication error"]
            .iter()
            .any(|lasting| text.contains(lasting))
        {
            let cause = format!("{cause}; check sslmode, the CA file, the host's name and the password");
            return SinkError::Failed { sink, cause };
        }
        SinkError::Unavailable { sink, cause }
    }
}

/// The session is over: connection exceptions and operator intervention.
fn is_lost(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P") || code.starts_with("XX") || code == "25P03"
}

/// Whether the same may succeed later: connections (08), resources (53), intervention (57P), serialization and
/// deadlock (40), locks (55P03), cancelled or timed out (57014), idle in transaction (25P03), a standby (25006).
fn is_passing(code: &str) -> bool {
    ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class))
        || ["55P03", "57014", "25P03", "25006"].contains(&code)
}

/// Whether it is about what a row holds: data exceptions (22), constraints (23), a view's check option (44), a value too long for
/// an index (54000), what a trigger of the table raises without a code of its own (P0001).
fn is_about_content(code: &str) -> bool {
    ["22", "23", "44"].iter().any(|class| code.starts_with(class)) || ["54000", "P0001"].contains(&code)
}

pub(super) fn mend(code: &str) -> &'static str {
    match code {
        "28P01" | "28000" => "check the user and the password",
        "3D000" => "create the database, or name another one",
        "3F000" => "create the schema, or name another one",
        "42501" => "grant the role the right, or let its owner run docker/init-db.sql",
        "42P01" | "42703" | "42804" | "42P10" => {
            "another program has changed the table: restore its columns and key"
        }
        "22021" | "22P05" => "the database must have the encoding UTF8",
        "23502" | "23503" | "23505" | "23514" => "drop the constraint that somebody has added to the table",
        _ => "look the SQLSTATE up in PostgreSQL's appendix A",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_errors_are_tried_again_and_lasting_ones_are_not() {
        for code in ["08006", "53300", "57P01", "57P03", "40001", "40P01", "55P03", "57014"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["28P01", "42P01", "42501", "23505", "22021"] {
            assert!(!is_passing(code), "{code}");
        }
        for code in ["22003", "23505", "23514", "54000", "P0001"] {
            assert!(is_about_content(code) && !is_passing(code), "{code}");
        }
        for code in ["08006", "40P01", "42P01", "53100", "57014"] {
            assert!(!is_about_content(code), "{code}");
        }
    }
}
