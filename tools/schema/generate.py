#!/usr/bin/env python3
"""Writes config/schema/gateway-api-<version>.json from the CRDs of the Gateway API, config/schema/transom.json from
our own ones in config/crd, and config/schema/rules.json with the rules of both.

Usage: tools/schema/generate.py [MODULE_DIRECTORY]

MODULE_DIRECTORY is an unpacked sigs.k8s.io/gateway-api, as `go mod download -json` names it; without it, the
module that tests/upstream/go.mod requires is looked up with the go command. Needs Python 3 and PyYAML.

The experimental channel is read: it has every field, and where both channels have a field their constraints
are the same but for what docs of src/source/schema name. Only constraints are carried over: types, bounds,
patterns, defaults and rules. Descriptions and messages are not: Transom words its own, the ones for rules in
config/schema/rules.json under `says`. This program keeps those that are there and names the rules without one.

Of a rule, `id` is the first eight hex digits of the SHA-256 of its text; `at` (optional) is the field of the
judged value that the rule is about; `{x}` in `says` stands for the value's field x as it was found.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "config" / "schema"

# Carried over as they are, in this order.
PLAIN = [
    "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems",
    "minProperties", "maxProperties", "nullable", "default", "required",
]
# Dropped on purpose: text for people, and what only matters to server-side apply.
DROPPED = {"description", "x-kubernetes-map-type"}


def rule_id(rule):
    return hashlib.sha256(rule.encode()).hexdigest()[:8]


def reduce(node, rules):
    """The constraints of one schema node; rules are collected by id."""
    out = {key: node[key] for key in PLAIN if key in node}
    known = set(PLAIN) | DROPPED
    if "properties" in node:
        out["properties"] = {name: reduce(sub, rules) for name, sub in sorted(node["properties"].items())}
    for key in ("items", "additionalProperties", "not"):
        if key in node:
            out[key] = reduce(node[key], rules)
    for key in ("oneOf", "anyOf", "allOf"):
        if key in node:
            out[key] = [reduce(sub, rules) for sub in node[key]]
    if node.get("x-kubernetes-list-type") == "set":
        out["unique"] = []
    elif node.get("x-kubernetes-list-type") == "map":
        out["unique"] = node["x-kubernetes-list-map-keys"]
    if node.get("x-kubernetes-validations"):
        out["rules"] = []
        for validation in node["x-kubernetes-validations"]:
            extra = set(validation) - {"rule", "message", "messageExpression", "reason"}
            if extra:
                sys.exit(f"a rule has what this program does not know: {extra}")
            rule = " ".join(validation["rule"].split("\n")) if "\n" in validation["rule"] else validation["rule"]
            rules[rule_id(rule)] = rule
            out["rules"].append(rule_id(rule))
    known |= {"properties", "items", "additionalProperties", "not", "oneOf", "anyOf", "allOf"}
    known |= {"x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations"}
    unknown = set(node) - known
    if unknown:
        sys.exit(f"the schema has constraints that this program does not know: {unknown}")
    return out


def module_directory():
    if len(sys.argv) > 1:
        return pathlib.Path(sys.argv[1])
    found = subprocess.run(
        ["go", "mod", "download", "-json", "sigs.k8s.io/gateway-api"],
        cwd=ROOT / "tests" / "upstream", check=True, stdout=subprocess.PIPE, text=True,
        # The module asks for a newer Go than most machines have.
        env=os.environ | {"GOTOOLCHAIN": "auto", "GOFLAGS": "-mod=mod"},
    )
    return pathlib.Path(json.loads(found.stdout)["Dir"])


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def lines(table):
    return "{\n" + ",\n".join(f"{compact(key)}:{compact(value)}" for key, value in table.items()) + "\n}"


def write(folder, rules, file):
    """Reduces the CRDs of a folder to one file; rules are collected by id."""
    kinds, schemas, bundle = {}, {}, "transom"
    for path in sorted(folder.glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            if not crd or crd.get("kind") != "CustomResourceDefinition":
                continue
            spec = crd["spec"]
            bundle = crd["metadata"].get("annotations", {}).get("gateway.networking.k8s.io/bundle-version", bundle)
            kind = spec["names"]["kind"]
            versions = {}
            # Stable versions first, so that what they share is named after them.
            for version in sorted(spec["versions"], key=lambda v: (len(v["name"]), v["name"])):
                schema = reduce(version["schema"]["openAPIV3Schema"], rules)
                same = [name for name, other in schemas.items() if other == schema and name.split("/")[0] == kind]
                name = same[0] if same else f"{kind}/{version['name']}"
                schemas.setdefault(name, schema)
                versions[version["name"]] = name
            kinds[f"{spec['group']}/{kind}"] = {"namespaced": spec["scope"] == "Namespaced", "versions": versions}

    OUT.mkdir(parents=True, exist_ok=True)
    text = f'{{"bundle":{compact(bundle)},\n"kinds":{lines(kinds)},\n"schemas":{lines(schemas)}}}\n'
    (OUT / file.format(bundle=bundle)).write_text(text)
    print(f"{file.format(bundle=bundle)}: {len(kinds)} kinds, {len(schemas)} schemas")


def main():
    rules = {}
    write(module_directory() / "config" / "crd" / "experimental", rules, "gateway-api-{bundle}.json")
    write(ROOT / "config" / "crd", rules, "transom.json")

    path = OUT / "rules.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    table = {}
    for name, rule in sorted(rules.items(), key=lambda item: item[1]):
        table[name] = {"rule": rule} | {key: old.get(name, {})[key] for key in ("at", "says") if key in old.get(name, {})}
    # Rules of config/schema/core-v1.json are ours, written by hand.
    for name, entry in old.items():
        if entry.get("ours"):
            table[name] = entry
    path.write_text(lines(table) + "\n")
    silent = [name for name, entry in table.items() if "says" not in entry]
    print(f"rules.json: {len(table)} rules, {len(silent)} of them without words of ours")
    for name in silent:
        print(f"  {name} {table[name]['rule']}")


if __name__ == "__main__":
    main()
