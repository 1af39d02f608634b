//! Which place a URL names.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Credentials, Dir, Storage, StorageError};

/// A place as settings and command lines name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A local directory: `out/lake/hydraulic`, `file:///data/lake`.
    Dir(PathBuf),
    /// `s3://bucket/prefix`; `s3a://` says the same.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all paths begin with; may be empty.
        prefix: String,
    },
    /// `hdfs://host:port/path`.
    Hdfs {
        /// The name node, with its port, or the name service.
        authority: String,
        /// The directory.
        path: String,
    },
}

impl Default for Location {
    fn default() -> Self {
        Location::Dir(PathBuf::new())
    }
}

impl Location {
    /// Reads a URL or a path.
    ///
    /// # Errors
    /// Says what is wrong with it.
    ///
    /// # Examples
    /// ```
    /// use tidegate::storage::Location;
    /// let there = Location::parse("hdfs://localhost:9000/hydraulic_data/streaming").unwrap();
    /// let path = "hydraulic_data/streaming".to_owned();
    /// assert_eq!(there, Location::Hdfs { authority: "localhost:9000".to_owned(), path });
    /// assert!(Location::parse("gs://bucket/x").unwrap_err().contains("gs"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text.is_empty() {
                true => Err("an empty path names no place".to_owned()),
                false => Ok(Location::Dir(PathBuf::from(text))),
            };
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/').to_owned();
        let named = |what: &str| match authority {
            "" => Err(format!("{text:?} names no {what}")),
            authority if authority.contains('@') => {
                Err(format!("{scheme}://… must not hold credentials: they come from the environment"))
            }
            authority => Ok(authority.to_owned()),
        };
        match scheme {
            "file" if authority.is_empty() => Ok(Location::Dir(PathBuf::from(format!("/{path}")))),
            "file" => Err(format!("{text:?}: write file:///path, with three slashes")),
            "s3" | "s3a" => Ok(Location::S3 { bucket: named("bucket")?, prefix: path }),
            "hdfs" => Ok(Location::Hdfs { authority: named("name node")?, path }),
            other => {
                Err(format!("{other:?} is no kind of place that is known: hdfs, s3, s3a, file, or a path"))
            }
        }
    }

    /// The place below this one.
    pub fn join(&self, below: &str) -> Location {
        let join = |path: &str| match (path, below) {
            ("", below) => below.to_owned(),
            (path, "") => path.to_owned(),
            (path, below) => format!("{path}/{below}"),
        };
        match self {
            Location::Dir(dir) => Location::Dir(dir.join(below)),
            Location::S3 { bucket, prefix } => Location::S3 { bucket: bucket.clone(), prefix: join(prefix) },
            Location::Hdfs { authority, path } => {
                Location::Hdfs { authority: authority.clone(), path: join(path) }
            }
        }
    }

    /// The local directory, where it is one.
    pub fn dir(&self) -> Option<&std::path::Path> {
        match self {
            Location::Dir(dir) => Some(dir),
            Location::S3 { .. } | Location::Hdfs { .. } => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Dir(dir) => write!(f, "{}", dir.display()),
            Location::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Location::Hdfs { authority, path } => write!(f, "hdfs://{authority}/{path}"),
        }
    }
}

/// Opens a place, S3 with `credentials`.
///
/// # Errors
/// When it cannot be used, or this program was built without what it takes.
#[cfg_attr(not(feature = "s3"), allow(unused_variables))]
pub fn open(location: &Location, credentials: &Credentials) -> Result<Arc<dyn Storage>, StorageError> {
    match location {
        Location::Dir(dir) => Ok(Arc::new(Dir::new(dir))),
        #[cfg(feature = "s3")]
        Location::S3 { bucket, prefix } => Ok(Arc::new(super::S3::open(bucket, prefix, credentials)?)),
        #[cfg(feature = "hdfs")]
        Location::Hdfs { authority, path } => Ok(Arc::new(super::hdfs::Hdfs::open(authority, path)?)),
        #[cfg(not(all(feature = "s3", feature = "hdfs")))]
        other => Err(StorageError {
            place: other.to_string(),
            verb: "open",
            path: String::new(),
            cause: "this program was built without the feature for it".to_owned(),
            is_away: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where() {
        let s3 = |prefix: &str| Location::S3 { bucket: "b".to_owned(), prefix: prefix.to_owned() };
        assert_eq!(Location::parse("s3://b/x/y/"), Ok(s3("x/y")));
        assert_eq!(Location::parse("s3a://b"), Ok(s3("")));
        assert_eq!(Location::parse("s3://b").unwrap().join("lake"), s3("lake"));
        assert_eq!(Location::parse("file:///a/b"), Ok(Location::Dir("/a/b".into())));
        assert_eq!(Location::parse("out/lake"), Ok(Location::Dir("out/lake".into())));
        for wrong in ["", "s3:///x", "hdfs:///x", "file://host/x", "http://a/b", "s3://key:secret@b/x"] {
            assert!(Location::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(!Location::parse("s3://key:secret@b/x").unwrap_err().contains("secret"));
    }
}
