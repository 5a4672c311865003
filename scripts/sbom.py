#!/usr/bin/env python3
"""What the release is made of, as an SPDX 2.3 document in JSON: every crate that links into the
command or the libraries, with its version, licence and checksum, and who needs whom.

    scripts/sbom.py TARGET SECONDS > sbom.spdx.json

TARGET is a Rust target, SECONDS the time of the document since 1970. The same sources give the same
document. Crates of tests and build scripts, and those that only write code, are not in it.
"""

import datetime
import hashlib
import json
import os
import re
import subprocess
import sys

FEATURES = ["--features", "vaekl/capi", "--locked"]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def cargo(*arguments):
    return output(os.environ.get("CARGO", "cargo"), *arguments)


def linked(target):
    """The crates that link, (name, version) to those they need, as cargo resolves features."""
    needs, path = {}, []
    tree = ["tree", "--workspace", "--target", target, "--edges", "normal,no-proc-macro"]
    for line in cargo(*tree, "--prefix", "depth", "--format", "{p}", *FEATURES).splitlines():
        if not line:
            continue
        depth, name, version = re.match(r"(\d+)(\S+) v(\S+)", line).groups()
        del path[int(depth) :]
        needs.setdefault((name, version), set())
        if path:
            needs[path[-1]].add((name, version))
        path.append((name, version))
    return needs


def checksums():
    """SHA-256 of each crate's archive, as Cargo.lock has it."""
    found = {}
    with open("Cargo.lock", encoding="utf-8") as lock:
        for entry in lock.read().split("[[package]]")[1:]:
            fields = dict(re.findall(r'^(\w+) = "(.*)"$', entry, re.MULTILINE))
            found[fields["name"], fields["version"]] = fields.get("checksum")
    return found


def described(target):
    """What each crate says of itself."""
    metadata = cargo("metadata", "--format-version", "1", "--filter-platform", target, *FEATURES)
    return {(one["name"], one["version"]): one for one in json.loads(metadata)["packages"]}


def identifier(crate):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", "-".join(crate))


def package(crate, about, checksum):
    name, version = crate
    binary = any("bin" in one["kind"] for one in about["targets"])
    made = {
        "SPDXID": identifier(crate),
        "name": name,
        "versionInfo": version,
        "downloadLocation": f"https://static.crates.io/crates/{name}/{name}-{version}.crate",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        # Older crates have "/" for "OR".
        "licenseDeclared": re.sub(r"\s*/\s*", " OR ", about["license"]),
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "APPLICATION" if binary else "LIBRARY",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:cargo/{name}@{version}",
            }
        ],
    }
    if checksum:
        made["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
    else:  # our own, which comes with this document
        made["downloadLocation"] = "NOASSERTION"
    return made


def standard_library():
    told = output(os.environ.get("RUSTC", "rustc"), "--version", "--verbose")
    release = re.search("^release: (.*)$", told, re.MULTILINE)[1]
    commit = re.search("^commit-hash: (.*)$", told, re.MULTILINE)[1]
    return {
        "SPDXID": "SPDXRef-rust-std",
        "name": "rust-std",
        "versionInfo": release,
        "downloadLocation": f"git+https://github.com/rust-lang/rust@{commit}",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "MIT OR Apache-2.0",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "LIBRARY",
    }


def document(target, seconds):
    needs, about, sums = linked(target), described(target), checksums()
    crates = sorted(needs)
    own = [crate for crate in crates if sums[crate] is None]

    def relation(one, kind, other):
        return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}

    relations = [relation("SPDXRef-DOCUMENT", "DESCRIBES", identifier(crate)) for crate in own]
    for crate in crates:
        for other in sorted(needs[crate]):
            relations.append(relation(identifier(crate), "DEPENDS_ON", identifier(other)))
        relations.append(relation(identifier(crate), "DEPENDS_ON", "SPDXRef-rust-std"))
    packages = [package(crate, about[crate], sums[crate]) for crate in crates]
    packages.append(standard_library())
    version = about[own[0]]["version"]
    digest = hashlib.sha256(json.dumps([packages, relations, seconds]).encode()).hexdigest()
    created = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"vaekl-{version}-{target}",
        "documentNamespace": f"https://docs.rs/vaekl/{version}/spdx/{target}-{digest[:32]}",
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: vaekl-sbom.py-{version}"],
        },
        "packages": packages,
        "relationships": relations,
    }


def main():
    _, target, seconds = sys.argv
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    json.dump(document(target, int(seconds)), sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
