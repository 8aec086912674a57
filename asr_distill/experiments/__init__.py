"""Experiments: a table of systems (``systems.yaml``), the jobs that make them, and what is complete by content.

Comes in: frame stores, graphs and labels that a recipe's stages prepared. Goes out: trained, combined and decoded systems under
``exp/``. Open ``table.py`` first, then ``runner.py``.
"""
