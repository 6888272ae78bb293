"""The files in .github agree with the rest of the repository, and may do only what they must.

Whether GitHub understands them is checked by `nox -s workflows`, with tools made for that.
"""

import ast
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import workspace

yaml = pytest.importorskip("yaml")

GITHUB = workspace.ROOT / ".github"
PINNED = re.compile(r"^[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def load(path):
    # GitHub reads YAML 1.2, where `on` is a word; PyYAML 1.1, where it is True.
    return yaml.safe_load(re.sub(r"^on:", '"on":', path.read_text("utf-8"), flags=re.MULTILINE))


WORKFLOWS = {path.stem: load(path) for path in sorted(GITHUB.glob("workflows/*.yml"))}
ACTIONS = {path: load(path) for path in sorted(GITHUB.glob("actions/*/action.yml"))}
FORMS = {
    path.stem: {part["id"]: part for part in load(path)["body"] if "id" in part}
    for path in sorted(GITHUB.glob("ISSUE_TEMPLATE/*.yml"))
    if path.stem != "config"
}
JOBS = [
    pytest.param(workflow, job, id=f"{workflow}-{name}")
    for workflow, settings in WORKFLOWS.items()
    for name, job in settings["jobs"].items()
]


def steps():
    """Each step, with its job."""
    for settings in WORKFLOWS.values():
        for job in settings["jobs"].values():
            yield from ((job, step) for step in job["steps"])
    for action in ACTIONS.values():
        yield from ((action, step) for step in action["runs"]["steps"])


def sessions_of(job, step):
    """The nox sessions that a step runs, for every value of the variables in the matrix."""
    found = set()
    for name in re.findall(r'nox -s "?(\$?[\w]+)', step.get("run", "")):
        if name.startswith("$"):
            value = step["env"][name[1:]]
            key = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", value)
            assert key, value
            found |= set(job["strategy"]["matrix"][key[1]])
        else:
            found.add(name)
    return found


def sessions_of_noxfile():
    tree = ast.parse((workspace.ROOT / "noxfile.py").read_text("utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("nox.session" in ast.unparse(d) for d in node.decorator_list)
    }


def test_there_are_workflows():
    assert {"tests", "packages", "checks", "docs", "nightly", "release"} <= set(WORKFLOWS)


def test_every_session_that_is_run_exists():
    run = set().union(*(sessions_of(job, step) for job, step in steps()))
    assert run - sessions_of_noxfile() == set()


def test_every_session_that_checks_is_run():
    """A session that no workflow runs checks nothing; those below are for developers' machines."""
    run = set().union(*(sessions_of(job, step) for job, step in steps()))
    at_desks = {"tests", "tests_on", "examples", "bench"}  # `matrix` is `tests` on each jax
    assert sessions_of_noxfile() - run == at_desks


@pytest.mark.parametrize("path", [*GITHUB.glob("workflows/*.yml"), *ACTIONS], ids=lambda p: p.stem)
def test_actions_are_pinned(path):
    for line in path.read_text("utf-8").splitlines():
        if "uses:" in line:
            used = line.split("uses:")[1].strip()
            if used.startswith("$/"):  # this repository, as it is at the same commit
                assert (workspace.ROOT / used[2:] / "action.yml").exists(), used
            else:
                assert PINNED.match(used), used


def test_an_action_has_one_version():
    used = {step["uses"] for _, step in steps() if "uses" in step}
    assert len(used) == len({action.split("@")[0] for action in used})


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_a_job_is_bounded(workflow, job):
    assert 5 <= job["timeout-minutes"] <= 60
    assert "latest" not in job["runs-on"]
    assert "concurrency" in WORKFLOWS[workflow]


MAY_WRITE = {
    ("docs", "deploy"): {"pages", "id-token"},
    ("release", "publish"): {"id-token", "attestations"},
    ("release", "announce"): {"contents"},
}


def test_permissions_are_what_a_job_needs():
    for workflow, settings in WORKFLOWS.items():
        assert settings["permissions"] == {}, workflow
        for name, job in settings["jobs"].items():
            may = {p for p, level in job["permissions"].items() if level == "write"}
            assert may == MAY_WRITE.get((workflow, name), set()), (workflow, name)
            reads = {p for p, level in job["permissions"].items() if level == "read"}
            assert reads <= {"contents"}, (workflow, name)


def test_who_may_write_runs_nothing_of_this_repository():
    for workflow, name in MAY_WRITE:
        for step in WORKFLOWS[workflow]["jobs"][name]["steps"]:
            assert not step.get("uses", "").startswith(("actions/checkout", "$/", "./"))
            assert "python" not in step.get("run", "")


def test_checkouts_keep_no_credentials():
    checkouts = [s for _, s in steps() if s.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) >= len(WORKFLOWS)
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_nothing_is_put_into_a_script():
    """Values reach a script as environment variables: GitHub would paste them in as they are."""
    assert all("${{" not in step.get("run", "") for _, step in steps())


def test_python_is_the_oldest_unless_said():
    (action,) = ACTIONS.values()
    assert action["inputs"]["python"]["default"] == workspace.supported_python()[0]


def test_nightly_runs_on_the_newest_python():
    steps = WORKFLOWS["nightly"]["jobs"]["nightly"]["steps"]
    assert {"python": workspace.supported_python()[-1]} in [step.get("with") for step in steps]


def test_nox_comes_from_its_group():
    assert "nox" in workspace.project()["dependency-groups"]


def outputs(workflow, folder):
    """The outputs that the first job of a workflow passes to the others, on this machine."""
    (script,) = [s["run"] for s in WORKFLOWS[workflow]["jobs"]["list"]["steps"] if "run" in s]
    python = folder / "python3"
    python.symlink_to(sys.executable)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    told = folder / "output"
    subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=workspace.ROOT,
        check=True,
        env={**os.environ, "PATH": path, "GITHUB_OUTPUT": str(told)},
    )
    return dict(line.split("=", 1) for line in told.read_text("utf-8").splitlines())


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="GitHub's machine has bash")


@needs_bash
def test_cells_are_those_of_the_workspace(tmp_path):
    assert json.loads(outputs("tests", tmp_path)["cells"]) == workspace.matrix()


@needs_bash
def test_packages_are_those_of_the_workspace(tmp_path):
    names = json.loads(outputs("packages", tmp_path)["packages"])
    assert names == [p.short_name for p in workspace.packages()]


def test_every_package_s_tag_releases_it():
    patterns = WORKFLOWS["release"]["on"]["push"]["tags"]

    def releases(tag):
        return any(fnmatch.fnmatchcase(tag, pattern) for pattern in patterns)

    assert all(releases(f"{p.name}-v{p.version}") for p in workspace.packages())
    assert not any(map(releases, ["v0.1.0", "linnet", "struct-v0.1.0", "linnet-struct-0.1.0"]))


def test_dependabot_sees_every_place_of_pins():
    updates = {u["package-ecosystem"]: u for u in load(GITHUB / "dependabot.yml")["updates"]}
    actions = updates["github-actions"]["directories"]
    for path in ACTIONS:
        folder = f"/{path.parent.relative_to(workspace.ROOT).as_posix()}"
        assert any(fnmatch.fnmatchcase(folder, pattern) for pattern in actions), folder
    assert updates["pip"]["directory"] == "/"
    assert all(u["cooldown"]["default-days"] >= 7 for u in updates.values())


@pytest.mark.parametrize("form", [name for name in FORMS if "package" in FORMS[name]])
def test_forms_offer_every_package(form):
    offered = FORMS[form]["package"]["attributes"]["options"]
    assert offered == sorted(p.name for p in workspace.packages())


def test_what_forms_ask_for_prints_the_versions():
    asked = {f["versions"]["attributes"]["description"] for f in FORMS.values() if "versions" in f}
    assert len(asked) == 1
    (program,) = re.findall(r'```\npython -c "\n(.*)"\n```', asked.pop(), re.DOTALL)
    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    for name in ("jax: ", "jaxlib: ", "numpy: ", "python: ", "linnet-"):
        assert re.search(f"^{name}", printed, re.MULTILINE), printed


def test_the_page_says_what_runs_when():
    page = workspace.ROOT / "docs" / "maintaining" / "continuous_integration.md"
    rows = re.findall(r"^\| (\w+) \| .*? \| (.*?) \|", page.read_text("utf-8"), re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)", sessions)) for name, sessions in rows[1:]}
    run = {
        settings["name"]: set().union(
            *(sessions_of(job, step) for job in settings["jobs"].values() for step in job["steps"])
        )
        for settings in WORKFLOWS.values()
    }
    assert told == run
