"""Containers of audio: how many samples a file holds, found from its own bytes, and the samples.

Comes in: the path of a file, recognised by its content. Goes out: an object with rate, channels, an exact count and
``read(start, count)``. Open ``plain.py`` first; ``asr_distill.features.audio_files`` chooses among the others.
"""
