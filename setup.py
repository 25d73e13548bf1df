"""Installation of lightbsr_arch. Options of the tools are in pyproject.toml."""
import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

if sys.version_info >= (3, 13):
    sys.exit('lightbsr_arch needs Python 3.10, 3.11 or 3.12: the set-up of BasicSR 1.4.2, on which it builds, fails on '
             f'Python {sys.version_info[0]}.{sys.version_info[1]}. Make a virtual environment with one of those.')

HERE = Path(__file__).parent

setup(
    name='lightbsr_arch',
    version=re.search(r"__version__ = '(.+)'", (HERE / 'lightbsr_arch/__init__.py').read_text())[1],
    description='LightBSR and KDSR, blind image super-resolution, as a BasicSR plugin',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='blind super-resolution, image restoration, BasicSR, LightBSR, KDSR',
    packages=[*find_packages(include=['lightbsr_arch', 'lightbsr_arch.*']), 'lightbsr_arch.options', 'lightbsr_arch.weights'],
    package_dir={'lightbsr_arch.options': 'options'},
    package_data={'lightbsr_arch.evaluation': ['*.yml'], 'lightbsr_arch.evaluation.report': ['page.*'],
                  'lightbsr_arch.weights': ['*.safetensors', '*.md'],
                  'lightbsr_arch.options': ['*.yml', 'ablations/*.yml', 'baselines/*.yml', 'demo/*/*.yml']},
    python_requires='>=3.10,<3.13',
    install_requires=['basicsr>=1.4.2', 'torch>=2.6', 'torchvision>=0.21', 'numpy>=1.26', 'scipy>=1.11',
                      'scikit-image>=0.22', 'scikit-learn>=1.3', 'opencv-python>=4.8', 'Pillow>=10', 'lmdb>=1.4',
                      'pyyaml>=6', 'tqdm>=4.66', 'safetensors>=0.4'],
    extras_require={'test': ['pytest>=8', 'pytest-xdist>=3'], 'eval': ['matplotlib>=3.8'], 'perceptual': ['pyiqa'],
                    'onnx': ['onnx>=1.17', 'onnxruntime>=1.20'], 'spandrel': ['spandrel>=0.4'],
                    'ui': ['gradio>=6']},
    entry_points={'console_scripts': ['basicsr = lightbsr_arch.cli.main:main', 'lightbsr = lightbsr_arch.cli.main:main']},
    classifiers=['License :: OSI Approved :: Apache Software License', 'Programming Language :: Python :: 3',
                 'Topic :: Scientific/Engineering :: Image Processing'],
)
