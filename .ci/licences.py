"""The licences of the weights and of every package that this project needs, as a Markdown table.

python .ci/licences.py    fails where what users get is copyleft, or says no licence

Developers' packages (extras `test` and `docs`) are listed and not judged: nothing ships with them.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "metal-artifact-reduction"
USERS = ("", "headless", "train", "cluster")
DEVELOPERS = ("test", "docs")
COPYLEFT = re.compile(r"\b(A|L)?GPL|GNU|SSPL|\bEUPL|Sleepycat|-SA\b|NonCommercial|-NC\b")
"""MPL is none of them: it binds the files under it, and they are used as they are."""

SAID_ELSEWHERE = {"cuda-toolkit": "NVIDIA Proprietary Software"}
"""Where the metadata says nothing: an empty package that brings NVIDIA's libraries together."""

CARDS = Path(__file__).parents[1] / "MetalArtifactReduction/MetalArtifactReductionLib/weights"


def needed(name: str, extras: frozenset[str], seen: dict[str, set[str]]) -> None:
    """Add a package and all that it needs, with the extras that were asked for."""
    name = canonicalize_name(name)
    if name in seen and extras <= seen[name]:
        return
    seen[name] = seen.get(name, set()) | extras | {""}
    try:
        requires = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for text in requires:
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in seen[name]):
            needed(one.name, frozenset(one.extras), seen)


def licence(package: Distribution) -> str:
    """What the metadata says: an expression, else classifiers, else the first line of the text."""
    data = package.metadata
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in data.get_all("Classifier", [])
        if one.startswith("License ::") and one != "License :: OSI Approved"
    ]
    text = (data.get("License") or "").strip().partition("\n")[0][:60]
    said = data.get("License-Expression") or "; ".join(classifiers) or text
    return said or SAID_ELSEWHERE.get(data["Name"], "?")


def rows() -> Iterator[tuple[str, str, str, bool]]:
    """Package or weights, licence, who needs it, and whether that is a fault."""
    for card in sorted(CARDS.glob("*.md")):
        data = sorted(set(re.findall(r"CC[ -](?:BY|0)[\w-]*(?: \d\.\d)?", card.read_text("utf-8"))))
        said = f"Apache-2.0, learned from data under {', '.join(data) or '?'}"
        yield f"weights `{card.stem}`", said, "users", not data or bool(COPYLEFT.search(said))
    users: dict[str, set[str]] = {}
    everyone: dict[str, set[str]] = {}
    needed(PROJECT, frozenset(USERS), users)
    needed(PROJECT, frozenset((*USERS, *DEVELOPERS)), everyone)
    for name in sorted(set(everyone) - {PROJECT}):
        try:
            said = licence(distribution(name))
        except PackageNotFoundError:
            continue  # of another platform, or of an extra that is not here
        judged = name in users
        fault = judged and (said == "?" or bool(COPYLEFT.search(said)))
        yield name, said, "users" if judged else "developers", fault


def main() -> int:
    """Print the table; 1 where there is a fault."""
    table = list(rows())
    print("| package | licence | needed by |\n|---|---|---|")
    for name, said, who, _ in table:
        print(f"| {name} | {said} | {who} |")
    faults = [f"{name}: {said}" for name, said, _, fault in table if fault]
    print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
