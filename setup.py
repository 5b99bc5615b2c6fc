"""What is in the wheel (`make wheel`), beside pyproject.toml: the engine, the recipes, and the C library, compiled.

The recipes' folders go into the package, where engine/config/installation.py looks for them. The wheel is for every
Python, since the C library is called by ctypes, and for one kind of machine.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from engine.data.native.compile import build, libjpeg_flags  # noqa: E402 - of this checkout, whatever is installed
from engine.errors import UserError  # noqa: E402

RECIPES = {f"engine.recipe_files.{folder.name}": folder.name for folder in sorted(ROOT.glob("*_configs"))}


class BuildWithLibrary(build_py):
    """The files, and the C library."""

    def run(self) -> None:
        super().run()
        if not libjpeg_flags():
            sys.exit("error: no libjpeg-turbo to put into the wheel: install libjpeg-dev and pkg-config")
        native = Path(self.build_lib) / "engine/data/native"
        try:
            build(native)
        except UserError as error:
            sys.exit(f"error: {error}")
        # Whoever passes libjpeg-turbo on passes on its licence, which Debian keeps here.
        for terms in Path("/usr/share/doc").glob("libjpeg*-turbo/copyright"):
            shutil.copy(terms, native / "libjpeg-turbo-licence.txt")


class ForOneMachine(bdist_wheel):
    """A wheel for any Python on this kind of machine."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


class WithLibrary(Distribution):
    """Files that differ by machine."""

    def has_ext_modules(self) -> bool:
        return True


# Nothing is left in the checkout, and nothing old that lies in a build/ there gets into the wheel.
with tempfile.TemporaryDirectory() as work:
    setup(
        distclass=WithLibrary,
        cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": ForOneMachine},
        packages=[*find_packages(include=["engine", "engine.*"]), *RECIPES],
        package_dir=RECIPES,
        # Data beside the code (.css, .yaml, ...) and the C sources, whose fingerprint is the library's name.
        package_data={"": ["*.[!p]*"], "engine.knowledge": ["published/*.yaml", "measured/*.json"]},
        exclude_package_data={"": ["*.so", "*.pyc"]},
        py_modules=["train_imagenet", "write_dataset"],
        options={"build": {"build_base": work}, "egg_info": {"egg_base": work}},
    )
