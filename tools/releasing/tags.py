"""Checks a tag before it becomes a release; the workflow runs this before it builds.

A bump already ensures these conditions, but a tag can also be created manually, in the wrong place
or on the wrong day.
"""

from __future__ import annotations

import re

from packaging.version import Version

import workspace
from workspace import Package

from .changelog import Changelog
from .demand import demand
from .history import git, require_whole_history, tag_exists, tag_name
from .refusal import Refused
from .siblings import requirements
from .versions import admits, allowed


def tagged(tag: str) -> tuple[Package, Version]:
    """The package and the version that a tag names.

    Raises:
      Refused: the tag does not name both.
    """
    found = re.fullmatch(r"(.+)-v(\d+\.\d+\.\d+)", tag)
    package = next((p for p in workspace.packages() if found and p.name == found[1]), None)
    if found is None or package is None:
        example = tag_name(workspace.packages()[0], Version("0.1.0"))
        raise Refused(
            f"{tag!r} names no release of a package here.",
            f"A tag is <distribution>-v<version>, such as {example}; available: "
            + ", ".join(p.name for p in workspace.packages()),
        )
    return package, Version(found[2])


def check_tag(tag: str) -> Package:
    """The package that a tag releases, after checking that nothing is missing.

    Raises:
      Refused: something is missing; the message says what, where, and how to fix it.
    """
    package, version = tagged(tag)
    require_whole_history()
    if tag_exists(tag):
        commit, here = git("rev-parse", f"{tag}^{{commit}}"), git("rev-parse", "HEAD")
        if commit != here:
            raise Refused(f"{tag} is {commit[:10]}, but this is {here[:10]}.", "Check out the tag.")
    if git("branch", "--remotes") and not git("branch", "--remotes", "--contains", "HEAD"):
        raise Refused(
            f"{tag} is not on any branch of the remote repository, so nothing has checked it.",
            "Push the commit to a branch first, then the tag.",
        )
    if str(version) != package.version:
        raise Refused(
            f"{tag} is not the version here: {package.name} is at {package.version}.",
            "Bump the package first, or tag the commit that did.",
        )
    log = Changelog.of(package)
    if not log.is_dated(str(version)):
        raise Refused(
            f"{log.where} has no section '## {version} - YYYY-MM-DD'.",
            f"`python tools/release.py bump {package.short_name} ...` writes it.",
        )
    for name, declared in requirements(package).items():
        sibling = workspace.find(name)
        for requirement in declared:
            if not admits(requirement, Version(sibling.version)):
                raise Refused(
                    f"{package.name} needs {requirement}, but {name} is at {sibling.version} here.",
                    "What was tested together has to be installable together: move the range.",
                )
    asked = demand(package, str(version), below=version)
    if asked.last is not None and asked.step > allowed(asked.last, version):
        raise Refused(
            f"{version} is too small a step from {tag_name(package, asked.last)}.",
            *(f"{d.name} {d.what}  ({d.place})" for d in asked.broken),
            "Tag a version that allows that.",
        )
    return package


def notes(tag: str) -> str:
    """The changelog's part for a tag's release.

    Raises:
      Refused: the changelog has no such part.
    """
    package, version = tagged(tag)
    log = Changelog.of(package)
    part = log.part(str(version))
    if not part:
        raise Refused(f"{log.where} has no entries for {version}.", "Bump the package first.")
    return part
