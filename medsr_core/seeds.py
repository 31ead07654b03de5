"""Everything random here is a function of a seed: batches of (seed, step), samples of (seed, number)."""

from __future__ import annotations


def mix(seed: int, step: int) -> int:
    """One seed from two numbers; neighbouring steps share nothing (constants of splitmix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    return (z ^ (z >> 27)) % 2**63
