use mstore_store::Hash;
use proptest::prelude::*;

use super::*;
use crate::drv::derivation::tests::{arb, check_canonical, sample};

fn digest(n: u64) -> Digest {
    Digest {
        size: n % MOST_PACKED,
        ..Digest::of(&n.to_le_bytes())
    }
}

fn tree(n: u64) -> TreeHash {
    TreeHash(Hash::of(&n.to_le_bytes()))
}

fn layer(n: u64, on: &[u64], bundles: std::ops::Range<u64>) -> Layer {
    Layer {
        on: on.iter().map(|n| tree(*n)).collect(),
        tree: tree(n),
        bundles: bundles.map(digest).collect(),
    }
}

/// Tree 1 lies on tree 0; tree 2 is a snapshot.
fn job() -> Job {
    Job {
        anew: false,
        bounds: Bounds::default(),
        step: sample().resolve(vec![tree(1), tree(2)]).unwrap(),
        layers: vec![
            layer(0, &[], 0..3),
            layer(1, &[0], 3..4),
            layer(2, &[], 4..6),
        ],
    }
}

fn record(outcome: Outcome) -> Record {
    Record {
        key: job().step.key(),
        times: Times {
            cut: 1,
            join: 2,
            began: 1_700_000_000,
            build: 3,
        },
        memory: Some(4096),
        outcome,
    }
}

#[test]
fn the_encodings_are_canonical_in_the_eyes_of_another_library() {
    check_canonical(&job().encode());
    for outcome in outcomes() {
        check_canonical(&record(outcome).encode().unwrap());
    }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Built {
            size: None,
            tree: tree(3),
            bundles: vec![digest(9)],
            changed: 7,
        },
        Outcome::Failed {
            how: "exit status 7".to_owned(),
            step: 0,
            limit: false,
            status: 7 << 8,
        },
        Outcome::Infrastructure {
            code: 101,
            what: "not a user namespace".to_owned(),
        },
    ]
}

#[test]
fn a_limit_travels_as_its_class_and_decides_no_key() {
    let sent = |timeout, own, run| {
        let mut derivation = sample();
        derivation.policy.timeout = timeout;
        derivation.policy.silence = own;
        let step = derivation.resolve(vec![tree(1), tree(2)]).unwrap();
        let sent = Job::sent(&step, run);
        assert_eq!(sent.key(), step.key());
        assert_eq!(Job::sent(&sent, run), sent);
        let policy = &sent.derivation().policy;
        (policy.timeout, policy.silence)
    };
    let timeout = |limit| sent(Some(limit), None, None).0.unwrap();
    for (limit, class) in [(1, 1), (3300, 1), (3301, 4), (40_000, 12), (50_000, 48)] {
        assert_eq!(timeout(limit), class * 3600 - 300, "{limit}");
    }
    assert_eq!(timeout(200_000), 96 * 3600 - 300);
    assert!(timeout(u64::MAX) > 1 << 62);
    assert_eq!(sent(None, None, None), (None, None));
    assert_eq!(sent(None, Some(60), Some(7200)).1, Some(900));
    assert_eq!(sent(None, None, Some(901)).1, Some(3600));
    assert_eq!(sent(None, None, Some(u64::MAX)).1, Some(u64::MAX));
}

#[test]
fn the_encoding_of_a_job_is_pinned() {
    // It may change only together with the number of the form: the digests of actions depend on it.
    insta::assert_snapshot!(Hash::of(&job().encode()), @"vyqdrxm6d3xjtcjzaqelnihj5itb7tx2dcorzezxtamaftul7xba");
}

#[test]
fn they_come_back_and_every_cut_and_every_turned_byte_is_refused_or_another() {
    let (job, bytes) = (job(), job().encode());
    assert_eq!(Job::decode(&bytes).unwrap(), job);
    for at in 0..bytes.len() {
        assert!(Job::decode(&bytes[..at]).is_err());
        let mut other = bytes.clone();
        other[at] ^= 0x41;
        if let Ok(read) = Job::decode(&other) {
            assert_eq!(read.encode(), other);
        }
    }
    for outcome in outcomes() {
        let record = record(outcome);
        let bytes = record.encode().unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), record);
        for at in 0..bytes.len() {
            assert!(Record::decode(&bytes[..at]).is_err());
        }
        let mut later = bytes;
        later[1] = 2;
        let refused = Record::decode(&later);
        assert!(matches!(refused, Err(ActionError::Format { found: 2 })));
    }
}

#[test]
fn jobs_that_make_no_sense_are_refused() {
    let refused = |change: &dyn Fn(&mut Job)| {
        let mut job = job();
        change(&mut job);
        Job::decode(&job.encode()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [
            refused(&|job| job.layers.swap(0, 1)),
            refused(&|job| job.layers[2].tree = tree(1)),
            refused(&|job| {
                job.layers.remove(2);
            }),
            refused(&|job| job.layers[0].bundles[0].size = MOST_PACKED + 1),
            refused(&|job| job.layers[0].bundles = vec![digest(0); MOST_BUNDLES]),
        ]
        .join("\n"),
        @"
    tree ohqkteltkzetdqfyvtcs2jufvdrzyzg4klr5ai4q7wwcuevrkxfq below tree digrealjthshnco24v2e2k4mdeb7v56kfcdkmwavacbradxszdxa is not before it
    tree digrealjthshnco24v2e2k4mdeb7v56kfcdkmwavacbradxszdxa is there twice
    the input 5iq4pm6iqxhs7nkhxniqc3elxowkehnsmtgj6mzhngwy3wev6crq is not among its trees
    a bundle has 16777217 bytes
    it has too many bundles
    "
    );
}

#[test]
fn records_that_make_no_sense_are_refused() {
    let refused = |outcome: Outcome| {
        let bytes = codec::encode(&(FORMAT, record(outcome)));
        Record::decode(&bytes).unwrap_err().to_string()
    };
    let failed = |how: String, status| Outcome::Failed {
        how,
        step: 0,
        limit: false,
        status,
    };
    let what = String::new();
    insta::assert_snapshot!(
        [
            refused(failed(String::new(), 0)),
            refused(failed("x".repeat(MOST_TEXT + 1), 256)),
            refused(Outcome::Infrastructure { code: 1, what }),
            refused(Outcome::Built {
                size: None,
                tree: tree(0),
                bundles: vec![digest(0); 20_000],
                changed: 0,
            }),
        ]
        .join("\n"),
        @"
    a script failed with exit status 0
    a text is too long
    an exit status is not one of a worker that failed
    record of 1780168 bytes is larger than the limit of 1048576
    "
    );
    // What this end writes is shortened.
    let long = record(failed("ä".repeat(MOST_TEXT), 256)).encode().unwrap();
    assert!(Record::decode(&long).is_ok());
}

#[test]
fn only_what_lacks_and_what_that_lies_on_is_joined() {
    let job = job();
    let lacking = |has: &[u64]| {
        let lacking = job
            .lacking(|t| Ok(has.iter().any(|n| tree(*n) == t)))
            .unwrap();
        lacking
            .into_iter()
            .map(|(first, layer)| (first, layer.tree))
            .collect::<Vec<_>>()
    };
    assert_eq!(lacking(&[]), [(0, tree(0)), (3, tree(1)), (4, tree(2))]);
    assert_eq!(lacking(&[0]), [(3, tree(1)), (4, tree(2))]);
    assert_eq!(lacking(&[1]), [(4, tree(2))]);
    assert_eq!(lacking(&[0, 1, 2]), []);
}

proptest! {
    #[test]
    fn jobs_come_back(step in arb(), extra in 0..3u64) {
        let trees: Vec<TreeHash> = (0..step.inputs.len() as u64).map(tree).collect();
        let mut layers: Vec<Layer> = (0..trees.len() as u64).map(|n| layer(n, &[], n..2 * n)).collect();
        layers.extend((0..extra).map(|n| layer(100 + n, &[], 0..1)));
        let bounds = Bounds { file: (extra > 0).then_some(extra), output: (extra == 1).then_some(7) };
        let job = Job { anew: extra > 1, bounds, step: step.resolve(trees).unwrap(), layers };
        prop_assert_eq!(Job::decode(&job.encode()).unwrap(), job);
    }

    #[test]
    fn nothing_that_is_sent_makes_them_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Job::decode(&bytes);
        let _ = Record::decode(&bytes);
        let mut headed = vec![0x82, 1];
        headed.extend(bytes);
        let _ = Job::decode(&headed);
        let _ = Record::decode(&headed);
    }
}
