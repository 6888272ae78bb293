"""The projects of docs/examples/downstream declare what they import, and nothing else."""

import ast

import pytest
from packaging.requirements import Requirement

import workspace

PROJECTS = sorted(
    p.parent for p in workspace.ROOT.glob("docs/examples/downstream/*/pyproject.toml")
)
each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda p: p.name)


def needs(project):
    declared = workspace.project(project)["project"]["dependencies"]
    return {workspace.requirement_name(line): Requirement(line) for line in declared}


def test_there_are_projects():
    assert len(PROJECTS) >= 4
    used = {name for project in PROJECTS for name in needs(project)}
    assert len(used) >= 6


@each_project
def test_what_is_imported_is_declared(project):
    (file,) = project.glob("*.py")
    imported = {
        ".".join(node.module.split(".")[:2])
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("linnet")
        if node.module
    }
    declared = {name: workspace.find(name).import_names for name in needs(project)}
    assert imported == {name for names in declared.values() for name in names}


@each_project
def test_ranges_admit_the_tree_and_exclude_what_breaks(project):
    for name, requirement in needs(project).items():
        version = workspace.find(name).version
        assert requirement.specifier.contains(version), requirement
        assert not requirement.specifier.contains(workspace.next_breaking(version)), requirement


@each_project
def test_the_program_bears_the_project_s_name(project):
    settings = workspace.project(project)["project"]
    module = project.name.replace("-", "_")
    assert settings["name"] == project.name
    assert settings["scripts"] == {project.name: f"{module}:main"}
    assert project.name in (project.parent / "README.md").read_text("utf-8")
