"""Search a test set: a model, a graph and cuts or audio files come in; hypotheses and what they are worth go out.

Open ``job.py`` first: it reads ``inputs.py`` with a model of ``models.py``, and writes what ``summary.py`` says of the result.
"""

from asr_distill.experiments.decoding.job import TUNED, DecodingJob

__all__ = ["TUNED", "DecodingJob"]
