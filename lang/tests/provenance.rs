//! Provenance: what `why value` is made of.

mod common;

use common::{Memory, one};
use insta::assert_snapshot;
use mstore_lang::provenance::{Answer, Effect};

#[test]
fn references_are_followed() {
    let spec = Memory::new(&[
        (
            "main.conf",
            "[collect arch/$[target/arch].conf]\n[section target]\narch: x86\nsubarch: $[:arch]-new\nname: stage3-$[:subarch]-$[target/version:lax]$[:extra?]\n",
        ),
        (
            "arch/x86.conf",
            "flags: -O2 $[target/subarch]\n[section all]\nline: $[flags] $[flags] $[target/name]\n",
        ),
    ]);
    let spec = spec.load(&[]).expect("loads");
    assert_snapshot!(spec.provenance("all/line").expect("defined").render());
}

#[test]
fn blocks_are_explained_line_by_line() {
    let spec = one(
        "who: world\ninner: [\nplain\n$[who]!\n]\nouter: [\n#!/bin/sh\n\necho $[who] $[none:zap]\n  $[[inner]]\n$[[gone:lax]]\necho $[who?] $[inner]\n]\n",
    );
    let spec = spec.expect("loads");
    assert_snapshot!(spec.provenance("outer").expect("defined").render());
}

#[test]
fn conditions_are_explained() {
    let spec = one(
        "m: $[n]\nn: 2\n[when m is 1]\na: one\n[when m is 2]\na: two $[m]\n[when none]\na: three\n[when *]\nb: $[a]\n",
    );
    let spec = spec.expect("loads");
    assert_snapshot!(spec.provenance("b").expect("defined").render());
}

#[test]
fn failures_are_explained() {
    let spec = one(
        "a: $[b] $[c:zap]\nb: x\nc: $[none]\nd: <$[c:lax]>\ne: $[f]\nf: $[e]\ng: x $[blank:zap] $[none]\nblank:\n",
    );
    let spec = spec.expect("loads");
    assert_snapshot!(spec.provenance("a").expect("defined").render());
    assert_snapshot!(spec.provenance("d").expect("defined").render());
    assert_snapshot!(spec.provenance("e").expect("defined").render());
    assert_snapshot!(spec.provenance("g").expect("defined").render());
    assert!(spec.provenance("nothing").is_err());
}

#[test]
fn files_and_the_command_line_are_named() {
    let spec = Memory::new(&[
        ("main.conf", "stamp: << $[dir]/stamp.txt\n"),
        ("sub/stamp.txt", "2019\n"),
    ]);
    let spec = spec.load(&[("dir", "sub")]).expect("loads");
    assert_snapshot!(spec.provenance("stamp").expect("defined").render());
}

#[test]
fn data_agrees_with_values() {
    let spec = one("a: $[b:zap]x\nb: $[c]\nc: 1\n").expect("loads");
    let why = spec.provenance("a").expect("defined");
    assert_eq!(why.nodes.len(), 3);
    assert_eq!(
        why.nodes[0].answer,
        Answer::Value(spec.value("a").expect("a value"))
    );
    assert_eq!(why.nodes[0].steps[0].effect, Effect::Used);
    assert_eq!(why.nodes[0].steps[0].written, "$[b:zap]");
    assert_eq!(
        why.nodes[why.nodes[0].steps[0].node.expect("a node")].element,
        "b"
    );
}

#[test]
fn deep_chains_are_bounded() {
    let mut text = String::from("e0: end\n");
    for index in 1..100_000 {
        text += &format!("e{index}: $[e{}]\n", index - 1);
    }
    let spec = one(&text).expect("loads");
    let why = spec.provenance("e99999").expect("defined");
    assert!(why.truncated);
    assert!(why.render().len() < 100_000);
}
