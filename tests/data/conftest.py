import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def stores() -> ModuleType:
    """The module stores.py beside this file."""
    spec = importlib.util.spec_from_file_location("data_stores", Path(__file__).with_name("stores.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
