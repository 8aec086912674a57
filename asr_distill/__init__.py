"""Distil an ensemble of senone acoustic models into one network and decode it with k2.

Audio and transcripts come in through lhotse; a deployable student, its word error rate and its frame accuracy go out.
Open ``asr_distill/cli/main.py`` first: each subcommand names the room that does the work.
"""

__version__ = "0.1.0"
