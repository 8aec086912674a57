"""Commands of wav.scp: which only unpack one file, and that everything else is taken for what it is, unknown."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.data.piped_audio import PipedFile, unpacked_file


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("flac -c -d -s /corpus/84/84-121123-0000.flac |", PipedFile("/corpus/84/84-121123-0000.flac")),
        ("flac -cds a.flac|", PipedFile("a.flac")),
        ("flac -s -dc a.flac |", PipedFile("a.flac")),
        ("/usr/bin/flac a.flac -d -c |", PipedFile("a.flac")),
        ("sph2pipe -f wav -p -c 1 a.sph|", PipedFile("a.sph", 0)),
        ("/kaldi/tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 2 a.sph |", PipedFile("a.sph", 1)),
        ("sph2pipe -c 1 -f wav 4k0c0301.wv1 |", PipedFile("4k0c0301.wv1", 0)),
        ("sph2pipe -f wav a.sph |", PipedFile("a.sph")),
        ("sox a.wav -t wav - |", PipedFile("a.wav")),
        ("cat a.wav |", PipedFile("a.wav")),
        ("wav-copy a.wav - |", PipedFile("a.wav")),
        ("cat 'of two words (a), 50% + #1.wav' |", PipedFile("of two words (a), 50% + #1.wav")),
        ('cat "a b.wav" |', PipedFile("a b.wav")),
    ],
)
def test_commands_that_only_unpack(command: str, file: PipedFile) -> None:
    assert unpacked_file(command) == file


@pytest.mark.parametrize(
    "command",
    [
        *("|", " |", "a.flac |", "rm a.flac |", "FLAC -cd a.flac |", "env flac -cd a.flac |", "LANG=C flac -cd a.flac |"),
        *(
            "flac -c a.flac |",
            "flac -d a.flac |",
            "flac -cd |",
            "flac -cd a.flac b.flac |",
            "flac -cdf a.flac |",
            "flac -cd - |",
        ),
        *("flac -cd --skip=100 a.flac |", "flac -cds -o b.wav a.flac |", "flac -c -d -s -- a.flac |"),
        *("sph2pipe a.sph |", "sph2pipe -f wav -p -c 3 a.sph |", "sph2pipe -f wav -p -c a.sph |", "sph2pipe -f raw a.sph |"),
        *("sph2pipe -f wav -p -t 1:2 a.sph |", "sph2pipe -f wav -c 1 -c 2 a.sph |", "sph2pipe -f wav -p a.sph b.wav |"),
        *("sph2pipe -f wav -p a.sph -c 2 |", "sph2pipe -f wav -u a.sph |"),
        *(
            "sox a.wav -t wav - rate 8k |",
            "sox -t raw -r 8k a.wav -t wav - |",
            "sox a.wav b.wav -t wav - |",
            "sox a.wav b.wav |",
        ),
        *("sox a.wav -r 16k -t wav - |", "sox a.wav -t raw - |", "cat |", "cat - |", "cat a.wav b.wav |", "cat -n a.wav |"),
        *("wav-copy a.wav |", "wav-copy a.wav b.wav |", "wav-copy - - |", "ffmpeg -i a.mp3 -f wav - |"),
        *("cat a.wav | sox - -t wav - |", "cat a.wav > b.wav |", "cat < a.wav |", "cat a.wav; rm b |", "cat a.wav && rm b |"),
        *("cat a.wav & |", "(cat a.wav) |", "cat $HOME |", "cat `rm b` |", "cat $(rm b) |", 'cat "$(rm b)" |', "cat *.wav |"),
        *(
            "cat ~/a.wav |",
            "cat {a,b}.wav |",
            "cat a.wav \n rm b |",
            "cat a\\ b.wav |",
            "cat 'a.wav |",
            "cat '' |",
            "cat #a.wav |",
        ),
    ],
)
def test_anything_else_is_unknown(command: str) -> None:
    assert unpacked_file(command) is None


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1), st.sampled_from(["flac -cds {} |", "cat {} |"]))
def test_a_quoted_name_is_that_name_or_refused(name: str, command: str) -> None:
    assert unpacked_file(command.format(shlex.quote(name))) in (PipedFile(name), None)


@given(st.text("abc.-/ \t'\"$`;&|<>()\\#*?~!={}[]\n", max_size=30))
def test_no_word_of_another_program_is_taken(words: str) -> None:
    assert unpacked_file(f"rm {words} |") is None
    found = unpacked_file(f"cat {words} |")
    assert found is None or found.name in shlex.split(words)
