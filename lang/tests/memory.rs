//! Memory and time that a specification may cost.

#[path = "../benches/generate.rs"]
mod generate;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mstore_lang::{Class, DiskFiles, Spec};

/// Counts what is allocated, and the most that ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(
            NOW.fetch_add(layout.size(), Relaxed) + layout.size(),
            Relaxed,
        );
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `block` came from `alloc` above, hence from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory used by some work, beyond what was in use before it.
fn peak<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let result = work();
    (result, MOST.load(Relaxed) - before)
}

fn with_file(text: &str, work: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("main.conf");
    std::fs::write(&path, text).expect("written");
    work(&path);
}

/// One test, since others would allocate at the same time.
#[test]
fn memory_is_bounded() {
    let text = generate::bulk(16 << 20);
    with_file(&text, |path| {
        let (spec, used) = peak(|| Spec::load(&DiskFiles, path, &[]).expect("loads"));
        let ratio = used as f64 / text.len() as f64;
        assert!(ratio < 3.0, "loading takes {ratio:.2} times the source");
        let (_, used) = peak(|| {
            for name in ["part/1/script", "part/1/setting-3"] {
                spec.value(name).expect_err("a circle, as generated");
            }
        });
        assert!(used < text.len() * 3, "asking takes {used} bytes");
    });

    // Deep: time and memory grow with the length alone, and the machine's stack does not grow at all.
    for text in [
        generate::chain(100_000),
        generate::growing_chain(100_000),
        generate::inclusions(100_000),
    ] {
        with_file(&text, |path| {
            let work = || {
                let spec = Spec::load(&DiskFiles, path, &[]).expect("loads");
                spec.value("e99999").expect("a value")
            };
            // A test's thread has two megabytes of stack; this one has far less.
            std::thread::scope(|scope| {
                let small = std::thread::Builder::new().stack_size(128 << 10);
                let (_, used) = small
                    .spawn_scoped(scope, || peak(work))
                    .expect("a thread")
                    .join()
                    .expect("no overflow");
                assert!(used < 600 * 100_000, "{used} bytes");
            });
        });
    }

    // A billion laughs: the error comes before the text does.
    let mut laughs = String::from("e0: ha\nf0: [\nha\n]\n");
    for index in 1..200 {
        laughs += &format!("e{index}: $[e{0}]$[e{0}]$[f{0}]\n", index - 1);
        laughs += &format!("f{index}: [\n$[[f{0}]]\n$[[f{0}]]\n$[e{0}]\n]\n", index - 1);
    }
    with_file(&laughs, |path| {
        let (spec, _) = peak(|| Spec::load(&DiskFiles, path, &[]).expect("loads"));
        let (error, used) = peak(|| spec.value("e199").expect_err("too large"));
        assert_eq!(error.class(), Class::Limit);
        assert!(used < 1 << 20, "{used} bytes");
    });

    // A circle of a hundred thousand, each of which fails.
    let ring: String = (0..100_000)
        .map(|index| format!("e{index}: $[e{}]\n", (index + 1) % 100_000))
        .collect();
    with_file(&ring, |path| {
        let spec = Spec::load(&DiskFiles, path, &[]).expect("loads");
        let all = spec.evaluate_all();
        assert!(all.iter().all(|(_, found)| {
            found
                .as_ref()
                .is_err_and(|error| error.class() == Class::Circular)
        }));
        assert!(
            all[0]
                .1
                .as_ref()
                .expect_err("a circle")
                .diagnostic
                .render(false)
                .len()
                < 10_000
        );
    });

    // A line of many megabytes, in a value, a comment, an annotation and a bad line.
    let long = "x".repeat(8 << 20);
    with_file(&format!("a: {long}\n# {long}\nb: $[a]\n"), |path| {
        let spec = Spec::load(&DiskFiles, path, &[]).expect("loads");
        assert_eq!(spec.value("b").expect("fits").to_text().len(), long.len());
    });
    for text in [
        format!("[{long}]\n"),
        format!("{long}\n"),
        format!("[when {long}\n"),
    ] {
        with_file(&text, |path| {
            let errors = Spec::load(&DiskFiles, path, &[]).expect_err("bad");
            assert!(errors.render(false).len() < 10_000);
            assert!(errors.to_string().len() < 10_000);
        });
    }
}
