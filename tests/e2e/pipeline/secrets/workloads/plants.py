"""Words and numbers that nobody may find at the gateway, each with the name of its place in it.

They are computed where a workload runs: what is searched for stands in no bundle.
"""

import hashlib
import logging
import os
import sys
import threading
from pathlib import Path

import numpy as np

_SEED = hashlib.sha256(b"what stands in a bundle gives nothing away").hexdigest()
WORD = "zq" + _SEED[:12]
NUMBER = int(_SEED[12:24], 16) | 1 << 52  # exact as a float
ROUND = int(_SEED[24:31], 16) | 1 << 29


def word(place):
    """The word, and in its end where it was planted; the log says that it was."""
    print("planted in", place, flush=True)
    return WORD + place.replace(" ", "").replace("'", "")  # a name that guards let pass


def planted(label, size):
    """Weights that a search can find: 32 bytes, again and again, that are finite numbers."""
    words = np.frombuffer(hashlib.sha256(label.encode()).digest(), np.uint32)
    return np.resize(words & 0x3FFFFFFF | 0x20000000, size).view(np.float32)


def here():
    """The site's name, or "coordinator"."""
    return next((p for p in Path.cwd().parts if p.startswith("site-")), "coordinator")


def say(place):
    """Everything that a program prints, logs and leaves in its folder."""
    print(word(f"{place} output"))
    print(word(f"{place} errors"), file=sys.stderr)
    logging.getLogger(word(f"{place} logger")).warning(word(f"{place} record"))
    Path(word(f"{place} file")).write_text(word(f"{place} content"))
    thread = threading.Thread(target=fail, args=(f"{place} thread",), name=word(f"{place} threads"))
    thread.start()
    thread.join()


def fail(place):
    """An exception whose every part is a word."""
    kind = type(word(f"{place} class"), (Exception,), {"__module__": word(f"{place} module")})
    error = kind(word(f"{place} text"), NUMBER)
    error.add_note(word(f"{place} note"))
    raise error from KeyError(word(f"{place} cause"))


class Beyond(BaseException):
    """What ``except Exception`` does not catch."""


def fail_as(does, place):
    """A failure of a site's code by its name; nothing for another name."""
    if does == "exception":
        fail(f"{place} exception")
    if does == "key":
        raise KeyError(word(f"{place} key"))
    if does == "exit":
        sys.exit(word(f"{place} exit"))
    if does == "beyond":
        raise Beyond(word(f"{place} beyond"))
    if does == "die":
        print(word(f"{place} last words"), file=sys.stderr, flush=True)
        os._exit(NUMBER % 251)
