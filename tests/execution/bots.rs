//! What a worker of `--bots` brings from an engine and leaves there: leases are handed to it, and the engine has the blobs
//! alone.

use std::fs;
use std::sync::{Arc, Mutex};

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::google::protobuf::Any;
use mstore::build::cancel::CancelToken;
use mstore::build::processors::Processors;
use mstore::drv::Derivation;
use mstore::drv::Role;
use mstore::drv::derivation::{Input, InputSource};
use mstore::farm::bots::bot::Craft;
use mstore::farm::bots::craft::{Builder, WrittenOutBound};
use mstore::farm::bots::table::Finished;
use mstore::schedule::reapi::cas::Cas;
use mstore::schedule::reapi::channel::Line;
use mstore::schedule::reapi::reactor::{Reactor, Stop};
use mstore::share::action::{Outcome, Record};
use mstore_store::{ImportOptions, OpenOptions, Store, TreeHash};
use prost::Message;
use tonic::Code;

use crate::fake::{Fake, Fault, digest};
use crate::place::{Place, noise};

/// A place whose step is a union, which needs no sandbox, and an engine that has all that it needs and waits.
fn waiting() -> (Place, Fake, re::Digest) {
    let mut place = Place::new(6 << 20);
    let base = place.step.trees()[0];
    let files = place.worker().with_file_name("layer");
    fs::create_dir_all(files.join("usr")).unwrap();
    fs::write(files.join("usr/large"), noise(7, 5 << 20)).unwrap();
    let layer = place.store.import_dir(&files, &ImportOptions::snapshot());
    let layer = layer.unwrap().tree;
    place.store.add_root("layer", layer).unwrap();
    let input = |role, tree| Input {
        at: "/".into(),
        role,
        owner: None,
        source: InputSource::Tree(tree),
    };
    let inputs = vec![input(Role::Root, base), input(Role::Layer, layer)];
    let union = Derivation::compose("all-s:compose".parse().unwrap(), "all-s", inputs);
    let platform = "x86_64".to_owned();
    let union = Derivation { platform, ..union };
    place.step = union.resolve(vec![base, layer]).unwrap();
    let fake = Fake::start(
        0,
        |_| unreachable!("nobody works here"),
        |call, _| (call == "execute").then_some(Fault::Queued),
    );
    let (live, stop) = (place.live(&fake), Stop::default());
    std::thread::scope(|scope| {
        scope.spawn(|| place.build_by(&live, &stop, &Mutex::default()));
        let began = std::time::Instant::now();
        while fake.state.operations.lock().unwrap().is_empty() {
            assert!(began.elapsed().as_secs() < 120, "it is never asked for");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        stop.stop();
    });
    let action = fake.state.actions.lock().unwrap()[0].clone();
    (place, fake, action)
}

/// Has a worker do what a lease says.
fn work(place: &Place, fake: &Fake, store: &Store, payload: Option<Any>) -> Finished {
    let reactor = Reactor::start().unwrap();
    let line = reactor.within(|| Line::new(place.settings(fake), "1"));
    let line = Arc::new(line.unwrap());
    let asked = line.clone();
    let abilities = reactor.run(&Stop::default(), async move { asked.abilities().await });
    let abilities = abilities.unwrap();
    let builder = Builder {
        reactor: &reactor,
        function: abilities.function,
        cas: Cas::new(line, abilities),
        store,
        processors: Processors::new(1),
        memory: None,
        bound: WrittenOutBound::new(1 << 30, true),
        host: "worker".to_owned(),
    };
    builder.work(payload, &CancelToken::new().unwrap())
}

fn lease(kind: &str, message: &impl Message) -> Option<Any> {
    Some(Any {
        type_url: format!("type.googleapis.com/build.bazel.remote.execution.v2.{kind}"),
        value: message.encode_to_vec(),
    })
}

fn open(place: &Place, name: &str) -> Store {
    let path = place.worker().with_file_name(name);
    Store::open(&path, &OpenOptions::create()).unwrap()
}

/// The tree that a worker says it built, all of which the engine has.
fn built(fake: &Fake, finished: &Finished) -> TreeHash {
    assert_eq!(finished.status.code, 0, "{:?}", finished.status);
    let result = re::ActionResult::decode(&*finished.result.as_ref().unwrap().value).unwrap();
    assert_eq!(result.exit_code, 0);
    let blobs = fake.state.blobs.lock().unwrap();
    let file = |name: &str| {
        let mut files = result.output_files.iter();
        let file = files.find(|file| file.path == name).unwrap();
        blobs[&file.digest.as_ref().unwrap().hash].clone()
    };
    assert!(zstd::decode_all(&*file("log.zst")).unwrap().is_empty());
    let folder = result.output_directories[0].tree_digest.as_ref().unwrap();
    let tree = re::Tree::decode(&*blobs[&folder.hash]).unwrap();
    let files = &tree.root.as_ref().unwrap().files;
    for file in files {
        assert!(blobs.contains_key(&file.digest.as_ref().unwrap().hash));
    }
    match Record::decode(&file("result")).unwrap().outcome {
        Outcome::Built { tree, bundles, .. } => {
            assert_eq!(bundles.len(), files.len());
            tree
        }
        other => panic!("{other:?}"),
    }
}

fn reads(fake: &Fake) -> usize {
    fake.state.count("batch") + fake.state.count("read")
}

#[test]
fn a_worker_brings_what_its_store_lacks_and_leaves_what_came_out() {
    let (place, fake, action) = waiting();
    let store = open(&place, "first");
    let before = reads(&fake);
    let finished = work(&place, &fake, &store, lease("Digest", &action));
    let tree = built(&fake, &finished);
    let cold = reads(&fake) - before;
    for tree in place.step.trees().iter().chain([&tree]) {
        assert!(store.has_tree(*tree).unwrap());
    }
    // The action itself, its command, its folder and its job alone: the trees are there.
    let before = reads(&fake);
    let finished = work(&place, &fake, &store, lease("Digest", &action));
    assert_eq!(built(&fake, &finished), tree);
    assert_eq!(reads(&fake) - before, 4);
    // And a bundle of each tree.
    assert_eq!(cold, 4 + 2);
    // An action may lie in the lease itself.
    let bytes = fake.state.blobs.lock().unwrap()[&action.hash].clone();
    let inline = re::Action::decode(&*bytes).unwrap();
    let before = reads(&fake);
    let finished = work(&place, &fake, &store, lease("Action", &inline));
    assert_eq!(built(&fake, &finished), tree);
    assert_eq!(reads(&fake) - before, 3);
}

#[test]
fn what_an_engine_lacks_or_sends_wrongly_is_its_fault_and_leaves_nothing() {
    let (place, fake, action) = waiting();
    let store = open(&place, "lacking");
    let lost = |size: &dyn Fn(usize) -> bool| {
        let mut blobs = fake.state.blobs.lock().unwrap();
        let hash = blobs.iter().filter(|(_, blob)| size(blob.len()));
        let hash = hash.map(|(hash, _)| hash.clone()).min().unwrap();
        (hash.clone(), blobs.remove(&hash).unwrap())
    };
    // A bundle.
    let (hash, bytes) = lost(&|size| size > 1 << 20);
    let finished = work(&place, &fake, &store, lease("Digest", &action));
    assert_eq!(finished.status.code, Code::FailedPrecondition as i32);
    assert!(finished.result.is_none());
    // One that is another of the same length.
    let wrong = bytes.iter().map(|byte| byte ^ 1).collect();
    fake.state.blobs.lock().unwrap().insert(hash.clone(), wrong);
    let finished = work(&place, &fake, &store, lease("Digest", &action));
    assert_eq!(finished.status.code, Code::Internal as i32);
    for tree in place.step.trees() {
        let begun = store.has_tree(*tree).unwrap();
        assert!(
            !begun
                || store
                    .verify(&Default::default(), &mut |_| ())
                    .unwrap()
                    .faults
                    .is_empty()
        );
    }
    // All is well again.
    fake.state.blobs.lock().unwrap().insert(hash, bytes);
    let finished = work(&place, &fake, &store, lease("Digest", &action));
    built(&fake, &finished);
    // The action itself.
    fake.state.blobs.lock().unwrap().remove(&action.hash);
    let finished = work(&place, &fake, &store, lease("Digest", &action));
    assert_eq!(finished.status.code, Code::FailedPrecondition as i32);
}

#[test]
fn what_is_no_job_of_ours_is_given_back() {
    let (place, fake, action) = waiting();
    let store = open(&place, "foreign");
    let refused = |payload| {
        let finished = work(&place, &fake, &store, payload);
        assert_eq!(finished.status.code, Code::InvalidArgument as i32);
        finished.status.message
    };
    let put = |bytes: Vec<u8>| {
        let digest = digest(&bytes);
        fake.state
            .blobs
            .lock()
            .unwrap()
            .insert(digest.hash.clone(), bytes);
        digest
    };
    let bytes = fake.state.blobs.lock().unwrap()[&action.hash].clone();
    let own = re::Action::decode(&*bytes).unwrap();
    let changed = |change: &dyn Fn(&mut re::Action)| {
        let mut action = own.clone();
        change(&mut action);
        lease("Action", &action)
    };
    let command = put(re::Command {
        arguments: vec!["/bin/sh".into()],
        ..re::Command::default()
    }
    .encode_to_vec());
    let empty = put(re::Directory::default().encode_to_vec());
    let job = put(b"no job".to_vec());
    let root = put(re::Directory {
        files: vec![re::FileNode {
            name: "job".into(),
            digest: Some(job),
            ..re::FileNode::default()
        }],
        ..re::Directory::default()
    }
    .encode_to_vec());
    let huge = re::Digest {
        size_bytes: 1 << 40,
        ..empty.clone()
    };
    let told = [
        refused(None),
        refused(lease("Platform", &re::Platform::default())),
        refused(changed(&|action| action.command_digest = None)),
        refused(changed(&|action| {
            action.command_digest = Some(command.clone())
        })),
        refused(changed(&|action| {
            action.input_root_digest = Some(empty.clone())
        })),
        refused(changed(&|action| {
            action.input_root_digest = Some(huge.clone())
        })),
        refused(changed(&|action| {
            action.input_root_digest = Some(root.clone())
        })),
    ];
    for text in &told {
        assert!(
            text.starts_with("this worker takes jobs of mstore alone: "),
            "{text}"
        );
    }
    assert!(
        told[3].contains("the command is another one"),
        "{}",
        told[3]
    );
    assert!(told[6].contains("the job: "), "{}", told[6]);
}
