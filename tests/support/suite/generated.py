"""Settings of the tests with generated input: the same input in every run, without a deadline."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings


def generated(examples: int) -> settings:
    """Return the settings of a test that runs so many examples."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
