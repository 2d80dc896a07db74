"""Print docs/licences.md: the licence of every package that is installed with pyconquest-rules."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution, requires

from packaging.requirements import Requirement

HEAD = """# Licences

pyconquest-rules is under the MIT licence. It installs these packages, pinned by [requirements-dev.txt](../requirements-dev.txt):

| package | version | licence |
|---|---|---|"""


def licences() -> dict[str, tuple[str, str]]:
    """Version and licence of every package that is installed with pyconquest-rules, by its name."""
    waiting, found = ["pyconquest-rules"], dict[str, tuple[str, str]]()
    while waiting:
        for text in requires(waiting.pop()) or ():
            requirement = Requirement(text)
            if requirement.name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            try:
                installed = distribution(requirement.name)
            except PackageNotFoundError:
                continue
            found[requirement.name] = installed.version, licence(installed)
            waiting.append(requirement.name)
    return dict(sorted(found.items()))


def licence(installed: Distribution) -> str:
    """The licence that a package tells: an expression of SPDX, else the end of its classifier, else its first words."""
    told = installed.metadata
    classifiers = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or () if line.startswith("License ::")]
    return told.get("License-Expression") or " and ".join(classifiers) or (told.get("License") or "unknown").splitlines()[0]


if __name__ == "__main__":
    print(HEAD)
    for name, (version, words) in licences().items():
        print(f"| {name} | {version} | {words} |")
