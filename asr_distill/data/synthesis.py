"""Speech from espeak-ng's shared library (package ``espeakng-loader``), driven through ctypes: text in, samples out."""

from __future__ import annotations

import ctypes
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_distill.base import UserError, missing_package

_SYNCHRONOUS, _DONT_EXIT, _UTF8, _PHONEMES = 2, 0x8000, 1, 0x100
_RATE, _PITCH, _RANGE = 1, 3, 4
_LONGEST_PATH = 120  # the library copies the path of its data into a fixed buffer of 160 bytes
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """A speaker: ``name`` as espeak-ng knows it (``en-us+m3``), words per minute, pitch and pitch range (0 to 100)."""

    name: str
    words_per_minute: int = 170
    pitch: int = 50
    pitch_range: int = 50


class Synthesiser:
    """One espeak-ng in this process (the library has global state, so make one only). Raises `UserError` where it is absent."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise missing_package("espeakng-loader", "synthesising the demo corpus") from None
        self._data = Path(espeakng_loader.get_data_path())
        path = self._data
        if len(str(path)) > _LONGEST_PATH:
            self._shortcut = tempfile.TemporaryDirectory(prefix="espeak-")
            path = Path(self._shortcut.name) / "espeak-ng-data"
            path.symlink_to(self._data)
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        ]
        self._libc = ctypes.CDLL(None)
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.sampling_rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(path).encode(), _DONT_EXIT))
        if self.sampling_rate <= 0:
            raise UserError(
                f"espeak-ng does not start with its data in {path}. Next: pip install --force-reinstall espeakng-loader"
            )
        self._pieces: list[NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice, seed: int) -> NDArray[np.float32]:
        """Samples ``(N,)`` in [-1, 1] at ``sampling_rate`` Hz; ``[['eI]]`` in the text is espeak-ng's phoneme notation.

        ``seed`` governs the library's breath noise. It carries more state from call to call than can be set, so what repeats
        to the bit is the same sequence of calls in a new process.
        Raises `UserError` for a voice, variant or parameter that the library does not have.
        """
        self._choose(voice)
        self._library.espeak_ng_SetRandSeed(seed)
        self._libc.srand(seed)  # some voices draw their noise from the C library
        self._pieces.clear()
        data = text.encode("utf-8")
        status = self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8 | _PHONEMES, None, None)
        if status != 0:
            raise UserError(f"espeak-ng could not speak {text!r} with {voice.name} (status {status})")
        if not self._pieces:
            raise UserError(f"espeak-ng made no sound for {text!r} with {voice.name}")
        return np.concatenate(self._pieces).astype(np.float32) / np.float32(32768)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    def _choose(self, voice: Voice) -> None:
        # An unknown voice gives an error status and keeps the previous voice; an unknown variant gives not even that.
        _, _, variant = voice.name.partition("+")
        if variant and not (self._data / "voices" / "!v" / variant).is_file():
            raise UserError(f"espeak-ng has no variant {variant!r} (asked for as {voice.name!r})")
        status = self._library.espeak_SetVoiceByName(voice.name.encode())
        if status != 0:
            raise UserError(f"espeak-ng has no voice {voice.name!r} (status {status})")
        for parameter, value in ((_RATE, voice.words_per_minute), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            if self._library.espeak_SetParameter(parameter, value, 0) != 0:
                raise UserError(f"espeak-ng refuses parameter {parameter} = {value} for {voice.name}")
