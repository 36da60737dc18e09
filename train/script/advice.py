"""What to do about what a program says last, where how it is run here, or what it is run on, is most likely why."""

import os
import re
from pathlib import Path

from byoc_vision.contract.folders import text

#: Names in a folder that a message tells.
_NAMED = 6

#: Packages that are not called as the modules in them.
_PACKAGES = {
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "PyYAML",
}

#: Of what is said, a pattern at its beginning, and what to do.
_ADVICE = {
    r"ModuleNotFoundError: No module named '(smdistributed|torch_xla)\b": "it is only in AWS's own images: use "
    "torch.distributed, with the estimator's "
    'distribution={"torch_distributed": {"enabled": True}}',
    r"ModuleNotFoundError: No module named 'sagemaker_containers\b": "its name is sagemaker_training today; what "
    "it knows of the job is in the variables SM_…, too",
    r"ModuleNotFoundError: No module named '\w+\.|AttributeError: module '[\w.]+' has no attribute": "what it is part "
    "of is there, perhaps in another version: requirements.txt can name the one that the program was written for",
    **{
        rf"ModuleNotFoundError: No module named '{module}'": f"name its package, {package}, in requirements.txt"
        for module, package in _PACKAGES.items()
    },
    r"ModuleNotFoundError|.*No module named": "name its package in requirements.txt, or put the module beside the "
    "program",
    r"KeyError: 'SM_CHANNEL_": "the job has no channel of that name: give its data one, --data NAME=FOLDER",
    r"TypeError: expected str, bytes or os\.PathLike object, not NoneType": "a path is None, as a channel's is "
    "that the job does not have: give its data that name, --data NAME=FOLDER",
    r"NameError: name 'get_ipython'": "the program was a notebook: remove its magic commands (%…, !…)",
    r"ImportError: attempted relative import": "the program is run as a file: import by full names, or name the "
    "package's folder with __main__.py",
    r"EOFError: EOF when reading a line": "a job has no keyboard: let the program take what it asks for as an argument",
    r"RuntimeError: An attempt has been made to start a new process before": "its processes import the program: put "
    "what only the first is to do under if __name__ == '__main__'",
    r"terminate called without an active exception": "a thread still ran at its end, as gloo's may: let the program "
    "call torch.distributed.destroy_process_group() last",
    r".*(Found no NVIDIA driver|No CUDA GPUs are available|no GPUs found!)": "the machine has no GPU: take an instance "
    'type that has one, or let the program take "cuda" only where torch.cuda.is_available()',
    r"_pickle\.UnpicklingError: Weights only load failed": "give torch.load weights_only=False, if you trust the file",
    r"IndexError: Target \d+ is out of bounds": "the network has fewer outputs than the data has classes: let its last "
    "layer have one for each",
    r"OSError: (image file is truncated|Truncated File Read|broken data stream)": "remove the picture that ends early, "
    "or set PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True",
    r"OSError: \[Errno 30\] Read-only file system": "let the program write to /opt/ml/output/data, "
    "/opt/ml/checkpoints or /tmp, and copy there first what it is to change",
    r"smdebug\.exceptions\.SMDebugRuntimeError: The path:.* already exists": "a hook has recorded there and ended: "
    "make one hook in a job, or give the second an out_dir of its own",
    r"(urllib\.error\.URLError|requests\.exceptions\.ConnectionError|socket\.gaierror|httpx?\.ConnectError)|"
    r".*(no internet connection|Temporary failure in name resolution|Network is unreachable|Error downloading |"
    r"[Cc]ould(n't| not) connect to |Max retries exceeded|locate the file on the Hub)": "in an isolated network what "
    "the program fetches is given as a channel",
    r"\S+: (line )?\d+: .+: (command )?not found$": "the image has no such command: name its package in "
    "requirements.txt, or do it in Python",
    r".*error: unrecognized arguments:( ([Tt]rue|[Ff]alse)?)+$|.*unexpected extra argument \((True|False)\)": "hyper"
    "parameters are passed on as --name value, so let the option take a value, in place of action='store_true'",
    r".*error: unrecognized arguments: -": "hyperparameters are passed on by their names: name them as the program's "
    "options are spelled (--batch-size is not --batch_size)",
    r".*error: argument .*: invalid int value: '(True|False)'": "true and false are passed on as True and False: let "
    "the option read these, or give 1 or 0",
    r".*error: argument .*: invalid \w+ value: '\[": "a list is passed on as one argument: let the option read it, "
    "type=json.loads, or give the values apart by commas and let it split them",
    r".*error: argument .*: (invalid|expected one argument)": "its hyperparameter is passed on as it is written: give "
    "it as the program reads it",
    r".*error: the following arguments are required:": "hyperparameters are passed on as --name value: give those, "
    "and let the program take an argument without -- as an option",
}

#: A path below the channels that was not found, or has no folders of classes in it.
_NOT_FOUND = r"(?:FileNotFoundError|NotADirectoryError): .*'{data}/+([^']+)'"
_NO_CLASSES = r"FileNotFoundError: Couldn't find any class folder in {data}/+(.+?)\.(?: \(.*)?$"


def advice(said: str, data: Path) -> str:
    """Return what to do about what was `said`, with a semicolon before it, or nothing; the channels are in `data`."""
    told = _missing(said, data)
    return told + next((f"; {what}" for pattern, what in _ADVICE.items() if re.match(pattern, said)), "")


def _missing(said: str, data: Path) -> str:
    """Return what there is in place of the file or folder below the channels that an exception did not find, if any."""
    patterns = (pattern.replace("{data}", re.escape(str(data))) for pattern in (_NOT_FOUND, _NO_CLASSES))
    named = next((match for pattern in patterns if (match := re.match(pattern, said))), None)
    if named is None:
        return ""
    place = data / named[1]
    there = next(folder for folder in (place, *place.parents) if folder.is_dir() or folder == data)
    names = [name for name in sorted(os.listdir(there)) if not name.startswith(".")] if there.is_dir() else []
    held = ", ".join(map(text, names[:_NAMED])) + (", …" if len(names) > _NAMED else "") or "nothing"
    if there == data:
        channel = place.relative_to(data).parts[0]
        return f"; the job has no channel {channel}, but {held}: give its data that name, --data {channel}=FOLDER"
    return f"; {text(there)} holds {held}: let the program read that, or give another folder as the channel"
