"""Package metadata. Everything a plain ``pip install .`` needs is core; what only one part needs is an extra.

``configs/`` is edited in the checkout and travels in the wheel as ``lavis/configs``. No torch build and no index is
named here: which build of torch is right depends on the machine (``requirements/install.py`` chooses one).
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

CORE = [
    "torch>=2.4",
    "transformers>=5.17,<6",
    "accelerate>=1.10",
    "peft>=0.19",
    "tokenizers",
    "sentencepiece",
    "safetensors>=0.5",
    "numpy>=1.26",
    "pillow>=10",
    "av>=15",
    'decord>=0.6; platform_machine == "x86_64" and sys_platform != "darwin"',
    "omegaconf>=2.3",
    "pyyaml>=6",
    "webdataset>=1.0",
    "tqdm>=4.66",
    "tensorboard>=2.16",
]

EXTRAS = {
    "decord": ["decord>=0.6"],
    "torchcodec": ["torchcodec>=0.12"],
    "opencv": ["opencv-python-headless>=4.10"],
    "vision": ["timm>=1.0", "torchvision>=0.19"],
    "metrics": ["pycocoevalcap>=1.2"],
    "asr": ["faster-whisper>=1.2"],
    "nouns": ["HanTa>=1.2.1,<2"],
    "scenes": ["scenedetect>=0.7", "opencv-python-headless>=4.10"],
    "ray": ["ray>=2.40"],
    "track": ["wandb>=0.18"],
    "fairscale": ["fairscale>=0.4.13"],
    "deepspeed": ["deepspeed>=0.16"],
    "demo": ["gradio>=6,<7", "matplotlib>=3.8"],
    "notebook": ["nbformat>=5", "nbclient>=0.10", "ipykernel>=6", "matplotlib>=3.8"],
    "dev": [
        *("pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "ruff>=0.9", "mypy>=1.14"),
        *("nbformat>=5", "nbclient>=0.10", "ipykernel>=6", "matplotlib>=3.8"),
        *("pycocoevalcap>=1.2", "HanTa>=1.2.1,<2"),
    ],
}


class BuildWithConfigs(build_py):
    """The usual build, and ``configs/`` as ``lavis/configs``."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout reads its own configs/
        for source in sorted((ROOT / "configs").rglob("*.yaml")):
            target = Path(self.build_lib, "lavis", source.relative_to(ROOT))
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))


def version() -> str:
    match = re.search(r'^__version__ = "([^"]+)"', (ROOT / "lavis" / "__init__.py").read_text(), re.MULTILINE)
    if match is None:
        raise ValueError('lavis/__init__.py has no line __version__ = "..."')
    return match.group(1)


setup(
    name="lavis",
    version=version(),
    description="Find moments in video with multimodal language models",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    author="The LAVIS Moments contributors",
    python_requires=">=3.10",
    packages=find_packages(include=["lavis", "lavis.*"]),
    package_data={"": ["*.yaml", "*.json", "py.typed"], "lavis": ["assets/**/*"]},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["lavis=lavis.cli:main"]},
    cmdclass={"build_py": BuildWithConfigs},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
