"""Files and folders: written whole or not at all, identified by content, guarded against being overwritten.

Standard library only. `writing` makes files and folders appear by one rename, `reading` parses JSON strictly,
`content` computes checksums of files and folders, `guard` decides what a command may write, `locks` keeps two
commands from writing to one output.
"""

from .content import (
    MANIFEST,
    damage_of,
    fingerprint,
    folder_sums,
    sha256_of_bytes,
    sha256_of_file,
    write_manifest,
)
from .guard import Inputs, Output, check_outputs
from .locks import hold_outputs, lock
from .reading import parse_json, read_json, read_json_object
from .writing import (
    DISK_ERRORS,
    cannot_write,
    flush,
    json_text,
    publish_folder,
    remove_leftovers,
    replacing,
    replacing_folder,
    replacing_text,
    temporary_folder,
    temporary_path,
    write_bytes,
    write_json,
    write_text,
)

__all__ = [
    "DISK_ERRORS",
    "MANIFEST",
    "Inputs",
    "Output",
    "cannot_write",
    "check_outputs",
    "damage_of",
    "fingerprint",
    "flush",
    "folder_sums",
    "hold_outputs",
    "json_text",
    "lock",
    "parse_json",
    "publish_folder",
    "read_json",
    "read_json_object",
    "remove_leftovers",
    "replacing",
    "replacing_folder",
    "replacing_text",
    "sha256_of_bytes",
    "sha256_of_file",
    "temporary_folder",
    "temporary_path",
    "write_bytes",
    "write_json",
    "write_manifest",
    "write_text",
]
