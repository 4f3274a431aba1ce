#!/usr/bin/env python3
"""Prints what build.py found.    report.py WORK"""
import collections
import glob
import json
import sys


def words(result):
    said = []
    if result["outcome"] in ("differs", "noise"):
        said.append(f"{len(result['paths'])} of {result['entries']} paths")
    if result.get("sonames"):
        said.append("linked: " + " ".join(result["sonames"]))
    if result.get("undeclared_sonames"):
        said.append("undeclared sonames: " + " ".join(f"{name} ({owner})" for name, owner in sorted(result["undeclared_sonames"].items())))
    if found := result.get("findings", {}).get("differ"):
        said.append(f"{len(found)} findings differ")
    return "; ".join(said)


def main():
    work = sys.argv[1]
    results = [json.load(open(path, encoding="utf8")) for path in sorted(glob.glob(f"{work}/results/*.json"))]
    resolved = json.load(open(f"{work}/resolved.json", encoding="utf8"))
    for result in results:
        result["changed"] = "".join([*(f" + {name}" for name in result["with"]), *(f" - {name}" for name in result.get("without", []))])
    plain = [result for result in results if not result["changed"]]
    print("| package | outcome | layers | CPU s whole, narrow | wall s | what |\n| --- | --- | --- | --- | --- | --- |")
    for r in plain + [r for r in results if r["changed"]]:
        costs = [r[way] for way in ("whole", "narrow") if way in r]
        print(f"| {r['cpv']}{r['changed']} | {r['outcome']} | {len(r['layers'])} | {', '.join(str(c['cpu']) for c in costs)} | {', '.join(str(c['wall']) for c in costs)} | {words(r)} |")
    print()
    counts = collections.Counter(result["outcome"] for result in plain)
    print(f"{len(plain)} packages: " + ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items())))
    print(f"{sum(1 for r in plain if r.get('findings', {}).get('differ'))} of them with findings of configure that differ")
    print(f"CPU: {sum(r[way]['cpu'] for r in plain for way in ('whole', 'narrow') if way in r):.0f} s")
    for package in resolved["packages"]:
        if "cpv" not in package:
            print(f"left out: {package['name']}: {package['left_out']}")


main()
