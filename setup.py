"""Everything about the package is in pyproject.toml, except that it carries the configurations that help texts name."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigurations(build_py):
    """Copies ``recipes/**/*.yaml`` to ``asr_distill/recipes``, where `asr_distill.base.read_yaml` finds them."""

    def run(self) -> None:
        """Builds the package, then copies; an editable install has the checkout's own files."""
        super().run()
        for path in [] if self.editable_mode else Path("recipes").rglob("*.yaml"):
            copy = Path(self.build_lib, "asr_distill", path)
            self.mkpath(str(copy.parent))
            self.copy_file(str(path), str(copy))


setup(cmdclass={"build_py": BuildWithConfigurations})
