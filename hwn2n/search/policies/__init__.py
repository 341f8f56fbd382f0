"""The policies of N2N learning (arXiv 1709.06030), and random actions beside them."""

from hwn2n.search.policies.base import Evaluation, Policy
from hwn2n.search.policies.files import POLICIES, load_policy, save_policy
from hwn2n.search.policies.removal import KEEP, REMOVE, RemovalPolicy
from hwn2n.search.policies.shrinkage import ShrinkagePolicy
from hwn2n.search.policies.uniform import UniformPolicy

__all__ = [
    "KEEP",
    "POLICIES",
    "REMOVE",
    "Evaluation",
    "Policy",
    "RemovalPolicy",
    "ShrinkagePolicy",
    "UniformPolicy",
    "load_policy",
    "save_policy",
]
