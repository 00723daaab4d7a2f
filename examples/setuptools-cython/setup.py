"""What pyproject.toml cannot say: Cython compiles the extension."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(ext_modules=cythonize([Extension("nearest._search", ["nearest/_search.pyx"])]))
