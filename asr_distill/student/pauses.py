"""Long recordings in pieces: cut where the model itself hears a pause, so that no search needs memory for an hour."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from asr_distill.features import ContextWindow

_SMOOTHED = 31  # frames that a pause is judged by: a third of a second, longer than most stops


def pause_frame(log_posteriors: torch.Tensor, silence: np.ndarray, earliest: int) -> int:
    """Return the frame, from ``earliest`` on, in the middle of the clearest pause.

    That is where the best silence senone leads the best other one by most, on average over a third of a second. Without a pause
    it is the frame at which a cut costs least.

    Args:
        log_posteriors: ``(T, C)``.
        silence: ``(C,)`` bool, which senones are silence.
        earliest: below T.
    """
    rows = log_posteriors[earliest:]
    mask = torch.from_numpy(silence).to(rows.device)
    if not mask.any() or mask.all():
        return earliest + len(rows) - 1
    lead = (rows[:, mask].max(1).values - rows[:, ~mask].max(1).values).double().cpu().numpy()
    width = min(_SMOOTHED, len(lead))
    smooth = np.convolve(np.pad(lead, width // 2, mode="edge"), np.full(width, 1 / width), mode="valid")[: len(lead)]
    return earliest + int(smooth.argmax())


def pieces_of(
    normalised: torch.Tensor,
    window: ContextWindow,
    log_posteriors: Callable[[torch.Tensor], torch.Tensor],
    silence: np.ndarray,
    longest: int,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the first frame and the log-posteriors ``(t, C)`` of consecutive pieces of one recording.

    No piece is longer than ``longest`` frames, none but the last shorter than half of that; at most twice ``longest`` rows are
    in memory. The rows are those of the whole recording.

    Args:
        normalised: features ``(T, D)`` of the recording.
        window: of the network.
        log_posteriors: inputs ``(N, D')`` on the CPU to ``(N, C)``.
        silence: ``(C,)`` bool.
        longest: frames.
    """
    total, begin = len(normalised), 0
    kept: torch.Tensor | None = None
    for start in range(0, total, longest):
        end = min(total, start + longest)
        first, last = max(0, start - window.left), min(total, end + window.right)
        rows = log_posteriors(window(normalised[first:last])[start - first : end - first])
        kept = rows if kept is None else torch.cat([kept, rows])
        while len(kept) > longest:
            cut = pause_frame(kept[:longest], silence, longest // 2)
            yield begin, kept[:cut]
            begin, kept = begin + cut, kept[cut:]
    if kept is not None:
        yield begin, kept
