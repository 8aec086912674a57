"""What every room stands on: errors for people, files that are whole or absent, hashes, strict configuration, progress.

Comes in: paths, plain objects, iterables. Goes out: the same, checked. Open ``errors.py`` first, then ``files.py``.
"""

from asr_distill.base.arrays import read_array, read_tensors, write_array, write_tensors
from asr_distill.base.configuration import from_mapping, load_config, read_yaml, shipped, to_mapping
from asr_distill.base.digests import (
    DIGESTS_FILE,
    accept_folder,
    change_list,
    check_file,
    check_folder,
    foreign_files,
    has_file,
    read_digests,
)
from asr_distill.base.disk import DiskError, check_space, failed_write, free_bytes, write_error
from asr_distill.base.ending import ended_in_order, run_as_command
from asr_distill.base.errors import UserError, missing_package
from asr_distill.base.files import (
    LONGEST_LINE,
    parse_json,
    read_json,
    read_jsonl,
    read_text,
    write_json,
    write_jsonl,
    write_text,
)
from asr_distill.base.folders import found_instead
from asr_distill.base.hashing import hash_of_array, hash_of_file, hash_of_object
from asr_distill.base.lock import only_process, only_writer
from asr_distill.base.options import OptionParser, did_you_mean, refuse_missing, refuse_overwriting
from asr_distill.base.parent import end_with_parent, environment_of_child
from asr_distill.base.progress import progress_bar, track
from asr_distill.base.replace import (
    atomic_directory,
    atomic_path,
    check_own,
    check_replaceable,
    flush_files,
    free_name,
    make_room,
    remove_folder,
    remove_leftovers,
    written_together,
)
from asr_distill.base.terminal import json_line, printable
from asr_distill.base.text import normalise_text, split_words, text_lines
from asr_distill.base.tokens import escape_token, unescape_token

__all__ = [
    "DIGESTS_FILE",
    "LONGEST_LINE",
    "DiskError",
    "OptionParser",
    "UserError",
    "accept_folder",
    "atomic_directory",
    "atomic_path",
    "change_list",
    "check_file",
    "check_folder",
    "check_own",
    "check_replaceable",
    "check_space",
    "did_you_mean",
    "end_with_parent",
    "ended_in_order",
    "environment_of_child",
    "escape_token",
    "failed_write",
    "flush_files",
    "foreign_files",
    "found_instead",
    "free_bytes",
    "free_name",
    "from_mapping",
    "has_file",
    "hash_of_array",
    "hash_of_file",
    "hash_of_object",
    "json_line",
    "load_config",
    "make_room",
    "missing_package",
    "normalise_text",
    "only_process",
    "only_writer",
    "parse_json",
    "printable",
    "progress_bar",
    "read_array",
    "read_digests",
    "read_json",
    "read_jsonl",
    "read_tensors",
    "read_text",
    "read_yaml",
    "refuse_missing",
    "refuse_overwriting",
    "remove_folder",
    "remove_leftovers",
    "run_as_command",
    "shipped",
    "split_words",
    "text_lines",
    "to_mapping",
    "track",
    "unescape_token",
    "write_array",
    "write_error",
    "write_json",
    "write_jsonl",
    "write_tensors",
    "write_text",
    "written_together",
]
