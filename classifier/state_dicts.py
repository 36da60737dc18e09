"""What torch says of weights that do not fit the network they are loaded into, in short, and what to do about it."""

import re

#: Names of weights that a sentence tells of each kind.
_TOLD = 2

_FAILED = "Error(s) in loading state_dict for "
_LISTS = re.compile(r"(?P<kind>Missing|Unexpected) key\(s\) in state_dict: (?P<names>\"[^\"]+\"(?:, \"[^\"]+\")*)")
_SIZES = re.compile(
    r"size mismatch for (?P<name>\S+): copying a param with shape torch\.Size\((?P<file>\[[\d, ]*\])\) from "
    r"checkpoint, the shape in current model is torch\.Size\((?P<network>\[[\d, ]*\])\)\.?"
)

#: What a name begins with, and what has put that there.
_PREFIXES = {"module.": "DataParallel", "_orig_mod.": "torch.compile"}

#: What checkpoints call the weights in them.
_WEIGHTS = re.compile(r'"([^"]*(?:state_dict|state|model|net|network|weights)[^"]*)"')


def short(message: str) -> str:
    """Return a message with the first of the names that torch lists in it; any other message as it is."""
    if _FAILED not in message:
        return message
    message = _LISTS.sub(lambda lists: f"{lists['kind']} key(s) in state_dict: {_listed(lists['names'])}", message)
    sizes = list(_SIZES.finditer(message))
    more = f", and {len(sizes) - 1} more" if len(sizes) > 1 else ""
    if sizes:
        told = f"size mismatch for {sizes[0]['name']}: {sizes[0]['file']} in the file, {sizes[0]['network']} in the "
        message = f"{message[: sizes[0].start()]}{told}network{more}."
    return " ".join(message.split())


def advice(message: str) -> str:
    """Return what to do where weights do not fit; nothing where the message is about something else."""
    if _FAILED not in message:
        return ""
    unexpected = next((lists["names"] for lists in _LISTS.finditer(message) if lists["kind"] == "Unexpected"), "")
    for prefix, what in _PREFIXES.items():
        if unexpected.startswith(f'"{prefix}'):
            return (
                f"{what} has put {prefix} before the names: load {{name.removeprefix({prefix!r}): value for "
                "name, value in weights.items()}"
            )
    held = unexpected.split(", ")
    if len(held) < 10 and not any("." in name for name in held) and (under := _WEIGHTS.search(unexpected)):
        return f"the file is a checkpoint, which has the weights under {under[1]!r}: load those"
    if _SIZES.search(message):
        return "build the network as it was trained, with as many classes"
    return "build the network as it was trained: its layers have other names"


def _listed(names: str) -> str:
    listed = names.split(", ")
    more = len(listed) - _TOLD
    return ", ".join(listed[:_TOLD]) + (f" and {more} more" if more > 0 else "")
