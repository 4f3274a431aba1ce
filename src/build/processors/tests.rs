//! How processors move between steps, in a model and through real fifos.

use std::time::Instant;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::*;

fn lent(accounts: &[Account]) -> Vec<usize> {
    accounts.iter().map(|a| a.lent).collect()
}

fn decide(count: usize, accounts: &mut [Account]) {
    let mut all: Vec<&mut Account> = accounts.iter_mut().collect();
    settle(count, &mut all);
}

#[test]
fn a_step_that_is_alone_has_all_and_two_have_half_each() {
    let mut accounts = vec![Account::default()];
    decide(8, &mut accounts);
    assert_eq!(lent(&accounts), [7]);
    accounts.push(Account::default());
    decide(8, &mut accounts);
    assert_eq!(lent(&accounts), [3, 3]);
    // More steps than processors: nobody has more than the one it runs with.
    accounts.resize(9, Account::default());
    decide(8, &mut accounts);
    assert_eq!(lent(&accounts), [0; 9]);
}

#[test]
fn what_one_leaves_idle_serves_the_other() {
    let mut accounts = vec![Account::default(); 2];
    decide(4, &mut accounts);
    for _ in 0..200 {
        // The first uses whatever it gets, the second nothing.
        accounts[0].idle = 0;
        decide(4, &mut accounts);
    }
    let mut served = 0;
    for _ in 0..200 {
        accounts[0].idle = 0;
        served += accounts[0].used();
        decide(4, &mut accounts);
    }
    // Both further processors, but for now and then a tick in which the second is asked whether it
    // wants one.
    assert!(served > 380, "{served}");
}

/// What a step does between two looks.
#[derive(Clone, Debug)]
enum Act {
    Use(usize),
    Return(usize),
    Join,
    Leave,
}

fn act() -> impl Strategy<Value = (usize, Act)> {
    let act = prop_oneof![
        4 => (1..6_usize).prop_map(Act::Use),
        4 => (1..6_usize).prop_map(Act::Return),
        1 => Just(Act::Join),
        1 => Just(Act::Leave),
    ];
    (0..8_usize, act)
}

proptest! {
    #[test]
    fn nothing_is_lent_twice_and_nothing_is_lost(
        count in 1..12_usize,
        acts in proptest::collection::vec(act(), 0..120),
    ) {
        let mut accounts: Vec<Account> = Vec::new();
        for (who, act) in acts {
            let at = who.checked_rem(accounts.len());
            match (act, at) {
                (Act::Join, _) => accounts.push(Account::default()),
                (Act::Leave, Some(at)) => drop(accounts.remove(at)),
                (Act::Use(n), Some(at)) => {
                    accounts[at].idle = accounts[at].idle.saturating_sub(n);
                }
                (Act::Return(n), Some(at)) => {
                    accounts[at].idle = (accounts[at].idle + n).min(accounts[at].lent);
                }
                (_, None) => {}
            }
            let used: Vec<usize> = accounts.iter().map(Account::used).collect();
            decide(count, &mut accounts);
            let extra = count.saturating_sub(accounts.len());
            let now: Vec<usize> = accounts.iter().map(Account::used).collect();
            prop_assert_eq!(&used, &now);
            // All that can be lent is, unless those that could use it have just left it unused.
            let total: usize = accounts.iter().map(|a| a.lent).sum();
            prop_assert_eq!(total, match accounts.len() { 0 => 0, _ => extra.max(used.iter().sum()) });
        }
    }

    /// Whoever always wants more has its share as soon as the others gave back what is beyond theirs.
    #[test]
    fn everybody_comes_to_its_share(count in 2..12_usize, steps in 2..5_usize, greedy in 0..5_usize) {
        let mut accounts = vec![Account::default(); steps];
        let greedy = greedy % steps;
        accounts[greedy].lent = count - 1;
        for turn in 0..300 {
            for account in &mut accounts {
                account.idle = 0;
            }
            let all: Vec<&Account> = accounts.iter().collect();
            // One job ends a turn, and the steward is faster than make.
            if let Some(at) = to_watch(count, &all).first() {
                accounts[*at].idle = 1;
            } else if turn > count {
                break;
            }
            decide(count, &mut accounts);
        }
        let share = count.saturating_sub(steps) / steps;
        prop_assert!(lent(&accounts).iter().all(|n| *n >= share), "{accounts:?}");
    }
}

/// Gives a step a fifo, and what the step itself has of it.
fn connect(share: &Share) -> OwnedFd {
    let tmp = std::env::temp_dir();
    let name = format!("mstore-fifo-{}-{}", std::process::id(), share.number);
    let path = tmp.join(format!("{name}-{:p}", Arc::as_ptr(&share.shared)));
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let open = || {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::empty()).unwrap()
    };
    let (ours, theirs) = (open(), open());
    std::fs::remove_file(&path).unwrap();
    share.jobserver().connect(ours);
    theirs
}

/// Waits until `holds` does.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_step_that_ends_leaves_all_to_the_others_whatever_it_held() {
    let processors = Processors::new(5);
    let first = processors.join(1, 0);
    assert_eq!(first.jobs(), 5);
    let killed = connect(&first);
    assert_eq!(take(&killed, 9), 4);

    let second = processors.join(1, 0);
    assert_eq!((first.jobs(), second.jobs()), (3, 3));
    let other = connect(&second);
    assert_eq!(take(&other, 9), 0);
    // One was too many for two; the next that comes back goes to whoever has less.
    assert_eq!(put(&killed, 2), 2);
    soon("the second gets it", || take(&other, 1) == 1);

    drop(first);
    let mut got = 1;
    soon("the second gets all", || {
        got += take(&other, 9);
        got == 4
    });
    assert_eq!(second.jobs(), 5);
    drop(second);
    // The next one finds everything there.
    let third = processors.join(1, 0);
    assert_eq!(take(&connect(&third), 9), 4);
}

#[test]
fn what_a_step_makes_up_is_its_own_affair() {
    let processors = Processors::new(3);
    let hostile = processors.join(1, 0);
    let forger = connect(&hostile);
    // As much as the fifo takes.
    assert!(put(&forger, 1 << 20) > 1000);
    let second = processors.join(1, 0);
    let other = connect(&second);
    let mut got = 0;
    soon("the second gets one", || {
        got += take(&other, 9);
        got == 1
    });
    thread::sleep(TICK * 5);
    assert_eq!(take(&other, 9), 0);
    // Reading everything and giving nothing back starves nobody either: the second still has its one.
    assert!(take(&forger, 1 << 20) > 1000);
    thread::sleep(TICK * 5);
    assert_eq!((take(&other, 9), second.jobs()), (0, 2));
}

#[test]
fn more_than_there_is_can_be_given_and_a_share_without_a_fifo_counts() {
    let processors = Processors::new(3);
    let checked = processors.join(1, 1);
    assert_eq!(checked.jobs(), 4);
    assert_eq!(take(&connect(&checked), 9), 3);
    drop(checked);
    let (plain, closed) = (processors.join(1, 0), processors.join(1, 0));
    // Three, less the step itself, and less the one that has no fifo yet.
    assert_eq!(take(&connect(&plain), 9), 1);
    assert_eq!(closed.jobs(), 2);
}

#[test]
fn a_step_with_several_places_has_as_much_as_their_steps_would_have() {
    let processors = Processors::new(8);
    let wide = processors.join(3, 0);
    assert_eq!(wide.jobs(), 8);
    let narrow = processors.join(1, 0);
    assert_eq!((wide.jobs(), narrow.jobs()), (6, 2));
    drop(wide);
    assert_eq!(narrow.jobs(), 8);
    // What is lent follows.
    let hungry = |slots| Account {
        slots,
        ..Account::default()
    };
    let (mut wide, mut narrow) = (hungry(3), hungry(1));
    settle(10, &mut [&mut wide, &mut narrow]);
    assert_eq!((wide.lent, narrow.lent), (6, 2));
}
