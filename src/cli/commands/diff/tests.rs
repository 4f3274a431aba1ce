//! One comparison in both forms.

use super::{markdown, text};
use crate::drv::derivation::Role;
use crate::plan::diff::{Fate, NodeDiff};
use crate::plan::{PlanDiff, Reason, line_diff};

fn node(name: &str, fate: Fate, reasons: Vec<Reason>) -> NodeDiff {
    NodeDiff {
        name: name.to_owned(),
        target: "stage".to_owned(),
        fate,
        old: None,
        new: None,
        reasons,
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
    insta::assert_snapshot!(text::render(&sample()), @r"
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
    assert_eq!(text::render(&PlanDiff::default()), "no difference\n");
}

#[test]
fn markdown_shows_details_in_blocks_that_their_content_cannot_close() {
    insta::assert_snapshot!(markdown::render(&sample()), @r"
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
    let same = markdown::render(&PlanDiff::default());
    assert_eq!(same, "No derivation differs.\n");
}
