//! One comparison in both forms.

use super::{markdown, text};
use crate::drv::derivation::Role;
use crate::plan::diff::{Fate, NodeDiff};
use crate::plan::name::Arch;
use crate::plan::{Index, PlanDiff, Reason, line_diff};

fn node(name: &str, fate: Fate, reasons: Vec<Reason>) -> NodeDiff {
    NodeDiff {
        name: name.to_owned(),
        target: "stage".to_owned(),
        fate,
        old: None,
        new: None,
        reasons,
        package: None,
    }
}

fn sample() -> PlanDiff {
    let script = || Reason::Script {
        phase: "run".to_owned(),
        diff: line_diff("make\n", "make\n```\n").into_iter().collect(),
    };
    let upstream = Reason::Upstream {
        role: Role::Root,
        from: "stage2-corei7:run".to_owned(),
    };
    let env = Reason::Env {
        name: "USE".to_owned(),
        old: Some("one\ntwo".to_owned()),
        new: None,
    };
    PlanDiff {
        nodes: vec![
            node("stage1-corei7:run", Fate::Changed, vec![script()]),
            node(
                "stage1-amd64:run",
                Fate::Changed,
                vec![script(), upstream.clone()],
            ),
            node("stage2-corei7:run", Fate::Changed, vec![env]),
            node("stage3-corei7:run", Fate::Downstream, vec![upstream]),
            node("stage4-corei7:run", Fate::Added, Vec::new()),
            node("stage0-corei7:run", Fate::Removed, Vec::new()),
            node("stage5-corei7:run", Fate::Unaffected, Vec::new()),
        ],
        stale: vec!["stage1-corei7".to_owned()],
        removed: vec!["stage0-corei7".to_owned()],
        unchanged: 3,
    }
}

#[test]
fn text_tells_of_like_steps_together() {
    insta::assert_snapshot!(text::render(&sample(), &index(), &index()), @r"
    ~ stage1-corei7:run stage1-amd64:run: changed
        the script of `run` changed
            make
          + ```
    ~ stage2-corei7:run: changed
        env/USE is gone
          - one
        two
    > stage3-corei7:run: downstream
    + stage4-corei7:run: new
    - stage0-corei7:run: gone
    = 1 more: not built again, only names, time limits or earlier tests differ
    stale: stage1-corei7
    no longer there: stage0-corei7
    ");
    assert_eq!(
        text::render(&PlanDiff::default(), &index(), &index()),
        "no difference\n"
    );
}

#[test]
fn markdown_shows_details_in_blocks_that_their_content_cannot_close() {
    insta::assert_snapshot!(markdown::render(&sample(), &index(), &index()), @r"
    **1 target stale:** `stage1-corei7`

    **No longer there:** `stage0-corei7`

    - 2 steps changed: `stage1-corei7:run` `stage1-amd64:run`

      ````diff
      the script of `run` changed
        make
      + ```
      ````

    - 1 step changed: `stage2-corei7:run`

      ```diff
      env/USE is gone
      - one
      two
      ```

    - 1 step downstream: `stage3-corei7:run`
    - 1 step new: `stage4-corei7:run`
    - 1 step gone: `stage0-corei7:run`
    - 1 step not built again: only names, time limits or earlier tests differ
    ");
    let same = markdown::render(&PlanDiff::default(), &index(), &index());
    assert_eq!(same, "No derivation differs.\n");
}

/// 244 subarches.
fn index() -> Index {
    let mut index = Index::default();
    index.default_build = "demo".to_owned();
    index.builds = vec!["demo".to_owned()];
    index.arches = vec![Arch {
        name: "pc".to_owned(),
        subarches: (0..244).map(|n| format!("sub{n}")).collect(),
    }];
    index.targets = (1..=4).map(|n| format!("stage{n}")).collect();
    index
}

/// A line of a script that all have, and one variable that is other in each.
fn large() -> PlanDiff {
    let mut diff = PlanDiff {
        unchanged: 9,
        ..PlanDiff::default()
    };
    for n in 0..244 {
        let mut add = |stage: &str, step: &str, fate, reasons| {
            let target = format!("{stage}-sub{n}");
            diff.nodes.push(NodeDiff {
                target: target.clone(),
                ..node(&format!("{target}:{step}"), fate, reasons)
            });
            if diff.stale.last() != Some(&target) {
                diff.stale.push(target);
            }
        };
        let script = Reason::Script {
            phase: "run".to_owned(),
            diff: line_diff("make\n", "make -k\n").into_iter().collect(),
        };
        add("stage1", "run", Fate::Changed, vec![script]);
        add("stage1", "clean", Fate::Downstream, Vec::new());
        let env = Reason::Env {
            name: "CFLAGS".to_owned(),
            old: Some(format!("-O2 -march=sub{n}")),
            new: Some(format!("-O3 -march=sub{n}")),
        };
        add("stage2", "run", Fate::Changed, vec![env]);
        for step in ["one", "two", "three", "four", "five"] {
            add("stage3", step, Fate::Downstream, Vec::new());
        }
        if n % 20 == 7 {
            add("stage4", "run", Fate::Downstream, Vec::new());
        }
    }
    diff
}

#[test]
fn many_steps_are_told_of_by_their_kind_on_less_than_a_screen() {
    let text = text::render(&large(), &index(), &index());
    assert!(text.lines().count() < 24, "{text}");
    insta::assert_snapshot!(text, @"
    ~ 244 steps changed: all 244 stage1-*:run
        the script of `run` changed
          - make
          + make -k
    > 1476 steps downstream:
        all 244 stage1-*:clean
        all 244 stage3-* (5 steps each)
        12 of 244 stage4-*:run, such as stage4-sub7:run
    ~ 244 steps changed: all 244 stage2-*:run
      in 244 ways; that of stage2-sub0:run:
        env/CFLAGS changed
          - -O2 -march=sub0
          + -O3 -march=sub0
    stale:
        all 244 stage1-*
        all 244 stage2-*
        all 244 stage3-*
        12 of 244 stage4-*, such as stage4-sub7
    ");
    insta::assert_snapshot!(markdown::render(&large(), &index(), &index()), @"
    **744 targets stale:** all 244 `stage1-*`, all 244 `stage2-*`, all 244 `stage3-*`, 12 of 244 `stage4-*`, such as `stage4-sub7`

    - 244 steps changed: all 244 `stage1-*:run`

      ```diff
      the script of `run` changed
      - make
      + make -k
      ```

    - 1476 steps downstream: all 244 `stage1-*:clean`, all 244 `stage3-*` (5 steps each), 12 of 244 `stage4-*:run`, such as `stage4-sub7:run`
    - 244 steps changed: all 244 `stage2-*:run`

      in 244 ways; that of `stage2-sub0:run`:

      ```diff
      env/CFLAGS changed
      - -O2 -march=sub0
      + -O3 -march=sub0
      ```
    ");
}
