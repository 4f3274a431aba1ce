//! What an engine is asked to execute, as a pure function of a step, the worker's program and the settings.
//!
//! Not a host, time, path of this machine or random number is in it: two clients of one version and the same settings
//! name the same action by the same digest, so that either finds what the other has had executed.

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::google::protobuf::Duration as WireDuration;
use mstore_store::{Hash, codec};

use super::digest::{Blob, Digest, Function};
use super::operation::RESULT;
use crate::drv::isa;
use crate::share::action::{FORMAT, Job, bundle_path, class};
use crate::share::bundle;

/// The name of the worker's program within an action.
const WORKER: &str = "mstore-worker";
/// The name of the job.
const JOB: &str = "job";
/// The folder of bundles that come back.
const OUT: &str = "out";
/// The log that comes back.
pub const LOG: &str = "log.zst";
/// Seconds that an action may take whose step has no limit.
const LONGEST: i64 = 48 * 3600;

/// What the settings say of actions.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The function that digests are made with.
    pub function: Function,
    /// Properties that workers must have, beside the usual ones.
    pub properties: &'a [(String, String)],
    /// A word that keeps results apart from those of others.
    pub salt: &'a str,
    /// Whether the engine is to keep no result of it.
    pub do_not_cache: bool,
}

/// An action with all that is small of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The digest of the action.
    pub action: Digest,
    /// The action, its command, its folders and its job.
    pub blobs: Vec<Blob>,
}

/// The digest by which an engine knows a bundle.
pub fn bundle_digest(function: Function, bundle: &bundle::Digest) -> Digest {
    Digest {
        hash: match function {
            Function::Sha256 => bundle.sha256.0,
            Function::Blake3 => *bundle.blake3.as_bytes(),
        },
        size: bundle.size,
    }
}

/// Describes what builds a step, with a worker of that digest.
pub fn describe(job: &Job, worker: Digest, rules: &Rules<'_>) -> Described {
    let function = rules.function;
    let derivation = job.step.derivation();
    let job_blob = Blob::new(function, job.encode());
    let file = |name: &str, digest: Digest, is_executable: bool| re::FileNode {
        name: name.to_owned(),
        digest: Some(digest.wire()),
        is_executable,
        node_properties: None,
    };
    let mut root = re::Directory {
        files: vec![
            file(JOB, job_blob.digest, false),
            file(WORKER, worker, true),
        ],
        ..re::Directory::default()
    };
    let mut bundles: Vec<re::FileNode> = job
        .bundles()
        .enumerate()
        .map(|(number, bundle)| {
            let path = bundle_path(number);
            let name = path.rsplit('/').next().unwrap_or(&path);
            file(name, bundle_digest(function, bundle), false)
        })
        .collect();
    bundles.sort_by(|a, b| a.name.cmp(&b.name));
    let mut blobs = Vec::new();
    if let Some(first) = job.bundles().next().map(|_| bundle_path(0)) {
        let folder = Blob::of(
            function,
            &re::Directory {
                files: bundles,
                ..re::Directory::default()
            },
        );
        root.directories.push(re::DirectoryNode {
            name: first.split('/').next().unwrap_or_default().to_owned(),
            digest: Some(folder.digest.wire()),
        });
        blobs.push(folder);
    }
    let root = Blob::of(function, &root);
    let platform = re::Platform {
        properties: properties(&derivation.platform, rules.properties),
    };
    let mut command = re::Command {
        arguments: [&format!("./{WORKER}"), "action", JOB]
            .map(str::to_owned)
            .to_vec(),
        output_paths: [LOG, OUT, RESULT].map(str::to_owned).to_vec(),
        ..re::Command::default()
    };
    #[expect(deprecated, reason = "engines of before 2.2 read this one")]
    {
        command.platform = Some(platform.clone());
    }
    let command = Blob::of(function, &command);
    let profile = Hash::of(derivation.sandbox.as_bytes());
    let action = Blob::of(
        function,
        &re::Action {
            command_digest: Some(command.digest.wire()),
            input_root_digest: Some(root.digest.wire()),
            timeout: Some(WireDuration {
                seconds: timeout(derivation.policy.timeout),
                nanos: 0,
            }),
            do_not_cache: rules.do_not_cache || !derivation.policy.impure.is_empty(),
            salt: codec::encode(&(FORMAT, profile, rules.salt)),
            platform: Some(platform),
        },
    );
    let digest = action.digest;
    blobs.extend([action, command, root, job_blob]);
    Described {
        action: digest,
        blobs,
    }
}

/// Seconds that an action may take whose step has a limit of so many.
fn timeout(limit: Option<u64>) -> i64 {
    limit.map_or(LONGEST, |limit| {
        // A protocol of seconds ends at some 10,000 years.
        i64::try_from(class(limit)).map_or(i64::MAX / 4, |class| class.min(i64::MAX / 4))
    })
}

/// The properties of a platform, by name and value.
fn properties(platform: &str, more: &[(String, String)]) -> Vec<re::platform::Property> {
    let property = |name: &str, value: &str| re::platform::Property {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let mut all = vec![
        property("ISA", &isa(platform)),
        property("OSFamily", "linux"),
    ];
    all.extend(more.iter().map(|(name, value)| property(name, value)));
    all.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
    all.dedup();
    all
}

/// The properties of a platform, for people.
pub fn shown_properties(platform: &str, more: &[(String, String)]) -> String {
    let all = properties(platform, more);
    let all: Vec<String> = all
        .iter()
        .map(|p| format!("{}={}", p.name, p.value))
        .collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use mstore_store::TreeHash;
    use prost::Message;

    use super::*;
    use crate::drv::derivation::tests::sample;
    use crate::share::bundle::Layer;

    fn job() -> Job {
        let trees = [b"a", b"b"].map(|text| TreeHash(Hash::of(text))).to_vec();
        let layer = |tree: &TreeHash| Layer {
            on: Vec::new(),
            tree: *tree,
            bundles: vec![bundle::Digest::of(tree.0.as_bytes())],
        };
        Job {
            anew: false,
            bounds: Default::default(),
            layers: trees.iter().map(layer).collect(),
            step: sample().resolve(trees).unwrap(),
        }
    }

    fn rules() -> Rules<'static> {
        Rules {
            function: Function::Sha256,
            properties: &[],
            salt: "",
            do_not_cache: false,
        }
    }

    fn worker() -> Digest {
        Function::Sha256.digest(b"the program")
    }

    #[test]
    fn the_digest_is_pinned() {
        // It may change only with a format number, and no cache of an engine serves what was there before.
        let described = describe(&job(), worker(), &rules());
        insta::assert_snapshot!(described.action, @"05365a290a2b80c56bc406f33a38a91339a5991d113ff6e56d45d130d1f5e77b/221");
        assert_eq!(described, describe(&job(), worker(), &rules()));
    }

    #[test]
    fn all_that_is_named_is_there() {
        let described = describe(&job(), worker(), &rules());
        let find = |digest: &Option<re::Digest>| {
            let digest = Digest::read(digest.as_ref().unwrap()).unwrap();
            let blob = described.blobs.iter().find(|blob| blob.digest == digest);
            blob.unwrap().bytes.clone()
        };
        let action = find(&Some(described.action.wire()));
        let action = re::Action::decode(&*action).unwrap();
        let command = re::Command::decode(&*find(&action.command_digest)).unwrap();
        assert_eq!(command.arguments, ["./mstore-worker", "action", "job"]);
        assert_eq!(command.output_paths, ["log.zst", "out", "result"]);
        #[expect(deprecated, reason = "engines of before 2.2 read this one")]
        let platform = command.platform;
        assert_eq!(platform, action.platform);
        let root = re::Directory::decode(&*find(&action.input_root_digest)).unwrap();
        let names: Vec<&str> = root.files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["job", "mstore-worker"]);
        assert_eq!(root.directories[0].name, "b");
        let bundles = re::Directory::decode(&*find(&root.directories[0].digest)).unwrap();
        let names: Vec<&str> = bundles.files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["0000", "0001"]);
        assert_eq!(Job::decode(&find(&root.files[0].digest)).unwrap(), job());
    }

    #[test]
    fn a_limit_within_its_class_and_the_order_of_properties_change_nothing() {
        let with = |change: &dyn Fn(&mut crate::drv::Derivation)| {
            let mut job = job();
            let mut derivation = job.step.derivation().clone();
            change(&mut derivation);
            job.step = derivation.resolve(job.step.trees().to_vec()).unwrap();
            job
        };
        let limited = |limit| {
            let mut job = with(&|d| d.policy.timeout = limit);
            job.step = Job::sent(&job.step, None);
            describe(&job, worker(), &rules())
        };
        let class = |limit| {
            let described = limited(limit);
            let mut blobs = described.blobs.iter();
            let action = blobs.find(|blob| blob.digest == described.action);
            let action = re::Action::decode(&*action.unwrap().bytes).unwrap();
            action.timeout.unwrap().seconds / 3600
        };
        assert_eq!(limited(Some(60)).action, limited(Some(3000)).action);
        assert_ne!(limited(Some(60)).action, limited(Some(4000)).action);
        let all = [
            Some(1),
            Some(3300),
            Some(3600),
            Some(40_000),
            Some(50_000),
            Some(200_000),
            None,
        ];
        assert_eq!(all.map(class), [1, 1, 4, 12, 48, 96, 48]);
        assert!(class(Some(u64::MAX)) > 0);
        let property = |name: &str| (name.to_owned(), "x".to_owned());
        let one = [property("pool"), property("Aa")];
        let other = [property("Aa"), property("pool")];
        let digest = |properties| {
            describe(
                &job(),
                worker(),
                &Rules {
                    properties,
                    ..rules()
                },
            )
            .action
        };
        assert_eq!(digest(&one), digest(&other));
        assert_ne!(digest(&one), digest(&one[..1]));
    }

    #[test]
    fn what_decides_is_in_the_digest() {
        let base = describe(&job(), worker(), &rules()).action;
        let other = [
            describe(
                &job(),
                Function::Sha256.digest(b"another program"),
                &rules(),
            ),
            describe(
                &job(),
                worker(),
                &Rules {
                    salt: "mine",
                    ..rules()
                },
            ),
            describe(
                &job(),
                worker(),
                &Rules {
                    do_not_cache: true,
                    ..rules()
                },
            ),
            describe(
                &job(),
                worker(),
                &Rules {
                    function: Function::Blake3,
                    ..rules()
                },
            ),
        ];
        for other in other {
            assert_ne!(other.action, base);
        }
    }
}
