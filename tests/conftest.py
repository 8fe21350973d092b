"""What all tests share: property tests do not fail because the machine was busy."""

import hypothesis

hypothesis.settings.register_profile(
    "fedgate",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("fedgate")
