"""XML as S3, STS and IAM write it."""

import re
import xml.etree.ElementTree as ElementTree
from typing import Any
from xml.sax.saxutils import escape

from byoc_vision.local.store import ServiceError

#: What XML 1.0 cannot hold; S3's clients ask for keys in a quoted form.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def element(name: str, content: Any, namespace: str = "") -> str:
    """Return an element: of a dict its items are the children, of a list there is one element for each member."""
    if isinstance(content, list):
        return "".join(element(name, member) for member in content)
    if isinstance(content, dict):
        text = "".join(element(child, value) for child, value in content.items() if value is not None)
    elif isinstance(content, bool):
        text = str(content).lower()
    else:
        text = escape(_FORBIDDEN.sub("\ufffd", str(content)))
    space = f' xmlns="{namespace}"' if namespace else ""
    return f"<{name}{space}>{text}</{name}>"


def document(name: str, content: Any, namespace: str = "") -> bytes:
    """Return a whole document."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{element(name, content, namespace)}'.encode()


def parse(content: bytes) -> ElementTree.Element:
    """Return the root of a document, its names without their namespace; raise `ServiceError` where it is broken."""
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ValueError
        root = ElementTree.fromstring(content)
    except (ValueError, ElementTree.ParseError):
        raise ServiceError("MalformedXML", "The request's body is not the XML that the operation takes.") from None
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    return root
