//! S3, and what speaks its protocol: SeaweedFS, MinIO.
//!
//! | environment | says |
//! | --- | --- |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | who we are; without them `MINIO_ROOT_USER`, `MINIO_ROOT_PASSWORD`, then the machine's role |
//! | `AWS_ENDPOINT_URL` | the server, for another than Amazon's; without it `MINIO_ENDPOINT` |
//! | `AWS_REGION` | the region; `us-east-1` without it |
//! | `SSL_CERT_FILE`, `SSL_CERT_DIR` | the CAs that are believed, PEM, in place of the system's |
//!
//! A server that does not know conditional puts would make `create` overwrite: [`S3::open`] does not try it out, but
//! `tests/hydraulic.sh` does for SeaweedFS and MinIO.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
    UpdateVersion,
};
use tokio::runtime::Runtime;

use super::remote::{PATIENCE, Slow, each, patiently, runtime};
use super::{Credentials, Publish, Storage, StorageError, StoredFile, Upload, check};
use crate::causes::causes;

/// A bucket, from a prefix on.
#[derive(Debug)]
pub struct S3 {
    bucket: String,
    prefix: String,
    client: AmazonS3,
    /// The same without a limit on time, for requests whose limit hangs on how much they move.
    bodies: AmazonS3,
    runtime: Runtime,
}

/// Which content a file had when it was read or written.
#[derive(Clone, Debug)]
pub struct Version(UpdateVersion);

/// What a request came to, apart from failure.
enum Put {
    Done(Version),
    Refused,
}

impl S3 {
    /// Opens `bucket`, and looks whether it is there.
    ///
    /// # Errors
    /// When the credentials say nothing that can be used, or the bucket cannot be listed.
    pub fn open(bucket: &str, prefix: &str, credentials: &Credentials) -> Result<Self, StorageError> {
        let fail = |cause: &dyn std::fmt::Display, is_away| StorageError {
            place: format!("s3://{bucket}"),
            verb: "open",
            path: prefix.to_owned(),
            cause: cause.to_string(),
            is_away,
        };
        check(&format!("s3://{bucket}"), prefix)?;
        let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(5));
        let build =
            |options| builder(bucket, credentials, options).build().map_err(|error| fail(&error, false));
        let client = build(options.clone().with_timeout(PATIENCE))?;
        let bodies = build(options.with_timeout_disabled())?;
        let runtime = runtime().map_err(|error| fail(&error, false))?;
        let s3 = S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned(), client, bodies, runtime };
        let is_there =
            s3.run("", "open", async |s3| match s3.client.list(Some(&s3.key(""))).try_next().await {
                Ok(_) => Ok(true),
                Err(error) if code(&causes(&error)) == Some(NO_BUCKET) => Ok(false),
                Err(error) => Err(error),
            })?;
        if !is_there {
            return Err(fail(&"there is no such bucket: create it", false));
        }
        Ok(s3)
    }

    fn key(&self, path: &str) -> Key {
        // Percent signs in a path are the path's own.
        let parts = self.prefix.split('/').chain(path.split('/')).filter(|part| !part.is_empty());
        let joined = parts.collect::<Vec<_>>().join("/");
        Key::parse(&joined).unwrap_or_else(|_| Key::from(joined))
    }

    /// The path below the place of a key.
    fn path<'k>(&self, key: &'k Key) -> &'k str {
        let key = key.as_ref();
        key.strip_prefix(&*self.prefix).unwrap_or(key).trim_start_matches('/')
    }

    /// Runs requests.
    fn run<T>(
        &self,
        path: &str,
        verb: &'static str,
        work: impl AsyncFn(&Self) -> Result<T, Error>,
    ) -> Result<T, StorageError> {
        check(&self.place(), path)?;
        self.runtime.block_on(async { work(self).await }).map_err(|error| StorageError {
            place: self.place(),
            verb,
            path: path.to_owned(),
            cause: cause(&error),
            is_away: is_away(&error),
        })
    }

    async fn put(&self, path: &str, bytes: Bytes, mode: PutMode) -> Result<Put, Error> {
        let (key, length) = (self.key(path), bytes.len() as u64);
        let put = self.bodies.put_opts(&key, PutPayload::from_bytes(bytes), mode.into());
        match patiently(length, put).await {
            Ok(done) => Ok(Put::Done(Version(UpdateVersion { e_tag: done.e_tag, version: done.version }))),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => {
                Ok(Put::Refused)
            }
            Err(error) => Err(error),
        }
    }

    async fn get(&self, path: &str) -> Result<Option<(Bytes, Version)>, Error> {
        match patiently(0, self.bodies.get(&self.key(path))).await {
            Ok(found) => {
                let version = Version(UpdateVersion {
                    e_tag: found.meta.e_tag.clone(),
                    version: found.meta.version.clone(),
                });
                Ok(Some((patiently(found.meta.size, found.bytes()).await?, version)))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn head(&self, path: &str) -> Result<Option<u64>, Error> {
        match self.client.head(&self.key(path)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a file and which content they are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_version(&self, path: &str) -> Result<Option<(Vec<u8>, Version)>, StorageError> {
        let found = self.run(path, "read", async |s3| s3.get(path).await)?;
        Ok(found.map(|(bytes, version)| (bytes.into(), version)))
    }

    /// The names of the files in `dir`, and which content they have.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn versions(&self, dir: &str) -> Result<Vec<(String, Version)>, StorageError> {
        let slash = if dir.is_empty() { "" } else { "/" };
        let names = self.names(dir)?;
        let found = self.run(dir, "list", async |s3| {
            each(names.iter().map(|name| (0, name)), async |name| {
                match s3.client.head(&s3.key(&format!("{dir}{slash}{name}"))).await {
                    Ok(found) => {
                        let version = UpdateVersion { e_tag: found.e_tag, version: found.version };
                        Ok(Some((name.clone(), Version(version))))
                    }
                    Err(Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .await
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Writes a file if it still has the content of `version`, or, for `None`, is not there. `None` when it is not
    /// so: somebody else wrote it, or we did, in a try of unknown outcome.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_version(
        &self,
        path: &str,
        bytes: &[u8],
        version: Option<&Version>,
    ) -> Result<Option<Version>, StorageError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mode = version.map_or(PutMode::Create, |version| PutMode::Update(version.0.clone()));
        let put = async |s3: &Self| s3.put(path, bytes.clone(), mode.clone()).await;
        Ok(match self.run(path, "write", put)? {
            Put::Done(version) => Some(version),
            Put::Refused => None,
        })
    }

    async fn publish_one(&self, file: &Publish) -> Result<(), Error> {
        let wrong = |what: &str| Error::NotSupported { source: format!("{:?} {what}", file.to).into() };
        let Some((bytes, _)) = self.get(&file.from).await? else {
            // Published before, by us or by another, and the staged one was cleared away.
            return match self.head(&file.to).await? {
                Some(bytes) if bytes == file.bytes => Ok(()),
                Some(_) => Err(wrong("is there with another length than the manifest says")),
                None => Err(wrong("is neither staged nor there")),
            };
        };
        let differs = file.crc32.is_some_and(|crc32| crc32fast::hash(&bytes) != crc32);
        if bytes.len() as u64 != file.bytes || differs {
            return Err(wrong("was staged with other content than the manifest describes"));
        }
        match self.put(&file.to, bytes, PutMode::Create).await? {
            Put::Done(_) => Ok(()),
            Put::Refused if self.head(&file.to).await? == Some(file.bytes) => Ok(()),
            Put::Refused => Err(wrong("is there with another length than the manifest says")),
        }
    }
}

impl Storage for S3 {
    fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, StorageError> {
        let found =
            self.run(dir, "list", async |s3| s3.client.list_with_delimiter(Some(&s3.key(dir))).await)?;
        let last = |key: &Key| key.filename().map(str::to_owned);
        let files = found.objects.iter().filter_map(|object| last(&object.location));
        let mut names: Vec<_> = found.common_prefixes.iter().filter_map(last).chain(files).collect();
        names.sort();
        Ok(names)
    }

    fn list(&self, dir: &str) -> Result<Vec<StoredFile>, StorageError> {
        let found: Vec<_> =
            self.run(dir, "list", async |s3| s3.client.list(Some(&s3.key(dir))).try_collect().await)?;
        let mut files: Vec<_> = found
            .iter()
            .map(|found: &object_store::ObjectMeta| StoredFile {
                path: self.path(&found.location).to_owned(),
                bytes: found.size,
            })
            .collect();
        files.sort();
        Ok(files)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.read_version(path)?.map(|(bytes, _)| bytes))
    }

    fn read_all(&self, paths: &[String]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        let first = paths.first().map_or("", String::as_str);
        let found = self.run(first, "read", async |s3| {
            each(paths.iter().map(|path| (0, path)), |path| s3.get(path)).await
        })?;
        Ok(found.into_iter().map(|found| found.map(|(bytes, _)| bytes.into())).collect())
    }

    fn len(&self, path: &str) -> Result<Option<u64>, StorageError> {
        self.run(path, "read", async |s3| s3.head(path).await)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.run(path, "write", async |s3| s3.put(path, bytes.clone(), PutMode::Overwrite).await.map(drop))
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, StorageError> {
        Ok(self.write_version(path, bytes, None)?.is_some())
    }

    fn upload(&self, files: &[Upload]) -> Result<(), StorageError> {
        let first = files.first().map_or("", |file| &file.to);
        let done = self.run(first, "upload", async |s3| {
            each(files.iter().map(|file| (file.bytes, file)), async |file| {
                let bytes = std::fs::read(&file.from)
                    .map_err(|error| Error::NotSupported { source: Box::new(error) })?;
                s3.put(&file.to, bytes.into(), PutMode::Overwrite).await.map(drop)
            })
            .await
        });
        done.map(drop)
    }

    fn publish(&self, files: &[Publish]) -> Result<(), StorageError> {
        let first = files.first().map_or("", |file| &file.to);
        let done = self.run(first, "publish", async |s3| {
            each(files.iter().map(|file| (file.bytes, file)), |file| s3.publish_one(file)).await
        });
        done.map(drop)
    }

    fn remove(&self, paths: &[String]) -> Result<(), StorageError> {
        let first = paths.first().map_or("", String::as_str);
        let done = self.run(first, "remove", async |s3| {
            each(paths.iter().map(|path| (0, path)), async |path| {
                match s3.client.delete(&s3.key(path)).await {
                    Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(error),
                }
            })
            .await
        });
        done.map(drop)
    }
}

fn builder(bucket: &str, credentials: &Credentials, options: ClientOptions) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let pairs = [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")];
    let keys = pairs.into_iter().find_map(|(id, key)| credentials.get(id).zip(credentials.get(key)));
    if let Some((id, key)) = keys {
        builder = builder.with_access_key_id(id).with_secret_access_key(key);
    }
    if let Some(token) = credentials.get("AWS_SESSION_TOKEN") {
        builder = builder.with_token(token);
    }
    let region = credentials.get("AWS_REGION").or_else(|| credentials.get("AWS_DEFAULT_REGION"));
    builder = builder.with_region(region.unwrap_or("us-east-1"));
    let mut allow_http = false;
    let endpoint = credentials.get("AWS_ENDPOINT_URL").or_else(|| credentials.get("MINIO_ENDPOINT"));
    if let Some(endpoint) = endpoint {
        // MinIO's own variable is often without a scheme.
        let with_scheme = endpoint.contains("://");
        let endpoint = if with_scheme { endpoint.to_owned() } else { format!("http://{endpoint}") };
        allow_http = endpoint.starts_with("http://");
        builder = builder.with_endpoint(endpoint);
    }
    // Short: who called tries again for as long as it wants, and can be stopped meanwhile.
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() };
    let retry = RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(10), backoff };
    builder.with_retry(retry).with_client_options(options.with_allow_http(allow_http))
}

impl From<Slow> for Error {
    fn from(slow: Slow) -> Self {
        Error::Generic { store: "S3", source: Box::new(slow) }
    }
}

/// The error as it is told, with what to do where it alone does not say so.
fn cause(error: &Error) -> String {
    let mut text = causes(error);
    if text.contains(BAD_CERTIFICATE) {
        text.push_str("; check SSL_CERT_FILE, which names the CAs that are believed, and the server's name");
    }
    text
}

/// The code of what a server refuses, as `NoSuchBucket`, out of its answer.
fn code(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// How TLS says that it does not believe the server.
const BAD_CERTIFICATE: &str = "invalid peer certificate";
const NO_BUCKET: &str = "NoSuchBucket";
/// Refusals that no waiting mends.
const FOR_GOOD: [&str; 4] = [NO_BUCKET, "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"];

fn is_away(error: &Error) -> bool {
    // The client has no word for it: what is not a clear answer counts as away. Of a listing it gives every answer as
    // the same error, and only the text tells that one was clear.
    let is_unclear = matches!(error, Error::Generic { .. } | Error::JoinError { .. });
    let said = causes(error);
    let is_for_good =
        said.contains(BAD_CERTIFICATE) || code(&said).is_some_and(|code| FOR_GOOD.contains(&code));
    is_unclear && !is_for_good
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the client gives what becomes of a listing.
    fn listing(said: &str) -> Error {
        Error::Generic { store: "S3", source: format!("Error performing list request: {said}").into() }
    }

    #[test]
    fn listing_that_is_refused_for_good_is_not_waited_for() {
        for code in ["NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"] {
            let said = format!("404 Not Found: <Error><Code>{code}</Code><Message>no</Message></Error>");
            assert!(!is_away(&listing(&said)), "{said}");
        }
        for said in
            ["503 Service Unavailable: <Error><Code>SlowDown</Code></Error>", "connection refused", "<Code>"]
        {
            assert!(is_away(&listing(said)), "{said}");
        }
    }

    #[test]
    fn server_that_is_not_believed_is_not_waited_for() {
        let error = listing("client error (Connect): invalid peer certificate: UnknownIssuer");
        assert!(!is_away(&error) && cause(&error).contains("SSL_CERT_FILE"), "{}", cause(&error));
    }

    #[test]
    fn bucket_that_is_not_there_is_said() {
        if !std::env::var("TIDEGATE_TEST_PLACES").unwrap_or_default().contains("s3://") {
            eprintln!("skipped: no S3 server in TIDEGATE_TEST_PLACES");
            return;
        }
        let error = S3::open("nowhere", "", &Credentials::of_process()).unwrap_err();
        assert_eq!((&*error.cause, error.is_away), ("there is no such bucket: create it", false));
    }
}
