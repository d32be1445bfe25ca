"""The torch-free commands: success and failure of each, in this process and as a script."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from dreamfusion_kit import cli
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.yaml_text import parse

ROOT = Path(__file__).parents[1]

Outcome = tuple[int, str, str]  # exit status, stdout, stderr
Cli = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs a command line in a fresh workspace."""
    workspace = Path(__file__).parent / "recipe" / "data" / "workspace"
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    # Usage lines name the program by how Python was started, here as `python cli.py`.
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)

    def run_line(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["cli.py", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        output = capsys.readouterr()
        assert exit_.value.code is None or isinstance(exit_.value.code, int)
        return exit_.value.code or 0, output.out, output.err

    return run_line


def _commands(group: typer.Typer, *before: str) -> list[tuple[str, ...]]:
    names = [(*before, str(info.name)) for info in group.registered_commands]
    for info in group.registered_groups:
        assert info.typer_instance is not None
        names += _commands(info.typer_instance, *before, str(info.name))
    return names


@pytest.mark.parametrize("command", _commands(cli.app), ids=" ".join)
def test_every_command_s_help_opens_with_an_example(run: Cli, command: tuple[str, ...]) -> None:
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    usage, _, rest = out.partition("\n\n")
    assert f" {' '.join(command)} [OPTIONS]" in usage
    assert rest.lstrip().startswith(f"python cli.py {' '.join(command)}")


def test_help_lists_the_commands(run: Cli) -> None:
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    listed = out.partition("Commands:\n")[2]
    for command in {name[0] for name in _commands(cli.app)}:
        assert f"\n  {command} " in f"\n{listed}"


def test_version(run: Cli) -> None:
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("dreamfusion-kit")


def test_validate_checks_everything_by_default(run: Cli) -> None:
    assert run("validate") == (
        0,
        "recipes/analytic.yaml: ok\nrecipes/toybox.yaml: ok\nparams.yaml: ok\n"
        "suites/trio/suite.yaml: ok\n",
        "",
    )


def test_validate_checks_the_files_named(run: Cli) -> None:
    assert run("validate", "recipes/toybox.yaml") == (0, "recipes/toybox.yaml: ok\n", "")


def test_validate_reports_each_problem_on_a_line(run: Cli) -> None:
    path = Path("recipes/toybox.yaml")
    text = path.read_text().replace("jitter: true", "jiter: true").replace("near: 0.0", "near: -1")
    path.write_text(text)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "jiter" in row)
    assert run("validate", "recipes/toybox.yaml", "recipes/absent.yaml") == (
        2,
        "",
        f"recipes/toybox.yaml:{line}: renderer.jiter: unknown key (did you mean jitter?)\n"
        f"recipes/toybox.yaml:{line + 1}: renderer.near: found -1, expected a number of at least 0"
        "\nrecipes/absent.yaml:1: No such file or directory; expected a YAML file "
        "(did you mean analytic.yaml?)\n",
    )


def test_show_prints_the_resolved_recipe_as_yaml(run: Cli) -> None:
    status, out, err = run("show", "red_mug")
    assert (status, err) == (0, "")
    assert parse(out, "stdout").data == json.loads(
        json.dumps(resolve(Path(), "default", "red_mug").summary())
    )


def test_show_finds_assets_of_other_suites(run: Cli) -> None:
    status, out, _ = run("show", "cyan_cone", "--suite", "trio")
    assert status == 0
    assert out.startswith("asset: cyan_cone\nsuite: trio\nidentity: ")


def test_show_of_an_unknown_asset(run: Cli) -> None:
    assert run("show", "red_mugg") == (
        2,
        "",
        "params.yaml:1: no asset 'red_mugg' (did you mean red_mug?); it has red_mug, blue_house, "
        "green_robot, yellow_duck\n",
    )


def test_schema_prints_json_schema(run: Cli) -> None:
    status, out, _ = run("schema")
    assert status == 0
    assert "guidance" in json.loads(out)["properties"]


def test_schema_takes_no_arguments(run: Cli) -> None:
    status, out, err = run("schema", "extra")
    assert (status, out) == (2, "")
    assert "unexpected extra argument" in err


def test_suite_list_shows_each_asset(run: Cli) -> None:
    assert run("suite", "list", "trio") == (
        0,
        "cyan_cone   toybox  0  a cyan cone\n"
        "green_cube  toybox  0  a green cube\n"
        "red_ball    toybox  0  a red ball\n",
        "",
    )


def test_suite_list_of_an_absent_suite(run: Cli) -> None:
    status, out, err = run("suite", "list", "duo")
    assert (status, out) == (2, "")
    assert err == (
        "suites/duo/suite.yaml: no such suite; there are default, trio; make one with "
        "`python cli.py suite new duo`\n"
    )


def test_suite_add_and_rm(run: Cli) -> None:
    before = Path("params.yaml").read_bytes()
    added = run("suite", "add", "blob", "a blob", "--recipe", "analytic", "--seed", "5")
    assert added == (0, "params.yaml: added blob\n", "")
    assert "blob         analytic  5  a blob\n" in run("suite", "list")[1]
    assert run("suite", "rm", "blob") == (0, "params.yaml: removed blob\n", "")
    assert Path("params.yaml").read_bytes() == before


def test_suite_add_takes_the_recipe_that_the_assets_share(run: Cli) -> None:
    assert run("suite", "new", "pets")[0] == 0
    assert run("suite", "add", "cat", "a red mug", "--suite", "pets")[0] == 0  # none yet
    assert run("suite", "rm", "cat", "--suite", "pets")[0] == 0
    for asset, *recipe in (
        ("dog", "--recipe", "analytic"),
        ("cat",),
        ("owl", "--recipe", "toybox"),
    ):
        assert run("suite", "add", asset, "a blue mug", "--suite", "pets", *recipe)[0] == 0
    found = {name: asset.recipe for name, asset in load_suite(Path(), "pets").assets.items()}
    assert found == {"cat": "analytic", "dog": "analytic", "owl": "toybox"}
    assert run("suite", "add", "fox", "a green mug", "--suite", "pets") == (
        2,
        "",
        "suite pets: found several recipes (analytic, toybox), expected --recipe with one of them "
        "or another\n",
    )


def test_suite_add_to_an_empty_suite_takes_the_recipe_of_params_yaml(run: Cli) -> None:
    params = Path("params.yaml")
    params.write_text(
        params.read_text()
        .replace("toybox]", "analytic]")
        .replace("recipe: toybox", "recipe: analytic")
    )
    assert run("suite", "new", "pets")[0] == 0
    assert run("suite", "add", "cat", "a red mug", "--suite", "pets")[0] == 0
    assert load_suite(Path(), "pets").assets["cat"].recipe == "analytic"


def test_suite_add_refuses_what_is_not_valid(run: Cli) -> None:
    assert run("suite", "add", "blob", "a blob", "--recipe", "analitic") == (
        2,
        "",
        "params.yaml (not written):36: assets.blob.recipe: found no recipes/analitic.yaml "
        "(did you mean analytic?)\n",
    )


@pytest.mark.parametrize("suite", ["default", "pets"])
@pytest.mark.parametrize("prompt", ["a\x85mug", "caf\udce9", "a\nmug", "a\u2028mug", "\u202emug"])
def test_suite_add_writes_a_prompt_as_it_is_or_not_at_all(
    run: Cli, suite: str, prompt: str
) -> None:
    """What YAML would read as another prompt, and bytes that are not UTF-8, are refused."""
    assert run("suite", "new", "pets")[0] == 0
    before = run("suite", "list", suite)
    status, out, err = run("suite", "add", "cat", prompt, "--suite", suite)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "prompt: found" in err
    assert run("suite", "list", suite) == before


def test_suite_rm_of_an_unknown_asset(run: Cli) -> None:
    status, _, err = run("suite", "rm", "blob")
    assert status == 2
    assert err.startswith("params.yaml:1: no asset 'blob'; it has red_mug, ")


def test_a_bug_keeps_its_traceback(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("dreamfusion_kit.recipe.check.check_files", fail)
    with pytest.raises(ZeroDivisionError):
        run("validate")


def _script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_script_is_the_same_program() -> None:
    shown = _script("cli.py", "show", "red_mugs")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("params.yaml:1: no asset 'red_mugs'")
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["validate"], ["suite", "list"]], ids=" ".join)
def test_the_light_commands_never_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from dreamfusion_kit.cli import main\n"
        f"sys.argv = ['cli.py', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'numpy', 'transformers', 'diffusers', 'open3d', 'dvc'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = _script("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [(), *_commands(cli.app)], ids=" ".join)
def test_saved_help_is_fresh(
    run: Cli, command: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """docs/cli holds every help text. Regenerate with --force-regen."""
    _, out, _ = run(*command, "--help")
    path = ROOT / "docs" / "cli" / f"{'-'.join(command) or 'dreamfusion-kit'}.txt"
    if request.config.getoption("force_regen"):
        path.write_text(out)
    assert path.read_text() == out


def test_dry_run_prints_what_show_prints(run: Cli) -> None:
    asset = next(iter(parse(Path("params.yaml").read_text(), "params.yaml").data["assets"]))
    assert run("optimize", asset, "--dry-run") == run("show", asset)


def test_another_device_is_never_taken(run: Cli) -> None:
    status, out, err = run("embed", "red_mug", "--device", "tpu")
    assert (status, out) == (2, "")
    assert err == "--device tpu: expected cpu, cuda or cuda:N\n"


def test_doctor_estimates_an_asset_and_a_recipe(run: Cli) -> None:
    asset = next(iter(parse(Path("params.yaml").read_text(), "params.yaml").data["assets"]))
    run("suite", "add", "blob", "a blob", "--recipe", "analytic")
    status, out, err = run("doctor", "blob", "--recipe", "analytic")
    assert (status, err) == (0, "")
    first, second = out.split("\n\n")
    assert first.splitlines()[0].split() == ["recipe", "analytic,", "as", "blob", "has", "it"]
    assert second.splitlines()[0].split() == ["recipe", "analytic"]
    assert "\nfits " in first
    assert run("doctor", f"{asset}s")[0] == 2
    status, out, err = run("doctor", "--recipe", "absent")
    assert (status, out) == (2, "")
    assert err.startswith("recipes/absent.yaml:1: No such file")


def test_doctor_names_what_is_optional(run: Cli) -> None:
    status, out, _ = run("doctor")
    assert status == 0
    assert out.startswith("python           3.")
    assert "tinycudann       " in out


def test_a_suite_is_made_from_a_list(run: Cli) -> None:
    Path("list.txt").write_text("a red mug\na cat\na cat\n")
    status, out, err = run("suite", "import", "pets", "list.txt", "--recipe", "analytic")
    assert (status, err) == (0, "")
    assert out == (
        "list.txt: line 3: the same as line 2; skipped\nsuites/pets: 2 added, 1 skipped\n"
    )
    assert resolve(Path(), "pets", "red_mug").prompt == "a red mug"
    status, out, err = run("suite", "import", "more", "list.txt")
    assert (status, out) == (2, "")
    assert err.splitlines()[0] == ("list.txt: line 1: found no recipe, expected one; give --recipe")
    assert not Path("suites/more").exists()


def test_a_seed_beside_the_suite_s_own_is_refused(run: Cli) -> None:
    assert run("suite", "new", "pets", "--seeds", "0,3", "--recipe", "analytic")[0] == 0
    Path("prompts.txt").write_text("a cat\n")
    problem = "--seed 5: expected none, since the suite's seeds hold for every asset\n"
    recipe = ("--recipe", "analytic")
    add = ("suite", "add", "cat", "a cat", "--suite", "pets", *recipe)
    imported = ("suite", "import", "pets", "prompts.txt", *recipe)
    for command in (add, imported):
        assert run(*command, "--seed", "5") == (2, "", problem)
    assert run(*add)[0] == 0
    assert set(load_suite(Path(), "pets").assets) == {"cat_s0", "cat_s3"}


def test_a_suites_seeds_stand_in_its_file(run: Cli) -> None:
    assert run("suite", "new", "pets", "--seeds", "0, 3")[0] == 0
    assert run("suite", "add", "cat", "a cat", "--suite", "pets", "--recipe", "analytic")[0] == 0
    assert resolve(Path(), "pets", "cat_s3").seed == 3
    for seeds in ("", "1,", "x", "1.5", "-1", "9" * 30):
        status, _, err = run("suite", "new", "others", "--seeds", seeds)
        assert (status, err) == (2, f"--seeds {seeds}: expected whole numbers, such as 0,1,2,3\n")
    status, _, err = run("suite", "new", "others", "--seeds", "1,1")
    assert status == 2
    assert "expected each seed once" in err
    assert not Path("suites/others").exists()


def test_a_removed_asset_leaves_no_scratch(run: Cli) -> None:
    for index, (suite, asset) in enumerate(
        [("trio", "red_ball"), ("trio", "green_cube"), ("other", "red_ball")]
    ):
        scratch = Path(".work") / (str(index) * 64)
        scratch.mkdir(parents=True)
        note = {"suite": suite, "asset": asset, "stage": "optimize"}
        (scratch / "scratch.json").write_text(json.dumps(note))
    log = Path(".work/logs/trio/red_ball.log")
    log.parent.mkdir(parents=True)
    log.touch()
    status, _, err = run("suite", "rm", "red_ball", "--suite", "trio")
    assert (status, err) == (0, "")
    assert not log.exists()
    assert sorted(path.name[0] for path in Path(".work").iterdir()) == [
        "1", "2",
        "c",  # code.json
        "l",  # logs/
        "s",  # the lock of the suite's runs
    ]  # fmt: skip


def test_scratch_is_listed_and_cleared(run: Cli) -> None:
    assert run("scratch", "list") == (0, "no scratch\n", "")
    folder = Path(".work") / ("a" * 64)
    folder.mkdir(parents=True)
    (folder / "scratch.json").write_text(
        '{"suite": "default", "asset": "red_mug", "stage": "optimize"}'
    )
    status, out, _ = run("scratch", "list")
    assert (status, out.splitlines()[1].split()[:3]) == (0, ["red_mug", "default", "optimize"])
    assert run("scratch", "clear", "--older-than", "1")[1] == "cleared 0 of 0, 0 KiB\n"
    assert run("scratch", "clear", "--asset", "other")[1] == "cleared 0 of 0, 0 KiB\n"
    assert run("scratch", "clear")[1] == "cleared 1 of 1, 0 KiB\n"
    assert not folder.exists()
