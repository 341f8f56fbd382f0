"""What pyproject.toml cannot say: the packages found, and two folders that are no packages.

budgets/ and profiles/ lie at the top of the repository, where people look for them, and inside the
package once it is installed, where `hwn2n.budget.target_file.shipped_folders` looks for them.
"""

from setuptools import find_packages, setup

SHIPPED = ("budgets", "profiles")

setup(
    packages=[
        *find_packages(include=["hwn2n", "hwn2n.*"]),
        *(f"hwn2n.shipped.{folder}" for folder in SHIPPED),
    ],
    package_dir={f"hwn2n.shipped.{folder}": folder for folder in SHIPPED},
    package_data={
        "hwn2n": ["py.typed"],
        "hwn2n.reporting": ["templates/*"],
        "hwn2n.search.policies": ["pretrained/*.safetensors"],
        **{f"hwn2n.shipped.{folder}": ["*.yaml", "*.json"] for folder in SHIPPED},
    },
)
