//! HDFS, by its own protocol: a NameNode, or a name service from `HADOOP_CONF_DIR`.
//!
//! Who we are says `HADOOP_USER_NAME`, or the Kerberos ticket where the cluster wants one. A file is written under a
//! hidden name, closed, and renamed; a rename that does not overwrite is what HDFS has for put-if-absent. A file that is
//! closed lies in as many DataNodes as its replication says, which is what HDFS means by durable.

use std::collections::BTreeSet;

use bytes::Bytes;
use hdfs_native::client::FileStatus;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use tokio::runtime::Runtime;

use super::remote::{self, Slow, each, runtime};
use super::{Publish, Storage, StorageError, StoredFile, Upload, check};
use crate::sink::nonce;

/// A directory of a file system.
#[derive(Debug)]
pub(super) struct Hdfs {
    authority: String,
    root: String,
    nonce: String,
    client: Client,
    runtime: Runtime,
}

/// What HDFS or our own check says.
#[derive(Debug)]
enum Fault {
    Hdfs(HdfsError),
    Slow(Slow),
    Other(String),
}

impl From<HdfsError> for Fault {
    fn from(error: HdfsError) -> Self {
        Fault::Hdfs(error)
    }
}

impl From<Slow> for Fault {
    fn from(slow: Slow) -> Self {
        Fault::Slow(slow)
    }
}

impl Fault {
    fn is_away(&self) -> bool {
        use HdfsError::{
            BlocksNotFound, ChecksumError, DataTransferError, FatalRPCError, IOError, OperationFailed,
            RPCError,
        };
        match self {
            Fault::Slow(_) => true,
            Fault::Other(_) => false,
            Fault::Hdfs(RPCError(class, _) | FatalRPCError(class, _)) => {
                // What the NameNode refuses for its content stays refused; safe mode and failover pass.
                let final_ones = ["AccessControl", "Quota", "InvalidPath", "UnresolvedLink", "Unsupported"];
                !final_ones.iter().any(|name| class.contains(name))
            }
            Fault::Hdfs(error) => matches!(
                error,
                IOError(_) | DataTransferError(_) | ChecksumError | OperationFailed(_) | BlocksNotFound(_)
            ),
        }
    }

    fn describe(&self) -> String {
        match self {
            Fault::Slow(slow) => slow.to_string(),
            Fault::Other(what) => what.clone(),
            // A remote exception carries its whole stack; its first line says what it is.
            Fault::Hdfs(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }
}

/// Waits for one request of the client that moves no file.
async fn patiently<T>(work: impl Future<Output = Result<T, HdfsError>>) -> Result<T, Fault> {
    moving(0, work).await
}

/// Waits for one request of the client that moves so many bytes of a file.
async fn moving<T>(bytes: u64, work: impl Future<Output = Result<T, HdfsError>>) -> Result<T, Fault> {
    remote::patiently(bytes, async { Ok(work.await?) }).await
}

/// `None` for what is not there.
fn there<T>(result: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Fault::Hdfs(HdfsError::FileNotFound(_))) => Ok(None),
        Err(Fault::Hdfs(HdfsError::RPCError(class, _))) if class.ends_with("FileNotFoundException") => {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

impl Hdfs {
    pub(super) fn open(authority: &str, path: &str) -> Result<Self, StorageError> {
        let place = format!("hdfs://{authority}/{path}");
        check(&place, path)?;
        let fail = |cause: String| StorageError {
            place: place.clone(),
            verb: "open",
            path: String::new(),
            cause,
            is_away: false,
        };
        let runtime = runtime().map_err(|error| fail(error.to_string()))?;
        let client = ClientBuilder::new()
            .with_url(format!("hdfs://{authority}"))
            .with_io_runtime(runtime.handle().clone())
            .build()
            .map_err(|error| fail(error.to_string()))?;
        let root = if path.is_empty() { String::new() } else { format!("/{path}") };
        let hdfs = Hdfs { authority: authority.to_owned(), root, nonce: nonce(), client, runtime };
        // Whether anybody is there is found out now, and not with the first epoch.
        hdfs.run("", "open", async |hdfs| there(hdfs.status("").await).map(drop))?;
        Ok(hdfs)
    }

    fn at(&self, path: &str) -> String {
        match (&*self.root, path) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, path) => format!("{root}/{path}"),
        }
    }

    fn run<T>(
        &self,
        path: &str,
        verb: &'static str,
        work: impl AsyncFn(&Self) -> Result<T, Fault>,
    ) -> Result<T, StorageError> {
        check(&self.place(), path)?;
        self.runtime.block_on(async { work(self).await }).map_err(|fault| StorageError {
            place: self.place(),
            verb,
            path: path.to_owned(),
            cause: fault.describe(),
            is_away: fault.is_away(),
        })
    }

    async fn status(&self, path: &str) -> Result<FileStatus, Fault> {
        patiently(self.client.get_file_info(&self.at(path))).await
    }

    async fn length(&self, path: &str) -> Result<Option<u64>, Fault> {
        Ok(there(self.status(path).await)?.filter(|found| !found.isdir).map(|found| found.length as u64))
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>, Fault> {
        let Some(mut file) = there(patiently(self.client.read(&self.at(path))).await)? else {
            return Ok(None);
        };
        let length = file.file_length();
        there(moving(length as u64, file.read_bytes(length)).await)
    }

    /// Writes a file under a hidden name beside `path`, and gives that name.
    async fn draft(&self, path: &str, bytes: Bytes) -> Result<String, Fault> {
        let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
        let slash = if dir.is_empty() { "" } else { "/" };
        let draft = format!("{dir}{slash}.{name}.{}", self.nonce);
        self.write(&draft, bytes).await?;
        Ok(draft)
    }

    /// Writes a file that nobody reads under this name.
    async fn write(&self, path: &str, bytes: Bytes) -> Result<(), Fault> {
        moving(bytes.len() as u64, async {
            let options = WriteOptions::default().overwrite(true);
            let mut file = self.client.create(&self.at(path), options).await?;
            file.write_bytes(bytes).await?;
            file.close().await
        })
        .await
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<(), Fault> {
        let draft = self.draft(path, bytes).await?;
        patiently(self.client.rename(&self.at(&draft), &self.at(path), true)).await
    }

    /// Renames where the new name is free; says whether it did.
    async fn rename_new(&self, from: &str, to: &str) -> Result<bool, Fault> {
        match patiently(self.client.rename(&self.at(from), &self.at(to), false)).await {
            Ok(()) => Ok(true),
            Err(Fault::Hdfs(HdfsError::AlreadyExists(_))) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    async fn delete(&self, path: &str, recursive: bool) -> Result<(), Fault> {
        there(patiently(self.client.delete(&self.at(path), recursive)).await).map(drop)
    }

    async fn make_parents<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        let parents: BTreeSet<_> = paths.filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
        let make = async |dir: &str| patiently(self.client.mkdirs(&self.at(dir), 0o755, true)).await;
        each(parents.into_iter().map(|dir| (0, dir)), make).await.map(drop)
    }

    async fn publish_one(&self, file: &Publish) -> Result<(), Fault> {
        let wrong = |what: &str| Err(Fault::Other(format!("{:?} {what}", file.to)));
        let Some(staged) = self.length(&file.from).await? else {
            return match self.length(&file.to).await? {
                Some(bytes) if bytes == file.bytes => Ok(()),
                Some(_) => wrong("is there with another length than the manifest says"),
                None => wrong("is neither staged nor there"),
            };
        };
        let mut intact = staged == file.bytes;
        if let (true, Some(crc32)) = (intact, file.crc32) {
            let bytes = self.get(&file.from).await?.unwrap_or_default();
            intact = crc32fast::hash(&bytes) == crc32;
        }
        if !intact {
            return wrong("was staged with other content than the manifest describes");
        }
        match self.rename_new(&file.from, &file.to).await {
            Ok(true) => Ok(()),
            // It is there already; the staged copy is cleared away with its directory.
            Ok(false) if self.length(&file.to).await? == Some(file.bytes) => Ok(()),
            Ok(false) => wrong("is there with another length than the manifest says"),
            Err(fault) => {
                // An answer that was lost: it may have happened.
                let gone = self.length(&file.from).await?.is_none();
                if gone && self.length(&file.to).await? == Some(file.bytes) { Ok(()) } else { Err(fault) }
            }
        }
    }
}

impl Storage for Hdfs {
    fn place(&self) -> String {
        format!("hdfs://{}{}", self.authority, self.at(""))
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, StorageError> {
        let found = self.run(dir, "list", async |hdfs| {
            there(patiently(hdfs.client.list_status(&hdfs.at(dir), false)).await)
        })?;
        let name = |found: FileStatus| found.path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut names: Vec<_> = found.unwrap_or_default().into_iter().map(name).collect();
        names.sort();
        Ok(names)
    }

    fn list(&self, dir: &str) -> Result<Vec<StoredFile>, StorageError> {
        let found = self.run(dir, "list", async |hdfs| {
            there(patiently(hdfs.client.list_status(&hdfs.at(dir), true)).await)
        })?;
        let files = found.unwrap_or_default().into_iter().filter(|found| !found.isdir);
        let mut files: Vec<_> = files
            .map(|found| {
                let path = found.path.strip_prefix(&*self.root).unwrap_or(&found.path);
                StoredFile { path: path.trim_start_matches('/').to_owned(), bytes: found.length as u64 }
            })
            .collect();
        files.sort();
        Ok(files)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.run(path, "read", async |hdfs| hdfs.get(path).await)?.map(Into::into))
    }

    fn read_all(&self, paths: &[String]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        let first = paths.first().map_or("", String::as_str);
        let found = self.run(first, "read", async |hdfs| {
            each(paths.iter().map(|path| (0, path)), |path| hdfs.get(path)).await
        })?;
        Ok(found.into_iter().map(|found| found.map(Into::into)).collect())
    }

    fn len(&self, path: &str) -> Result<Option<u64>, StorageError> {
        self.run(path, "read", async |hdfs| hdfs.length(path).await)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.run(path, "write", async |hdfs| hdfs.put(path, bytes.clone()).await)
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, StorageError> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.run(path, "create", async |hdfs| {
            let draft = hdfs.draft(path, bytes.clone()).await?;
            let made = hdfs.rename_new(&draft, path).await?;
            if !made {
                hdfs.delete(&draft, false).await?;
            }
            Ok(made)
        })
    }

    fn upload(&self, files: &[Upload]) -> Result<(), StorageError> {
        let first = files.first().map_or("", |file| &file.to);
        self.run(first, "upload", async |hdfs| {
            hdfs.make_parents(files.iter().map(|file| &*file.to)).await?;
            each(files.iter().map(|file| (file.bytes, file)), async |file| {
                let bytes = std::fs::read(&file.from).map_err(|error| Fault::Other(error.to_string()))?;
                hdfs.write(&file.to, bytes.into()).await
            })
            .await
            .map(drop)
        })
    }

    fn publish(&self, files: &[Publish]) -> Result<(), StorageError> {
        let first = files.first().map_or("", |file| &file.to);
        self.run(first, "publish", async |hdfs| {
            hdfs.make_parents(files.iter().map(|file| &*file.to)).await?;
            each(files.iter().map(|file| (file.bytes, file)), |file| hdfs.publish_one(file)).await.map(drop)
        })
    }

    fn remove(&self, paths: &[String]) -> Result<(), StorageError> {
        let first = paths.first().map_or("", String::as_str);
        self.run(first, "remove", async |hdfs| {
            each(paths.iter().map(|path| (0, path)), |path| hdfs.delete(path, false)).await?;
            // Directories that became empty go too, the deepest first; one that is not empty is refused, and stays.
            let ancestors = paths
                .iter()
                .flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]).collect::<Vec<_>>());
            let mut dirs: Vec<_> = ancestors.collect::<BTreeSet<_>>().into_iter().collect();
            dirs.sort_by_key(|dir| std::cmp::Reverse(dir.matches('/').count()));
            for dir in dirs {
                drop(hdfs.delete(dir, false).await);
            }
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &str) -> Result<(), StorageError> {
        self.run(dir, "remove", async |hdfs| hdfs.delete(dir, true).await)
    }
}
