"""Script mode: a user's own program in place of this project's training, and every way in which it can go wrong."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sagemaker_training.errors import ClientError

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import report_folder
from train import sagemaker
from train.script import command, job, process, report, request, requirements, source
from train.script.curves import Curves
from train.script.reason import lacks_shared_memory, pip_reason, reason
from train.stopping import Stopped, StopSignal

SHARED = shutil.disk_usage("/dev/shm").total >> 20


@pytest.fixture(autouse=True)
def _no_report(monkeypatch):
    """What the report says is another file's matter, and it takes a second."""

    def made(arguments, **_):
        to = arguments[arguments.index("--to") + 1] if "--to" in arguments else arguments[3]
        Path(to, "report.html").write_text("reported")

    monkeypatch.setattr(report, "subprocess", SimpleNamespace(run=made))


def ask(root, **hyperparameters):
    values = {name: json.dumps(value) for name, value in hyperparameters.items()}
    (root / "input/config/hyperparameters.json").write_text(json.dumps(values))


def run(root, text, program="train_model.py", **hyperparameters):
    """Run a program of that text as the job's; return the reason of its failure, if any."""
    (root / "code" / program).write_text(text)
    ask(root, sagemaker_program=program, **hyperparameters)
    try:
        sagemaker.main()
    except ClientError as error:
        return str(error)
    return None


def packed(file, *members):
    """Write an archive of members: name, and content, a link's target, or a type of member."""
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                continue
            member.type, member.linkname = content
            archive.addfile(member)
    return str(file)


# -- the program -------------------------------------------------------------------------------------------------------


def test_a_program_gets_its_hyperparameters_and_sagemakers_variables(opt_ml):
    text = "import json, os, sys; json.dump([sys.argv, dict(os.environ), os.getcwd()], open('told.json', 'w'))"
    assert run(opt_ml, text, lr=0.1, note="a b; touch c", deep={"k": 1}) is None
    arguments, variables, folder = json.loads((opt_ml / "code/told.json").read_text())
    assert arguments == ["train_model.py", "--deep", "k=1", "--lr", "0.1", "--note", "a b; touch c"]
    assert variables["SM_CHANNEL_TRAINING"].endswith("input/data/training")
    assert variables["SM_MODEL_DIR"] == str(opt_ml / "model")
    assert json.loads(variables["SM_HPS"])["lr"] == 0.1
    assert folder == str(opt_ml / "code")
    assert (opt_ml / "output/data/report.html").exists()


def test_a_user_may_call_modules_as_this_project_does(opt_ml, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(command._PROGRAM))  # as in the image: the checkout is not the job's own path
    (opt_ml / "code/train").mkdir()
    (opt_ml / "code/train/model.py").write_text("answer = 42")
    assert run(opt_ml, "from train.model import answer; assert answer == 42") is None


def test_a_shell_script_runs_with_or_without_a_first_line(opt_ml):
    assert run(opt_ml, 'test "$2" = "a b" && touch done', "train.sh", note="a b") is None
    assert (opt_ml / "code/done").exists()
    assert run(opt_ml, "#!/bin/bash\nset -e\nls nothing-there", "train.sh").startswith(
        "train.sh ended with exit code 2"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mpirun -np 2 python t.py", "mpirun: not found; the image has no such command: name its package in"),
        ("#!/bin/bash\nunzip a.zip", "unzip: command not found; the image has no such command"),
        (
            "python -m accelerate.commands.launch t.py",
            "No module named 'accelerate'); name its package in requirements",
        ),
    ],
)
def test_what_a_shell_script_does_not_find_is_named(opt_ml, text, said):
    assert said in run(opt_ml, text, "train.sh")


def test_a_shell_script_from_windows_is_told_what_it_is(opt_ml):
    (opt_ml / "code/train.sh").write_bytes(b"#!/bin/bash\r\necho so far\r\n")
    ask(opt_ml, sagemaker_program="train.sh")
    with pytest.raises(ClientError, match=r"^the lines of train\.sh end as on Windows \(CRLF\)"):
        sagemaker.main()


def test_a_package_is_installed_and_its_module_run(opt_ml, monkeypatch):
    (opt_ml / "code/setup.py").write_text("")
    calls = []
    monkeypatch.setattr(requirements, "install", lambda code, stop: calls.append(code))
    assert run(opt_ml, "assert __spec__.name == 'train_model'") is None
    assert calls == [opt_ml / "code"]


def test_the_environment_names_a_program_too(opt_ml, monkeypatch):
    (opt_ml / "code/baked.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "baked.py")
    with pytest.raises(ClientError, match=r"^baked\.py ended with exit code 3$"):
        sagemaker.main()


def test_without_a_program_the_classifier_is_trained(opt_ml, monkeypatch, caplog):
    trained = []
    monkeypatch.setattr(sagemaker, "_train", trained.append)
    ask(opt_ml, lr=0.1, sagemaker_submit_directory="s3://bucket/code.tar.gz", sagemaker_region="us-east-1")
    sagemaker.main()
    assert trained
    assert (
        "these settings have no effect in this image: sagemaker_submit_directory=s3://bucket/code.tar.gz" in caplog.text
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit(3)", "train_model.py ended with exit code 3"),
        ("import os\nos.kill(os.getpid(), 15)", "train_model.py ended with signal 15 (Terminated)"),
        (
            "def f():\n    raise ValueError('no pictures')\nf()",
            "train_model.py ended with exit code 1: ValueError: no pictures (train_model.py, line 2)",
        ),
        (
            "print('so far')\nx = (",
            "train_model.py ended with exit code 1: SyntaxError: '(' was never closed (train_model.py, line 2)",
        ),
        (
            "import pytorch_lightning",
            "train_model.py ended with exit code 1: ModuleNotFoundError: No module named 'pytorch_lightning' "
            "(train_model.py, line 1); name its package in requirements.txt, or put the module beside the program",
        ),
        (
            "import sklearn",
            "train_model.py ended with exit code 1: ModuleNotFoundError: No module named 'sklearn' "
            "(train_model.py, line 1); name its package, scikit-learn, in requirements.txt",
        ),
        (
            "import smdistributed.dataparallel.torch.torch_smddp",
            "train_model.py ended with exit code 1: ModuleNotFoundError: No module named 'smdistributed' "
            "(train_model.py, line 1); it is only in AWS's own images: use torch.distributed, with the estimator's "
            'distribution={"torch_distributed": {"enabled": True}}',
        ),
        (
            "import json.newer",
            "train_model.py ended with exit code 1: ModuleNotFoundError: No module named 'json.newer' (train_model.py, "
            "line 1); what it is part of is there, perhaps in another version: requirements.txt can name the one that "
            "the program was written for",
        ),
        (
            "import argparse\nargparse.ArgumentParser('p').parse_args(['--batch-size', '8'])",
            "train_model.py ended with exit code 2: p: error: unrecognized arguments: --batch-size 8; hyperparameters "
            "are passed on by their names: name them as the program's options are spelled (--batch-size is not "
            "--batch_size)",
        ),
        (
            "from .part import answer",
            "train_model.py ended with exit code 1: ImportError: attempted relative import with no known parent "
            "package (train_model.py, line 1); the program is run as a file: import by full names, or name the "
            "package's folder with __main__.py",
        ),
        (
            "import os\nfolder = os.environ['SM_CHANNEL_TRAIN']",
            "train_model.py ended with exit code 1: KeyError: 'SM_CHANNEL_TRAIN' (train_model.py, line 2); the job has "
            "no channel of that name: give its data one, --data NAME=FOLDER",
        ),
        (
            "get_ipython().run_line_magic('matplotlib', 'inline')",
            "train_model.py ended with exit code 1: NameError: name 'get_ipython' is not defined (train_model.py, "
            "line 1); the program was a notebook: remove its magic commands (%…, !…)",
        ),
        (
            "import urllib.error\nraise urllib.error.URLError('no such host')",
            "train_model.py ended with exit code 1: urllib.error.URLError: <urlopen error no such host> "
            "(train_model.py, line 2); in an isolated network what the program fetches is given as a channel",
        ),
        (
            "import torch.distributed as dist\ndist.init_process_group('nccl', rank=0, world_size=1)",
            "train_model.py ended with exit code 1: ValueError: ProcessGroupNCCL is only supported with GPUs, no GPUs "
            "found! (train_model.py, line 2); the machine has no GPU: take an instance type that has one, or let the "
            'program take "cuda" only where torch.cuda.is_available()',
        ),
        (  # as C++ says it of a thread that is not joined; torch 2.10 does in one of a dozen runs
            "import os\nos.write(2, b'terminate called without an active exception\\n')\nos.kill(os.getpid(), 6)",
            "train_model.py ended with signal 6 (Aborted): terminate called without an active exception; a thread "
            "still ran at its end, as gloo's may: let the program call torch.distributed.destroy_process_group() last",
        ),
        (
            "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--amp', action='store_true')\n"
            "parser.parse_args(['--amp', 'True'])",
            "train_model.py ended with exit code 2: train_model.py: error: unrecognized arguments: True; "
            "hyperparameters are passed on as --name value, so let the option take a value, in place of "
            "action='store_true'",
        ),
        (
            "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--pretrained', type=int)\n"
            "parser.parse_args(['--pretrained', 'True'])",
            "train_model.py ended with exit code 2: train_model.py: error: argument --pretrained: invalid int value: "
            "'True'; true and false are passed on as True and False: let the option read these, or give 1 or 0",
        ),
        (
            "import argparse\nparser = argparse.ArgumentParser()\n"
            "parser.add_argument('--sizes', type=int, nargs='+')\nparser.parse_args(['--sizes', '[224, 256]'])",
            "train_model.py ended with exit code 2: train_model.py: error: argument --sizes: invalid int value: "
            "'[224, 256]'; a list is passed on as one argument: let the option read it, type=json.loads, or give the "
            "values apart by commas and let it split them",
        ),
        (
            "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('data')\nparser.parse_args([])",
            "train_model.py ended with exit code 2: train_model.py: error: the following arguments are required: data; "
            "hyperparameters are passed on as --name value: give those, and let the program take an argument without "
            "-- as an option",
        ),
        (
            "input('continue? ')",
            "train_model.py ended with exit code 1: EOFError: EOF when reading a line (train_model.py, line 1); a job "
            "has no keyboard: let the program take what it asks for as an argument",
        ),
        (
            "raise OSError(30, 'Read-only file system', '/opt/ml/input/data/training/cache')",
            "train_model.py ended with exit code 1: OSError: [Errno 30] Read-only file system: "
            "'/opt/ml/input/data/training/cache' (train_model.py, line 1); let the program write to "
            "/opt/ml/output/data, /opt/ml/checkpoints or /tmp, and copy there first what it is to change",
        ),
        (
            "import multiprocessing\np = multiprocessing.get_context('spawn').Process(target=print)\np.start()\n"
            "p.join()\nraise SystemExit(p.exitcode)",
            "train_model.py ended with exit code 1: RuntimeError: An attempt has been made to start a new process "
            "before the current process has finished its bootstrapping phase. (train_model.py, line 3); its processes "
            "import the program: put what only the first is to do under if __name__ == '__main__'",
        ),
        (
            "import sagemaker_containers",
            "train_model.py ended with exit code 1: ModuleNotFoundError: No module named 'sagemaker_containers' "
            "(train_model.py, line 1); its name is sagemaker_training today; what it knows of the job is in the "
            "variables SM_…, too",
        ),
        (  # as torch.hub, torchvision's data sets and the Hugging Face hub say it
            "raise RuntimeError('It looks like there is no internet connection and the repo could not be found')",
            "train_model.py ended with exit code 1: RuntimeError: It looks like there is no internet connection and "
            "the repo could not be found (train_model.py, line 1); in an isolated network what the program fetches is "
            "given as a channel",
        ),
        (
            "import torch\ntorch.nn.CrossEntropyLoss()(torch.rand(1, 2), torch.tensor([2]))",
            "train_model.py ended with exit code 1: IndexError: Target 2 is out of bounds. (train_model.py, line 2); "
            "the network has fewer outputs than the data has classes: let its last layer have one for each",
        ),
        (
            "raise OSError('image file is truncated (150 bytes not processed)')",
            "train_model.py ended with exit code 1: OSError: image file is truncated (150 bytes not processed) "
            "(train_model.py, line 1); remove the picture that ends early, or set PIL.ImageFile.LOAD_TRUNCATED_IMAGES "
            "= True",
        ),
        (
            "import os\nos.kill(os.getpid(), 9)",
            "train_model.py ended with signal 9 (Killed): most likely the kernel killed it for memory; "
            "take smaller batches, fewer loader workers or a larger instance",
        ),
        (
            "raise RuntimeError('DataLoader worker (pid 9) is killed by signal: Bus error. ')",
            "train_model.py ended with exit code 1: RuntimeError: DataLoader worker (pid 9) is killed by signal: "
            "Bus error. (train_model.py, line 1); its processes share tensors in /dev/shm, which has "
            f"{SHARED} MB here; take fewer loader workers or smaller batches, or give docker run --shm-size=8g",
        ),
    ],
)
def test_a_failure_says_why_in_one_line(opt_ml, text, said):
    assert run(opt_ml, text) == said
    assert (opt_ml / "output/data/report.html").exists()
    assert not list((opt_ml / "model").iterdir())


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("train/cat", "; the job has no channel train, but training: give its data that name, --data train=FOLDER"),
        ("training/val/cat", "/training holds test, train: let the program read that, or give another folder"),
        ("training/test/cat/0.jpg", "/training/test holds nothing: let the program"),
    ],
)
def test_what_there_is_in_place_of_a_missing_folder_is_told(opt_ml, missing, said):
    for folder in ("test", "train", ".hidden"):
        (opt_ml / "input/data/training" / folder).mkdir()
    told = run(opt_ml, f"import os\nos.scandir({str(opt_ml / 'input/data' / missing)!r})")
    assert f"{missing}' (train_model.py, line 2)" in told and said in told


def test_what_there_is_in_place_of_class_folders_is_told(opt_ml):
    data = opt_ml / "input/data/training"
    (data / "a.jpg").touch()
    told = run(opt_ml, f"from torchvision.datasets import ImageFolder\nImageFolder({str(data)!r})")
    assert f"; {data} holds a.jpg: let the program read that, or give another folder as the channel" in told


@pytest.mark.parametrize("line", ["%%writefile train_model.py", "!pip install timm", "%matplotlib inline"])
def test_a_notebooks_command_in_a_program_is_told(opt_ml, line):
    assert run(opt_ml, f'"""\n%s\n"""\n{line}\nimport os') == (
        f"line 4 of the program train_model.py is a notebook's magic command ({line}), which is not Python; remove it, "
        "and name packages in requirements.txt"
    )


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        (
            "RuntimeError: unable to allocate shared memory(shm) for file </torch_18_1_0>: Resource temporarily (11)",
            True,
        ),
        ("RuntimeError: unable to write to file </torch_18_1_0>: No space left on device (28)", True),
        ("ERROR: Unexpected bus error. This might be caused by insufficient shared memory (shm).", True),
        ("DistBackendError: Error while creating shared memory segment /dev/shm/nccl-aB (size 9)", True),
        ("RuntimeError: unable to open shared memory object </torch_1_1_0>: Too many open files (24)", False),
        ("OutOfResources: out of resource: shared memory, Required: 147456, Hardware limit: 101376", False),
    ],
)
def test_a_lack_of_shared_memory_is_known(said, lacks):
    assert lacks_shared_memory(said) == lacks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (  # as torch says what a state dict lacks
            r"raise RuntimeError('Error(s) in loading state_dict for ResNet:\n\tMissing key(s): \"fc.weight\". ')",
            'RuntimeError: Error(s) in loading state_dict for ResNet: Missing key(s): "fc.weight". (t.py, line 1); '
            "build the network as it was trained: its layers have other names",
        ),
        (  # weights of DataParallel, of which torch lists all names
            "import torch\nlayers = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(99)))\n"
            "layers.load_state_dict(torch.nn.DataParallel(layers).state_dict())",
            'RuntimeError: Error(s) in loading state_dict for Sequential: Missing key(s) in state_dict: "0.weight", '
            '"0.bias" and 196 more. Unexpected key(s) in state_dict: "module.0.weight", "module.0.bias" and 196 more. '
            "(t.py, line 3); DataParallel has put module. before the names: load {name.removeprefix('module.'): value "
            "for name, value in weights.items()}",
        ),
        (  # as a text in three quotes
            "raise ValueError('''\n\nthe labels do not fit\nthe pictures''')",
            "ValueError: the labels do not fit (t.py, line 1)",
        ),
        (  # as torch says what it does not unpickle
            "raise ValueError('Weights only load failed, \x1b[1mdo so\x1b[0m\x1b[K only if you trust it')",
            "ValueError: Weights only load failed, do so only if you trust it (t.py, line 1)",
        ),
        (  # as tqdm leaves its bar: without an end of its line, and once more behind the trace
            "import sys, atexit\nbar = ' 60%|###  | 3/5'\n"
            "atexit.register(lambda: print('\\r' + bar, file=sys.stderr))\n"
            "sys.stderr.write('\\r' + bar)\nraise ValueError('bad batch')",
            "ValueError: bad batch (t.py, line 5)",
        ),
        (  # as a loader's worker tells its own
            "def item(i):\n    raise OSError('image is truncated')\nimport traceback\ntry:\n    item(1)\n"
            "except OSError:\n    trace = traceback.format_exc()\n"
            "raise OSError('Caught OSError in DataLoader worker process 0.\\nOriginal ' + trace)",
            "OSError: image is truncated (t.py, line 2)",
        ),
        (
            "raise ExceptionGroup('all of them', [ValueError('a'), TypeError('b')])",
            "ExceptionGroup: all of them (2 sub-exceptions) (t.py, line 1)",
        ),
        (
            "import subprocess, sys\nsubprocess.check_call([sys.executable, '-c', 'raise KeyError(1)'])",
            "KeyError: 1",
        ),
        (
            "import subprocess\nsubprocess.check_call('false')",
            "subprocess.CalledProcessError: Command 'false' returned non-zero exit status 1. (t.py, line 2)",
        ),
    ],
    ids=[
        "more lines",
        "more names than are told",
        "an empty line first",
        "colours",
        "a bar before it",
        "of a worker",
        "a group",
        "of another program",
        "none of another program",
    ],
)
def test_an_exception_is_told_whole_whatever_is_around_it(tmp_path, text, said):
    (tmp_path / "t.py").write_text(text)
    ended = process.run([sys.executable, str(tmp_path / "t.py")], tmp_path, os.environ, StopSignal())
    assert reason(ended.errors, str(tmp_path)) == said


#: A trace that is logged, of an exception that the program survives.
SURVIVED = "import logging, sys\ntry:\n    int('x')\nexcept ValueError:\n    logging.exception('left out')\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            SURVIVED + "sys.exit('too few pictures')",
            "exit code 1: too few pictures, after ValueError: invalid literal for int() with base 10: 'x' "
            "(train_model.py, line 3)",
        ),
        (SURVIVED + "sys.exit(1)", "exit code 1: ValueError: invalid literal for int() with base 10: 'x' "),
        (SURVIVED + "raise KeyError('no\\nsuch')", "exit code 1: KeyError: 'no\\nsuch' (train_model.py, line 6)"),
        (  # as CUDA's errors are, with advice in lines of their own
            SURVIVED + "raise RuntimeError('assert triggered\\nFor debugging consider')",
            "exit code 1: RuntimeError: assert triggered (train_model.py, line 6)",
        ),
        (
            "import sys, threading\nt = threading.Thread(target=int, args='x')\nt.start()\nt.join()\nsys.exit('bye')",
            "exit code 1: bye, after ValueError: invalid literal",
        ),
        (  # what a destructor raises when Python ends
            "class A:\n    def __del__(self):\n        self.b\na = A()\nraise OSError('disk full')",
            "exit code 1: OSError: disk full (train_model.py, line 5)",
        ),
        (
            "import sys, traceback\ntry:\n    int('x')\nexcept ValueError:\n    traceback.print_exc(file=sys.stdout)\n"
            "    sys.exit(4)",
            "exit code 4: ValueError: invalid literal for int() with base 10: 'x' (train_model.py, line 3)",
        ),
        (  # what is said on stdout, beside warnings and a bar on stderr
            "import sys, warnings\nwarnings.warn('old')\nsys.stderr.write('\\r 50%|##  | 2/4\\n')\n"
            "print('no labels')\nsys.exit(2)",
            "exit code 2: no labels",
        ),
        (
            "import subprocess\nsubprocess.check_call('echo no such package >&2; exit 3', shell=True)",
            "exit status 3. (train_model.py, line 2), after no such package",
        ),
        (
            "import faulthandler, os\nfaulthandler.enable()\nos.abort()",
            "signal 6 (Aborted): Fatal Python error: Aborted (train_model.py, line 3)",
        ),
    ],
)
def test_a_trace_that_a_program_survives_is_not_why_it_ends(opt_ml, text, said):
    # As the image's Python does, at the start of every process.
    (opt_ml / "code/sitecustomize.py").symlink_to(Path(__file__).parents[3] / "docker/byoc_container.py")
    assert said in run(opt_ml, text)


def test_a_trace_is_written_at_once(tmp_path):
    """Else those of several processes, which torchrun starts and which fail alike, are written into one another."""
    (tmp_path / "sitecustomize.py").symlink_to(Path(__file__).parents[3] / "docker/byoc_container.py")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1", "BYOC_UNCAUGHT": str(tmp_path / "uncaught")}
    read, write = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # what is written at once is read at once
    with read, write:
        subprocess.run([sys.executable, "-c", "[].no"], env=os.environ | environment, stderr=write, check=False)
        trace = read.recv(4096).decode()
    assert trace.startswith("Traceback") and trace.endswith("AttributeError: 'list' object has no attribute 'no'\n")


def test_a_report_of_the_scripts_own_is_not_overwritten(opt_ml, caplog):
    output = opt_ml / "output/data"
    assert run(opt_ml, "print('accuracy=0.5\\naccuracy=0.6')") is None
    assert report_folder(output) == output
    text = "import os\nopen(os.environ['SM_OUTPUT_DATA_DIR'] + '/report.html', 'w').write('mine')"
    assert run(opt_ml, text) is None
    assert (output / "report.html").read_text() == "mine"
    assert (report_folder(output) / "report.html").read_text() == "reported"
    assert report_folder(output) != output
    assert "the script has left report.html itself" in caplog.text
    assert not (output / "curves.csv").exists()  # a name that scripts take, too


def test_a_program_that_is_not_there(opt_ml):
    (opt_ml / "code/hpo.py").write_text("")
    ask(opt_ml, sagemaker_program="train_model.py")
    with pytest.raises(
        ClientError, match=r"there is no program train_model.py in .*/code, which holds hpo.py; name one"
    ):
        sagemaker.main()
    (opt_ml / "code/train_model.py").mkdir()
    with pytest.raises(ClientError, match=r"train_model.py in .* is a folder without __main__.py; name a file in it"):
        sagemaker.main()


def test_a_program_that_cannot_be_read(opt_ml):
    (opt_ml / "code/train.py").symlink_to("gone.py")
    ask(opt_ml, sagemaker_program="train.py")
    with pytest.raises(
        ClientError, match=r"train.py in .* cannot be read \(No such file or directory\); check the file"
    ):
        sagemaker.main()


def test_a_program_in_a_folder_of_the_archive_is_found(opt_ml):
    (opt_ml / "code/my_code").mkdir()
    (opt_ml / "code/my_code/train.py").touch()
    ask(opt_ml, sagemaker_program="train.py")
    with pytest.raises(ClientError, match=r"no program train.py in .*, which holds my_code; name my_code/train.py$"):
        sagemaker.main()


def test_a_folder_is_run_as_the_package_or_the_program_that_it_is(opt_ml):
    (opt_ml / "code/tool").mkdir()
    (opt_ml / "code/tool/part.py").write_text("answer = 42")
    assert run(opt_ml, "from part import answer; assert answer == 42", "tool/__main__.py") is None
    ask(opt_ml, sagemaker_program="tool")
    sagemaker.main()
    (opt_ml / "code/tool/__init__.py").touch()
    (opt_ml / "code/tool/__main__.py").write_text("from .part import answer; assert answer == 42")
    sagemaker.main()


def test_the_jobs_own_paths_of_modules_are_kept(opt_ml, monkeypatch):
    (opt_ml / "code/src").mkdir()
    (opt_ml / "code/src/mine.py").write_text("answer = 42")
    monkeypatch.setenv("PYTHONPATH", f"{opt_ml}/code/src:{command._PROGRAM}")
    text = "import mine, sys; assert mine.answer == 42; assert not any('{}' == place for place in sys.path)"
    assert run(opt_ml, text.format(command._PROGRAM)) is None


# -- its process -------------------------------------------------------------------------------------------------------


def python(text, folder, stop=None, **options):
    return process.run([sys.executable, "-c", text], folder, os.environ, stop or StopSignal(), **options)


def test_100_mb_of_output_are_passed_on_and_not_kept(tmp_path, capfd):
    text = "import sys\nfor _ in range(1600): sys.stderr.write('x' * 65535 + '\\n')\nraise ValueError('in the end')"
    ended = python(text, tmp_path)
    assert len(ended.errors) <= 65536
    assert reason(ended.errors, "") == "ValueError: in the end"
    assert len(capfd.readouterr().err) > 100_000_000


def test_a_daemon_that_a_program_leaves_does_not_hold_the_job(tmp_path):
    text = "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    said = []
    assert python(text, tmp_path, line=said.append).code == 0
    stat = Path(f"/proc/{said[0]}/stat")  # an entry may be left of it where the first process collects none
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


HANDLES = """
import signal, sys, time
def leave(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(600)
"""
IGNORES = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
)


def stopped(text, folder, **options):
    """Run a program that is stopped once it is ready; return how it ended and what it printed."""
    stop, said = StopSignal(), []

    def line(text):
        said.append(text)
        stop.requested = stop.requested or text == "ready"

    return python(text, folder, stop, line=line, **options), said


def test_a_handler_of_sigterm_runs_and_ends_the_job(tmp_path):
    ended, said = stopped(HANDLES, tmp_path)
    assert (ended.code, said[:2]) == (0, ["ready", "saved"])


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(tmp_path):
    ended, _ = stopped(IGNORES, tmp_path, grace=0.1)
    assert ended.code == -signal.SIGKILL


def test_what_a_shell_script_started_is_told_and_waited_for(tmp_path):
    (tmp_path / "handles.py").write_text(HANDLES)
    stop, said = StopSignal(), []

    def line(text):
        said.append(text)
        stop.requested = stop.requested or text == "ready"

    shell = ["/bin/sh", "-c", f"{sys.executable} handles.py; echo after"]
    process.run(shell, tmp_path, os.environ, stop, line=line, whole_group=True)
    assert "saved" in said


def test_a_stopped_job_is_no_failure_and_leaves_the_model_as_it_was(opt_ml, monkeypatch):
    (opt_ml / "model/kept.pth").write_text("weights")
    timer = threading.Timer
    monkeypatch.setattr(StopSignal, "listen", lambda self: timer(0.3, setattr, (self, "requested", True)).start())
    assert run(opt_ml, "import time\ntime.sleep(600)") is None
    assert [file.name for file in (opt_ml / "model").iterdir()] == ["kept.pth"]


@pytest.mark.parametrize("saves", [True, False])
def test_an_empty_model_is_told(opt_ml, caplog, saves):
    model = opt_ml / "model"
    assert run(opt_ml, f"import pathlib\nif {saves}: pathlib.Path({str(model)!r}, 'model.pth').touch()") is None
    said = f"train_model.py left nothing in {model}, so the job's model is empty"
    assert (said in caplog.messages) is not saves


def test_a_job_that_was_stopped_before_its_program_began(tmp_path):
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        python("", tmp_path, stop)


# -- its code ----------------------------------------------------------------------------------------------------------


def test_code_comes_from_an_archive_with_what_may_run(tmp_path, opt_ml):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").write_text("import lib.part")
    (tmp_path / "src/lib").mkdir()
    (tmp_path / "src/lib/part.py").write_text("")
    (tmp_path / "src/link.py").symlink_to("lib/part.py")
    archive = tmp_path / "sourcedir.tar.gz"
    with tarfile.open(archive, "w:gz") as packed_source:
        packed_source.add(tmp_path / "src", ".")
    ask(opt_ml, sagemaker_program="train.py", sagemaker_submit_directory=f"file://{archive}")
    sagemaker.main()
    assert (opt_ml / "code/link.py").read_text() == ""


def test_code_comes_from_the_channel_code(opt_ml):
    (opt_ml / "input/data/code").mkdir()
    (opt_ml / "input/data/code/train.py").write_text("open('ran', 'w')")
    ask(opt_ml, sagemaker_program="train.py")
    sagemaker.main()
    assert (opt_ml / "code/ran").exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../evil.py", b"")],
        [("/evil.py", b"")],
        [("lib/../../evil.py", b"")],
        [("out", (tarfile.SYMTYPE, "/etc"))],
        [("out", (tarfile.SYMTYPE, ".."))],
        [("lib/out", (tarfile.SYMTYPE, "../.."))],
        [("in", (tarfile.SYMTYPE, "lib")), ("in/evil.py", b"")],
        [("lib/up", (tarfile.SYMTYPE, "..")), ("out", (tarfile.SYMTYPE, "lib/up/.."))],
        [("out", (tarfile.LNKTYPE, "../../evil.py"))],
        [("pipe", (tarfile.FIFOTYPE, ""))],
        [("disk", (tarfile.BLKTYPE, ""))],
    ],
)
def test_an_archive_cannot_lead_out_of_its_folder(tmp_path, members):
    place = packed(tmp_path / "sourcedir.tar.gz", ("train.py", b""), *members)
    with pytest.raises(UserError, match=r"sourcedir.tar.gz holds .*; pack"):
        source.fetch(place, tmp_path / "code")
    assert not list((tmp_path / "code").iterdir())


def test_an_archive_that_is_none_or_ends_early(tmp_path):
    broken = tmp_path / "sourcedir.tar.gz"
    broken.write_bytes(b"no archive")
    with pytest.raises(UserError, match="is no tar archive that can be read"):
        source.fetch(str(broken), tmp_path / "code")
    packed(broken, ("train.py", os.urandom(100_000)))
    broken.write_bytes(broken.read_bytes()[:50_000])
    with pytest.raises(UserError, match=r"sourcedir\.tar\.gz"):
        source.fetch(str(broken), tmp_path / "code")


def test_code_that_is_nowhere(tmp_path):
    with pytest.raises(UserError, match="there is no code at /nowhere; name its folder or archive"):
        source.fetch("/nowhere", tmp_path / "code")


def test_a_requirement_that_cannot_be_had_is_named(opt_ml, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (opt_ml / "code/requirements.txt").write_text("no-such-package-as-this==1.0\n")
    said = run(opt_ml, "")
    assert "could not be installed: No matching distribution found for no-such-package-as-this==1.0; check" in said


def test_a_requirement_of_a_git_repository_is_told_what_to_name(opt_ml):
    (opt_ml / "code/requirements.txt").write_text("git+https://127.0.0.1/owner/name.git\n")
    assert "; the image has no git: name a release of the package, or an archive" in run(opt_ml, "")


@pytest.mark.parametrize("line", ["-e .", ".", "--editable=./", "-e .[all]  # itself", "file:."])
def test_a_package_that_its_requirements_name_is_installed_once(opt_ml, monkeypatch, line):
    monkeypatch.setenv("PIP_DRY_RUN", "1")
    text = (
        "from setuptools import setup; setup(name='mine', version='1', extras_require={'all': []}, py_modules=['mine'])"
    )
    (opt_ml / "code/setup.py").write_text(text)
    (opt_ml / "code/requirements.txt").write_text(f"--no-index\n{line}\n")
    assert run(opt_ml, "") is None


def test_a_project_without_a_setup_script_is_built_without_a_network_too(opt_ml, monkeypatch, caplog):
    monkeypatch.setenv("PIP_DRY_RUN", "1")
    caplog.set_level("INFO")
    text = "[build-system]\nrequires = ['{0}']\nbuild-backend = '{0}.build'\n[project]\nname = 'm'\nversion = '1'\n"
    project = opt_ml / "code/pyproject.toml"
    project.write_text(text.format("setuptools").replace("setuptools.build", "setuptools.build_meta"))
    (opt_ml / "code/requirements.txt").write_text("--no-index\n-e .\n")
    assert run(opt_ml, "") is None
    assert "installing --no-build-isolation -r requirements.txt" in caplog.text
    project.write_text(text.format("no-such-tool"))
    assert f"No matching distribution found for no-such-tool (to build file://{opt_ml}/code); check" in run(opt_ml, "")


def test_a_package_with_a_broken_setup_script_says_what_breaks(opt_ml, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (opt_ml / "code/setup.py").write_text("import no_such_module")
    assert "No module named 'no_such_module' (to build file:///" in run(opt_ml, "")


def wheel(folder, name, version):
    """Write a wheel with one module, which says its version."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"version = '{version}'")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def test_paths_in_requirements_begin_in_the_codes_folder(opt_ml, monkeypatch):
    monkeypatch.setenv("PIP_TARGET", str(opt_ml / "code"))
    code = opt_ml / "code"
    (code / "wheels").mkdir()
    for version in ("1.0", "2.0"):
        wheel(code / "wheels", "small", version)
    (code / "requirements.txt").write_text("--no-index\n--find-links ./wheels\n-r other.txt\n")
    (code / "other.txt").write_text("-c constraints.txt\nsmall\n")
    (code / "constraints.txt").write_text("small<2\n")
    (code / "token.py").write_text("raise SystemExit('a module of the user, whom pip knows not')")
    assert run(opt_ml, "import small; assert small.version == '1.0'") is None


def test_pips_last_word_is_told():
    errors = (
        "WARNING: retrying\nERROR: Could not find a version (from versions: none)\nERROR: No matching one for x==1\n"
    )
    assert pip_reason(errors) == "No matching one for x==1"
    errors = (
        "ERROR: Cannot install x==1 and x==2 because …\n\nERROR: ResolutionImpossible: for help visit https://pip\n"
    )
    assert pip_reason(errors) == "Cannot install x==1 and x==2 because …"


# -- several hosts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", request.TORCHRUN)
def test_torchrun_starts_a_process_for_each_gpu(tmp_path, name):
    assert request.torchrun({name: True})
    hosts = command.Hosts(["algo-1", "algo-2"], 1, 4, "eth0")
    assert command.torchrun(tmp_path / "train.py", tmp_path, ["--lr", "1"], hosts)[1:] == [
        *("-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=4", "--node-rank=1"),
        *("--master-addr=algo-1", "--master-port=7777", "train.py", "--lr", "1"),
    ]


def test_processes_that_a_program_starts_itself_find_each_other(opt_ml):
    """As in AWS's images, where programs name their rank and the number of hosts, and no address."""
    text = (
        "import torch.distributed as dist\nimport torch.multiprocessing as mp\n"
        "def one(rank):\n    dist.init_process_group('gloo', rank=rank, world_size=2)\n    dist.barrier()\n"
        "if __name__ == '__main__':\n    mp.spawn(one, nprocs=2)\n"
    )
    assert run(opt_ml, text) is None


def test_several_hosts_meet_at_the_first(monkeypatch):
    hosts = command.Hosts(["algo-1", "algo-2"], 1, 0, "lo")
    meeting = {"MASTER_ADDR": "algo-1", "MASTER_PORT": "7777"}
    assert command.network(hosts) == meeting | {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    assert command.network(replace(hosts, interface="nowhere")) == meeting


def test_torchrun_starts_no_shell_script(tmp_path):
    with pytest.raises(UserError, match=r"torchrun starts Python files and train\.sh is none"):
        command.torchrun(tmp_path / "train.sh", tmp_path, [], command.Hosts(["algo-1"], 0, 1, "eth0"))


@pytest.mark.parametrize(
    "name",
    ["sagemaker_mpi_enabled", "sagemaker_distributed_dataparallel_enabled", "sagemaker_parameter_server_enabled"],
)
def test_other_distributions_get_one_sentence(opt_ml, name):
    assert "is not in this image; give the estimator" in run(opt_ml, "", **{name: True})
    assert run(opt_ml, "", **{name: False}) is None


def test_torchrun_on_one_host_tells_the_programs_own_error(opt_ml):
    said = run(opt_ml, "raise ValueError('of a rank')", sagemaker_torch_distributed_enabled=True)
    assert said == "train_model.py ended with exit code 1: ValueError: of a rank (train_model.py, line 1)"


def test_one_host_needs_no_name_and_others_are_waited_for(monkeypatch):
    asked = []

    def look_up(name):
        asked.append(name)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", look_up)
    job._await_names([], StopSignal())
    assert not asked
    with pytest.raises(UserError, match=r"the host algo-2 has had no address for 0 s \(Name or service not known\)"):
        job._await_names(["algo-2"], StopSignal(), patience=0)


# -- its figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("epoch=1 train_loss=0.8469", "train_loss", 0.8469),
        ("Epoch 1/5 - Training Loss: 3.1185", "training_loss", 3.1185),
        ("Train Epoch: 1 [0/600 (0%)]\tLoss: 0.693147", "train_loss", 0.693147),
        ("Test set: Average loss: 1.2e-3, Accuracy: 97/100 (97%)", "test_accuracy", 0.97),
        ("valid loss: 0.5, acc: 0.7, best loss: 0.4", "valid_acc", 0.7),
        ("val Loss: 0.5 Acc: 0.7", "val_acc", 0.7),
        ("Train: 0 [1/2 (50%)]  Loss: 6.9 (6.9)  LR: 1e-4", "lr", 1e-4),
        ("Epoch 1: train_loss=0.3 val_loss=0.2 acc=0.9", "acc", 0.9),
        ("train.py:12 loss: 0.5", "loss", 0.5),
        ("{'loss': 0.5, 'learning_rate': 5e-05, 'epoch': 0.1}", "learning_rate", 5e-05),
        ("{'eval_accuracy': 0.5, 'epoch': 1.0}", "eval_accuracy", 0.5),
        ("valid acc 45.0%", "valid_acc", 0.45),
        ("[INFO] best loss = 12", "best_loss", 12.0),
        ("\x1b[32m12:00:01 \x1b[1mloss=0.5\x1b[0m", "loss", 0.5),
        ("Epoch: [0]  [10/98]  eta: 0:00:05  lr: 0.1  loss: 0.5 (0.6)  acc1: 12.5 (11.0)  data: 0.1", "acc1", 12.5),
        (" * Acc@1 71.500 Acc@5 90.250", "acc@5", 90.25),
        ("Test: [  10/78]  Time: 0.8 (0.9)  Loss: 6.9 (6.8)  Acc@1: 0.50 ( 0.40)", "test_acc@1", 0.5),
        ("Prec@1 71.2, top5=90", "top5", 90.0),
        ("Loss (train): 0.5, Loss (val): 0.25", "loss_val", 0.25),
        ("epoch 1 train loss -> 0.5", "train_loss", 0.5),
        ("Validation accuracy is 97.5%", "validation_accuracy", 0.975),
        ("INFO train_loss: 0.5", "train_loss", 0.5),
        ("loss: tensor(0.5000, grad_fn=<NllLossBackward0>)", "loss", 0.5),
        ("{'eval_loss': '1.097', 'epoch': '2'}", "eval_loss", 1.097),  # as Transformers 5
        ("{'val_acc': np.float64(0.5)}", "val_acc", 0.5),  # as NumPy 2
    ],
)
def test_figures_are_found_in_what_scripts_print(tmp_path, line, name, value):
    curves = Curves()
    curves.read(line)
    curves.read(line)
    curves.write(tmp_path / "curves.csv")
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert rows[0] == "name,reading,value"
    assert f"{name},2,{value}" in rows


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (  # as fastai, with a bar between
            "epoch   train_loss  accuracy  time\nEpoch 1/2 : |##--| 3.0% [1]\n0  1.5  0.25  00:12\n1  .5  nan  00:12",
            ["train_loss,1,1.5", "train_loss,2,0.5"],
        ),
        (  # as skorch
            "  epoch    valid_acc     dur\n-------  -----------  ------\n      1       0.5000  0.1055\n  2  0.75  0.1",
            ["valid_acc,1,0.5", "valid_acc,2,0.75"],
        ),
        ("| Epoch | Val Acc |\n|---|---|\n| 1 | 50% |\n| 2 | 75 % |", ["val_acc,1,0.5", "val_acc,2,0.75"]),
        ("epoch,train_loss\n1,0.5\n2,2e-1", ["train_loss,1,0.5", "train_loss,2,0.2"]),
        ("epoch loss\n1 0.5\nsaved the best loss\n2 0.25", ["loss,1,0.5", "loss,2,0.25"]),
        ("Epoch   Train Loss\n1/2   0.5\n2/2   0.25", ["train_loss,1,0.5", "train_loss,2,0.25"]),
        (  # as pandas, with its index
            "   epoch  train_loss  val_acc\n0      1        0.90     0.50\n1      2        0.70      NaN",
            ["train_loss,1,0.9", "train_loss,2,0.7"],
        ),
        (
            "       train_loss\tlr\nepoch\n1            0.90\t0.1\n2            0.70\t0.1",
            ["train_loss,1,0.9", "train_loss,2,0.7", "lr,1,0.1", "lr,2,0.1"],
        ),
        (  # as skorch with checkpoints, which are marked in some rows
            "  epoch    train_loss    cp     dur\n-------  ------------  ----  ------\n"
            "      1        0.6905     +  0.0455\n      2        0.6648        0.0284",
            ["train_loss,1,0.6905", "train_loss,2,0.6648"],
        ),
        (  # as rich
            "\u250f\u2501\u2501\u2513\n\u2503 epoch \u2503 loss \u2503\n\u2521\u2501\u2501\u2529\n"
            "\u2502 1 \u2502 0.5 \u2502\n\u2502 2 \u2502 0.4 \u2502",
            ["loss,1,0.5", "loss,2,0.4"],
        ),
        (  # of each split, one after the other
            '{"train": {"loss": 0.5, "acc": 0.25}, "val": {"loss": 0.75, "acc": 0.5, "lr": 0.1}}\n' * 2,
            [
                f"{row},{value}"
                for name, value in (
                    ("train_loss", 0.5),
                    ("train_acc", 0.25),
                    ("val_loss", 0.75),
                    ("val_acc", 0.5),
                    ("lr", 0.1),
                )
                for row in (f"{name},1", f"{name},2")
            ],
        ),
        (  # as Ultralytics
            "  Epoch  GPU_mem   loss  Size\n  1/1  0G  2.5  224:  50%|##  | 1/2 [00:01]\n  1/1  0G  2.0  224: 100%|##|",
            ["loss,1,2.5", "loss,2,2.0"],
        ),
    ],
)
def test_figures_are_found_in_tables(tmp_path, table, rows):
    curves = Curves()
    for line in table.split("\n"):
        curves.read(line)
    curves.write(tmp_path / "curves.csv")
    assert sorted((tmp_path / "curves.csv").read_text().splitlines()[1:]) == sorted(rows)


def test_a_table_of_classes_is_no_curve(tmp_path):
    curves = Curves()
    for line in ["       precision    recall", "", "    0       0.50      0.60", "    1       0.70      0.80"]:
        curves.read(line)
    curves.write(tmp_path / "curves.csv")
    assert not (tmp_path / "curves.csv").exists()


def test_lines_without_figures_leave_no_file(tmp_path):
    curves = Curves()
    lines = ("loss", "Downloading lossless 3 files", "glossary: 12", "loss: n/a", "accuracy=" + "9" * 3000)
    for line in (*lines, "the loss and accuracy", "1 2 3 4", "precision  recall", "0  0.5  1.0"):
        curves.read(line)
        curves.read(line)
    curves.write(tmp_path / "curves.csv")
    assert not (tmp_path / "curves.csv").exists()


def test_long_words_are_read_at_once(tmp_path):
    curves = Curves()
    for _ in range(1000):
        for word in ("a", "a_", "1_", "a-"):
            curves.read(word * (2000 // len(word)))
    curves.write(tmp_path / "curves.csv")
    assert not (tmp_path / "curves.csv").exists()


def test_each_state_of_a_bar_is_a_line(tmp_path):
    lines = []
    python("import sys; sys.stderr.write('\\r 1/2 loss=0.5\\r 2/2 loss=0.4\\n')", tmp_path, line=lines.append)
    assert [line for line in lines if line] == [" 1/2 loss=0.5", " 2/2 loss=0.4"]


def test_a_million_readings_become_some_thousand(tmp_path):
    curves = Curves()
    for number in range(20_000):
        curves.read(f"loss={number}")
    curves.write(tmp_path / "curves.csv")
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert 2000 < len(rows) < 5000
    assert rows[1] == "loss,1,0.0"


def test_the_entry_is_quick_to_decide(tmp_path):
    """What only a script needs is not loaded for this project's own training, and neither needs torch for it."""
    text = "import sys, train.sagemaker, train.script.job; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


def test_a_signal_between_two_looks_is_not_lost(tmp_path):
    stop = StopSignal()
    timer = threading.Timer(0.2, setattr, (stop, "requested", True))
    timer.start()
    assert python("import time\ntime.sleep(600)", tmp_path, stop).code == -signal.SIGTERM
