//! Trees as container images: an image layout of the Open Container Initiative, in one layer.
//!
//! The result is a folder that `skopeo`, `podman` and others read (`skopeo inspect oci:FOLDER`). It is
//! as reproducible as an archive: the same tree and options give the same bytes in every file.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::compress::Compression;
use crate::tar::{Exported, export};
use crate::{Beside, Cancel, ExportOptions, Need, Store, StoreError, TreeHash};

/// How to write an image.
#[derive(Debug, Clone)]
pub struct OciOptions {
    /// The machine that can run it, by the name that images use: see [`OciOptions::for_machine`].
    pub architecture: String,
    /// The variant of the machine, as `v7` of `arm`.
    pub variant: Option<String>,
    /// How the layer is compressed: none, gzip or zstd. Images know no xz.
    pub compression: Compression,
    /// How many threads compress; 0 means one for each processor. This changes no byte.
    pub threads: usize,
    /// The tag under which tools find the image in the folder.
    pub tag: Option<String>,
    /// What runs when a container is started without a command.
    pub command: Vec<String>,
    /// Environment of the command, `NAME=value` each.
    pub environment: Vec<String>,
    /// Labels, as pairs of key and value.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Ends the export with [`StoreError::Interrupted`].
    pub cancel: Cancel,
}

impl Default for OciOptions {
    fn default() -> OciOptions {
        OciOptions {
            architecture: "amd64".into(),
            variant: None,
            compression: Compression::Gzip(Compression::GZIP),
            threads: 0,
            tag: None,
            command: vec!["/bin/sh".into()],
            environment: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            ],
            labels: Default::default(),
            cancel: Cancel::new(),
        }
    }
}

impl OciOptions {
    /// Default options for a machine by the name that `uname -m` has for it.
    pub fn for_machine(machine: &str) -> OciOptions {
        let (architecture, variant) = match machine {
            "x86_64" => ("amd64", None),
            "i386" | "i486" | "i586" | "i686" => ("386", None),
            "aarch64" => ("arm64", None),
            "armv5tel" => ("arm", Some("v5")),
            "armv6l" => ("arm", Some("v6")),
            "armv7l" => ("arm", Some("v7")),
            "loongarch64" => ("loong64", None),
            // riscv64, ppc64le, s390x and others have the same name in both worlds.
            other => (other, None),
        };
        OciOptions {
            architecture: architecture.into(),
            variant: variant.map(str::to_string),
            ..OciOptions::default()
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciImage {
    /// The digest of the manifest, by which the image can be pinned: `sha256:...`.
    pub digest: String,
    /// What the layer holds.
    pub layer: Exported,
    /// Bytes of the layer as it lies in the folder.
    pub layer_bytes: u64,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<std::collections::BTreeMap<&'static str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

#[derive(Serialize)]
struct Platform {
    architecture: String,
    os: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
struct Config<'a> {
    #[serde(flatten)]
    platform: Platform,
    config: Run<'a>,
    rootfs: Rootfs,
    history: [History; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Run<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cmd: &'a [String],
    working_dir: &'static str,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    labels: &'a std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Rootfs {
    r#type: &'static str,
    diff_ids: [String; 1],
}

#[derive(Serialize)]
struct History {
    created_by: String,
}

impl Store {
    /// Writes a tree as an image layout into a folder, which must not exist yet or be empty.
    ///
    /// The folder appears when all of it is written. Names that begin with `.wh.` mean deletions in
    /// a layer, so a tree that has one is refused.
    pub fn export_oci(
        &self,
        tree: TreeHash,
        folder: &Path,
        options: &OciOptions,
    ) -> Result<OciImage, StoreError> {
        let _lease = self.reading(tree)?;
        let media_type = media_type(options.compression, folder)?;
        let object = self.tree(tree)?;
        let work = begin(folder)?;
        let blobs = work.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|e| StoreError::io("make folder", &blobs, e))?;

        let partial = blobs.join("layer");
        let file = fs::File::create(&partial).map_err(|e| StoreError::io("make", &partial, e))?;
        let mut out = Hashed {
            inner: file,
            hash: Sha256::new(),
            bytes: 0,
            cancel: &options.cancel,
        };
        let mut plain = Sha256::new();
        let settings = ExportOptions {
            compression: options.compression,
            threads: options.threads,
        };
        let need = || self.content_of(tree).map(Need::Archive);
        let layer = export::export_layer(self, &object, &mut out, &settings, &mut |data| {
            plain.update(data);
        })
        .map_err(|e| match options.cancel.is_cancelled() {
            true => StoreError::Interrupted,
            false => e.writing_to(folder).needing(need),
        })?;
        let layer_bytes = out.bytes;
        let layer_digest = hex(out.hash);
        let named = blobs.join(&layer_digest);
        fs::rename(&partial, &named).map_err(|e| StoreError::io("rename", &named, e))?;
        let layers = vec![Descriptor {
            media_type,
            digest: format!("sha256:{layer_digest}"),
            size: layer_bytes,
            annotations: None,
            platform: None,
        }];
        let digest = describe(work.path(), tree, options, layers, hex(plain))?;
        if options.cancel.is_cancelled() {
            return Err(StoreError::Interrupted);
        }
        // It takes the place of an empty folder, and of nothing else.
        work.place()
            .map_err(|e| StoreError::io("make folder", folder, e))?;
        Ok(OciImage {
            digest,
            layer,
            layer_bytes,
        })
    }
}

/// The media type of a layer of this compression; `folder` is for the message where there is none.
fn media_type(compression: Compression, folder: &Path) -> Result<&'static str, StoreError> {
    Ok(match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        Compression::Xz(_) => {
            return Err(StoreError::BadEntry {
                path: folder.display().to_string(),
                reason: "layers of images cannot be compressed with xz".into(),
            });
        }
    })
}

/// Writes configuration, manifest and index of an image; returns the digest of its manifest.
/// `diff_id` is the hash of the layer before compression.
fn describe(
    folder: &Path,
    tree: TreeHash,
    options: &OciOptions,
    layers: Vec<Descriptor>,
    diff_id: String,
) -> Result<String, StoreError> {
    let blobs = folder.join("blobs/sha256");
    let platform = || Platform {
        architecture: options.architecture.clone(),
        os: "linux",
        variant: options.variant.clone(),
    };
    let config = Config {
        platform: platform(),
        config: Run {
            env: &options.environment,
            cmd: &options.command,
            working_dir: "/",
            labels: &options.labels,
        },
        rootfs: Rootfs {
            r#type: "layers",
            diff_ids: [format!("sha256:{diff_id}")],
        },
        history: [History {
            created_by: format!("mstore tree {tree}, {}", options.compression),
        }],
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: put(&blobs, CONFIG, &config)?,
        layers,
    };
    let mut manifest = put(&blobs, MANIFEST, &manifest)?;
    let digest = manifest.digest.clone();
    manifest.platform = Some(platform());
    manifest.annotations = options
        .tag
        .iter()
        .map(|tag| Some([("org.opencontainers.image.ref.name", tag.clone())].into()))
        .next()
        .flatten();
    let index = Index {
        schema_version: 2,
        media_type: INDEX,
        manifests: vec![manifest],
    };
    write(&folder.join("index.json"), &json(&index)?)?;
    write(
        &folder.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(digest)
}

/// Writes an object under its digest.
fn put(
    blobs: &Path,
    media_type: &'static str,
    value: &impl Serialize,
) -> Result<Descriptor, StoreError> {
    let bytes = json(value)?;
    let digest = hex(Sha256::new_with_prefix(&bytes));
    write(&blobs.join(&digest), &bytes)?;
    Ok(Descriptor {
        media_type,
        digest: format!("sha256:{digest}"),
        size: bytes.len() as u64,
        annotations: None,
        platform: None,
    })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    // Cannot fail for structs of text and numbers, but a caller loses nothing by the check.
    serde_json::to_vec(value).map_err(|e| StoreError::io("write JSON", "image", io::Error::from(e)))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    fs::write(path, bytes).map_err(|e| StoreError::io("write", path, e))
}

fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Hashes and counts what passes, until it is cancelled.
struct Hashed<'a, W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
    cancel: &'a Cancel,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let count = self.inner.write(data)?;
        self.hash.update(&data[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A folder beside the wanted one, which must not be there, or be empty.
fn begin(target: &Path) -> Result<Beside, StoreError> {
    let bad = |reason: &str| StoreError::BadEntry {
        path: target.display().to_string(),
        reason: reason.into(),
    };
    if let Ok(mut entries) = fs::read_dir(target) {
        if entries.next().is_some() {
            return Err(bad("the folder is not empty"));
        }
    } else if fs::symlink_metadata(target).is_ok() {
        return Err(bad("it exists and is not a folder"));
    }
    Beside::of(target).map_err(|e| StoreError::io("make folder", target, e))
}
