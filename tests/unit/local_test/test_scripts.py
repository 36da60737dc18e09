"""What the shell scripts say before they start anything, and what git does with the checkout."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def bash(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the code in bash, from the checkout."""
    command = ["bash", "-c", code]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("path", ["/plain", "/with: colons", "/a,b", "/é ü"])
def test_a_mount_takes_every_path(path: str) -> None:
    done = bash(f'source local_test/container.sh; mount "{path}" /opt/ml readonly')
    assert done.stdout == f'type=bind,"source={path}",target=/opt/ml,readonly\n'


def test_an_engine_that_cannot_be_reached_is_not_a_missing_image(tmp_path: Path) -> None:
    done = bash("source local_test/container.sh; need_image any", DOCKER_HOST=f"unix://{tmp_path}/nothing")
    assert done.returncode == 1
    assert "no Docker engine answers (" in done.stderr and "there is no image" not in done.stderr


SCRIPTS = [
    *("build.sh", "push.sh", "tests/run.sh", "docker/lock.sh"),
    *(f"local_test/{name}.sh" for name in ("run", "setup", "train_local", "serve_local", "predict")),
]


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_from_any_folder_does_nothing_else(tmp_path: Path, script: str, option: str) -> None:
    for name in ("bash", "sed", "dirname", "basename"):  # no more is needed
        (tmp_path / name).symlink_to(shutil.which(name) or "/nowhere")
    command = [tmp_path / "bash", f"{ROOT.name}/{script}", option]
    done = subprocess.run(command, cwd=ROOT.parent, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^usage: (\./)?{re.escape(script)} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("spelling", ["--data nothing", "--data=nothing"])
def test_an_option_takes_its_value_in_either_spelling(spelling: str) -> None:
    done = bash(f"local_test/train_local.sh {spelling}")
    assert done.returncode == 1
    assert done.stderr == "train_local.sh: nothing is not a folder; --data wants one with labelled pictures\n"


def test_a_container_that_has_not_started_yet_hears_ctrl_c_too(tmp_path: Path) -> None:
    """docker run's container is there after a while, and its program hears only the second SIGTERM."""
    (tmp_path / "docker").write_text(
        f"""#!/bin/sh
cd {tmp_path}
case $1 in
run) sleep 0.2; echo 5ca1ab1e >"$4"; while [ "$(cat heard 2>/dev/null | wc -l)" -lt 2 ]; do sleep 0.1; done; exit 7 ;;
kill) [ "$4" != 5ca1ab1e ] || echo "$3" >>heard ;;
esac
"""
    )
    (tmp_path / "docker").chmod(0o755)
    code = "source local_test/container.sh; (sleep 0.1; kill $$) & run_container image; echo $? $stopped"
    done = bash(code, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.stdout, (tmp_path / "heard").read_text()) == ("7 1\n", "TERM\nTERM\n"), done.stderr


def test_a_folder_is_no_missing_picture(tmp_path: Path) -> None:
    done = bash(f"local_test/predict.sh {tmp_path} {tmp_path}/none.jpg")
    assert done.returncode == 1
    assert done.stderr == (
        f"predict.sh: {tmp_path} is a folder; name the pictures in it\n"
        f"predict.sh: there is no picture {tmp_path}/none.jpg; name one\n"
    )


def test_a_job_takes_as_many_cores_as_the_caller_says(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text(f'#!/bin/sh\n[ "$1" != run ] || echo "$@" >{tmp_path}/run\n')
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "pictures").mkdir()
    command = f"local_test/train_local.sh --data {tmp_path}/pictures --out {tmp_path}/out"
    assert bash(command, PATH=f"{tmp_path}:{os.environ['PATH']}").returncode == 0
    assert " --env OMP_NUM_THREADS " in (tmp_path / "run").read_text()


@pytest.mark.parametrize("script", ["train_local.sh --data nothing", "serve_local.sh nothing", "predict.sh nothing"])
def test_cdpath_leads_no_script_astray(tmp_path: Path, script: str) -> None:
    (tmp_path / "local_test").mkdir()
    done = bash(f"local_test/{script}", CDPATH=str(tmp_path))
    assert done.returncode == 1 and "nothing" in done.stderr
    assert str(tmp_path) not in done.stdout + done.stderr


def test_no_text_has_the_line_ends_of_windows() -> None:
    lines = bash("git ls-files --eol").stdout.splitlines()
    assert lines and not [line for line in lines if "i/crlf" in line or "i/mixed" in line]
    assert all("eol=lf" in line for line in lines if line.endswith((".sh", ".py", "docker/serve", "docker/train")))


@pytest.mark.parametrize("file", ["best.json", "answers.jsonl", "report/report.html", "out/model/model.json"])
def test_what_the_readmes_commands_leave_is_unknown_to_git(file: str) -> None:
    assert bash(f"git check-ignore {file}").stdout == f"{file}\n"


def test_a_reason_that_names_a_folder_of_the_container_is_told_with_the_one_here(tmp_path: Path) -> None:
    client, pictures, out = tmp_path / "docker", tmp_path / "pictures", tmp_path / "out & more"
    pictures.mkdir()
    said = "the checkpoint /opt/ml/checkpoints/checkpoint.pt is of another run"
    client.write_text(f'#!/bin/sh\n[ "$1" != run ] || {{ echo "{said}" >"{out}/output/failure"; exit 1; }}\n')
    client.chmod(0o755)
    done = bash(f"local_test/train_local.sh --data {pictures} --out '{out}'", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (1, f"train_local.sh: training failed: {said} (/opt/ml is {out})\n")


def test_a_build_without_a_home_and_with_a_docker_client_in_a_folder_with_a_blank(tmp_path: Path) -> None:
    """The client says yes to everything, and builds nothing."""
    client = tmp_path / "a folder" / "docker"
    client.parent.mkdir()
    client.write_text("#!/bin/sh\necho 1\n", encoding="utf-8")
    client.chmod(0o755)
    path = f"{client.parent}:{os.environ['PATH']}"
    done = bash("unset HOME; bash build.sh train", PATH=path, BASE_IMAGE="any", DOCKER_HOST="unix:///no/other")
    assert (done.returncode, done.stderr) == (0, "") and "building byoc-vision-train\n" in done.stdout


@pytest.mark.parametrize("command", [["./build.sh"], [sys.executable, "-m", "local_test.main_job", "--out", "{}/out"]])
def test_a_build_ends_with_what_has_begun_it(tmp_path: Path, command: list[str]) -> None:
    """Else it would go on and tag images; the client stands for one that builds until it is ended."""
    client, told = tmp_path / "docker", tmp_path / "told"
    building = f"trap 'kill $!; echo ended >>{told}; exit 1' TERM; sleep 60 & echo begun >{told}; wait"
    client.write_text(f'#!/bin/sh\n[ "$1" != build ] || {{ {building}; }}\necho 1\n', encoding="utf-8")
    client.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BASE_IMAGE": "any"}
    words = [word.format(tmp_path) for word in command]
    with subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not told.exists():
            time.sleep(0.05)
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert process.returncode in (130, 143) and "build.sh: interrupted\n" in said
    assert told.read_text() == "begun\nended\n"


def test_a_ca_of_which_pip_alone_is_told_counts_for_uv_and_for_builds(tmp_path: Path) -> None:
    """As a company's /etc/pip.conf names one."""
    ca, conf = tmp_path / "the ca.pem", tmp_path / ".config" / "pip" / "pip.conf"
    ca.touch()
    conf.parent.mkdir(parents=True)
    conf.write_text(f"[global]\ncert = {ca}\n", encoding="utf-8")
    for name, line in (("uv", 'echo "$SSL_CERT_FILE"'), ("docker", f'echo "$@" >>"{tmp_path}/asked"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    unset = "unset SSL_CERT_FILE PIP_CERT REQUESTS_CA_BUNDLE CURL_CA_BUNDLE XDG_CONFIG_HOME PIP_CONFIG_FILE"
    its = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "BASE_IMAGE": "any"}
    assert bash(f"{unset}; docker/install.sh uv pip install", **its).stdout == f"{ca}\n"
    assert bash(f"{unset}; ./build.sh train", **its).returncode == 0
    assert f"--secret id=ca,src={ca} " in (tmp_path / "asked").read_text(encoding="utf-8")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]"])
def test_a_proxy_is_not_asked_for_this_machine(host: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    code = f"local_test/predict.sh {tmp_path}/a.jpg"
    done = bash(code, http_proxy="http://127.0.0.1:9", ENDPOINT=f"http://{host}:1")
    assert done.returncode == 1 and "port 1 " in done.stderr and "port 9" not in done.stderr
